"""Input noise (paper, Theorem 3 and Remark 4) and the chunked pass over noisy inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

__all__ = ["InputNoise", "input_chunks"]

_CHUNK_ENTRIES = 2**21


@dataclass(frozen=True)
class InputNoise:
    """I.i.d. zero-mean noise on every entry of the input.

    Parameters
    ----------
    kind : {"gaussian", "uniform", "laplace"}
        Law of one entry.
    std : float
        Standard deviation of one entry, in the units of the input.
    """

    kind: str
    std: float

    def sample(
        self, shape: torch.Size, *, generator: torch.Generator, dtype: torch.dtype
    ) -> torch.Tensor:
        """Draw noise of the given shape on the generator's device."""
        noise = torch.empty(shape, dtype=dtype, device=generator.device)
        if self.kind == "gaussian":
            return noise.normal_(0.0, self.std, generator=generator)
        if self.kind == "uniform":
            half_width = math.sqrt(3.0) * self.std
            return noise.uniform_(-half_width, half_width, generator=generator)
        # A Laplace variable is the difference of two exponential ones.
        rate = math.sqrt(2.0) / self.std
        noise.exponential_(rate, generator=generator)
        return noise.sub_(torch.empty_like(noise).exponential_(rate, generator=generator))


def input_chunks(
    X: torch.Tensor, width: int, noise: InputNoise | None = None, seed: int = 0
) -> Iterator[torch.Tensor]:
    """Yield X, or X plus one draw of noise, in blocks of rows small enough to work on.

    Parameters
    ----------
    X : torch.Tensor of shape (n, L, d)
        Sequences.
    width : int
        Largest number of values per step that the caller makes of a sequence.
    noise : InputNoise or None
        Law of the noise; None: X itself.
    seed : int
        Seed of the draw: the same seed gives the same noise.

    Yields
    ------
    chunk : torch.Tensor of shape (rows, L, d)
        Next block of rows.
    """
    rows = max(1, _CHUNK_ENTRIES // (X.shape[1] * max(X.shape[2], width)))
    if noise is None:
        yield from X.split(rows)
        return
    generator = torch.Generator(X.device).manual_seed(seed)
    for chunk in X.split(rows):
        yield chunk + noise.sample(chunk.shape, generator=generator, dtype=X.dtype)
