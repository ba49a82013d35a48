"""Kinds of parameters that scikit-learn's constraints do not know."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

__all__ = ["INT32_MAX", "Number", "NumberPair"]

#: Largest number of things that torch counts by 32 bits.
INT32_MAX = 2**31 - 1


class Number(Interval):
    """Interval of numbers that arithmetic in float64 takes: neither True nor 10**400 is one."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether the value is such a number, of Python or NumPy, and in the interval."""
        is_number = isinstance(val, int | float | np.integer | np.floating)
        if isinstance(val, bool) or not is_number or not _is_finite(val):
            return False
        # A longdouble may be positive, and zero in float64.
        return super().is_satisfied_by(val if isinstance(val, Integral) else float(val))


class NumberPair(Number):
    """Pair (beta+, beta-) of numbers in an interval; it stands behind the number alone."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether the value is a tuple or list of two such numbers."""
        return (
            isinstance(val, tuple | list)
            and len(val) == 2
            and all(map(super().is_satisfied_by, val))
        )

    def __str__(self) -> str:
        return "a pair (beta+, beta-) of floats in that range"


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
