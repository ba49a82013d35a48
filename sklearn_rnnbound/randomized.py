"""The randomised classifier: Gaussian weights around the trained ones, drawn anew."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sklearn_rnnbound.network import Weights

__all__ = ["count_weights", "posterior_error", "rows_per_draw"]

# A draw costs as many normal variables as there are weights: it is shared among rows, so that a
# row costs about this many.
_NORMALS_PER_ROW = 1024
_BATCH_ENTRIES = 2**22


def count_weights(weights: Weights) -> int:
    """Number of weights in U, W and V."""
    return sum(weight.numel() for weight in weights)


def rows_per_draw(weights: Weights) -> int:
    """Number of rows that meet the same draw of the weights."""
    return max(1, round(count_weights(weights) / _NORMALS_PER_ROW))


def posterior_error(
    weights: Weights,
    std: float,
    X: torch.Tensor,
    targets: torch.Tensor,
    activation: str,
    generator: torch.Generator,
    on_rows: Callable[[int], object] = lambda count: None,
) -> float:
    """Share of errors when every group of rows meets weights of its own.

    The groups have :func:`rows_per_draw` rows each, the last one fewer; the mean over the draws is
    the empirical risk of the randomised classifier.

    Parameters
    ----------
    weights : tuple of torch.Tensor of shapes (m, d), (m, m), (k, m)
        Mean of the Gaussian posterior.
    std : float
        Its standard deviation, the same for every weight.
    X : torch.Tensor of shape (n, L, d)
        Sequences, on the device of the weights.
    targets : torch.Tensor of shape (n,)
        Class numbers; -1 for a label unknown to the network, which is an error.
    activation : {"relu", "tanh"}
        Activation of the hidden units.
    generator : torch.Generator
        Source of the draws, on the device of the weights.
    on_rows : callable
        Told the number of rows done, after every batch.

    Returns
    -------
    error : float
        Share of errors; a tie for the largest score is an error.
    """
    size, m = rows_per_draw(weights), len(weights[1])
    per_draw = count_weights(weights) + size * (m + X.shape[1] * X.shape[2])
    rows = size * max(1, _BATCH_ENTRIES // per_draw)
    n_errors = 0
    for start in range(0, len(X), rows):
        chunk, labels = X[start : start + rows], targets[start : start + rows]
        n_groups = -(-len(chunk) // size)
        missing = n_groups * size - len(chunk)
        if missing:
            chunk = torch.nn.functional.pad(chunk, (0, 0, 0, 0, 0, missing))
        groups = chunk.reshape(n_groups, size, *X.shape[1:])
        U, W, V = (_draws(weight, std, n_groups, generator) for weight in weights)
        h = X.new_zeros((n_groups, size, m))
        for step in range(X.shape[1]):
            g = torch.baddbmm(groups[:, :, step] @ U, h, W)
            h = torch.relu(g) if activation == "relu" else torch.tanh(g)
        scores = (h @ V).flatten(0, 1)[: len(labels)]
        own = scores.gather(1, labels[:, None].clamp(min=0))
        # Right is only what beats every other score: a tie is an error, and so is overflow.
        right = (own > scores).sum(1) == scores.shape[1] - 1
        n_errors += int((~right | (labels < 0)).sum())
        on_rows(len(labels))
    return n_errors / len(X)


def _draws(
    weight: torch.Tensor, std: float, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Draws of a transposed weight matrix, of shape (count, columns, rows)."""
    shape = (count, weight.shape[1], weight.shape[0])
    noise = torch.empty(shape, dtype=weight.dtype, device=weight.device)
    return noise.normal_(0.0, std, generator=generator) + weight.T
