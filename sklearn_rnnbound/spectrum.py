"""The uncentred second moment of flattened sequences: its eigenvalues and its inverse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.linalg

__all__ = ["eigenvalues", "min_eigenvalue", "whitened_norm"]

# Up to here a QR factorisation costs seconds; it keeps twice the digits of a Gram matrix.
_QR_MAX_WIDTH = 1024
_MIN_CHUNK_ROWS = 1024
# Worst-case rounding constants are replaced by their roots, times this factor: a bound that
# holds with high probability (Higham & Mary 2019; Connolly & Higham 2023).
_ROUNDING_FACTOR = 10.0
_UNIT_ROUNDOFF = np.finfo(np.float64).eps / 2


def min_eigenvalue(X: np.ndarray) -> float:
    """Lower bound, up to rounding tight, on lambda_min of the uncentred second moment X^T X / n.

    It is 0 when n < L d or when a coordinate is constantly zero. Up to L d = 1024 it is the
    square of the smallest singular value, by a QR factorisation in blocks of rows; above, the
    smallest eigenvalue of the Gram matrix. Both run in float64, and the bound on their rounding
    is subtracted, so that rounding cannot make a generalization bound too small.

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
    largest = np.zeros(X.shape[1:])
    for chunk in _row_chunks(X):
        np.maximum(largest, np.abs(chunk).max(0), out=largest)
    if not largest.all():
        return 0.0
    # Without the scale, squares of tiny or huge entries would leave the range of float64.
    scale = float(largest.max())
    smallest = _squared_singular_value(X, scale) if width <= _QR_MAX_WIDTH else _gram(X, scale)
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
    scale = _scale(X)
    if n < width:
        flat = X.reshape(n, width).astype(np.float64) / scale
        gram = flat @ flat.T
    else:
        gram = _gram_matrix(X, scale)
    found = scipy.linalg.eigvalsh(gram, lower=False, overwrite_a=True, check_finite=False)[::-1]
    found[found <= len(found) * np.finfo(np.float64).eps * found[0]] = 0.0
    eigenvalues = np.zeros(width)
    eigenvalues[: len(found)] = found / n * scale * scale
    return eigenvalues


def _scale(X: np.ndarray) -> float:
    """Largest magnitude of an entry, or 1 when all are zero."""
    return max(float(np.abs(chunk).max()) for chunk in _row_chunks(X)) or 1.0


def _row_chunks(X: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(_MIN_CHUNK_ROWS, X.shape[1] * X.shape[2] // 4)
    for start in range(0, len(X), rows):
        yield X[start : start + rows]


def _flat_chunks(X: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    for chunk in _row_chunks(X):
        yield chunk.reshape(len(chunk), -1).astype(np.float64) / scale


def _triangular_factor(X: np.ndarray, scale: float) -> np.ndarray:
    """R with R^T R = X^T X / scale^2, by QR in blocks of rows."""
    width = X.shape[1] * X.shape[2]
    R = np.zeros((0, width))
    for chunk in _flat_chunks(X, scale):
        stacked = np.concatenate([R, chunk])
        R = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0][:width]
    return R


def _squared_singular_value(X: np.ndarray, scale: float) -> float:
    """Squared smallest singular value of X / scale, lowered by its rounding error."""
    width = X.shape[1] * X.shape[2]
    R = _triangular_factor(X, scale)
    error = _ROUNDING_FACTOR * np.sqrt(len(X) * width) * _UNIT_ROUNDOFF * np.linalg.norm(R)
    return float(max(scipy.linalg.svdvals(R)[-1] - error, 0.0) ** 2)


def _gram_matrix(X: np.ndarray, scale: float) -> np.ndarray:
    """Upper triangle of X^T X / scale^2."""
    width = X.shape[1] * X.shape[2]
    G = np.zeros((width, width), order="F")
    for chunk in _flat_chunks(X, scale):
        # chunk.T is in Fortran order: syrk fills the upper triangle of G in place.
        G = scipy.linalg.blas.dsyrk(1.0, chunk.T, beta=1.0, c=G, overwrite_c=True)
    return G


def _gram(X: np.ndarray, scale: float) -> float:
    """Smallest eigenvalue of X^T X / scale^2, lowered by its rounding error."""
    width = X.shape[1] * X.shape[2]
    G = _gram_matrix(X, scale)
    sizes = [len(chunk) for chunk in _row_chunks(X)]
    trace = float(np.trace(G))
    smallest = scipy.linalg.eigh(
        G,
        lower=False,
        eigvals_only=True,
        subset_by_index=[0, 0],
        overwrite_a=True,
        check_finite=False,
    )[0]
    operations = max(sizes) + len(sizes) + width
    return float(smallest - _ROUNDING_FACTOR * np.sqrt(operations) * _UNIT_ROUNDOFF * trace)


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
    n, n_steps, width = len(X), X.shape[1], X.shape[1] * X.shape[2]
    scale = _scale(X)
    ridge = variance / scale / scale * n
    if width <= _QR_MAX_WIDTH:
        R = _triangular_factor(X, scale)
        if variance:
            stacked = np.concatenate([R, np.sqrt(ridge) * np.eye(width)])
            R = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0][:width]
        singular = len(R) < width or not np.diag(R).all()
    else:
        G = _gram_matrix(X, scale)
        G[np.diag_indices(width)] += ridge
        R, info = scipy.linalg.lapack.dpotrf(G, overwrite_a=True)
        singular = info != 0
    if singular:
        return float("inf")
    coefficients = np.arange(n_steps + 1, 1, -1, dtype=np.float64)[:, None]
    total = 0.0
    for block in inputs:
        for chunk in _row_chunks(block):
            scaled = (chunk.astype(np.float64) / scale / coefficients).reshape(len(chunk), -1)
            whitened = scipy.linalg.solve_triangular(R, scaled.T, trans="T", check_finite=False)
            total += float(np.square(whitened).sum())
    return float(np.sqrt(total * n))
