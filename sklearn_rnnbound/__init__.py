"""Recurrent classifiers in scikit-learn's manner that come with a generalization bound."""

from sklearn_rnnbound._version import __version__ as __version__
from sklearn_rnnbound.bounds import BOUNDS, Bound, Term
from sklearn_rnnbound.classifier import RNNBoundClassifier
from sklearn_rnnbound.cross_validation import cross_validate_bounds
from sklearn_rnnbound.fold_reports import CrossValidatedBoundReport
from sklearn_rnnbound.model_selection import (
    BoundSearch,
    certify,
    make_bound_scorer,
    neg_bound_scorer,
)
from sklearn_rnnbound.persistence import load, save
from sklearn_rnnbound.report import BoundCurve, BoundReport
from sklearn_rnnbound.stacked_search import StackedGridSearchCV

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundCurve",
    "BoundReport",
    "BoundSearch",
    "CrossValidatedBoundReport",
    "RNNBoundClassifier",
    "StackedGridSearchCV",
    "Term",
    "certify",
    "cross_validate_bounds",
    "load",
    "make_bound_scorer",
    "neg_bound_scorer",
    "save",
]
