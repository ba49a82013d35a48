"""A fitted classifier and what it was composed with: steps before it, searches around it.

Both matter to a bound. A step that was fitted on the certification sample makes a certificate an
estimate, and a network that was chosen among candidates shares delta with them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from sklearn_rnnbound.bounds import Bound
from sklearn_rnnbound.bounds.union import chosen_among
from sklearn_rnnbound.certification import check_method
from sklearn_rnnbound.classifier import RNNBoundClassifier
from sklearn_rnnbound.parameters import Number
from sklearn_rnnbound.report import BoundCurve, BoundReport

__all__ = [
    "Composition",
    "candidate",
    "check_attainable",
    "check_delta",
    "count_candidates",
    "fingerprint",
]

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
    "n_threads",
    "optimizer",
    "random_state",
    "shuffle",
    "tol",
    "validation_fraction",
    "verbose",
    "warm_start",
    "weight_decay",
}


@dataclass(frozen=True)
class Composition:
    """The classifier inside an estimator, with its surroundings.

    Parameters
    ----------
    classifier : RNNBoundClassifier
        The innermost estimator.
    steps : tuple
        Transformers of the pipelines around it, in order.
    n_candidates : int
        How many candidates the searches around it chose it from.
    n_initial_draws : int
        How many draws of initial weights there were among them.
    delta : float or None
        Probability with which its bounds may fail unless another is asked for; None where the
        candidates differ in it.
    """

    classifier: RNNBoundClassifier
    steps: tuple[Any, ...] = ()
    n_candidates: int = 1
    n_initial_draws: int = 1
    delta: float | None = None

    @classmethod
    def of(cls, estimator: Any) -> Composition:
        """Look for the classifier in pipelines, searches and frozen estimators.

        Parameters
        ----------
        estimator : estimator
            A classifier of ours, or a pipeline that ends in one, a fitted search over one, or one
            that was frozen, however nested, but for searches over searches.

        Returns
        -------
        composition : Composition
            What was found.

        Raises
        ------
        ValueError
            When there is no such classifier.
        """
        inner, steps = estimator, []
        n_candidates = n_initial_draws = 1
        delta, deltas_differ = None, False
        while not isinstance(inner, RNNBoundClassifier):
            if isinstance(inner, Pipeline):
                steps += [step for _, step in inner.steps[:-1] if step not in (None, "passthrough")]
                inner = inner.steps[-1][1]
            elif isinstance(inner, FrozenEstimator):
                inner = inner.estimator
            elif hasattr(inner, "best_estimator_"):
                candidates = _compositions(inner.estimator, inner.cv_results_["params"])
                n_candidates *= _count_events(candidates)
                n_initial_draws *= _count_initial_draws(candidates)
                deltas_differ |= len({fingerprint(c.classifier.delta) for c in candidates}) > 1
                if delta is None and hasattr(inner, "best_bound_"):
                    # This search has fixed one for all its candidates.
                    delta = inner.best_bound_.delta
                inner = inner.best_estimator_
            else:
                raise ValueError(
                    f"found no RNNBoundClassifier in {type(estimator).__name__}: bounds need one, "
                    "alone, at the end of a Pipeline, or as best_estimator_ of a fitted search; "
                    f"the way to it ended at {type(inner).__name__}"
                    + (", not fitted or within a search" if hasattr(inner, "refit") else "")
                )
        if delta is None and not deltas_differ:
            delta = inner.delta
        return cls(inner, tuple(steps), n_candidates, n_initial_draws, delta)

    def among(self, n_candidates: int) -> Composition:
        """The same composition, as one of so many candidates of a further search."""
        return replace(self, n_candidates=self.n_candidates * n_candidates)

    def transform(self, X: Any) -> Any:
        """What the classifier sees of X."""
        for step in self.steps:
            X = step.transform(X)
        return X

    def bound_report(
        self,
        X_test: Any = None,
        y_test: Any = None,
        *,
        X_train: Any = None,
        y_train: Any = None,
        delta: float | None = None,
        **options: Any,
    ) -> BoundReport:
        """Report of the classifier that accounts for its surroundings.

        Parameters
        ----------
        X_test, y_test, X_train, y_train : array-like, default=None
            As in :meth:`.RNNBoundClassifier.bound_report_`, before the steps.
        delta : float or None, default=None
            Probability with which a bound may fail, the choice among the candidates included.
        **options
            As in :meth:`.RNNBoundClassifier.bound_report_`.

        Returns
        -------
        report : BoundReport
            Bounds at confidence 1 - delta; estimates where a step was fitted on the sample.
        """
        delta = self._delta(delta)
        report = self.classifier.bound_report_(
            None if X_test is None else self.transform(X_test),
            y_test,
            X_train=None if X_train is None else self.transform(X_train),
            y_train=y_train,
            delta=delta / self.n_candidates,
            **options,
        )
        return self._adjusted(report, delta)

    def bound_curve(
        self, X_train: Any, y_train: Any, *, delta: float | None = None, **options: Any
    ) -> BoundCurve:
        """Curve of the classifier that accounts for its surroundings.

        Parameters
        ----------
        X_train, y_train : array-like
            As in :meth:`.RNNBoundClassifier.bound_curve_`, before the steps.
        delta : float or None, default=None
            As in :meth:`bound_report`.
        **options
            As in :meth:`.RNNBoundClassifier.bound_curve_`.

        Returns
        -------
        curve : BoundCurve
            Bounds as in :meth:`bound_report`.
        """
        delta = self._delta(delta)
        curve = self.classifier.bound_curve_(
            self.transform(X_train), y_train, delta=delta / self.n_candidates, **options
        )
        reports = tuple(self._adjusted(report, delta) for report in curve.reports)
        return replace(curve, reports=reports)

    def bound(
        self, method: str, *, margin: float | None = None, delta: float | None = None
    ) -> Bound:
        """One bound of :meth:`bound_report`."""
        return self.bound_report(methods=check_method(method), margin=margin, delta=delta).bounds[0]

    def _delta(self, delta: float | None) -> float:
        delta = self.delta if delta is None else delta
        if delta is None:
            raise ValueError(
                "the candidates of the search differ in delta, and data must not choose the "
                "confidence of a bound: pass delta"
            )
        check_delta(delta)
        return delta

    def _adjusted(self, report: BoundReport, delta: float) -> BoundReport:
        bounds = tuple(self._adjusted_bound(bound) for bound in report)
        return replace(report, bounds=bounds, delta=delta)

    def _adjusted_bound(self, bound: Bound) -> Bound:
        bound = chosen_among(bound, self.n_candidates)
        if bound.name == "pac_bayes" and self.n_initial_draws > 1 and self.classifier.prior is None:
            bound = bound.as_estimate(
                f"the initial weights, centre of the prior, are one of {self.n_initial_draws} "
                "draws that a search chose from; give its candidates one int random_state"
            )
        if any(isinstance(step, FrozenEstimator) for step in self.steps):
            frozen = "frozen preprocessing was fitted on other data, or not at all"
            bound = replace(bound, assumptions=(*bound.assumptions, frozen))
        # Test data took no part in the fit of any step.
        fitted = [type(step).__name__ for step in self.steps if _is_fitted_on_sample(step)]
        if fitted and bound.kind == "certified" and bound.name != "holdout":
            bound = bound.as_estimate(
                f"preprocessing was fitted on the certification sample: {', '.join(fitted)}"
            )
        return bound


def check_delta(delta: Any) -> None:
    """Raise unless delta is a probability strictly between 0 and 1."""
    if not Number(Real, 0, 1, closed="neither").is_satisfied_by(delta):
        raise ValueError(f"delta must be a number between 0 and 1, both excluded, got {delta!r}")


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

    Parameters
    ----------
    estimator : estimator
        What was searched over, not fitted.
    candidates : iterable of dict
        Parameters of the candidates.

    Returns
    -------
    count : int
        At least 1.
    """
    return _count_events(_compositions(estimator, candidates))


def check_attainable(
    argument: str,
    names: Sequence[str],
    classifiers: Sequence[RNNBoundClassifier | None],
    *,
    raises: bool,
) -> None:
    """Raise ValueError when the parameters rule out bounds that are asked for.

    Parameters
    ----------
    argument : str
        The argument that asks for them.
    names : sequence of str
        Names of the bounds.
    classifiers : sequence of RNNBoundClassifier or None
        Classifiers to be fitted; None for one whose parameters are not known yet.
    raises : bool
        Whether it takes one classifier of them, rather than all.
    """
    unmet = [_unmet_needs(names, one) for one in classifiers]
    if all(unmet) or (raises and any(unmet)):
        raise ValueError(
            f"{argument} asks for what the estimator cannot give: {next(filter(None, unmet))}; set "
            "these parameters, or leave the bound out"
        )


def _unmet_needs(names: Sequence[str], classifier: RNNBoundClassifier | None) -> str:
    """What bounds need of the parameters of a classifier and do not find."""
    if classifier is None or type(classifier).fit is not RNNBoundClassifier.fit:
        # Others may set parameters in `fit`.
        return ""
    try:
        classifier._validate_params()
    except ValueError:
        # Its own fit will say what is wrong.
        return ""
    relu = {"activation='relu'": classifier.activation == "relu"}
    boxed = classifier.prior is not None and classifier.box_width is not None
    needs = {
        **dict.fromkeys(("paper", "theorem2", "refined", "golowich2018"), relu),
        "theorem3": {**relu, "noise_std > 0": classifier.noise_std != 0},
        "localized": {"prior=FrozenEstimator(clf) and box_width": boxed},
    }
    return ", ".join(
        f"{name!r} needs {need}"
        for name in names
        for need, met in needs.get(name, {}).items()
        if not met
    )


def _count_events(compositions: Sequence[Composition]) -> int:
    events = set()
    for number, composition in enumerate(compositions):
        clf = composition.classifier
        parts: dict[str, Any] = clf.get_params(deep=False)
        parts = {name: part for name, part in parts.items() if name not in _TRAINING_ONLY}
        if isinstance(clf.noise_std, Real) and clf.noise_std > 0:
            parts["draw"] = _seed(clf, number), clf.device
        for place, step in enumerate(composition.steps):
            parts[f"step {place}"] = f"{type(step).__module__}.{type(step).__qualname__}"
            parts.update(
                (f"step {place}: {name}", part) for name, part in step.get_params().items()
            )
        events.add(tuple((name, fingerprint(part)) for name, part in sorted(parts.items())))
    return max(1, len(events))


def _count_initial_draws(compositions: Sequence[Composition]) -> int:
    return len({_seed(c.classifier, number) for number, c in enumerate(compositions)})


def _compositions(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> list[Composition]:
    return [Composition.of(candidate(estimator, params)) for params in candidates]


def _seed(classifier: RNNBoundClassifier, number: int) -> Hashable:
    """What decides the random draws of a candidate; without an int seed all have their own."""
    seed = classifier.random_state
    return int(seed) if isinstance(seed, int | np.integer) else ("candidate", number)


def fingerprint(value: Any) -> Hashable:
    """Equal for equal values; what cannot be pickled, such as a lambda, equals itself alone."""
    try:
        return joblib.hash(value)
    except (TypeError, AttributeError, PicklingError):
        return id(value)
