"""What every estimator of ours shares: from parameters and checked data to a trained network."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from sklearn_rnnbound._threads import ROWS, suited_threads
from sklearn_rnnbound._validation import as_steps, check_sequences
from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.cells import CELLS, Cell
from sklearn_rnnbound.certification.certifier import Certifier
from sklearn_rnnbound.evidence.sample import sample_statistics, training_noise
from sklearn_rnnbound.evidence.trial import Reference
from sklearn_rnnbound.training.checkpoint import Checkpoint, fingerprint
from sklearn_rnnbound.training.constraints import Box, WeightConstraints, as_radius, row_norm
from sklearn_rnnbound.training.data import Sequences, as_tensor, has_room, resolve_device
from sklearn_rnnbound.training.loop import Training, TrainingRecord
from sklearn_rnnbound.training.net import RampLoss, RecurrentNet, RecurrentNetwork

__all__ = ["OPTIMIZERS", "RecurrentEstimator", "Sample", "planned_setting"]

#: Format of saved estimators; a version reads its own and refuses later ones.
FORMAT = 2

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}

# Parameters that training does not read, or not beside the tensors and the device it is given.
_READ_BEFORE_TRAINING = {
    "callbacks",
    "checkpoint",
    "class_weight",
    "delta",
    "device",
    "input_bound",
    "margin",
    "memory",
    "min_eigenvalue",
    "prior",
    "step_size",
    "verbose",
    "warm_start",
}


@dataclass(frozen=True)
class Sample:
    """Checked data of a fit.

    Sequences (n, L, d), targets (n,) such as numbers of classes, the number of scores, and weights
    (n,) of the samples in the loss, None where all are equal.
    """

    X: np.ndarray
    targets: np.ndarray
    n_outputs: int
    weights: np.ndarray | None


@dataclass(frozen=True)
class _Start:
    """What earlier fits have left for this one: `previous` under `warm_start`, and `prior`."""

    previous: Certifier | None
    prior: Reference | None

    @property
    def n_learned(self) -> int:
        """Number of samples that the weights have learned from before."""
        n_prior = 0 if self.prior is None else self.prior.n_samples
        return n_prior + (0 if self.previous is None else self.previous.n_learned)


class RecurrentEstimator(BaseEstimator):
    """Base of estimators that train a recurrent network and keep a :class:`.Certifier` of it.

    Subclasses have the parameters of :class:`.RNNBoundClassifier`, check labels, and hand a
    :class:`Sample` to :meth:`_fit_network`.
    """

    _certifier: Certifier

    # Parameters

    def _check_parameters(self) -> None:
        """Raise an error for parameters that contradict each other or the machine."""
        if self.cell not in CELLS:
            raise ValueError(f"cell={self.cell!r} is unknown; there are {', '.join(CELLS)}")
        if self.unit_types == 2 and self.hidden_size < 2:
            raise ValueError("unit_types=2 needs hidden_size >= 2, one unit of each type at least")
        if self.loss == "ramp" and isinstance(self.margin, str):
            raise ValueError(
                f"loss='ramp' is the ramp loss at a margin fixed beforehand: margin must be a "
                f"number > 0, got {self.margin!r}"
            )
        if self.box_width is not None:
            if self.prior is None:
                raise ValueError("box_width needs prior, the classifier whose weights it surrounds")
            if self.fisher_rao_max is not None:
                raise ValueError(
                    "fisher_rao_max rescales V out of its box: leave out one of the two"
                )
        for name in ("beta_u", "beta_w", "beta_v"):
            as_radius(name, getattr(self, name))
        resolve_device(self.device)
        for item in self.callbacks or []:
            callback = item[1] if isinstance(item, tuple) else item
            kind = callback if isinstance(callback, type) else type(callback)
            if not issubclass(kind, Callback):
                raise TypeError(
                    "callbacks must hold skorch callbacks or pairs (name, callback), and holds "
                    f"{item!r}"
                )
        if self.checkpoint is not None:
            if not isinstance(self.random_state, int | np.integer):
                raise ValueError(
                    "checkpoint needs an integer random_state, from which a fit that starts again "
                    f"draws the same numbers, got random_state={self.random_state!r}"
                )
            if self.callbacks:
                raise ValueError(
                    "checkpoint cannot save what callbacks keep: leave out one of the two; skorch "
                    "has a callback Checkpoint of its own"
                )

    def _asked(
        self, margin: float | None, delta: float | None, simultaneous: bool = False
    ) -> Setting:
        """The setting of the fit at a margin and a delta, those of the parameters by default."""
        check_is_fitted(self)
        values = {
            "margin": self.margin if margin is None else margin,
            "delta": self.delta if delta is None else delta,
        }
        constraints = {name: self._parameter_constraints[name] for name in values}
        validate_parameter_constraints(
            {**constraints, "simultaneous": ["boolean"]},
            {**values, "simultaneous": simultaneous},
            caller_name=type(self).__name__,
        )
        alpha = values["margin"]
        return replace(
            self._certifier.setting,
            margin=alpha if isinstance(alpha, str) else float(alpha),
            delta=float(values["delta"]),
        )

    # Data

    def _sequences(self, X: Any) -> np.ndarray:
        """Sequences for a fitted network, of shape (n, L, d)."""
        check_is_fitted(self)
        return as_steps(check_sequences(self, X, reset=False), self.step_size)

    def _inputs(self, X: Any) -> torch.Tensor:
        """Sequences in the dtype of the fitted network."""
        X = self._sequences(X)
        dtype = next(iter(self._certifier.weights.values())).dtype
        with np.errstate(over="ignore"):
            inputs = X.astype(dtype, copy=False)
        if inputs is not X and not np.isfinite(inputs).all():
            raise ValueError(
                f"X holds numbers out of the range of {dtype}, the dtype of the data that "
                f"{type(self).__name__} was fitted on"
            )
        return as_tensor(inputs)

    def _finite_scores(self, X: Any) -> np.ndarray:
        """Scores of shape (n, k), from which a prediction can be made."""
        inputs, cell = self._inputs(X), self._certifier.cell
        with suited_threads(cell.n_features, cell.hidden_size, len(inputs)):
            scores = self.net_.scores(inputs).cpu().numpy()
        overflowing = np.flatnonzero(~np.isfinite(scores).all(1))
        if len(overflowing):
            raise ValueError(
                f"the scores of {len(overflowing)} sequences, first of number {overflowing[0]}, "
                f"leave the range of {scores.dtype}: scale X as the training data were"
            )
        return scores

    # Fitting

    def _fit_network(self, sample: Sample) -> None:
        """Train the network on a sample, and keep what its bounds need."""
        X, size = sample.X, int(self.hidden_size)
        cell = CELLS[self.cell](X.shape[2], size, sample.n_outputs, self.activation)
        self._check_input_bound(X)
        self._check_min_eigenvalue(X)
        setting = setting_of(self, cell, weighted=sample.weights is not None)
        start = self._start(sample, cell, setting)
        largest = ROWS if isinstance(self.batch_size, str) else int(self.batch_size)
        with suited_threads(cell.n_features, cell.hidden_size, len(X), largest):
            training, init_seed = self._prepare(sample, cell, setting, start)
            if self.checkpoint is not None:
                self._resume(training, start)
            training.run()
            self._conclude(training, setting, start, init_seed)
        if training.checkpoint is not None:
            training.checkpoint.remove()

    def _start(self, sample: Sample, cell: Cell, setting: Setting) -> _Start:
        """What the previous fit and `prior` have left for the fit of a sample."""
        previous = getattr(self, "_certifier", None) if self.warm_start else None
        if previous is not None:
            self._check_alike("warm_start", _form(cell), _form(previous.cell))
        prior = self.prior.estimator if isinstance(self.prior, FrozenEstimator) else self.prior
        if prior is None:
            return _Start(previous, None)
        if prior is self:
            raise ValueError("prior must be another classifier, fitted on other data")
        if not isinstance(prior, RecurrentEstimator):
            raise TypeError(f"prior must be an {type(self).__name__}, got {type(prior).__name__}")
        if not hasattr(prior, "_certifier"):
            raise ValueError(
                "prior is not fitted; if it was cloned, wrap the fitted classifier in "
                "sklearn.frozen.FrozenEstimator, which cloning leaves as it is"
            )
        learned: Certifier = prior._certifier
        ours = *_form(cell), cell.activation, setting.unit_types
        theirs = *_form(learned.cell), learned.cell.activation, learned.setting.unit_types
        self._check_alike("prior", ours, theirs)
        self._check_outputs("prior", prior)
        if learned.recognises(as_tensor(sample.X), torch.from_numpy(sample.targets)):
            raise ValueError(
                "prior was fitted on these very data; its weights must come from data disjoint "
                "from those of fit, or no bound that uses them holds"
            )
        return _Start(previous, Reference(learned.weights, learned.n_learned))

    def _check_alike(self, name: str, ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> None:
        """Raise ValueError unless the weights of another fit suit this one."""
        if ours != theirs:
            raise ValueError(
                f"{name} needs weights of the same cell, features per step, hidden_size and number "
                "of classes, and a prior also activation and unit_types: "
                f"{ours} here, {theirs} there"
            )

    def _check_outputs(self, name: str, other: Any) -> None:
        """Raise ValueError unless the outputs of another estimator mean the same."""

    def _prepare(
        self, sample: Sample, cell: Cell, setting: Setting, start: _Start
    ) -> tuple[Training, int]:
        """The training, ready to run, and the seed of the weights that no data have touched."""
        device = resolve_device(self.device)
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=5)
        init_seed, noise_seed, shuffle_seed, evaluation_seed, split_seed = map(int, seeds)
        data, validation = self._resident_data(sample, device, split_seed)
        prior = start.prior
        box = Box.of(setting, None if prior is None else prior.weights, data.X)
        constraints = WeightConstraints.of(cell, setting, box)
        learned = start.previous or prior
        weights = (
            constraints.initial_weights(init_seed)
            if learned is None
            else {name: torch.tensor(weight) for name, weight in learned.weights.items()}
        )
        module = RecurrentNetwork(
            cell, {name: weight.to(device, data.X.dtype) for name, weight in weights.items()}
        )
        constraints.project_(module.weights)
        if self.fisher_rao_max is not None and cell.linearized_readout(module.weights, 1) is None:
            raise ValueError(f"fisher_rao_max bounds the linearised norm, and {cell} has none")
        optimizer, options = OPTIMIZERS[self.optimizer]
        net = RecurrentNet(
            module,
            self._criterion(),
            batch_size=self._effective_batch_size(len(data)),
            optimizer=optimizer,
            lr=float(self.learning_rate),
            optimizer__weight_decay=float(self.weight_decay),
            **{f"optimizer__{key}": option for key, option in options.items()},
            callbacks=self.callbacks,
        ).initialize()
        generators = {"noise": torch.Generator(device).manual_seed(noise_seed)}
        if self.shuffle:
            generators["shuffle"] = torch.Generator().manual_seed(shuffle_seed)
        training = Training(
            net=net,
            data=data,
            validation=validation,
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            constraints=constraints,
            fisher_rao_max=setting.fisher_rao_max,
            noise=training_noise(setting),
            evaluation_seed=evaluation_seed,
            generators=generators,
            clip_norm=self.gradient_clip_norm,
            clip_value=self.gradient_clip_value,
            after_epoch=self._progress(net, data),
        )
        previous = start.previous
        return training, init_seed if previous is None else previous.init_seed

    def _criterion(self) -> torch.nn.Module:
        """Loss of every sample."""
        # Only fit checks that the ramp loss has a margin, and parameters may change after it.
        if self.loss == "ramp" and not isinstance(self.margin, str):
            return RampLoss(float(self.margin))
        return torch.nn.CrossEntropyLoss(reduction="none")

    def _resume(self, training: Training, start: _Start) -> None:
        """Give the training its checkpoint, and go on from there where it was interrupted."""
        net, data, validation = training.net, training.data, training.validation
        settings = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in _READ_BEFORE_TRAINING
        }
        # The order of summation depends on the device and the threads.
        settings |= {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "device": net.module_.theta.device.type,
            "margin": getattr(net.criterion_, "margin", None),
            "threads": torch.get_num_threads(),
        }
        prior = [] if start.prior is None else list(start.prior.weights.values())
        tensors = [
            *(data.X, data.targets, data.weights, data.rows),
            None if validation is None else validation.rows,
            net.module_.theta,
            *map(torch.tensor, prior),
        ]
        training.checkpoint = Checkpoint(self.checkpoint, fingerprint(settings, tensors))
        state = training.checkpoint.read()
        if state is not None:
            training.restore(state)
            if self.verbose:
                epoch = len(training.record.loss_curve)
                print(f"resumed at epoch {epoch} from {training.checkpoint.path}", flush=True)

    def _conclude(
        self, training: Training, setting: Setting, start: _Start, init_seed: int
    ) -> None:
        """Set what a fit leaves."""
        net, data, record = training.net, training.data, training.record
        cell, prior = net.module_.cell, start.prior
        known = setting.min_eigenvalue_known
        statistics = sample_statistics(
            cell,
            net.module_.weights,
            data.X,
            data.targets,
            setting,
            seed=training.evaluation_seed,
            min_eigenvalue=float(self.min_eigenvalue) if known else None,
            box=training.constraints.box,
            n_reference=0 if prior is None else prior.n_samples,
            memory=self.memory,
            verbose=self.verbose,
        )
        if hasattr(self, "_certifier"):
            # Another cell may have other names.
            for name in self._certifier.weights:
                delattr(self, f"{name}_")
        self._certifier = Certifier(
            cell=cell,
            weights={
                name: weight.cpu().numpy().copy() for name, weight in net.module_.weights.items()
            },
            statistics=statistics,
            setting=setting,
            prior=prior,
            n_learned=len(data.targets) + start.n_learned,
            init_seed=init_seed,
            evaluation_seed=training.evaluation_seed,
        )
        self._show(net)
        self.beta_u_ = statistics.beta_u
        self.beta_w_ = statistics.beta_w
        self.beta_v_ = statistics.beta_v
        self.n_iter_ = len(record.loss_curve)
        self.loss_curve_ = record.loss_curve
        self.best_loss_ = None if self.early_stopping else min(record.loss_curve)
        self.validation_scores_ = record.validation_scores if self.early_stopping else None
        if not record.converged:
            warnings.warn(
                f"max_iter={self.max_iter} epochs reached, and training has not converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _show(self, net: RecurrentNet) -> None:
        """Set the attributes that show the net and the weights."""
        self.net_ = net
        self.device_ = net.device
        for name, weight in self._certifier.weights.items():
            setattr(self, f"{name}_", weight)

    def _check_input_bound(self, X: np.ndarray) -> None:
        if self.input_bound is None:
            return
        largest = max(float(X.max()), -float(X.min()))
        if largest > self.input_bound:
            raise ValueError(
                f"input_bound={self.input_bound:g} does not hold: X has an entry of magnitude "
                f"{largest:g}. Scale or clip X, by a rule fixed before the data were seen"
            )

    def _check_min_eigenvalue(self, X: np.ndarray) -> None:
        if isinstance(self.min_eigenvalue, str) or self.min_eigenvalue == 0:
            return
        mean_square = float(np.einsum("ntd,ntd->", X, X, dtype=np.float64)) / X.size
        # No more than the mean of all eigenvalues in the population, of which this is an estimate.
        if self.min_eigenvalue > 2 * mean_square:
            warnings.warn(
                f"min_eigenvalue={self.min_eigenvalue:g} is far above the mean squared entry of X, "
                f"{mean_square:.4g}, which it cannot exceed in the population: bounds that use it "
                "will hardly hold",
                stacklevel=5,
            )

    def _resident_data(
        self, sample: Sample, device: torch.device, split_seed: int
    ) -> tuple[Sequences, Sequences | None]:
        """Training data, on the device if it has room for them, and the validation part."""
        inputs = as_tensor(sample.X)
        if has_room(device, inputs.nbytes):
            inputs = inputs.to(device)
        numbers = torch.from_numpy(sample.targets).to(inputs.device)
        weights = None if sample.weights is None else as_tensor(sample.weights).to(inputs)
        if not self.early_stopping:
            return Sequences(inputs, numbers, weights), None
        try:
            parts = train_test_split(
                np.arange(len(sample.targets)),
                test_size=float(self.validation_fraction),
                stratify=sample.targets,
                random_state=split_seed,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold out validation_fraction={self.validation_fraction} of "
                f"every class: {error}"
            ) from error
        rows, held_out = (torch.from_numpy(np.sort(part)).to(inputs.device) for part in parts)
        return (
            Sequences(inputs, numbers, weights, rows),
            Sequences(inputs, numbers, weights, held_out),
        )

    def _effective_batch_size(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(ROWS, n)
        if self.batch_size > n:
            warnings.warn(
                f"batch_size={self.batch_size} is larger than the training sample and is clipped "
                f"to {n}.",
                stacklevel=6,
            )
        return min(int(self.batch_size), n)

    def _progress(self, net: RecurrentNet, data: Sequences) -> Callable[[TrainingRecord], None]:
        """Function that prints the line of an epoch, or does nothing."""

        def print_line(record: TrainingRecord) -> None:
            predicted = net.scores(data.X).argmax(1).to(data.targets.device)
            error = float((predicted != data.targets).double().mean())
            norms = ", ".join(
                f"{name} {row_norm(weight.cpu().numpy()):.3g}"
                for name, weight in net.module_.weights.items()
            )
            line = (
                f"epoch {len(record.loss_curve):>4}/{self.max_iter}"
                f"  loss {record.loss_curve[-1]:8.4f}  train error {error:6.4f}  norms {norms}"
            )
            if record.validation_scores:
                line += f"  validation accuracy {record.validation_scores[-1]:6.4f}"
            print(line, flush=True)

        return print_line if self.verbose else lambda record: None

    # Saving

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if isinstance(state.get("checkpoint"), os.PathLike):
            state["checkpoint"] = os.fspath(state["checkpoint"])
        if "_metadata_request" in state:
            # It refers to the estimator, which skops would follow without end.
            methods = {**vars(state["_metadata_request"])}
            methods.pop("owner")
            state["_metadata_request"] = {name: {**one.requests} for name, one in methods.items()}
        if "_certifier" in state:
            certifier: Certifier = state["_certifier"]
            # Neither the device nor callbacks of the user travel.
            for name in ("net_", "device_", *(f"{name}_" for name in certifier.weights)):
                del state[name]
            state |= {"_certifier": certifier.to_record(), "callbacks": None}
        return {**state, "_format": FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        number = state.pop("_format", None)
        if number != FORMAT:
            raise ValueError(
                f"this {type(self).__name__} was saved in format {number}, and the installed "
                f"version of sklearn_rnnbound reads format {FORMAT}"
            )
        requests = state.pop("_metadata_request", None)
        super().__setstate__(state)
        if requests is not None:
            metadata = self._get_metadata_request()
            for method, aliases in requests.items():
                for param, alias in aliases.items():
                    getattr(metadata, method).add_request(param=param, alias=alias)
            self._metadata_request = metadata
        if "_certifier" not in state:
            return
        self._certifier = certifier = Certifier.from_record(state["_certifier"])
        with torch.inference_mode(False):
            weights = {name: torch.tensor(weight) for name, weight in certifier.weights.items()}
            # A device that this machine lacks, or that has no room, is no reason to refuse.
            with suppress(ValueError, RuntimeError):
                device = resolve_device(self.device)
                weights = {name: weight.to(device) for name, weight in weights.items()}
            module = RecurrentNetwork(certifier.cell, weights)
            self._show(RecurrentNet(module, self._criterion()).initialize())


def _form(cell: Cell) -> tuple[str, int, int, int]:
    """What two cells have in common if their weights fit."""
    return cell.name, cell.n_features, cell.hidden_size, cell.n_classes


def setting_of(estimator: Any, cell: Cell, *, weighted: bool = False) -> Setting:
    """What the parameters of an estimator fix before data are seen, for the cell that it makes."""
    notes = [
        "samples drawn independently from one law",
        "features and hyper-parameters fixed before this sample was seen; a preprocessing "
        "fitted on it, or the choice among candidates, makes the bound an estimate",
    ]
    if weighted:
        notes.append("the risk is the unweighted one, although training was weighted")
    if estimator.early_stopping:
        notes.append("all rows count, those of early stopping's validation part too")

    def number(name: str) -> float | None:
        value = getattr(estimator, name)
        return None if value is None else float(value)

    return Setting(
        beta_u=as_radius("beta_u", estimator.beta_u),
        beta_w=as_radius("beta_w", estimator.beta_w),
        beta_v=as_radius("beta_v", estimator.beta_v),
        unit_types=estimator.unit_types,
        fisher_rao_max=number("fisher_rao_max"),
        input_bound=number("input_bound"),
        box_width=number("box_width"),
        min_eigenvalue_known=estimator.min_eigenvalue != "estimate",
        properties=cell.properties,
        cell=str(cell),
        noise=estimator.noise,
        noise_std=float(estimator.noise_std),
        notes=tuple(notes),
    )


def planned_setting(estimator: RecurrentEstimator) -> Setting:
    """The setting that a fit of these parameters will have."""
    estimator._validate_params()
    estimator._check_parameters()
    # What was proved for a cell does not depend on the numbers of features and classes.
    return setting_of(estimator, CELLS[estimator.cell](1, 1, 2, estimator.activation))
