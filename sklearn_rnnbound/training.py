"""Training: a skorch net fed with slices of resident tensors, noise, clipping and projection."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping

from sklearn_rnnbound.checkpoint import Checkpoint
from sklearn_rnnbound.constraints import WeightConstraints
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    Unrolled,
    Weights,
    fisher_rao_norm,
    network_scores,
    score_margins,
    split_weights,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks

__all__ = [
    "ArrayWeights",
    "ConstrainedNet",
    "RampLoss",
    "Sequences",
    "Stack",
    "Stopping",
    "Training",
    "TrainingRecord",
    "as_tensor",
    "as_tensors",
    "train",
]

#: U (m, d), W (m, m) and V (k, m) as arrays.
ArrayWeights = tuple[np.ndarray, np.ndarray, np.ndarray]

_VALIDATION_ROWS = 1024
DIVERGED = (
    "Training diverged: {what} is not finite. Lower learning_rate, set gradient_clip_norm (1.0 is "
    "a usual value), or keep the recurrence from growing over the steps with beta_w <= 1; very "
    "large inputs should be scaled."
)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """Tensor on the memory of an array, which nobody may write to through it.

    torch warns about a read-only array (a memory map, an array that joblib shares), since it
    cannot keep others from writing; so it is shown the same memory as if it were writable.
    """
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    if array.flags.writeable:
        return torch.from_numpy(array)
    holder = _Memory({**array.__array_interface__, "data": (array.ctypes.data, False)}, array)
    return torch.from_numpy(np.asarray(holder))


def as_tensors(weights: ArrayWeights, like: torch.Tensor | None = None) -> Weights:
    """U, W and V as tensors, of the dtype and on the device of another if there is one."""
    U, W, V = (as_tensor(weight) for weight in weights)
    return (U, W, V) if like is None else (U.to(like), W.to(like), V.to(like))


@dataclass(frozen=True)
class _Memory:
    __array_interface__: dict[str, Any]
    owner: np.ndarray


class Sequences(torch.utils.data.Dataset[Any]):
    """Sequences, class numbers and optional weights, on one device: the network's or the host.

    Parameters
    ----------
    X : torch.Tensor of shape (n, L, d)
        Sequences.
    targets : torch.Tensor of shape (n,)
        Class numbers, int64.
    weights : torch.Tensor of shape (n,) or None
        Sample weights; None: all equal.
    rows : torch.Tensor of int64 or None
        The rows that belong to the data set, so that a part of X needs no copy; None: all.
    """

    def __init__(
        self,
        X: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor | None = None,
        rows: torch.Tensor | None = None,
    ) -> None:
        self.X, self.targets, self.rows = X, targets, rows
        self.weights = weights
        if weights is not None:
            self.weights = weights / (weights if rows is None else weights[rows]).mean()

    def __len__(self) -> int:
        return len(self.targets if self.rows is None else self.rows)

    def __getitem__(self, index: Any) -> Batch:
        if self.rows is not None:
            index = self.rows[index]
        weights = None if self.weights is None else self.weights[index]
        # Several times faster than X[index].
        X = self.X[index] if isinstance(index, slice) else self.X.index_select(0, index)
        return Batch((X, self.targets[index]), weights)


class Batch(tuple[torch.Tensor, torch.Tensor]):
    """The pair (X, y) of a minibatch, with its sample weights."""

    weights: torch.Tensor | None

    def __new__(
        cls, pair: tuple[torch.Tensor, torch.Tensor], weights: torch.Tensor | None
    ) -> Batch:
        """Build the pair and keep the weights beside it."""
        batch = super().__new__(cls, pair)
        batch.weights = weights
        return batch

    def mean(self, losses: torch.Tensor) -> torch.Tensor:
        """Mean loss of the minibatch, under the sample weights."""
        return (losses if self.weights is None else losses * self.weights.to(losses.device)).mean()


@dataclass(frozen=True)
class Batches:
    """Iterable over minibatches of `data`, permuted when a generator is given."""

    data: Sequences
    batch_size: int
    generator: torch.Generator | None = None

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.data)
        order = None
        if self.generator is not None:
            order = torch.randperm(n, generator=self.generator).to(self.data.X.device)
        for start in range(0, n, self.batch_size):
            stop = start + self.batch_size
            yield self.data[slice(start, stop) if order is None else order[start:stop]]


class RampLoss(torch.nn.Module):
    """Ramp loss Phi_alpha of the margin, per sample: what the certificates contain.

    Parameters
    ----------
    margin : float
        alpha.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses (n,) for scores (n, k) and class numbers (n,)."""
        return (1 - score_margins(scores, targets) / self.margin).clamp(0, 1)


class ConstrainedNet(NeuralNetClassifier):
    """skorch classifier whose step adds noise, clips the gradient and projects the weights.

    Parameters
    ----------
    module : RecurrentNetwork
        The network, on its device.
    constraints : WeightConstraints
        Constraint set, enforced after every step.
    fisher_rao_max : float or None
        Radius of the linearised Fisher-Rao norm on the training data, enforced by rescaling V
        at the end of every epoch.
    noise : InputNoise or None
        Input noise in training.
    evaluation_seed : int
        Seed of the one noise draw under which the bound, and so the Fisher-Rao norm, is taken.
    noise_generator, shuffle_generator : torch.Generator or None
        Generators of the noise and of the order of the minibatches; None: fixed order.
    clip_norm, clip_value : float or None
        Largest norm of the whole gradient and largest magnitude of one entry.
    criterion : torch.nn.Module
        Loss of every sample, for scores (n, k) and class numbers (n,).
    **kwargs
        Parameters of skorch's net.
    """

    def __init__(
        self,
        module: RecurrentNetwork,
        *,
        constraints: WeightConstraints,
        fisher_rao_max: float | None = None,
        noise: InputNoise | None = None,
        evaluation_seed: int = 0,
        noise_generator: torch.Generator | None = None,
        shuffle_generator: torch.Generator | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        criterion: torch.nn.Module,
        **kwargs: Any,
    ) -> None:
        self.constraints = constraints
        self.fisher_rao_max = fisher_rao_max
        self.noise = noise
        self.evaluation_seed = evaluation_seed
        self.noise_generator = noise_generator
        self.shuffle_generator = shuffle_generator
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        super().__init__(
            module,
            criterion=criterion,
            iterator_train=Batches,
            iterator_valid=Batches,
            verbose=0,
            **kwargs,
        )

    def get_iterator(self, dataset: Any, training: bool = False) -> Batches:
        """Slice minibatches from resident tensors; foreign data are made resident first."""
        if not isinstance(dataset, Sequences):
            X = torch.as_tensor(np.asarray(dataset.X), device=self.device)
            y = torch.zeros(len(X), dtype=torch.int64, device=X.device)
            dataset = Sequences(X, y)
        return Batches(dataset, self.batch_size, self.shuffle_generator if training else None)

    def with_noise(self, X: torch.Tensor) -> torch.Tensor:
        """X plus a fresh draw of the input noise, on the device of the network."""
        X = X.to(self.device)
        if self.noise is None or self.noise_generator is None:
            return X
        draw = torch.empty_like(X, memory_format=torch.contiguous_format)
        return self.noise.sample_(draw, self.noise_generator).add_(X)

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, torch.Tensor]:
        """Loss and clipped gradient on the noisy minibatch."""
        self._set_training(True)
        X, y = batch
        scores = self.infer(self.with_noise(X), **fit_params)
        loss = batch.mean(self.get_loss(scores, y, X=X, training=True))
        if not math.isfinite(loss.item()):
            raise ValueError(DIVERGED.format(what="the loss"))
        loss.backward()
        parameters = list(self.module_.parameters())
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        return {"loss": loss, "y_pred": scores}

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, torch.Tensor]:
        """One optimizer step, then the projection on the constraint set."""
        step = super().train_step(batch, **fit_params)
        self.constraints.project_(*self.module_.weights)
        return step

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, torch.Tensor]:
        """Loss on a minibatch, without noise."""
        self._set_training(False)
        X, y = batch
        with torch.no_grad():
            scores = self.infer(X, **fit_params)
            loss = batch.mean(self.get_loss(scores, y, X=X))
        return {"loss": loss, "y_pred": scores}

    def on_epoch_end(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Bring the Fisher-Rao norm of the training data within its radius."""
        super().on_epoch_end(net, dataset_train=dataset_train, **kwargs)
        self.limit_fisher_rao_(dataset_train.X)

    def limit_fisher_rao_(self, X: torch.Tensor) -> None:
        """Rescale V until ||theta||_fs of X, under the noise draw of the bound, is in its radius.

        The norm is linear in V; what is repeated is the rounding of V to its dtype.
        """
        if self.fisher_rao_max is None:
            return
        V = self.module_.weights[2]
        while (norm := self.fisher_rao_norm(X)) > self.fisher_rao_max:
            before = V.clone()
            V *= self.fisher_rao_max / norm * (1 - torch.finfo(V.dtype).eps)
            if torch.equal(V, before):
                # Denormal numbers have no digits left to give up.
                V.zero_()

    def fisher_rao_norm(self, X: torch.Tensor) -> float:
        """||theta||_fs of X under the noise draw that the bound uses."""
        U, W, V = self.module_.weights
        return fisher_rao_norm(U, W, V, input_chunks(X, self.noise, self.evaluation_seed))

    def scores(self, X: torch.Tensor) -> torch.Tensor:
        """Scores of shape (n, k), without noise."""
        return network_scores(self.module_, X)


@dataclass(frozen=True)
class Stopping:
    """When training ends; the rule of scikit-learn's MLPClassifier.

    Parameters
    ----------
    max_iter : int
        Largest number of epochs.
    tol : float
        An epoch that does not improve the loss (or the validation accuracy) by more counts as
        stalled.
    n_iter_no_change : int
        Training ends after more stalled epochs in a row than this.
    """

    max_iter: int
    tol: float
    n_iter_no_change: int


@dataclass
class TrainingRecord:
    """What training went through, one entry per epoch.

    Parameters
    ----------
    loss_curve : list of float
        Mean training loss, under the noise.
    validation_scores : list of float
        Validation accuracies, without noise; empty without a validation part.
    converged : bool
        Whether training ended before `max_iter`.
    """

    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    converged: bool = False


@dataclass
class Training:
    """One network on its way: what trains it, and how far it has come.

    Parameters
    ----------
    net : ConstrainedNet
        Initialised net, trained in place.
    data : Sequences
        Training data.
    validation : Sequences or None
        Validation part, whose accuracy then decides when to stop, and whose best epoch gives the
        weights; it must also be the net's `train_split`.
    stopping : Stopping
        When to end.
    after_epoch : callable
        Called with the record after every epoch.
    checkpoint : Checkpoint or None
        Where its state is written at the ends of epochs.
    record : TrainingRecord
        The course of training.
    optimizer_state : dict
        What the optimizer keeps of the weights.
    """

    net: ConstrainedNet
    data: Sequences
    validation: Sequences | None
    stopping: Stopping
    after_epoch: Callable[[TrainingRecord], None]
    checkpoint: Checkpoint | None = None
    record: TrainingRecord = field(default_factory=TrainingRecord)
    optimizer_state: dict[str, torch.Tensor] = field(default_factory=dict)
    _best: float = math.inf
    _stalled: int = 0
    _best_theta: torch.Tensor | None = None

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.record.converged or len(self.record.loss_curve) >= self.stopping.max_iter

    def state(self) -> dict[str, Any]:
        """What the epochs to come depend on, beside what the training was made with."""
        return {
            "theta": self.net.module_.theta.data,
            "optimizer": self.optimizer_state,
            "generators": {
                name: generator.get_state() for name, generator in self._generators().items()
            },
            "record": vars(self.record),
            "best": self._best,
            "stalled": self._stalled,
            "best_theta": self._best_theta,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that a training made in the same way was in.

        Parameters
        ----------
        state : dict
            What :meth:`state` returned at the end of an epoch.

        Raises
        ------
        ValueError
            If it is the state of another training.
        """
        net, theta, generators = self.net, self.net.module_.theta.data, self._generators()
        has_scores = self.validation is not None
        expected = {
            **self.state(),
            "optimizer": _optimizer_state(net),
            "record": vars(TrainingRecord([0.0], [0.0] if has_scores else [])),
            "best_theta": theta if has_scores else None,
        }
        if _form(state) != _form(expected):
            raise ValueError("the state of a training of another form")
        self.record = TrainingRecord(**state["record"])
        if has_scores and len(self.record.validation_scores) != len(self.record.loss_curve):
            raise ValueError("a course of training with losses or scores missing")
        theta.copy_(state["theta"])
        for name, generator in generators.items():
            generator.set_state(state["generators"][name])
        self.optimizer_state = {
            # What is a number is so on the host.
            name: value.to(theta.device) if value.ndim else value
            for name, value in state["optimizer"].items()
        }
        self._best, self._stalled = state["best"], state["stalled"]
        self._best_theta = None if not has_scores else state["best_theta"].to(theta.device)
        for loss in self.record.loss_curve:
            self.log(loss)

    def log(self, loss: float) -> None:
        """Note an epoch in the history of the net, as skorch does."""
        history = self.net.history
        history.new_epoch()
        history.record("epoch", len(history))
        history.record("train_loss", loss)

    def _generators(self) -> dict[str, torch.Generator]:
        generators = {"noise": self.net.noise_generator, "shuffle": self.net.shuffle_generator}
        return {name: one for name, one in generators.items() if one is not None}

    def end_epoch(self, loss: float) -> bool:
        """Whether training has ended with an epoch of this mean loss.

        Parameters
        ----------
        loss : float
            Mean training loss of the epoch.

        Returns
        -------
        ended : bool
            Whether it has ended.

        Raises
        ------
        ValueError
            If the loss or a weight is not finite.
        """
        theta, record = self.net.module_.theta.data, self.record
        if not math.isfinite(loss):
            raise ValueError(DIVERGED.format(what="the loss"))
        if not theta.isfinite().all():
            raise ValueError(DIVERGED.format(what="a weight"))
        self.net.limit_fisher_rao_(self.data.X)
        record.loss_curve.append(loss)
        if self.validation is not None:
            record.validation_scores.append(self._accuracy(self.validation))
        self.after_epoch(record)

        # A cost in both cases: the loss, or minus the validation accuracy.
        cost = loss if self.validation is None else -record.validation_scores[-1]
        self._stalled = self._stalled + 1 if cost > self._best - self.stopping.tol else 0
        if cost < self._best:
            self._best = cost
            if self.validation is not None:
                self._best_theta = theta.clone()
        if self._stalled > self.stopping.n_iter_no_change:
            record.converged = True
        if self.has_ended and self._best_theta is not None:
            theta.copy_(self._best_theta)
        if self.checkpoint is not None and (self.has_ended or self.checkpoint.is_due):
            self.checkpoint.write(self.state())
        return self.has_ended

    def _accuracy(self, data: Sequences) -> float:
        """Weighted share of right labels, without noise."""
        correct = 0.0
        for batch in Batches(data, _VALIDATION_ROWS):
            X, y = batch
            right = self.net.scores(X).argmax(1).to(y.device) == y
            correct += len(y) * float(batch.mean(right.double()))
        return correct / len(data)


class Stack:
    """Networks of one shape that are trained together.

    Each keeps its own data, generators, constraints, clipping and stopping; their weights are the
    rows of one tensor, and what they have in common is one operation for all of them.

    Parameters
    ----------
    trainings : sequence of Training
        The networks, of one shape, activation, dtype, device, kind of optimizer and loss, with
        data of the same number of steps and minibatches.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        # Networks under constraints of one form are projected together.
        self._tie(sorted(trainings, key=_constraint_form))
        net = trainings[0].net
        self._run = Unrolled(net.module_.shape, net.module_.activation, self._theta)
        self._noise = self._theta.new_empty(0)
        settings: dict[tuple[Any, ...], dict[str, Any]] = {}
        for training in self.trainings:
            (group,) = training.net.optimizer_.param_groups
            key = group["lr"], group["weight_decay"]
            settings.setdefault(key, {**group, "params": []})["params"] += group["params"]
        self._optimizer = type(net.optimizer_)(list(settings.values()))
        for training in trainings:
            self._optimizer.state[training.net.module_.theta] = training.optimizer_state

    def _tie(self, trainings: list[Training]) -> None:
        """Make the rows of one tensor the weights, and those of another the gradients."""
        self.trainings = trainings
        parameters = [training.net.module_.theta for training in trainings]
        self._theta = torch.stack([parameter.data for parameter in parameters])
        self._gradient = torch.empty_like(self._theta)
        for parameter, row, gradient in zip(parameters, self._theta, self._gradient, strict=True):
            parameter.data, parameter.grad = row, gradient
        shape = trainings[0].net.module_.shape
        self._weights = split_weights(self._theta, shape)
        self._gradients = split_weights(self._gradient, shape)
        self._clip_norms = self._limits("clip_norm")
        self._clip_values = self._limits("clip_value")
        self._constrained: list[tuple[WeightConstraints, Weights]] = []
        start = 0
        for _, group in groupby(trainings, _constraint_form):
            constraints = [training.net.constraints for training in group]
            part = slice(start, start + len(constraints))
            U, W, V = (weight[part] for weight in self._weights)
            together = WeightConstraints.stacked(constraints, self._theta.device)
            self._constrained.append((together, (U, W, V)))
            start = part.stop

    def _limits(self, name: str) -> torch.Tensor | None:
        """Clipping limits (G, 1), infinite where a network has none; None when none has one."""
        limits = [getattr(training.net, name) for training in self.trainings]
        if not any(limits):
            return None
        return self._theta.new_tensor([[limit or math.inf] for limit in limits])

    def run_epoch(self) -> list[float]:
        """Train every network for one epoch; its mean loss, in the order of `trainings`."""
        nets = [training.net for training in self.trainings]
        total = self._theta.new_zeros(len(nets), dtype=torch.float64)
        sizes = total.new_tensor([len(training.data) for training in self.trainings])
        for net in nets:
            net.module_.train()
        minibatches = (
            net.get_iterator(training.data, training=True)
            for net, training in zip(nets, self.trainings, strict=True)
        )
        for batches in zip(*minibatches, strict=True):
            rows = total.new_tensor([len(targets) for _, targets in batches])
            total += rows * self._step(nets, batches)
        return (total / sizes).tolist()

    def _step(self, nets: list[ConstrainedNet], batches: tuple[Batch, ...]) -> torch.Tensor:
        """One optimizer step for every network; its mean loss."""
        scores, targets, shares = self._forward(nets, batches)
        with torch.enable_grad():
            scores.requires_grad_()
            losses = nets[0].criterion_(scores.flatten(0, 1), targets.flatten()).view_as(shares)
            means = (losses * shares).sum(1)
            (score_gradient,) = torch.autograd.grad(means.sum(), scores)
        self._run.backward(self._weights, score_gradient, self._gradients)
        if self._clip_values is not None:
            self._gradient.clamp_(-self._clip_values, self._clip_values)
        if self._clip_norms is not None:
            norms = torch.linalg.vector_norm(self._gradient, dim=1, keepdim=True)
            # fmin passes over the NaN of a norm that overflows where there is no limit.
            factors = torch.fmin(self._clip_norms / (norms + 1e-6), torch.ones_like(norms))
            self._gradient.mul_(factors)
        self._optimizer.step()
        for constraints, weights in self._constrained:
            constraints.project_(*weights)
        return means.detach()

    def _forward(
        self, nets: list[ConstrainedNet], batches: tuple[Batch, ...]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores (G, b, k), class numbers (G, b), and what a row counts for in the mean loss.

        Minibatches may differ by a few rows: the shorter ones end in rows that count for nothing.
        """
        sizes = [len(targets) for _, targets in batches]
        self._run.resize(len(nets), batches[0][0].shape[1], max(sizes))
        if min(sizes) < max(sizes):
            self._run.inputs.zero_()
        targets = torch.zeros(len(nets), max(sizes), dtype=torch.int64, device=self._theta.device)
        shares = self._theta.new_zeros(targets.shape)
        for net, batch, size, inputs, numbers, share in zip(
            nets, batches, sizes, self._run.inputs, targets, shares, strict=True
        ):
            X, y = batch
            # The data need not be on the device of the network.
            X = X.to(self._theta.device).transpose(0, 1)
            if net.noise is None or net.noise_generator is None:
                inputs[:, :size].copy_(X)
            else:
                draw = self._room(batch[0].shape)
                net.noise.sample_(draw, net.noise_generator)
                torch.add(X, draw.transpose(0, 1), out=inputs[:, :size])
            numbers[:size] = y
            share[:size] = 1 / size if batch.weights is None else batch.weights / size
        return self._run.forward(self._weights), targets, shares

    def _room(self, shape: torch.Size) -> torch.Tensor:
        """Memory for a draw of noise, used again and again."""
        if self._noise.numel() < shape.numel():
            self._noise = self._noise.new_empty(shape.numel())
        return self._noise[: shape.numel()].view(shape)

    def keep(self, kept: Sequence[bool]) -> None:
        """Let networks go, with weights of their own, and go on with the others."""
        for training, stays in zip(self.trainings, kept, strict=True):
            if not stays:
                parameter = training.net.module_.theta
                # Without a gradient the optimizer passes it over.
                parameter.data, parameter.grad = parameter.data.clone(), None
        remaining = [t for t, stays in zip(self.trainings, kept, strict=True) if stays]
        if 0 < len(remaining) < len(kept):
            self._tie(remaining)
        self.trainings = remaining


def _constraint_form(training: Training) -> tuple[Hashable, ...]:
    return training.net.constraints.form


def _form(state: Any) -> Any:
    """Names, types and shapes in a state; of a list, which grows, the types alone."""
    if isinstance(state, dict):
        return {name: _form(part) for name, part in state.items()}
    if isinstance(state, torch.Tensor):
        return state.dtype, state.shape
    return {type(part) for part in state} if isinstance(state, list) else type(state)


def _optimizer_state(net: ConstrainedNet) -> dict[str, torch.Tensor]:
    """What the optimizer of a net keeps of the weights, after a step of its own kind."""
    theta = torch.nn.Parameter(torch.zeros_like(net.module_.theta))
    theta.grad = torch.zeros_like(theta)
    (group,) = net.optimizer_.param_groups
    optimizer = type(net.optimizer_)([{**group, "params": [theta]}])
    optimizer.step()
    return optimizer.state[theta]


def train(
    trainings: Sequence[Training],
    *,
    raises: bool = True,
    on_end: Callable[[int], object] = lambda count: None,
) -> list[ValueError | None]:
    """Train networks of one shape together, in place, each until its progress stalls.

    A network with callbacks of the user must be trained alone; skorch then does it.

    Parameters
    ----------
    trainings : sequence of Training
        The networks, as for :class:`Stack`; one that has ended stays as it is.
    raises : bool
        Whether the first network whose loss or weights are not finite ends it all.
    on_end : callable
        Told how many networks have ended, after an epoch with which some did.

    Returns
    -------
    errors : list of ValueError or None
        What stopped a network, without `raises`: its loss or a weight was not finite.

    Raises
    ------
    ValueError
        If the loss or a weight is not finite, with `raises`.
    KeyboardInterrupt
        On Ctrl-C.
    """
    if len(trainings) == 1 and trainings[0].net.callbacks:
        _train_by_skorch(trainings[0])
        return [None]
    errors: dict[int, ValueError] = {}
    stack = Stack(trainings)
    # One that goes on from its checkpoint may have ended before.
    stack.keep([not training.has_ended for training in trainings])
    while stack.trainings:
        kept = []
        for training, loss in zip(stack.trainings, stack.run_epoch(), strict=True):
            training.log(loss)
            try:
                kept.append(not training.end_epoch(loss))
            except ValueError as error:
                if training.checkpoint is not None:
                    # It would come to the same end again.
                    training.checkpoint.remove()
                if raises:
                    raise
                errors[id(training)] = error
                kept.append(False)
        stack.keep(kept)
        if not all(kept):
            on_end(kept.count(False))
    return [errors.get(id(training)) for training in trainings]


def _train_by_skorch(training: Training) -> None:
    """Train one network by skorch's loop, which calls back after every minibatch."""
    net, data = training.net, training.data
    net.notify("on_train_begin", X=data, y=None)
    ended = False
    while not ended:
        try:
            net.fit_loop(data, epochs=1)
        except KeyboardInterrupt:
            if not _ended_by_callback(net):
                raise
            training.record.converged = True
        ended = training.end_epoch(net.history[-1, "train_loss"])
    net.notify("on_train_end", X=data, y=None)


def _ended_by_callback(net: ConstrainedNet) -> bool:
    """Whether skorch's EarlyStopping has raised KeyboardInterrupt: its way to end training."""
    return any(
        isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
        for _, callback in net.callbacks_
    )
