"""Model selection by bounds: scorers, structural risk minimisation, certificates of winners."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from numbers import Integral, Real
from traceback import format_exc
from typing import Any, ClassVar

import numpy as np
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import ParameterGrid
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_rnnbound._validation import restored_on_failure
from sklearn_rnnbound.bounds import BOUNDS, Bound
from sklearn_rnnbound.certification.certifier import check_method
from sklearn_rnnbound.classifier import RNNBoundClassifier
from sklearn_rnnbound.selection._tasks import run_tasks
from sklearn_rnnbound.selection.provenance import (
    DELTA,
    Provenance,
    bound_report,
    candidate,
    check_attainable,
    count_candidates,
)

__all__ = ["BoundSearch", "certify", "make_bound_scorer", "neg_bound_scorer"]


@dataclass(frozen=True)
class BoundScorer:
    """Scorer that is the negative of a bound; build it with :func:`make_bound_scorer`.

    Parameters
    ----------
    method : str
        Name of the bound.
    margin, delta : float or None
        As in :func:`.bound_report`.
    """

    method: str
    margin: float | None
    delta: float | None

    def __call__(self, estimator: Any, X: Any = None, y: Any = None) -> float:
        """The negative bound of a fitted estimator; the data to be scored are ignored."""
        return -float(_bound(estimator, self.method, margin=self.margin, delta=self.delta))


@validate_params(
    {"margin": [Interval(Real, 0, None, closed="neither"), None], "delta": DELTA},
    prefer_skip_nested_validation=False,
)
def make_bound_scorer(
    method: str = "peeling", *, margin: float | None = None, delta: float | None = None
) -> BoundScorer:
    """Scorer for searches and cross-validation: the negative of a bound, so that more is better.

    The bound speaks of the data that the estimator was fitted on; the fold to be scored plays no
    part. It finds the classifier in pipelines and fitted searches.

    Parameters
    ----------
    method : str, default="peeling"
        Key of :data:`sklearn_rnnbound.BOUNDS`, or "paper". Not ``"holdout"``, ``"occam"`` and
        ``"pac_bayes"``, which need data beside the fitted classifier.
    margin : float or None, default=None
        Margin alpha, counted as fixed beforehand. None: that of the classifier.
    delta : float or None, default=None
        Probability with which the bound may fail. None: as in :func:`certify`.

    Returns
    -------
    scorer : callable
        To be called as ``scorer(estimator, X, y)``. An infinite bound scores -inf.

    Raises
    ------
    ValueError
        For an unknown method, or a margin or delta out of range. When it scores: for an estimator
        without our classifier, or a bound that does not cover it.

    Notes
    -----
    The scores compare candidates; as a statement about the winner they leave out that it was
    chosen. :func:`certify` makes up for that.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_rnnbound import RNNBoundClassifier, make_bound_scorer
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(hidden_size=16, tol=0.1, min_eigenvalue=0.0, random_state=0)
    >>> scoring = {"accuracy": "accuracy", "bound": make_bound_scorer("peeling")}
    >>> search = GridSearchCV(clf, {"beta_w": [0.5, 1.0]}, scoring=scoring, refit="bound", cv=2)
    >>> search.fit(X[:300], y[:300]).best_params_
    {'beta_w': 0.5}
    """
    return BoundScorer(check_method(method), margin, delta)


#: The negative of the bound ``"peeling"``.
neg_bound_scorer = make_bound_scorer()


@validate_params({"delta": DELTA}, prefer_skip_nested_validation=False)
def certify(search: Any, *, method: str = "peeling", delta: float | None = None) -> Bound:
    """Bound of the winner of a search, with what choosing it costs.

    The winner was fitted on the very data that it was chosen by. Its bound holds all the same when
    delta is shared among the candidates: then all their bounds hold at once. Candidates that
    differ only in how they are trained (learning rate, epochs, weight decay, ...) share one event.

    Parameters
    ----------
    search : estimator
        A fitted search such as GridSearchCV with ``refit``, or :class:`BoundSearch`; also a
        pipeline that ends in one. Its candidates must not have been made up in view of the data.
    method : str, default="peeling"
        Key of :data:`sklearn_rnnbound.BOUNDS`, or "paper", as in :func:`make_bound_scorer`.
    delta : float or None, default=None
        Probability with which the bound may fail, the choice included. None: that of a
        :class:`BoundSearch`, else that of the classifier.

    Returns
    -------
    bound : Bound
        The winner's bound at delta divided by the number of candidates. Its `kind` is
        ``"plug_in"`` where preprocessing was fitted on the same sample.

    Raises
    ------
    ValueError
        For an unknown method, an estimator without our classifier, candidates that differ in
        delta, or a bound that does not cover the winner.
    sklearn.exceptions.NotFittedError
        When the search is not fitted, or keeps no fitted winner.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_rnnbound import RNNBoundClassifier, certify
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(hidden_size=16, tol=0.1, min_eigenvalue=0.0, random_state=0)
    >>> search = GridSearchCV(clf, {"beta_w": [0.5, 1.0], "max_iter": [20, 50]}, cv=2)
    >>> bound = certify(search.fit(X[:300], y[:300]))
    >>> bound.kind, bound.delta, bound.assumptions[-1]  # 4 candidates, 2 classes
    ('certified', 0.05, 'chosen by a search: delta = 0.05 in equal parts among 2 candidates')
    """
    return _bound(search, check_method(method), delta=delta)


def _bound(estimator: Any, method: str, **options: Any) -> Bound:
    return bound_report(estimator, methods=method, **options).bounds[0]


def _of_winner(method: Callable[..., Any]) -> Any:
    """The method of the winner; a search has it where the winner, or its estimator, does."""
    name = method.__name__

    def is_there(search: BoundSearch) -> bool:
        return hasattr(getattr(search, "best_estimator_", search.estimator), name)

    @wraps(method)
    def delegate(self: BoundSearch, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._winner(), name)(*args, **kwargs)

    return available_if(is_there)(delegate)


class BoundSearch(MetaEstimatorMixin, BaseEstimator):
    """Structural risk minimisation: the candidate with the smallest certificate.

    Every candidate is fitted once, on all data: there are no folds. The bound of each one holds at
    confidence 1 - delta / G for G candidates, so all of them hold together, and the smallest may be
    taken. Candidates that differ only in how they are trained count as one.

    Parameters
    ----------
    estimator : estimator
        An :class:`.RNNBoundClassifier`, or a pipeline that ends in one. Steps that learn from the
        data of `fit` make its bounds estimates, which this search does not take: freeze them
        (:class:`sklearn.frozen.FrozenEstimator`) after a fit on other data.
    param_grid : dict or list of dict
        As in GridSearchCV. It must be fixed before the data are seen.
    method : str, default="peeling"
        Bound to minimise: a key of :data:`sklearn_rnnbound.BOUNDS`, or "paper", as in
        :func:`.make_bound_scorer`, but for the orders ``"zhang2018"`` and ``"chen2019"``.
    delta : float or None, default=None
        Probability with which the winner's bound may fail, the choice included. None: that of the
        estimator.
    n_jobs : int or None, default=None
        Number of candidates that are fitted side by side, as in joblib.
    refit : bool, default=True
        Whether to keep the fitted winner, for `predict` and its like. Nothing is fitted again.
    error_score : "raise" or float, default=nan
        What to do when a candidate cannot be fitted: raise, or warn and leave it out, with this
        number as its bound.
    verbose : bool or int, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    best_estimator_ : estimator
        The fitted winner, with `refit`.
    best_bound_ : Bound
        Its bound; ``float(best_bound_)`` is the value. It may fail with probability delta.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its row in `cv_results_`.
    cv_results_ : dict of arrays
        One entry per candidate: ``params``, ``param_<name>``, ``bound``, ``kind``, ``rank_bound``,
        ``empirical_risk``, ``train_error``, ``fit_time`` in seconds.
    n_candidates_ : int
        G, the number of candidates that share delta.
    classes_ : ndarray
        Class labels, with `refit`.
    n_features_in_ : int
        As in the winner, with `refit`.

    See Also
    --------
    certify : The same correction for the winner of another search.
    make_bound_scorer : For searches with folds, by bound and accuracy.

    Examples
    --------
    >>> from sklearn_rnnbound import BoundSearch, RNNBoundClassifier
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(
    ...     hidden_size=16, beta_u=1.0, beta_v=1.0, tol=0.1, min_eigenvalue=0.0, random_state=0
    ... )
    >>> search = BoundSearch(clf, {"beta_w": [0.5, 1.0]}).fit(X, y)
    >>> search.best_params_, search.best_bound_.kind, search.n_candidates_
    ({'beta_w': 0.5}, 'certified', 2)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "param_grid": [dict, list],
        "method": [str],
        "delta": DELTA,
        "n_jobs": [Integral, None],
        "refit": ["boolean"],
        "error_score": [StrOptions({"raise"}), Real],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        method: str = "peeling",
        delta: float | None = None,
        n_jobs: int | None = None,
        refit: bool = True,
        error_score: float | str = np.nan,
        verbose: bool | int = False,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.method = method
        self.delta = delta
        self.n_jobs = n_jobs
        self.refit = refit
        self.error_score = error_score
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **fit_params: Any) -> BoundSearch:
        """Fit every candidate and take the one with the smallest certificate.

        Parameters
        ----------
        X : array-like
            Data of the estimator's `fit`.
        y : array-like of shape (n,)
            Labels.
        **fit_params
            Passed to `fit` of every candidate.

        Returns
        -------
        self : BoundSearch
            The fitted search.

        Raises
        ------
        ValueError
            When no candidate has a finite certificate, or by its parameters can have one.
        """
        check_method(self.method)
        if self.method != "paper" and BOUNDS[self.method].order_only:
            raise ValueError(f"method={self.method!r} is an order, of which none is the smallest")
        candidates = list(ParameterGrid(self.param_grid))
        if not candidates:
            raise ValueError("param_grid holds no candidate")
        count = count_candidates(self.estimator, candidates)
        estimators = [candidate(self.estimator, params) for params in candidates]
        classifiers = [Provenance.of(one).classifier for one in estimators]
        delta = classifiers[0].delta if self.delta is None else self.delta
        raises = self.error_score == "raise"
        check_attainable("method", [self.method], classifiers, raises=raises)
        fitted = run_tasks(
            _fit_candidate,
            [(X, y, fit_params, one, self.method, delta, count, raises) for one in estimators],
            n_jobs=self.n_jobs,
            verbose=self.verbose,
            description="candidates",
        )
        failures = [text for *_, text in fitted if text]
        # Of a search that fails altogether the error says why.
        if 0 < len(failures) < len(candidates):
            warnings.warn(
                f"{len(failures)} of {len(candidates)} candidates failed and have the bound "
                f"{self.error_score}. The first failure:\n{failures[0]}",
                FitFailedWarning,
                stacklevel=2,
            )
        bounds = [bound for _, bound, *_ in fitted]
        values = np.array([self.error_score if b is None else b.value for b in bounds], dtype=float)
        certified = np.array([b is not None and b.kind == "certified" for b in bounds])
        eligible = np.where(certified & np.isfinite(values), values, np.inf)
        best = int(eligible.argmin())
        winner = bounds[best]
        if winner is None or not np.isfinite(eligible[best]):
            raise ValueError(_no_certificate(self.method, bounds, failures))

        with restored_on_failure(self):
            self.cv_results_ = {
                "params": candidates,
                **_param_columns(candidates),
                "bound": values,
                "kind": np.array(["failed" if b is None else b.kind for b in bounds]),
                "rank_bound": rankdata(eligible, method="min").astype(np.int32),
                "empirical_risk": np.array(
                    [np.nan if b is None else b.empirical_risk for b in bounds]
                ),
                "train_error": np.array([error for _, _, error, _, _ in fitted]),
                "fit_time": np.array([seconds for *_, seconds, _ in fitted]),
            }
            self.n_candidates_ = count
            self.best_index_ = best
            self.best_params_ = candidates[best]
            self.best_bound_ = winner
            of_winner = ("classes_", "n_features_in_", "feature_names_in_")
            for name in ("best_estimator_", *of_winner):
                self.__dict__.pop(name, None)
            if self.refit:
                self.best_estimator_ = fitted[best][0]
                for name in of_winner:
                    if hasattr(self.best_estimator_, name):
                        setattr(self, name, getattr(self.best_estimator_, name))
        return self

    def _winner(self) -> Any:
        message = "%(name)s keeps no fitted winner: it is not fitted, or has refit=False"
        check_is_fitted(self, "best_estimator_", msg=message)
        return self.best_estimator_

    predict = _of_winner(RNNBoundClassifier.predict)
    predict_proba = _of_winner(RNNBoundClassifier.predict_proba)
    predict_log_proba = _of_winner(RNNBoundClassifier.predict_log_proba)
    decision_function = _of_winner(RNNBoundClassifier.decision_function)

    def score(self, X: Any, y: Any, **params: Any) -> float:
        """Accuracy of the winner.

        Parameters
        ----------
        X : array-like
            Data as in `fit`.
        y : array-like of shape (n,)
            Labels.
        **params
            Passed to the winner's `score`.

        Returns
        -------
        accuracy : float
            Share of right labels.
        """
        return self._winner().score(X, y, **params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.input_tags = inner.input_tags
        tags.target_tags.required = True
        return tags


def _fit_candidate(
    X: Any,
    y: Any,
    fit_params: dict[str, Any],
    estimator: Any,
    method: str,
    delta: float,
    count: int,
    raises: bool,
) -> tuple[Any, Bound | None, float, float, str]:
    """Fitted candidate, its bound, its training error, seconds, and what went wrong."""
    start = time.perf_counter()
    try:
        estimator.fit(X, y, **fit_params)
        seconds = time.perf_counter() - start
        report = bound_report(estimator, methods=method, delta=delta, n_candidates=count)
    except Exception:
        if raises:
            raise
        return None, None, np.nan, time.perf_counter() - start, format_exc()
    return estimator, report.bounds[0], report.train_error, seconds, ""


def _no_certificate(method: str, bounds: Sequence[Bound | None], failures: list[str]) -> str:
    """Why no candidate can be taken, and what to do."""
    estimates = [bound for bound in bounds if bound is not None and bound.kind == "plug_in"]
    message = f"no candidate has a finite certificate by method={method!r}"
    if failures and len(failures) == len(bounds):
        return f"{message}: all {len(bounds)} candidates failed, the first with\n{failures[0]}"
    if estimates:
        return (
            f"{message}: the bounds are estimates. Fit preprocessing on other data and freeze it, "
            "fix beforehand what the bound estimates, or choose by estimates with GridSearchCV "
            "and make_bound_scorer. It rests on: " + "; ".join(estimates[0].assumptions)
        )
    return f"{message}: the bounds are infinite; constrain the norms, or choose another method"


def _param_columns(candidates: Sequence[Mapping[str, Any]]) -> dict[str, np.ma.MaskedArray]:
    """Columns ``param_<name>`` as in GridSearchCV: masked where a candidate lacks the parameter."""
    columns = {}
    for name in dict.fromkeys(name for params in candidates for name in params):
        column = np.ma.masked_all(len(candidates), dtype=object)
        for row, params in enumerate(candidates):
            if name in params:
                column[row] = params[name]
        columns[f"param_{name}"] = column
    return columns
