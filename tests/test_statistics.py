"""Sums over the data against NumPy."""

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch

from sklearn_rnnbound import noise
from sklearn_rnnbound.network import RecurrentNetwork, fisher_rao_norm, score_margins
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.spectrum import whitened_norm
from sklearn_rnnbound.statistics import (
    BoxStatistics,
    HoldoutCounts,
    InputSums,
    PosteriorErrors,
    QuantizedErrors,
    SampleStatistics,
    box_statistics,
    gradient_norm,
    network_norms,
    sample_statistics,
)


def class_margins(scores, targets):
    return score_margins(scores, targets).numpy()


def test_margins():
    scores = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, -1.0], [5.0, 1.0, 9.0]])
    np.testing.assert_array_equal(class_margins(scores, torch.tensor([1, 0, 0])), [1.0, 0.0, -4.0])
    np.testing.assert_array_equal(class_margins(scores[:, :2], torch.tensor([0, 1, 0])), [-2, 0, 4])


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_margins_against_a_loop(n_classes):
    rng = np.random.default_rng(n_classes)
    # Few values, so that many scores tie.
    scores = rng.integers(-2, 3, size=(200, n_classes)).astype(float)
    targets = rng.integers(0, n_classes, 200)
    expected = [row[y] - np.delete(row, y).max() for row, y in zip(scores, targets, strict=True)]
    assert 0.0 in expected
    result = class_margins(torch.tensor(scores), torch.tensor(targets))
    np.testing.assert_array_equal(result, expected)


@pytest.fixture
def network():
    rng = np.random.default_rng(1)
    return RecurrentNetwork(*(torch.tensor(rng.normal(size=s)) for s in ((4, 3), (4, 4), (5, 4))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_over_the_sample(network, dtype, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 100)
    network = network.to(dtype)
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.normal(size=(30, 6, 3))).to(dtype)
    targets = torch.tensor(rng.integers(0, 5, 30))
    law = InputNoise("laplace", 0.3)
    sample = sample_statistics(
        network,
        X,
        targets,
        n_classes=5,
        min_eigenvalue=0.25,
        norms=(1.0, (0.5, 0.5), 2.0),
        noise=law,
        seed=9,
    )
    assert (sample.n_samples, sample.n_steps, sample.n_features) == (30, 6, 3)
    assert (sample.beta_u, sample.beta_w, sample.beta_v) == (1.0, (0.5, 0.5), 2.0)
    noisy = torch.cat(list(input_chunks(X, law, seed=9)))
    for sums, inputs in ((sample.clean, X), (sample.noisy, noisy)):
        values = inputs.double().numpy()
        scores = network(inputs).detach().numpy()
        others = [np.delete(row, y).max() for row, y in zip(scores, targets, strict=True)]
        expected = scores[np.arange(30), targets] - np.array(others)
        np.testing.assert_allclose(
            sums.margins, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12
        )
        np.testing.assert_allclose(sums.square_sums, (values**2).sum(0), rtol=1e-12)
        np.testing.assert_allclose(sums.step_abs_sums, np.abs(values).sum(0).max(1), rtol=1e-12)
        assert sums.frobenius == pytest.approx(np.linalg.norm(values), rel=1e-12)
        assert sums.abs_sum == pytest.approx(np.abs(values).sum(0).max(), rel=1e-12)
        assert sums.fisher_rao == pytest.approx(fisher_rao_norm(*network.weights, [inputs]))
    assert sample.fisher_rao_gradient == pytest.approx(gradient_norm(network, noisy, targets))
    assert (sample.n_classes, sample.min_eigenvalue) == (5, 0.25)
    assert not np.array_equal(sample.clean.margins, sample.noisy.margins)
    assert sample.network == network_norms(*(weight.numpy() for weight in network.weights), 6)


def test_single_precision_data_are_summed_in_double_precision(network):
    # Added to 2^28 in float32 each square of 1 would be lost, and each 2^-20 of the plain sum.
    X = torch.full((3000, 1, 3), 1.0 + 2.0**-20, dtype=torch.float32)
    X[0] = 2.0**14
    sample = sample_statistics(
        network.float(),
        X,
        torch.zeros(3000, dtype=torch.int64),
        n_classes=5,
        min_eigenvalue=0.0,
        norms=(1.0, 1.0, 1.0),
        noise=None,
        seed=0,
    )
    assert sample.noisy is None
    exact = 2.0**28 + 2999 * (1.0 + 2.0**-20) ** 2
    np.testing.assert_allclose(sample.clean.square_sums, exact, rtol=1e-14)
    assert sample.clean.step_abs_sums == 2.0**14 + 2999 * (1.0 + 2.0**-20)


def statistics_of(network, X, targets, **options):
    defaults = {"min_eigenvalue": 0.25, "norms": (1.0, 1.0, 1.0), "noise": None, "seed": 9}
    return sample_statistics(
        network, X, targets, n_classes=len(network.weights[2]), **{**defaults, **options}
    )


def test_inputs_take_the_precision_of_the_network(network):
    rng = np.random.default_rng(0)
    X, targets = torch.tensor(rng.normal(size=(7, 6, 3))), torch.tensor(rng.integers(0, 5, 7))
    network = network.float()
    sample, same = (statistics_of(network, inputs, targets) for inputs in (X, X.float()))
    for name in ("margins", "square_sums", "step_max_sums", "fisher_rao"):
        np.testing.assert_array_equal(getattr(sample.clean, name), getattr(same.clean, name))
    assert gradient_norm(network, X, targets) == gradient_norm(network, X.float(), targets)


def test_scores_that_overflow_leave_an_error_at_every_margin():
    # One hidden unit at 1e308 is read out as 1e308 times 10 for both classes: inf minus inf.
    U, W, V = torch.ones(1, 1), torch.zeros(1, 1), torch.full((2, 1), 10.0)
    network = RecurrentNetwork(*(weight.double() for weight in (U, W, V)))
    X = torch.tensor([[[1e308]], [[-1.0]]], dtype=torch.float64)
    sample = statistics_of(network, X, torch.tensor([0, 1]))
    assert sample.clean.margins.tolist() == [-np.inf, 0.0]
    assert sample.fisher_rao_gradient == np.inf


@pytest.fixture
def flushed():
    """Numbers below the smallest normal one count as zero, as on some processors."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps them")
    yield
    torch.set_flush_denormal(False)


TINY = np.finfo(float).tiny
# Its square is 0.9 of it, and would be zero if it were computed below.
SMALL = np.sqrt(0.9 * TINY)


@pytest.mark.usefixtures("flushed")
def test_squares_that_vanish_still_count(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)
    # The second step and the second feature of all steps are zero.
    X = torch.zeros(100, 3, 2, dtype=torch.float64)
    X[:, [0, 2], 0] = SMALL
    targets = torch.zeros(100, dtype=torch.int64)
    sums = statistics_of(scalar_network(n_features=2), X, targets).clean.square_sums
    assert (sums[[0, 2], 0] >= 90 * TINY).all()
    assert (sums[[0, 2], 0] <= 110 * TINY).all()
    assert sums[1].tolist() == [0.0, 0.0]
    assert sums[:, 1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.usefixtures("flushed")
def test_energy_that_vanishes_still_counts():
    X = torch.zeros(4, 3, 1, dtype=torch.float64)
    network, targets = scalar_network(), torch.zeros(4, dtype=torch.int64)
    assert statistics_of(network, X, targets, decay=2.0).clean.energy == (0.0, 0.0)
    # Steps 1 and 3 have the weights 4 and 1; the true energy of each sample is 4.5 tiny.
    X[:, [0, 2]] = SMALL
    mean, variance = statistics_of(network, X, targets, decay=2.0).clean.energy
    assert 4.5 * TINY <= mean <= 6 * TINY
    assert variance == 0.0


@pytest.mark.usefixtures("flushed")
def test_hidden_units_that_vanish_still_count(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 6)
    # Of two units the second never wakes; the first does, for the first of ten samples alone.
    U = torch.tensor([[SMALL], [-1.0]], dtype=torch.float64)
    weights = U, torch.zeros(2, 2).double(), torch.ones(2, 2).double()
    X = torch.zeros(10, 3, 1, dtype=torch.float64)
    X[0] = 1.0
    few = box_statistics(weights, weights, weights, X, "relu", width=0.0, n_prior=1)
    assert (few.hidden_norms[:, 0] >= SMALL).all()
    assert few.hidden_norms[:, 1].tolist() == [0.0, 0.0, 0.0]
    every = box_statistics(weights, weights, weights, 0 * X + 1, "relu", width=0.0, n_prior=1)
    assert (every.hidden_norms[:, 0] >= np.sqrt(9 * TINY)).all()
    assert (every.hidden_norms[:, 0] <= np.sqrt(11 * TINY)).all()


def scalar_network(n_features=1, n_classes=2):
    rng = np.random.default_rng(2)
    shapes = ((4, n_features), (4, 4), (n_classes, 4))
    return RecurrentNetwork(*(torch.tensor(rng.normal(size=s)) for s in shapes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("law", [None, InputNoise("uniform", 0.4)])
def test_largest_entries_and_vectors(network, dtype, law, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 100)
    network = network.to(dtype)
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.normal(size=(30, 6, 3))).to(dtype)
    sample = statistics_of(network, X, torch.tensor(rng.integers(0, 5, 30)), noise=law)
    pairs = [(sample.clean, X)]
    if law is not None:
        pairs.append((sample.noisy, torch.cat(list(input_chunks(X, law, seed=9)))))
    for sums, inputs in pairs:
        values = inputs.double().numpy()
        expected = [sum(max(abs(v) for v in x[t]) for x in values) for t in range(6)]
        np.testing.assert_allclose(sums.step_max_sums, expected, rtol=1e-12)
        largest = max(np.linalg.norm(step) for x in values for step in x)
        assert sums.max_norm == pytest.approx(largest, rel=1e-12)
        assert sums.scalar_fisher_rao is None
        assert sums.energy is None
        assert (sums.step_max_sums >= sums.step_abs_sums - 1e-12).all()


@pytest.mark.parametrize("law", [None, InputNoise("laplace", 0.3)])
def test_fisher_rao_norm_of_the_scalar_score(law, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)
    network = scalar_network(n_features=3)
    rng = np.random.default_rng(0)
    X, targets = torch.tensor(rng.normal(size=(20, 5, 3))), torch.tensor(rng.integers(0, 2, 20))
    sample = statistics_of(network, X, targets, noise=law)
    inputs = X if law is None else torch.cat(list(input_chunks(X, law, seed=9)))
    U, W, V = (weight.numpy() for weight in network.weights)
    total = 0.0
    for x in inputs.numpy():
        tau = sum(
            (5 + 2 - t) * (V[1] - V[0]) @ np.linalg.matrix_power(W, 5 - t) @ U @ x[t - 1]
            for t in range(1, 6)
        )
        total += tau**2
    sums = sample.clean if law is None else sample.noisy
    assert sums.scalar_fisher_rao == pytest.approx(np.sqrt(total / 20), rel=1e-10)
    assert sums.scalar_fisher_rao <= 2 * sums.fisher_rao


@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0, 1.7])
def test_energy_of_one_feature_under_a_decay(decay, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)
    network = scalar_network()
    rng = np.random.default_rng(0)
    X, targets = torch.tensor(rng.normal(size=(20, 5, 1))), torch.tensor(rng.integers(0, 2, 20))
    law = InputNoise("gaussian", 0.5)
    sample = statistics_of(network, X, targets, decay=decay, noise=law)
    values = [
        sum((decay ** (5 - t) if t < 5 else 1.0) * float(x[t - 1, 0]) ** 2 for t in range(1, 6))
        for x in X
    ]
    mean = sum(values) / 20
    variance = sum((value - mean) ** 2 for value in values) / 19
    assert sample.clean.energy == pytest.approx((mean, variance), rel=1e-10)
    # The population form speaks of the clean input.
    assert sample.noisy.energy is None
    assert statistics_of(network, X, targets).clean.energy is None
    wide = X.expand(20, 5, 3)
    wider = statistics_of(scalar_network(n_features=3), wide, targets, decay=decay)
    assert wider.clean.energy is None


def test_energy_of_one_sample_and_of_a_decay_that_overflows():
    network = scalar_network()
    X, targets = torch.ones(2, 5, 1, dtype=torch.float64), torch.tensor([0, 1])
    single = statistics_of(network, X[:1], targets[:1], decay=1.0)
    assert single.clean.energy == (5.0, 0.0)
    overflowing = statistics_of(network, X, targets, decay=1e100)
    assert overflowing.clean.energy == (np.inf, 0.0)
    # One sample of energy 5, and one of 20: the variance is 2 * 7.5^2. Then one that overflows.
    X[1] = 2.0
    assert statistics_of(network, X, targets, decay=1.0).clean.energy == (12.5, 112.5)
    X[1] = 1e200
    assert statistics_of(network, X, targets, decay=1.0).clean.energy == (np.inf, 0.0)


def test_whitened_norm_belongs_to_the_input_of_the_training():
    network = scalar_network()
    X, targets = torch.ones(2, 5, 1, dtype=torch.float64), torch.tensor([0, 1])
    quiet = statistics_of(network, X, targets, whitened_norm=3.0)
    assert quiet.clean.whitened_norm == 3.0
    law = InputNoise("gaussian", 0.5)
    noisy = statistics_of(network, X, targets, whitened_norm=3.0, noise=law)
    assert (noisy.clean.whitened_norm, noisy.noisy.whitened_norm) == (None, 3.0)


@pytest.mark.parametrize("variance", [0.0, 0.3])
@pytest.mark.parametrize("limit", [0, 10_000])
def test_whitened_norm_is_the_transcribed_trace(variance, limit, monkeypatch):
    # Both by QR and by Cholesky.
    monkeypatch.setattr("sklearn_rnnbound.spectrum._QR_MAX_WIDTH", limit)
    rng = np.random.default_rng(0)
    n, n_steps, d = 50, 4, 2
    X = rng.normal(size=(n, n_steps, d)) * [1.0, 30.0]
    inputs = X + 0.1 * rng.normal(size=X.shape)
    moment = sum(np.outer(x.ravel(), x.ravel()) for x in X) / n + variance * np.eye(8)
    C = np.diag(np.repeat([n_steps + 2 - t for t in range(1, n_steps + 1)], d).astype(float))
    gram = sum(np.outer(z.ravel(), z.ravel()) for z in inputs)
    expected = np.sqrt(np.trace(gram @ np.linalg.inv(C @ moment @ C)))
    result = whitened_norm(X, [inputs[:20], inputs[20:]], variance)
    assert result == pytest.approx(expected, rel=1e-9)
    # Lemma 3 relaxes it.
    lowest = np.linalg.eigvalsh(moment)[0]
    assert result <= np.linalg.norm(inputs) / 2 / np.sqrt(lowest)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_gradient_norm_is_that_of_automatic_differentiation(n_classes, activation, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)
    weights = scalar_network(n_features=3, n_classes=n_classes).weights
    network = RecurrentNetwork(*weights, activation=activation)
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.normal(size=(17, 5, 3)))
    targets = torch.tensor(rng.integers(0, n_classes, 17))
    total = 0.0
    for x, y in zip(X, targets, strict=True):
        loss = torch.nn.functional.cross_entropy(network(x[None]), y[None])
        (gradient,) = torch.autograd.grad(loss, network.theta)
        total += float(network.theta.detach() @ gradient) ** 2
    expected = np.sqrt(total / 17)
    assert gradient_norm(network, X, targets) == pytest.approx(expected, rel=1e-10)
    for law in (None, InputNoise("gaussian", 0.5)):
        inputs = X if law is None else torch.cat(list(input_chunks(X, law, seed=9)))
        sample = statistics_of(network, X, targets, noise=law)
        expected = gradient_norm(network, inputs, targets)
        assert sample.fisher_rao_gradient == pytest.approx(expected, rel=1e-10)


def test_training_error_counts_margins_up_to_zero():
    network = scalar_network()
    X, targets = torch.ones(4, 2, 1, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    sample = statistics_of(network, X, targets)
    margins = np.array([-1.0, 0.0, 0.5, 1.0])
    assert replace(sample, clean=replace(sample.clean, margins=margins)).train_error == 0.5


def test_what_was_not_asked_for_is_absent():
    sample = statistics_of(scalar_network(), torch.ones(2, 5, 1).double(), torch.tensor([0, 1]))
    assert (sample.noisy, sample.box, sample.holdout, sample.posterior) == (None,) * 4
    assert sample.quantized == ()
    assert (sample.clean.whitened_norm, sample.clean.energy) == (None, None)
    given = {
        name: getattr(sample, name)
        for name in ("n_classes", "clean", "noisy", "min_eigenvalue", "network")
    }
    bare = SampleStatistics(**given, beta_u=1.0, beta_w=1.0, beta_v=1.0)
    assert np.isnan(bare.fisher_rao_gradient)
    names = [field.name for field in fields(InputSums) if field.default is None]
    assert names == ["scalar_fisher_rao", "whitened_norm", "energy"]
    assert QuantizedErrors(4, 30.0, 2, "zero").test_error is None
    assert PosteriorErrors(0.1, 2.0, 24, 0.2, 12.0, "zero").test_error is None


def test_records_do_not_change():
    sample = statistics_of(scalar_network(), torch.ones(2, 5, 1).double(), torch.tensor([0, 1]))
    arrays = (np.zeros(1),)
    for record in (
        sample,
        sample.clean,
        sample.network,
        BoxStatistics(arrays, arrays, arrays[0], 0.1, 3),
        HoldoutCounts(1, 2),
        QuantizedErrors(4, 30.0, 2, "zero"),
        PosteriorErrors(0.1, 2.0, 24, 0.2, 12.0, "zero"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(record, fields(record)[0].name, None)


@pytest.mark.parametrize("n_steps", [1, 2, 6])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_the_network(n_steps, n_classes, dtype):
    rng = np.random.default_rng(0)
    U, W, V = (rng.normal(size=s).astype(dtype) for s in ((4, 3), (4, 4), (n_classes, 4)))
    norms = network_norms(U, W, V, n_steps)
    assert norms.hidden_size == 4
    U, W, V = (weight.astype(float) for weight in (U, W, V))
    for norm, weight in zip(
        (norms.spectral_u, norms.spectral_w, norms.spectral_v), (U, W, V), strict=True
    ):
        largest = np.sqrt(np.linalg.eigvalsh(weight @ weight.T)[-1])
        assert norm == pytest.approx(largest, rel=1e-10)
    rows = [V[1] - V[0]] if n_classes == 2 else list(V)
    paths = max(
        sum(
            (np.abs(row) @ np.linalg.matrix_power(np.abs(W), n_steps - t) @ np.abs(U)).sum()
            for t in range(1, n_steps + 1)
        )
        for row in rows
    )
    assert norms.path_norm == pytest.approx(paths, rel=1e-10)


def test_path_norm_that_overflows_is_infinite():
    U, V = np.ones((2, 1)), np.array([[0.0, 0.0], [1.0, 0.0]])
    assert network_norms(U, 10 * np.eye(2), V, 400).path_norm == np.inf
    # A weight of zero beside an infinite path hides nothing.
    assert network_norms(U, 10 * np.eye(2), V[:, ::-1], 400).path_norm == np.inf
    assert network_norms(U, 10 * np.eye(2), np.ones((3, 2)), 400).path_norm == np.inf
    # No zero on the way: the sum itself overflows.
    assert network_norms(U, np.full((2, 2), 10.0), np.ones((3, 2)), 400).path_norm == np.inf
    assert np.isfinite(network_norms(U, 10 * np.eye(2), V, 300).path_norm)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_statistics_are_the_ends_and_the_hidden_norms_of_the_centre(
    activation, dtype, monkeypatch
):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)
    rng = np.random.default_rng(0)
    center = tuple(torch.tensor(rng.normal(size=s)).to(dtype) for s in ((4, 3), (4, 4), (2, 4)))
    lower, upper = (tuple(w + shift for w in center) for shift in (-0.1, 0.2))
    X = torch.tensor(rng.normal(size=(20, 5, 3))).to(dtype)
    box = box_statistics(lower, upper, center, X, activation, width=0.3, n_prior=17)
    assert (box.width, box.n_prior) == (0.3, 17)
    for result, ends in ((box.lower, lower), (box.upper, upper)):
        for array, weight in zip(result, ends, strict=True):
            np.testing.assert_array_equal(array, weight)
    U, W, _ = (weight.double().numpy() for weight in center)
    squares = np.zeros((5, 4))
    for x in X.double().numpy():
        h = np.zeros(4)
        for t in range(5):
            g = U @ x[t] + W @ h
            h = np.maximum(g, 0) if activation == "relu" else np.tanh(g)
            squares[t] += h**2
    np.testing.assert_allclose(box.hidden_norms, np.sqrt(squares), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_norm_of_a_report_is_bit_for_bit_the_one_that_training_limits(n_classes, dtype):
    """A radius that training enforces must hold for the number that is reported."""
    rng = np.random.default_rng(0)
    for n, n_steps, d in ((2500, 13, 7), (700, 29, 19), (30, 1, 1)):
        shapes = ((8, d), (8, 8), (n_classes, 8))
        network = RecurrentNetwork(*(torch.tensor(rng.normal(size=s)) for s in shapes)).to(dtype)
        X = torch.tensor(rng.normal(size=(n, n_steps, d))).to(dtype)
        law = InputNoise("gaussian", 0.1)
        sample = statistics_of(network, X, torch.tensor(rng.integers(0, n_classes, n)), noise=law)
        norm = fisher_rao_norm(*network.weights, input_chunks(X, law, seed=9))
        assert sample.noisy.fisher_rao == norm
        assert sample.clean.fisher_rao == fisher_rao_norm(*network.weights, input_chunks(X))
