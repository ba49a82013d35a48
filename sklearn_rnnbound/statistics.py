"""What a bound needs of the data: sums over the sample, margins, the smallest eigenvalue."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from sklearn_rnnbound.network import (
    FisherRaoSums,
    RecurrentNetwork,
    Weights,
    network_scores,
    score_margins,
    theta_derivative,
)
from sklearn_rnnbound.noise import InputNoise, double_blocks, input_chunks

__all__ = [
    "BoxStatistics",
    "HoldoutCounts",
    "InputSums",
    "NetworkNorms",
    "PosteriorErrors",
    "QuantizedErrors",
    "SampleStatistics",
    "box_statistics",
    "gradient_norm",
    "network_norms",
    "sample_statistics",
]


@dataclass(frozen=True)
class InputSums:
    """A sample as the network sees it, X or X + X_eps, reduced to what the bounds use.

    Parameters
    ----------
    margins : ndarray of shape (n,)
        M(x_i, y_i), the score of the label minus the largest other score.
    fisher_rao : float
        ||theta||_fs, the linearised norm that enters the bounds (paper, eq. 2).
    step_abs_sums : ndarray of shape (L,)
        ||X_t^T||_1 = max_j sum_i |x_itj| for every step t.
    square_sums : ndarray of shape (L, d)
        sum_i x_itj^2.
    step_max_sums : ndarray of shape (L,)
        sum_i ||x_it||_inf.
    max_norm : float
        max_{i,t} ||x_it||_2.
    scalar_fisher_rao : float or None
        For two classes the linearised norm of the scalar score y_1 - y_0.
    whitened_norm : float or None
        sqrt(tr(X X^T (C E[x x^T] C)^-1)), with E estimated on the sample; None where it was not.
    energy : pair of floats or None
        For one feature and a fixed decay b: mean and unbiased variance over the samples of
        sum_t b^(L-t) x_it^2.
    """

    margins: np.ndarray
    fisher_rao: float
    step_abs_sums: np.ndarray
    square_sums: np.ndarray
    step_max_sums: np.ndarray
    max_norm: float
    scalar_fisher_rao: float | None = None
    whitened_norm: float | None = None
    energy: tuple[float, float] | None = None

    @property
    def frobenius(self) -> float:
        """||X||_F."""
        return float(np.sqrt(self.square_sums.sum()))

    @property
    def abs_sum(self) -> float:
        """||X^T||_1 = max_{t,j} sum_i |x_itj|."""
        return float(self.step_abs_sums.max())


@dataclass(frozen=True)
class NetworkNorms:
    """Norms of the trained weights that no constraint speaks of.

    Parameters
    ----------
    hidden_size : int
        m.
    spectral_u, spectral_w, spectral_v : float
        Largest singular values of U, W and V.
    path_norm : float
        Largest row sum of sum_t |V| |W|^(L-t) |U|; for two classes that of V_1 - V_0.
    """

    hidden_size: int
    spectral_u: float
    spectral_w: float
    spectral_v: float
    path_norm: float


@dataclass(frozen=True)
class BoxStatistics:
    """A box of weights around weights learned on other data.

    Parameters
    ----------
    lower, upper : tuple of ndarray of shapes (m, d), (m, m), (k, m)
        Ends of the intervals of U, W and V.
    hidden_norms : ndarray of shape (L, m)
        sqrt(sum_i h_t,k(x_i)^2) of the centre of the box, for steps 1 to L.
    width : float
        Relative width of the intervals.
    n_prior : int
        Number of samples that the centre was learned on.
    """

    lower: tuple[np.ndarray, ...]
    upper: tuple[np.ndarray, ...]
    hidden_norms: np.ndarray
    width: float
    n_prior: int


@dataclass(frozen=True)
class HoldoutCounts:
    """Errors on held-out data.

    Parameters
    ----------
    n_errors, n_samples : int
        Number of errors, and of samples.
    """

    n_errors: int
    n_samples: int


@dataclass(frozen=True)
class QuantizedErrors:
    """The network with quantised weights.

    Parameters
    ----------
    bits : int
        Bits of a non-zero entry.
    length : float
        Length of the whole description in nats.
    n_errors : int
        Number of errors on the training sample.
    reference : str
        What the description starts from, in words.
    test_error : float or None
        Share of errors on test data, where they were given.
    """

    bits: int
    length: float
    n_errors: int
    reference: str
    test_error: float | None = None


@dataclass(frozen=True)
class PosteriorErrors:
    """The randomised classifier on the training sample.

    Parameters
    ----------
    std : float
        Standard deviation of the Gaussian posterior around the trained weights.
    squared_distance : float
        ||theta - theta_0||_2^2 to the centre of the prior.
    n_weights : int
        Number of weights.
    error : float
        Share of errors over the draws.
    n_draws : float
        Number of independent draws that the Monte-Carlo bound may count.
    prior : str
        Where the prior stands, in words.
    test_error : float or None
        Share of errors of draws on test data, where they were given.
    """

    std: float
    squared_distance: float
    n_weights: int
    error: float
    n_draws: float
    prior: str
    test_error: float | None = None


@dataclass(frozen=True)
class SampleStatistics:
    """A sample and the weights trained on it, reduced to what the bounds use.

    Parameters
    ----------
    n_classes : int
        k.
    clean : InputSums
        Of the sample as it was given.
    noisy : InputSums or None
        Of the sample under one fresh draw of the training noise; None without noise.
    min_eigenvalue : float
        Smallest eigenvalue of the uncentred second moment, known or estimated.
    beta_u, beta_w, beta_v : float or pair of floats
        Row norms that the weights reached, as sign budgets where the constraint is a pair.
    network : NetworkNorms
        Other norms of the weights.
    box : BoxStatistics or None
        The box that the weights were held in.
    holdout : HoldoutCounts or None
        Errors on held-out data.
    quantized : tuple of QuantizedErrors
        The network under several quantisations.
    posterior : PosteriorErrors or None
        The randomised classifier.
    fisher_rao_gradient : float
        ||theta||_fr for the cross-entropy loss (paper, Lemma 2), of the sample as the network saw
        it in training; no bound uses it.
    """

    n_classes: int
    clean: InputSums
    noisy: InputSums | None
    min_eigenvalue: float
    beta_u: float | tuple[float, float]
    beta_w: float | tuple[float, float]
    beta_v: float | tuple[float, float]
    network: NetworkNorms
    box: BoxStatistics | None = None
    holdout: HoldoutCounts | None = None
    quantized: tuple[QuantizedErrors, ...] = ()
    posterior: PosteriorErrors | None = None
    fisher_rao_gradient: float = float("nan")

    @property
    def train_error(self) -> float:
        """Share of the sample with M <= 0."""
        return float(np.mean(self.clean.margins <= 0))

    @property
    def n_samples(self) -> int:
        """Number n of sequences."""
        return len(self.clean.margins)

    @property
    def n_steps(self) -> int:
        """Number L of steps."""
        return len(self.clean.square_sums)

    @property
    def n_features(self) -> int:
        """Number d of features per step."""
        return self.clean.square_sums.shape[1]


def gradient_norm(network: RecurrentNetwork, X: torch.Tensor, targets: torch.Tensor) -> float:
    """||theta||_fr, the root mean square of <theta, d loss / d theta> (paper, Lemma 2).

    Parameters
    ----------
    network : RecurrentNetwork
        The network.
    X : torch.Tensor of shape (n, L, d)
        Sequences.
    targets : torch.Tensor of shape (n,)
        Class numbers, for the cross-entropy loss.

    Returns
    -------
    norm : float
        The norm; it is without unit.
    """
    U, W, V = network.weights
    total, start = 0.0, 0
    for chunk in input_chunks(X):
        scores, derivative = theta_derivative(U, W, V, chunk.to(U), network.activation)
        total += _squared_derivatives(scores, derivative, targets[start : start + len(chunk)])
        start += len(chunk)
    return _root_mean(total, len(X))


def _squared_derivatives(
    scores: torch.Tensor, derivative: torch.Tensor, targets: torch.Tensor
) -> float:
    """Sum of <theta, d loss / d theta>^2 over a block of rows, from <theta, d scores / d theta>."""
    loss_gradient = torch.softmax(scores.double(), 1)
    label = targets[:, None].to(scores.device)
    loss_gradient.scatter_add_(1, label, -torch.ones_like(loss_gradient[:, :1]))
    return float((derivative * loss_gradient).sum(1).square().sum())


def network_norms(U: np.ndarray, W: np.ndarray, V: np.ndarray, n_steps: int) -> NetworkNorms:
    """Norms of weights U (m, d), W (m, m) and V (k, m) over L steps, in float64."""
    U, W, V = (np.ascontiguousarray(weight, dtype=np.float64) for weight in (U, W, V))
    rows = np.abs(V[1:] - V[:1] if len(V) == 2 else V)
    first = np.abs(U).sum(1)
    paths = first
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(n_steps - 1):
            paths = first + np.abs(W) @ paths
        # inf times zero on the way: nothing is known then.
        path_norm = float(np.nan_to_num(rows @ paths, nan=np.inf, posinf=np.inf).max())
    # By torch, whose threads are those of the fit: a second pool of threads would fight with them.
    spectral_u, spectral_w, spectral_v = (
        float(torch.linalg.matrix_norm(torch.tensor(A), 2)) for A in (U, W, V)
    )
    return NetworkNorms(len(W), spectral_u, spectral_w, spectral_v, path_norm)


def _input_sums(
    network: RecurrentNetwork,
    X: torch.Tensor,
    targets: torch.Tensor,
    noise: InputNoise | None,
    seed: int,
    *,
    with_gradient: bool,
    decay: float | None = None,
) -> tuple[InputSums, float]:
    """Sums over X or X under noise, and ||theta||_fr if asked for, in one pass over the rows."""
    U, W, V = network.weights
    n_steps, d = X.shape[1:]
    fisher_rao = FisherRaoSums(U, W, V, n_steps)
    abs_sums = torch.zeros((n_steps, d), dtype=torch.float64, device=U.device)
    square_sums = torch.zeros_like(abs_sums)
    max_sums = torch.zeros_like(abs_sums[:, 0])
    largest = torch.zeros((), dtype=torch.float64, device=U.device)
    margins, energies = [], []
    gradient, start = 0.0, 0
    powers = None
    if decay is not None and d == 1:
        exponents = torch.arange(n_steps - 1, -1, -1, dtype=torch.float64, device=U.device)
        powers = torch.full_like(exponents, decay) ** exponents
    for chunk in input_chunks(X, noise, seed):
        labels = targets[start : start + len(chunk)]
        start += len(chunk)
        inputs = chunk.to(U)
        if with_gradient:
            scores, derivative = theta_derivative(U, W, V, inputs, network.activation)
            gradient += _squared_derivatives(scores, derivative, labels)
        else:
            scores = network_scores(network, inputs)
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
    return sums, _root_mean(gradient, len(X))


def _root_mean(total: float, n: int) -> float:
    """Root of a mean of squares; inf where an overflow has left no number."""
    return math.inf if math.isnan(total) else math.sqrt(total / n)


def _energy(values: torch.Tensor, lost: float) -> tuple[float, float]:
    """Mean, with what each value may have lost, and unbiased variance."""
    if not values.isfinite().all():
        return math.inf, 0.0
    return float(values.mean()) + lost, float(values.var()) if len(values) > 1 else 0.0


def sample_statistics(
    network: RecurrentNetwork,
    X: torch.Tensor,
    targets: torch.Tensor,
    *,
    n_classes: int,
    min_eigenvalue: float,
    whitened_norm: float | None = None,
    norms: tuple[float | tuple[float, float], ...],
    noise: InputNoise | None,
    seed: int,
    decay: float | None = None,
) -> SampleStatistics:
    """Reduce a sample and a trained network to what the bounds use.

    Parameters
    ----------
    network : RecurrentNetwork
        The network.
    X : torch.Tensor of shape (n, L, d)
        Sequences, on the network's device.
    targets : torch.Tensor of shape (n,)
        Class numbers.
    n_classes : int
        k.
    min_eigenvalue : float
        Smallest eigenvalue of the second moment, known or estimated.
    whitened_norm : float or None
        Of the input that the network was trained on, where it was estimated.
    norms : tuple
        The row norms reached by U, W and V.
    noise : InputNoise or None
        Noise of the training.
    seed : int
        Seed of the one noise draw.
    decay : float or None
        Budget b of the recurrence, where it was fixed beforehand.

    Returns
    -------
    statistics : SampleStatistics
        The reduction.
    """
    clean, gradient = _input_sums(
        network, X, targets, None, seed, with_gradient=noise is None, decay=decay
    )
    noisy = None
    if noise is not None:
        noisy, gradient = _input_sums(network, X, targets, noise, seed, with_gradient=True)
    if noisy is None:
        clean = replace(clean, whitened_norm=whitened_norm)
    else:
        noisy = replace(noisy, whitened_norm=whitened_norm)
    U, W, V = (weight.cpu().numpy() for weight in network.weights)
    return SampleStatistics(
        n_classes=n_classes,
        clean=clean,
        noisy=noisy,
        min_eigenvalue=min_eigenvalue,
        beta_u=norms[0],
        beta_w=norms[1],
        beta_v=norms[2],
        network=network_norms(U, W, V, X.shape[1]),
        fisher_rao_gradient=gradient,
    )


def box_statistics(
    lower: Weights,
    upper: Weights,
    center: Weights,
    X: torch.Tensor,
    activation: str,
    *,
    width: float,
    n_prior: int,
) -> BoxStatistics:
    """Reduce a sample to what Theorem I needs of it.

    Parameters
    ----------
    lower, upper : tuple of torch.Tensor of shapes (m, d), (m, m), (k, m)
        Ends of the intervals.
    center : tuple of torch.Tensor
        Any weights in the box.
    X : torch.Tensor of shape (n, L, d)
        Sequences, on the device of the weights.
    activation : {"relu", "tanh"}
        Activation of the hidden units.
    width : float
        Relative width of the intervals.
    n_prior : int
        Number of samples that the centre was learned on.

    Returns
    -------
    statistics : BoxStatistics
        The reduction.
    """
    U, W, _ = (weight.double() for weight in center)
    act = torch.relu if activation == "relu" else torch.tanh
    squares = torch.zeros((X.shape[1], len(W)), dtype=torch.float64, device=X.device)
    active = torch.zeros_like(squares, dtype=torch.bool)
    for chunk in input_chunks(X):
        h = torch.zeros((len(chunk), len(W)), dtype=torch.float64, device=X.device)
        for step, x in enumerate(chunk.double().unbind(1)):
            h = act(x @ U.T + h @ W.T)
            squares[step] += h.square().sum(0)
            active[step] |= h.ne(0).any(0)

    squares += torch.finfo(torch.float64).tiny * len(X) * active.double()

    def arrays(weights: Weights) -> tuple[np.ndarray, ...]:
        return tuple(weight.cpu().numpy() for weight in weights)

    return BoxStatistics(arrays(lower), arrays(upper), squares.sqrt().cpu().numpy(), width, n_prior)
