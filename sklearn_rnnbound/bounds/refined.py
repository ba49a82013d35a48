"""The paper's theorems without their slack: the same proofs, stopped before their last steps.

- linear part: the trace of ``X X^T (C E[x x^T] C)^-1`` in place of ``lambda_min^-1/2``;
- difference part: a sum over steps in place of the largest step;
- ramp loss in place of the indicator;
- two classes: the scalar score ``f = y_1 - y_0`` with factor 2 in place of 4 k.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting, Term
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.margin import (
    at_best_margin,
    complexity_factor,
    confidence,
    ramp_risk,
)
from sklearn_rnnbound.bounds.paper import NEVER_BELOW_ONE, fisher_rao_radius, noise_part
from sklearn_rnnbound.bounds.union import fixed_or_bin, row_radii
from sklearn_rnnbound.properties import HOMOGENEOUS

__all__ = ["Refined", "difference_part", "linear_part"]


def linear_part(r: float, whitened_norm: float, n: int) -> float:
    """Linear part of Theorem 1 before its last relaxation, ``(r/n) * whitened_norm``.

    The norm is ``sqrt(tr(X X^T (C E[x x^T] C)^-1))``, or with a floor lambda of the spectrum its
    bound ``sqrt(sum_t ||X_t||_F^2 / c_t^2 / lambda)``. It is never above Lemma 3.
    """
    return 0.0 if r == 0 else r * whitened_norm / n


@np.errstate(over="ignore")
def difference_part(
    step_abs_sums: np.ndarray, *, n: int, beta_u: float, beta_w: float, beta_v: float
) -> float:
    """Difference part of Theorem 1 before its last relaxation; never above Lemma 6.

    Parameters
    ----------
    step_abs_sums : ndarray of shape (L,)
        ``||X_t^T||_1`` of every step.
    n : int
        Number of samples.
    beta_u, beta_w, beta_v : float
        Row radii of U, W and V.

    Returns
    -------
    difference : float
        ``(1/n) beta_v beta_u sum_j (L-j+1) beta_w^(L-j) ||X_j^T||_1``.

    Examples
    --------
    >>> difference_part(np.array([1.0, 2.0]), n=1, beta_u=1.0, beta_w=0.5, beta_v=1.0)
    3.0
    """
    weights = np.arange(1.0, len(step_abs_sums) + 1) * step_abs_sums[::-1]
    return power_sum(beta_w, weights, beta_v, beta_u, 1 / n)


@register
class Refined(BoundRule):
    """Theorem 2, or under noise Theorem 3, without slack; like them it is never below 1.

    ``P[M <= 0] <= (1/n) sum Phi_alpha(M_i) + (c/alpha) (linear + difference) + noise/alpha
    + 3 sqrt(ln(2/delta) / (2n))`` with :func:`linear_part` and :func:`difference_part`, and c = 2
    for two classes (scalar score), 4 k else.
    """

    name = "refined"
    needs_property = HOMOGENEOUS

    @np.errstate(over="ignore")
    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``linear``, ``difference``, ``noise`` and ``confidence``."""
        inputs = sample.noisy or sample.clean
        with_noise = sample.noisy is not None
        n, k = sample.n_samples, sample.n_classes
        scalar = k == 2

        betas, share, lines = row_radii(sample, setting)
        r, share_r, line_r, r_certified = fisher_rao_radius(
            setting, inputs, sample, betas, with_noise=with_noise
        )
        lines.append(line_r)
        # Radii r of the score at hand, each valid with its share of delta.
        radii = [(r, share_r)]
        if scalar:
            # ||V_1 - V_0||_1 <= 2 beta_v, unless class 0 is read out as zero; r likewise.
            rows = 1.0 if setting.unit_types == 2 else 2.0
            betas["beta_v"] *= rows
            radii = [(rows * r, share_r)]
            lines.append("scalar score y_1 - y_0 of two classes")
            if share_r < 1 and inputs.scalar_fisher_rao is not None:
                # The same grid, counted by the norm of the scalar score.
                edge, share_f, _ = fixed_or_bin("r", None, inputs.scalar_fisher_rao / rows)
                radii.append((rows * edge, share_f))

        whitened, moment_certified, line = _whitened(sample, setting)
        lines.append(line)
        difference = difference_part(inputs.step_abs_sums, n=n, **betas)
        noise = None
        if with_noise:
            noise, line = noise_part(1.0 if scalar else 2.0, sample, setting, **betas)
            lines.append(line)
        factor = complexity_factor(k)
        risk = ramp_risk(inputs.margins)

        def bound_for(r: float, share_r: float) -> Bound:
            linear = linear_part(r, whitened, n)

            def terms(alpha: float, log_delta: float) -> tuple[Term, ...]:
                return (
                    Term("empirical_risk", risk(alpha), "n^0"),
                    Term("linear", factor * linear / alpha, "n^-1/2"),
                    Term("difference", factor * difference / alpha, "n^0"),
                    *(() if noise is None else (Term("noise", noise / alpha, "n^0"),)),
                    Term("confidence", confidence(log_delta, n), "n^-1/2"),
                )

            return at_best_margin(
                self.name,
                setting,
                terms,
                share=share * share_r,
                certified=r_certified and moment_certified,
                lines=tuple(lines),
            )

        bound = min((bound_for(*pair) for pair in radii), key=lambda bound: bound.value)
        return replace(bound.explained(NEVER_BELOW_ONE), vacuous=True)


def _whitened(sample: SampleStatistics, setting: Setting) -> tuple[float, bool, str]:
    """Factor of r/n, whether it is certified, and the line that says where it comes from."""
    inputs = sample.noisy or sample.clean
    floor = sample.min_eigenvalue
    if not setting.min_eigenvalue_known and floor > 0 and inputs.whitened_norm is not None:
        return inputs.whitened_norm, False, "E[x x^T] estimated on the sample, exact trace"
    if sample.noisy is not None:
        floor = min(floor + setting.noise_std * setting.noise_std, sys.float_info.max)
    coefficients = np.arange(sample.n_steps + 1.0, 1.0, -1.0)
    weighted = float((inputs.square_sums.sum(1) / np.square(coefficients)).sum())
    line = f"spectrum of the second moment bounded below by {floor:.4g}"
    certified = setting.min_eigenvalue_known or sample.min_eigenvalue == 0
    if weighted == 0:
        return 0.0, certified, line
    return (math.sqrt(weighted) / math.sqrt(floor) if floor else math.inf), certified, line
