"""A sample and the network trained on it, reduced to what the bounds use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_memory

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.bounds._sample import (
    BoxStatistics,
    InputSums,
    NetworkNorms,
    SampleStatistics,
)
from sklearn_rnnbound.bounds.peeling import recurrence_budget
from sklearn_rnnbound.cells import Cell, Weights, score_margins
from sklearn_rnnbound.cells.fisher_rao import (
    FisherRaoSums,
    double_blocks,
    root_mean,
    squared_derivatives,
)
from sklearn_rnnbound.evidence.spectrum import min_eigenvalue as smallest_eigenvalue
from sklearn_rnnbound.evidence.spectrum import whitened_norm
from sklearn_rnnbound.properties import HOMOGENEOUS, INTERVAL
from sklearn_rnnbound.training.constraints import Box, kind_norm
from sklearn_rnnbound.training.net import network_scores
from sklearn_rnnbound.training.noise import InputNoise, input_chunks

__all__ = ["box_statistics", "network_norms", "sample_statistics", "training_noise"]


def training_noise(setting: Setting) -> InputNoise | None:
    """The input noise that a setting speaks of, or None."""
    return InputNoise(setting.noise, setting.noise_std) if setting.noise_std > 0 else None


def sample_statistics(
    cell: Cell,
    weights: Weights,
    X: torch.Tensor,
    targets: torch.Tensor,
    setting: Setting,
    *,
    seed: int,
    min_eigenvalue: float | None = None,
    box: Box | None = None,
    n_reference: int = 0,
    memory: Any = None,
    verbose: bool | int = False,
) -> SampleStatistics:
    """Reduce a sample and a trained network to what the bounds use.

    Parameters
    ----------
    cell, weights : Cell and dict of torch.Tensor
        The trained network.
    X, targets : torch.Tensor of shapes (n, L, d) and (n,)
        Sequences and class numbers.
    setting : Setting
        What was fixed beforehand, the noise of the training among it.
    seed : int
        Seed of the one noise draw.
    min_eigenvalue : float or None
        Smallest eigenvalue of the second moment, known beforehand; None: to be estimated.
    box, n_reference : Box or None, and int
        The box that the weights were held in, and what its centre has learned from.
    memory : str, joblib.Memory or None
        Cache of what depends on the data alone.
    verbose : bool or int
        Whether to say what takes long.

    Returns
    -------
    statistics : SampleStatistics
        The reduction.
    """
    noise, decay = training_noise(setting), recurrence_budget(setting)
    floor, whitened = min_eigenvalue, None
    if floor is None:
        floor, whitened = _second_moment(X, noise, seed, setting, memory, verbose)
    clean, gradient = _input_sums(
        cell, weights, X, targets, None, seed, with_gradient=noise is None, decay=decay
    )
    noisy = None
    if noise is None:
        clean = replace(clean, whitened_norm=whitened)
    else:
        noisy, gradient = _input_sums(cell, weights, X, targets, noise, seed, with_gradient=True)
        noisy = replace(noisy, whitened_norm=whitened)
    arrays = {name: weight.cpu().numpy() for name, weight in weights.items()}
    intervals = None
    if box is not None and INTERVAL in setting.properties:
        intervals = box_statistics(cell, box, X, n_reference)
    return SampleStatistics(
        n_classes=cell.n_classes,
        clean=clean,
        noisy=noisy,
        min_eigenvalue=floor,
        beta_u=kind_norm(cell.of_kind("input", arrays), setting.beta_u),
        beta_w=kind_norm(cell.of_kind("recurrent", arrays), setting.beta_w),
        beta_v=kind_norm(cell.of_kind("readout", arrays), setting.beta_v),
        network=network_norms(cell, weights, X.shape[1]),
        box=intervals,
        fisher_rao_gradient=gradient,
    )


def _second_moment(
    X: torch.Tensor,
    noise: InputNoise | None,
    seed: int,
    setting: Setting,
    memory: Any,
    verbose: bool | int,
) -> tuple[float, float | None]:
    """lambda_min of the sample, and where a bound uses it the exact trace of its linear part."""
    inputs, cached = X.cpu().numpy(), check_memory(memory).cache
    if verbose:
        print("smallest eigenvalue of the second moment ...", flush=True)
    floor = float(cached(smallest_eigenvalue)(inputs))
    if floor == 0 or HOMOGENEOUS not in setting.properties:
        return floor, None
    if verbose:
        print("exact trace of the linear part ...", flush=True)
    if noise is None:
        return floor, float(cached(whitened_norm)(inputs, [inputs]))
    chunks = (chunk.cpu().numpy() for chunk in input_chunks(X, noise, seed))
    return floor, whitened_norm(inputs, chunks, setting.noise_std * setting.noise_std)


def _input_sums(
    cell: Cell,
    weights: Weights,
    X: torch.Tensor,
    targets: torch.Tensor,
    noise: InputNoise | None,
    seed: int,
    *,
    with_gradient: bool,
    decay: float | None = None,
) -> tuple[InputSums, float]:
    """Sums over X or X under noise, and ||theta||_fr if asked for, in one pass over the rows."""
    like = next(iter(weights.values()))
    n_steps, d = X.shape[1:]
    fisher_rao = FisherRaoSums(cell, weights, n_steps)
    abs_sums = torch.zeros((n_steps, d), dtype=torch.float64, device=like.device)
    square_sums = torch.zeros_like(abs_sums)
    max_sums = torch.zeros_like(abs_sums[:, 0])
    largest = torch.zeros((), dtype=torch.float64, device=like.device)
    margins, energies = [], []
    gradient, start = 0.0, 0
    powers = None
    if decay is not None and d == 1:
        exponents = torch.arange(n_steps - 1, -1, -1, dtype=torch.float64, device=like.device)
        powers = torch.full_like(exponents, decay) ** exponents
    for chunk in input_chunks(X, noise, seed):
        labels = targets[start : start + len(chunk)]
        start += len(chunk)
        inputs = chunk.to(like)
        if with_gradient:
            scores, derivative = cell.theta_derivative(weights, inputs)
            gradient += squared_derivatives(scores, derivative, labels)
        else:
            scores = network_scores(cell, weights, inputs)
        margins.append(score_margins(scores, labels))
        for values in double_blocks(inputs):
            fisher_rao.add(values)
            magnitudes = values.abs()
            abs_sums += magnitudes.sum(0)
            max_sums += magnitudes.amax(2).sum(0)
            squares = magnitudes.square_()
            square_sums += squares.sum(0)
            largest = torch.maximum(largest, squares.sum(2).amax())
            if powers is not None:
                energies.append((squares[:, :, 0] * powers).sum(1))
    sample_margins = torch.cat(margins).cpu().numpy()
    # Scores that overflow may leave no margin at all: an error at every margin.
    sample_margins[np.isnan(sample_margins)] = -np.inf
    # Squares may have underflowed; the sums are to be no smaller than the truth.
    lost = torch.finfo(torch.float64).tiny * (abs_sums > 0).double()
    square_sums += len(X) * lost
    norm, scalar_norm = fisher_rao.norms(len(X))
    sums = InputSums(
        margins=sample_margins,
        fisher_rao=norm,
        step_abs_sums=abs_sums.amax(1).cpu().numpy(),
        square_sums=square_sums.cpu().numpy(),
        step_max_sums=max_sums.cpu().numpy(),
        max_norm=float(largest.sqrt()),
        scalar_fisher_rao=scalar_norm,
        energy=None if powers is None else _energy(torch.cat(energies), float(powers @ lost[:, 0])),
    )
    return sums, root_mean(gradient, len(X))


def _energy(values: torch.Tensor, lost: float) -> tuple[float, float]:
    """Mean, with what each value may have lost, and unbiased variance."""
    if not values.isfinite().all():
        return math.inf, 0.0
    return float(values.mean()) + lost, float(values.var()) if len(values) > 1 else 0.0


def network_norms(cell: Cell, weights: Mapping[str, torch.Tensor], n_steps: int) -> NetworkNorms:
    """Norms of weights that no constraint speaks of, over L steps, in float64."""
    doubles = {name: weight.double() for name, weight in weights.items()}

    def spectral(kind: str) -> float:
        matrices = cell.of_kind(kind, doubles)
        return max((float(torch.linalg.matrix_norm(A, 2)) for A in matrices), default=0.0)

    return NetworkNorms(
        hidden_size=cell.hidden_size,
        spectral_u=spectral("input"),
        spectral_w=spectral("recurrent"),
        spectral_v=spectral("readout"),
        path_norm=cell.path_norm(doubles, n_steps),
    )


def box_statistics(cell: Cell, box: Box, X: torch.Tensor, n_reference: int) -> BoxStatistics:
    """What Theorem I needs of X (n, L, d), for a cell whose state is its hidden units."""
    lower, upper = box.ends(X)
    center = {name: torch.tensor(weight).to(X).double() for name, weight in box.center.items()}
    squares = torch.zeros((X.shape[1], cell.hidden_size), dtype=torch.float64, device=X.device)
    active = torch.zeros_like(squares, dtype=torch.bool)
    for chunk in input_chunks(X):
        inputs = chunk.double()
        h = cell.initial_state(inputs)
        for step, x in enumerate(inputs.unbind(1)):
            h = cell.step(center, h, x)
            squares[step] += h.square().sum(0)
            active[step] |= h.ne(0).any(0)

    squares += torch.finfo(torch.float64).tiny * len(X) * active.double()
    return BoxStatistics(
        lower={name: end.cpu().numpy() for name, end in lower.items()},
        upper={name: end.cpu().numpy() for name, end in upper.items()},
        hidden_norms=squares.sqrt().cpu().numpy(),
        width=box.width,
        n_reference=n_reference,
    )
