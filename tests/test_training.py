"""Training: resident data, skorch's callbacks, stopping, noise, clipping, interruption."""

import _thread
import signal
import threading

import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler

from sklearn_rnnbound.training import Batches, RampLoss, Sequences, as_tensor


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


def test_one_sgd_step_is_the_step_computed_by_hand(small):
    X, y = small
    clf = make_classifier(optimizer="sgd", learning_rate=0.1, max_iter=1, weight_decay=0.0)
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


def test_a_real_interrupt_signal_leaves_fit(small, interruptible):
    clf = make_classifier(max_iter=100_000, n_iter_no_change=100_000)
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


def test_failed_refit_keeps_the_fitted_estimator(small):
    X, y = small
    clf = make_classifier().fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="diverged"):
        clf.fit(np.full_like(X, 1e38, dtype=np.float32), y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize(
    ("params", "size", "culprit"),
    [
        ({}, 1e38, "loss"),
        ({"optimizer": "sgd", "learning_rate": 1e10, "max_iter": 1}, 1e30, "weight"),
    ],
)
def test_divergence_names_learning_rate_clipping_and_beta_w(small, params, size, culprit):
    X, y = small
    X = np.abs(X / np.abs(X).max() * size).astype(np.float32)
    message = rf"{culprit} is not finite.*learning_rate.*gradient_clip_norm.*beta_w"
    with pytest.raises(ValueError, match=message):
        make_classifier(**params).fit(X, y)


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
