"""Generalization bounds, one class each: pure functions of plain numbers.

A bound knows a :class:`SampleStatistics`, the evidence that it asked for, and what was fixed
beforehand, a :class:`Setting`. A new one is a class with :func:`register` on top.
"""

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting, Term
from sklearn_rnnbound.bounds._rule import BOUNDS, BoundRule, Trial, register
from sklearn_rnnbound.bounds._sample import SampleStatistics

# In the order of reports.
# isort: off
from sklearn_rnnbound.bounds.paper import Theorem2, Theorem3
from sklearn_rnnbound.bounds.refined import Refined
from sklearn_rnnbound.bounds.peeling import Peeling
from sklearn_rnnbound.bounds.localized import Localized
from sklearn_rnnbound.bounds.golowich import Golowich2018
from sklearn_rnnbound.bounds.trivial import Trivial
from sklearn_rnnbound.bounds.orders import Chen2019, Zhang2018
from sklearn_rnnbound.bounds.holdout import Holdout
from sklearn_rnnbound.bounds.occam import Occam
from sklearn_rnnbound.bounds.pac_bayes import PacBayes
# isort: on

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundRule",
    "Chen2019",
    "Golowich2018",
    "Holdout",
    "Localized",
    "NotApplicableError",
    "Occam",
    "PacBayes",
    "Peeling",
    "Refined",
    "SampleStatistics",
    "Setting",
    "Term",
    "Theorem2",
    "Theorem3",
    "Trial",
    "Trivial",
    "Zhang2018",
    "register",
]
