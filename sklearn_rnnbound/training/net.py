"""A network as skorch knows it: a cell with its weights, a loss, slices of resident tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier

from sklearn_rnnbound.cells import Cell, Weights, score_margins
from sklearn_rnnbound.training.data import Batches, Sequences
from sklearn_rnnbound.training.noise import input_chunks

__all__ = ["RampLoss", "RecurrentNet", "RecurrentNetwork", "network_scores"]


class RecurrentNetwork(torch.nn.Module):
    """A cell with its weights.

    Its one parameter is theta, all weights in a row, so that clipping and the optimizer's step are
    single operations.

    Parameters
    ----------
    cell : Cell
        The cell.
    weights : dict of torch.Tensor
        Initial weights, copied; they set the dtype and the device.
    """

    def __init__(self, cell: Cell, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.cell = cell
        self.theta = torch.nn.Parameter(
            torch.cat([weights[name].flatten() for name in cell.weights])
        )

    @property
    def weights(self) -> Weights:
        """Views of the parameter, without gradient."""
        return self.cell.split(self.theta.data)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Scores y of shape (n, k) for sequences X of shape (n, L, d)."""
        if torch.is_grad_enabled():
            return self.cell.scores(self.cell.split(self.theta), X)
        return self.cell.infer(self.weights, X)


def network_scores(
    cell: Cell, weights: Mapping[str, torch.Tensor], X: torch.Tensor
) -> torch.Tensor:
    """Scores (n, k) of X (n, L, d), computed in blocks of rows without gradients."""
    like = next(iter(weights.values()))
    with torch.inference_mode():
        return torch.cat([cell.infer(weights, chunk.to(like)) for chunk in input_chunks(X)])


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


class RecurrentNet(NeuralNetClassifier):
    """skorch classifier that slices its minibatches from resident tensors.

    :class:`~.loop.Training` trains it; skorch's own loop would know neither noise nor constraints.

    Parameters
    ----------
    module : RecurrentNetwork
        The network, on its device.
    criterion : torch.nn.Module
        Loss of every sample, for scores (n, k) and class numbers (n,).
    **kwargs
        Parameters of skorch's net.
    """

    def __init__(self, module: RecurrentNetwork, criterion: torch.nn.Module, **kwargs: Any) -> None:
        super().__init__(
            module,
            criterion=criterion,
            classes=list(range(module.cell.n_classes)),
            device=str(module.theta.device),
            iterator_train=Batches,
            iterator_valid=Batches,
            train_split=None,
            verbose=0,
            **kwargs,
        )

    def get_iterator(self, dataset: Any, training: bool = False) -> Batches:
        """Slice minibatches from resident tensors; foreign data are made resident first."""
        if not isinstance(dataset, Sequences):
            X = torch.as_tensor(np.asarray(dataset.X), device=self.device)
            dataset = Sequences(X, torch.zeros(len(X), dtype=torch.int64, device=X.device))
        return Batches(dataset, self.batch_size)

    def scores(self, X: torch.Tensor) -> torch.Tensor:
        """Scores of shape (n, k), without noise."""
        return network_scores(self.module_.cell, self.module_.weights, X)
