"""The smallest eigenvalue against known spectra, and the whitened norm against dense algebra."""

import tracemalloc
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
import pytest
import scipy.linalg

from sklearn_rnnbound.evidence import spectrum
from sklearn_rnnbound.evidence.spectrum import eigenvalues, min_eigenvalue, whitened_norm


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


@cache
def with_exact_spectrum(condition, n=1024, L=64, d=8):
    """512 columns of which the least eigenvalue of the second moment is known exactly.

    They are X = H D P with H from a Hadamard matrix, D diagonal and P two reflections along
    vectors of signs. Entries are multiples of 2^-36 below 2^4, so no product is rounded.
    """
    width = L * d
    D = np.round(np.geomspace(1.0, condition**-0.5, width) * 2**20) / 2**20
    X = scipy.linalg.hadamard(n)[:, :width] * D
    for signs in np.random.default_rng(0).choice([-1.0, 1.0], size=(2, width)):
        X -= np.outer(X @ signs, signs * (2 / width))
    assert not np.remainder(X, 2.0**-36).any()
    assert np.abs(X).max() < 2**4
    return X.reshape(n, L, d), D[-1] ** 2


ROUTES = pytest.mark.parametrize("route", ["qr", "gram"])


@pytest.fixture
def choose(monkeypatch):
    def choose_route(route):
        if route == "gram":
            monkeypatch.setattr(spectrum, "_QR_MAX_WIDTH", 0)

    return choose_route


@ROUTES
@pytest.mark.parametrize(("condition", "rtol"), [(1e2, 1e-8), (1e8, 1e-6), (1e12, 1e-3)])
def test_smallest_eigenvalue_of_a_known_spectrum(choose, route, condition, rtol):
    choose(route)
    estimate = min_eigenvalue(with_spectrum(condition))
    assert estimate == pytest.approx(1 / condition, rel=rtol)
    G = gram_with_spectrum(condition)
    assert is_below_spectrum(estimate, G, 2000)
    assert not is_below_spectrum(estimate * (1 + rtol), G, 2000)


@pytest.mark.parametrize(("condition", "rtol"), [(1e2, 1e-8), (1e4, 1e-6), (1e8, 1e-6)])
def test_hundreds_of_coordinates(condition, rtol):
    X, truth = with_exact_spectrum(condition)
    estimate = min_eigenvalue(X)
    assert truth * (1 - rtol) < estimate <= truth


def test_gram_matrix_is_left_when_it_is_ill_conditioned(monkeypatch):
    X, truth = with_exact_spectrum(1e8)
    assert spectrum._gram_eigenvalue(X, 1.0) is None
    monkeypatch.setattr(spectrum, "_qr_factor", None)
    well_conditioned, truth = with_exact_spectrum(1e2)
    assert min_eigenvalue(well_conditioned) == pytest.approx(truth, rel=1e-8)


@pytest.mark.parametrize("n", [320, 700, 3000])
def test_routes_agree(n):
    X = np.random.default_rng(0).normal(size=(n, 20, 15)) * np.linspace(0.3, 2, 15)
    by_qr, by_gram = spectrum._squared_singular_value(X, 1.0), spectrum._gram_eigenvalue(X, 1.0)
    assert by_gram == pytest.approx(by_qr, rel=1e-6 if n == 320 else 1e-8)
    singular = np.linalg.svd(X.reshape(n, 300), compute_uv=False)[-1]
    assert by_gram <= singular**2
    assert min_eigenvalue(X) == by_gram / n


@pytest.mark.parametrize(("excess", "rtol"), [(1e-9, 1e-8), (1e-7, 1e-6), (1e-2, 1e-8)])
def test_certificate_retreats_from_a_shift_above_the_spectrum(monkeypatch, excess, rtol):
    X, truth = with_exact_spectrum(1e2)
    original = spectrum._inverse_lanczos
    monkeypatch.setattr(spectrum, "_inverse_lanczos", lambda L: original(L) * (1 + excess))
    estimate = min_eigenvalue(X)
    assert truth * (1 - rtol) < estimate <= truth
    # What lies too far above is left to the QR factorisation.
    assert (spectrum._gram_eigenvalue(X, 1.0) is None) == (excess == 1e-2)


def test_certified_shift_is_lowered_by_the_rounding_of_the_certificate(monkeypatch):
    X, truth = with_exact_spectrum(1e2)
    n = len(X)
    error = spectrum._gram_error(n, spectrum._gram_matrix(X, 1.0))
    passed = 0
    # Shifts on both sides of the eigenvalue, where rounding decides whether the matrix is definite.
    for excess in [-1e-10, *np.linspace(-1e-13, 1e-13, 21)]:
        shifted = n * truth * (1 + excess) + error / 10
        monkeypatch.setattr(spectrum, "_inverse_lanczos", lambda L, shifted=shifted: shifted)
        estimate = spectrum._gram_eigenvalue(X, 1.0)
        assert estimate < n * truth
        passed += estimate > n * truth - 1.5 * error
    assert passed


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
    assert min_eigenvalue(X[::2]) == min_eigenvalue(X[::2].astype(np.float64))


def test_arguments_are_left_alone():
    # One row or one column lies in memory in both orders; the last one is for the Gram matrix.
    for shape in [(1, 1, 1), (30, 1, 1), (500, 4, 5), (600, 20, 15)]:
        X = np.random.default_rng(0).normal(size=shape)
        before = X.copy()
        min_eigenvalue(X)
        whitened_norm(X, [X])
        np.testing.assert_array_equal(X, before)


def test_result_is_repeatable_and_no_global_generator_is_touched():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is watched
    # Of equal eigenvalues the iteration finds one and starts anew.
    equal = np.tile(np.eye(300), (3, 1)).reshape(900, 20, 15)
    for X in (equal, with_exact_spectrum(1e2)[0]):
        assert len({min_eigenvalue(X) for _ in range(3)}) == 1
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002 - the legacy state is watched


@pytest.mark.parametrize("condition", [1e2, 1e8])
@pytest.mark.parametrize("quantity", [min_eigenvalue, lambda X: whitened_norm(X, [X])])
def test_memory_is_that_of_one_matrix(monkeypatch, condition, quantity):
    # By both routes; the one after the other at condition 1e8.
    X = with_exact_spectrum(condition)[0].astype(np.float32)
    monkeypatch.setattr(spectrum, "_CHUNK_ROWS", 32)
    tracemalloc.start()
    try:
        quantity(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    matrix = 8 * 512**2
    assert matrix < peak < 1.5 * matrix


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


def test_rank_deficient_data_of_hundreds_of_coordinates_need_no_svd(monkeypatch):
    monkeypatch.setattr(spectrum.scipy.linalg, "svdvals", None)
    X = with_exact_spectrum(1e2)[0].copy()
    X[:, 40, 3] = X[:, 2, 1] - 3 * X[:, 9, 5]
    assert min_eigenvalue(X) == 0.0
    X[:, 40, 3] = 0.0
    assert min_eigenvalue(X) == 0.0


def test_a_zero_coordinate_needs_no_factorisation(monkeypatch):
    monkeypatch.setattr(spectrum, "_qr_factor", None)
    monkeypatch.setattr(spectrum, "_gram_matrix", None)
    X = np.ones((100, 2, 3))
    X[:, 1, 1] = 0.0
    assert min_eigenvalue(X) == 0.0
    assert min_eigenvalue(np.ones((5, 2, 3))) == 0.0


@ROUTES
@pytest.mark.parametrize("exponent", [-480, -340, 3, 340, 480])
def test_powers_of_two_are_exact_scales(choose, route, exponent):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(np.ldexp(X, exponent)) == np.ldexp(min_eigenvalue(X), 2 * exponent)


@ROUTES
def test_coordinates_of_very_different_scales(choose, route):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    smallest = X[:, 1, 2].copy()
    for exponent in (-20, -140, -150, -154, -158, -162, -200, -300):
        X[:, 1, 2] = smallest * 10.0**exponent
        assert min_eigenvalue(X) == 0.0


@ROUTES
def test_eigenvalues_out_of_range_are_rounded_down(choose, route):
    choose(route)
    X = np.random.default_rng(0).normal(size=(500, 4, 5))
    assert min_eigenvalue(X * 1e-200) == 0.0
    assert min_eigenvalue(X * 1e200) == np.finfo(float).max


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_all_eigenvalues(scale):
    X = with_spectrum(1e2)
    np.testing.assert_allclose(
        eigenvalues(X * scale), np.geomspace(1.0, 1e-2, 48) * scale**2, rtol=1e-9
    )
    # Fewer sequences than coordinates: the others are zero, and so is what rounding leaves.
    few = np.concatenate([X[:20], X[:1]]) * scale
    found = eigenvalues(few)
    np.testing.assert_array_equal(found[20:], np.zeros(28))
    singular = np.linalg.svd(few.reshape(21, 48) / scale, compute_uv=False)[:20]
    np.testing.assert_allclose(found[:20], singular**2 / 21 * scale**2, rtol=1e-9)


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
    assert whitened_norm(np.random.default_rng(0).normal(size=(3, 2, 2)), [X]) == np.inf


@ROUTES
@pytest.mark.parametrize(("condition", "rtol"), [(1e2, 1e-10), (1e8, 1e-9), (1e16, 1e-6)])
def test_whitened_norm_of_an_ill_conditioned_moment(choose, route, condition, rtol):
    choose(route)
    # Over one step C = 2 I, and X X^T (X^T X)^-1 is a projection, whose trace is its rank.
    X = with_spectrum(condition, L=1, d=48)
    assert whitened_norm(X, [X]) == pytest.approx(np.sqrt(2000 * 48) / 2, rel=rtol)
