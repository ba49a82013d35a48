"""The training loop: noise, clipping and projection in every step; it tells skorch's callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from skorch.callbacks import EarlyStopping

from sklearn_rnnbound.cells.fisher_rao import fisher_rao_norm
from sklearn_rnnbound.training.checkpoint import Checkpoint
from sklearn_rnnbound.training.constraints import WeightConstraints
from sklearn_rnnbound.training.data import Batch, Batches, Sequences
from sklearn_rnnbound.training.net import RecurrentNet
from sklearn_rnnbound.training.noise import InputNoise, input_chunks

__all__ = ["Training", "TrainingRecord"]

_VALIDATION_ROWS = 1024
DIVERGED = (
    "Training diverged: {what} is not finite. Lower learning_rate, set gradient_clip_norm (1.0 is "
    "a usual value), or keep the recurrence from growing over the steps with beta_w <= 1; very "
    "large inputs should be scaled."
)


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
    """A network on its way: what trains it, and how far it has come.

    Parameters
    ----------
    net : RecurrentNet
        Initialised net, trained in place.
    data : Sequences
        Training data.
    validation : Sequences or None
        Validation part, whose accuracy then decides when to stop, and whose best epoch gives the
        weights.
    max_iter : int
        Largest number of epochs.
    tol, n_iter_no_change : float and int
        An epoch that does not improve the loss (or the validation accuracy) by more than `tol`
        counts as stalled; after more than `n_iter_no_change` of them in a row training ends, as in
        scikit-learn's MLPClassifier.
    constraints : WeightConstraints
        Constraint set, enforced after every step.
    fisher_rao_max : float or None
        Radius of the linearised Fisher-Rao norm on the training data, enforced by rescaling the
        read-out at the end of every epoch.
    noise : InputNoise or None
        Input noise in training.
    evaluation_seed : int
        Seed of the one noise draw under which the bound, and so the Fisher-Rao norm, is taken.
    generators : dict of torch.Generator
        ``"noise"``, and unless the order of the minibatches is fixed ``"shuffle"``.
    clip_norm, clip_value : float or None
        Largest norm of the whole gradient and largest magnitude of one entry.
    after_epoch : callable
        Called with the record after every epoch.
    checkpoint : Checkpoint or None
        Where the state is written at the ends of epochs.
    record : TrainingRecord
        The course of training.
    """

    net: RecurrentNet
    data: Sequences
    validation: Sequences | None
    max_iter: int
    tol: float
    n_iter_no_change: int
    constraints: WeightConstraints
    fisher_rao_max: float | None
    noise: InputNoise | None
    evaluation_seed: int
    generators: dict[str, torch.Generator]
    clip_norm: float | None = None
    clip_value: float | None = None
    after_epoch: Callable[[TrainingRecord], None] = lambda record: None
    checkpoint: Checkpoint | None = None
    record: TrainingRecord = field(default_factory=TrainingRecord)
    _best: float = math.inf
    _stalled: int = 0
    _best_theta: torch.Tensor | None = None

    def __post_init__(self) -> None:
        module = self.net.module_
        self._cell, self._theta = module.cell, module.theta.data
        self._weights = module.weights
        self._run = self._cell.unrolled(self._theta)
        self._draw = self._theta.new_empty(0)

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.record.converged or len(self.record.loss_curve) >= self.max_iter

    def run(self) -> None:
        """Train until the progress stalls.

        Raises
        ------
        ValueError
            If the loss or a weight is not finite.
        KeyboardInterrupt
            On Ctrl-C.
        """
        parameter = self.net.module_.theta
        # The optimizer and callbacks find here what a pass back has written.
        parameter.grad = torch.zeros_like(parameter)
        self._tell("on_train_begin", X=self.data, y=None)
        while not self.has_ended:
            self._tell("on_epoch_begin", dataset_train=self.data, dataset_valid=self.validation)
            loss = self._run_epoch()
            if not math.isfinite(loss):
                self._diverged("the loss")
            self._log(loss)
            self._run_validation()
            try:
                self._tell("on_epoch_end", dataset_train=self.data, dataset_valid=self.validation)
            except KeyboardInterrupt:
                if not _ended_by_callback(self.net):
                    raise
                self.record.converged = True
            self._end_epoch(loss)
        self._tell("on_train_end", X=self.data, y=None)
        parameter.grad = None
        # Callbacks may have moved the weights after the last step.
        self.constraints.project_(self._weights)
        self.limit_fisher_rao_()

    def _run_epoch(self) -> float:
        """Train for one epoch; its mean loss."""
        net = self.net
        net.module_.train()
        total = self._theta.new_zeros((), dtype=torch.float64)
        for batch in Batches(self.data, net.batch_size, self.generators.get("shuffle")):
            self._tell("on_batch_begin", batch=batch, training=True)
            loss, scores = self._step(batch)
            total += len(batch[1]) * loss.double()
            self._tell_batch("train", batch, loss, scores)
        return float(total / len(self.data))

    def _step(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the optimizer and the projection after it; mean loss and scores."""
        net, gradient = self.net, self.net.module_.theta.grad
        scores = self._forward(batch[0])
        with torch.enable_grad():
            scores.requires_grad_()
            losses = net.criterion_(scores, batch[1].to(scores.device))
            # Shares of the mean, so that its gradient is rounded once.
            share = 1 if batch.weights is None else batch.weights.to(scores.device)
            loss = (losses * (share / len(scores))).sum()
            (score_gradient,) = torch.autograd.grad(loss, scores)
        self._run.backward(self._theta, score_gradient, gradient)
        if self.clip_value is not None:
            gradient.clamp_(-self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            norm = torch.linalg.vector_norm(gradient)
            gradient.mul_((self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        self._tell("on_grad_computed", named_parameters=[("theta", net.module_.theta)], batch=batch)
        net.optimizer_.step()
        self.constraints.project_(self._weights)
        return loss.detach(), scores.detach()

    def _forward(self, X: torch.Tensor) -> torch.Tensor:
        """Scores (b, k) of the minibatch under fresh noise."""
        n_rows, n_steps = X.shape[:2]
        self._run.resize(n_steps, n_rows)
        # The data need not be on the device of the network.
        steps = X.to(self._theta.device).transpose(0, 1)
        if self.noise is None:
            self._run.inputs.copy_(steps)
        else:
            if self._draw.numel() < X.numel():
                self._draw = self._draw.new_empty(X.numel())
            draw = self._draw[: X.numel()].view(X.shape)
            self.noise.sample_(draw, self.generators["noise"])
            torch.add(steps, draw.transpose(0, 1), out=self._run.inputs)
        return self._run.forward(self._theta)

    def _run_validation(self) -> None:
        """Show callbacks the validation part, as skorch does; nobody else looks at its loss."""
        if self.validation is None or not self.net.callbacks:
            return
        for batch in Batches(self.validation, self.net.batch_size):
            self._tell("on_batch_begin", batch=batch, training=False)
            scores = self.net.scores(batch[0])
            loss = batch.mean(self.net.criterion_(scores, batch[1].to(scores.device)))
            self._tell_batch("valid", batch, loss, scores)

    def _tell(self, event: str, **news: Any) -> None:
        """Notify skorch's callbacks, if there are any of the user."""
        if self.net.callbacks:
            self.net.notify(event, **news)

    def _tell_batch(
        self, part: str, batch: Batch, loss: torch.Tensor, scores: torch.Tensor
    ) -> None:
        """Note a minibatch in the history of the net, as skorch does, and notify the callbacks."""
        history = self.net.history
        if self.net.callbacks:
            history.record_batch(f"{part}_loss", loss.item())
            history.record_batch(f"{part}_batch_size", len(batch[1]))
            history.record(f"{part}_batch_count", history[-1].get(f"{part}_batch_count", 0) + 1)
            training = part == "train"
            self.net.notify(
                "on_batch_end", batch=batch, training=training, loss=loss, y_pred=scores
            )

    def _log(self, loss: float) -> None:
        """Note an epoch in the history of the net, as skorch does."""
        history = self.net.history
        if not self.net.callbacks:
            # Else the net has, when it was told of the epoch.
            history.new_epoch()
            history.record("epoch", len(history))
        history.record("train_loss", loss)

    def _end_epoch(self, loss: float) -> None:
        """Look at what the epoch has brought, and decide whether it was the last."""
        record = self.record
        if not self._theta.isfinite().all():
            self._diverged("a weight")
        self.limit_fisher_rao_()
        record.loss_curve.append(loss)
        if self.validation is not None:
            record.validation_scores.append(self._accuracy(self.validation))
        self.after_epoch(record)

        # A cost in both cases: the loss, or minus the validation accuracy.
        cost = loss if self.validation is None else -record.validation_scores[-1]
        self._stalled = self._stalled + 1 if cost > self._best - self.tol else 0
        if cost < self._best:
            self._best = cost
            if self.validation is not None:
                self._best_theta = self._theta.clone()
        if self._stalled > self.n_iter_no_change:
            record.converged = True
        if self.has_ended and self._best_theta is not None:
            self._theta.copy_(self._best_theta)
        if self.checkpoint is not None and (self.has_ended or self.checkpoint.is_due):
            self.checkpoint.write(self.state())

    def _diverged(self, what: str) -> None:
        if self.checkpoint is not None:
            # It would come to the same end again.
            self.checkpoint.remove()
        raise ValueError(DIVERGED.format(what=what))

    def limit_fisher_rao_(self) -> None:
        """Rescale the read-out until ||theta||_fs, under the noise of the bound, is in its radius.

        The norm is linear in the read-out; what is repeated is its rounding.
        """
        if self.fisher_rao_max is None:
            return
        readout = self._cell.of_kind("readout", self._weights)
        while (norm := self._fisher_rao_norm()) > self.fisher_rao_max:
            before = self._theta.clone()
            for V in readout:
                V *= self.fisher_rao_max / norm * (1 - torch.finfo(V.dtype).eps)
            if torch.equal(self._theta, before):
                # Denormal numbers have no digits left to give up.
                for V in readout:
                    V.zero_()

    def _fisher_rao_norm(self) -> float:
        """||theta||_fs of the training data under the noise draw that the bound uses."""
        chunks = input_chunks(self.data.X, self.noise, self.evaluation_seed)
        return fisher_rao_norm(self._cell, self._weights, chunks)

    def _accuracy(self, data: Sequences) -> float:
        """Weighted share of right labels, without noise."""
        correct = 0.0
        for batch in Batches(data, _VALIDATION_ROWS):
            X, y = batch
            right = self.net.scores(X).argmax(1).to(y.device) == y
            correct += len(y) * float(batch.mean(right.double()))
        return correct / len(data)

    def state(self) -> dict[str, Any]:
        """What the epochs to come depend on, beside what the training was made with."""
        return {
            "theta": self._theta,
            "optimizer": self.net.optimizer_.state_dict(),
            "generators": {name: one.get_state() for name, one in self.generators.items()},
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
        """
        self._theta.copy_(state["theta"])
        self.net.optimizer_.load_state_dict(state["optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        self.record = TrainingRecord(**state["record"])
        self._best, self._stalled = state["best"], state["stalled"]
        if state["best_theta"] is not None:
            self._best_theta = state["best_theta"].to(self._theta.device)
        for loss in self.record.loss_curve:
            self._log(loss)


def _ended_by_callback(net: RecurrentNet) -> bool:
    """Whether skorch's EarlyStopping has raised KeyboardInterrupt: its way to end training."""
    return any(
        isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
        for _, callback in net.callbacks_
    )
