"""Theorem I: boxes around weights that were learned on other data.

Every weight lies in an interval [lo, hi] that was fixed before the sample was seen. The bound
tends to that of a single network, tested on fresh data, as the intervals shrink. The proof is in
docs/theory/localized.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.margin import complexity_factor, ramp_bound
from sklearn_rnnbound.properties import INTERVAL

__all__ = ["Localized", "box_complexity"]

#: Smallest and largest value of every weight.
Interval = tuple[np.ndarray, np.ndarray]


def box_complexity(
    X_norms: np.ndarray, hidden_norms: np.ndarray, U: Interval, W: Interval, V: Interval
) -> np.ndarray:
    """Bound on n R for every row of V (Theorem I).

    Parameters
    ----------
    X_norms : ndarray of shape (L, d)
        ``X_tj = sqrt(sum_i x_itj^2)``.
    hidden_norms : ndarray of shape (L, m)
        ``sqrt(sum_i h_t,k(x_i)^2)`` of any one network in the box, for steps 1 to L.
    U, W, V : pairs of ndarray of shapes (m, d), (m, m), (k, m)
        Lower and upper ends of the intervals.

    Returns
    -------
    complexity : ndarray of shape (k,)
        ``sum_j (c^V_j D^j_L + (1/2) delta^V_j ||h_L,j||)`` with ``D_0 = 0`` and ``D_t = (1/2)
        delta^U X_t + c^W D_(t-1) + (1/2) delta^W ||h_(t-1)||``; delta is the width of an interval
        and ``c = max(hi, 0) + max(-lo, 0)``.

    Examples
    --------
    >>> point = np.ones((1, 1)), np.ones((1, 1))
    >>> box_complexity(np.array([[2.0]]), np.array([[2.0]]), point, point, point).tolist()
    [0.0]
    """
    half_u, half_w, half_v = (0.5 * (high - low) for low, high in (U, W, V))
    scale_w, scale_v = (np.maximum(high, 0) + np.maximum(-low, 0) for low, high in (W, V))
    D = np.zeros(len(half_w))
    previous = np.zeros(len(half_w))
    for x, h in zip(X_norms, hidden_norms, strict=True):
        D = half_u @ x + scale_w @ D + half_w @ previous
        previous = h
    return scale_v @ D + half_v @ previous


@register
class Localized(BoundRule):
    """Bound for networks in a box around weights learned on disjoint data (Theorem I).

    ``P[M <= 0] <= (1/n) sum Phi_alpha(M_i) + (2/alpha) R + 3 sqrt(ln(2/delta) / (2n))`` for two
    classes, with R for the scalar score; for more, ``(4/alpha) sum_y R_y``.
    """

    name = "localized"
    needs_property = INTERVAL

    def obstacle(self, setting: Setting) -> str | None:
        """A cell that it is not proved for, or no box."""
        if obstacle := super().obstacle(setting):
            return obstacle
        if setting.box_width is None:
            return (
                "localized needs weights learned on other data: pass prior=FrozenEstimator(clf) "
                "and box_width"
            )
        return None

    @np.errstate(over="ignore", invalid="ignore")
    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``complexity`` and ``confidence``."""
        box = sample.box
        assert box is not None  # a setting with a box has held the weights in it
        U, W, V = (
            (box.lower[name].astype(np.float64), box.upper[name].astype(np.float64))
            for name in "UWV"
        )
        factor = complexity_factor(sample.n_classes)
        if sample.n_classes == 2:
            (low_0, low_1), (high_0, high_1) = V
            V = (low_1 - high_0)[None], (high_1 - low_0)[None]
        else:
            # 4 sum_y R_y in place of 4 k max_y R_y.
            factor = 4.0
        X_norms = np.sqrt(sample.clean.square_sums)
        # nan where inf met zero on the way: the assembly reads it as inf.
        complexity = float(box_complexity(X_norms, box.hidden_norms, U, W, V).sum())
        line = (
            f"every weight stays in w (1 +- {box.width / 2:g}) for weights w learned on "
            f"up to {box.n_reference} samples, assumed disjoint from these"
        )
        return ramp_bound(
            self.name,
            setting,
            sample.clean.margins,
            factor * complexity / sample.n_samples,
            share=1.0,
            lines=[line],
        )
