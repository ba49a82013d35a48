"""Generalization bounds: pure functions of sample statistics and of what was fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting, Term
from sklearn_rnnbound.bounds.paper import theorem2, theorem3

__all__ = ["BOUNDS", "Bound", "NotApplicableError", "Setting", "Term"]

#: Every bound by name; a bound is a function of (SampleStatistics, Setting).
BOUNDS: dict[str, Callable[..., Bound]] = {"theorem2": theorem2, "theorem3": theorem3}
