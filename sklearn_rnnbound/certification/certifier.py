"""What a fitted network says about its own error: names, evidence, rules, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from tqdm import tqdm

from sklearn_rnnbound._threads import suited_threads
from sklearn_rnnbound.bounds import BOUNDS, Bound, Setting
from sklearn_rnnbound.bounds._sample import (
    BoxStatistics,
    InputSums,
    NetworkNorms,
    SampleStatistics,
)
from sklearn_rnnbound.bounds.union import bin_exponent, divided
from sklearn_rnnbound.cells import CELLS, Cell, Weights, score_margins
from sklearn_rnnbound.cells.fisher_rao import fisher_rao_norm, gradient_norm
from sklearn_rnnbound.certification.report import BoundCurve, BoundReport
from sklearn_rnnbound.evidence.sample import sample_statistics
from sklearn_rnnbound.evidence.trial import ArrayWeights, Data, Reference, Trial
from sklearn_rnnbound.training.constraints import Box, WeightConstraints
from sklearn_rnnbound.training.net import network_scores
from sklearn_rnnbound.training.noise import input_chunks

__all__ = [
    "Certifier",
    "check_method",
    "check_methods",
    "needed_data",
]

_PASS = {"test": "X_test=..., y_test=...", "train": "X_train=..., y_train=..."}


@dataclass(frozen=True)
class Certifier:
    """A fitted network with all that its bounds rest on; it is what is saved of a fit.

    Parameters
    ----------
    cell : Cell
        The cell.
    weights : dict of ndarray
        Its trained weights.
    statistics : SampleStatistics
        What the bounds need of the training data.
    setting : Setting
        What was fixed before these were seen.
    prior : Reference or None
        Weights that other data have trained, from which training started.
    n_learned : int
        Number of samples that the weights have learned from, those of the prior included.
    init_seed, evaluation_seed : int
        Seeds of weights that no data have touched, and of the noise under which bounds are taken.
    """

    cell: Cell
    weights: ArrayWeights
    statistics: SampleStatistics
    setting: Setting
    prior: Reference | None
    n_learned: int
    init_seed: int
    evaluation_seed: int

    # Bounds

    def bound(self, method: str, setting: Setting) -> Bound:
        """A bound without further data, at the margin and delta of a setting."""
        name = self._name(method)
        self._check_applies([name])
        return BOUNDS[name](self.statistics, None, setting)

    def report(
        self,
        test: Data | None,
        train: Data | None,
        methods: str | Sequence[str],
        setting: Setting,
        *,
        simultaneous: bool = False,
        verbose: bool | int = False,
    ) -> BoundReport:
        """Bounds side by side, in the order asked for, at the margin and delta of a setting.

        Test data and the training data are on the device of the network, or None; what needs absent
        ones is left out of "all", and a ValueError otherwise.
        """
        names = self._names(methods)
        test_error = None
        if test is not None:
            if self.recognises(*test):
                raise ValueError(
                    "X_test and y_test are the data of fit: nothing is held out. Give new data, or "
                    "pass these as X_train and y_train"
                )
            trial = self._trial(setting, test=test)
            test_error = trial.test_errors(self.weights) / trial.n_test
        if train is not None:
            self._check_training_data(*train)
        given = [part for part, data in (("test", test), ("train", train)) if data is not None]
        omitted: list[str] = []
        if methods == "all":
            obstacles = {name: self._obstacle(name, *given) for name in names}
            names = [name for name, obstacle in obstacles.items() if obstacle is None]
            omitted = [obstacle for obstacle in obstacles.values() if obstacle is not None]
        self._check_applies(names, *given)
        delta = setting.delta
        # Mere orders state nothing that could fail.
        n_statements = sum(not BOUNDS[name].order_only for name in names)
        part = setting
        if simultaneous and n_statements:
            part = divided(setting, n_statements, "rows of this report")
        bounds, other_test_errors = [], {}
        for name in names:
            # Evidence is found at the delta of the report, whatever its share of a row.
            trial = self._trial(setting, train=train, test=test, verbose=verbose)
            evidence = BOUNDS[name].evidence(trial)
            bounds.append(BOUNDS[name](self.statistics, evidence, part))
            error = BOUNDS[name].test_error(self.statistics, evidence, part)
            if error is not None:
                other_test_errors[name] = error
        return BoundReport(
            bounds=tuple(bounds),
            train_error=self.statistics.train_error,
            test_error=test_error,
            other_test_errors=other_test_errors,
            delta=delta,
            simultaneous=simultaneous,
            omitted=tuple(omitted),
        )

    def curve(
        self,
        train: Data,
        fractions: Sequence[float],
        methods: str | Sequence[str],
        setting: Setting,
        *,
        memory: Any = None,
        verbose: bool | int = False,
    ) -> BoundCurve:
        """Bounds of the network on nested random parts of the training data, the smallest first.

        The margin is the same for every part: with "auto" the one that suits all data.
        """
        names = self._names(methods)
        if methods == "all":
            names = [name for name in names if self._obstacle(name, "train") is None]
        self._check_applies(names, "train")
        parts = np.asarray(fractions, dtype=np.float64)
        if parts.ndim != 1 or not len(parts) or not ((parts > 0) & (parts <= 1)).all():
            raise ValueError(f"fractions must be numbers in (0, 1], got {fractions!r}")
        inputs, targets = train
        self._check_training_data(inputs, targets)
        n = len(targets)
        sizes = np.unique(np.maximum(np.round(parts * n).astype(int), 2))
        order = torch.from_numpy(check_random_state(self.evaluation_seed).permutation(n))
        settings = {name: self._with_best_margin(name, setting) for name in names}
        reports = []
        for size in tqdm(sizes, desc="bounds on parts of the data", disable=not verbose):
            rows = order[:size].sort().values.to(inputs.device)
            part = (inputs[rows], targets[rows]) if size < n else train
            sample = self._reduced(*part, memory=memory, verbose=verbose)
            evidence = {
                name: BOUNDS[name].evidence(self._trial(setting, train=part, verbose=verbose))
                for name in names
            }
            reports.append(
                BoundReport(
                    bounds=tuple(
                        BOUNDS[name](sample, evidence[name], settings[name]) for name in names
                    ),
                    train_error=sample.train_error,
                    test_error=None,
                    delta=setting.delta,
                )
            )
        return BoundCurve(tuple(int(size) for size in sizes), tuple(reports))

    def _reduced(self, X: torch.Tensor, targets: torch.Tensor, **options: Any) -> SampleStatistics:
        """The statistics of another sample."""
        known, prior = self.setting.min_eigenvalue_known, self.prior
        with self._threads(len(X)):
            return sample_statistics(
                self.cell,
                self._tensors(X.device),
                X,
                targets,
                self.setting,
                seed=self.evaluation_seed,
                min_eigenvalue=self.statistics.min_eigenvalue if known else None,
                box=Box.of(self.setting, None if prior is None else prior.weights, X),
                n_reference=0 if prior is None else prior.n_samples,
                **options,
            )

    def _trial(self, setting: Setting, **data: Any) -> Trial:
        return Trial(
            cell=self.cell,
            weights={name: weight.astype(np.float64) for name, weight in self.weights.items()},
            setting=setting,
            prior=self.prior,
            initial_weights=self._initial_weights,
            seed=self.evaluation_seed,
            **{"train": None, "test": None} | data,
        )

    def _initial_weights(self) -> ArrayWeights:
        constraints = WeightConstraints.of(self.cell, self.setting)
        weights = constraints.initial_weights(self.init_seed)
        constraints.project_(weights)
        return {name: weight.numpy() for name, weight in weights.items()}

    def _with_best_margin(self, name: str, setting: Setting) -> Setting:
        """The setting with no other margin than the one that suits the sample of `fit`."""
        if setting.margin != "auto" or BOUNDS[name].data:
            return setting
        margin = self.bound(name, setting).margin
        return setting if margin is None else replace(setting, margin_bins=(bin_exponent(margin),))

    # Names of bounds

    def _name(self, method: str) -> str:
        """Key of BOUNDS; "paper" stands for the theorem of this network."""
        paper = "theorem2" if self.statistics.noisy is None else "theorem3"
        return {"paper": paper}.get(method, method)

    def _names(self, methods: str | Sequence[str]) -> list[str]:
        """Names of the bounds that were asked for, each once."""
        return list(dict.fromkeys(map(self._name, check_methods(methods))))

    def _obstacle(self, name: str, *given: str) -> str | None:
        """Why a bound does not apply to this network, or lacks its data; None if it does."""
        rule = BOUNDS[name]
        obstacle = rule.obstacle(self.setting)
        return rule.lacks_data if obstacle is None and rule.data not in ("", *given) else obstacle

    def _check_applies(self, names: Sequence[str], *given: str) -> None:
        for name in names:
            if obstacle := self._obstacle(name, *given):
                others = [other for other in BOUNDS if self._obstacle(other, *given) is None]
                raise ValueError(f"{obstacle}; bounds that apply: {', '.join(others)}")

    # Data

    def recognises(self, X: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether the data are those of `fit`; a network without any margin cannot tell."""
        return bool(self.statistics.clean.margins.any()) and self._is_fit_data(X, targets)

    def _is_fit_data(self, X: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether the data have the margins of the sample of `fit`, up to rounding."""
        known = self.statistics.clean.margins
        if len(X) != len(known) or X.shape[1] != self.statistics.n_steps:
            return False
        scores = self._scores(X)
        margins = _margins(scores, targets)
        # Of each row its own: one huge score is not to hide what the others are.
        magnitudes = scores.abs().amax(1).nan_to_num(0.0, 0.0, 0.0).cpu().numpy()
        with np.errstate(invalid="ignore"):
            close = np.abs(margins - known) <= 1e-4 * magnitudes
        return bool((close | (margins == known)).all()) and not bool((targets < 0).any())

    def margins(self, X: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
        """Margins (n,) of sequences (n, L, d) and class numbers (n,); -inf after an overflow."""
        return _margins(self._scores(X), targets)

    def _scores(self, X: torch.Tensor) -> torch.Tensor:
        with self._threads(len(X)):
            return network_scores(self.cell, self._tensors(X.device), X)

    def _check_training_data(self, X: torch.Tensor, targets: torch.Tensor) -> None:
        known = self.statistics.clean.margins
        remedy = "; the bounds speak of the sample that fit has seen (rows of positive weight)"
        if len(X) != len(known) or X.shape[1] != self.statistics.n_steps:
            raise ValueError(
                f"X_train has {len(X)} sequences of {X.shape[1]} steps, and fit has seen "
                f"{len(known)} of {self.statistics.n_steps}{remedy}"
            )
        if not self._is_fit_data(X, targets):
            raise ValueError(f"X_train and y_train are not the data of fit, in its order{remedy}")

    # Other quantities

    def certified_radius(self, X: torch.Tensor) -> np.ndarray:
        """Largest certified change of an entry of each row of X (n, L, d) (paper, Lemma 8)."""
        weights = {name: weight.double() for name, weight in self._tensors(X.device).items()}
        reach = self.cell.sensitivities(weights, X.shape[1])
        if reach is None:
            raise ValueError(f"no certified radius is known for {self.cell}")
        radius = np.zeros(len(X))
        with self._threads(len(X)):
            start = 0
            for chunk in input_chunks(X):
                scores = network_scores(self.cell, weights, chunk)
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

    def fisher_rao_norm(
        self, form: str, X: torch.Tensor | None = None, targets: torch.Tensor | None = None
    ) -> float:
        """Fisher-Rao norm of the training sample as bounds use it, or of X (n, L, d).

        The gradient form of X needs class numbers; a cell without a linearised form raises
        ValueError.
        """
        sample = self.statistics
        if X is None:
            inputs = sample.noisy or sample.clean
            norm = inputs.fisher_rao if form == "linearized" else sample.fisher_rao_gradient
        else:
            weights = self._tensors(X.device)
            with self._threads(len(X)):
                if targets is None:
                    norm = fisher_rao_norm(self.cell, weights, input_chunks(X))
                else:
                    norm = gradient_norm(self.cell, weights, input_chunks(X), targets)
        if np.isnan(norm):
            raise ValueError(f"{self.cell} has no linearised form: ask for form='gradient'")
        return norm

    def _tensors(self, device: torch.device) -> Weights:
        return {name: torch.tensor(weight, device=device) for name, weight in self.weights.items()}

    def _threads(self, rows: int) -> Any:
        return suited_threads(self.cell.n_features, self.cell.hidden_size, rows)

    # Saving

    def to_record(self) -> dict[str, Any]:
        """All of it as plain dictionaries, arrays, numbers and text."""
        cell, setting = self.cell, asdict(self.setting)
        # What was proved for a cell is for the package to say, and not for a file.
        del setting["properties"], setting["cell"]
        return {
            **vars(self),
            "cell": {"name": cell.name, **vars(cell)},
            "weights": dict(self.weights),
            "statistics": asdict(self.statistics),
            "setting": setting,
            "prior": None if self.prior is None else asdict(self.prior),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Certifier:
        """The certifier of a record that :meth:`to_record` has made."""
        form = dict(record["cell"])
        cell = CELLS[form.pop("name")](**form)
        statistics = dict(record["statistics"])
        for name, kind in _STATISTICS.items():
            if statistics[name] is not None:
                statistics[name] = kind(**statistics[name])
        prior = record["prior"]
        return cls(
            **dict(record)
            | {
                "cell": cell,
                "statistics": SampleStatistics(**statistics),
                "setting": Setting(**record["setting"], properties=cell.properties, cell=str(cell)),
                "prior": None if prior is None else Reference(**prior),
            }
        )


_STATISTICS: dict[str, Any] = {
    "clean": InputSums,
    "noisy": InputSums,
    "network": NetworkNorms,
    "box": BoxStatistics,
}


def _margins(scores: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    margins = score_margins(scores, targets.clamp(min=0)).cpu().numpy()
    margins[np.isnan(margins)] = -np.inf
    return margins


def needed_data(method: str) -> str:
    """What a bound needs beside a fitted network: "", "train" or "test"."""
    return "" if method == "paper" else BOUNDS[method].data


def check_method(method: str) -> str:
    """The name of a bound, if a fitted network can tell it on its own; else ValueError."""
    names = ["paper", *(name for name, rule in BOUNDS.items() if not rule.data)]
    there = f"here there are {', '.join(map(repr, names))}"
    if method not in ("paper", *BOUNDS):
        raise ValueError(f"method={method!r} is unknown; {there}")
    if data := needed_data(method):
        raise ValueError(
            f"method={method!r} needs data beside the fitted classifier: use "
            f"bound_report_({_PASS[data]}); {there}"
        )
    return method


def check_methods(methods: str | Sequence[str]) -> list[str]:
    """Names of bounds as a list; "all" stands for all."""
    if methods == "all":
        return list(BOUNDS)
    if not isinstance(methods, str | list | tuple):
        raise TypeError(f"methods must be 'all', a name or a list of names, got {methods!r}")
    names = [methods] if isinstance(methods, str) else list(methods)
    unknown = [name for name in names if name not in ("paper", *BOUNDS)]
    if unknown or not names:
        what = f"holds {unknown[0]!r}, which is unknown" if unknown else "is empty"
        raise ValueError(f"methods {what}; there are 'paper', {', '.join(map(repr, BOUNDS))}")
    return names
