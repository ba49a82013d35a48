"""The bound of Golowich, Rakhlin & Shamir (2018) for feed-forward networks, unrolled in time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.margin import complexity_factor, ramp_bound, score_radii
from sklearn_rnnbound.properties import UNROLLABLE

__all__ = ["Golowich2018", "unrolled_complexity"]


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


@register
class Golowich2018(BoundRule):
    """Feed-forward bound of Golowich, Rakhlin & Shamir (2018) on the unrolled network.

    ``P[M <= 0] <= (1/n) sum Phi_alpha(M_i) + (c/alpha) R + 3 sqrt(ln(2/delta) / (2n))`` with R by
    :func:`unrolled_complexity`, and c = 2 for two classes (scalar score), 4 k else.
    """

    name = "golowich2018"
    needs_property = UNROLLABLE

    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``complexity`` and ``confidence``."""
        radii, share, lines = score_radii(sample, setting)
        complexity = unrolled_complexity(
            n=sample.n_samples,
            n_steps=sample.n_steps,
            n_features=sample.n_features,
            largest=float(np.sqrt(sample.clean.square_sums.max())),
            **radii,
        )
        scaled = complexity_factor(sample.n_classes) * complexity
        return ramp_bound(
            self.name, setting, sample.clean.margins, scaled, share=share, lines=lines
        )
