"""The account of delta: grids fixed beforehand, and the share that each of their cells gets.

A quantity that was chosen after the data were seen may enter a bound only through a grid that was
fixed before: cell e stands for the value 2^e, the cells are numbered 0, 1, -1, 2, -2, ... from
1 on, and cell number j gets the share 1 / (j (j + 1)) of delta. The shares sum to 1. Several such
quantities multiply their shares.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

from sklearn_rnnbound.bounds._bound import Norm

__all__ = ["EXPONENTS", "best_margin", "cell_exponent", "cell_share", "fixed_or_cell"]

#: Exponents e of the cells 2^e that are looked at; every integer has its share.
EXPONENTS = range(-64, 65)


def cell_share(exponent: int) -> float:
    """Share 1 / (j (j + 1)) of delta that the cell of value 2^exponent gets.

    Parameters
    ----------
    exponent : int
        e, in the order 0, 1, -1, 2, -2, ... that numbers the cells j = 1, 2, 3, ...

    Returns
    -------
    share : float
        The share.

    Examples
    --------
    >>> [round(1 / cell_share(exponent)) for exponent in (0, 1, -1, 2)]
    [2, 6, 12, 20]
    """
    number = 2 * exponent if exponent > 0 else 1 - 2 * exponent
    return 1.0 / (number * (number + 1))


def cell_exponent(value: float) -> int:
    """Smallest exponent e in reach with value <= 2^e; `value` must be finite."""
    if value <= 2.0 ** EXPONENTS[0]:
        return EXPONENTS[0]
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else exponent


def fixed_or_cell(name: str, fixed: Norm | None, reached: Norm) -> tuple[float, float, str]:
    """Radius with which a norm enters a bound, its share of delta, and the line that says so.

    Parameters
    ----------
    name : str
        Name of the norm.
    fixed : float, pair of floats or None
        Radius fixed beforehand; sign budgets add up.
    reached : float or pair of floats
        Norm of the trained weights.

    Returns
    -------
    radius : float
        The fixed radius, or the upper edge of the grid cell of the norm that was reached.
    share : float
        Factor on delta.
    line : str
        The assumption in words.
    """
    if fixed is not None:
        radius = sum(fixed) if isinstance(fixed, tuple) else fixed
        return radius, 1.0, f"{name} = {radius:g}, fixed beforehand and enforced"
    value = sum(reached) if isinstance(reached, tuple) else reached
    if not math.isfinite(value):
        return math.inf, 1.0, f"{name} is not finite"
    exponent = cell_exponent(value)
    share = cell_share(exponent)
    edge = math.ldexp(1.0, exponent) if exponent <= sys.float_info.max_exp - 1 else math.inf
    line = f"{name} unconstrained: {value:.4g} reached, grid edge {edge:.4g} used, "
    return edge, share, line + f"{_fraction(share)} of delta"


def best_margin(
    margin: float | str, evaluate: Callable[[float, float], float]
) -> tuple[float, float, str]:
    """The margin with which a bound is smallest, its share of delta, and the line that says so.

    Parameters
    ----------
    margin : float or "auto"
        A margin fixed beforehand, or "auto": the best cell of the grid.
    evaluate : callable
        Value of the bound for (alpha, share of delta).

    Returns
    -------
    alpha : float
        The margin.
    share : float
        Factor on delta.
    line : str
        The assumption in words.
    """
    if margin != "auto":
        alpha = float(margin)
        return alpha, 1.0, f"margin alpha = {alpha:g}, counted as fixed beforehand"
    exponent = min(EXPONENTS, key=lambda e: (evaluate(2.0**e, cell_share(e)), abs(e)))
    share = cell_share(exponent)
    alpha = 2.0**exponent
    return (
        alpha,
        share,
        f"margin alpha = {alpha:g}, best of the grid 2^j, {_fraction(share)} of delta",
    )


def _fraction(share: float) -> str:
    return f"1/{round(1 / share)}"
