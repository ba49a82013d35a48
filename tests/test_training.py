"""Training: resident data, skorch's callbacks, stopping, noise, clipping, interruption."""

import _thread
import signal
import threading

import numpy as np
import pytest
import torch
from conftest import make_classifier
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler

from sklearn_rnnbound.network import initial_weights
from sklearn_rnnbound.training import Batches, RampLoss, Sequences, as_tensor, train


def test_as_tensor_shares_memory_that_is_read_only_without_a_warning():
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    tensor = as_tensor(array)
    assert tensor.data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_as_tensor_outlives_the_array():
    array = np.full(1000, 7.0)
    array.flags.writeable = False
    tensor = as_tensor(array)
    del array
    assert (tensor == 7.0).all()


def test_as_tensor_reverses_negative_strides():
    array = np.arange(6.0)[::-1]
    np.testing.assert_array_equal(as_tensor(array).numpy(), array)


def test_batches_cover_every_row_once_and_slice_the_resident_tensor():
    X = torch.arange(10.0).reshape(10, 1, 1)
    data = Sequences(X, torch.arange(10))
    plain = list(Batches(data, 4))
    assert [len(y) for _, y in plain] == [4, 4, 2]
    assert plain[1][0].data_ptr() == X[4:].data_ptr()
    shuffled = torch.cat([y for _, y in Batches(data, 4, torch.Generator().manual_seed(0))])
    assert sorted(shuffled.tolist()) == list(range(10))
    assert shuffled.tolist() != list(range(10))


def test_part_of_the_rows_keeps_its_weights():
    X = torch.arange(4.0).reshape(4, 1, 1)
    data = Sequences(X, torch.arange(4), torch.tensor([1.0, 2.0, 3.0, 100.0]), torch.tensor([0, 2]))
    (batch,) = Batches(data, 10)
    assert len(data) == 2
    assert batch[1].tolist() == [0, 2]
    # Weights 1 and 3 have mean 2; the losses 10 and 20 have weighted mean (10 + 60) / 4.
    assert batch.mean(torch.tensor([10.0, 20.0])).item() == pytest.approx(17.5)


#: Training by the loop of this package and, since somebody may listen, by that of skorch.
BOTH_LOOPS = pytest.mark.parametrize(
    "callbacks", [None, [Callback()]], ids=["own loop", "skorch's loop"]
)


@BOTH_LOOPS
def test_one_sgd_step_is_the_step_computed_by_hand(small, callbacks):
    X, y = small
    params = {"optimizer": "sgd", "learning_rate": 0.1, "max_iter": 1, "callbacks": callbacks}
    clf = make_classifier(**params)
    start = make_classifier(optimizer="sgd", learning_rate=1e-300, max_iter=1).fit(X, y)
    clf.fit(X, y)
    weights = [torch.tensor(w, requires_grad=True) for w in (start.U_, start.W_, start.V_)]
    U, W, V = weights
    h = torch.zeros(len(X), 6, dtype=torch.float64)
    for t in range(X.shape[1]):
        h = torch.relu(torch.from_numpy(X[:, t]) @ U.T + h @ W.T)
    loss = -torch.log_softmax(h @ V.T, 1)[range(len(y)), y].mean()
    gradients = torch.autograd.grad(loss, weights)
    assert clf.loss_curve_[0] == pytest.approx(loss.item(), rel=1e-12)
    for after, before, gradient in zip((clf.U_, clf.W_, clf.V_), weights, gradients, strict=True):
        # Nesterov momentum 0.9: the first step is lr * (1 + 0.9) * gradient.
        expected = before.detach() - 0.19 * gradient
        np.testing.assert_allclose(after, expected.numpy(), rtol=1e-10, atol=1e-13)


def soft_threshold(row, radius):
    """Projection of one row >= 0 on the simplex, by the root of a monotone function."""
    if row.sum() <= radius:
        return row
    excess = brentq(
        lambda shift: np.maximum(row - shift, 0).sum() - radius,
        0,
        row.max(),
        xtol=1e-17,
        rtol=1e-15,
    )
    return np.maximum(row - excess, 0)


def project_rows(A, radius):
    """Rows of A within an l1 radius or within sign budgets."""
    if radius is None:
        return A
    if isinstance(radius, tuple):
        positive, negative = (
            np.array([soft_threshold(row, budget) for row in np.maximum(part, 0)])
            for part, budget in zip((A, -A), radius, strict=True)
        )
        return positive - negative
    return np.array([np.sign(row) * soft_threshold(np.abs(row), radius) for row in A])


def draw_noise(kind, std, shape, dtype, generator):
    if kind == "gaussian":
        return torch.empty(shape, dtype=dtype).normal_(generator=generator) * std
    if kind == "uniform":
        return (torch.rand(shape, dtype=dtype, generator=generator) - 0.5) * (12**0.5 * std)
    draws = [torch.empty(shape, dtype=dtype).exponential_(generator=generator) for _ in range(2)]
    return (draws[0] - draws[1]) * (std / 2**0.5)


def train_by_hand(clf, X, y, sample_weight=None):
    """The loop that a user of torch would write: U, W, V, and the mean loss of every epoch."""
    seeds = check_random_state(clf.random_state).randint(np.iinfo(np.int32).max, size=5)
    init, noise, shuffle = (torch.Generator().manual_seed(int(seed)) for seed in seeds[:3])
    m, d, k = clf.hidden_size, X.shape[2], len(set(y))
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    weights = torch.ones(len(X), dtype=inputs.dtype)
    if sample_weight is not None:
        weights = torch.from_numpy(sample_weight / sample_weight.mean()).to(inputs)
    recurrence = torch.nn.RNN(
        d, m, nonlinearity=clf.activation, bias=False, batch_first=True, dtype=inputs.dtype
    )
    readout = torch.nn.Linear(m, k, bias=False, dtype=inputs.dtype)
    parameters = [recurrence.weight_ih_l0, recurrence.weight_hh_l0, readout.weight]
    radii = clf.beta_u, clf.beta_w, clf.beta_v

    @torch.no_grad()
    def project(values):
        for parameter, value, radius in zip(parameters, values, radii, strict=True):
            projected = project_rows(value.double().numpy(), radius)
            parameter.copy_(torch.from_numpy(projected))

    project([w.to(inputs.dtype) for w in initial_weights(d, m, k, init)])
    options = {"lr": clf.learning_rate, "weight_decay": clf.weight_decay}
    if clf.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **options)
    else:
        optimizer = torch.optim.Adam(parameters, **options)
    curve = []
    for _ in range(clf.max_iter):
        order = torch.randperm(len(X), generator=shuffle) if clf.shuffle else torch.arange(len(X))
        total = 0.0
        for rows in order.split(clf.batch_size):
            batch = inputs[rows]
            if clf.noise_std:
                batch = batch + draw_noise(
                    clf.noise, clf.noise_std, batch.shape, batch.dtype, noise
                )
            scores = readout(recurrence(batch)[0][:, -1])
            losses = torch.nn.functional.cross_entropy(scores, targets[rows], reduction="none")
            loss = (losses * weights[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            if clf.gradient_clip_value:
                torch.nn.utils.clip_grad_value_(parameters, clf.gradient_clip_value)
            if clf.gradient_clip_norm:
                torch.nn.utils.clip_grad_norm_(parameters, clf.gradient_clip_norm)
            optimizer.step()
            project([parameter.detach().clone() for parameter in parameters])
            total += loss.item() * len(rows)
        curve.append(total / len(X))
    return [parameter.detach().numpy() for parameter in parameters], curve


def assert_same_weights(ours, theirs, rtol):
    """Weights that differ by a part of the largest one."""
    largest = max(np.abs(weight).max() for weight in theirs)
    for name, weight, other in zip("UWV", ours, theirs, strict=True):
        np.testing.assert_allclose(weight, other, rtol=0, atol=rtol * largest, err_msg=name)


HAND_WRITTEN = {
    "plain": {},
    "tanh": {"activation": "tanh", "noise_std": 0.2, "shuffle": False},
    "norm": {"gradient_clip_norm": 0.3, "noise_std": 0.1, "noise": "laplace"},
    "value": {"gradient_clip_value": 0.01, "weight_decay": 0.1, "optimizer": "sgd"},
    "balls": {"beta_u": 1.0, "beta_w": 0.9, "beta_v": 1.5, "learning_rate": 0.02},
    "budgets": {
        "beta_u": (0.7, 0.6),
        "beta_w": (0.6, 0.2),
        "beta_v": (0.5, 1.0),
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "gradient_clip_norm": 1.0,
        "gradient_clip_value": 0.3,
        "noise_std": 0.3,
        "noise": "uniform",
    },
}


@BOTH_LOOPS
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("params", HAND_WRITTEN.values(), ids=HAND_WRITTEN)
@pytest.mark.parametrize(
    ("dtype", "n_epochs", "rtol"),
    [(np.float64, 1, 1e-12), (np.float64, 6, 1e-12), (np.float32, 1, 1e-5)],
)
def test_training_is_the_loop_written_by_hand(
    small, params, weighted, callbacks, dtype, n_epochs, rtol
):
    X, y = small[0].astype(dtype), small[1]
    # 60 rows: the last minibatch has 12.
    options = {"batch_size": 16, "max_iter": n_epochs, "min_eigenvalue": 0.0, "tol": 0.0}
    clf = make_classifier(**options, **params, callbacks=callbacks)
    sample_weight = 1.0 + np.arange(60) % 4 if weighted else None
    clf.fit(X, y, sample_weight)
    weights, curve = train_by_hand(clf, X, y, sample_weight)
    assert_same_weights((clf.U_, clf.W_, clf.V_), weights, rtol)
    np.testing.assert_allclose(clf.loss_curve_, curve, rtol=rtol)
    # What is compared has moved.
    (start, *_), _ = train_by_hand(
        make_classifier(**{**options, **params, "learning_rate": 1e-300}), X, y
    )
    assert np.abs(clf.U_ - start).max() > 1e-3


EVERYTHING = {
    "stops": {"tol": 0.02, "n_iter_no_change": 2, "max_iter": 60, "learning_rate": 0.02},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "noise_std": 0.5},
    "early stopping, weights": {
        "early_stopping": True,
        "class_weight": {0: 1.0, 1: 2.0, 2: 5.0},
        "learning_rate": 0.05,
        "fisher_rao_max": 3.0,
    },
    "Fisher-Rao": {"fisher_rao_max": 0.5, "noise_std": 0.2, "optimizer": "sgd"},
    "two types": {"unit_types": 2, "beta_w": 0.9, "gradient_clip_norm": 0.7},
    "balls": {"beta_u": 1.0, "beta_w": (0.5, 0.4), "beta_v": 2.0, "gradient_clip_value": 0.02},
    "ramp": {"loss": "ramp", "margin": 0.7, "shuffle": False, "weight_decay": 0.01},
}


@pytest.mark.parametrize("params", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize("batch_size", [7, 20, "auto"])
def test_a_callback_that_does_nothing_changes_nothing(small, params, batch_size):
    X, y = small
    y = np.where(np.arange(60) % 7 == 0, 0, y)
    fits = [
        make_classifier(
            **{"max_iter": 12, "min_eigenvalue": 0.0} | params,
            batch_size=batch_size,
            callbacks=callbacks,
        ).fit(X, y)
        for callbacks in (None, [Callback()])
    ]
    ours, theirs = fits
    assert ours.n_iter_ == theirs.n_iter_ == len(ours.loss_curve_)
    assert_same_weights(*((clf.U_, clf.W_, clf.V_) for clf in fits), 1e-12)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-12)
    if "early_stopping" in params:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-12)
        assert ours.best_loss_ is theirs.best_loss_ is None
    else:
        assert ours.validation_scores_ is theirs.validation_scores_ is None
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=1e-12)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-10)


@BOTH_LOOPS
@pytest.mark.parametrize("limit", [None, 0.5])
def test_fisher_rao_norm_is_within_its_radius_at_the_end_of_every_epoch(small, callbacks, limit):
    X, y = small
    clf = make_classifier(fisher_rao_max=limit, noise_std=0.1, callbacks=callbacks)
    ongoing = clf._prepare(X, y, None).training
    norms = []
    ongoing.after_epoch = lambda record: norms.append(ongoing.net.fisher_rao_norm(ongoing.data.X))
    assert train([ongoing]) == [None]
    assert len(norms) == 8
    assert max(norms) <= (0.5 if limit else np.inf)
    # Rescaled and no more: the radius is reached where training leads out of it.
    assert min(norms) >= 0.49


@BOTH_LOOPS
def test_weights_that_are_read_only_give_no_warning(small, callbacks):
    weights = 1.0 + np.arange(60) % 4
    expected = make_classifier(callbacks=callbacks).fit(*small, weights)
    weights.flags.writeable = False
    clf = make_classifier(callbacks=callbacks).fit(*small, weights)
    np.testing.assert_array_equal(clf.W_, expected.W_)


def test_callbacks_see_weights_within_the_fisher_rao_radius(small):
    norms = []

    class Watch(Callback):
        def on_epoch_begin(self, net, dataset_train, **kwargs):
            norms.append(net.fisher_rao_norm(dataset_train.X))

        def on_train_end(self, net, X, **kwargs):
            norms.append(net.fisher_rao_norm(X.X))

    make_classifier(fisher_rao_max=0.5, callbacks=[Watch()]).fit(*small)
    assert len(norms) == 9
    # The first are the initial weights.
    assert max(norms[1:]) <= 0.5


@pytest.mark.parametrize("radius", [1e-44, 1e-43, 1e-42, 1e-41, 1e-40])
def test_a_radius_that_hardly_any_digits_can_meet_holds(radius, small):
    X, y = small
    clf = make_classifier(fisher_rao_max=radius, max_iter=1).fit(X.astype(np.float32), y)
    assert clf.fisher_rao_norm_() <= radius
    assert clf.V_.any() == (clf.fisher_rao_norm_() > 0)


@BOTH_LOOPS
def test_training_in_inference_mode(small, callbacks):
    X, y = small
    expected = make_classifier(early_stopping=True).fit(X, y)
    with torch.inference_mode():
        clf = make_classifier(early_stopping=True, callbacks=callbacks).fit(X, y)
    np.testing.assert_allclose(clf.W_, expected.W_, rtol=1e-12, atol=1e-12)
    assert clf.validation_scores_ == expected.validation_scores_


def test_the_loss_of_an_epoch_is_summed_in_double_precision():
    X = np.random.default_rng(0).normal(size=(20_000, 1, 1)).astype(np.float32)
    y = np.arange(20_000) % 2
    # So slow that all losses are those of the initial weights.
    clf = make_classifier(learning_rate=1e-30, batch_size=2, max_iter=1).fit(X, y)
    losses = -clf.predict_log_proba(X).astype(float)[np.arange(20_000), y]
    assert clf.loss_curve_[0] == pytest.approx(losses.mean(), rel=2e-8)


@BOTH_LOOPS
def test_training_touches_no_global_state(small, callbacks):
    X, y = small
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is watched
    params = {"noise_std": 0.1, "gradient_clip_norm": 0.1, "early_stopping": True}
    expected = make_classifier(callbacks=callbacks, **params).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before[1:]
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002 - the legacy state is watched
    # Nor does training depend on it.
    torch.set_default_dtype(torch.float64)
    try:
        again = make_classifier(callbacks=callbacks, **params).fit(X, y)
    finally:
        torch.set_default_dtype(before[2])
    np.testing.assert_array_equal(again.W_, expected.W_)


@BOTH_LOOPS
def test_training_where_gradients_are_switched_off(small, callbacks):
    expected = make_classifier(callbacks=callbacks).fit(*small)
    with torch.no_grad():
        clf = make_classifier(callbacks=callbacks).fit(*small)
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(clf.W_, expected.W_)


@BOTH_LOOPS
def test_losses_beyond_single_precision_are_finite_in_double_precision(small, callbacks):
    X, y = small
    params = {"learning_rate": 1e-6, "max_iter": 2, "min_eigenvalue": 0.0, "callbacks": callbacks}
    plain = make_classifier(**params, margin=1.0).fit(X, y)
    large = make_classifier(**params, margin=1.0).fit(X * 1e50, np.roll(y, 20))
    assert 1e45 < large.loss_curve_[0] < 1e55
    assert plain.loss_curve_[0] < 100


def accuracy_by_hand(weights, X, y):
    U, W, V = weights
    h = np.zeros((len(X), len(W)))
    for t in range(X.shape[1]):
        h = np.maximum(X[:, t] @ U.T + h @ W.T, 0)
    return np.mean((h @ V.T).argmax(1) == y)


@pytest.mark.slow
def test_accuracy_is_that_of_the_loop_written_by_hand(digits):
    X, X_test, y, y_test = digits
    X, X_test = X.astype(np.float32), X_test.astype(np.float32)
    differences, scores = [], []
    for seed in range(6):
        clf = make_classifier(
            hidden_size=32,
            max_iter=15,
            batch_size=64,
            noise_std=0.1,
            beta_w=1.0,
            gradient_clip_norm=1.0,
            learning_rate=0.01,
            min_eigenvalue=0.0,
            random_state=seed,
        )
        weights, _ = train_by_hand(clf, X, y)
        scores.append(accuracy_by_hand(weights, X_test, y_test))
        differences.append(clf.fit(X, y).score(X_test, y_test) - scores[-1])
    assert np.mean(scores) > 0.85
    assert abs(np.mean(differences)) <= np.std(scores, ddof=1) / np.sqrt(len(scores))


@pytest.mark.parametrize(("name", "limit"), [("norm", 1e-3), ("value", 1e-4)])
def test_clipping_limits_the_gradient(small, name, limit):
    seen = []

    class Watch(Callback):
        def on_batch_end(self, net, training, **kwargs):
            gradient = torch.cat([p.grad.flatten() for p in net.module_.parameters()])
            seen.append(gradient.norm() if name == "norm" else gradient.abs().max())

    make_classifier(**{f"gradient_clip_{name}": limit}, callbacks=[Watch()]).fit(*small)
    assert max(seen) <= limit * (1 + 1e-6)
    assert max(seen) > limit / 10


def test_noise_is_drawn_afresh_for_every_batch(small):
    X, y = small
    seen = []

    class Watch(Callback):
        def on_batch_end(self, net, batch, training, **kwargs):
            seen.append(net.with_noise(batch[0]) - batch[0])

    make_classifier(noise_std=0.5, max_iter=3, callbacks=[Watch()]).fit(X, y)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    assert torch.stack(seen).std().item() == pytest.approx(0.5, rel=0.1)


def test_constraints_hold_after_every_step(small):
    norms = []

    class Watch(Callback):
        def on_batch_end(self, net, training, **kwargs):
            norms.append([w.abs().sum(1).max().item() for w in net.module_.weights])

    clf = make_classifier(beta_u=0.5, beta_w=0.7, beta_v=0.9, batch_size=10, callbacks=[Watch()])
    clf.fit(*small)
    assert (np.array(norms) <= [0.5, 0.7, 0.9]).all()
    assert len(norms) == 6 * clf.n_iter_


def test_user_callbacks_see_the_epochs_and_can_score_and_schedule(small):
    callbacks = [
        EpochScoring("accuracy", on_train=True, name="train_acc", lower_is_better=False),
        ("schedule", LRScheduler(policy="StepLR", step_size=1, gamma=0.5)),
    ]
    clf = make_classifier(callbacks=callbacks, early_stopping=True, batch_size=7).fit(*small)
    history = clf.net_.history
    assert len(history) == clf.n_iter_
    assert all(0 <= score <= 1 for score in history[:, "train_acc"])
    assert history[:, "valid_acc"] == pytest.approx(clf.validation_scores_)
    assert clf.net_.optimizer_.param_groups[0]["lr"] < clf.learning_rate / 2


def test_skorch_early_stopping_ends_training_without_a_warning(small):
    callback = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    clf = make_classifier(max_iter=50, callbacks=[callback]).fit(*small)
    assert clf.n_iter_ < 10


def test_the_fitted_net_predicts_on_its_own(small):
    X, y = small
    clf = make_classifier().fit(X, y)
    np.testing.assert_array_equal(clf.classes_[clf.net_.predict(X)], clf.predict(X))
    np.testing.assert_allclose(clf.net_.predict_proba(X), clf.predict_proba(X))


def test_ctrl_c_leaves_fit_and_the_estimator_as_it_was(small, fitted):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    clf = make_classifier(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*small)
    assert not [name for name in vars(clf) if name.endswith("_")]


@pytest.fixture
def interruptible():
    # A process in the background may have been told to ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@BOTH_LOOPS
def test_a_real_interrupt_signal_leaves_fit(small, interruptible, callbacks):
    clf = make_classifier(max_iter=100_000, n_iter_no_change=100_000, callbacks=callbacks)
    left = threading.Event()

    def interrupt():
        # More than once: Python drops an exception that is raised while it collects garbage.
        while not left.wait(0.5):
            _thread.interrupt_main()

    def fit():
        try:
            clf.fit(*small)
        finally:
            left.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        fit()
    thread.join()
    assert not hasattr(clf, "U_")


@BOTH_LOOPS
def test_failed_refit_keeps_the_fitted_estimator(small, callbacks):
    X, y = small
    clf = make_classifier(callbacks=callbacks).fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="diverged"):
        clf.fit(np.full_like(X, 1e38, dtype=np.float32), y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("params", "size", "culprit"),
    [
        ({}, 3e38, "loss"),
        ({"optimizer": "sgd", "learning_rate": 1e10, "max_iter": 1}, 1e30, "weight"),
    ],
)
def test_divergence_names_learning_rate_clipping_and_beta_w(
    small, params, size, culprit, callbacks
):
    X, y = small
    X = np.abs(X / np.abs(X).max() * size).astype(np.float32)
    message = rf"{culprit} is not finite.*learning_rate.*gradient_clip_norm.*beta_w"
    with pytest.raises(ValueError, match=message):
        make_classifier(**params, callbacks=callbacks).fit(X, y)


@BOTH_LOOPS
def test_stalled_training_ends_early_and_unfinished_training_warns(small, callbacks):
    X, y = small
    clf = make_classifier(max_iter=200, tol=10.0, n_iter_no_change=3, callbacks=callbacks)
    clf.fit(X, y)
    # The first epoch improves on infinity; four stalled ones follow.
    assert clf.n_iter_ == 5
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        make_classifier(max_iter=2, callbacks=callbacks).fit(X, y)


@BOTH_LOOPS
def test_early_stopping_returns_the_best_epoch(small, callbacks):
    X, _ = small
    unlearnable = np.random.default_rng(0).integers(0, 3, len(X))
    params = {"early_stopping": True, "validation_fraction": 0.3, "learning_rate": 0.05}
    params["callbacks"] = callbacks
    clf = make_classifier(**params, max_iter=60).fit(X, unlearnable)
    assert clf.best_loss_ is None
    assert clf.validation_scores_[-1] < max(clf.validation_scores_)
    # Training that ends at the best epoch arrives at the same weights.
    best = int(np.argmax(clf.validation_scores_)) + 1
    again = make_classifier(**params, max_iter=best).fit(X, unlearnable)
    np.testing.assert_array_equal(clf.W_, again.W_)


def test_progress_line(small, capsys):
    make_classifier(verbose=True, max_iter=2, early_stopping=True).fit(*small)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    for part in ("loss", "train error", "norms U", "validation accuracy"):
        assert part in lines[-1]
    make_classifier(max_iter=2).fit(*small)
    assert capsys.readouterr().out == ""


def transcribed_ramp(scores, label, alpha):
    """Phi_alpha of the margin of one sample."""
    margin = scores[label] - max(score for c, score in enumerate(scores) if c != label)
    if margin <= 0:
        return 1.0
    return 0.0 if margin >= alpha else 1.0 - margin / alpha


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ramp_loss_is_the_transcribed_ramp_of_every_sample(n_classes, alpha, dtype):
    rng = np.random.default_rng(0)
    # Coarse scores tie and meet both kinks of the ramp.
    scores = np.concatenate(
        [rng.normal(size=(150, n_classes)), rng.integers(-3, 4, size=(50, n_classes)) * alpha]
    )
    scores = torch.from_numpy(scores).to(dtype)
    targets = rng.integers(n_classes, size=200)
    losses = RampLoss(alpha)(scores, torch.from_numpy(targets))
    expected = [transcribed_ramp(row, y, alpha) for row, y in zip(scores, targets, strict=True)]
    assert {0.0, 1.0} < set(np.round(expected, 6))
    assert losses.shape == (200,)
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, expected, atol=4 * torch.finfo(dtype).eps / min(alpha, 1))


def test_ramp_loss_has_the_gradient_of_finite_differences_away_from_its_kinks():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (60,), generator=generator)
    loss, step = RampLoss(0.8), 1e-6
    margins = [
        row[y] - max(np.delete(row, y)) for row, y in zip(scores.numpy(), targets, strict=True)
    ]
    assert min(np.abs(margins).min(), np.abs(np.array(margins) - 0.8).min()) > 10 * step
    expected = torch.zeros_like(scores)
    for c in range(3):
        move = torch.zeros_like(scores)
        move[:, c] = step
        expected[:, c] = (loss(scores + move, targets) - loss(scores - move, targets)) / (2 * step)
    variable = scores.clone().requires_grad_(True)
    loss(variable, targets).sum().backward()
    torch.testing.assert_close(variable.grad, expected, rtol=1e-6, atol=1e-6)
    # Errors and large margins have no gradient; between them it is 1/alpha.
    slopes = set(variable.grad.abs().amax(1).tolist())
    assert slopes == {0.0, 1 / 0.8}


def test_training_minimises_the_weighted_ramp_loss(small):
    X, y = small
    sample_weight = 1.0 + np.arange(60) % 3
    params = {"loss": "ramp", "margin": 1.5, "optimizer": "sgd", "max_iter": 1}
    start = make_classifier(learning_rate=1e-300, **params).fit(X, y, sample_weight)
    clf = make_classifier(learning_rate=0.1, **params).fit(X, y, sample_weight)
    weights = [torch.tensor(w, requires_grad=True) for w in (start.U_, start.W_, start.V_)]
    U, W, V = weights
    h = torch.zeros(len(X), 6, dtype=torch.float64)
    for t in range(X.shape[1]):
        h = torch.relu(torch.from_numpy(X[:, t]) @ U.T + h @ W.T)
    scores = h @ V.T
    own = scores[range(60), y]
    others = torch.stack([scores[:, np.arange(3) != label].amax(1)[i] for i, label in enumerate(y)])
    losses = (1 - (own - others) / 1.5).clamp(0, 1)
    loss = (losses * torch.from_numpy(sample_weight)).sum() / sample_weight.sum()
    gradients = torch.autograd.grad(loss, weights)
    assert clf.loss_curve_[0] == pytest.approx(loss.item(), rel=1e-12)
    for after, before, gradient in zip((clf.U_, clf.W_, clf.V_), weights, gradients, strict=True):
        expected = before.detach() - 0.19 * gradient
        np.testing.assert_allclose(after, expected.numpy(), rtol=1e-10, atol=1e-13)
