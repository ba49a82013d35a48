"""Recurrent classifiers in scikit-learn's manner that come with a generalization bound."""

from sklearn_rnnbound._version import __version__ as __version__
from sklearn_rnnbound.bounds import BOUNDS, Bound, Term
from sklearn_rnnbound.certification.folds import CrossValidatedBoundReport
from sklearn_rnnbound.certification.report import BoundCurve, BoundReport
from sklearn_rnnbound.classifier import RNNBoundClassifier
from sklearn_rnnbound.io import load, save
from sklearn_rnnbound.selection.cross_validation import cross_validate_bounds
from sklearn_rnnbound.selection.provenance import bound_report
from sklearn_rnnbound.selection.search import (
    BoundSearch,
    certify,
    make_bound_scorer,
    neg_bound_scorer,
)

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundCurve",
    "BoundReport",
    "BoundSearch",
    "CrossValidatedBoundReport",
    "RNNBoundClassifier",
    "Term",
    "bound_report",
    "certify",
    "cross_validate_bounds",
    "load",
    "make_bound_scorer",
    "neg_bound_scorer",
    "save",
]
