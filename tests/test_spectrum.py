"""The smallest eigenvalue against known spectra, and the whitened norm against dense algebra."""

from decimal import Decimal, localcontext
from functools import cache

import joblib
import numpy as np
import pytest

from sklearn_rnnbound import spectrum
from sklearn_rnnbound.spectrum import min_eigenvalue, whitened_norm


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
            monkeypatch.setattr(spectrum, "_QR_MAX_WIDTH", 0)

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
    monkeypatch.setattr(spectrum.scipy.linalg, "qr", None)
    X = np.ones((100, 2, 3))
    X[:, 1, 1] = 0.0
    assert min_eigenvalue(X) == 0.0
    assert min_eigenvalue(np.ones((5, 2, 3))) == 0.0


@ROUTES
def test_blocks_of_rows_change_nothing(choose, route, monkeypatch):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    whole = min_eigenvalue(X)
    monkeypatch.setattr(spectrum, "_MIN_CHUNK_ROWS", 7)
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

    def counted(X, scale, original=spectrum._squared_singular_value):
        calls.append(len(X))
        return original(X, scale)

    monkeypatch.setattr(spectrum, "_squared_singular_value", counted)
    cached = joblib.Memory(tmp_path, verbose=0).cache(min_eigenvalue)
    X = np.random.default_rng(0).normal(size=(50, 2, 3))
    first = cached(X)
    assert cached(X.copy()) == first
    assert calls == [50]
    assert min_eigenvalue(X) == first
    assert cached(X[:40]) != first
    assert calls == [50, 50, 40]


@ROUTES
@pytest.mark.parametrize("variance", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whitened_norm_against_dense_algebra(choose, route, variance, dtype):
    choose(route)
    rng = np.random.default_rng(4)
    X = (rng.normal(size=(90, 4, 3)) * 5).astype(dtype)
    Z = X + np.sqrt(variance) * rng.normal(size=X.shape)
    flat, inputs = X.reshape(90, 12).astype(float), Z.reshape(90, 12)
    C = np.diag(np.repeat([5.0, 4.0, 3.0, 2.0], 3))
    moment = flat.T @ flat / 90 + variance * np.eye(12)
    expected = np.trace(inputs.T @ inputs @ np.linalg.inv(C @ moment @ C)) ** 0.5
    norm = whitened_norm(X, iter([Z[:50], Z[50:]]), variance)
    assert norm == pytest.approx(expected, rel=1e-6 if dtype == np.float32 else 1e-9)


@ROUTES
def test_whitened_norm_of_a_singular_moment(choose, route):
    choose(route)
    X = np.zeros((20, 2, 2))
    X[:, 0] = 1.0
    assert whitened_norm(X, [X]) == np.inf
    assert whitened_norm(np.zeros((5, 2, 2)), [X]) == np.inf
    # With noise of variance v alone: sum over the entries of (x / c)^2 / v.
    assert whitened_norm(np.zeros((5, 2, 2)), [X], 0.25) == pytest.approx(
        (20 * 2 / 9 / 0.25) ** 0.5
    )
