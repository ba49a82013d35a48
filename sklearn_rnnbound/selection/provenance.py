"""Where a fitted classifier comes from: the steps before it, the searches that chose it.

Both matter to a bound. A step that was fitted on the certification sample makes a certificate an
estimate, and a network that was chosen among candidates shares delta with them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_rnnbound._base import planned_setting
from sklearn_rnnbound.bounds import BOUNDS, Bound
from sklearn_rnnbound.bounds.union import chosen_among
from sklearn_rnnbound.certification.report import BoundCurve, BoundReport
from sklearn_rnnbound.classifier import RNNBoundClassifier

__all__ = [
    "DELTA",
    "Provenance",
    "bound_curve",
    "bound_report",
    "candidate",
    "check_attainable",
    "check_one_delta",
    "count_candidates",
    "is_search",
    "layers",
]

#: Constraint of a parameter delta that is None where it is that of the classifier.
DELTA = [Interval(Real, 0, 1, closed="neither"), None]

# What training does with them is covered by a bound that holds for the whole class at once.
_TRAINING_ONLY = {
    "batch_size",
    "callbacks",
    "checkpoint",
    "class_weight",
    "delta",
    "device",
    "early_stopping",
    "gradient_clip_norm",
    "gradient_clip_value",
    "learning_rate",
    "loss",
    "max_iter",
    "memory",
    "n_iter_no_change",
    "optimizer",
    "random_state",
    "shuffle",
    "tol",
    "validation_fraction",
    "verbose",
    "warm_start",
    "weight_decay",
}


@validate_params(
    {"delta": DELTA, "n_candidates": [Interval(Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=False,
)
def bound_report(
    estimator: Any,
    X_test: Any = None,
    y_test: Any = None,
    *,
    X_train: Any = None,
    y_train: Any = None,
    methods: str | list[str] = "all",
    margin: float | None = None,
    delta: float | None = None,
    simultaneous: bool = False,
    n_candidates: int = 1,
) -> BoundReport:
    """Bounds of a classifier inside a pipeline or a search, with what its surroundings cost.

    It is :meth:`.RNNBoundClassifier.bound_report_` of the classifier that the estimator holds, on
    data as the steps of its pipelines transform them. The winner of a search shares delta with the
    other candidates; those that differ only in how they are trained count as one. A step that was
    fitted on the certification sample makes an estimate of every certificate but ``"holdout"``.

    Parameters
    ----------
    estimator : estimator
        A fitted :class:`.RNNBoundClassifier`, or a fitted pipeline that ends in one, a fitted
        search over either, or a frozen estimator of them.
    X_test, y_test : array-like, default=None
        Test data, which took no part in training or selection, before the steps.
    X_train, y_train : array-like, default=None
        The training data of `fit` (rows of positive weight), before the steps.
    methods : "all", str or list of str, default="all"
        Key or keys of :data:`sklearn_rnnbound.BOUNDS`. With "all", bounds that do not apply are
        left out with a line that says why.
    margin : float or None, default=None
        Margin alpha, counted as fixed beforehand. None: that of the classifier.
    delta : float or None, default=None
        Probability with which a bound may fail, the choice among the candidates included. None:
        that of a :class:`.BoundSearch`, else that of the classifier.
    simultaneous : bool, default=False
        Whether delta is shared out so that all bounds hold together.
    n_candidates : int, default=1
        Number of candidates that were compared outside the estimator, such as settings and seeds
        that were tried by hand. They share delta like those of a search.

    Returns
    -------
    report : BoundReport
        The bounds, in the order asked for, at confidence 1 - delta.

    Raises
    ------
    ValueError
        When there is no :class:`.RNNBoundClassifier`, when the candidates of a search differ in
        delta, and as :meth:`.RNNBoundClassifier.bound_report_`.
    sklearn.exceptions.NotFittedError
        When the estimator is not fitted, or a search keeps no fitted winner.

    See Also
    --------
    certify : One bound of the winner of a search.
    RNNBoundClassifier.bound_report_ : The report of a classifier alone.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_rnnbound import RNNBoundClassifier, bound_report
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> from sklearn_rnnbound.preprocessing import SequenceScaler
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(hidden_size=16, tol=0.1, min_eigenvalue=0.0, random_state=0)
    >>> pipeline = make_pipeline(SequenceScaler(), clf).fit(X[:300], y[:300])
    >>> report = bound_report(pipeline, X[300:], y[300:], methods=["peeling", "holdout"])
    >>> [(bound.name, bound.kind) for bound in report]  # the scaler has seen the training data
    [('peeling', 'plug_in'), ('holdout', 'certified')]
    """
    provenance = Provenance.of(estimator)
    provenance = replace(provenance, n_candidates=provenance.n_candidates * n_candidates)
    delta = provenance.delta if delta is None else delta
    report = provenance.classifier.bound_report_(
        None if X_test is None else provenance.transform(X_test),
        y_test,
        X_train=None if X_train is None else provenance.transform(X_train),
        y_train=y_train,
        methods=methods,
        margin=margin,
        delta=delta / provenance.n_candidates,
        simultaneous=simultaneous,
    )
    return provenance.adjusted(report, delta)


@validate_params({"delta": DELTA}, prefer_skip_nested_validation=False)
def bound_curve(
    estimator: Any, X_train: Any, y_train: Any, *, delta: float | None = None, **options: Any
) -> BoundCurve:
    """As :func:`bound_report`, for :meth:`.RNNBoundClassifier.bound_curve_`."""
    provenance = Provenance.of(estimator)
    delta = provenance.delta if delta is None else delta
    curve = provenance.classifier.bound_curve_(
        provenance.transform(X_train), y_train, delta=delta / provenance.n_candidates, **options
    )
    return replace(
        curve, reports=tuple(provenance.adjusted(report, delta) for report in curve.reports)
    )


@dataclass(frozen=True)
class Provenance:
    """The classifier inside an estimator, with its surroundings.

    Parameters
    ----------
    classifier : RNNBoundClassifier
        The innermost estimator.
    delta : float
        Probability with which its bounds may fail unless another is asked for.
    steps : tuple
        Transformers of the pipelines around it, in order.
    n_candidates : int
        How many candidates it was chosen from.
    n_initial_draws : int
        How many draws of initial weights there were among them.
    """

    classifier: RNNBoundClassifier
    delta: float
    steps: tuple[Any, ...] = ()
    n_candidates: int = 1
    n_initial_draws: int = 1

    @classmethod
    def of(cls, estimator: Any) -> Provenance:
        """Look for the classifier in pipelines, searches and frozen estimators.

        Searches over searches are not counted, and raise like one that keeps no fitted winner.
        """
        *outer, classifier = layers(estimator)
        steps: list[Any] = []
        n_candidates = n_initial_draws = 1
        delta = classifier.delta
        for one in outer:
            if isinstance(one, Pipeline):
                steps += [step for _, step in one.steps[:-1] if step not in (None, "passthrough")]
            elif is_search(one):
                if not hasattr(one, "best_estimator_"):
                    raise NotFittedError(
                        f"{type(one).__name__} keeps no fitted winner: it is not fitted, has "
                        "refit=False, or stands within another search"
                    )
                candidates = _candidates(one.estimator, one.cv_results_["params"])
                n_candidates *= _count_events(candidates)
                n_initial_draws *= len({_seed(*numbered) for numbered in enumerate(candidates)})
                if hasattr(one, "best_bound_"):
                    delta = one.best_bound_.delta
        return cls(classifier, delta, tuple(steps), n_candidates, n_initial_draws)

    def transform(self, X: Any) -> Any:
        """What the classifier sees of X."""
        for step in self.steps:
            X = step.transform(X)
        return X

    def adjusted(self, report: BoundReport, delta: float) -> BoundReport:
        """A report of the classifier at delta / n_candidates, as it holds in its surroundings."""
        return replace(report, bounds=tuple(map(self._adjusted, report)), delta=delta)

    def _adjusted(self, bound: Bound) -> Bound:
        bound = chosen_among(bound, self.n_candidates)
        rule = BOUNDS[bound.name]
        seeded = rule.prior_from_seed and self.classifier.prior is None
        if seeded and self.n_initial_draws > 1:
            bound = bound.as_estimate(
                f"the initial weights, centre of the prior, are one of {self.n_initial_draws} "
                "draws that a search chose from; give its candidates one int random_state"
            )
        if any(isinstance(step, FrozenEstimator) for step in self.steps):
            frozen = "frozen preprocessing was fitted on other data, or not at all"
            bound = replace(bound, assumptions=(*bound.assumptions, frozen))
        # Test data took no part in the fit of any step.
        fitted = [type(step).__name__ for step in self.steps if _is_fitted_on_sample(step)]
        if fitted and bound.kind == "certified" and rule.data != "test":
            bound = bound.as_estimate(
                f"preprocessing was fitted on the certification sample: {', '.join(fitted)}"
            )
        return bound


def layers(estimator: Any) -> list[Any]:
    """An estimator and what it surrounds, from the outside to the classifier, fitted or not."""
    found = [estimator]
    while not isinstance(found[-1], RNNBoundClassifier):
        outer = found[-1]
        if isinstance(outer, Pipeline):
            found.append(outer.steps[-1][1])
        elif isinstance(outer, FrozenEstimator):
            found.append(outer.estimator)
        elif is_search(outer):
            found.append(getattr(outer, "best_estimator_", outer.estimator))
        else:
            raise ValueError(
                f"found no RNNBoundClassifier in {type(estimator).__name__}: bounds need one, "
                "alone, at the end of a Pipeline, or in a search; the way to it ended at "
                f"{type(outer).__name__}"
            )
    return found


def is_search(estimator: Any) -> bool:
    """Whether an estimator chooses among candidates; a frozen one has the attributes of another."""
    return (
        not isinstance(estimator, FrozenEstimator | RNNBoundClassifier)
        and hasattr(estimator, "estimator")
        and (hasattr(estimator, "refit") or hasattr(estimator, "best_estimator_"))
    )


def candidate(estimator: Any, params: Mapping[str, Any]) -> Any:
    """A fresh estimator with these parameters.

    Candidates share none of their values, which may be estimators themselves.
    """
    made = clone(estimator)
    # Of a frozen one it returns nothing.
    made.set_params(**clone(params, safe=False))
    return made


def count_candidates(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> int:
    """Number of events among which delta is shared when the best of several candidates is taken.

    Candidates that differ in how the network is trained share one event: a bound holds for all
    networks of its class at once. What counts are distinct classes, margins, noise draws and
    preprocessings, for the bounds that the sample statistics and the class alone determine.
    """
    return _count_events(_candidates(estimator, candidates))


def check_attainable(
    argument: str,
    names: Sequence[str],
    classifiers: Sequence[RNNBoundClassifier | None],
    *,
    raises: bool,
) -> None:
    """Raise when parameters rule out bounds that an argument asks for.

    That is when no classifier can have them, or, with `raises`, one of them cannot; None stands for
    a classifier whose parameters are not known yet.
    """
    obstacles = [
        None if one is None else next(filter(None, (_obstacle(name, one) for name in names)), None)
        for one in classifiers
    ]
    if all(obstacles) or (raises and any(obstacles)):
        raise ValueError(
            f"{argument} asks for what the estimator cannot give: {next(filter(None, obstacles))}; "
            "set other parameters, or leave the bound out"
        )


def _obstacle(name: str, classifier: RNNBoundClassifier) -> str | None:
    """Why a bound will not apply to a classifier, by its parameters."""
    if type(classifier).fit is not RNNBoundClassifier.fit:
        # It may set parameters of its own.
        return None
    try:
        setting = planned_setting(classifier)
    except (TypeError, ValueError):
        # Its own fit will say what is wrong.
        return None
    paper = "theorem2" if setting.noise_std == 0 else "theorem3"
    return BOUNDS[paper if name == "paper" else name].obstacle(setting)


def _candidates(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> list[Provenance]:
    found = [Provenance.of(candidate(estimator, params)) for params in candidates]
    check_one_delta(one.classifier for one in found)
    return found


def check_one_delta(classifiers: Iterable[RNNBoundClassifier | None]) -> None:
    """Raise ValueError for candidates that differ in delta."""
    if len({one.delta for one in classifiers if one is not None}) > 1:
        raise ValueError("candidates differ in delta: data must not choose a bound's confidence")


def _count_events(candidates: Sequence[Provenance]) -> int:
    events = set()
    for number, one in enumerate(candidates):
        clf = one.classifier
        parts: dict[str, Any] = clf.get_params(deep=False)
        parts = {name: part for name, part in parts.items() if name not in _TRAINING_ONLY}
        if isinstance(clf.noise_std, Real) and clf.noise_std > 0:
            parts["draw"] = _seed(number, one), clf.device
        for place, step in enumerate(one.steps):
            parts[f"step {place}"] = f"{type(step).__module__}.{type(step).__qualname__}"
            parts |= {f"step {place}: {name}": part for name, part in step.get_params().items()}
        events.add(tuple((name, _fingerprint(part)) for name, part in sorted(parts.items())))
    return max(1, len(events))


def _seed(number: int, one: Provenance) -> Hashable:
    """What decides the random draws of a candidate; without an int seed all have their own."""
    seed = one.classifier.random_state
    return int(seed) if isinstance(seed, int | np.integer) else ("candidate", number)


def _fingerprint(value: Any) -> Hashable:
    """Equal for equal values; what cannot be pickled, such as a lambda, equals itself alone."""
    try:
        return joblib.hash(value)
    except (TypeError, AttributeError, PicklingError):
        return id(value)


def _is_fitted_on_sample(step: Any) -> bool:
    """Whether what a fitted step does depends on the sample of its fit."""
    if isinstance(step, Pipeline):
        return any(_is_fitted_on_sample(part) for _, part in step.steps)
    fixed = (
        step in (None, "passthrough")
        or isinstance(step, FrozenEstimator)
        or not get_tags(step).requires_fit
        or getattr(step, "n_samples_fit_", None) == 0
    )
    return not fixed
