"""Training: a skorch net fed with slices of resident tensors, noise, clipping and projection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping

from sklearn_rnnbound.constraints import WeightConstraints
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    fisher_rao_norm,
    network_scores,
    score_margins,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks

__all__ = [
    "ConstrainedNet",
    "RampLoss",
    "Sequences",
    "Stopping",
    "TrainingRecord",
    "as_tensor",
    "train",
]

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


@dataclass(frozen=True)
class _Memory:
    __array_interface__: dict[str, Any]
    owner: np.ndarray


class Sequences(torch.utils.data.Dataset[Any]):
    """Sequences, class numbers and optional weights, resident on one device.

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
        return Batch((self.X[index], self.targets[index]), weights)


class Batch(tuple):  # type: ignore[type-arg]  # the pair (X, y) that skorch expects
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
        return (losses if self.weights is None else losses * self.weights).mean()


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
        """X plus a fresh draw of the input noise."""
        if self.noise is None or self.noise_generator is None:
            return X
        return X + self.noise.sample(X.shape, generator=self.noise_generator, dtype=X.dtype)

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
            V *= self.fisher_rao_max / norm * (1 - torch.finfo(V.dtype).eps)

    def fisher_rao_norm(self, X: torch.Tensor) -> float:
        """||theta||_fs of X under the noise draw that the bound uses."""
        U, W, V = self.module_.weights
        return fisher_rao_norm(U, W, V, input_chunks(X, len(W), self.noise, self.evaluation_seed))

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


def train(
    net: ConstrainedNet,
    data: Sequences,
    validation: Sequences | None,
    stopping: Stopping,
    after_epoch: Callable[[TrainingRecord], None],
) -> TrainingRecord:
    """Run epochs of an initialised net until its progress stalls.

    With a validation part the weights of its best epoch are restored at the end.

    Parameters
    ----------
    net : ConstrainedNet
        Initialised net, trained in place.
    data : Sequences
        Training data.
    validation : Sequences or None
        Validation part, whose accuracy then decides; it must also be the net's `train_split`.
    stopping : Stopping
        When to end.
    after_epoch : callable
        Called with the record after every epoch.

    Returns
    -------
    record : TrainingRecord
        The course of training.

    Raises
    ------
    ValueError
        If the loss or a weight is not finite.
    KeyboardInterrupt
        On Ctrl-C.
    """
    record = TrainingRecord()
    best, stalled, best_weights = math.inf, 0, None
    net.notify("on_train_begin", X=data, y=None)
    for _ in range(stopping.max_iter):
        try:
            net.fit_loop(data, epochs=1)
        except KeyboardInterrupt:
            if not _ended_by_callback(net):
                raise
            record.converged = True
        if not all(parameter.isfinite().all() for parameter in net.module_.weights):
            raise ValueError(DIVERGED.format(what="a weight"))
        record.loss_curve.append(net.history[-1, "train_loss"])
        if validation is not None:
            X, y = everything = validation[:]
            correct = (net.scores(X).argmax(1) == y).to(X.dtype)
            record.validation_scores.append(float(everything.mean(correct)))
        after_epoch(record)

        # A cost in both cases: the loss, or minus the validation accuracy.
        cost = record.loss_curve[-1] if validation is None else -record.validation_scores[-1]
        stalled = stalled + 1 if cost > best - stopping.tol else 0
        if cost < best:
            best = cost
            if validation is not None:
                best_weights = tuple(parameter.clone() for parameter in net.module_.weights)
        if stalled > stopping.n_iter_no_change:
            record.converged = True
        if record.converged:
            break
    if best_weights is not None:
        net.module_.load_weights(best_weights)
    net.notify("on_train_end", X=data, y=None)
    return record


def _ended_by_callback(net: ConstrainedNet) -> bool:
    """Whether skorch's EarlyStopping has raised KeyboardInterrupt: its way to end training."""
    return any(
        isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
        for _, callback in net.callbacks_
    )
