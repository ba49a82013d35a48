"""The network and its forward recursions against autograd, brute force and plain loops."""

import numpy as np
import pytest
import torch

from sklearn_rnnbound import noise
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    Unrolled,
    fisher_rao_norm,
    initial_weights,
    linearized_readout,
    network_scores,
    score_margins,
    sensitivities,
    split_weights,
    step_coefficients,
    theta_derivative,
    torch_threads,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.statistics import gradient_norm
from sklearn_rnnbound.training import as_tensor

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


def differentiable_scores(weights, X, activation):
    """The same loop in torch, for autograd."""
    U, W, V = weights
    h = X.new_zeros(len(X), len(W))
    for x in X.unbind(1):
        g = x @ U.T + h @ W.T
        h = g.relu() if activation == "relu" else g.tanh()
    return h @ V.T


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_scores_are_those_of_a_plain_loop(activation, dtype, rtol):
    weights, X = make_weights(dtype=dtype), make_inputs(dtype=dtype)
    network = RecurrentNetwork(*weights, activation)
    expected = loop_scores(make_weights(), make_inputs(), activation)
    np.testing.assert_allclose(network(X).detach(), expected, rtol=rtol, atol=rtol)


def test_scores_in_blocks_of_rows_are_the_scores(monkeypatch):
    network, X = RecurrentNetwork(*make_weights()), make_inputs()
    expected = torch.from_numpy(loop_scores(make_weights(), X, "relu"))
    seen = []
    network.register_forward_hook(lambda _, args, scores: seen.append(len(args[0])))
    for limits, sizes in (((1024, 2 * L * D), [2, 2, 2, 1]), ((3, 2**23), [3, 3, 1])):
        monkeypatch.setattr(noise, "_CHUNK_ROWS", limits[0])
        monkeypatch.setattr(noise, "_CHUNK_ENTRIES", limits[1])
        seen.clear()
        torch.testing.assert_close(network_scores(network, X), expected, rtol=1e-12, atol=1e-12)
        assert seen == sizes


def make_stack(n_networks, n_steps, dtype=torch.float64, n_rows=N):
    """theta (G, P), inputs (G, L, b, d) and derivatives (G, b, k) of a loss by the scores."""
    generator = torch.Generator().manual_seed(3)
    n_weights = M * D + M * M + K * M
    shapes = (n_networks, n_weights), (n_networks, n_steps, n_rows, D), (n_networks, n_rows, K)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def by_autograd(theta, inputs, score_gradient, activation):
    """Scores of one network, gradients by U, W, V, and errors (L, b, m), through a plain loop."""
    U, W, V = (weight.clone().requires_grad_() for weight in split_weights(theta, (D, M, K)))
    X = inputs.transpose(0, 1)
    # Offsets of g_t, all of them zero: inputs of weight one.
    offsets = X.new_zeros(*X.shape[:2], M).requires_grad_()
    extended = torch.cat([U, torch.eye(M).to(U)], dim=1)
    scores = differentiable_scores((extended, W, V), torch.cat([X, offsets], dim=2), activation)
    variables = U, W, V, offsets
    *gradients, errors = torch.autograd.grad((scores * score_gradient).sum(), variables)
    return scores.detach(), *gradients, errors.transpose(0, 1)


def run_there_and_back(run, theta, inputs, score_gradient):
    """The same by Unrolled, for a stack; the gradients are parts of rows of a larger tensor."""
    run.resize(*inputs.shape[:3])
    run.inputs.copy_(inputs)
    weights = split_weights(theta, (D, M, K))
    buffer = theta.new_full((2 * len(theta), theta.shape[1]), torch.nan)
    gradients = split_weights(buffer[::2], (D, M, K))
    scores = run.forward(weights)
    errors = run.backward(weights, score_gradient, gradients)
    assert buffer[1::2].isnan().all()
    np.testing.assert_array_equal(run.inputs, inputs)
    return scores, *gradients, errors


@pytest.mark.parametrize("n_networks", [1, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 7])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_unrolled_against_autograd_for_every_network(n_networks, n_steps, activation, dtype, rtol):
    stack = make_stack(n_networks, n_steps, dtype)
    run = Unrolled((D, M, K), activation, stack[0])
    for theta, inputs, score_gradient, *results in zip(
        *stack, *run_there_and_back(run, *stack), strict=True
    ):
        expected = by_autograd(theta.double(), inputs.double(), score_gradient.double(), activation)
        for result, value in zip(results, expected, strict=True):
            assert result.dtype == dtype
            atol = rtol * float(value.abs().max())
            torch.testing.assert_close(result.double(), value, rtol=0, atol=atol)


@pytest.mark.parametrize("n_networks", [1, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_unrolled_is_exact_on_whole_numbers_and_has_no_slope_at_zero(n_networks, n_steps):
    generator = torch.Generator().manual_seed(0)
    stack = [
        torch.randint(-1, 2, t.shape, generator=generator).double()
        for t in make_stack(n_networks, n_steps)
    ]
    results = run_there_and_back(Unrolled((D, M, K), "relu", stack[0]), *stack)
    n_zeros = 0
    for place in range(n_networks):
        expected = by_autograd(*(t[place] for t in stack), "relu")
        for result, value in zip(results, expected, strict=True):
            assert torch.equal(result[place], value)
        U, W, _ = split_weights(stack[0][place], (D, M, K))
        h = torch.zeros(N, M, dtype=torch.float64)
        for x, errors in zip(stack[1][place], results[-1][place], strict=True):
            g = x @ U.T + h @ W.T
            h = g.relu()
            n_zeros += int((g == 0).sum())
            assert (errors[g == 0] == 0).all()
    assert n_zeros > 0


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_unrolled_keeps_its_memory_and_nothing_of_what_was_in_it(activation):
    run = Unrolled((D, M, K), activation, torch.zeros((), dtype=torch.float64))
    places = []
    for n_networks, n_steps, n_rows in [
        (3, 7, 6), (3, 7, 4), (2, 7, 6), (1, 7, 6), (1, 2, 3), (2, 1, 1), (3, 7, 6), (4, 9, 8)
    ]:  # fmt: skip
        stack = make_stack(n_networks, n_steps, n_rows=n_rows)
        spoiled = [torch.full_like(t, torch.nan) for t in stack]
        assert run_there_and_back(run, *spoiled)[0].isnan().all()
        results = run_there_and_back(run, *stack)
        fresh = Unrolled((D, M, K), activation, stack[0])
        for result, value in zip(results, run_there_and_back(fresh, *stack), strict=True):
            torch.testing.assert_close(result, value, rtol=1e-13, atol=1e-13)
        places.append(run.inputs.data_ptr())
    assert len(set(places[:-1])) == 1


def test_weights_of_a_stack_are_views_of_their_rows():
    theta = torch.arange(2.0 * (M * D + M * M + K * M)).reshape(2, -1)
    weights = split_weights(theta, (D, M, K))
    assert [tuple(w.shape) for w in weights] == [(2, M, D), (2, M, M), (2, K, M)]
    for row, *own in zip(theta, *weights, strict=True):
        assert torch.equal(torch.cat([w.flatten() for w in own]), row)
        for w, same in zip(own, split_weights(row, (D, M, K)), strict=True):
            assert w.data_ptr() == same.data_ptr()


def torch_network(weights, activation):
    """nn.RNN and nn.Linear of the same weights."""
    U, W, V = weights
    options = {"bias": False, "dtype": U.dtype}
    recurrence = torch.nn.RNN(D, M, nonlinearity=activation, batch_first=True, **options)
    readout = torch.nn.Linear(M, K, **options)
    with torch.no_grad():
        recurrence.weight_ih_l0.copy_(U)
        recurrence.weight_hh_l0.copy_(W)
        readout.weight.copy_(V)
    return recurrence, readout


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_steps", [1, 2, 7])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_scores_and_gradients_are_those_of_torch(activation, n_steps, dtype, rtol):
    weights, X = make_weights(dtype=dtype), make_inputs(dtype=dtype, n_steps=n_steps)
    # Smaller weights, so that rounding is not magnified over the steps.
    weights = tuple(weight / 2 for weight in weights)
    recurrence, readout = torch_network(weights, activation)
    network = RecurrentNetwork(*weights, activation)
    targets = torch.arange(N) % K
    results = []
    for scores_of, parameters in (
        (network, [network.theta]),
        (lambda X: readout(recurrence(X)[0][:, -1]), [*recurrence.parameters(), readout.weight]),
    ):
        inputs = X.clone().requires_grad_()
        scores = scores_of(inputs)
        loss = torch.nn.functional.cross_entropy(scores, targets)
        *gradients, dX = torch.autograd.grad(loss, [*parameters, inputs])
        assert dX.dtype == dtype
        with torch.no_grad():
            scores_without_gradient = scores_of(X)
        assert not scores_without_gradient.requires_grad
        theta_gradient = torch.cat([gradient.flatten() for gradient in gradients])
        results.append([scores.detach(), scores_without_gradient, theta_gradient, dX])
    for ours, theirs in zip(*results, strict=True):
        atol = rtol * float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def test_gradient_of_the_input_is_made_where_it_is_asked_for():
    network, X = RecurrentNetwork(*make_weights()), make_inputs()
    network(X).sum().backward()
    assert X.grad is None
    frozen = RecurrentNetwork(*make_weights()).requires_grad_(False)
    variable = X.clone().requires_grad_()
    frozen(variable).sum().backward()
    assert frozen.theta.grad is None
    (expected,) = torch.autograd.grad(
        differentiable_scores(make_weights(), variable, "relu").sum(), variable
    )
    torch.testing.assert_close(variable.grad, expected, rtol=1e-12, atol=1e-12)


def test_graphs_do_not_share_memory_and_can_be_walked_again():
    network, X, other = RecurrentNetwork(*make_weights()), make_inputs(), make_inputs(seed=2)
    scores, others = network(X), network(other)

    def gradient(of):
        return torch.autograd.grad(of.square().sum(), network.theta, retain_graph=True)[0]

    first = gradient(scores)
    assert not torch.equal(gradient(others), first)
    assert torch.equal(gradient(scores), first)
    assert torch.equal(gradient(network(X)), first)


def test_a_second_derivative_is_refused():
    network, X = RecurrentNetwork(*make_weights()), make_inputs()
    loss = network(X).square().sum()
    (gradient,) = torch.autograd.grad(loss, network.theta, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def inputs_of_any_layout(folder, dtype=torch.float64):
    """The same sequences in several layouts of memory."""
    X = make_inputs(dtype=dtype)
    yield "contiguous", X
    yield "steps first", X.transpose(0, 1).contiguous().transpose(0, 1)
    yield "features first", X.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    for dim in range(3):
        wide = X.repeat_interleave(2, dim)
        yield f"every second along {dim}", wide[tuple([slice(None)] * dim + [slice(None, None, 2)])]
    np.save(folder / "X.npy", X.numpy())
    mapped = np.load(folder / "X.npy", mmap_mode="r")
    yield "memory map", as_tensor(mapped)
    yield "memory map, rows", as_tensor(mapped[2:])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layout_of_the_input_changes_nothing(activation, tmp_path):
    network = RecurrentNetwork(*make_weights(), activation)
    X = make_inputs()
    expected = torch.from_numpy(loop_scores(make_weights(), X, activation))
    for name, inputs in inputs_of_any_layout(tmp_path):
        rows = slice(N - len(inputs), N)
        scores = network(inputs)
        (gradient,) = torch.autograd.grad(scores.sum(), network.theta)
        variables = [weight.requires_grad_() for weight in make_weights()]
        loss = differentiable_scores(variables, X[rows], activation).sum()
        theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, variables)])
        torch.testing.assert_close(gradient, theirs, rtol=1e-11, atol=1e-11, msg=name)
        with torch.no_grad():
            quick = network(inputs)
        by_recursion, _ = theta_derivative(*network.weights, inputs, activation)
        for result in (scores.detach(), quick, network_scores(network, inputs), by_recursion):
            torch.testing.assert_close(result, expected[rows], rtol=1e-12, atol=1e-12, msg=name)
        assert torch.equal(inputs, X[rows]), name


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
    network = RecurrentNetwork(*weights)
    for own, given in zip(network.weights, weights, strict=True):
        assert torch.equal(own, given)
        assert own.data_ptr() != given.data_ptr()
    expected = network(X)
    for given in weights:
        given.zero_()
    assert torch.equal(network(X), expected)


def test_the_global_generator_is_untouched():
    before = torch.get_rng_state()
    U, W, V = initial_weights(D, M, K, torch.Generator().manual_seed(0))
    network, X = RecurrentNetwork(U, W, V), make_inputs()
    network(X)
    network(X).sum().backward()
    network_scores(network, X)
    gradient_norm(network, X, torch.zeros(N, dtype=torch.int64))
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

    def scores_at(*weights):
        return differentiable_scores(weights, X, activation)

    # A double backward pass: the product of the Jacobian with theta itself.
    expected_scores, expected = torch.autograd.functional.jvp(scores_at, weights, weights)
    scores, derivative = theta_derivative(*weights, X, activation)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-12, atol=1e-12)
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
    variables = [weight.clone().requires_grad_() for weight in weights]
    products = []
    for x, y in zip(X, targets, strict=True):
        scores = differentiable_scores(variables, x[None], activation)
        gradients = torch.autograd.grad(
            torch.nn.functional.cross_entropy(scores, y[None]), variables
        )
        products.append(sum((w * g).sum() for w, g in zip(weights, gradients, strict=True)))
    expected = torch.stack(products).square().mean().sqrt().item()
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 3 * L * D)
    assert gradient_norm(network, X, targets) == pytest.approx(expected, rel=1e-10)


def test_gradient_fisher_rao_norm_in_single_precision(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 3 * L * D)
    weights, X = make_weights(dtype=torch.float32), make_inputs(dtype=torch.float32)
    targets, law = torch.tensor([0, 1, 2, 3, 0, 1, 2]), InputNoise("gaussian", 0.5)
    noisy = torch.cat(list(input_chunks(X, law, seed=4)))
    double = RecurrentNetwork(*(weight.double() for weight in weights))
    for inputs in (X, noisy):
        expected = gradient_norm(double, inputs.double(), targets)
        result = gradient_norm(RecurrentNetwork(*weights), inputs, targets)
        assert result == pytest.approx(expected, rel=1e-5)


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
