"""What a sample and a network are reduced to, against NumPy and loops."""

import numpy as np
import pytest
import torch

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.cells.fisher_rao import fisher_rao_norm, gradient_norm
from sklearn_rnnbound.evidence.sample import (
    box_statistics,
    network_norms,
    sample_statistics,
    training_noise,
)
from sklearn_rnnbound.evidence.spectrum import min_eigenvalue, whitened_norm
from sklearn_rnnbound.properties import HOMOGENEOUS
from sklearn_rnnbound.training import noise
from sklearn_rnnbound.training.constraints import Box
from sklearn_rnnbound.training.noise import InputNoise, input_chunks

LAPLACE = Setting(noise="laplace", noise_std=0.3)
GAUSSIAN = Setting(noise="gaussian", noise_std=0.5)


def make_network(d=1, k=2, m=4, dtype=torch.float64, activation="relu", seed=2):
    """A cell and weights of it."""
    rng = np.random.default_rng(seed)
    shapes = {"U": (m, d), "W": (m, m), "V": (k, m)}
    weights = {name: torch.tensor(rng.normal(size=s)).to(dtype) for name, s in shapes.items()}
    return Elman(d, m, k, activation), weights


def make_data(n, n_steps, d, k, dtype=torch.float64):
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.normal(size=(n, n_steps, d))).to(dtype)
    return X, torch.tensor(rng.integers(0, k, n))


def statistics_of(network, X, targets, setting=None, **options):
    defaults = {"seed": 9, "min_eigenvalue": 0.25}
    return sample_statistics(*network, X, targets, setting or Setting(), **{**defaults, **options})


def seen_by(network, X, setting):
    """The input as the network saw it in training."""
    return torch.cat(list(input_chunks(X, training_noise(setting), seed=9)))


@pytest.fixture
def small_chunks(monkeypatch):
    """So few entries in a chunk that every test sees several."""
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_over_the_sample(dtype):
    cell, weights = network = make_network(3, 5, dtype=dtype)
    X, targets = make_data(30, 6, 3, 5, dtype)
    sample = statistics_of(network, X, targets, LAPLACE)
    assert (sample.n_samples, sample.n_steps, sample.n_features) == (30, 6, 3)
    noisy = seen_by(network, X, LAPLACE)
    for sums, inputs in ((sample.clean, X), (sample.noisy, noisy)):
        values = inputs.double().numpy()
        scores = cell.scores(weights, inputs).numpy()
        others = [np.delete(row, y).max() for row, y in zip(scores, targets, strict=True)]
        expected = scores[np.arange(30), targets] - np.array(others)
        rtol = 1e-5 if dtype == torch.float32 else 1e-12
        np.testing.assert_allclose(sums.margins, expected, rtol=rtol)
        np.testing.assert_allclose(sums.square_sums, (values**2).sum(0), rtol=1e-12)
        np.testing.assert_allclose(sums.step_abs_sums, np.abs(values).sum(0).max(1), rtol=1e-12)
        assert sums.frobenius == pytest.approx(np.linalg.norm(values), rel=1e-12)
        assert sums.abs_sum == pytest.approx(np.abs(values).sum(0).max(), rel=1e-12)
        largest = [sum(max(abs(v) for v in x[t]) for x in values) for t in range(6)]
        np.testing.assert_allclose(sums.step_max_sums, largest, rtol=1e-12)
        norms = [np.linalg.norm(step) for x in values for step in x]
        assert sums.max_norm == pytest.approx(max(norms), rel=1e-12)
        assert (sums.scalar_fisher_rao, sums.energy) == (None, None)
    assert (sample.n_classes, sample.min_eigenvalue) == (5, 0.25)
    assert not np.array_equal(sample.clean.margins, sample.noisy.margins)
    expected = gradient_norm(cell, weights, [noisy], targets)
    assert sample.fisher_rao_gradient == pytest.approx(expected)
    quiet = statistics_of(network, X, targets)
    assert quiet.noisy is None
    assert quiet.fisher_rao_gradient == pytest.approx(gradient_norm(cell, weights, [X], targets))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_of_the_network(dtype):
    cell, weights = network = make_network(dtype=dtype)
    norms = network_norms(cell, weights, 3)
    U, W, V = arrays = [weight.double().numpy() for weight in weights.values()]
    spectral = norms.spectral_u, norms.spectral_w, norms.spectral_v
    for norm, weight in zip(spectral, arrays, strict=True):
        largest = np.sqrt(np.linalg.eigvalsh(weight @ weight.T)[-1])
        assert norm == pytest.approx(largest, rel=1e-10)
    assert (norms.hidden_size, norms.path_norm) == (4, cell.path_norm(weights, 3))
    setting = Setting(beta_w=(0.5, 0.5), beta_v=1.0)
    sample = statistics_of(network, *make_data(5, 3, 1, 2, dtype), setting)
    assert sample.network == norms
    # Row norms have the form of their constraint.
    assert sample.beta_u == pytest.approx(np.abs(U).sum(1).max())
    budgets = np.maximum(W, 0).sum(1).max(), np.maximum(-W, 0).sum(1).max()
    assert sample.beta_w == pytest.approx(budgets)
    assert sample.beta_v == pytest.approx(np.abs(V).sum(1).max())


def test_single_precision_data_are_summed_in_double_precision():
    # Added to 2^28 in float32 each square of 1 would be lost, and each 2^-20 of the plain sum.
    X = torch.full((3000, 1, 3), 1.0 + 2.0**-20, dtype=torch.float32)
    X[0] = 2.0**14
    network = make_network(3, 5, dtype=torch.float32)
    sample = statistics_of(network, X, torch.zeros(3000, dtype=torch.int64))
    exact = 2.0**28 + 2999 * (1.0 + 2.0**-20) ** 2
    np.testing.assert_allclose(sample.clean.square_sums, exact, rtol=1e-14)
    assert sample.clean.step_abs_sums == 2.0**14 + 2999 * (1.0 + 2.0**-20)


def test_scores_that_overflow_leave_an_error_at_every_margin():
    # One hidden unit at 1e308 is read out as 1e308 times 10 for both classes: inf minus inf.
    weights = {
        "U": torch.ones(1, 1).double(),
        "W": torch.zeros(1, 1).double(),
        "V": torch.full((2, 1), 10.0).double(),
    }
    X = torch.tensor([[[1e308]], [[-1.0]]], dtype=torch.float64)
    sample = statistics_of((Elman(1, 1, 2), weights), X, torch.tensor([0, 1]))
    assert sample.clean.margins.tolist() == [-np.inf, 0.0]
    assert sample.fisher_rao_gradient == np.inf
    # A margin of zero is an error.
    assert sample.train_error == 1.0


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


@pytest.mark.usefixtures("flushed", "small_chunks")
def test_squares_that_vanish_still_count():
    # The second step and the second feature of all steps are zero.
    X = torch.zeros(100, 3, 2, dtype=torch.float64)
    X[:, [0, 2], 0] = SMALL
    targets = torch.zeros(100, dtype=torch.int64)
    sums = statistics_of(make_network(2), X, targets).clean.square_sums
    assert (sums[[0, 2], 0] >= 90 * TINY).all()
    assert (sums[[0, 2], 0] <= 110 * TINY).all()
    assert sums[1].tolist() == [0.0, 0.0]
    assert sums[:, 1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.usefixtures("flushed")
def test_energy_that_vanishes_still_counts():
    X = torch.zeros(4, 3, 1, dtype=torch.float64)
    case = make_network(), X, torch.zeros(4, dtype=torch.int64), Setting(beta_w=(1.5, 0.5))
    assert statistics_of(*case).clean.energy == (0.0, 0.0)
    # Steps 1 and 3 have the weights 4 and 1; the true energy of each sample is 4.5 tiny.
    X[:, [0, 2]] = SMALL
    mean, variance = statistics_of(*case).clean.energy
    assert 4.5 * TINY <= mean <= 6 * TINY
    assert variance == 0.0


@pytest.mark.usefixtures("flushed")
def test_hidden_units_that_vanish_still_count(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 6)
    # Of two units the second never wakes; the first does, for the first of ten samples alone.
    center = {"U": np.array([[SMALL], [-1.0]]), "W": np.zeros((2, 2)), "V": np.ones((2, 2))}
    cell, box = Elman(1, 2, 2), Box(center, 0.0)
    X = torch.zeros(10, 3, 1, dtype=torch.float64)
    X[0] = 1.0
    few = box_statistics(cell, box, X, 1).hidden_norms
    assert (few[:, 0] >= SMALL).all()
    assert few[:, 1].tolist() == [0.0, 0.0, 0.0]
    every = box_statistics(cell, box, 0 * X + 1, 1).hidden_norms
    assert (every[:, 0] >= np.sqrt(9 * TINY)).all()
    assert (every[:, 0] <= np.sqrt(11 * TINY)).all()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("budgets", [(0.0, 0.0), (0.4, 0.2), (1.0, 0.0), (0.7, 1.0)])
def test_energy_of_one_feature_under_a_decay(budgets):
    X, targets = make_data(20, 5, 1, 2)
    setting = Setting(beta_w=budgets, noise_std=0.5)
    sample, decay = statistics_of(make_network(), X, targets, setting), sum(budgets)
    values = [
        sum((decay ** (5 - t) if t < 5 else 1.0) * float(x[t - 1, 0]) ** 2 for t in range(1, 6))
        for x in X
    ]
    mean = sum(values) / 20
    variance = sum((value - mean) ** 2 for value in values) / 19
    assert sample.clean.energy == pytest.approx((mean, variance), rel=1e-10)
    # The population form speaks of the clean input, of one feature, under a fixed radius.
    assert sample.noisy.energy is None
    assert statistics_of(make_network(), X, targets).clean.energy is None
    wide = statistics_of(make_network(3), X.expand(20, 5, 3), targets, setting)
    assert wide.clean.energy is None


def test_energy_of_one_sample_and_of_a_decay_that_overflows():
    network = make_network()
    X, targets = torch.ones(2, 5, 1, dtype=torch.float64), torch.tensor([0, 1])
    one, huge = Setting(beta_w=(1.0, 0.0)), Setting(beta_w=(1e100, 0.0))
    assert statistics_of(network, X[:1], targets[:1], one).clean.energy == (5.0, 0.0)
    assert statistics_of(network, X, targets, huge).clean.energy == (np.inf, 0.0)
    # One sample of energy 5, and one of 20: the variance is 2 * 7.5^2. Then one that overflows.
    X[1] = 2.0
    assert statistics_of(network, X, targets, one).clean.energy == (12.5, 112.5)
    X[1] = 1e200
    assert statistics_of(network, X, targets, one).clean.energy == (np.inf, 0.0)


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
def test_second_moment_is_estimated_where_it_is_not_known(noise_std, capsys):
    X, targets = make_data(40, 5, 1, 2)
    network = make_network()
    setting = Setting(noise_std=noise_std, properties=frozenset({HOMOGENEOUS}))
    sample = statistics_of(network, X, targets, setting, min_eigenvalue=None, verbose=True)
    assert sample.min_eigenvalue == min_eigenvalue(X.numpy()) > 0
    inputs = seen_by(network, X, setting).numpy()
    expected = whitened_norm(X.numpy(), [inputs], noise_std**2)
    norms = [sums and sums.whitened_norm for sums in (sample.clean, sample.noisy)]
    assert norms == ([None, expected] if noise_std else [expected, None])
    assert capsys.readouterr().out.count("...") == 2
    # Known, without the property that its bounds need, or zero: there is nothing to whiten with.
    for case, options in [
        (X, {}),
        (X, {"min_eigenvalue": None, "setting": Setting(noise_std=noise_std)}),
        (X[:3], {"min_eigenvalue": None}),
    ]:
        given = {"setting": setting} | options
        sample = statistics_of(network, case, targets[: len(case)], **given)
        assert (sample.noisy or sample.clean).whitened_norm is None
    assert sample.min_eigenvalue == 0


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_statistics_are_the_ends_and_the_hidden_norms_of_the_centre(activation, dtype):
    cell, weights = make_network(3, activation=activation, dtype=dtype)
    box = Box({name: weight.numpy() for name, weight in weights.items()}, 0.3)
    X, targets = make_data(20, 5, 3, 2, dtype)
    result = box_statistics(cell, box, X, 17)
    assert (result.width, result.n_reference) == (0.3, 17)
    for ends, factor in ((result.lower, -1), (result.upper, 1)):
        for name, weight in box.center.items():
            np.testing.assert_allclose(ends[name], weight + factor * 0.15 * np.abs(weight))
    U, W, _ = (weight.double().numpy() for weight in weights.values())
    squares = np.zeros((5, 4))
    for x in X.double().numpy():
        h = np.zeros(4)
        for t in range(5):
            g = U @ x[t] + W @ h
            h = np.maximum(g, 0) if activation == "relu" else np.tanh(g)
            squares[t] += h**2
    np.testing.assert_allclose(result.hidden_norms, np.sqrt(squares), rtol=1e-10)
    # They are taken where the property of the bound is there.
    setting = Setting(properties=cell.properties)
    options = {"box": box, "n_reference": 17}
    with_box = statistics_of((cell, weights), X, targets, setting, **options).box
    np.testing.assert_array_equal(with_box.hidden_norms, result.hidden_norms)
    assert statistics_of((cell, weights), X, targets, **options).box is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_norm_of_a_report_is_bit_for_bit_the_one_that_training_limits(n_classes, dtype):
    """A radius that training enforces must hold for the number that is reported."""
    law = InputNoise("gaussian", 0.5)
    for n, n_steps, d in ((2500, 13, 7), (700, 29, 19), (30, 1, 1)):
        network = make_network(d, n_classes, m=8, dtype=dtype)
        X, targets = make_data(n, n_steps, d, n_classes, dtype)
        sample = statistics_of(network, X, targets, GAUSSIAN)
        assert sample.noisy.fisher_rao == fisher_rao_norm(*network, input_chunks(X, law, seed=9))
        assert sample.clean.fisher_rao == fisher_rao_norm(*network, input_chunks(X))
