"""Sums of powers and inversions of kl that neither overflow nor round to the wrong side."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import rel_entr

__all__ = ["end_of", "kl_inverse", "log_of", "power_sum"]

_KL_ROUNDING = 1e-15
# A product of six numbers in this range neither overflows nor loses digits on the way.
_PLAIN = 1e-50, 1e50


def power_sum(beta_w: float, weights: np.ndarray, *factors: float) -> float:
    """Product of the factors and of sum_{s=0}^{L-1} weights_s beta_w^s, all of them >= 0.

    The sum alone may overflow, or the factors underflow, where the product does not: beyond a safe
    range it is taken in logarithms, and it is inf where the product itself overflows. The weights
    (L,) begin with that of power 0.

    >>> power_sum(0.5, np.ones(3), 2.0)
    3.5
    """
    steps = np.flatnonzero(weights)
    if beta_w == 0:
        # 0^0 = 1: only s = 0 is left.
        beta_w, steps = 1.0, steps[steps == 0]
    if not all(factors) or not len(steps):
        return 0.0
    weights = weights[steps]
    with np.errstate(over="ignore", invalid="ignore"):
        total = float((weights * np.float64(beta_w) ** steps).sum())
    if all(_PLAIN[0] < number < _PLAIN[1] for number in (total, *factors)):
        return total * math.prod(factors)
    if math.inf in (beta_w, *factors) or np.isinf(weights).any():
        return math.inf
    logs = np.log(weights) + steps * math.log(beta_w) + sum(map(math.log, factors))
    shift = logs.max()
    with np.errstate(over="ignore"):
        return float(np.exp(shift + np.log(np.exp(logs - shift).sum())))


def kl_inverse(q: float, c: float) -> float:
    """Largest p in [q, 1] with kl(q || p) <= c, rounded upward, for a risk q and a budget c >= 0.

    ``kl(q || p) = q ln(q/p) + (1-q) ln((1-q)/(1-p))`` is the relative entropy of two coins.

    >>> round(kl_inverse(0.0, 0.1), 4)  # 1 - exp(-0.1)
    0.0952
    """
    if c == 0:
        return q

    def within_budget(p: float) -> bool:
        # The two terms cancel: what rounding may have added is taken off.
        return float(rel_entr(q, p) + rel_entr(1 - q, 1 - p)) - _KL_ROUNDING <= c

    return end_of(within_budget, q, 1.0)


def end_of(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """End of an interval on which a condition holds, rounded upward.

    It lies between two numbers, `inside` and `outside`, at which nobody looks: the smallest number
    at which the condition does not hold, or `outside`.

    >>> end_of(lambda p: p * p < 2, 0.0, 2.0) == math.sqrt(2)
    True
    """
    while inside < (middle := (inside + outside) / 2) < outside:
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return outside


def log_of(probability: float) -> float:
    """ln of a probability; -inf for 0, which shares of a tiny delta round to."""
    return math.log(probability) if probability else -math.inf
