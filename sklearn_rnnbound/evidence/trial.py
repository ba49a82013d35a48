"""Errors of other weights, and of random ones, on the data beside a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tqdm import tqdm

from sklearn_rnnbound._threads import suited_threads
from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.cells import Cell, Weights, score_margins
from sklearn_rnnbound.training.net import network_scores

__all__ = ["ArrayWeights", "Data", "Reference", "Trial", "count_errors", "random_error"]

#: Weight matrices by name, as arrays.
ArrayWeights = Mapping[str, np.ndarray]
#: Sequences (n, L, d) and class numbers (n,), -1 for a label unknown to the network.
Data = tuple[torch.Tensor, torch.Tensor]

# A draw costs as many normal variables as there are weights: it is shared among rows, so that a
# row costs about this many.
_NORMALS_PER_ROW = 1024
_BATCH_ENTRIES = 2**22


@dataclass(frozen=True)
class Reference:
    """Weights that other data have trained, and on how many samples at most."""

    weights: ArrayWeights
    n_samples: int


@dataclass(frozen=True)
class Trial:
    """The data beside a trained network, and trials of other networks of its form on them.

    It is what :class:`.bounds._rule.Trial` asks for: training and test data, if any, are on the
    device of the network; `initial_weights` gives weights that no data have touched, and `seed`
    starts the random ones.
    """

    cell: Cell
    weights: ArrayWeights
    setting: Setting
    train: Data | None
    test: Data | None
    prior: Reference | None
    initial_weights: Callable[[], ArrayWeights]
    seed: int
    verbose: bool | int = False

    @property
    def reference(self) -> ArrayWeights | None:
        """Weights that other data have trained."""
        return None if self.prior is None else self.prior.weights

    @property
    def n_reference(self) -> int:
        """Number of samples that these have learned from."""
        return 0 if self.prior is None else self.prior.n_samples

    @property
    def prior_mean(self) -> ArrayWeights:
        """Weights that do not depend on the sample: the reference, or the initial weights."""
        return self.initial_weights() if self.prior is None else self.prior.weights

    @property
    def n_train(self) -> int:
        """Number of training samples."""
        return 0 if self.train is None else len(self.train[1])

    @property
    def n_test(self) -> int:
        """Number of test samples."""
        return 0 if self.test is None else len(self.test[1])

    @property
    def rows_per_draw(self) -> int:
        """Number of rows that meet the same random weights."""
        return rows_per_draw(self.cell)

    def train_errors(self, weights: ArrayWeights) -> int:
        """Number of errors of other weights on the training data."""
        return self._errors(weights, self.train)

    def test_errors(self, weights: ArrayWeights) -> int:
        """Number of errors of other weights on the test data."""
        return self._errors(weights, self.test)

    def _errors(self, weights: ArrayWeights, data: Data | None) -> int:
        assert data is not None
        return count_errors(self.cell, _tensors(weights, data[0]), *data)

    def random_error(self, std: float, *, test: bool = False) -> float:
        """Share of errors when small groups of rows meet Gaussian weights of their own."""
        data = self.test if test else self.train
        assert data is not None
        weights = _tensors(self.weights, data[0])
        with suited_threads(self.cell.n_features, self.cell.hidden_size, len(data[1])):
            return random_error(self.cell, weights, std, *data, self._generator)

    @cached_property
    def _generator(self) -> torch.Generator:
        data = self.train or self.test
        assert data is not None
        return torch.Generator(data[0].device).manual_seed(self.seed)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], object]]:
        """Progress bar that is told how many steps were done since the last call."""
        with tqdm(total=total, desc=what, disable=not self.verbose) as bar:
            yield bar.update


def _tensors(weights: ArrayWeights, like: torch.Tensor) -> Weights:
    return {name: torch.tensor(weight).to(like) for name, weight in weights.items()}


def count_errors(cell: Cell, weights: Weights, X: torch.Tensor, targets: torch.Tensor) -> int:
    """Number of samples with M <= 0; a label unknown to the network (-1) is an error."""
    with suited_threads(cell.n_features, cell.hidden_size, len(X)):
        margins = score_margins(network_scores(cell, weights, X), targets.clamp(min=0))
    # An overflow, whose margin is not a number, is an error too.
    return int((~(margins > 0) | (targets < 0)).sum())


def rows_per_draw(cell: Cell) -> int:
    """Number of rows that meet the same draw of the weights."""
    return max(1, round(cell.n_weights / _NORMALS_PER_ROW))


@torch.no_grad()
def random_error(
    cell: Cell,
    weights: Weights,
    std: float,
    X: torch.Tensor,
    targets: torch.Tensor,
    generator: torch.Generator,
) -> float:
    """Share of errors when every group of rows meets Gaussian weights of its own.

    The groups have :func:`rows_per_draw` rows each, the last one fewer; the mean over the draws is
    the empirical risk of the randomised classifier. A tie for the largest score is an error, and so
    is a label unknown to the network (-1).
    """
    size = rows_per_draw(cell)
    per_draw = cell.n_weights + size * (cell.hidden_size + X.shape[1] * X.shape[2])
    rows = size * max(1, _BATCH_ENTRIES // per_draw)
    n_errors = 0
    for start in range(0, len(X), rows):
        chunk, labels = X[start : start + rows], targets[start : start + rows]
        n_groups = -(-len(chunk) // size)
        missing = n_groups * size - len(chunk)
        if missing:
            chunk = torch.nn.functional.pad(chunk, (0, 0, 0, 0, 0, missing))
        groups = chunk.reshape(n_groups, size, *X.shape[1:])
        draws = {name: _draws(weight, std, n_groups, generator) for name, weight in weights.items()}
        scores = torch.vmap(cell.scores)(draws, groups).flatten(0, 1)[: len(labels)]
        own = scores.gather(1, labels[:, None].clamp(min=0))
        # Right is only what beats every other score: a tie is an error, and so is overflow.
        right = (own > scores).sum(1) == scores.shape[1] - 1
        n_errors += int((~right | (labels < 0)).sum())
    return n_errors / len(X)


def _draws(
    weight: torch.Tensor, std: float, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Draws of a weight matrix, of shape (count, rows, columns)."""
    # Laid out for the products with transposed matrices.
    shape = (count, weight.shape[1], weight.shape[0])
    noise = torch.empty(shape, dtype=weight.dtype, device=weight.device)
    return (noise.normal_(0.0, std, generator=generator) + weight.T).mT
