"""Sums over the data against NumPy, and the smallest eigenvalue against known spectra."""

from decimal import Decimal, localcontext
from functools import cache

import joblib
import numpy as np
import pytest
import torch

from sklearn_rnnbound import noise, statistics
from sklearn_rnnbound.network import RecurrentNetwork, fisher_rao_norm
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.statistics import (
    gradient_norm,
    margins,
    min_eigenvalue,
    sample_statistics,
)


@cache
def with_spectrum(condition, n=2000, L=6, d=8, seed=0):
    """Sequences whose second moment has eigenvalues from 1 down to 1/condition.

    The rounding of the factors and of X moves the least singular value by a few 1e-16, that is
    relatively by 1e-15 (condition 1e2), 1e-12 (1e8) and 1e-10 (1e12); `gram` is that of X itself.
    """
    rng = np.random.default_rng(seed)
    width = L * d
    eigenvalues = np.geomspace(1.0, 1.0 / condition, width)
    Q, P = (np.linalg.qr(rng.normal(size=(rows, width)))[0] for rows in (n, width))
    return ((Q * np.sqrt(n * eigenvalues)) @ P.T).reshape(n, L, d)


def gram(X):
    """X^T X in 60 digits."""
    with localcontext(prec=60):
        flat = np.vectorize(Decimal, otypes=[object])(X.reshape(len(X), -1).astype(float))
        return flat.T @ flat


@cache
def gram_with_spectrum(condition):
    return gram(with_spectrum(condition))


def is_below_spectrum(value, G, n):
    """Whether G / n - value I is positive definite: every pivot of an elimination is positive."""
    with localcontext(prec=60):
        A = G.copy()
        A[np.diag_indices_from(A)] -= n * Decimal(float(value))
        for i in range(len(A)):
            if A[i, i] <= 0:
                return False
            A[i + 1 :, i + 1 :] -= np.outer(A[i + 1 :, i] / A[i, i], A[i, i + 1 :])
    return True


ROUTES = pytest.mark.parametrize("route", ["qr", "gram"])


@pytest.fixture
def choose(monkeypatch):
    def choose_route(route):
        if route == "gram":
            monkeypatch.setattr(statistics, "_QR_MAX_WIDTH", 0)

    return choose_route


@pytest.mark.parametrize(
    ("route", "condition", "rtol"),
    [("qr", 1e2, 1e-8), ("qr", 1e8, 1e-6), ("qr", 1e12, 1e-3), ("gram", 1e2, 1e-8)],
)
def test_smallest_eigenvalue_of_a_known_spectrum(choose, route, condition, rtol):
    choose(route)
    estimate = min_eigenvalue(with_spectrum(condition))
    assert estimate == pytest.approx(1 / condition, rel=rtol)
    G = gram_with_spectrum(condition)
    assert is_below_spectrum(estimate, G, 2000)
    assert not is_below_spectrum(estimate * (1 + rtol), G, 2000)


@pytest.mark.parametrize("condition", [1e8, 1e12])
def test_gram_route_is_never_above_the_truth(choose, condition):
    choose("gram")
    estimate = min_eigenvalue(with_spectrum(condition))
    assert estimate == 0 or is_below_spectrum(estimate, gram_with_spectrum(condition), 2000)


def difficult_samples(rng, n):
    """Small samples that lose digits in different ways."""
    X = rng.normal(size=(n, 2, 4))
    yield X
    yield X.astype(np.float32)
    yield X + 1e5
    yield X * 10.0 ** rng.uniform(-6, 6, size=(2, 4))
    yield X + 1e6 * rng.normal(size=(n, 1, 1))
    yield 1 + 1e-9 * X
    yield np.round(X)


@ROUTES
@pytest.mark.parametrize("n", [8, 9, 40])
def test_smallest_eigenvalue_of_difficult_samples_is_never_above_the_truth(choose, route, n):
    choose(route)
    for seed in range(5):
        for X in difficult_samples(np.random.default_rng(seed), n):
            estimate = min_eigenvalue(X)
            assert estimate == 0 or is_below_spectrum(estimate, gram(X), n)


@ROUTES
def test_single_precision_data_are_factorised_in_double_precision(choose, route):
    choose(route)
    X = with_spectrum(1e2).astype(np.float32)
    assert min_eigenvalue(X) == min_eigenvalue(X.astype(np.float64))


@ROUTES
def test_rank_deficient_data(choose, route):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(X) > 0
    assert min_eigenvalue(X[:19]) == 0.0
    for factor in (1.0, 3.0, 1 / 3):
        repeated = X.copy()
        repeated[:, 1, 2] = factor * repeated[:, 0, 0]
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
@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e153])
def test_scale_of_the_data(choose, route, scale):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(X * scale) == pytest.approx(min_eigenvalue(X) * scale**2, rel=1e-10)


@ROUTES
def test_eigenvalues_out_of_range_are_rounded_down(choose, route):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(X * 1e-200) == 0.0
    assert min_eigenvalue(X * 1e200) == np.finfo(float).max


@ROUTES
@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95, -0.2])
def test_equicorrelated_features(choose, route, rho):
    choose(route)
    n, p = 100_000, 4
    root = np.linalg.cholesky((1 - rho) * np.eye(p) + rho)
    X = (np.random.default_rng(0).normal(size=(n, p)) @ root.T).reshape(n, 2, 2)
    truth = 1 - rho if rho >= 0 else 1 + (p - 1) * rho
    assert min_eigenvalue(X) == pytest.approx(truth, rel=0.03)


def test_cache_computes_once(tmp_path, monkeypatch):
    calls = []

    def counted(X, scale, original=statistics._squared_singular_value):
        calls.append(len(X))
        return original(X, scale)

    monkeypatch.setattr(statistics, "_squared_singular_value", counted)
    cached = joblib.Memory(tmp_path, verbose=0).cache(min_eigenvalue)
    X = np.random.default_rng(0).normal(size=(50, 2, 3))
    first = cached(X)
    assert cached(X.copy()) == first
    assert calls == [50]
    assert min_eigenvalue(X) == first
    assert cached(X[:40]) != first
    assert calls == [50, 50, 40]


def test_margins():
    scores = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, -1.0], [5.0, 1.0, 9.0]])
    np.testing.assert_array_equal(margins(scores, torch.tensor([1, 0, 0])), [1.0, 0.0, -4.0])
    np.testing.assert_array_equal(margins(scores[:, :2], torch.tensor([0, 1, 0])), [-2, 0, 4])


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_margins_against_a_loop(n_classes):
    rng = np.random.default_rng(n_classes)
    # Few values, so that many scores tie.
    scores = rng.integers(-2, 3, size=(200, n_classes)).astype(float)
    targets = rng.integers(0, n_classes, 200)
    expected = [row[y] - np.delete(row, y).max() for row, y in zip(scores, targets, strict=True)]
    assert 0.0 in expected
    result = margins(torch.tensor(scores), torch.tensor(targets))
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
        assert sums.fisher_rao_gradient == pytest.approx(gradient_norm(network, inputs, targets))
    assert (sample.n_classes, sample.min_eigenvalue) == (5, 0.25)
    assert not np.array_equal(sample.clean.margins, sample.noisy.margins)


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
