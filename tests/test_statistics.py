"""Sums over the data against NumPy, and the smallest eigenvalue against known spectra."""

import joblib
import numpy as np
import pytest
import torch

from sklearn_rnnbound import noise, statistics
from sklearn_rnnbound.network import RecurrentNetwork, fisher_rao_norm
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.statistics import margins, min_eigenvalue, sample_statistics


def with_spectrum(condition, n=2000, L=6, d=8, seed=0):
    """Sequences whose second moment has eigenvalues from 1 down to 1/condition, and the least.

    The factors are orthonormal to rounding and the singular values are what they should be in
    extended precision, so that storing X in float64 is the largest error: 1e-16 of the largest
    singular value, which the tolerances of the tests leave room for.
    """
    rng = np.random.default_rng(seed)
    width = L * d
    eigenvalues = np.geomspace(1.0, 1.0 / condition, width)
    Q = np.linalg.qr(rng.normal(size=(n, width)))[0].astype(np.longdouble)
    P = np.linalg.qr(rng.normal(size=(width, width)))[0].astype(np.longdouble)
    for _ in range(2):
        # Newton-Schulz steps make both orthonormal in extended precision.
        Q = Q @ (1.5 * np.eye(width) - 0.5 * (Q.T @ Q))
        P = P @ (1.5 * np.eye(width) - 0.5 * (P.T @ P))
    X = (Q * np.sqrt(n * eigenvalues.astype(np.longdouble))) @ P.T
    return X.astype(np.float64).reshape(n, L, d), eigenvalues[-1]


ROUTES = pytest.mark.parametrize("route", ["qr", "gram"])


@pytest.fixture
def choose(monkeypatch):
    def choose_route(route):
        if route == "gram":
            monkeypatch.setattr(statistics, "_QR_MAX_WIDTH", 0)

    return choose_route


@pytest.mark.parametrize(("condition", "rtol"), [(1e2, 1e-8), (1e8, 1e-6)])
def test_smallest_eigenvalue_of_a_known_spectrum(condition, rtol):
    X, truth = with_spectrum(condition)
    estimate = min_eigenvalue(X)
    assert truth * (1 - rtol) <= estimate <= truth


@ROUTES
@pytest.mark.parametrize("condition", [1e2, 1e8, 1e12])
@pytest.mark.parametrize("seed", range(3))
def test_smallest_eigenvalue_is_never_above_the_truth(choose, route, condition, seed):
    choose(route)
    X, truth = with_spectrum(condition, seed=seed)
    estimate = min_eigenvalue(X)
    assert 0 <= estimate <= truth
    # Lowered by no more than the digits that are lost.
    if route == "qr":
        assert estimate > 0.999 * truth


def test_gram_route_is_accurate_where_it_can_be(choose):
    choose("gram")
    X, truth = with_spectrum(1e2)
    assert min_eigenvalue(X) == pytest.approx(truth, rel=1e-8)


@ROUTES
def test_rank_deficient_data(choose, route):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(X) > 0
    assert min_eigenvalue(X[:19]) == 0.0
    repeated = X.copy()
    repeated[:, 1, 2] = 3 * repeated[:, 0, 0]
    assert min_eigenvalue(repeated) == 0.0


def test_a_zero_coordinate_needs_no_factorisation(monkeypatch):
    monkeypatch.setattr(statistics.scipy.linalg, "qr", None)
    X = np.ones((100, 2, 3))
    X[:, 1, 1] = 0.0
    assert min_eigenvalue(X) == 0.0
    assert min_eigenvalue(np.ones((5, 2, 3))) == 0.0


@ROUTES
def test_blocks_of_rows_change_nothing(choose, route, monkeypatch):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    whole = min_eigenvalue(X)
    monkeypatch.setattr(statistics, "_MIN_CHUNK_ROWS", 7)
    assert min_eigenvalue(X) == pytest.approx(whole, rel=1e-10)


@ROUTES
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scale_of_the_data(choose, route, scale):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(X * scale) == pytest.approx(min_eigenvalue(X) * scale**2, rel=1e-10)


def test_equicorrelated_features():
    rho, n = 0.6, 200_000
    rng = np.random.default_rng(0)
    X = np.sqrt(1 - rho) * rng.normal(size=(n, 2, 2)) + np.sqrt(rho) * rng.normal(size=(n, 1, 1))
    assert min_eigenvalue(X) == pytest.approx(1 - rho, rel=0.02)


def test_cache_computes_once(tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    X = np.random.default_rng(0).normal(size=(50, 2, 3))
    cached = memory.cache(min_eigenvalue)
    assert not cached.check_call_in_cache(X)
    assert cached(X) == cached(X.copy()) == min_eigenvalue(X)
    assert cached.check_call_in_cache(X)


def test_margins():
    scores = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, -1.0], [5.0, 1.0, 9.0]])
    np.testing.assert_array_equal(margins(scores, torch.tensor([1, 0, 0])), [1.0, 0.0, -4.0])
    np.testing.assert_array_equal(margins(scores[:, :2], torch.tensor([0, 1, 0])), [-2, 0, 4])


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
    noisy = torch.cat(list(input_chunks(X, 4, law, seed=9)))
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
    assert not np.array_equal(sample.clean.margins, sample.noisy.margins)


def test_single_precision_data_are_summed_in_double_precision(network):
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
