"""The network of the paper: every pass against plain loops, autograd, torch and the formulas."""

import numpy as np
import pytest
import torch
from networks import (
    D,
    K,
    L,
    M,
    N,
    flat,
    make_inputs,
    make_weights,
    plain_gradient,
    plain_scores,
    there_and_back,
)

from sklearn_rnnbound.cells import Cell, Elman, Unrolled
from sklearn_rnnbound.cells.elman import step_coefficients
from sklearn_rnnbound.properties import HOMOGENEOUS, INTERVAL, PLAIN, ROW_LIPSCHITZ, UNROLLABLE

ACTIVATIONS = pytest.mark.parametrize("activation", ["relu", "tanh"])
STEPS = pytest.mark.parametrize("n_steps", [1, 2, 7])
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-13)]
)


def cell(activation="relu", n_classes=K):
    return Elman(D, M, n_classes, activation)


def front_padded(X, n_zeros=9):
    return torch.cat([X.new_zeros(len(X), n_zeros, X.shape[2]), X], dim=1)


def assert_close(actual, expected, rtol):
    """Equal up to a part of the largest value."""
    atol = rtol * float(expected.abs().max())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=atol)


def test_properties_are_those_that_the_activation_has():
    lipschitz = {INTERVAL, PLAIN, ROW_LIPSCHITZ}
    assert cell("relu").properties == lipschitz | {HOMOGENEOUS, UNROLLABLE}
    assert cell("tanh").properties == lipschitz
    # Nobody proved anything about another one, or about another step.
    assert not cell("gelu").properties
    with pytest.raises(TypeError, match="inherit from Cell"):
        type("Leaky", (Elman,), {})


# Scores and gradients


@ACTIVATIONS
@STEPS
@PRECISIONS
def test_every_pass_gives_the_scores_of_a_plain_loop(activation, n_steps, dtype, rtol):
    network = cell(activation)
    weights, X = make_weights(dtype=dtype), make_inputs(dtype=dtype, n_steps=n_steps)
    expected = plain_scores(make_weights(), make_inputs(n_steps=n_steps), activation)
    passes = [
        network.scores(weights, X),
        network.infer(weights, X),
        network.theta_derivative(weights, X)[0],
        Cell.theta_derivative(network, weights, X)[0],
    ]
    for scores in passes:
        assert scores.dtype == dtype
        assert_close(scores, expected, 10 * rtol)


@ACTIVATIONS
@STEPS
@PRECISIONS
def test_passes_of_training_against_autograd_of_a_plain_loop(activation, n_steps, dtype, rtol):
    weights, X = make_weights(), make_inputs(n_steps=n_steps)
    score_gradient = torch.randn(N, K, generator=torch.Generator().manual_seed(3)).double()
    expected = plain_gradient(weights, X, score_gradient, activation)
    theta = flat(weights).to(dtype)
    for run in (cell(activation).unrolled(theta), Unrolled(cell(activation), theta)):
        results = there_and_back(run, theta, X.to(dtype), score_gradient.to(dtype))
        for result, value in zip(results, expected, strict=True):
            assert result.dtype == dtype
            assert_close(result, value, 10 * rtol)


@STEPS
def test_passes_of_training_are_exact_on_whole_numbers_where_units_are_zero(n_steps):
    generator = torch.Generator().manual_seed(0)

    def whole(*shape):
        return torch.randint(-1, 2, shape, generator=generator).double()

    weights = {name: whole(*weight.shape) for name, weight in make_weights().items()}
    X, score_gradient, theta = whole(N, n_steps, D), whole(N, K), flat(weights)
    # The first hidden states meet the kink of relu, where the slope is taken as zero.
    assert (X[:, 0] @ weights["U"].T == 0).any()
    expected = plain_gradient(weights, X, score_gradient, "relu")
    results = there_and_back(cell().unrolled(theta), theta, X, score_gradient)
    for result, value in zip(results, expected, strict=True):
        assert torch.equal(result, value)


@ACTIVATIONS
def test_passes_of_training_keep_their_memory_and_nothing_of_what_was_in_it(activation):
    theta = flat(make_weights())
    run, places = cell(activation).unrolled(theta), []
    for n_steps, n_rows in [(7, 6), (7, 4), (2, 3), (1, 1), (7, 6), (9, 7)]:
        X, score_gradient = make_inputs(n_steps=n_steps)[:n_rows], torch.ones(n_rows, K).double()
        spoiled = there_and_back(run, theta, torch.full_like(X, torch.nan), score_gradient)
        assert spoiled[0].isnan().all()
        results = there_and_back(run, theta, X, score_gradient)
        expected = plain_gradient(make_weights(), X, score_gradient, activation)
        for result, value in zip(results, expected, strict=True):
            assert_close(result, value, 1e-12)
        places.append(run.inputs.data_ptr())
    assert len(set(places[:-1])) == 1


@ACTIVATIONS
def test_zero_steps_in_front_and_the_order_of_units_change_no_score(activation):
    weights, X, order = make_weights(), make_inputs(), torch.tensor([3, 0, 5, 1, 4, 2])
    U, W, V = weights.values()
    permuted = {"U": U[order], "W": W[order][:, order], "V": V[:, order]}
    expected = cell(activation).infer(weights, X)
    for scores in (
        cell(activation).infer(weights, front_padded(X)),
        cell(activation).infer(permuted, X),
    ):
        torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("hidden_size", [1, 2, 3, 64])
def test_initial_recurrence_is_orthogonal_and_partly_the_identity(hidden_size):
    before = torch.get_rng_state()
    weights = Elman(D, hidden_size, K).initial_weights(torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    W, eye = weights["W"], torch.eye(hidden_size, dtype=torch.float64)
    torch.testing.assert_close(W @ W.T, eye)
    torch.testing.assert_close(W[::4], eye[::4])
    assert [tuple(A.shape) for A in weights.values()] == [
        (hidden_size, D),
        (hidden_size, hidden_size),
        (K, hidden_size),
    ]


# <theta, dy/dtheta>, and what the paper says of it


@ACTIVATIONS
@pytest.mark.parametrize("n_steps", [1, 2, 12])
@pytest.mark.parametrize("n_zeros", [0, 3])
def test_lemma_1_against_a_jacobian_vector_product(activation, n_steps, n_zeros):
    weights, X = make_weights(), front_padded(make_inputs(n_steps=n_steps), n_zeros)

    def scores_at(*values):
        return plain_scores(dict(zip("UWV", values, strict=True)), X, activation)

    # A double backward pass: the product of the Jacobian with theta itself.
    theta = tuple(weights.values())
    expected_scores, expected = torch.autograd.functional.jvp(scores_at, theta, theta)
    for road in (Elman, Cell):
        scores, derivative = road.theta_derivative(cell(activation), weights, X)
        torch.testing.assert_close(scores, expected_scores, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(derivative, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decimals", [0, 15])
def test_eta_is_the_sum_over_steps_of_lemma_1(decimals):
    # Whole numbers bring many units exactly to zero, where the derivative of relu is zero.
    weights = {name: A.round(decimals=decimals) for name, A in make_weights().items()}
    U, W, V = weights.values()
    X = make_inputs().round(decimals=decimals)
    _, derivative = cell().theta_derivative(weights, X)
    for x, eta in zip(X, derivative, strict=True):
        h, patterns = torch.zeros(M, dtype=torch.float64), []
        for t in range(L):
            g = U @ x[t] + W @ h
            h = torch.relu(g)
            patterns.append(torch.diag((g > 0).double()))
        expected = torch.zeros(K, dtype=torch.float64)
        for t in range(1, L + 1):
            path = V @ patterns[L - 1]
            for s in range(L - 1, t - 1, -1):
                path = path @ W @ patterns[s - 1]
            expected += (L + 2 - t) * path @ U @ x[t - 1]
        torch.testing.assert_close(eta, expected, rtol=1e-10, atol=1e-10)


@STEPS
def test_tau_against_powers_of_the_recurrence(n_steps):
    weights, X = make_weights(), make_inputs(n_steps=n_steps)
    U, W, V = weights.values()
    K_steps = cell().linearized_readout(weights, n_steps)
    assert K_steps.shape == (n_steps, D, K)
    expected = torch.stack(
        [
            sum(
                (n_steps + 2 - t) * V @ torch.linalg.matrix_power(W, n_steps - t) @ U @ x[t - 1]
                for t in range(1, n_steps + 1)
            )
            for x in X
        ]
    )
    tau = X.flatten(1) @ K_steps.flatten(0, 1)
    torch.testing.assert_close(tau, expected, rtol=1e-10, atol=1e-10)


def test_coefficients():
    assert step_coefficients(4).tolist() == [5.0, 4.0, 3.0, 2.0]
    assert step_coefficients(1).tolist() == [2.0]
    assert step_coefficients(1).dtype == torch.float64


def test_eta_is_tau_where_every_unit_is_active():
    weights, X = make_weights(), make_inputs().abs()
    weights |= {name: weights[name].abs() for name in "UW"}
    _, eta = cell().theta_derivative(weights, X)
    tau = X.flatten(1) @ cell().linearized_readout(weights, L).flatten(0, 1)
    torch.testing.assert_close(eta, tau)


# Sensitivities and paths


def test_sensitivities_are_sums_of_powers_of_absolute_weights():
    weights = make_weights()
    reach = cell().sensitivities(weights, L)
    assert reach.shape == (L + 1, K, K)
    V = weights["V"].numpy()
    u, w, v = (weight.abs().numpy() for weight in weights.values())
    for last in range(L + 1):
        for p in range(K):
            for c in range(K):
                powers = (np.linalg.matrix_power(w, r) for r in range(last))
                expected = sum((np.abs(V[p] - V[c]) @ power @ u).sum() for power in powers)
                assert reach[last, p, c].item() == pytest.approx(expected, rel=1e-12)
    # Lemma 8 with the row norms is never smaller.
    norms = [weight.sum(1).max() for weight in (u, w, v)]
    by_norms = [
        2 * norms[0] * norms[2] * sum(norms[1] ** r for r in range(s)) for s in range(L + 1)
    ]
    assert (reach.amax((1, 2)).numpy() <= np.array(by_norms) * (1 + 1e-12)).all()


@ACTIVATIONS
@pytest.mark.parametrize("last", [1, 3, L])
def test_no_change_of_the_last_steps_moves_two_scores_further_apart(activation, last):
    weights, X, network = make_weights(), make_inputs(), cell(activation)
    reach = network.sensitivities(weights, L)[last]
    generator = torch.Generator().manual_seed(0)
    before = network.infer(weights, X)
    for scale in (1e-3, 0.1, 10.0):
        change = torch.zeros_like(X)
        signs = torch.randint(2, (N, last, D), generator=generator, dtype=torch.float64)
        change[:, L - last :] = scale * (2 * signs - 1)
        moved = network.infer(weights, X + change) - before
        apart = (moved[:, :, None] - moved[:, None]).abs().amax(0)
        assert (apart <= scale * reach * (1 + 1e-9)).all()


def test_sensitivities_are_reached_by_a_positive_linear_network():
    weights = {name: weight.abs() for name, weight in make_weights().items()}
    weights["V"][1] = 0
    X = make_inputs().abs()
    moved = cell().infer(weights, X + 0.25) - cell().infer(weights, X)
    apart = (moved[:, 0] - moved[:, 1]).abs()
    expected = (0.25 * cell().sensitivities(weights, L)[L, 0, 1]).expand(N)
    torch.testing.assert_close(apart, expected)


@pytest.mark.parametrize("n_classes", [2, K])
def test_path_norm_is_the_largest_row_of_the_sums_of_powers(n_classes):
    weights = make_weights()
    weights["V"] = weights["V"][:n_classes]
    u, w, V = weights["U"].abs().numpy(), weights["W"].abs().numpy(), weights["V"].numpy()
    # For two classes the one score is y_1 - y_0.
    rows = np.abs(V[1:] - V[:1]) if n_classes == 2 else np.abs(V)
    sums = rows @ sum(np.linalg.matrix_power(w, L - t) @ u for t in range(1, L + 1))
    expected = sums.sum(1).max()
    network = cell(n_classes=n_classes)
    assert network.path_norm(weights, L) == pytest.approx(expected, rel=1e-12)


def test_path_norm_that_overflows_is_infinite():
    weights = make_weights() | {"V": torch.zeros(K, M)}
    # Zero times infinity: nothing is known.
    assert cell().path_norm(weights | {"W": 1e300 * weights["W"]}, 9) == np.inf
    assert cell().path_norm(weights, 9) == 0
