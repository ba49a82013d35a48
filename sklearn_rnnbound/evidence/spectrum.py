"""The uncentred second moment of flattened sequences: its eigenvalues and its inverse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh

__all__ = ["eigenvalues", "min_eigenvalue", "whitened_norm"]

# A QR factorisation keeps twice the digits of a Gram matrix, for three times its time.
_QR_MAX_WIDTH = 256
_QR_BLOCK = 32
_MIRROR_BLOCK = 64
_CHUNK_ROWS = 1024
# Above this relative error a Gram matrix gives way to QR factors.
_GRAM_TOLERANCE = 1e-6
# Largest entries in this range can be squared and summed without overflow or underflow.
_SAFE_RANGE = 1e-100, 1e100
# Worst-case rounding constants are replaced by their roots, times this factor: a bound that
# holds with high probability (Higham & Mary 2019; Connolly & Higham 2023).
_ROUNDING_FACTOR = 10.0
_UNIT_ROUNDOFF = np.finfo(np.float64).eps / 2


def min_eigenvalue(X: np.ndarray) -> float:
    """Lower bound, up to rounding tight, on lambda_min of the uncentred second moment X^T X / n.

    It is 0 when n < L d or when a coordinate is constantly zero. Up to L d = 256 it is the
    square of the smallest singular value, by QR factorisation in blocks of rows. Above, it is
    the smallest eigenvalue of the Gram matrix, estimated by Lanczos iteration on the inverse and
    certified by one more Cholesky factorisation; an ill-conditioned Gram matrix gives way to the
    QR factorisation. All of it runs in float64, and the bound on the rounding is subtracted, so
    that rounding cannot make a generalization bound too small.

    Parameters
    ----------
    X : ndarray of shape (n, L, d)
        Sequences.

    Returns
    -------
    eigenvalue : float
        The lower bound, in squared units of X.
    """
    n, width = len(X), X.shape[1] * X.shape[2]
    if n < width:
        return 0.0
    largest = _largest_magnitudes(X)
    if not largest.all():
        return 0.0
    scale = _scale(largest)
    smallest = None
    if width > _QR_MAX_WIDTH:
        smallest = _gram_eigenvalue(X, scale)
    if smallest is None:
        smallest = _squared_singular_value(X, scale)
    with np.errstate(over="ignore", under="ignore"):
        eigenvalue = np.float64(smallest) / n * scale * scale
    return float(np.clip(eigenvalue, 0.0, np.finfo(np.float64).max))


def eigenvalues(X: np.ndarray) -> np.ndarray:
    """All eigenvalues of X^T X / n in descending order, in squared units of X.

    Those of which rounding leaves no digit are 0.

    Parameters
    ----------
    X : ndarray of shape (n, L, d)
        Sequences.

    Returns
    -------
    eigenvalues : ndarray of shape (L * d,)
        The eigenvalues; unlike :func:`min_eigenvalue` no bounds.
    """
    n, width = len(X), X.shape[1] * X.shape[2]
    scale = _scale(_largest_magnitudes(X))
    if n < width:
        flat = np.divide(X.reshape(n, width), scale, dtype=np.float64)
        gram = flat @ flat.T
    else:
        gram = _gram_matrix(X, scale)
    found = scipy.linalg.eigvalsh(gram, lower=False, overwrite_a=True, check_finite=False)[::-1]
    found[found <= len(found) * np.finfo(np.float64).eps * found[0]] = 0.0
    eigenvalues = np.zeros(width)
    with np.errstate(over="ignore"):
        eigenvalues[: len(found)] = found / n * scale * scale
    return eigenvalues


def whitened_norm(X: np.ndarray, inputs: Iterable[np.ndarray], variance: float = 0.0) -> float:
    """Root of tr(Z Z^T (C E C)^-1) for the inputs Z, with E estimated on X.

    It is the factor of r/n in the linear part of Theorem 1 before its last relaxation; there
    ``E = X^T X / n + variance I`` and ``C = diag(c_t I_d)`` with ``c_t = L + 2 - t``.

    Parameters
    ----------
    X : ndarray of shape (n, L, d)
        Sequences whose second moment is taken.
    inputs : iterable of ndarray of shape (rows, L, d)
        What the network sees: X itself or X under noise, in blocks of rows.
    variance : float, default=0.0
        Variance of the input noise.

    Returns
    -------
    norm : float
        The root of the trace, without unit; inf where E is singular in float64.
    """
    n, n_steps, d = X.shape
    if n < n_steps * d and not variance:
        return float("inf")
    scale = _scale(np.maximum(_largest_magnitudes(X), np.sqrt(variance)))
    R = _triangular_factor(X, scale, ridge=variance / scale / scale * n)
    if not np.diag(R).all():
        return float("inf")
    coefficients = np.repeat(np.arange(n_steps + 1.0, 1.0, -1.0), d)
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for block in inputs:
            for chunk in _flat_chunks(block, scale):
                weighted = chunk / coefficients
                whitened = scipy.linalg.blas.dtrsm(1.0, R, weighted.T, trans_a=1, overwrite_b=True)
                total += float(np.linalg.norm(whitened) ** 2)
    # What is not a number after an overflow promises nothing.
    return float("inf") if np.isnan(total) else float(np.sqrt(total * n))


def _row_chunks(X: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(X), _CHUNK_ROWS):
        yield X[start : start + _CHUNK_ROWS]


def _largest_magnitudes(X: np.ndarray) -> np.ndarray:
    """Largest magnitude of each coordinate."""
    largest = np.zeros(X.shape[1:])
    for chunk in _row_chunks(X):
        np.maximum(largest, np.abs(chunk).max(0), out=largest)
    return largest


def _scale(largest: np.ndarray) -> float:
    """Unit in which no square leaves the range of float64: a power of two, as it divides exactly.

    Nearly always it is 1, and float64 data need no copy.
    """
    maximum = float(largest.max())
    if _SAFE_RANGE[0] < maximum < _SAFE_RANGE[1]:
        return 1.0
    return float(np.ldexp(1.0, np.frexp(maximum)[1] - 1))


def _flat_chunks(X: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    """Blocks of rows of X / scale, flattened, in float64; a block may overwrite the last one."""
    buffer = np.empty((0, 0))
    for chunk in _row_chunks(X):
        flat = chunk.reshape(len(chunk), -1)
        if scale != 1.0 or flat.dtype != np.float64:
            # The first block is the longest.
            buffer = buffer if len(buffer) else np.empty(flat.shape)
            source, flat = flat, buffer[: len(flat)]
            np.copyto(flat, source)
            if scale != 1.0:
                flat /= scale
        yield flat


def _triangular_factor(X: np.ndarray, scale: float, ridge: float = 0.0) -> np.ndarray:
    """Upper triangular R with R^T R = X^T X / scale^2 + ridge I."""
    R = None
    if X.shape[1] * X.shape[2] > _QR_MAX_WIDTH:
        R = _gram_factor(X, scale, ridge)
    return _qr_factor(X, scale, ridge) if R is None else R


def _qr_factor(X: np.ndarray, scale: float, ridge: float = 0.0) -> np.ndarray:
    """Upper triangular R with R^T R = X^T X / scale^2 + ridge I, by QR in blocks of rows."""
    width = X.shape[1] * X.shape[2]
    R = np.zeros((width, width), order="F")
    np.fill_diagonal(R, np.sqrt(ridge))
    for chunk in _flat_chunks(X, scale):
        # Factorises R above the block of rows, and knows that R is a triangle.
        R = scipy.linalg.lapack.dtpqrt(0, min(_QR_BLOCK, width), R, chunk, overwrite_a=True)[0]
    return R


def _squared_singular_value(X: np.ndarray, scale: float) -> float:
    """Squared smallest singular value of X / scale, lowered by its rounding error."""
    R = _qr_factor(X, scale)
    error = _ROUNDING_FACTOR * np.sqrt(len(X) * len(R)) * _UNIT_ROUNDOFF * np.linalg.norm(R)
    # No singular value of a triangle is above the smallest entry of its diagonal.
    if np.abs(np.diag(R)).min() <= error:
        return 0.0
    smallest = scipy.linalg.svdvals(R, overwrite_a=True, check_finite=False)[-1]
    return float(max(smallest - error, 0.0) ** 2)


def _gram_matrix(X: np.ndarray, scale: float, ridge: float = 0.0) -> np.ndarray:
    """Upper triangle of X^T X / scale^2 + ridge I."""
    width = X.shape[1] * X.shape[2]
    G = np.zeros((width, width), order="F")
    np.fill_diagonal(G, ridge)
    for chunk in _flat_chunks(X, scale):
        # chunk.T is in Fortran order: syrk fills the upper triangle of G in place.
        G = scipy.linalg.blas.dsyrk(1.0, chunk.T, beta=1.0, c=G, overwrite_c=True)
    return G


def _gram_error(n: int, G: np.ndarray) -> float:
    """Bound on the rounding of a Gram matrix of n rows and of its Cholesky factorisation."""
    operations = min(n, _CHUNK_ROWS) + n / _CHUNK_ROWS + len(G)
    return float(_ROUNDING_FACTOR * np.sqrt(operations) * _UNIT_ROUNDOFF * np.trace(G))


def _gram_factor(X: np.ndarray, scale: float, ridge: float) -> np.ndarray | None:
    """The factor R by the Gram matrix, or None where that is ill-conditioned."""
    G = _gram_matrix(X, scale, ridge)
    error = _gram_error(len(X), G)
    R, info = scipy.linalg.lapack.dpotrf(G, overwrite_a=True)
    if info != 0:
        return None
    # Given the norm 1 for G, LAPACK estimates 1 / ||G^-1||_1; no eigenvalue of G is below that.
    smallest = scipy.linalg.lapack.dpocon(R, 1.0)[0]
    return R if error <= _GRAM_TOLERANCE * smallest else None


def _gram_eigenvalue(X: np.ndarray, scale: float) -> float | None:
    """Lower bound on the smallest eigenvalue of X^T X / scale^2, or None where it is not tight."""
    G = _gram_matrix(X, scale)
    error = _gram_error(len(X), G)
    diagonal = np.diag(G).copy()
    L = _cholesky_factor(G, diagonal)
    # The smallest eigenvalue is not above any pivot.
    if L is None or error > _GRAM_TOLERANCE * np.diag(L).min() ** 2:
        return None
    # A Ritz value is never below the eigenvalue; when the factorisation of G - shift I succeeds
    # the shift is not above it, whatever the iteration did.
    estimate = _inverse_lanczos(L)
    # Rounding is mostly far below its bound.
    gap = error / 10
    while gap + error <= _GRAM_TOLERANCE * estimate:
        shift = estimate - gap
        if _cholesky_factor(G, diagonal - shift) is not None:
            return shift - error
        gap *= 10
    return None


def _cholesky_factor(G: np.ndarray, diagonal: np.ndarray) -> np.ndarray | None:
    """Lower Cholesky factor, or None, of the symmetric matrix above the given diagonal.

    It lies in the lower triangle of G itself, which the upper one leaves free: a second matrix
    would double the memory. The diagonal of G is lost.
    """
    for start in range(0, len(G), _MIRROR_BLOCK):
        stop = start + _MIRROR_BLOCK
        G[stop:, start:stop] = G[start:stop, stop:].T
        block = np.triu(G[start:stop, start:stop], 1)
        G[start:stop, start:stop] = block + block.T
    np.fill_diagonal(G, diagonal)
    L, info = scipy.linalg.lapack.dpotrf(G, lower=True, clean=False, overwrite_a=True)
    return L if info == 0 else None


def _inverse_lanczos(L: np.ndarray) -> float:
    """Upper estimate of the smallest eigenvalue of L L^T, by Lanczos iteration on its inverse."""

    def solve(vector: np.ndarray) -> np.ndarray:
        forward = scipy.linalg.blas.dtrsv(L, vector, lower=True)
        return scipy.linalg.blas.dtrsv(L, forward, lower=True, trans=True)

    width = len(L)
    largest = eigsh(
        LinearOperator((width, width), matvec=solve, dtype=np.float64),
        k=1,
        which="LA",
        # Random, lest a structured eigenvector be orthogonal to it; fixed, to be repeatable.
        v0=np.random.default_rng(0).normal(size=width),
        # Of the residual; the error of the eigenvalue is of the order of its square.
        tol=1e-6,
        return_eigenvectors=False,
    )[0]
    return float(1 / largest)
