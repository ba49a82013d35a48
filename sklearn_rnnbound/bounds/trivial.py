"""The bound that needs no learning theory, to compare the others with."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.margin import complexity_factor, ramp_bound, score_radii
from sklearn_rnnbound.properties import ROW_LIPSCHITZ

__all__ = ["Trivial", "trivial_complexity"]


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


@register
class Trivial(BoundRule):
    """Bound without any learning theory: scores cannot be larger than the norms let them be.

    ``P[M <= 0] <= (1/n) sum Phi_alpha(M_i) + (c/alpha) R + 3 sqrt(ln(2/delta) / (2n))`` with R by
    :func:`trivial_complexity`, and c = 2 for two classes (scalar score), 4 k else. A bound above it
    says nothing.
    """

    name = "trivial"
    needs_property = ROW_LIPSCHITZ

    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``complexity`` and ``confidence``."""
        radii, share, lines = score_radii(sample, setting)
        complexity = trivial_complexity(sample.clean.step_max_sums, n=sample.n_samples, **radii)
        scaled = complexity_factor(sample.n_classes) * complexity
        return ramp_bound(
            self.name,
            setting,
            sample.clean.margins,
            scaled,
            share=share,
            lines=lines,
            rate="n^0",
        )
