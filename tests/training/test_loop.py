"""The one loop: against a loop written by hand, and what skorch's callbacks see of it."""

import numpy as np
import pytest
import torch
from conftest import make_classifier
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)

from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.cells.fisher_rao import fisher_rao_norm

# A loop written by hand


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


def ramp(scores, targets, margin):
    """Phi_alpha, row by row."""
    losses = []
    for row, y in zip(scores, targets.tolist(), strict=True):
        others = torch.cat([row[:y], row[y + 1 :]])
        losses.append((1 - (row[y] - others.max()) / margin).clamp(0, 1))
    return torch.stack(losses)


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

    project([w.to(inputs.dtype) for w in Elman(d, m, k).initial_weights(init).values()])
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
            if clf.loss == "ramp":
                losses = ramp(scores, targets[rows], clf.margin)
            else:
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
    "ramp": {"loss": "ramp", "margin": 0.7, "learning_rate": 0.02},
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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("params", HAND_WRITTEN.values(), ids=HAND_WRITTEN)
@pytest.mark.parametrize(
    ("dtype", "n_epochs", "rtol"), [(np.float64, 6, 1e-12), (np.float32, 1, 1e-5)]
)
def test_training_is_the_loop_written_by_hand(small, params, weighted, dtype, n_epochs, rtol):
    X, y = small[0].astype(dtype), small[1]
    # 60 rows: the last minibatch has 12.
    options = {"batch_size": 16, "max_iter": n_epochs, "min_eigenvalue": 0.0, "tol": 0.0}
    clf = make_classifier(**options, **params)
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


# Callbacks


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
@pytest.mark.parametrize("batch_size", [7, "auto"])
def test_a_callback_that_does_nothing_changes_no_bit(small, params, batch_size):
    X, y = small
    y = np.where(np.arange(60) % 7 == 0, 0, y)
    params = {"max_iter": 12, "min_eigenvalue": 0.0, "batch_size": batch_size} | params
    ours, theirs = (
        make_classifier(**params, callbacks=callbacks).fit(X, y)
        for callbacks in (None, [Callback()])
    )
    for name in "UWV":
        np.testing.assert_array_equal(getattr(ours, f"{name}_"), getattr(theirs, f"{name}_"))
    for name in ("n_iter_", "loss_curve_", "validation_scores_", "best_loss_"):
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_array_equal(ours.decision_function(X), theirs.decision_function(X))


EVENTS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
    "on_train_end",
]


def calling(function):
    """A callback that calls a function with the event and what it is told, at every event."""

    class Calling(Callback):
        pass

    def method(event):
        return lambda self, net, **news: function(event, news)

    for event in EVENTS:
        setattr(Calling, event, method(event))
    return Calling()


def test_callbacks_are_told_in_the_order_of_skorch(small):
    events = []

    def note(event, news):
        if event == "on_grad_computed":
            ((name, theta),) = news["named_parameters"]
            assert name == "theta"
            assert theta.grad.any()
        if event == "on_batch_end":
            loss = torch.nn.functional.cross_entropy(news["y_pred"], news["batch"][1])
            assert news["loss"].item() == pytest.approx(loss.item(), rel=1e-12)
        if event.startswith("on_epoch"):
            assert (len(news["dataset_train"]), len(news["dataset_valid"])) == (42, 18)
        size = len(news["batch"][1]) if "batch" in news else None
        events.append((event, size, news.get("training")))

    params = {"early_stopping": True, "validation_fraction": 0.3, "batch_size": 25, "max_iter": 2}
    make_classifier(**params, callbacks=[calling(note)]).fit(*small)
    training = [
        (event, size, None if event == "on_grad_computed" else True)
        for size in (25, 17)
        for event in ("on_batch_begin", "on_grad_computed", "on_batch_end")
    ]
    validation = [("on_batch_begin", 18, False), ("on_batch_end", 18, False)]
    epoch = [
        ("on_epoch_begin", None, None),
        *training,
        *validation,
        ("on_epoch_end", None, None),
    ]
    assert events == [("on_train_begin", None, None), *epoch, *epoch, ("on_train_end", None, None)]


def test_history_is_what_skorch_records(small):
    X, y = small
    params = {"early_stopping": True, "validation_fraction": 0.3, "batch_size": 25, "max_iter": 3}
    clf = make_classifier(**params, callbacks=[Callback()]).fit(X, y)
    history = clf.net_.history
    assert history[:, "epoch"] == [1, 2, 3]
    assert history[:, "train_batch_count"] == [2, 2, 2]
    assert history[:, "valid_batch_count"] == [1, 1, 1]
    for epoch, loss in zip(history, clf.loss_curve_, strict=True):
        *trained, validated = epoch["batches"]
        assert [set(batch) for batch in trained] == [{"train_loss", "train_batch_size"}] * 2
        assert set(validated) == {"valid_loss", "valid_batch_size"}
        assert [batch["train_batch_size"] for batch in trained] == [25, 17]
        mean = sum(batch["train_loss"] * batch["train_batch_size"] for batch in trained) / 42
        assert epoch["train_loss"] == pytest.approx(mean, rel=1e-12)
        assert mean == pytest.approx(loss, rel=1e-12)
        assert epoch["valid_loss"] == pytest.approx(validated["valid_loss"], rel=1e-12)
    # Of the scores that skorch adds, one is known to this package too.
    assert history[:, "valid_acc"] == pytest.approx(clf.validation_scores_)


def test_history_without_callbacks_has_the_epochs(small):
    clf = make_classifier(max_iter=3).fit(*small)
    assert clf.net_.history[:, "epoch"] == [1, 2, 3]
    assert clf.net_.history[:, "train_loss"] == clf.loss_curve_


def accuracy(net, data, _):
    """Accuracy on training or validation data, which it slices itself."""
    return np.mean(net.predict(data) == data[slice(None)][1].numpy())


def test_scores_and_a_schedule_work(small):
    scores = [
        EpochScoring(accuracy, on_train=True, name="fresh", use_caching=False),
        EpochScoring("accuracy", on_train=True, name="kept"),
    ]
    # The rate is zero after the first epoch, with which training ends therefore.
    schedule = ("schedule", LRScheduler(policy="StepLR", step_size=1, gamma=0.0))
    clf = make_classifier(callbacks=[*scores, schedule], batch_size=7, shuffle=False).fit(*small)
    assert clf.n_iter_ == 8
    once = make_classifier(max_iter=1, batch_size=7, shuffle=False).fit(*small)
    np.testing.assert_array_equal(clf.W_, once.W_)
    assert clf.net_.history[:, "fresh"] == [once.score(*small)] * 8
    # Of the first epoch skorch has kept what the steps have said, before the next ones.
    assert clf.net_.history[1:, "kept"] == [once.score(*small)] * 7


def test_clipping_by_a_callback_is_clipping_by_the_parameter(small):
    params = {"max_iter": 3, "batch_size": 16, "noise_std": 0.1}
    ours = make_classifier(gradient_clip_norm=0.3, **params).fit(*small)
    theirs = make_classifier(callbacks=[GradientNormClipping(0.3)], **params).fit(*small)
    plain = make_classifier(**params).fit(*small)
    np.testing.assert_allclose(theirs.W_, ours.W_, rtol=0, atol=1e-12)
    assert np.abs(plain.W_ - ours.W_).max() > 1e-4


def test_skorch_early_stopping_ends_training_without_a_warning(small):
    callback = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    clf = make_classifier(max_iter=50, callbacks=[callback]).fit(*small)
    # The first epoch improves on infinity, and two do not.
    assert clf.n_iter_ == 3


@pytest.mark.parametrize("event", ["on_batch_end", "on_epoch_end", "on_train_end"])
def test_constraints_hold_after_a_callback_has_moved_the_weights(small, event):
    class Move(Callback):
        """Puts other weights in place, as those do that load the best ones."""

    def move(self, net, **kwargs):
        with torch.no_grad():
            net.module_.theta.fill_(-5.0)

    setattr(Move, event, move)
    params = {"beta_u": 0.5, "beta_w": (0.4, 0.3), "beta_v": 0.9, "fisher_rao_max": 0.2}
    clf = make_classifier(**params, callbacks=[Move()]).fit(*small)
    assert np.abs(clf.U_).sum(1).max() <= 0.5
    assert np.maximum(clf.W_, 0).sum(1).max() <= 0.4
    assert np.maximum(-clf.W_, 0).sum(1).max() <= 0.3
    assert np.abs(clf.V_).sum(1).max() <= 0.9
    assert clf.fisher_rao_norm_() <= 0.2
    if event != "on_batch_end":
        # Rows of equal entries stay so when they are projected.
        assert np.ptp(clf.U_) == 0
        assert clf.U_[0, 0] < 0


# The Fisher-Rao norm


@pytest.mark.parametrize("limit", [None, 0.5])
def test_fisher_rao_norm_is_within_its_radius_when_an_epoch_has_ended(small, limit):
    norms = []

    class Watch(Callback):
        def on_epoch_begin(self, net, dataset_train, **kwargs):
            module = net.module_
            norms.append(fisher_rao_norm(module.cell, module.weights, [dataset_train.X]))

        def on_train_end(self, net, X, **kwargs):
            self.on_epoch_begin(net, X)

    make_classifier(fisher_rao_max=limit, callbacks=[Watch()]).fit(*small)
    # The first are the initial weights.
    assert len(norms[1:]) == 8
    if limit:
        # Rescaled and no more: the radius is reached where training leads out of it.
        assert min(norms[1:]) >= 0.49
        assert max(norms[1:]) <= 0.5
    else:
        assert min(norms) > 0.5


@pytest.mark.parametrize("radius", [1e-44, 1e-42, 1e-40])
def test_a_radius_that_hardly_any_digits_can_meet_holds(radius, small):
    X, y = small
    clf = make_classifier(fisher_rao_max=radius, max_iter=1).fit(X.astype(np.float32), y)
    assert clf.fisher_rao_norm_() <= radius
    assert clf.V_.any() == (clf.fisher_rao_norm_() > 0)


# Ends


def test_stalled_training_ends_early_and_unfinished_training_warns(small):
    X, y = small
    clf = make_classifier(max_iter=200, tol=10.0, n_iter_no_change=3).fit(X, y)
    # The first epoch improves on infinity; four stalled ones follow.
    assert clf.n_iter_ == 5
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        make_classifier(max_iter=2).fit(X, y)


def test_early_stopping_returns_the_best_epoch(small):
    X, _ = small
    unlearnable = np.random.default_rng(0).integers(0, 3, len(X))
    params = {"early_stopping": True, "validation_fraction": 0.3, "learning_rate": 0.05}
    clf = make_classifier(**params, max_iter=60).fit(X, unlearnable)
    assert clf.best_loss_ is None
    assert clf.validation_scores_[-1] < max(clf.validation_scores_)
    # Training that ends at the best epoch arrives at the same weights.
    best = int(np.argmax(clf.validation_scores_)) + 1
    again = make_classifier(**params, max_iter=best).fit(X, unlearnable)
    np.testing.assert_array_equal(clf.W_, again.W_)


@pytest.mark.parametrize(
    ("params", "size", "culprit"),
    [
        ({}, 3e38, "loss"),
        ({"optimizer": "sgd", "learning_rate": 1e10, "max_iter": 1}, 1e30, "weight"),
    ],
)
def test_divergence_names_learning_rate_clipping_and_beta_w(small, params, size, culprit):
    X, y = small
    clf = make_classifier().fit(X, y)
    before = clf.predict_proba(X)
    huge = np.abs(X / np.abs(X).max() * size).astype(np.float32)
    message = rf"{culprit} is not finite.*learning_rate.*gradient_clip_norm.*beta_w"
    with pytest.raises(ValueError, match=message):
        clf.set_params(**params).fit(huge, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_the_loss_of_an_epoch_is_summed_in_double_precision():
    X = np.random.default_rng(0).normal(size=(20_000, 1, 1)).astype(np.float32)
    y = np.arange(20_000) % 2
    # So slow that all losses are those of the initial weights.
    clf = make_classifier(learning_rate=1e-30, batch_size=2, max_iter=1).fit(X, y)
    losses = -clf.predict_log_proba(X).astype(float)[np.arange(20_000), y]
    assert clf.loss_curve_[0] == pytest.approx(losses.mean(), rel=2e-8)


@pytest.mark.parametrize("event", EVENTS)
def test_ctrl_c_in_a_callback_reaches_the_caller(small, event):
    def interrupt(now, news):
        if now == event:
            raise KeyboardInterrupt

    # It is no end that skorch's callback has asked for.
    clf = make_classifier(callbacks=[EarlyStopping(monitor="train_loss"), calling(interrupt)])
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*small)
    assert not [name for name in vars(clf) if name.endswith("_")]


# Surroundings


def test_training_touches_no_global_state(small):
    X, y = small
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is watched
    params = {"noise_std": 0.1, "gradient_clip_norm": 0.1, "early_stopping": True}
    expected = make_classifier(**params).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before[1:]
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002 - the legacy state is watched
    # Nor does training depend on it.
    torch.set_default_dtype(torch.float64)
    try:
        again = make_classifier(**params).fit(X, y)
    finally:
        torch.set_default_dtype(before[2])
    np.testing.assert_array_equal(again.W_, expected.W_)


@pytest.mark.parametrize("cell", ["fast", "by autograd"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_where_gradients_are_switched_off(small, mode, cell, monkeypatch):
    if cell == "by autograd":
        monkeypatch.delattr(Elman, "unrolled")
    params = {"early_stopping": True, "max_iter": 3}
    expected = make_classifier(**params).fit(*small)
    with mode():
        clf = make_classifier(**params).fit(*small)
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(clf.W_, expected.W_)
    assert clf.validation_scores_ == expected.validation_scores_


def test_progress_line(small, capsys):
    make_classifier(verbose=True, max_iter=2, early_stopping=True).fit(*small)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    for part in ("loss", "train error", "norms U", "validation accuracy"):
        assert part in lines[-1]
    make_classifier(max_iter=2).fit(*small)
    assert capsys.readouterr().out == ""
