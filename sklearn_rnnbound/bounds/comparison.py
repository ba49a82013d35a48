"""Bounds to compare with: two that are certified, two whose constants are not explicit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting, Term
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds.margin import (
    at_best_margin,
    complexity_factor,
    ramp_terms,
)
from sklearn_rnnbound.bounds.paper import relu_only
from sklearn_rnnbound.bounds.union import row_radii

if TYPE_CHECKING:
    from sklearn_rnnbound.statistics import SampleStatistics

__all__ = [
    "ORDER_ONLY",
    "chen2019",
    "golowich2018",
    "trivial",
    "trivial_complexity",
    "unrolled_complexity",
    "zhang2018",
]


#: Names of the bounds of which only the growth is known.
ORDER_ONLY = frozenset({"zhang2018", "chen2019"})


def unrolled_complexity(
    *,
    n: int,
    n_steps: int,
    n_features: int,
    largest: float,
    beta_u: float,
    beta_w: float,
    beta_v: float,
) -> float:
    """Golowich, Rakhlin & Shamir (2018), Theorem 2, on the unrolled network.

    Parameters
    ----------
    n, n_steps, n_features : int
        Number of samples, of steps L and of features d.
    largest : float
        ``max_{t,j} sqrt(sum_i x_itj^2)``.
    beta_u, beta_w, beta_v : float
        Row radii of U, W and V.

    Returns
    -------
    complexity : float
        ``(beta_v b_L / n) sqrt(2 ((L+1) ln 2 + ln(L d))) * largest`` with ``b_1 = beta_u`` and
        ``b_t = beta_w b_(t-1) + 2 beta_u``: the later inputs travel through the layers as x+, x-.

    Examples
    --------
    >>> round(unrolled_complexity(n=1, n_steps=1, n_features=1, largest=1.0, beta_u=1.0,
    ...                           beta_w=1.0, beta_v=1.0), 4)  # sqrt(4 ln 2)
    1.6651
    """
    weights = np.full(n_steps, 2.0)
    weights[-1] = 1.0
    root = math.sqrt(2 * ((n_steps + 1) * math.log(2) + math.log(n_steps * n_features)))
    return power_sum(beta_w, weights, beta_v, beta_u, largest, root, 1 / n)


def golowich2018(sample: SampleStatistics, setting: Setting) -> Bound:
    """Feed-forward bound of Golowich, Rakhlin & Shamir (2018) on the unrolled network.

    Parameters
    ----------
    sample : SampleStatistics
        What the data and the weights contribute.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Certified; terms ``empirical_risk``, ``complexity`` and ``confidence``.

    Raises
    ------
    NotApplicableError
        For an activation other than relu, which cannot carry the inputs forward.
    """
    relu_only("golowich2018", setting)
    betas, share, lines = _norms(sample, setting)
    complexity = unrolled_complexity(
        n=sample.n_samples,
        n_steps=sample.n_steps,
        n_features=sample.n_features,
        largest=float(np.sqrt(sample.clean.square_sums.max())),
        **betas,
    )
    return _assembled("golowich2018", "n^-1/2", sample, setting, complexity, share, lines)


def trivial_complexity(
    step_max_sums: np.ndarray, *, n: int, beta_u: float, beta_w: float, beta_v: float
) -> float:
    """Largest mean magnitude of a score: no complexity exceeds it.

    Parameters
    ----------
    step_max_sums : ndarray of shape (L,)
        ``sum_i max_j |x_itj|`` of every step.
    n : int
        Number of samples.
    beta_u, beta_w, beta_v : float
        Row radii of U, W and V.

    Returns
    -------
    complexity : float
        ``(1/n) sum_i sum_t beta_v beta_u beta_w^(L-t) ||x_it||_inf``.

    Examples
    --------
    >>> trivial_complexity(np.array([2.0, 4.0]), n=2, beta_u=1.0, beta_w=0.5, beta_v=1.0)
    2.5
    """
    return power_sum(beta_w, step_max_sums[::-1], beta_v, beta_u, 1 / n)


def trivial(sample: SampleStatistics, setting: Setting) -> Bound:
    """Bound without any learning theory: scores cannot be larger than the norms let them be.

    Parameters
    ----------
    sample : SampleStatistics
        What the data and the weights contribute.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Certified; terms ``empirical_risk``, ``complexity`` and ``confidence``. A bound above it
        says nothing.
    """
    betas, share, lines = _norms(sample, setting)
    complexity = trivial_complexity(sample.clean.step_max_sums, n=sample.n_samples, **betas)
    return _assembled("trivial", "n^0", sample, setting, complexity, share, lines)


def _norms(sample: SampleStatistics, setting: Setting) -> tuple[dict[str, float], float, list[str]]:
    """Radii of U, W and of the score, their share of delta, and the lines that say so."""
    betas, share, lines = row_radii(sample, setting)
    if sample.n_classes == 2 and setting.unit_types == 1:
        # The row V_1 - V_0 of the scalar score.
        betas["beta_v"] *= 2
    return betas, share, lines


def _assembled(
    name: str,
    rate: str,
    sample: SampleStatistics,
    setting: Setting,
    complexity: float,
    share: float,
    lines: list[str],
) -> Bound:
    scaled = complexity_factor(sample.n_classes) * complexity
    terms = ramp_terms(sample.clean.margins, scaled, rate=rate)
    return at_best_margin(name, setting, terms, share=share, certified=True, lines=tuple(lines))


def zhang2018(sample: SampleStatistics, setting: Setting) -> Bound:
    """Order of the bound of Zhang, Lei & Dhillon (2018), in its own units.

    ``max(d, m, k) L^2 ||U||_2 ||V||_2 max(1, ||W||_2^L) / (sqrt(n) alpha)``; constants and the
    scale of the input are left out, so that its growth means something and its value nothing.

    Parameters
    ----------
    sample : SampleStatistics
        What the data and the weights contribute.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Of kind ``"order_only"``, with the one term ``order``.
    """
    norms = sample.network
    size = max(sample.n_features, norms.hidden_size, sample.n_classes)
    last = np.zeros(sample.n_steps + 1)
    last[-1 if norms.spectral_w > 1 else 0] = 1.0
    order = power_sum(
        norms.spectral_w, last, norms.spectral_u, norms.spectral_v, size * sample.n_steps**2
    )
    return _order("zhang2018", order, sample, setting)


def chen2019(sample: SampleStatistics, setting: Setting) -> Bound:
    """Order of the bound of Chen, Li & Zhao (2019), in its own units.

    ``sqrt(number of weights) ||U||_2 ||V||_2 max_t ||x_t||_2 sum_{s<L} ||W||_2^s
    / (sqrt(n) alpha)``, without its logarithms, and without the branch for bounded activations.

    Parameters
    ----------
    sample : SampleStatistics
        What the data and the weights contribute.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Of kind ``"order_only"``, with the one term ``order``.
    """
    norms, m = sample.network, sample.network.hidden_size
    n_weights = m * (sample.n_features + m + sample.n_classes)
    order = power_sum(
        norms.spectral_w,
        np.ones(sample.n_steps),
        norms.spectral_u,
        norms.spectral_v,
        sample.clean.max_norm,
        math.sqrt(n_weights),
    )
    return _order("chen2019", order, sample, setting)


def _order(name: str, order: float, sample: SampleStatistics, setting: Setting) -> Bound:
    margin = 1.0 if setting.margin == "auto" else float(setting.margin)
    value = order / math.sqrt(sample.n_samples) / margin
    return Bound(
        name=name,
        value=value,
        kind="order_only",
        terms=(Term("order", value, "n^-1/2"),),
        margin=margin,
        delta=None,
        assumptions=(
            *setting.notes,
            f"at margin {margin:g}; in its own units, not a probability: to be compared with "
            "itself only",
        ),
        vacuous=False,
        reason="",
    )
