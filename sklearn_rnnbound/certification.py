"""The bound methods of the estimator: from a fitted network and its statistics to reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from sklearn_rnnbound.bounds import BOUNDS, Bound, NotApplicableError, Setting
from sklearn_rnnbound.bounds.comparison import ORDER_ONLY
from sklearn_rnnbound.bounds.occam import BITS, best_code, quantized
from sklearn_rnnbound.bounds.pac_bayes import pac_bayes
from sklearn_rnnbound.bounds.union import cell_exponent, divided
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    Weights,
    fisher_rao_norm,
    network_scores,
    score_margins,
    sensitivities,
)
from sklearn_rnnbound.noise import input_chunks
from sklearn_rnnbound.parallel import Progress
from sklearn_rnnbound.randomized import count_weights, posterior_error, rows_per_draw
from sklearn_rnnbound.statistics import (
    HoldoutCounts,
    PosteriorErrors,
    QuantizedErrors,
    SampleStatistics,
    gradient_norm,
)
from sklearn_rnnbound.training import as_tensor
from sklearn_rnnbound.validation import as_labels

if TYPE_CHECKING:
    from sklearn_rnnbound.report import BoundCurve, BoundReport

__all__ = [
    "DATA_FREE_METHODS",
    "BoundMethods",
    "check_method",
    "check_methods",
]

# What bound_report_ is given for the bounds that need data beside a fitted classifier.
_NEEDED_DATA = {
    "holdout": "X_test=..., y_test=...",
    "occam": "X_train=..., y_train=...",
    "pac_bayes": "X_train=..., y_train=...",
}
#: Names of the bounds that a fitted classifier can tell on its own.
DATA_FREE_METHODS = ("paper", *(name for name in BOUNDS if name not in _NEEDED_DATA))
# Posterior widths that are tried, with one draw per group of rows each; the best one is then
# estimated by fresh draws, over this many rounds.
_POSTERIOR_STDS = 2.0 ** np.arange(-12, 1)
_ROUNDS = 8


class BoundMethods:
    """What a fitted :class:`~sklearn_rnnbound.RNNBoundClassifier` says about its own error."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]]
    margin: float | str
    delta: float
    verbose: bool | int
    classes_: np.ndarray
    U_: np.ndarray
    net_: Any
    _setting: Setting
    _statistics: SampleStatistics
    _n_learned: int
    score: Callable[..., float]
    _scores: Callable[[Any], np.ndarray]
    _validate_inputs: Callable[[Any], np.ndarray]
    _validate_new: Callable[[Any], np.ndarray]
    _weights: Callable[[], Weights]
    _threads: Callable[[int, int], AbstractContextManager[None]]
    _reduce: Callable[..., SampleStatistics]
    _n_prior: int
    _reference_weights: Callable[[], Weights | None]
    _prior_mean: Callable[[], Weights]

    def generalization_bound_(
        self, *, method: str = "paper", margin: float | None = None, delta: float | None = None
    ) -> float:
        """Bound on the probability of error on new data.

        Parameters
        ----------
        method : str, default="paper"
            Key of :data:`sklearn_rnnbound.BOUNDS`, or "paper": Theorem 3 when the network was
            trained with noise, else Theorem 2. Not ``"holdout"``, ``"occam"`` and ``"pac_bayes"``,
            which need data: :meth:`bound_report_` takes them.
        margin : float or None, default=None
            Margin alpha, counted as fixed beforehand. None: the parameter `margin`.
        delta : float or None, default=None
            Probability with which the bound may fail. None: the parameter `delta`.

        Returns
        -------
        bound : float
            The bound; never clipped to 1, and inf where it says nothing.

        Raises
        ------
        ValueError
            For an unknown method, or one that does not cover this network or needs data.
        """
        setting = self._fitted_setting(margin, delta)
        return self._bound(self._name(check_method(method)), setting).value

    def bound_report_(
        self,
        X_test: Any = None,
        y_test: Any = None,
        *,
        X_train: Any = None,
        y_train: Any = None,
        methods: str | list[str] = "all",
        margin: float | None = None,
        delta: float | None = None,
        simultaneous: bool = False,
    ) -> BoundReport:
        """Bounds side by side, term by term.

        Parameters
        ----------
        X_test : array-like of shape (n, L, d) or (n, L * step_size), default=None
            Test data, which took no part in training or selection: for the bound ``"holdout"``.
            They move no other bound, but show the test error of what a bound speaks of.
        y_test : array-like of shape (n,), default=None
            Test labels.
        X_train : array-like of shape (n, L, d) or (n, L * step_size), default=None
            The training data of `fit` (rows of positive weight), for ``"occam"`` and
            ``"pac_bayes"``.
        y_train : array-like of shape (n,), default=None
            Training labels.
        methods : "all", str or list of str, default="all"
            Key or keys of :data:`sklearn_rnnbound.BOUNDS`. With "all", bounds that do not apply are
            left out with a line that says why.
        margin, delta : float or None, default=None
            As in :meth:`generalization_bound_`.
        simultaneous : bool, default=False
            Whether delta is shared out so that all bounds hold together.

        Returns
        -------
        report : BoundReport
            The bounds, in the order asked for. Its errors count a tie for the largest score, and
            a label that `fit` has not seen, as an error.

        Raises
        ------
        ValueError
            For an unknown method, one that does not cover this network or lacks its data, or
            training data that are not those of `fit`.
        """
        from sklearn_rnnbound.report import BoundReport

        setting = self._fitted_setting(margin, delta, simultaneous=simultaneous)
        names = self._names(methods)
        test = self._data("X_test", X_test, "y_test", y_test)
        train = self._data("X_train", X_train, "y_train", y_train)
        sample = self._statistics
        test_error = None
        if test is not None:
            n_errors = self._count_errors(self.net_.module_, *test)
            if self._recognises(*test):
                raise ValueError(
                    "X_test and y_test are the data of fit: nothing is held out. Give new data, or "
                    "pass these as X_train and y_train"
                )
            sample = replace(sample, holdout=HoldoutCounts(n_errors, len(test[1])))
            test_error = n_errors / len(test[1])
        if train is not None:
            self._check_training_data(*train)
            sample = self._with_training_data(sample, setting, train, test, names)
        omitted: tuple[str, ...] = ()
        if methods == "all":
            obstacles = {name: self._obstacle(name, sample) for name in BOUNDS}
            names = [name for name, obstacle in obstacles.items() if obstacle is None]
            omitted = tuple(filter(None, obstacles.values()))
        # Mere orders state nothing that could fail.
        n_statements = sum(name not in ORDER_ONLY for name in names)
        delta = setting.delta
        if simultaneous and n_statements:
            setting = divided(setting, n_statements, "rows of this report")
        return BoundReport(
            bounds=tuple(self._bound(name, setting, sample) for name in names),
            train_error=sample.train_error,
            test_error=test_error,
            other_test_errors={} if test is None else _other_test_errors(sample, setting.delta),
            delta=delta,
            simultaneous=simultaneous,
            omitted=omitted,
        )

    def bound_curve_(
        self,
        X_train: Any,
        y_train: Any,
        *,
        fractions: Sequence[float] = (1 / 8, 1 / 4, 1 / 2, 1),
        methods: str | list[str] = "all",
        margin: float | None = None,
        delta: float | None = None,
    ) -> BoundCurve:
        """Bounds of the trained network over the number of samples, term by term.

        The network stays as it is; the bounds hold for whatever weights and every sample, so each
        is recomputed on nested random parts of the training data. What shrinks is what more data
        can mend. The margin is the same for every part: with ``"auto"`` the one that suits all
        data, paid for as always.

        Parameters
        ----------
        X_train : array-like of shape (n, L, d) or (n, L * step_size)
            The training data of `fit`.
        y_train : array-like of shape (n,)
            Training labels.
        fractions : sequence of float, default=(1/8, 1/4, 1/2, 1)
            Parts of the data, in (0, 1].
        methods : "all", str or list of str, default="all"
            Key or keys of :data:`sklearn_rnnbound.BOUNDS`, but for ``"holdout"``.
        margin, delta : float or None, default=None
            As in :meth:`generalization_bound_`.

        Returns
        -------
        curve : BoundCurve
            One report per fraction, from the smallest to the largest.

        Raises
        ------
        ValueError
            For an unknown method, fractions out of range, or training data that are not those of
            `fit`.
        """
        from sklearn_rnnbound.report import BoundCurve, BoundReport

        setting = self._fitted_setting(margin, delta)
        names = self._names(methods)
        if methods != "all" and "holdout" in names:
            raise ValueError(
                "holdout needs test data, of which parts of the training data say nothing: use "
                f"bound_report_({_NEEDED_DATA['holdout']})"
            )
        parts = np.asarray(fractions)
        valid = parts.ndim == 1 and len(parts) and parts.dtype.kind in "iuf"
        if not valid or not ((parts > 0) & (parts <= 1)).all():
            raise ValueError(f"fractions must be numbers in (0, 1], got {fractions!r}")
        train = self._data("X_train", X_train, "y_train", y_train)
        if train is None:
            raise ValueError("bound_curve_ needs X_train and y_train")
        inputs, targets = train
        self._check_training_data(inputs, targets)
        n = len(targets)
        sizes = np.unique(np.maximum(np.round(parts * n).astype(int), 2))
        order = torch.from_numpy(check_random_state(self.net_.evaluation_seed).permutation(n))
        settings = {name: self._with_best_margin(name, setting) for name in names}
        reports = []
        for size in Progress(sizes, desc="bounds on parts of the data", disable=not self.verbose):
            part = train
            if size < n:
                rows = order[:size].sort().values.to(inputs.device)
                part = inputs[rows], targets[rows]
            with self._threads(int(size), inputs.shape[2]):
                sample = self._reduce(*part)
            sample = self._with_training_data(sample, setting, part, None, names)
            shown = names
            if methods == "all":
                shown = [name for name in BOUNDS if self._obstacle(name, sample) is None]
            reports.append(
                BoundReport(
                    bounds=tuple(self._bound(name, settings[name], sample) for name in shown),
                    train_error=sample.train_error,
                    test_error=None,
                    delta=setting.delta,
                )
            )
        return BoundCurve(tuple(int(size) for size in sizes), tuple(reports))

    def certified_radius_(self, X: Any) -> np.ndarray:
        """Radius within which no change of the input changes the prediction (paper, Lemma 8).

        All-zero steps at the front count as padding and are assumed to stay as they are; every
        other entry may change by less than the radius. For the predicted class p and another c,
        ``|(y_p - y_c)(x) - (y_p - y_c)(x')|`` is at most
        ``sum_t ||  |V_p - V_c| |W|^(L-t) |U|  ||_1 ||x_t - x'_t||_inf``.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.

        Returns
        -------
        radius : ndarray of shape (n,)
            Largest certified change of an entry, in the units of X; 0 where two classes tie. It is
            computed in float64 for the weights as they are.
        """
        check_is_fitted(self)
        sequences = as_tensor(self._validate_new(X))
        U, W, V = (weight.double() for weight in self._weights())
        network = RecurrentNetwork(U, W, V, self._setting.activation)
        radius = np.zeros(len(sequences))
        with self._threads(len(sequences), sequences.shape[2]):
            reach = sensitivities(U, W, V, sequences.shape[1])
            start = 0
            for chunk in input_chunks(sequences):
                scores = network_scores(network, chunk.double())
                top, predicted = scores.max(1)
                # Steps from the first that is not padding; none for an empty sequence.
                unpadded = chunk.ne(0).any(2).int().cumsum(1).gt(0).sum(1)
                slopes = reach[unpadded, predicted]
                gaps = top[:, None] - scores
                # Where a score cannot move apart from the top, there is nothing to cross; where
                # the slope overflows, nothing is known.
                radii = (gaps / slopes).nan_to_num(nan=0.0)
                radii[(slopes == 0) & (gaps > 0)] = torch.inf
                radii.scatter_(1, predicted[:, None], torch.inf)
                radius[start : start + len(chunk)] = radii.amin(1).numpy()
                start += len(chunk)
        return radius

    def fisher_rao_norm_(self, X: Any = None, y: Any = None, *, form: str = "linearized") -> float:
        """Fisher-Rao norm of the weights.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size), default=None
            Sequences over which to take the mean, as given. None: the training data, under the
            noise of the training when there was noise: the value that the bounds use.
        y : array-like of shape (n,), default=None
            Labels, which ``form="gradient"`` needs beside X.
        form : {"linearized", "gradient"}, default="linearized"
            "linearized" is the norm that enters the bounds, the root of
            ``E max_i [(tau(theta)c)_i]^2`` (paper, eq. 2); "gradient" is the root of
            ``E <theta, d loss/d theta>^2`` for the cross-entropy (Definition 1, Lemma 2).

        Returns
        -------
        norm : float
            The norm.
        """
        check_is_fitted(self)
        if not isinstance(form, str) or form not in ("linearized", "gradient"):
            raise ValueError(f"form must be 'linearized' or 'gradient', got {form!r}")
        if X is None:
            if y is not None:
                raise ValueError("y was given without X")
            if form == "gradient":
                return self._statistics.fisher_rao_gradient
            return (self._statistics.noisy or self._statistics.clean).fisher_rao
        if form == "gradient" and y is None:
            raise ValueError("form='gradient' needs the labels y of X")
        sequences = as_tensor(self._validate_inputs(X))
        network = self.net_.module_
        with self._threads(len(sequences), sequences.shape[2]):
            if form == "linearized":
                return fisher_rao_norm(*self._weights(), chunks=input_chunks(sequences))
            return gradient_norm(network, sequences, self._class_numbers(y, len(sequences)))

    def _labels(self, y: Any, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
        """Labels and their class numbers, -1 where a label is unknown to the network."""
        y = as_labels(y, name)
        with _named(name):
            y = column_or_1d(y)
        try:
            positions = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        except TypeError as error:
            raise TypeError(
                f"{name} must hold labels of the type of {self.classes_.tolist()}: {error}"
            ) from error
        return y, np.where(self.classes_[positions] == y, positions, -1)

    def _class_numbers(self, y: Any, n: int) -> torch.Tensor:
        y, numbers = self._labels(y)
        if len(y) != n:
            raise ValueError(f"X has {n} rows and y has {len(y)}")
        unknown = np.unique(y[numbers < 0]).tolist()
        if unknown:
            raise ValueError(
                f"y must hold labels of {self.classes_.tolist()}, and {unknown} are among them"
            )
        return torch.from_numpy(numbers)

    def _fitted_setting(self, margin: float | None, delta: float | None, **flags: bool) -> Setting:
        check_is_fitted(self)
        values: dict[str, Any] = {
            "margin": self.margin if margin is None else margin,
            "delta": self.delta if delta is None else delta,
        }
        validate_parameter_constraints(
            {name: self._parameter_constraints[name] for name in values}
            | {name: ["boolean"] for name in flags},
            values | flags,
            caller_name=type(self).__name__,
        )
        alpha, probability = values["margin"], float(values["delta"])
        return replace(
            self._setting,
            margin=alpha if isinstance(alpha, str) else float(alpha),
            delta=probability,
        )

    def _data(
        self, name_x: str, X: Any, name_y: str, y: Any
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Sequences and class numbers on the network's device; -1 for a label unknown to it."""
        if (X is None) != (y is None):
            raise ValueError(f"{name_x} and {name_y} go together: give both or none")
        if X is None:
            return None
        with _named(name_x):
            X = self._validate_inputs(X)
        y, numbers = self._labels(y, name_y)
        if len(y) != len(X):
            raise ValueError(f"{name_x} has {len(X)} rows and {name_y} has {len(y)}")
        if (numbers < 0).all():
            raise ValueError(
                f"{name_y} holds none of the labels {self.classes_.tolist()}, but for example "
                f"{y[0]!r}"
            )
        device = self.net_.module_.theta.device
        return as_tensor(X).to(device), torch.from_numpy(numbers).to(device)

    def _count_errors(
        self, network: RecurrentNetwork, X: torch.Tensor, targets: torch.Tensor
    ) -> int:
        """Number of samples with M <= 0; a label unknown to the network is an error."""
        with self._threads(len(X), X.shape[2]):
            margins = score_margins(network_scores(network, X), targets.clamp(min=0))
        # An overflow, whose margin is not a number, is an error too.
        return int((~(margins > 0) | (targets < 0)).sum())

    def _is_fit_data(self, X: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether the data have the margins of the sample of `fit`, up to rounding."""
        known = self._statistics.clean.margins
        if len(X) != len(known) or X.shape[1] != self._statistics.n_steps:
            return False
        with self._threads(len(X), X.shape[2]):
            scores = network_scores(self.net_.module_, X)
        margins = score_margins(scores, targets.clamp(min=0)).cpu().numpy()
        margins[np.isnan(margins)] = -np.inf
        magnitudes = scores.abs().amax(1).nan_to_num(0.0, 0.0, 0.0).cpu().numpy()
        with np.errstate(invalid="ignore"):
            close = np.abs(margins - known) <= 1e-4 * magnitudes
        return bool((close | (margins == known)).all()) and not bool((targets < 0).any())

    def _recognises(self, X: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether the data are those of `fit`; a network without any margin cannot tell."""
        return bool(self._statistics.clean.margins.any()) and self._is_fit_data(X, targets)

    def _check_training_data(self, X: torch.Tensor, targets: torch.Tensor) -> None:
        known = self._statistics.clean.margins
        remedy = "; the bounds speak of the sample that fit has seen (rows of positive weight)"
        if len(X) != len(known) or X.shape[1] != self._statistics.n_steps:
            raise ValueError(
                f"X_train has {len(X)} sequences of {X.shape[1]} steps, and fit has seen "
                f"{len(known)} of {self._statistics.n_steps}{remedy}"
            )
        if bool((targets < 0).any()):
            raise ValueError(f"y_train holds labels other than {self.classes_.tolist()}")
        if not self._is_fit_data(X, targets):
            raise ValueError(f"X_train and y_train are not the data of fit, in its order{remedy}")

    def _with_training_data(
        self,
        sample: SampleStatistics,
        setting: Setting,
        train: tuple[torch.Tensor, torch.Tensor],
        test: tuple[torch.Tensor, torch.Tensor] | None,
        names: list[str],
    ) -> SampleStatistics:
        """The statistics with what `names` need of the training data themselves."""
        if "occam" in names:
            sample = replace(sample, quantized=self._quantized(train, test))
        if "pac_bayes" in names:
            with self._threads(*train[0].shape[::2]):
                sample = self._posterior(sample, setting, train, test)
        return sample

    def _quantized(
        self,
        train: tuple[torch.Tensor, torch.Tensor],
        test: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[QuantizedErrors, ...]:
        """The network rounded to every number of bits that the code knows."""
        weights = [weight.double().numpy() for weight in self._weights()]
        prior, n_prior = self._reference_weights(), self._n_prior
        reference, words = [np.zeros_like(weight) for weight in weights], "from zero"
        if prior is not None:
            reference = [weight.double().numpy() for weight in prior]
            words = f"from weights learned on up to {n_prior} samples, assumed disjoint from these"
        networks = []
        for bits in Progress(BITS, desc="quantised networks", disable=not self.verbose):
            codes = [quantized(w - r, bits) for w, r in zip(weights, reference, strict=True)]
            U, W, V = (
                torch.from_numpy(r + code).to(train[0])
                for r, (code, _) in zip(reference, codes, strict=True)
            )
            network = RecurrentNetwork(U, W, V, self._setting.activation)
            networks.append(
                QuantizedErrors(
                    bits=bits,
                    length=float(np.log(len(BITS))) + sum(length for _, length in codes),
                    n_errors=self._count_errors(network, *train),
                    reference=words,
                    test_error=(
                        None if test is None else self._count_errors(network, *test) / len(test[1])
                    ),
                )
            )
        return tuple(networks)

    def _posterior(
        self,
        sample: SampleStatistics,
        setting: Setting,
        train: tuple[torch.Tensor, torch.Tensor],
        test: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> SampleStatistics:
        """The randomised classifier of the posterior width that promises the smallest bound."""
        X, targets = train
        U, W, V = (weight.to(X) for weight in self._weights())
        weights = U, W, V
        mean = self._prior_mean()
        prior, n_prior = self._reference_weights(), self._n_prior
        distance = sum(
            float((weight.double() - center.double()).square().sum())
            for weight, center in zip(self._weights(), mean, strict=True)
        )
        words = (
            "around the initial weights"
            if prior is None
            else f"around weights learned on up to {n_prior} samples, assumed disjoint from these"
        )
        generator = torch.Generator(X.device).manual_seed(self.net_.evaluation_seed)
        n, per_draw = len(X), rows_per_draw(weights)
        passes = len(_POSTERIOR_STDS) + _ROUNDS
        progress = Progress(
            total=passes * n, desc="draws of the posterior", unit="row", disable=not self.verbose
        )

        def candidate(std: float, n_rounds: int) -> SampleStatistics:
            errors = [
                posterior_error(
                    weights, std, X, targets, self._setting.activation, generator, progress.update
                )
                for _ in range(n_rounds)
            ]
            posterior = PosteriorErrors(
                std=std,
                squared_distance=distance,
                n_weights=count_weights(weights),
                error=float(np.mean(errors)),
                n_draws=n_rounds * n / min(per_draw, n),
                prior=words,
            )
            return replace(sample, posterior=posterior)

        with progress:
            pilots = [candidate(float(std), 1) for std in _POSTERIOR_STDS]
            best = min(pilots, key=lambda pilot: pac_bayes(pilot, setting).value)
            assert best.posterior is not None
            chosen = candidate(best.posterior.std, _ROUNDS)
        if test is None or chosen.posterior is None:
            return chosen
        test_error = posterior_error(
            weights, chosen.posterior.std, *test, self._setting.activation, generator
        )
        return replace(chosen, posterior=replace(chosen.posterior, test_error=test_error))

    def _names(self, methods: str | Sequence[str]) -> list[str]:
        """Names of the bounds that were asked for, each once."""
        return list(dict.fromkeys(map(self._name, check_methods(methods))))

    def _name(self, method: str) -> str:
        """Key of BOUNDS; "paper" stands for the theorem of this network."""
        paper = "theorem2" if self._statistics.noisy is None else "theorem3"
        return {"paper": paper}.get(method, method)

    def _bound(
        self, method: str, setting: Setting, sample: SampleStatistics | None = None
    ) -> Bound:
        sample = sample or self._statistics
        try:
            return BOUNDS[method](sample, setting)
        except NotApplicableError as error:
            others = [name for name in BOUNDS if self._obstacle(name, sample) is None]
            raise ValueError(f"{error}; bounds that apply: {', '.join(others)}") from error

    def _with_best_margin(self, method: str, setting: Setting) -> Setting:
        """The setting with no other margin than the one that suits the sample of `fit`."""
        if setting.margin != "auto" or self._obstacle(method, self._statistics) is not None:
            return setting
        margin = self._bound(method, setting).margin
        return (
            setting if margin is None else replace(setting, margin_cells=(cell_exponent(margin),))
        )

    def _obstacle(self, method: str, sample: SampleStatistics) -> str | None:
        """Why a bound does not apply to this network, or None."""
        try:
            # A margin given beforehand spares the search of the grid.
            BOUNDS[method](sample, replace(self._setting, margin=1.0))
        except NotApplicableError as error:
            return str(error)
        return None


def _other_test_errors(sample: SampleStatistics, delta: float) -> dict[str, float]:
    """Test errors of the bounds that speak of another classifier than the trained network."""
    errors: dict[str, float | None] = {}
    if sample.quantized:
        errors["occam"] = best_code(sample, delta).test_error
    if sample.posterior is not None:
        errors["pac_bayes"] = sample.posterior.test_error
    return {name: error for name, error in errors.items() if error is not None}


@contextmanager
def _named(argument: str) -> Iterator[None]:
    """Errors that speak of X or y say which argument it is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{argument}: {error}") from error


def check_method(method: str) -> str:
    """The name of a bound, if a fitted classifier can tell it on its own."""
    there = f"there are {', '.join(map(repr, DATA_FREE_METHODS))}"
    if not isinstance(method, str) or method not in ("paper", *BOUNDS):
        raise ValueError(f"method={method!r} is unknown; {there}")
    if method in _NEEDED_DATA:
        raise ValueError(
            f"method={method!r} needs data beside the fitted classifier: use "
            f"bound_report_({_NEEDED_DATA[method]}); here {there}"
        )
    return method


def check_methods(methods: str | Sequence[str]) -> list[str]:
    """Names of bounds as a list; "all" stands for all."""
    if isinstance(methods, str) and methods == "all":
        return list(BOUNDS)
    if not isinstance(methods, str | list | tuple):
        raise TypeError(f"methods must be 'all', a name or a list of names, got {methods!r}")
    names = [methods] if isinstance(methods, str) else list(methods)
    there = f"there are 'paper', {', '.join(map(repr, BOUNDS))}"
    if not names:
        raise ValueError(f"methods={methods!r} asks for no bound: give 'all' or names; {there}")
    for place, name in enumerate(names):
        if not isinstance(name, str) or name not in ("paper", *BOUNDS):
            entry = "methods" if isinstance(methods, str) else f"methods[{place}]"
            raise ValueError(f"{entry}={name!r} is unknown; {there}")
    return names
