"""A cell in one class, which defines four things and declares nothing: all the rest follows."""

import numpy as np
import pytest
import torch
from conftest import make_classifier
from networks import (
    D,
    K,
    L,
    M,
    N,
    Toy,
    flat,
    make_inputs,
    make_weights,
    plain_gradient,
    plain_scores,
    there_and_back,
)
from skorch.callbacks import Callback

from sklearn_rnnbound.cells import CELLS, Cell, Weight, normal, register, score_margins

ACTIVATIONS = pytest.mark.parametrize("activation", ["relu", "tanh"])


@pytest.fixture
def registered():
    """The toy is among the kinds of cells for the time of a test."""
    register(Toy)
    yield
    del CELLS["toy"]


def test_a_cell_without_weights_and_step_says_so():
    cell = Cell(D, M, K)
    for undefined in (
        lambda: cell.weights,
        lambda: cell.initial_weights(torch.Generator()),
        lambda: cell.step({}, None, make_inputs()[:, 0]),
    ):
        with pytest.raises(NotImplementedError):
            undefined()


def test_what_is_not_defined_has_its_default():
    toy = Toy(D, M, K, "tanh")
    weights = make_weights(names="URWV")
    assert toy.properties == frozenset()
    assert str(toy) == "cell='toy' with activation='tanh'"
    assert toy.n_weights == M * D + 2 * M * M + K * M
    assert toy.linearized_readout(weights, L) is None
    assert toy.sensitivities(weights, L) is None
    assert toy.path_norm(weights, L) == np.inf
    assert toy.of_kind("recurrent", weights) == [weights["R"], weights["W"]]
    assert torch.equal(toy.initial_state(make_inputs()), torch.zeros(N, M).double())


def test_weights_are_views_of_theta_in_their_order():
    theta = torch.arange(float(Toy(D, M, K).n_weights))
    weights = Toy(D, M, K).split(theta)
    assert list(weights) == ["U", "R", "W", "V"]
    assert torch.equal(flat(weights), theta)
    weights["V"][-1, -1] = -1.0
    assert theta[-1] == -1.0


@ACTIVATIONS
@pytest.mark.parametrize("n_steps", [1, 7])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_scores_and_gradients_follow_from_the_step(activation, n_steps, dtype, rtol):
    toy, weights = Toy(D, M, K, activation), make_weights(names="URWV")
    X, score_gradient = make_inputs(n_steps=n_steps), torch.ones(N, K).double()
    expected = plain_gradient(weights, X, score_gradient, activation)
    theta = flat(weights).to(dtype)
    parts = {name: weight.to(dtype) for name, weight in weights.items()}
    scores = toy.infer(parts, X.to(dtype))
    run = toy.unrolled(theta)
    for result, value in zip(
        (scores, *there_and_back(run, theta, X.to(dtype), score_gradient.to(dtype))),
        (expected[0], *expected),
        strict=True,
    ):
        assert result.dtype == dtype
        atol = rtol * float(value.abs().max())
        torch.testing.assert_close(result.double(), value, rtol=0, atol=atol)


@ACTIVATIONS
def test_theta_derivative_against_finite_differences_and_autograd(activation):
    toy, weights, X = Toy(D, M, K, activation), make_weights(names="URWV"), make_inputs()
    scores, derivative = toy.theta_derivative(weights, X)
    assert torch.equal(scores, toy.scores(weights, X))
    assert not derivative.requires_grad
    # One row of the Jacobian after the other, times theta.
    for c in range(K):
        for i in range(N):
            one = torch.zeros(N, K, dtype=torch.float64)
            one[i, c] = 1.0
            _, row = plain_gradient(weights, X, one, activation)
            assert derivative[i, c].item() == pytest.approx(float(row @ flat(weights)), rel=1e-9)
    if activation == "tanh":
        step = 1e-6
        ends = [
            plain_scores({name: (1 + s) * A for name, A in weights.items()}, X, activation)
            for s in (step, -step)
        ]
        difference = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(derivative, difference, rtol=1e-6, atol=1e-6)


def train_by_hand(clf, X, y):
    """The loop that a user of torch would write; weights, scores and losses."""
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=5)[0]
    generator = torch.Generator().manual_seed(int(seed))
    shapes = {"U": (6, 2), "R": (6, 6), "W": (6, 6), "V": (3, 6)}
    weights = {}
    for name, shape in shapes.items():
        draws = torch.randn(shape, generator=generator, dtype=torch.float64)
        weights[name] = (draws / shape[1] ** 0.5).requires_grad_()
    optimizer = torch.optim.Adam(weights.values(), lr=clf.learning_rate)
    X, y, losses = torch.from_numpy(X), torch.from_numpy(y), []
    for _ in range(clf.max_iter):
        loss = torch.nn.functional.cross_entropy(plain_scores(weights, X, clf.activation), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return weights, losses


@ACTIVATIONS
@pytest.mark.parametrize("callbacks", [None, [Callback()]])
def test_a_cell_from_outside_trains_as_the_loop_written_by_hand(
    activation, callbacks, registered, small
):
    X, y = small
    clf = make_classifier(
        cell="toy", activation=activation, shuffle=False, learning_rate=0.01, callbacks=callbacks
    ).fit(X, y)
    weights, losses = train_by_hand(clf, X, y)
    for name, expected in weights.items():
        np.testing.assert_allclose(getattr(clf, f"{name}_"), expected.detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(clf.loss_curve_, losses, rtol=1e-12)
    assert losses[-1] < losses[0] - 0.05
    scores = plain_scores(weights, torch.from_numpy(X), activation).detach()
    np.testing.assert_allclose(clf.decision_function(X), scores, rtol=0, atol=1e-11)


def test_a_cell_from_outside_keeps_noise_and_constraints_by_kind(registered, small):
    clf = make_classifier(
        cell="toy", noise_std=0.1, beta_u=1.0, beta_w=(0.5, 0.3), beta_v=2.0, max_iter=3
    ).fit(*small)
    for name, radius in {"U": 1.0, "V": 2.0}.items():
        assert np.abs(getattr(clf, f"{name}_")).sum(1).max() <= radius
    parts = []
    for weight in (clf.R_, clf.W_):
        parts.append((np.maximum(weight, 0).sum(1).max(), np.maximum(-weight, 0).sum(1).max()))
    assert (np.array(parts) <= [0.5, 0.3]).all()
    # The norm of a kind is that of its largest matrix.
    assert clf.beta_w_ == pytest.approx(tuple(np.max(parts, 0)), rel=1e-12)


def test_an_unknown_cell_is_named(small):
    with pytest.raises(ValueError, match=r"cell='toy' is unknown; there are .*elman"):
        make_classifier(cell="toy").fit(*small)


def test_initial_weights_have_the_variance_of_their_width():
    draws = normal(Weight("input", 3000, 25), torch.Generator().manual_seed(0))
    assert draws.dtype == torch.float64
    # Five standard errors.
    assert draws.std().item() == pytest.approx(0.2, rel=5 / np.sqrt(2 * draws.numel()))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_margins_of_scores_have_no_rounding_and_a_gradient(n_classes):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, n_classes))
    scores[::5] = np.round(scores[::5])
    targets = rng.integers(n_classes, size=50)
    expected = [row[y] - max(np.delete(row, y)) for row, y in zip(scores, targets, strict=True)]
    variable = torch.tensor(scores, requires_grad=True)
    margins = score_margins(variable, torch.from_numpy(targets))
    np.testing.assert_array_equal(margins.detach(), expected)
    margins.sum().backward()
    own = variable.grad.gather(1, torch.from_numpy(targets)[:, None])
    assert (own == 1).all()
    torch.testing.assert_close(variable.grad.sum(1), torch.zeros(50, dtype=torch.float64))
