"""What a bound knows of the data and of the trained weights: sums, margins and norms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_rnnbound.bounds._bound import Norm

__all__ = ["BoxStatistics", "InputSums", "NetworkNorms", "SampleStatistics"]


@dataclass(frozen=True)
class InputSums:
    """A sample as the network sees it, X or X + X_eps, reduced to what the bounds use.

    Parameters
    ----------
    margins : ndarray of shape (n,)
        M(x_i, y_i), the score of the label minus the largest other score.
    fisher_rao : float
        ||theta||_fs, the linearised norm that enters the bounds (paper, eq. 2); nan for a cell that
        has no linearised form.
    step_abs_sums : ndarray of shape (L,)
        ``||X_t^T||_1 = max_j sum_i |x_itj|`` for every step t.
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
        """``||X^T||_1 = max_{t,j} sum_i |x_itj|``."""
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
        Largest row sum of ``sum_t |V| |W|^(L-t) |U|``; for two classes that of V_1 - V_0.
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
    lower, upper : dict of ndarray
        Ends of the intervals, by the names ``"U"``, ``"W"`` and ``"V"`` of the weights.
    hidden_norms : ndarray of shape (L, m)
        sqrt(sum_i h_t,k(x_i)^2) of the centre of the box, for steps 1 to L.
    width : float
        Relative width of the intervals.
    n_reference : int
        Number of samples that the centre was learned on.
    """

    lower: dict[str, np.ndarray]
    upper: dict[str, np.ndarray]
    hidden_norms: np.ndarray
    width: float
    n_reference: int


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
    fisher_rao_gradient : float
        ||theta||_fr for the cross-entropy loss (paper, Lemma 2), of the sample as the network saw
        it in training; no bound uses it.
    """

    n_classes: int
    clean: InputSums
    noisy: InputSums | None
    min_eigenvalue: float
    beta_u: Norm
    beta_w: Norm
    beta_v: Norm
    network: NetworkNorms
    box: BoxStatistics | None = None
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
