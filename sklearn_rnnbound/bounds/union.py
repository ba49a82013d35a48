"""The account of delta: grids fixed beforehand, and the share that each of their cells gets.

A quantity that was chosen after the data were seen may enter a bound only through a grid that was
fixed before: cell e stands for the value 2^e, the cells are numbered 0, 1, -1, 2, -2, ... from
1 on, and cell number j gets the share 1 / (j (j + 1)) of delta. The shares sum to 1. Several such
quantities multiply their shares.

What is finite in number (the candidates of a search, the rows of a report, the forms of a bound)
shares delta in equal parts, whether or not they were all looked at.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sklearn_rnnbound.bounds._bound import Bound, Norm, Setting

if TYPE_CHECKING:
    from sklearn_rnnbound.statistics import SampleStatistics

__all__ = [
    "EXPONENTS",
    "best_margin",
    "cell_exponent",
    "cell_share",
    "chosen_among",
    "divided",
    "fixed_or_cell",
    "row_radii",
    "smallest",
]

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


def row_radii(
    sample: SampleStatistics, setting: Setting
) -> tuple[dict[str, float], float, list[str]]:
    """Radii of the rows of U, W and V, their share of delta, and the lines that say so.

    Parameters
    ----------
    sample : SampleStatistics
        The norms that the weights reached.
    setting : Setting
        The norms that were fixed beforehand.

    Returns
    -------
    radii : dict
        ``beta_u``, ``beta_w`` and ``beta_v``, each as :func:`fixed_or_cell` gives it.
    share : float
        Factor on delta, for all three.
    lines : list of str
        The assumptions in words.
    """
    names = ("beta_u", "beta_w", "beta_v")
    cells = [fixed_or_cell(name, getattr(setting, name), getattr(sample, name)) for name in names]
    radii, shares, lines = zip(*cells, strict=True)
    return dict(zip(names, radii, strict=True)), math.prod(shares), list(lines)


def best_margin(
    margin: float | str,
    evaluate: Callable[[float, float], float],
    exponents: Sequence[int] = EXPONENTS,
) -> tuple[float, float, str]:
    """The margin with which a bound is smallest, its share of delta, and the line that says so.

    Parameters
    ----------
    margin : float or "auto"
        A margin fixed beforehand, or "auto": the best cell of the grid.
    evaluate : callable
        Value of the bound for (alpha, share of delta).
    exponents : sequence of int
        Cells of the grid to look at.

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
    exponent = min(exponents, key=lambda e: (evaluate(2.0**e, cell_share(e)), abs(e)))
    share = cell_share(exponent)
    alpha = 2.0**exponent
    return (
        alpha,
        share,
        f"margin alpha = {alpha:g}, best of the grid 2^j, {_fraction(share)} of delta",
    )


def divided(setting: Setting, count: int, among: str) -> Setting:
    """The setting with one of `count` equal parts of delta, and a note that says so.

    Parameters
    ----------
    setting : Setting
        What was fixed beforehand.
    count : int
        Number of statements that hold together, at least 1.
    among : str
        What they are, in the plural.

    Returns
    -------
    setting : Setting
        The same setting when `count` is 1.

    Examples
    --------
    >>> from sklearn_rnnbound.bounds import Setting
    >>> divided(Setting(delta=0.05), 20, "candidates").delta
    0.0025
    """
    if count == 1:
        return setting
    note = _equal_parts(setting.delta, count, among)
    return replace(setting, delta=setting.delta / count, notes=(*setting.notes, note))


def chosen_among(bound: Bound, count: int) -> Bound:
    """The bound of the winner of a search, at the delta that all its candidates share.

    Parameters
    ----------
    bound : Bound
        Bound of the winner at one of `count` equal parts of delta.
    count : int
        Number of candidates.

    Returns
    -------
    bound : Bound
        The same value; it may fail with the probability delta of all candidates together.
    """
    if count == 1 or bound.delta is None:
        return bound
    delta = bound.delta * count
    note = "chosen by a search: " + _equal_parts(delta, count, "candidates")
    return replace(bound, delta=delta, assumptions=(*bound.assumptions, note))


def smallest(setting: Setting, forms: Sequence[tuple[str, Callable[[Setting], Bound]]]) -> Bound:
    """The smallest of several forms of one bound, which share delta in equal parts.

    Which forms there are must be settled before the data are seen.

    Parameters
    ----------
    setting : Setting
        What was fixed beforehand.
    forms : sequence of pairs
        What a form is called, and the form as a function of a setting.

    Returns
    -------
    bound : Bound
        The smallest, with the delta of all together.
    """
    if len(forms) == 1:
        return forms[0][1](setting)
    part = divided(setting, len(forms), "forms: " + ", ".join(name for name, _ in forms))
    candidates = [(form(part), name) for name, form in forms]
    bound, name = min(candidates, key=lambda pair: pair[0].value)
    return replace(
        bound, delta=setting.delta, assumptions=(*bound.assumptions, f"smallest form: {name}")
    )


def _equal_parts(delta: float, count: int, among: str) -> str:
    return f"delta = {delta:g} in equal parts among {count} {among}"


def _fraction(share: float) -> str:
    return f"1/{round(1 / share)}"
