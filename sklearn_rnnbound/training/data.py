"""Sequences as tensors, and minibatches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Batch", "Batches", "Sequences", "as_tensor", "has_room", "resolve_device"]


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """Tensor on the memory of an array, which nobody may write to through it.

    torch warns about a read-only array (a memory map, an array that joblib shares), since it
    cannot keep others from writing; so it is shown the same memory as if it were writable.
    """
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    if array.flags.writeable:
        return torch.from_numpy(array)
    holder = _Memory({**array.__array_interface__, "data": (array.ctypes.data, False)}, array)
    return torch.from_numpy(np.asarray(holder))


@dataclass(frozen=True)
class _Memory:
    __array_interface__: dict[str, Any]
    owner: np.ndarray


def resolve_device(name: str) -> torch.device:
    """Device of this name; ValueError when it is not there."""
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if n_cuda else "cpu")
    there = ["cpu", *(["cuda"] if n_cuda else []), *(f"cuda:{i}" for i in range(n_cuda))]
    if name not in there:
        raise ValueError(
            f"device={name!r} is not there; this machine has 'auto', {', '.join(map(repr, there))}"
        )
    return torch.device(name)


def has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether data of a size may lie on a device; else minibatches travel there one by one."""
    if device.type != "cuda":
        return True
    # The other half is for what training makes of a minibatch, and for other programs.
    return n_bytes <= torch.cuda.mem_get_info(device)[0] / 2


class Sequences(torch.utils.data.Dataset[Any]):
    """Sequences, class numbers and optional weights, on one device: the network's or the host.

    Parameters
    ----------
    X : torch.Tensor of shape (n, L, d)
        Sequences.
    targets : torch.Tensor of shape (n,)
        Class numbers, int64.
    weights : torch.Tensor of shape (n,) or None
        Sample weights; None: all equal.
    rows : torch.Tensor of int64 or None
        The rows that belong to the data set, so that a part of X needs no copy; None: all.
    """

    def __init__(
        self,
        X: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor | None = None,
        rows: torch.Tensor | None = None,
    ) -> None:
        self.X, self.targets, self.rows = X, targets, rows
        self.weights = weights
        if weights is not None:
            self.weights = weights / (weights if rows is None else weights[rows]).mean()

    def __len__(self) -> int:
        return len(self.targets if self.rows is None else self.rows)

    def __getitem__(self, index: Any) -> Batch:
        if self.rows is not None:
            index = self.rows[index]
        weights = None if self.weights is None else self.weights[index]
        # Several times faster than X[index].
        X = self.X[index] if isinstance(index, slice) else self.X.index_select(0, index)
        return Batch((X, self.targets[index]), weights)


class Batch(tuple[torch.Tensor, torch.Tensor]):
    """The pair (X, y) of a minibatch, with its sample weights."""

    weights: torch.Tensor | None

    def __new__(
        cls, pair: tuple[torch.Tensor, torch.Tensor], weights: torch.Tensor | None
    ) -> Batch:
        """Build the pair and keep the weights beside it."""
        batch = super().__new__(cls, pair)
        batch.weights = weights
        return batch

    def mean(self, losses: torch.Tensor) -> torch.Tensor:
        """Mean loss of the minibatch, under the sample weights."""
        return (losses if self.weights is None else losses * self.weights.to(losses.device)).mean()


@dataclass(frozen=True)
class Batches:
    """Iterable over minibatches of `data`, permuted when a generator is given."""

    data: Sequences
    batch_size: int
    generator: torch.Generator | None = None

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.data)
        order = None
        if self.generator is not None:
            order = torch.randperm(n, generator=self.generator).to(self.data.X.device)
        for start in range(0, n, self.batch_size):
            stop = start + self.batch_size
            yield self.data[slice(start, stop) if order is None else order[start:stop]]
