"""The Fisher-Rao norms of a network: the linearised one (paper, eq. 2) and the gradient form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch

from sklearn_rnnbound.cells._cell import Cell

__all__ = [
    "FisherRaoSums",
    "double_blocks",
    "fisher_rao_norm",
    "gradient_norm",
    "root_mean",
    "squared_derivatives",
]

# Small enough for float64 copies of a block of rows to stay in cache.
_BLOCK_ENTRIES = 2**18


class FisherRaoSums:
    """Sums over a sample of what ||theta||_fs is the root mean square of (paper, eq. 2).

    Parameters
    ----------
    cell : Cell
        The cell; one without a linearised form has the norm nan.
    weights : dict of torch.Tensor
        theta.
    n_steps : int
        Number of steps L.
    """

    def __init__(self, cell: Cell, weights: Mapping[str, torch.Tensor], n_steps: int) -> None:
        doubles = {name: weight.double() for name, weight in weights.items()}
        if cell.n_classes == 2:
            for name, form in cell.weights.items():
                if form.kind == "readout":
                    V = doubles[name]
                    doubles[name] = torch.cat([V, V[1:] - V[:1]])
        K = cell.linearized_readout(doubles, n_steps)
        self._n_classes = cell.n_classes
        self._K = None
        if K is not None:
            # In this order, and not X K, BLAS is fast for the few columns of K.
            self._K = K.flatten(0, 1).T.contiguous()
            self._squares = self._K.new_zeros(2)

    def add(self, values: torch.Tensor) -> None:
        """Add a block of the sample, float64 of shape (rows, L, d)."""
        if self._K is not None:
            tau = (self._K @ values.flatten(1).T).square_()
            self._squares[0] += tau[: self._n_classes].amax(0).sum()
            self._squares[1] += tau[-1].sum()

    def norms(self, n: int) -> tuple[float, float | None]:
        """||theta||_fs of n sequences; for two classes also that of the score y_1 - y_0."""
        if self._K is None:
            return math.nan, None
        # An overflow may have left infinity less infinity.
        roots = (self._squares / n).sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)
        norm, scalar = roots.tolist()
        return norm, scalar if self._n_classes == 2 else None


def fisher_rao_norm(
    cell: Cell, weights: Mapping[str, torch.Tensor], chunks: Iterable[torch.Tensor]
) -> float:
    """||theta||_fs, the root mean of max_i (tau(theta)c)_i^2, in float64 (paper, eq. 2).

    The sample comes in blocks of shape (rows, L, d), one at least; the norm is in the units of the
    scores, and nan for a cell without a linearised form.
    """
    sums, n = None, 0
    for X in chunks:
        sums = sums or FisherRaoSums(cell, weights, X.shape[1])
        for values in double_blocks(X.to(next(iter(weights.values())).device)):
            sums.add(values)
        n += len(X)
    assert sums is not None
    return sums.norms(n)[0]


def gradient_norm(
    cell: Cell,
    weights: Mapping[str, torch.Tensor],
    chunks: Iterable[torch.Tensor],
    targets: torch.Tensor,
) -> float:
    """||theta||_fr, the root mean square of <theta, d loss / d theta> (paper, Lemma 2).

    The loss is the cross-entropy of the class numbers (n,); the sample comes in blocks of shape
    (rows, L, d). The norm is without unit.
    """
    total, start = 0.0, 0
    for X in chunks:
        labels = targets[start : start + len(X)]
        total += squared_derivatives(*cell.theta_derivative(weights, X), labels)
        start += len(X)
    return root_mean(total, start)


def squared_derivatives(
    scores: torch.Tensor, derivative: torch.Tensor, targets: torch.Tensor
) -> float:
    """Sum of <theta, d loss / d theta>^2 over a block of rows, from <theta, d scores / d theta>."""
    loss_gradient = torch.softmax(scores.double(), 1)
    label = targets[:, None].to(scores.device)
    loss_gradient.scatter_add_(1, label, -torch.ones_like(loss_gradient[:, :1]))
    return float((derivative * loss_gradient).sum(1).square().sum())


def root_mean(total: float, n: int) -> float:
    """Root of a mean of squares; inf where an overflow has left no number."""
    return math.inf if math.isnan(total) else math.sqrt(total / n)


def double_blocks(chunk: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a chunk in float64, in blocks of rows that are worked on more than once."""
    for block in chunk.split(max(1, _BLOCK_ENTRIES // (chunk.shape[1] * chunk.shape[2]))):
        yield block.double()
