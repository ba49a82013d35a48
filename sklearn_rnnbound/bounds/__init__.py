"""Generalization bounds: pure functions of sample statistics and of what was fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting, Term
from sklearn_rnnbound.bounds.comparison import chen2019, golowich2018, trivial, zhang2018
from sklearn_rnnbound.bounds.holdout import holdout
from sklearn_rnnbound.bounds.localized import localized
from sklearn_rnnbound.bounds.occam import occam
from sklearn_rnnbound.bounds.pac_bayes import pac_bayes
from sklearn_rnnbound.bounds.paper import theorem2, theorem3
from sklearn_rnnbound.bounds.peeling import peeling
from sklearn_rnnbound.bounds.refined import refined

__all__ = ["BOUNDS", "Bound", "NotApplicableError", "Setting", "Term"]

#: Every bound by name; a bound is a function of (SampleStatistics, Setting).
BOUNDS: dict[str, Callable[..., Bound]] = {
    "theorem2": theorem2,
    "theorem3": theorem3,
    "refined": refined,
    "peeling": peeling,
    "localized": localized,
    "golowich2018": golowich2018,
    "trivial": trivial,
    "zhang2018": zhang2018,
    "chen2019": chen2019,
    "holdout": holdout,
    "occam": occam,
    "pac_bayes": pac_bayes,
}
