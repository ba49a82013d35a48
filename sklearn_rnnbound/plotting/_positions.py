"""Where values of a parameter stand on a horizontal axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Positions", "is_number"]

# Positive values that span more than the first, or grow by a constant factor and span the second,
# are read on a logarithmic axis.
_WIDE, _GEOMETRIC = 30.0, 4.0
# Room between numbers and what is none, and width of a letter, as parts of the axis.
_ROOM, _LETTER = 0.2, 0.018
_LONGEST = 24


@dataclass(frozen=True)
class Positions:
    """Places on a horizontal axis: numbers to scale, everything else to the right of them.

    Parameters
    ----------
    places : ndarray of shape (n_positions,)
        Coordinates.
    numeric : ndarray of shape (n_positions,)
        Whether a position stands on the numeric part; none does unless there are two numbers.
    logarithmic : bool
        Whether the numeric part is logarithmic.
    labels : tuple of str
        Texts of the positions.
    """

    places: np.ndarray
    numeric: np.ndarray
    logarithmic: bool
    labels: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Positions:
        """Places of these values; None is the last."""
        labels = tuple(map(_text, values))
        numeric = np.array([is_number(value) for value in values], dtype=bool)
        numbers = np.unique([float(value) for value in values if is_number(value)])
        others = sorted(
            (i for i, value in enumerate(values) if not is_number(value)),
            key=lambda i: values[i] is None,
        )
        places = np.zeros(len(values))
        if len(numbers) < 2:
            order = [*np.flatnonzero(numeric), *others]
            places[order] = np.arange(len(values))
            return cls(places, np.zeros_like(numeric), False, labels)
        logarithmic = _suits_logarithm(numbers)
        places[numeric] = [float(value) for value in values if is_number(value)]
        low, high = np.log(numbers[[0, -1]]) if logarithmic else numbers[[0, -1]]
        ends = high + _ROOM * (high - low) * np.arange(1, len(others) + 1)
        places[others] = np.exp(ends) if logarithmic else ends
        return cls(places, numeric, logarithmic, labels)

    def beside(self, number: int, count: int) -> np.ndarray:
        """Places of one of several curves, side by side where nothing is to scale."""
        if self.numeric.any():
            return self.places
        return self.places + 0.7 * ((number + 0.5) / count - 0.5)

    def apply(self, ax: Axes) -> None:
        """Set scale, limits and ticks of the axis."""
        rotation: dict[str, Any] = {}
        if self.logarithmic:
            ax.set_xscale("log")
        if not self.numeric.any():
            ax.set_xlim(-0.6, len(self.places) - 0.4)
        texts = [self.labels[i] for i in np.flatnonzero(~self.numeric)]
        # Texts get about as much room as numbers.
        if len(texts) > 1 and sum(map(len, texts)) > (15 if self.numeric.any() else 50):
            rotation = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        kept = self._readable(bool(rotation)) if self.numeric.any() else range(len(self.places))
        ax.set_xticks(self.places[kept], [self.labels[i] for i in kept], **rotation)
        ax.set_xticks([], minor=True)

    def _readable(self, slanted: bool) -> list[int]:
        """Positions, from the right to the left, without numbers whose labels would overlap."""
        places = np.log(self.places) if self.logarithmic else self.places
        places = places / np.ptp(places)
        kept: list[int] = []
        for i in map(int, np.argsort(-places, kind="stable")):
            if kept and self.numeric[i]:
                letters = (len(self.labels[i]) + len(self.labels[kept[-1]]) + 2) / 2
                if places[kept[-1]] - places[i] < _LETTER * (2 if slanted else letters):
                    continue
            kept.append(i)
        return kept


def is_number(value: Any) -> bool:
    """Whether a value has a place on a numeric axis."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _suits_logarithm(numbers: np.ndarray) -> bool:
    if numbers[0] <= 0:
        return False
    ratios = numbers[1:] / numbers[:-1]
    span = numbers[-1] / numbers[0]
    geometric = len(ratios) > 1 and np.allclose(ratios, ratios[0], rtol=0.05)
    return bool(span > _WIDE or (geometric and span >= _GEOMETRIC))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if is_number(value):
        return f"{float(value):g}"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
