"""What a bound needs of the data: sums over the sample, margins, the smallest eigenvalue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from sklearn_rnnbound.network import (
    RecurrentNetwork,
    fisher_rao_norm,
    network_scores,
    theta_derivative,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks

__all__ = [
    "InputSums",
    "SampleStatistics",
    "gradient_norm",
    "margins",
    "min_eigenvalue",
    "sample_statistics",
]

# Up to here a QR factorisation costs seconds; it keeps twice the digits of a Gram matrix.
_QR_MAX_WIDTH = 1024
_MIN_CHUNK_ROWS = 1024
# Worst-case rounding constants are replaced by their roots, times this factor: a bound that
# holds with high probability (Higham & Mary 2019; Connolly & Higham 2023).
_ROUNDING_FACTOR = 10.0
_UNIT_ROUNDOFF = np.finfo(np.float64).eps / 2


@dataclass(frozen=True)
class InputSums:
    """A sample as the network sees it, X or X + X_eps, reduced to what the bounds use.

    Parameters
    ----------
    margins : ndarray of shape (n,)
        M(x_i, y_i), the score of the label minus the largest other score.
    fisher_rao : float
        ||theta||_fs, the linearised norm that enters the bounds (paper, eq. 2).
    fisher_rao_gradient : float
        ||theta||_fr for the cross-entropy loss (paper, Lemma 2).
    step_abs_sums : ndarray of shape (L,)
        ||X_t^T||_1 = max_j sum_i |x_itj| for every step t.
    square_sums : ndarray of shape (L, d)
        sum_i x_itj^2.
    """

    margins: np.ndarray
    fisher_rao: float
    fisher_rao_gradient: float
    step_abs_sums: np.ndarray
    square_sums: np.ndarray

    @property
    def frobenius(self) -> float:
        """||X||_F."""
        return float(np.sqrt(self.square_sums.sum()))

    @property
    def abs_sum(self) -> float:
        """||X^T||_1 = max_{t,j} sum_i |x_itj|."""
        return float(self.step_abs_sums.max())


@dataclass(frozen=True)
class SampleStatistics:
    """A sample and the weights trained on it, reduced to what the bounds use.

    Parameters
    ----------
    n_classes : int
        k.
    clean : InputSums
        Of the sample as it was given.
    noisy : InputSums or None
        Of the sample under one fresh draw of the training noise; None without noise.
    min_eigenvalue : float
        Smallest eigenvalue of the uncentred second moment, known or estimated.
    beta_u, beta_w, beta_v : float or pair of floats
        Row norms that the weights reached, as sign budgets where the constraint is a pair.
    """

    n_classes: int
    clean: InputSums
    noisy: InputSums | None
    min_eigenvalue: float
    beta_u: float | tuple[float, float]
    beta_w: float | tuple[float, float]
    beta_v: float | tuple[float, float]

    @property
    def n_samples(self) -> int:
        """Number n of sequences."""
        return len(self.clean.margins)

    @property
    def n_steps(self) -> int:
        """Number L of steps."""
        return len(self.clean.square_sums)

    @property
    def n_features(self) -> int:
        """Number d of features per step."""
        return self.clean.square_sums.shape[1]


def margins(scores: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """M(x, y) = y_y - max_{y' != y} y_{y'} for scores (n, k) and class numbers (n,)."""
    label = targets[:, None].to(scores.device)
    others = scores.scatter(1, label, -torch.inf).amax(1)
    return (scores.gather(1, label)[:, 0] - others).cpu().numpy()


def gradient_norm(
    network: RecurrentNetwork,
    X: torch.Tensor,
    targets: torch.Tensor,
    noise: InputNoise | None = None,
    seed: int = 0,
) -> float:
    """||theta||_fr, the root mean square of <theta, d loss / d theta> (paper, Lemma 2).

    Parameters
    ----------
    network : RecurrentNetwork
        The network; the recursion runs in float64.
    X : torch.Tensor of shape (n, L, d)
        Sequences.
    targets : torch.Tensor of shape (n,)
        Class numbers, for the cross-entropy loss.
    noise : InputNoise or None
        Input noise.
    seed : int
        Seed of its draw.

    Returns
    -------
    norm : float
        The norm; it is without unit.
    """
    U, W, V = (weight.double() for weight in network.weights)
    activation = network.recurrence.nonlinearity
    total, start = 0.0, 0
    for chunk in input_chunks(X, network.recurrence.hidden_size, noise, seed):
        scores, derivative = theta_derivative(U, W, V, chunk.to(U), activation)
        label = targets[start : start + len(chunk), None].to(scores.device)
        start += len(chunk)
        loss_gradient = torch.softmax(scores, 1)
        loss_gradient.scatter_add_(1, label, -torch.ones_like(loss_gradient[:, :1]))
        total += float((derivative * loss_gradient).sum(1).square().sum())
    return float(np.sqrt(total / len(X)))


def _input_sums(
    network: RecurrentNetwork,
    X: torch.Tensor,
    targets: torch.Tensor,
    noise: InputNoise | None,
    seed: int,
) -> InputSums:
    width = network.recurrence.hidden_size
    abs_sums = torch.zeros(X.shape[1:], dtype=torch.float64, device=X.device)
    square_sums = torch.zeros_like(abs_sums)
    scores = []
    for chunk in input_chunks(X, width, noise, seed):
        scores.append(network_scores(network, chunk))
        values = chunk.double()
        abs_sums += values.abs().sum(0)
        square_sums += values.square().sum(0)
    return InputSums(
        margins=margins(torch.cat(scores), targets),
        fisher_rao=fisher_rao_norm(*network.weights, input_chunks(X, width, noise, seed)),
        fisher_rao_gradient=gradient_norm(network, X, targets, noise, seed),
        step_abs_sums=abs_sums.amax(1).cpu().numpy(),
        square_sums=square_sums.cpu().numpy(),
    )


def sample_statistics(
    network: RecurrentNetwork,
    X: torch.Tensor,
    targets: torch.Tensor,
    *,
    n_classes: int,
    min_eigenvalue: float,
    norms: tuple[float | tuple[float, float], ...],
    noise: InputNoise | None,
    seed: int,
) -> SampleStatistics:
    """Reduce a sample and a trained network to what the bounds use.

    Parameters
    ----------
    network : RecurrentNetwork
        The trained network.
    X : torch.Tensor of shape (n, L, d)
        Sequences, on the network's device.
    targets : torch.Tensor of shape (n,)
        Class numbers.
    n_classes : int
        k.
    min_eigenvalue : float
        Smallest eigenvalue of the second moment, known or estimated.
    norms : tuple
        The row norms reached by U, W and V.
    noise : InputNoise or None
        Noise of the training.
    seed : int
        Seed of the one noise draw.

    Returns
    -------
    statistics : SampleStatistics
        The reduction.
    """
    return SampleStatistics(
        n_classes=n_classes,
        clean=_input_sums(network, X, targets, None, seed),
        noisy=None if noise is None else _input_sums(network, X, targets, noise, seed),
        min_eigenvalue=min_eigenvalue,
        beta_u=norms[0],
        beta_w=norms[1],
        beta_v=norms[2],
    )


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
    return float(min(max(eigenvalue, 0.0), np.finfo(np.float64).max))


def _row_chunks(X: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(_MIN_CHUNK_ROWS, X.shape[1] * X.shape[2] // 4)
    for start in range(0, len(X), rows):
        yield X[start : start + rows]


def _flat_chunks(X: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    for chunk in _row_chunks(X):
        yield chunk.reshape(len(chunk), -1).astype(np.float64) / scale


def _squared_singular_value(X: np.ndarray, scale: float) -> float:
    """Squared smallest singular value of X / scale, lowered by its rounding error."""
    width = X.shape[1] * X.shape[2]
    R = np.zeros((0, width))
    for chunk in _flat_chunks(X, scale):
        stacked = np.concatenate([R, chunk])
        R = scipy.linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0][:width]
    error = _ROUNDING_FACTOR * np.sqrt(len(X) * width) * _UNIT_ROUNDOFF * np.linalg.norm(R)
    return float(max(scipy.linalg.svdvals(R)[-1] - error, 0.0) ** 2)


def _gram(X: np.ndarray, scale: float) -> float:
    """Smallest eigenvalue of X^T X / scale^2, lowered by its rounding error."""
    width = X.shape[1] * X.shape[2]
    G = np.zeros((width, width), order="F")
    rows = n_chunks = 0
    for chunk in _flat_chunks(X, scale):
        # chunk.T is in Fortran order: syrk fills the upper triangle of G in place.
        G = scipy.linalg.blas.dsyrk(1.0, chunk.T, beta=1.0, c=G, overwrite_c=True)
        rows, n_chunks = max(rows, len(chunk)), n_chunks + 1
    trace = float(np.trace(G))
    smallest = scipy.linalg.eigh(
        G,
        lower=False,
        eigvals_only=True,
        subset_by_index=[0, 0],
        overwrite_a=True,
        check_finite=False,
    )[0]
    operations = rows + n_chunks + width
    return float(smallest - _ROUNDING_FACTOR * np.sqrt(operations) * _UNIT_ROUNDOFF * trace)
