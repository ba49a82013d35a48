"""Bounds under cross-validation: what they promise in each fold, beside what comes true."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from traceback import format_exc
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import _check_method_params, _num_samples

from sklearn_rnnbound.certification.certifier import check_methods, needed_data
from sklearn_rnnbound.certification.folds import NORMS, CrossValidatedBoundReport, FoldReport
from sklearn_rnnbound.classifier import RNNBoundClassifier
from sklearn_rnnbound.selection._tasks import run_tasks
from sklearn_rnnbound.selection.provenance import (
    DELTA,
    bound_report,
    candidate,
    check_attainable,
    check_one_delta,
    is_search,
    layers,
)

__all__ = ["cross_validate_bounds"]


@validate_params(
    {
        "estimator": [HasMethods(["fit", "predict"])],
        "X": ["array-like"],
        "y": ["array-like"],
        "param_grid": [dict, list, None],
        "groups": ["array-like", None],
        "cv": ["cv_object"],
        "methods": [str, list, tuple],
        "margin": [Interval(Real, 0, None, closed="neither"), None],
        "delta": DELTA,
        "simultaneous": ["boolean"],
        "params": [dict, None],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "error_score": [StrOptions({"raise"}), Real],
    },
    prefer_skip_nested_validation=False,
)
def cross_validate_bounds(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]] | None = None,
    groups: Any = None,
    cv: Any = None,
    methods: str | list[str] = "all",
    margin: float | None = None,
    delta: float | None = None,
    simultaneous: bool = False,
    params: dict[str, Any] | None = None,
    n_jobs: int | None = None,
    verbose: bool | int = 0,
    error_score: float | str = np.nan,
) -> CrossValidatedBoundReport:
    """Bounds, errors and gaps by cross-validation.

    In every fold a clone of the estimator is fitted on the training part; its bounds speak of that
    part, and its test error is that of the other one, which also serves the bound ``"holdout"``.

    Parameters
    ----------
    estimator : estimator
        An :class:`.RNNBoundClassifier`, a pipeline that ends in one, or a search over either. It
        is cloned, and not changed. In a pipeline, steps that learn from the training part make its
        bounds estimates.
    X : array-like of shape (n, ...)
        Data of the estimator's `fit`.
    y : array-like of shape (n,)
        Labels.
    param_grid : dict, list of dict or None, default=None
        Candidates to compare, as in GridSearchCV. None: the estimator as it is.
    groups : array-like of shape (n,) or None, default=None
        Groups of the samples, for the splitter. With metadata routing enabled they belong into
        `params`.
    cv : int, splitter, iterable or None, default=None
        Splits, as in :func:`sklearn.model_selection.cross_validate`, of which no row may be in
        both parts, or in one of them twice. None: five stratified folds.
    methods : "all", str or list of str, default="all"
        Bounds, as in :meth:`.RNNBoundClassifier.bound_report_`. ``"pac_bayes"``, which "all"
        contains, takes about twenty passes over the training part.
    margin : float or None, default=None
        Margin alpha, counted as fixed beforehand. None: that of the classifier.
    delta : float or None, default=None
        Probability with which a bound of a fold may fail. None: as in :func:`bound_report`.
    simultaneous : bool, default=False
        Whether delta is shared out so that all bounds of a fold hold together.
    params : dict or None, default=None
        What goes to `fit`, by name; values with one entry per sample are split like X. With
        metadata routing enabled, what the estimator and the splitter request.
    n_jobs : int or None, default=None
        Number of fits side by side, as in joblib, on its current backend.
    verbose : bool or int, default=0
        Whether to show a progress bar.
    error_score : "raise" or float, default=nan
        What to do when a fit or its bounds fail: raise, or warn, list the fold among the failed,
        and let this number stand for its bounds in the frame.

    Returns
    -------
    report : CrossValidatedBoundReport
        Every fold of every candidate, with summaries.

    Raises
    ------
    ValueError
        For an unknown method, or one that the parameters of every candidate rule out, an estimator
        without our classifier, or with a frozen one, invalid candidates, splits that overlap; when
        all fits fail.

    See Also
    --------
    certify : Bound of the winner of a search, the choice paid for.
    BoundSearch : Choice by certificate, without folds.

    Examples
    --------
    >>> from sklearn_rnnbound import RNNBoundClassifier, cross_validate_bounds
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(hidden_size=16, tol=0.1, min_eigenvalue=0.0, random_state=0)
    >>> report = cross_validate_bounds(
    ...     clf, X[:300], y[:300], param_grid={"beta_w": [0.5, 1.0]}, cv=3, methods=["peeling"]
    ... )
    >>> len(report.folds), report.folds[0].params, report.folds[0].report["peeling"].kind
    (6, {'beta_w': 0.5}, 'certified')
    """
    names = check_methods(methods)
    candidates = [{}] if param_grid is None else list(ParameterGrid(param_grid))
    estimators = [candidate(estimator, values) for values in candidates]
    if not candidates:
        raise ValueError("param_grid holds no candidate")
    classifiers = [_classifier_of(one) for one in estimators]
    check_one_delta(classifiers)
    if methods != "all":
        check_attainable("methods", names, classifiers, raises=error_score == "raise")
    X, y = indexable(X, y)
    cv = check_cv(cv, y, classifier=True)
    split_params, fit_params = _routed(estimator, cv, groups, params or {})
    splits = []
    for number, (train, test) in enumerate(cv.split(X, y, **split_params)):
        rows = _checked_split(train, test, _num_samples(X))
        # Metadata travel with the rows of their fold; X and y reach every worker once, as a whole.
        splits.append((number, *rows, _check_method_params(X, fit_params, indices=rows[0])))
    if not splits:
        raise ValueError("cv gives no split")
    needs_data = any(needed_data(name) == "train" for name in names)
    options = {"methods": methods, "margin": margin, "delta": delta, "simultaneous": simultaneous}
    folds = run_tasks(
        _fold,
        [
            (X, y, *split, one, values, needs_data, options, error_score == "raise")
            for one, values in zip(estimators, candidates, strict=True)
            for split in splits
        ],
        n_jobs=n_jobs,
        verbose=verbose,
        description="fits",
    )
    failures = [fold.failure for fold in folds if fold.failure]
    if failures:
        message = f"{len(failures)} of {len(folds)} fits failed"
        if len(failures) == len(folds):
            raise ValueError(f"{message}, the first with\n{failures[0]}")
        # The caller stands behind the validation of the parameters.
        warnings.warn(
            f"{message} and have the bounds {error_score}. The first failure:\n{failures[0]}",
            FitFailedWarning,
            stacklevel=3,
        )
    stand_in = np.nan if isinstance(error_score, str) else float(error_score)
    return CrossValidatedBoundReport(tuple(folds), stand_in)


def _classifier_of(estimator: Any) -> RNNBoundClassifier | None:
    """The classifier that will be fitted as it is; None inside of a search."""
    *outer, classifier = layers(estimator)
    if any(isinstance(one, FrozenEstimator) for one in outer):
        raise ValueError(
            "estimator holds a frozen classifier, which folds do not fit: it may have been trained "
            "on the rows that a fold tests it with"
        )
    return None if any(map(is_search, outer)) else classifier


def _checked_split(train: Any, test: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of two parts of n rows; ValueError where they make wrong certificates."""
    train, test = (np.arange(n)[np.asarray(part)] for part in (train, test))
    if len(np.unique(train)) < len(train) or len(np.unique(test)) < len(test):
        raise ValueError("cv gives a split that repeats rows: bounds need independent samples")
    if np.intersect1d(train, test).size:
        raise ValueError(
            "cv gives a split with rows in both parts: on what a network was trained on it shows "
            "no test error"
        )
    return train, test


def _routed(
    estimator: Any, cv: Any, groups: Any, params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the splitter's `split` and the estimator's `fit` get."""
    if not get_config()["enable_metadata_routing"]:
        return {"groups": groups}, params
    if groups is not None:
        raise ValueError(
            "groups cannot be passed while metadata routing is enabled: pass "
            "params={'groups': groups}"
        )
    router = (
        MetadataRouter(owner="cross_validate_bounds")
        .add(splitter=cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        .add(estimator=estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
    )
    routed = process_routing(router, "fit", **params)
    return routed["splitter"]["split"], routed["estimator"]["fit"]


def _fold(
    X: Any,
    y: Any,
    number: int,
    train: Any,
    test: Any,
    fit_params: dict[str, Any],
    unfitted: Any,
    params: dict[str, Any],
    needs_training_data: bool,
    options: dict[str, Any],
    raises: bool,
) -> FoldReport:
    """Fit a clone of a candidate and report its bounds."""
    X_train, y_train = _safe_indexing(X, train), _safe_indexing(y, train)
    X_test, y_test = _safe_indexing(X, test), _safe_indexing(y, test)
    counted = _counted_rows(unfitted, fit_params, len(train))
    estimator = clone(unfitted)
    report, failure, fit_time = None, "", None
    norms: dict[str, float] = {}
    start = time.perf_counter()
    try:
        estimator.fit(X_train, y_train, **fit_params)
        fit_time = time.perf_counter() - start
        classifier = layers(estimator)[-1]
        norms = {name: float(np.sum(getattr(classifier, f"{name}_"))) for name in NORMS}
        if needs_training_data:
            options = {
                **options,
                "X_train": _safe_indexing(X_train, counted),
                "y_train": _safe_indexing(y_train, counted),
            }
        report = bound_report(estimator, X_test, y_test, **options)
    except Exception:
        if raises:
            raise
        failure = format_exc()
    return FoldReport(
        params=params,
        fold=number,
        n_train=len(counted),
        n_test=len(test),
        fit_time=time.perf_counter() - start if fit_time is None else fit_time,
        norms=norms,
        report=report,
        failure=failure,
    )


def _counted_rows(estimator: Any, fit_params: dict[str, Any], n: int) -> np.ndarray:
    """Rows of positive weight, of which the bounds speak."""
    for outer in layers(estimator)[:-1]:
        name = outer.steps[-1][0] if isinstance(outer, Pipeline) else "estimator"
        if fit_params and get_config()["enable_metadata_routing"]:
            fit_params = process_routing(outer, "fit", **fit_params)[name].fit
        elif isinstance(outer, Pipeline):
            of_step = f"{name}__"
            fit_params = {
                key.removeprefix(of_step): value
                for key, value in fit_params.items()
                if key.startswith(of_step)
            }
    weights: Any = fit_params.get("sample_weight")
    # Weights of another shape are for `fit` to judge.
    aligned = weights is not None and np.shape(weights) == (n,)
    return np.flatnonzero(weights) if aligned else np.arange(n)
