"""The account of delta: grids fixed beforehand, and the share that each of their bins gets.

A quantity that was chosen after the data were seen may enter a bound only through a grid that was
fixed before: bin e stands for the value 2^e, the bins are numbered 0, 1, -1, 2, -2, ... from
1 on, and bin number j gets the share 1 / (j (j + 1)) of delta. The shares sum to 1. Several such
quantities multiply their shares.

What is finite in number (the candidates of a search, the rows of a report, the forms of a bound)
shares delta in equal parts, whether or not they were all looked at.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from sklearn_rnnbound.bounds._bound import Bound, Norm, Setting
from sklearn_rnnbound.bounds._sample import SampleStatistics

__all__ = [
    "EXPONENTS",
    "best_margin",
    "bin_exponent",
    "bin_share",
    "chosen_among",
    "divided",
    "fixed_or_bin",
    "row_radii",
    "smallest",
]

#: Exponents e of the bins 2^e that are looked at; every integer has its share.
EXPONENTS = range(-64, 65)


def bin_share(exponent: int) -> float:
    """Share 1 / (j (j + 1)) of delta that the bin of value 2^exponent gets.

    The exponents 0, 1, -1, 2, -2, ... number the bins j = 1, 2, 3, ...

    >>> [round(1 / bin_share(exponent)) for exponent in (0, 1, -1, 2)]
    [2, 6, 12, 20]
    """
    number = 2 * exponent if exponent > 0 else 1 - 2 * exponent
    return 1.0 / (number * (number + 1))


def bin_exponent(value: float) -> int:
    """Smallest exponent e in reach with value <= 2^e; `value` must be finite."""
    if value <= 2.0 ** EXPONENTS[0]:
        return EXPONENTS[0]
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else exponent


def fixed_or_bin(name: str, fixed: Norm | None, reached: Norm) -> tuple[float, float, str]:
    """Radius with which a norm enters a bound, its share of delta, and the line that says so.

    It is the radius fixed beforehand, where sign budgets add up, or the upper edge of the grid bin
    of the norm that was reached.
    """
    if fixed is not None:
        radius = sum(fixed) if isinstance(fixed, tuple) else fixed
        return radius, 1.0, f"{name} = {radius:g}, fixed beforehand and enforced"
    value = sum(reached) if isinstance(reached, tuple) else reached
    if not math.isfinite(value):
        return math.inf, 1.0, f"{name} is not finite"
    exponent = bin_exponent(value)
    share = bin_share(exponent)
    edge = math.ldexp(1.0, exponent) if exponent <= sys.float_info.max_exp - 1 else math.inf
    line = f"{name} unconstrained: {value:.4g} reached, grid edge {edge:.4g} used, "
    return edge, share, line + f"{_fraction(share)} of delta"


def row_radii(
    sample: SampleStatistics, setting: Setting
) -> tuple[dict[str, float], float, list[str]]:
    """Radii of the rows of U, W and V by name, their share of delta, and the lines that say so."""
    names = ("beta_u", "beta_w", "beta_v")
    bins = [fixed_or_bin(name, getattr(setting, name), getattr(sample, name)) for name in names]
    radii, shares, lines = zip(*bins, strict=True)
    return dict(zip(names, radii, strict=True)), math.prod(shares), list(lines)


def best_margin(
    margin: float | str,
    evaluate: Callable[[float, float], float],
    exponents: Sequence[int] = EXPONENTS,
) -> tuple[float, float, str]:
    """The margin with which a bound is smallest, its share of delta, and the line that says so.

    `evaluate` gives the value of the bound for (alpha, share of delta); "auto" looks at the bins of
    these exponents, any other margin was fixed beforehand.
    """
    if margin != "auto":
        alpha = float(margin)
        return alpha, 1.0, f"margin alpha = {alpha:g}, counted as fixed beforehand"
    exponent = min(exponents, key=lambda e: (evaluate(2.0**e, bin_share(e)), abs(e)))
    share = bin_share(exponent)
    alpha = 2.0**exponent
    return (
        alpha,
        share,
        f"margin alpha = {alpha:g}, best of the grid 2^j, {_fraction(share)} of delta",
    )


def divided(setting: Setting, count: int, among: str) -> Setting:
    """The setting with one of `count` equal parts of delta, and a note that says among what.

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

    It was taken at one of `count` equal parts of that delta, and keeps its value.
    """
    if count == 1 or bound.delta is None:
        return bound
    delta = bound.delta * count
    note = "chosen by a search: " + _equal_parts(delta, count, "candidates")
    return replace(bound, delta=delta, assumptions=(*bound.assumptions, note))


def smallest(setting: Setting, forms: Sequence[tuple[str, Callable[[Setting], Bound]]]) -> Bound:
    """The smallest of several named forms of one bound, which share delta in equal parts.

    Which forms there are must be settled before the data are seen.
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
