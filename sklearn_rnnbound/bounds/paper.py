"""The bounds of Tu, He & Tao, Understanding Generalization in Recurrent Neural Networks (2020).

Notation as in the paper: n samples of L steps with d features, k classes; beta_u, beta_w, beta_v
bound the row l1 norms of U, W, V; r bounds the Fisher-Rao norm; alpha is the margin.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting, Term
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import InputSums, SampleStatistics
from sklearn_rnnbound.bounds.margin import (
    at_best_margin,
    confidence,
    indicator_risk,
    ramp_risk,
)
from sklearn_rnnbound.bounds.union import fixed_or_bin, row_radii
from sklearn_rnnbound.properties import HOMOGENEOUS

__all__ = [
    "NEVER_BELOW_ONE",
    "Theorem2",
    "Theorem3",
    "expected_max_noise",
    "fisher_rao_radius",
    "noise_part",
    "remark6_radius",
    "rms_max_noise",
    "theorem1",
]

#: Why the paper's bounds and their refined forms are vacuous.
NEVER_BELOW_ONE = (
    "Theorems 2 and 3 are at least 1 for every sample and every network: what a large margin "
    "leaves of the empirical term, the difference part adds at least four times over. What they "
    "tell is growth: in sigma, lambda_min, the norms and L."
)


def theorem1(
    *,
    n: int,
    n_steps: int,
    frobenius: float,
    abs_sum: float,
    r: float,
    min_eigenvalue: float,
    beta_u: float,
    beta_w: float,
    beta_v: float,
) -> tuple[float, float]:
    """Bound on the Rademacher complexity of the scores (paper, Theorem 1).

    Parameters
    ----------
    n, n_steps : int
        Number of samples and of steps L.
    frobenius : float
        ``||X||_F``.
    abs_sum : float
        ``||X^T||_1 = max_{t,j} sum_i |x_itj|``.
    r : float
        Radius of the Fisher-Rao norm.
    min_eigenvalue : float
        Smallest eigenvalue of E[x x^T], x flattened to L d entries.
    beta_u, beta_w, beta_v : float
        Row radii of U, W and V.

    Returns
    -------
    linear : float
        ``r ||X||_F / (2 n) * min_eigenvalue^(-1/2)`` (Lemma 3); inf when the eigenvalue is 0.
    difference : float
        ``(1/n) beta_v beta_u ||X^T||_1 * sum_{s=0}^{L-1} (s+1) beta_w^s`` (Lemma 6).

    Examples
    --------
    >>> theorem1(n=4, n_steps=2, frobenius=2.0, abs_sum=3.0, r=1.0, min_eigenvalue=0.25,
    ...          beta_u=1.0, beta_w=0.5, beta_v=2.0)
    (0.5, 3.0)
    """
    if r == 0 or frobenius == 0:
        linear = 0.0
    elif min_eigenvalue == 0:
        linear = math.inf
    else:
        linear = r * frobenius / (2 * n) / math.sqrt(min_eigenvalue)
    difference = power_sum(beta_w, np.arange(1.0, n_steps + 1), beta_v, beta_u, abs_sum, 1 / n)
    return linear, difference


def remark6_radius(
    *, n_steps: int, beta_u: float, beta_w: float, beta_v: float, max_input: float
) -> float:
    """Radius r of the Fisher-Rao norm that the other norms imply (paper, Remark 6).

    Parameters
    ----------
    n_steps : int
        Number of steps L.
    beta_u, beta_w, beta_v : float
        Row radii of U, W and V.
    max_input : float
        B with ||x_t||_inf <= B almost surely; under noise B plus the root of
        E ||eps_t||_inf^2 (Minkowski), since noisy inputs have no almost-sure bound.

    Returns
    -------
    r : float
        ``beta_v beta_u B * sum_{s=0}^{L-1} (s+2) beta_w^s``.

    Examples
    --------
    >>> remark6_radius(n_steps=3, beta_u=1.0, beta_w=1.0, beta_v=1.0, max_input=1.0)
    9.0
    """
    return power_sum(beta_w, np.arange(2.0, n_steps + 2), beta_v, beta_u, max_input)


def expected_max_noise(noise: str, std: float, n_features: int) -> float:
    """E ||eps_t||_inf over d features (paper, Remark 4): exact, or an upper bound for Gaussians.

    Parameters
    ----------
    noise : {"gaussian", "uniform", "laplace"}
        Law of an entry.
    std : float
        Its standard deviation.
    n_features : int
        d.

    Returns
    -------
    expectation : float
        ``std sqrt(2 ln 2d)`` for Gaussian noise, as in Theorem 3; ``a d/(d+1)`` for uniform noise
        on [-a, a]; ``b (1 + 1/2 + ... + 1/d)`` for Laplace noise of scale b.
    """
    if noise == "gaussian":
        return std * math.sqrt(2 * math.log(2 * n_features))
    if noise == "uniform":
        return math.sqrt(3.0) * std * n_features / (n_features + 1)
    return std / math.sqrt(2.0) * math.fsum(1 / j for j in range(1, n_features + 1))


def rms_max_noise(noise: str, std: float, n_features: int) -> float:
    """Root of E ||eps_t||_inf^2 over d features: exact, or an upper bound for Gaussians.

    Parameters
    ----------
    noise : {"gaussian", "uniform", "laplace"}
        Law of an entry.
    std : float
        Its standard deviation.
    n_features : int
        d.

    Returns
    -------
    root : float
        ``std sqrt(2 (1 + ln d))`` for Gaussian noise; ``a sqrt(d/(d+2))`` for uniform noise on
        [-a, a]; ``b sqrt(H_d^2 + H_d^(2))`` for Laplace noise of scale b, with the sums of the
        first d reciprocals and of their squares.
    """
    if noise == "gaussian":
        return std * math.sqrt(2 * (1 + math.log(n_features)))
    if noise == "uniform":
        return math.sqrt(3.0) * std * math.sqrt(n_features / (n_features + 2))
    mean = math.fsum(1 / j for j in range(1, n_features + 1))
    variance = math.fsum(1 / j**2 for j in range(1, n_features + 1))
    return std / math.sqrt(2.0) * math.sqrt(mean**2 + variance)


def noise_part(
    rows: float,
    sample: SampleStatistics,
    setting: Setting,
    *,
    beta_u: float,
    beta_w: float,
    beta_v: float,
) -> tuple[float, str]:
    """What input noise may move a margin by (paper, Theorem 3, Remark 4), and the line about it.

    It is ``rows * sum_t beta_v beta_u beta_w^(L-t) E||eps_t||_inf`` for a margin that reads so many
    rows of V: 2 among the scores of k classes.
    """
    max_noise = expected_max_noise(setting.noise, setting.noise_std, sample.n_features)
    noise = power_sum(beta_w, np.ones(sample.n_steps), rows, beta_v, beta_u, max_noise)
    law = f"{setting.noise} noise of standard deviation {setting.noise_std:g}"
    return noise, f"{law}, one fresh draw per sample"


@register
class Theorem2(BoundRule):
    """Generalization bound of a network trained without noise (paper, Theorem 2).

    With probability 1 - delta, ``P[M <= 0]`` is at most ``(1/n) sum 1[M_i <= alpha]``
    plus ``(4k/alpha)`` times the linear and the difference part of Theorem 1, plus
    ``3 sqrt(ln(2/delta) / (2n))``.
    """

    name = "theorem2"
    needs_property = HOMOGENEOUS

    @np.errstate(over="ignore")
    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``linear``, ``difference`` and ``confidence``."""
        X, n, k = sample.clean, sample.n_samples, sample.n_classes
        given = _premises(sample, setting, X, with_noise=False)
        eigenvalue = sample.min_eigenvalue
        linear, difference = theorem1(
            n=n,
            n_steps=sample.n_steps,
            frobenius=X.frobenius,
            abs_sum=X.abs_sum,
            r=given.r,
            min_eigenvalue=eigenvalue,
            **given.betas,
        )
        risk = indicator_risk(X.margins)

        def terms(alpha: float, log_delta: float) -> tuple[Term, ...]:
            return (
                Term("empirical_risk", risk(alpha), "n^0"),
                Term("linear", 4 * k * linear / alpha, "n^-1/2"),
                Term("difference", 4 * k * difference / alpha, "n^0"),
                Term("confidence", confidence(log_delta, n), "n^-1/2"),
            )

        bound = at_best_margin(
            self.name,
            setting,
            terms,
            share=given.share,
            certified=given.certified,
            lines=given.lines,
        )
        return _vacuous(bound, linear, eigenvalue)


@register
class Theorem3(BoundRule):
    """Generalization bound of a network trained with input noise (paper, Theorem 3, Remark 4).

    With probability 1 - delta, ``P[M <= 0]`` is at most ``(1/n) sum Phi_alpha(M(x_i + eps_i))``
    plus ``(2/alpha) sum_t beta_v beta_u beta_w^(L-t) E||eps_t||_inf`` plus ``(4k/alpha)`` times
    Theorem 1 on the noisy input with ``lambda_min + sigma^2``, plus
    ``3 sqrt(ln(2/delta) / (2n))``.
    """

    name = "theorem3"
    needs_property = HOMOGENEOUS

    def obstacle(self, setting: Setting) -> str | None:
        """A cell that it is not proved for, or training without noise."""
        if obstacle := super().obstacle(setting):
            return obstacle
        if setting.noise_std == 0:
            return "theorem3 is about training with noise, and noise_std is 0"
        return None

    @np.errstate(over="ignore")
    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``linear``, ``difference``, ``noise`` and ``confidence``."""
        assert sample.noisy is not None  # training with noise has seen noisy inputs
        X, n, k = sample.noisy, sample.n_samples, sample.n_classes
        given = _premises(sample, setting, X, with_noise=True)
        # A larger eigenvalue makes the bound smaller: rather too small than inf.
        variance = setting.noise_std * setting.noise_std
        eigenvalue = min(sample.min_eigenvalue + variance, sys.float_info.max)
        noise, line = noise_part(2.0, sample, setting, **given.betas)
        linear, difference = theorem1(
            n=n,
            n_steps=sample.n_steps,
            frobenius=X.frobenius,
            abs_sum=X.abs_sum,
            r=given.r,
            min_eigenvalue=eigenvalue,
            **given.betas,
        )
        risk = ramp_risk(X.margins)

        def terms(alpha: float, log_delta: float) -> tuple[Term, ...]:
            return (
                Term("empirical_risk", risk(alpha), "n^0"),
                Term("linear", 4 * k * linear / alpha, "n^-1/2"),
                Term("difference", 4 * k * difference / alpha, "n^0"),
                Term("noise", noise / alpha, "n^0"),
                Term("confidence", confidence(log_delta, n), "n^-1/2"),
            )

        bound = at_best_margin(
            self.name,
            setting,
            terms,
            share=given.share,
            certified=given.certified,
            lines=(*given.lines, line),
        )
        return _vacuous(bound, linear, eigenvalue)


@dataclass(frozen=True)
class _Premises:
    """What Theorems 2 and 3 take as given: radii, what they cost, and whether they are certain."""

    betas: dict[str, float]
    r: float
    share: float
    certified: bool
    lines: tuple[str, ...]


def _premises(
    sample: SampleStatistics, setting: Setting, inputs: InputSums, *, with_noise: bool
) -> _Premises:
    betas, share, lines = row_radii(sample, setting)
    r, share_r, line_r, r_certified = fisher_rao_radius(
        setting, inputs, sample, betas, with_noise=with_noise
    )
    # Zero is a valid floor of the spectrum whether or not it was estimated.
    eigenvalue_certified = setting.min_eigenvalue_known or sample.min_eigenvalue == 0
    origin = "known beforehand" if setting.min_eigenvalue_known else "estimated on the sample"
    if eigenvalue_certified and not setting.min_eigenvalue_known:
        origin = "all that the sample supports, and valid for every law"
    return _Premises(
        betas,
        r,
        share * share_r,
        r_certified and eigenvalue_certified,
        (*lines, line_r, f"lambda_min = {sample.min_eigenvalue:.4g}, {origin}"),
    )


def fisher_rao_radius(
    setting: Setting,
    inputs: InputSums,
    sample: SampleStatistics,
    betas: dict[str, float],
    *,
    with_noise: bool,
) -> tuple[float, float, str, bool]:
    """Radius r, its share of delta, the line that says so, and whether it is certified."""
    if setting.input_bound is not None:
        max_input, origin = setting.input_bound, f"B = {setting.input_bound:g}"
        if with_noise:
            max_input += rms_max_noise(setting.noise, setting.noise_std, sample.n_features)
            origin += " and the noise"
        r = remark6_radius(n_steps=sample.n_steps, max_input=max_input, **betas)
        return r, 1.0, f"r = {r:.4g} from the norms, {origin} (Remark 6)", True
    if setting.fisher_rao_max is not None:
        r = setting.fisher_rao_max
        # Under Theorem 2 a norm constrained on the noisy sample may be larger on the clean one.
        if inputs.fisher_rao <= r:
            return r, 1.0, f"r = {r:g}, enforced on the sample: an estimate of E", False
    r, share, line = fixed_or_bin("r", None, inputs.fisher_rao)
    return r, share, line + "; an estimate on the sample", False


def _vacuous(bound: Bound, linear: float, eigenvalue: float) -> Bound:
    """The bound, marked as vacuous also where rounding puts its value a little below 1."""
    reason = NEVER_BELOW_ONE
    if not math.isfinite(bound.value):
        why = (
            "the second moment of the input has no positive lower bound (lambda_min = 0), and the "
            "linear part divides by its root"
            if math.isinf(linear) and eigenvalue == 0
            else "a term leaves the range of floating-point numbers, as the norms to the power of "
            "L soon do"
        )
        reason = f"Infinite: {why}. {reason}"
    return replace(bound.explained(reason), vacuous=True)
