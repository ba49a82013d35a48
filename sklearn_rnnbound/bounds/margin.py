"""From a complexity to a risk: the empirical margin risk, and the bound at its best margin.

Every uniform bound of the package has the form (paper, Lemma 7; Kuznetsov, Mohri & Syed 2015)

    P[M <= 0] <= empirical risk at margin alpha + (complexity + noise) / alpha + confidence,

and alpha is fixed beforehand or picked from a grid that delta pays for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting, Term
from sklearn_rnnbound.bounds._numeric import log_of
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.union import EXPONENTS, best_margin, row_radii

__all__ = [
    "at_best_margin",
    "complexity_factor",
    "confidence",
    "indicator_risk",
    "ramp_bound",
    "ramp_risk",
    "score_radii",
]

#: An empirical risk as a function of the margin alpha.
Risk = Callable[[float], float]
#: The addends of a bound for (alpha, ln of what is left of delta).
Terms = Callable[[float, float], tuple[Term, ...]]


def indicator_risk(margins: np.ndarray) -> Risk:
    """(1/n) sum_i 1[M_i <= alpha] as a function of alpha; the margins are sorted once."""
    ordered = np.sort(np.asarray(margins, dtype=np.float64))

    def risk(alpha: float) -> float:
        return float(np.searchsorted(ordered, alpha, side="right") / len(ordered))

    return risk


def ramp_risk(margins: np.ndarray) -> Risk:
    """(1/n) sum_i Phi_alpha(M_i) as a function of alpha; the margins are sorted once.

    The ramp Phi_alpha is 1 up to 0, 0 from alpha on, and linear between.
    """
    ordered = np.sort(np.maximum(np.asarray(margins, dtype=np.float64), 0.0))
    with np.errstate(over="ignore"):
        sums = np.concatenate([[0.0], np.cumsum(ordered)])

    def risk(alpha: float) -> float:
        below = int(np.searchsorted(ordered, alpha))
        if math.isfinite(sums[below]):
            return float(max(below - sums[below] / alpha, 0.0) / len(ordered))
        return float((1.0 - ordered[:below] / alpha).sum() / len(ordered))

    return risk


def confidence(log_delta: float, n: int) -> float:
    """3 sqrt(ln(2/delta) / (2n)), the price of a risk and of an empirical complexity."""
    return 3 * math.sqrt((math.log(2) - log_delta) / (2 * n))


def complexity_factor(n_classes: int) -> float:
    """Factor of the complexity in a bound: 2 for the scalar score of two classes, else 4 k.

    For two classes the complexity is that of ``f = y_1 - y_0``, whose margin is ``+-f``.
    """
    return 2.0 if n_classes == 2 else 4.0 * n_classes


def score_radii(
    sample: SampleStatistics, setting: Setting
) -> tuple[dict[str, float], float, list[str]]:
    """Radii of the rows of U, W and of the scores, their share of delta, and the lines for it."""
    radii, share, lines = row_radii(sample, setting)
    if sample.n_classes == 2 and setting.unit_types == 1:
        # The row V_1 - V_0 of the scalar score.
        radii["beta_v"] *= 2
    return radii, share, lines


def at_best_margin(
    name: str,
    setting: Setting,
    terms: Terms,
    *,
    share: float,
    certified: bool,
    lines: Sequence[str],
) -> Bound:
    """Put a bound together at its fixed margin or at the best of the grid.

    `terms` gives the addends for (alpha, ln of what is left of delta), `share` is what the grids of
    the norms left of delta, and `lines` are assumptions beside the setting's notes and the margin.
    Where the bound is vacuous, the reason names its largest term.
    """
    log_delta = log_of(setting.delta) + math.log(share)

    def addends(alpha: float, margin_share: float) -> tuple[Term, ...]:
        found = terms(alpha, log_delta + math.log(margin_share))
        # What is not a number, such as zero times an overflow, promises nothing.
        return tuple(replace(t, value=math.inf) if math.isnan(t.value) else t for t in found)

    def value(alpha: float, margin_share: float) -> float:
        return sum(term.value for term in addends(alpha, margin_share))

    alpha, margin_share, line = best_margin(setting.margin, value, setting.margin_bins or EXPONENTS)
    total = value(alpha, margin_share)
    found = addends(alpha, margin_share)
    return Bound(
        name=name,
        value=total,
        kind="certified" if certified else "plug_in",
        terms=found,
        margin=alpha,
        delta=setting.delta,
        assumptions=(*setting.notes, *lines, line),
        vacuous=total >= 1,
        reason=largest_term(found) if total >= 1 else "",
    )


def ramp_bound(
    name: str,
    setting: Setting,
    margins: np.ndarray,
    complexity: float,
    *,
    share: float,
    lines: Sequence[str],
    rate: str = "n^-1/2",
    noise: float | None = None,
) -> Bound:
    """Certificate by ramp risk, complexity and confidence, and by noise unless it is None.

    `complexity` is that of the scores times its factor, and changes with n at its `rate`; `noise`
    is what the noise may move the scores by. Share and lines are as in :func:`at_best_margin`.
    """
    risk = ramp_risk(margins)

    def terms(alpha: float, log_delta: float) -> tuple[Term, ...]:
        return (
            Term("empirical_risk", risk(alpha), "n^0"),
            Term("complexity", complexity / alpha, rate),
            *(() if noise is None else (Term("noise", noise / alpha, "n^0"),)),
            Term("confidence", confidence(log_delta, len(margins)), "n^-1/2"),
        )

    return at_best_margin(name, setting, terms, share=share, certified=True, lines=lines)


def largest_term(terms: Sequence[Term]) -> str:
    """Sentence that names the largest of the terms."""
    term = max(terms, key=lambda term: term.value)
    if term.name == "empirical_risk":
        return "A smaller margin would leave more samples safe, but at a larger complexity."
    return f"Its largest term is {term.name.replace('_', ' ')}, {term.value:.4g}."
