"""GridSearchCV whose fits are trained together, as stacks of networks."""

from __future__ import annotations

import math
import pickle
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from numbers import Number
from traceback import format_exception
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import torch
from sklearn import get_config
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

from sklearn_rnnbound.classifier import RNNBoundClassifier
from sklearn_rnnbound.composition import candidate, fingerprint
from sklearn_rnnbound.fitting import Fit, largest_batch
from sklearn_rnnbound.parallel import Progress, run_tasks
from sklearn_rnnbound.training import train
from sklearn_rnnbound.validation import as_indexable, resolve_device

__all__ = ["StackedGridSearchCV"]

# Hidden states of one step: rows of a minibatch times hidden_size. On a CPU a stack pays as long as
# the overhead of small operations is a good part of the time: one of 20 networks takes as long as 9
# fits at 1,024, as 12 at 2,048, as 18 at 6,400. A GPU is idle for the most part with any of them.
_LARGEST_STEP = 8192
# Of a stack with its training data, in bytes, by the kind of device.
_MEMORY = {"cpu": 2**28, "cuda": 2**32}
_MIXED_UP = "this version of scikit-learn asks for the fits of a search in another order"


class StackedGridSearchCV(GridSearchCV):
    """GridSearchCV that trains candidates and folds together, as one stacked network.

    The results are those of :class:`sklearn.model_selection.GridSearchCV`, for a fraction of the
    time: networks of one shape go through training as one, each with its own data, noise,
    constraints, learning rate and number of epochs. The earlier steps of a pipeline are fitted once
    for all candidates of a fold that share their parameters.

    Stacked are fits of an :class:`.RNNBoundClassifier`, or of a pipeline that ends in one, with
    equal `hidden_size`, `activation`, `optimizer`, `batch_size`, `n_threads`, `loss` (and for the
    ramp `margin`), dtype and device and the same number of steps, features, classes and
    minibatches. On a CPU that pays for small networks only: where `hidden_size` times the rows of a
    minibatch is above 8,192, as with the defaults of 64 and 200, every fit is a task of its own. So
    are all others: with `callbacks` or `checkpoint`, of subclasses, or when parameters of `fit` go
    to earlier steps of the pipeline.

    Parameters
    ----------
    estimator : estimator
        An :class:`.RNNBoundClassifier`, or a pipeline that ends in one; others are fitted as usual.
    param_grid : dict or list of dict
        Values to try for every parameter.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in GridSearchCV. None: the score of the estimator.
    n_jobs : int or None, default=None
        Number of processes, as in joblib, on its current backend. The stacks are split among them.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate on all data; with several scores the one that decides, or
        a function of `cv_results_` that returns `best_index_`.
    cv : int, splitter, iterable or None, default=None
        Splits, as in GridSearchCV. None: five stratified folds.
    verbose : int, default=0
        Whether to show a progress bar that counts fits.
    pre_dispatch : int or str, default="2*n_jobs"
        Accepted as in GridSearchCV; data reach every process once, whatever it is.
    error_score : "raise" or float, default=nan
        What to do when a fit fails: raise, or warn and score this number. A fit that fails does not
        disturb the others of its stack.
    return_train_score : bool, default=False
        Whether `cv_results_` has scores on the training folds.

    Attributes
    ----------
    cv_results_ : dict of arrays
        As in GridSearchCV. ``mean_fit_time`` is the time of a stack divided by its fits.
    best_estimator_ : estimator
        The best candidate, fitted on all data, with `refit`.
    best_score_ : float
        Its mean score over the folds.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its row in `cv_results_`.
    scorer_ : callable or dict
        What scores.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit, with `refit`.
    multimetric_ : bool
        Whether there are several scores.
    classes_ : ndarray
        Class labels, with `refit`.
    n_features_in_ : int
        As in the best estimator, with `refit`.
    feature_names_in_ : ndarray
        As in the best estimator, with `refit`, where it has them.

    See Also
    --------
    BoundSearch : Choice by certificate, without folds.
    certify : Bound of the winner of a search, the choice paid for.

    Notes
    -----
    The hidden states of a stack and the training data of its folds stay below 256 MB, or 4 GB on a
    GPU: larger ones are trained one part after the other. Data of one fold that are larger
    themselves are still shared by its candidates. Candidates also share the fitted earlier steps
    of their pipelines: a scorer is not to change them. Callbacks of scikit-learn see the search
    and the last fit, not the fits in between.

    Examples
    --------
    >>> from sklearn_rnnbound import RNNBoundClassifier, StackedGridSearchCV
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(hidden_size=16, tol=0.1, min_eigenvalue=0.0, random_state=0)
    >>> grid = {"noise_std": [0.0, 0.1], "learning_rate": [0.003, 0.03]}
    >>> search = StackedGridSearchCV(clf, grid, cv=2).fit(X[:300], y[:300])  # 8 fits at once
    >>> search.best_params_["learning_rate"]
    0.03
    """

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> StackedGridSearchCV:
        """Fit every candidate on every fold, score it, and fit the best one on all data.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Data of the estimator's `fit`.
        y : array-like of shape (n,)
            Labels.
        **params
            What goes to `fit`, to the splitter (``groups``) and to the scorers, as in GridSearchCV.
            Values with one entry per sample are split like X.

        Returns
        -------
        self : StackedGridSearchCV
            The fitted search.

        Raises
        ------
        ValueError
            For invalid parameters, or when all fits fail.
        """
        if isinstance(self.estimator, type):
            raise TypeError(f"estimator must be an instance, not the class {self.estimator}")
        # Unknown scorers are named before anything is trained.
        self.get_metadata_routing()
        X, y = as_indexable(X, y)
        n_rows = _num_samples(X)
        split_params, fit_params = self._routed(_check_method_params(X, params))
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        # Not everything that numbers rows, such as a range, can take rows of any data.
        splits = [
            (np.asarray(train), np.asarray(test)) for train, test in cv.split(X, y, **split_params)
        ]
        candidates = list(ParameterGrid(self.param_grid))
        plans = [_plan(self.estimator, values, fit_params, n_rows) for values in candidates]
        fits = [
            replace(plan, fold=number, rows=rows)
            for plan, (number, (rows, _)) in product(plans, enumerate(splits))
        ]
        outcomes = self._train(X, y, fits)
        seconds = np.reshape([o.seconds for o in outcomes], (len(candidates), len(splits)))
        trained = _Trained(self.estimator, fits, outcomes)
        # From here on a fit is kept until it has been scored.
        del fits, outcomes

        def run_search(evaluate_candidates: Callable[..., dict[str, Any]]) -> None:
            same = SimpleNamespace(split=lambda *args, **kwargs: splits)
            results = evaluate_candidates(candidates, cv=same)
            results["mean_fit_time"], results["std_fit_time"] = seconds.mean(1), seconds.std(1)

        # What goes wrong leaves this search as it was.
        search = copy(self)
        search.estimator, search.cv = trained.template, cv
        search.n_jobs, search.verbose = None, 0
        search._run_search = run_search
        with joblib.parallel_config(backend="sequential"):
            GridSearchCV.fit(search, X, y, **params)
        trained.close()
        fitted = {name: value for name, value in vars(search).items() if name.endswith("_")}
        self.__dict__.update(fitted)
        return self

    def _routed(self, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the splitter's `split` and the estimator's `fit` get."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **params)
            return routed.splitter.split, routed.estimator.fit
        fit_params = {name: value for name, value in params.items() if name != "groups"}
        return {"groups": params.get("groups")}, fit_params

    def _train(self, X: Any, y: Any, fits: Sequence[_Plan]) -> list[_Outcome]:
        """Outcomes of all fits, in their order."""
        # Fold by fold: fits side by side share data.
        stacked = sorted(
            (number for number, fit in enumerate(fits) if fit.stacks),
            key=lambda number: fits[number].fold,
        )
        tasks: list[list[int]] = []
        if stacked:
            n_parts = min(joblib.effective_n_jobs(self.n_jobs), len(stacked))
            tasks += [part.tolist() for part in np.array_split(stacked, n_parts)]
        tasks += [[number] for number, fit in enumerate(fits) if not fit.stacks]
        raises = self.error_score == "raise"
        # A single task shows what goes on within.
        single = bool(self.verbose) and len(tasks) == 1
        finished = run_tasks(
            _run_task,
            [
                (X, y, self.estimator, [fits[number] for number in task], raises, single)
                for task in tasks
            ],
            n_jobs=self.n_jobs,
            verbose=bool(self.verbose) and not single,
            description="fits",
            sizes=[len(task) for task in tasks],
        )
        outcomes = {
            number: outcome
            for task, of_task in zip(tasks, finished, strict=True)
            for number, outcome in zip(task, of_task, strict=True)
        }
        return [outcomes[number] for number in range(len(fits))]


@dataclass(frozen=True)
class _Plan:
    """One candidate on one fold, to be fitted.

    Parameters
    ----------
    values : dict
        What the candidate sets.
    params : dict
        What goes to `fit`, for all samples.
    classifier_params : dict or None
        What of it the classifier gets; None: it is not trained in a stack.
    steps : hashable
        Equal for candidates whose pipelines have the same earlier steps.
    fold : int
        Number of the fold.
    rows : array-like
        Its training rows.
    """

    values: dict[str, Any]
    params: dict[str, Any]
    classifier_params: dict[str, Any] | None = None
    steps: Hashable = None
    fold: int = 0
    rows: Any = None

    @property
    def stacks(self) -> bool:
        """Whether it is trained in a stack."""
        return self.classifier_params is not None


@dataclass(frozen=True)
class _Outcome:
    """What became of a fit: the fitted estimator or an error, and the time in seconds."""

    estimator: Any
    error: Exception | None
    seconds: float


def _plan(original: Any, values: dict[str, Any], params: dict[str, Any], n_rows: int) -> _Plan:
    """The fits of a candidate, in stacks where that is possible and pays."""
    # It is made again for every fit: it may hold word vectors.
    estimator = classifier = candidate(original, values)
    classifier_params: dict[str, Any] | None = params
    steps: Hashable = None
    if type(estimator) is Pipeline:
        name, classifier = estimator.steps[-1]
        classifier_params = _of_last_step(estimator, params)
        steps = tuple(
            (key, fingerprint(value))
            for key, value in sorted(values.items())
            if key != name and not key.startswith(f"{name}__")
        )
    if (
        type(classifier) is not RNNBoundClassifier
        or classifier_params is None
        or not classifier_params.keys() <= {"sample_weight"}
        or get_tags(estimator).input_tags.pairwise
        or not _pays(classifier, n_rows)
    ):
        return _Plan(values, params)
    return _Plan(values, params, classifier_params, steps)


def _of_last_step(pipeline: Pipeline, params: dict[str, Any]) -> dict[str, Any] | None:
    """Parameters of `fit` as the last step gets them; None when other steps get some."""
    name = pipeline.steps[-1][0]
    if not params:
        return params
    if pipeline.transform_input is not None:
        return None
    if get_config()["enable_metadata_routing"]:
        routed = process_routing(pipeline, "fit", **params)
        if any(any(of_step.values()) for step, of_step in routed.items() if step != name):
            return None
        return routed[name].fit
    if not all(key.startswith(f"{name}__") for key in params):
        return None
    return {key.removeprefix(f"{name}__"): value for key, value in params.items()}


def _pays(classifier: RNNBoundClassifier, n_rows: int) -> bool:
    """Whether a fit is worth a place in a stack."""
    if classifier.callbacks or classifier.checkpoint is not None:
        return False
    try:
        classifier._validate_params()
        device = resolve_device(classifier.device)
    except (TypeError, ValueError):
        # Its own fit will say what is wrong.
        return False
    step = min(largest_batch(classifier), n_rows) * int(classifier.hidden_size)
    return device.type == "cuda" or step <= _LARGEST_STEP


def _run_task(
    X: Any, y: Any, original: Any, fits: Sequence[_Plan], raises: bool, verbose: bool
) -> list[_Outcome]:
    """Outcomes of fits that may be stacked, or of a single one."""
    if fits[0].stacks:
        bar = Progress(total=len(fits), desc="fits", disable=not verbose)
        # Tensors made in inference mode could not be trained.
        with bar, torch.inference_mode(False):
            return _fit_stacked(X, y, original, fits, raises, bar.update)
    return [_fit_alone(X, y, original, fit, raises) for fit in fits]


def _fit_alone(X: Any, y: Any, original: Any, fit: _Plan, raises: bool) -> _Outcome:
    """Fit a candidate as GridSearchCV does."""
    start = time.perf_counter()
    estimator = candidate(original, fit.values)
    X_train, y_train = _safe_split(estimator, X, y, fit.rows)
    data = (X_train,) if y_train is None else (X_train, y_train)
    try:
        estimator.fit(*data, **_check_method_params(X, fit.params, indices=fit.rows))
    except Exception as error:
        if raises:
            raise
        return _Outcome(None, _to_keep(error), time.perf_counter() - start)
    return _Outcome(estimator, None, time.perf_counter() - start)


def _to_keep(error: Exception) -> Exception:
    """The error with its traceback as a note, since frames hold on to the data of a fit."""
    note = "".join(format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        # It could not leave a worker process.
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


@dataclass(frozen=True)
class _Prepared:
    """A fit that waits for its stack.

    Parameters
    ----------
    number : int
        Its place in the task.
    estimator : estimator
        The classifier, or the pipeline with its earlier steps fitted.
    classifier : RNNBoundClassifier
        The classifier.
    fit : Fit
        Its fit, before training.
    seconds : float
        How long it took so far.
    """

    number: int
    estimator: Any
    classifier: RNNBoundClassifier
    fit: Fit
    seconds: float

    @property
    def device(self) -> torch.device:
        """Where it will be trained."""
        return self.fit.training.net.module_.theta.device

    @property
    def n_bytes(self) -> int:
        """Memory for the inputs and the hidden states of a minibatch."""
        training = self.fit.training
        X, (d, m, _) = training.data.X, training.net.module_.shape
        # Beside the inputs there are the hidden states and the errors that go back through them.
        return int(X.shape[1] * training.net.batch_size * (d + 2 * m) * X.element_size())

    @property
    def stack(self) -> tuple[object, ...]:
        """What all networks of a stack have in common."""
        net, data = self.fit.training.net, self.fit.training.data
        return (
            net.module_.shape,
            net.module_.activation,
            net.module_.theta.dtype,
            self.device,
            type(net.optimizer_),
            type(net.criterion_),
            getattr(net.criterion_, "margin", None),
            data.X.shape[1],
            # Folds of fewer rows than that have minibatches of a few rows more or less.
            self.classifier.batch_size,
            math.ceil(len(data) / net.batch_size),
            self.classifier.n_threads,
        )


class _Fold:
    """Training data of a fold, and what its candidates have in common."""

    def __init__(self, X: Any, y: Any, original: Any, fit: _Plan) -> None:
        self.number = fit.fold
        self._X = X
        self._original = original
        self._X_train = _safe_indexing(X, fit.rows)
        self._y_train = None if y is None else _safe_indexing(y, fit.rows)
        self._transformed: dict[Hashable, tuple[list[tuple[str, Any]], Any]] = {}
        self._inputs: dict[tuple[Hashable, ...], torch.Tensor] = {}

    def prepare(self, number: int, fit: _Plan) -> _Prepared:
        """Everything of a fit that comes before training."""
        start = time.perf_counter()
        estimator = classifier = candidate(self._original, fit.values)
        X_train = self._X_train
        if isinstance(estimator, Pipeline):
            if fit.steps not in self._transformed:
                self._transformed[fit.steps] = self._transform(estimator)
            steps, X_train = self._transformed[fit.steps]
            classifier = estimator.steps[-1][1]
            estimator.steps = [*steps, estimator.steps[-1]]
        classifier._validate_params()
        params = _check_method_params(self._X, fit.classifier_params, indices=fit.rows)
        prepared = classifier._prepare(X_train, self._y_train, params.get("sample_weight"))
        training = prepared.training
        # Every candidate has converted the same data.
        inputs = training.data.X
        key = fit.steps, id((fit.classifier_params or {}).get("sample_weight")), inputs.shape
        training.data.X = self._inputs.setdefault(key, inputs)
        # Lines of many networks side by side could not be told apart.
        training.after_epoch = lambda record: None
        if training.validation is not None:
            training.validation.X = training.data.X
        return _Prepared(number, estimator, classifier, prepared, time.perf_counter() - start)

    def _transform(self, pipeline: Pipeline) -> tuple[list[tuple[str, Any]], Any]:
        """Fitted earlier steps of a pipeline, and what they make of the training data."""
        earlier = copy(pipeline)
        earlier.steps = [*pipeline.steps[:-1], (pipeline.steps[-1][0], "passthrough")]
        X_train = earlier.fit_transform(self._X_train, self._y_train)
        return earlier.steps[:-1], X_train


def _fit_stacked(
    X: Any,
    y: Any,
    original: Any,
    fits: Sequence[_Plan],
    raises: bool,
    on_end: Callable[[int], object],
) -> list[_Outcome]:
    """Train fits, sorted by fold, in as few stacks as their shapes and the memory allow."""
    outcomes: dict[int, _Outcome] = {}
    waiting: list[_Prepared] = []
    states, data = 0, dict[int, int]()
    shared = _SharedResults()
    fold = None

    def train_waiting() -> None:
        try:
            outcomes.update(_train_stacks(waiting, shared, raises, on_end))
        except Exception:
            if raises:
                raise
            # Out of memory, for instance: one by one there may be enough.
            for number in (prepared.number for prepared in waiting):
                outcomes[number] = _fit_alone(X, y, original, fits[number], raises)
        waiting.clear()

    for number, fit in enumerate(fits):
        if fold is None or fold.number != fit.fold:
            fold = _Fold(X, y, original, fit)
        start = time.perf_counter()
        try:
            prepared = fold.prepare(number, fit)
        except Exception as error:
            if raises:
                raise
            outcomes[number] = _Outcome(None, _to_keep(error), time.perf_counter() - start)
            on_end(1)
            continue
        X_train, limit = prepared.fit.training.data.X, _MEMORY[prepared.device.type]
        states += prepared.n_bytes
        data[X_train.data_ptr()] = X_train.nbytes
        # The data of a single fold may be of any size: its candidates share them.
        n_bytes = states if len(data) == 1 else states + sum(data.values())
        if waiting and n_bytes > limit:
            train_waiting()
            states, data = prepared.n_bytes, {X_train.data_ptr(): X_train.nbytes}
        waiting.append(prepared)
    if waiting:
        train_waiting()
    return [outcomes[number] for number in range(len(fits))]


class _SharedResults:
    """In the place of joblib's Memory: what depends on the data alone, once for a whole stack."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}

    def cache(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which then remembers its results by the contents of its arguments."""

        def remembered(*args: Any) -> Any:
            key = joblib.hash((function.__qualname__, args))
            if key not in self._results:
                self._results[key] = function(*args)
            return self._results[key]

        return remembered


def _train_stacks(
    waiting: Sequence[_Prepared],
    shared: _SharedResults,
    raises: bool,
    on_end: Callable[[int], object],
) -> dict[int, _Outcome]:
    """Outcomes, by number, of fits that are trained in one stack for every shape."""
    stacks: dict[tuple[Any, ...], list[_Prepared]] = {}
    for prepared in waiting:
        stacks.setdefault(prepared.stack, []).append(prepared)
    outcomes: dict[int, _Outcome] = {}
    for stack in stacks.values():
        start = time.perf_counter()
        errors = _train_stack(stack, shared, raises, on_end)
        seconds = time.perf_counter() - start + sum(prepared.seconds for prepared in stack)
        for prepared, error in zip(stack, errors, strict=True):
            estimator = prepared.estimator if error is None else None
            outcomes[prepared.number] = _Outcome(estimator, error, seconds / len(stack))
    return outcomes


def _train_stack(
    stack: Sequence[_Prepared],
    shared: _SharedResults,
    raises: bool,
    on_end: Callable[[int], object],
) -> list[Exception | None]:
    """Train networks of one shape and conclude their fits."""
    data = stack[0].fit.training.data
    with stack[0].classifier._threads(len(data), data.X.shape[2]):
        trainings = [prepared.fit.training for prepared in stack]
        errors: list[Exception | None] = list(train(trainings, raises=raises, on_end=on_end))
        for place, prepared in enumerate(stack):
            classifier, error = prepared.classifier, errors[place]
            memory = classifier.memory
            try:
                if error is not None:
                    raise error
                if memory is None:
                    classifier.memory = shared
                classifier._conclude(prepared.fit)
            except Exception as caught:
                if raises:
                    raise
                errors[place] = _to_keep(caught)
            finally:
                classifier.memory = memory
    return errors


class _Trained:
    """Fits in the order in which a search asks for them: candidate by candidate, fold by fold.

    A search clones its estimator for every fit. What it gets from `template` are the fitted
    estimators themselves, whose `fit` has nothing left to do; after them it gets real clones.
    """

    def __init__(self, original: Any, fits: Sequence[_Plan], outcomes: Sequence[_Outcome]) -> None:
        self._original = original
        self._queue = deque(zip(fits, outcomes, strict=True))
        self._n_open = len(self._queue)
        # A search clones the clone of its estimator. Copies, since a frozen one is its own clone.
        base = copy(clone(original))
        base.__sklearn_clone__ = self._next
        self.template = copy(clone(original))
        self.template.__sklearn_clone__ = lambda: base
        # Older versions of scikit-learn copy the owner of routed metadata along with them.
        self.template.__deepcopy__ = lambda memo: self.template

    def close(self) -> None:
        """Make the template an ordinary estimator; RuntimeError when a fit was not asked for."""
        # A scorer may keep it.
        del self.template.__sklearn_clone__, self.template.__deepcopy__
        if self._n_open:
            raise RuntimeError(_MIXED_UP)

    def _next(self) -> Any:
        """The next estimator, whose `set_params` and `fit` are shadowed until they are called."""
        if not self._queue:
            return clone(self._original)
        planned, outcome = self._queue.popleft()
        estimator = outcome.estimator
        if outcome.error:
            estimator = candidate(self._original, planned.values)

        def set_params(**values: Any) -> Any:
            del estimator.set_params
            if not _agree(values, planned.values):
                raise RuntimeError(_MIXED_UP)
            return estimator

        def fit(X: Any, y: Any = None, **params: Any) -> Any:
            del estimator.fit
            self._n_open -= 1
            if outcome.error:
                raise outcome.error
            return estimator

        estimator.set_params, estimator.fit = set_params, fit
        return estimator


def _agree(copied: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether parameters can be a copy of others; only plain values need equal their copies."""
    return copied.keys() == values.keys() and all(
        type(copied[name]) is type(value)
        and (not isinstance(value, str | Number) or repr(copied[name]) == repr(value))
        for name, value in values.items()
    )
