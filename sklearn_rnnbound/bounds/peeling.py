"""Bounds that decrease with n: the complexity is peeled off step by step.

Notation: ``Z_t = sum_i s_i x_{t,i}`` for random signs s, ``X_tj = sqrt(sum_i x_itj^2)``,
``X_t = max_j X_tj`` and ``A = beta_v beta_u sum_t beta_w^(L-t) X_t``; n R is n times the empirical
Rademacher complexity of the scores. Theorem P peels with an exponential, Theorem Q without; both
hold for every 1-Lipschitz activation that maps 0 to 0. The proofs are in docs/theory/peeling.md.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Norm, Setting, Term
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import InputSums, SampleStatistics
from sklearn_rnnbound.bounds.margin import (
    at_best_margin,
    complexity_factor,
    ramp_bound,
    ramp_risk,
)
from sklearn_rnnbound.bounds.paper import noise_part
from sklearn_rnnbound.bounds.union import fixed_or_bin, row_radii, smallest
from sklearn_rnnbound.properties import HOMOGENEOUS, ROW_LIPSCHITZ

__all__ = [
    "Peeling",
    "UnitType",
    "expected_max_abs",
    "expected_max_positive",
    "path_norm_complexity",
    "population_square",
    "recurrence_budget",
    "theorem_p",
    "theorem_q",
]

# Any lambda gives a valid bound; these, relative to Massart's choice, bracket the best one.
_LAMBDAS = np.geomspace(0.25, 4.0, 65)


def expected_max_abs(X_norms: np.ndarray) -> np.ndarray:
    """Bound on ``E max_j |Z_tj|`` for every step, from the norms X_tj (L, d).

    The smallest of Massart's ``X_t sqrt(2 ln 2d)``, of the log-sum that it relaxes, and of Jensen's
    ``sqrt(sum_j X_tj^2)``.

    >>> expected_max_abs(np.array([[3.0], [0.0]])).tolist()
    [3.0, 0.0]
    """
    jensen = _root_sum_squares(X_norms)
    return np.minimum(jensen, _log_sum(X_norms, n_signs=2))


@np.errstate(over="ignore")
def expected_max_positive(X_norms: np.ndarray) -> np.ndarray:
    """Bound on E max_j max(Z_tj, 0) for every step, from the norms X_tj (L, d).

    The smallest of Massart's ``X_t sqrt(2 ln(d + 1))``, of the log-sum that it relaxes, of ``(1/2)
    sum_j X_tj`` and of ``sqrt((1/2) sum_j X_tj^2)`` (Jensen, for a symmetric Z).

    >>> expected_max_positive(np.array([[3.0], [0.0]])).tolist()
    [1.5, 0.0]
    """
    jensen = np.minimum(0.5 * X_norms.sum(1), math.sqrt(0.5) * _root_sum_squares(X_norms))
    return np.minimum(jensen, _log_sum(X_norms, n_signs=1))


def _root_sum_squares(X_norms: np.ndarray) -> np.ndarray:
    largest = X_norms.max(1)
    ratios = _ratios(X_norms, largest)
    return largest * np.sqrt(np.square(ratios).sum(1))


def _ratios(X_norms: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """X_tj / X_t, and 0 where the whole step is zero."""
    return np.divide(
        X_norms, largest[:, None], out=np.zeros_like(X_norms), where=largest[:, None] > 0
    )


def _log_sum(X_norms: np.ndarray, n_signs: int) -> np.ndarray:
    """X_t inf_mu ln(c + n_signs sum_j exp(mu^2 (X_tj/X_t)^2 / 2)) / mu, c = 1 for one sign."""
    largest = X_norms.max(1)
    squares = np.square(_ratios(X_norms, largest))
    # max(Z, 0) adds the function 0 to the maximum; |Z| has both signs instead.
    constant = 1.0 if n_signs == 1 else 0.0
    massart = math.sqrt(2 * math.log(n_signs * X_norms.shape[1] + constant))
    values = [
        np.log(constant + n_signs * np.exp(0.5 * mu * mu * squares).sum(1)) / mu
        for mu in massart * _LAMBDAS
    ]
    return largest * np.min(values, axis=0)


def theorem_p(
    X_norms: np.ndarray, *, beta_u: float, beta_w: float, beta_v: float, signed: bool
) -> tuple[float, float]:
    """Peeling with an exponential (Theorem P): closed form and exact log-sum.

    Parameters
    ----------
    X_norms : ndarray of shape (L, d)
        X_tj.
    beta_u, beta_w, beta_v : float
        Row radii of U, W and V.
    signed : bool
        Whether `beta_w` is the sum of two sign budgets. For a mere l1 ball every step costs a
        factor 2 in the logarithm.

    Returns
    -------
    closed_form : float
        ``A sqrt(2 ln(4d))``, or ``A sqrt(2 ln(4d sum_t p_t 2^(L-t)))`` with ``p_t = a_t X_t / A``
        for a ball. It bounds n R.
    log_sum : float
        ``inf_lambda ln(4 sum_t p_t 2^(L-t) sum_j exp((lambda a_t X_tj / p_t)^2 / 2)) / lambda``,
        without the power of 2 under budgets; never above the closed form.

    Examples
    --------
    >>> closed, exact = theorem_p(np.full((1, 2), 3.0), beta_u=1.0, beta_w=1.0, beta_v=1.0,
    ...                           signed=True)
    >>> round(closed, 3), exact <= closed
    (6.118, True)
    """
    n_steps, d = X_norms.shape
    largest = X_norms.max(1)
    A = power_sum(beta_w, largest[::-1], beta_v, beta_u)
    if A == 0 or math.isinf(A):
        return A, A
    powers = np.arange(n_steps - 1, -1, -1)
    with np.errstate(divide="ignore"):
        # 0^0 = 1: for beta_w = 0 only the last step is left.
        decay = powers * np.log(beta_w) if beta_w else np.where(powers == 0, 0.0, -np.inf)
        log_p = np.log(largest) + decay
    log_p -= _log_sum_exp(log_p)
    if not signed:
        log_p += math.log(2) * powers
    massart = math.sqrt(2 * (math.log(4 * d) + _log_sum_exp(log_p)))
    squares = np.square(_ratios(X_norms, largest))
    log_sum = min(
        (math.log(4) + _log_sum_exp((log_p[:, None] + 0.5 * mu * mu * squares).ravel())) / float(mu)
        for mu in massart * _LAMBDAS
    )
    return A * massart, A * min(massart, log_sum)


def _log_sum_exp(values: np.ndarray) -> float:
    shift = float(values.max())
    return shift + math.log(float(np.exp(values - shift).sum()))


@dataclass(frozen=True)
class UnitType:
    """Budgets of the hidden units of one type, or the l1 radii that stand in their place.

    Parameters
    ----------
    u : Norm
        Sign budgets (u+, u-) of the rows of U, or their l1 radius.
    w : float
        b = b+ + b-; twice the radius where the rows of W are in an l1 ball only.
    v : Norm
        Sign budgets (v+, v-) of the read-out within the type, or its l1 radius.
    """

    u: Norm
    w: float
    v: Norm


def theorem_q(X_norms: np.ndarray, types: tuple[UnitType, ...]) -> float:
    """Peeling without an exponential (Theorem Q), a bound on n R.

    ``sum_types (v+ + v-) sum_t b^(L-t) (u+ + u-) E max_j max(Z_tj, 0)``; where U is in an l1 ball
    the last two factors are ``beta_u E max_j |Z_tj|``, where V is, the first is ``2 beta_v``.

    Parameters
    ----------
    X_norms : ndarray of shape (L, d)
        X_tj.
    types : tuple of UnitType
        Types of hidden units, without connections between them.

    Returns
    -------
    complexity : float
        The bound, in the units of the scores times samples.

    Examples
    --------
    >>> two = (UnitType((1.0, 0.0), 1.0, (0.5, 0.0)), UnitType((0.0, 1.0), 1.0, (0.0, 0.5)))
    >>> theorem_q(np.array([[3.0], [5.0]]), two)  # half the sum of the X_t
    4.0
    """
    total = 0.0
    for kind in types:
        if isinstance(kind.u, tuple):
            u, steps = sum(kind.u), expected_max_positive(X_norms)
        else:
            u, steps = kind.u, expected_max_abs(X_norms)
        v = sum(kind.v) if isinstance(kind.v, tuple) else 2 * kind.v
        total += power_sum(kind.w, steps[::-1], u, v)
    return total


def path_norm_complexity(X_norms: np.ndarray, path_norm: float, *, non_negative: bool) -> float:
    """Bound on n R from the largest row sum B of ``sum_t |V| |W|^(L-t) |U|``.

    Parameters
    ----------
    X_norms : ndarray of shape (L, d)
        X_tj.
    path_norm : float
        B.
    non_negative : bool
        Whether W >= 0.

    Returns
    -------
    complexity : float
        ``B max_t X_t sqrt(2 ln(4dL))`` for W >= 0, else ``sqrt(2 (ln 4d + L ln 2))``.

    Examples
    --------
    >>> round(path_norm_complexity(np.ones((2, 1)), 1.0, non_negative=True), 4)
    2.0393
    """
    n_steps, d = X_norms.shape
    branches = math.log(n_steps) if non_negative else n_steps * math.log(2)
    root = math.sqrt(2 * (math.log(4 * d) + branches))
    return power_sum(1.0, np.ones(1), path_norm, float(X_norms.max()), root)


def population_square(
    mean: float, variance: float, largest: float, n: int, log_delta: float
) -> float:
    """Empirical Bernstein bound on a mean (Maurer & Pontil 2009, Theorem 4).

    Parameters
    ----------
    mean, variance : float
        Mean and unbiased variance of n samples of a variable.
    largest : float
        R: the variable lies in [0, R].
    n : int
        Number of samples.
    log_delta : float
        ln of the probability with which the bound may fail.

    Returns
    -------
    bound : float
        ``mean + sqrt(2 variance ln(2/delta) / n) + 7 R ln(2/delta) / (3 (n - 1))``.

    Examples
    --------
    >>> round(population_square(0.5, 0.25, 1.0, 101, math.log(2) - 2.0), 4)
    0.6462
    """
    budget = math.log(2) - log_delta
    return mean + math.sqrt(2 * variance * budget / n) + 7 * largest * budget / (3 * (n - 1))


@register
class Peeling(BoundRule):
    """Bound by peeling over time steps: the smallest form that applies.

    ``P[M <= 0] <= (1/n) sum Phi_alpha(M_i) + (c/alpha) R + confidence``, with R the smallest of
    Theorem P, its l1-ball variant, its log-sum and Theorem Q, and c = 2 for two classes (scalar
    score), 4 k else. Forms that hold on other events share delta: under input noise also
    Theorem 3's route; where a norm is not constrained also the path norm (homogeneous cells); for
    two classes, one feature, a fixed `beta_w` and a known `input_bound` also the population form.
    """

    name = "peeling"
    needs_property = ROW_LIPSCHITZ

    @np.errstate(over="ignore", invalid="ignore")
    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``complexity``, perhaps ``noise``, and ``confidence``."""
        forms = [("row norms", lambda part: _row_norms(sample, part, sample.clean))]
        if sample.noisy is not None:
            noisy: InputSums = sample.noisy
            forms.append(("row norms under noise", lambda part: _row_norms(sample, part, noisy)))
        radii = (setting.beta_u, setting.beta_w, setting.beta_v)
        # Its proof rescales the units, which only homogeneous cells commute with.
        if HOMOGENEOUS in setting.properties and None in radii:
            forms.append(("path norm", lambda part: _path_norm(sample, part)))
        if (
            sample.n_classes == 2
            and sample.n_features == 1
            and None not in (setting.beta_w, setting.input_bound)
        ):
            forms.append(("population", lambda part: _population(sample, part)))
        return smallest(setting, forms)


def recurrence_budget(setting: Setting) -> float | None:
    """b = b+ + b- of the rows of W in Theorem Q; None where `beta_w` is not fixed.

    It is the sum of the sign budgets, and twice the radius of a mere l1 ball.
    """
    if setting.beta_w is None:
        return None
    if setting.unit_types == 2:
        return setting.beta_w[0] if isinstance(setting.beta_w, tuple) else setting.beta_w
    return sum(setting.beta_w) if isinstance(setting.beta_w, tuple) else 2 * setting.beta_w


@dataclass(frozen=True)
class _Radii:
    """Norms with which the peeling forms are evaluated, and what they cost."""

    beta_u: float
    beta_w: float
    beta_v: float
    signed: bool
    types: tuple[UnitType, ...]
    share: float
    lines: tuple[str, ...]


def _radii(sample: SampleStatistics, setting: Setting) -> _Radii:
    """Budgets of the score: of f = y_1 - y_0 for two classes, of one row of V else."""
    betas, share, lines = row_radii(sample, setting)
    u, w, v = betas.values()
    budgets_u = setting.beta_u if isinstance(setting.beta_u, tuple) else None
    budgets_w = setting.beta_w if isinstance(setting.beta_w, tuple) else None
    budgets_v = setting.beta_v if isinstance(setting.beta_v, tuple) else None
    if setting.unit_types == 2:
        # Signs are given: a radius is a budget, and the other budget of a pair is not used.
        plus_u, minus_u = budgets_u or (u, u)
        plus_v, minus_v = budgets_v or (v, v)
        u, w = max(plus_u, minus_u), budgets_w[0] if budgets_w else w
        types: tuple[UnitType, ...] = (
            UnitType((plus_u, 0.0), w, (plus_v, 0.0)),
            UnitType((0.0, minus_u), w, (0.0, minus_v)),
        )
        lines.append("two types of hidden units, enforced: U, V >= 0 or <= 0, W >= 0")
        signed = True
    else:
        signed = budgets_w is not None
        score: Norm = budgets_v or v
        if sample.n_classes == 2:
            # V_1 - V_0 has the positive part of V_1 plus the negative part of V_0.
            score = (v, v) if budgets_v else 2 * v
            v = 2 * v
        types = (UnitType(budgets_u or u, w if signed else 2 * w, score),)
    return _Radii(u, w, v, signed, types, share, tuple(lines))


def _complexity(X_norms: np.ndarray, radii: _Radii) -> tuple[float, str]:
    """Smallest bound on n R that the row norms give, and its name."""
    _, log_sum = theorem_p(
        X_norms,
        beta_u=radii.beta_u,
        beta_w=radii.beta_w,
        beta_v=radii.beta_v,
        signed=radii.signed,
    )
    return min(
        (theorem_q(X_norms, radii.types), "Theorem Q"),
        (log_sum, "Theorem P" if radii.signed else "Theorem P for l1 balls"),
    )


def _row_norms(sample: SampleStatistics, setting: Setting, inputs: InputSums) -> Bound:
    radii = _radii(sample, setting)
    complexity, origin = _complexity(np.sqrt(inputs.square_sums), radii)
    noise = None
    lines = [*radii.lines, f"complexity by {origin}"]
    if inputs is sample.noisy:
        # f moves by at most what V_1 - V_0 lets through; a margin among k classes by twice a score.
        rows = 1.0 if sample.n_classes == 2 else 2.0
        betas = {"beta_u": radii.beta_u, "beta_w": radii.beta_w, "beta_v": radii.beta_v}
        noise, line = noise_part(rows, sample, setting, **betas)
        lines.append(line)
    return _by_complexity(
        sample, setting, inputs, complexity, share=radii.share, lines=lines, noise=noise
    )


def _path_norm(sample: SampleStatistics, setting: Setting) -> Bound:
    B, share, line = fixed_or_bin("path norm", None, sample.network.path_norm)
    positive = setting.unit_types == 2 or (
        isinstance(setting.beta_w, tuple) and setting.beta_w[1] == 0
    )
    X_norms = np.sqrt(sample.clean.square_sums)
    complexity = path_norm_complexity(X_norms, B, non_negative=positive)
    return _by_complexity(sample, setting, sample.clean, complexity, share=share, lines=[line])


def _by_complexity(
    sample: SampleStatistics,
    setting: Setting,
    inputs: InputSums,
    complexity: float,
    *,
    share: float,
    lines: list[str],
    noise: float | None = None,
) -> Bound:
    scaled = complexity_factor(sample.n_classes) * complexity / sample.n_samples
    return ramp_bound(
        Peeling.name, setting, inputs.margins, scaled, share=share, lines=lines, noise=noise
    )


def _population(sample: SampleStatistics, setting: Setting) -> Bound:
    """Bound through the population complexity: one deviation instead of three.

    ``n R <= C sqrt(n E Q)`` with ``Q = sum_t b_t^2 x_t^2 / p_t``, ``b_t = beta_w^(L-t)`` and the
    fixed weights ``p_t = b_t / sum_s b_s``; E Q by empirical Bernstein. Half of delta is for the
    risk, half for E Q.
    """
    n, radii = sample.n_samples, _radii(sample, setting)
    # The form is looked at where these are there.
    assert sample.clean.energy is not None
    assert setting.input_bound is not None
    constant = theorem_q(np.ones((1, 1)), radii.types)
    weight = power_sum(radii.types[0].w, np.ones(sample.n_steps))
    mean, variance = sample.clean.energy
    # A square that underflows is rounded up.
    largest = max(setting.input_bound * setting.input_bound, sys.float_info.min) * weight

    risk = ramp_risk(sample.clean.margins)

    def terms(alpha: float, log_delta: float) -> tuple[Term, ...]:
        half = log_delta - math.log(2)
        square = weight * population_square(mean, variance, largest, n, half)
        complexity = constant * math.sqrt(square / n)
        return (
            Term("empirical_risk", risk(alpha), "n^0"),
            Term("complexity", 2 * complexity / alpha, "n^-1/2"),
            Term("confidence", math.sqrt(-half / (2 * n)), "n^-1/2"),
        )

    return at_best_margin(
        Peeling.name,
        setting,
        terms,
        share=radii.share,
        certified=True,
        lines=(
            *radii.lines,
            f"|x| <= {setting.input_bound:g}, known beforehand",
            "complexity by Theorem Q in its population form; half of delta for it",
        ),
    )
