"""Input noise (paper, Theorem 3 and Remark 4) and the chunked pass over noisy inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

__all__ = ["InputNoise", "input_chunks"]

# Enough rows for matrix products at full speed, few enough for the states to stay in cache.
_CHUNK_ROWS = 1024
_CHUNK_ENTRIES = 2**23


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

    def sample_(self, out: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Overwrite a contiguous tensor, on the generator's device, with a draw of the noise."""
        if self.kind == "gaussian":
            return out.normal_(0.0, self.std, generator=generator)
        if self.kind == "uniform":
            half_width = math.sqrt(3.0) * self.std
            return out.uniform_(-half_width, half_width, generator=generator)
        # A Laplace variable is the difference of two exponential ones.
        rate = math.sqrt(2.0) / self.std
        out.exponential_(rate, generator=generator)
        return out.sub_(torch.empty_like(out).exponential_(rate, generator=generator))


def input_chunks(
    X: torch.Tensor, noise: InputNoise | None = None, seed: int = 0
) -> Iterator[torch.Tensor]:
    """Yield X (n, L, d), or X plus one draw of noise, in blocks of rows small enough to work on.

    The same seed gives the same noise.
    """
    rows = min(_CHUNK_ROWS, max(1, _CHUNK_ENTRIES // (X.shape[1] * X.shape[2])))
    if noise is None:
        # The order of summation depends on the strides: it is not to depend on those of X.
        yield from (chunk.contiguous() for chunk in X.split(rows))
        return
    generator = torch.Generator(X.device).manual_seed(seed)
    for chunk in X.split(rows):
        draw = noise.sample_(
            torch.empty_like(chunk, memory_format=torch.contiguous_format), generator
        )
        yield draw.add_(chunk)
