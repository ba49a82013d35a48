"""The network and its forward recursions against autograd, brute force and plain loops."""

import numpy as np
import pytest
import torch

from sklearn_rnnbound import noise
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    fisher_rao_norm,
    initial_weights,
    linearized_readout,
    network_scores,
    score_margins,
    sensitivities,
    step_coefficients,
    theta_derivative,
    torch_threads,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.statistics import gradient_norm

N, L, D, M, K = 7, 5, 3, 6, 4


def make_weights(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((M, D), (M, M), (K, M))
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)


def make_inputs(seed=1, dtype=torch.float64, n_steps=L):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, n_steps, D, generator=generator, dtype=torch.float64).to(dtype)


def front_padded(X, n_zeros=9):
    return torch.cat([X.new_zeros(len(X), n_zeros, X.shape[2]), X], dim=1)


def loop_scores(weights, X, activation):
    U, W, V = (w.numpy() for w in weights)
    scores = []
    for x in X.numpy():
        h = np.zeros(M)
        for t in range(L):
            g = U @ x[t] + W @ h
            h = np.maximum(g, 0) if activation == "relu" else np.tanh(g)
        scores.append(V @ h)
    return np.array(scores)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_scores_are_those_of_a_plain_loop(activation, dtype, rtol):
    weights, X = make_weights(dtype=dtype), make_inputs(dtype=dtype)
    network = RecurrentNetwork(*weights, activation)
    expected = loop_scores(make_weights(), make_inputs(), activation)
    np.testing.assert_allclose(network(X).detach(), expected, rtol=rtol, atol=rtol)


def test_scores_in_blocks_of_rows_are_the_scores(monkeypatch):
    network, X = RecurrentNetwork(*make_weights()), make_inputs()
    expected = network(X).detach()
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 2 * L * M)
    torch.testing.assert_close(network_scores(network, X), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_zero_steps_in_front_change_no_score(activation):
    network, X = RecurrentNetwork(*make_weights(), activation), make_inputs()
    torch.testing.assert_close(network(front_padded(X)), network(X), rtol=1e-12, atol=0)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_order_of_the_hidden_units_changes_no_score(activation):
    U, W, V = make_weights()
    X, order = make_inputs(), torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = RecurrentNetwork(U[order], W[order][:, order], V[:, order], activation)
    expected = RecurrentNetwork(U, W, V, activation)(X)
    torch.testing.assert_close(permuted(X), expected, rtol=1e-10, atol=1e-10)


def test_weights_are_copies():
    weights, X = make_weights(), make_inputs()
    network = RecurrentNetwork(*make_weights(seed=5))
    network.load_weights(weights)
    for own, given in zip(network.weights, weights, strict=True):
        assert torch.equal(own, given)
        assert own.data_ptr() != given.data_ptr()
    assert torch.equal(network(X), RecurrentNetwork(*weights)(X))


def test_the_global_generator_is_untouched():
    before = torch.get_rng_state()
    U, W, V = initial_weights(D, M, K, torch.Generator().manual_seed(0))
    network, X = RecurrentNetwork(U, W, V), make_inputs()
    network(X)
    network_scores(network, X)
    gradient_norm(network, X, torch.zeros(N, dtype=torch.int64), InputNoise("laplace", 0.1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("hidden_size", [1, 2, 3, 64])
def test_initial_recurrence_is_orthogonal_and_partly_the_identity(hidden_size):
    _, W, _ = initial_weights(D, hidden_size, K, torch.Generator().manual_seed(0))
    eye = torch.eye(hidden_size, dtype=torch.float64)
    torch.testing.assert_close(W @ W.T, eye)
    torch.testing.assert_close(W[::4], eye[::4])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_steps", [1, 2, 12])
@pytest.mark.parametrize("n_zeros", [0, 3])
def test_lemma_1_against_a_jacobian_vector_product(activation, n_steps, n_zeros):
    weights, X = make_weights(), front_padded(make_inputs(n_steps=n_steps), n_zeros)
    network = RecurrentNetwork(*weights, activation)
    names = [name for name, _ in network.named_parameters()]

    def scores_at(*parameters):
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), X)

    # A double backward pass: the product of the Jacobian with theta itself.
    _, expected = torch.autograd.functional.jvp(scores_at, weights, weights)
    scores, derivative = theta_derivative(*weights, X, activation)
    torch.testing.assert_close(scores, network(X).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(derivative, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decimals", [0, 15])
def test_eta_is_the_sum_over_steps_of_lemma_1(decimals):
    # Whole numbers bring many units exactly to zero, where the derivative of relu is zero.
    U, W, V = (weight.round(decimals=decimals) for weight in make_weights())
    X = make_inputs().round(decimals=decimals)
    _, derivative = theta_derivative(U, W, V, X, "relu")
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


def brute_force_tau(U, W, V, x):
    n_steps = len(x)
    return sum(
        (n_steps + 2 - t) * V @ torch.linalg.matrix_power(W, n_steps - t) @ U @ x[t - 1]
        for t in range(1, n_steps + 1)
    )


@pytest.mark.parametrize("n_steps", [1, 2, L])
def test_tau_against_powers_and_the_forward_recursion(n_steps):
    U, W, V = make_weights()
    X = make_inputs(n_steps=n_steps)
    tau = X.flatten(1) @ linearized_readout(U, W, V, n_steps).flatten(0, 1)
    expected = torch.stack([brute_force_tau(U, W, V, x) for x in X])
    torch.testing.assert_close(tau, expected, rtol=1e-10, atol=1e-10)
    s = torch.zeros(N, M, dtype=torch.float64)
    for t in range(1, n_steps + 1):
        s = s @ W.T + (n_steps + 2 - t) * X[:, t - 1] @ U.T
    torch.testing.assert_close(tau, s @ V.T, rtol=1e-10, atol=1e-10)


def test_coefficients():
    assert step_coefficients(4).tolist() == [5.0, 4.0, 3.0, 2.0]
    assert step_coefficients(1).tolist() == [2.0]
    assert step_coefficients(1).dtype == torch.float64


def test_eta_is_tau_where_every_unit_is_active():
    U, W, V = make_weights()
    U, W, X = U.abs(), W.abs(), make_inputs().abs()
    _, eta = theta_derivative(U, W, V, X, "relu")
    tau = X.flatten(1) @ linearized_readout(U, W, V, L).flatten(0, 1)
    torch.testing.assert_close(eta, tau)


def test_linearized_fisher_rao_norm_is_the_root_mean_square_of_the_largest_tau():
    U, W, V = make_weights()
    X = make_inputs()
    expected = np.sqrt(
        np.mean([max(float(v) ** 2 for v in brute_force_tau(U, W, V, x)) for x in X])
    )
    assert fisher_rao_norm(U, W, V, [X[:4], X[4:]]) == pytest.approx(expected, rel=1e-12)
    assert fisher_rao_norm(U, W, 3 * V, [X]) == pytest.approx(3 * expected, rel=1e-12)


def test_linearized_fisher_rao_norm_runs_in_double_precision():
    weights, X = make_weights(dtype=torch.float32), make_inputs(dtype=torch.float32)
    expected = fisher_rao_norm(*(weight.double() for weight in weights), [X.double()])
    assert fisher_rao_norm(*weights, [X]) == expected


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradient_fisher_rao_norm_against_the_gradient_of_every_sample(activation, monkeypatch):
    weights, X = make_weights(), make_inputs()
    targets = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    network = RecurrentNetwork(*weights, activation)
    products = []
    for x, y in zip(X, targets, strict=True):
        loss = torch.nn.functional.cross_entropy(network(x[None]), y[None])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        products.append(sum((w * g).sum() for w, g in zip(weights, gradients, strict=True)))
    expected = torch.stack(products).square().mean().sqrt().item()
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 3 * L * M)
    assert gradient_norm(network, X, targets) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_fisher_rao_norm_under_noise_is_that_of_the_noisy_data(dtype, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 3 * L * M)
    weights, X = make_weights(dtype=dtype), make_inputs(dtype=dtype)
    targets, law = torch.tensor([0, 1, 2, 3, 0, 1, 2]), InputNoise("gaussian", 0.5)
    noisy = torch.cat(list(input_chunks(X, M, law, seed=4)))
    double = RecurrentNetwork(*(weight.double() for weight in weights))
    expected = gradient_norm(double, noisy.double(), targets)
    result = gradient_norm(RecurrentNetwork(*weights), X, targets, law, seed=4)
    assert result == pytest.approx(expected, rel=1e-12)
    assert result != pytest.approx(gradient_norm(double, X.double(), targets), rel=1e-3)


def test_thread_count_is_set_and_comes_back():
    before = torch.get_num_threads()
    for count in (before, before + 1, before + 2):
        with torch_threads(count):
            assert torch.get_num_threads() == count
        assert torch.get_num_threads() == before


def fail_with_threads(count):
    with torch_threads(count):
        assert torch.get_num_threads() == count
        raise RuntimeError("inside")


def test_thread_count_comes_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"):
        fail_with_threads(before + 1)
    assert torch.get_num_threads() == before


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


def test_sensitivities_are_sums_of_powers_of_absolute_weights():
    U, W, V = make_weights()
    reach = sensitivities(U, W, V, L)
    assert reach.shape == (L + 1, K, K)
    u, w, v = (weight.abs().numpy() for weight in (U, W, V))
    for last in range(L + 1):
        for p in range(K):
            for c in range(K):
                row = (V[p] - V[c]).abs().numpy()
                powers = (np.linalg.matrix_power(w, r) for r in range(last))
                expected = sum((row @ power @ u).sum() for power in powers)
                assert reach[last, p, c].item() == pytest.approx(expected, rel=1e-12)
    # Lemma 8 with the row norms is never smaller.
    norms = [weight.sum(1).max() for weight in (u, w, v)]
    by_norms = [
        2 * norms[0] * norms[2] * sum(norms[1] ** r for r in range(s)) for s in range(L + 1)
    ]
    assert (reach.amax((1, 2)).numpy() <= np.array(by_norms) * (1 + 1e-12)).all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("last", [1, 3, L])
def test_no_change_of_the_last_steps_moves_two_scores_further_apart(activation, last):
    weights, X = make_weights(), make_inputs()
    network = RecurrentNetwork(*weights, activation)
    reach = sensitivities(*weights, L)[last]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        before = network(X)
        for scale in (1e-3, 0.1, 10.0):
            change = torch.zeros_like(X)
            shape = (N, last, D)
            signs = torch.randint(2, shape, generator=generator, dtype=torch.float64)
            change[:, L - last :] = scale * (2 * signs - 1)
            moved = network(X + change) - before
            apart = (moved[:, :, None] - moved[:, None]).abs().amax(0)
            assert (apart <= scale * reach * (1 + 1e-9)).all()


def test_sensitivities_are_reached_by_a_positive_linear_network():
    U, W, V = (weight.abs() for weight in make_weights())
    V[1] = 0
    network = RecurrentNetwork(U, W, V)
    X = make_inputs().abs()
    with torch.no_grad():
        moved = network(X + 0.25) - network(X)
    apart = (moved[:, 0] - moved[:, 1]).abs()
    expected = (0.25 * sensitivities(U, W, V, L)[L, 0, 1]).expand(N)
    torch.testing.assert_close(apart, expected)
