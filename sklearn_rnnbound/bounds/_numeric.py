"""Sums of powers and inversions of kl that neither overflow nor round to the wrong side."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import rel_entr

__all__ = ["kl_inverse", "power_sum"]

_KL_ROUNDING = 1e-15


def power_sum(beta_w: float, weights: np.ndarray, *factors: float) -> float:
    """Product of the factors and of sum_{s=0}^{L-1} weights_s beta_w^s, all of them >= 0.

    The sum alone may overflow, or the factors underflow, where the product does not: then it is
    taken in logarithms, and it is inf where the product itself overflows.

    Parameters
    ----------
    beta_w : float
        Base of the powers.
    weights : ndarray of shape (L,)
        Weight of every power, from power 0 on.
    *factors : float
        Factors of the whole sum.

    Returns
    -------
    total : float
        The product.

    Examples
    --------
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
    with np.errstate(over="ignore"):
        total = float((weights * np.float64(beta_w) ** steps).sum()) * math.prod(factors)
    if 0 < total < math.inf:
        return total
    if math.inf in (beta_w, *factors):
        return math.inf
    logs = np.log(weights) + steps * math.log(beta_w) + sum(map(math.log, factors))
    shift = logs.max()
    with np.errstate(over="ignore"):
        return float(np.exp(shift + np.log(np.exp(logs - shift).sum())))


def kl_inverse(q: float, c: float) -> float:
    """Largest p with kl(q || p) <= c, rounded upward.

    ``kl(q || p) = q ln(q/p) + (1-q) ln((1-q)/(1-p))`` is the relative entropy of two coins.

    Parameters
    ----------
    q : float
        Empirical risk, in [0, 1].
    c : float
        Budget, >= 0; inf gives 1.

    Returns
    -------
    p : float
        Upper bound on the risk, in [q, 1].

    Examples
    --------
    >>> round(kl_inverse(0.0, 0.1), 4)  # 1 - exp(-0.1)
    0.0952
    """
    if c == 0 or q >= 1:
        return min(q, 1.0)
    inside, outside = q, 1.0
    while inside < (middle := (inside + outside) / 2) < outside:
        divergence = float(rel_entr(q, middle) + rel_entr(1 - q, 1 - middle))
        # Its two terms cancel: what rounding may have added is taken off.
        if divergence - _KL_ROUNDING > c:
            outside = middle
        else:
            inside = middle
    return outside
