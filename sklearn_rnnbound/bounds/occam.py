"""Occam's bound: few bits describe the network, so few networks could have been chosen.

The code is fixed beforehand. It describes the difference of every matrix to a reference (zero, or
weights learned on other data) as integers times a power of two: the number of bits of an integer,
then for each matrix the exponent, the number of non-zero entries, their places and their values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting, Term
from sklearn_rnnbound.bounds._numeric import kl_inverse, log_of
from sklearn_rnnbound.bounds.union import cell_exponent, cell_share

if TYPE_CHECKING:
    from sklearn_rnnbound.statistics import QuantizedErrors, SampleStatistics

__all__ = ["BITS", "best_code", "occam", "occam_kl", "quantized"]

#: Numbers of bits of a non-zero entry, sign included, that the code knows; all alike in price.
BITS = range(1, 17)


@np.errstate(over="ignore")
def quantized(difference: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """Matrix rounded to signed integers of so many bits times a power of two.

    Parameters
    ----------
    difference : ndarray
        What is to be described; finite.
    bits : int
        Bits of a non-zero entry: the sign and ``bits - 1`` for a magnitude of 1 to
        ``2^(bits-1)``.

    Returns
    -------
    rounded : ndarray
        The matrix that the code describes.
    length : float
        Length of its description in nats, without the choice of `bits`.

    Examples
    --------
    >>> quantized(np.array([[0.9, 0.0, -0.3]]), 2)[0]
    array([[ 1. ,  0. , -0.5]])
    """
    largest = float(np.abs(difference).max())
    # The largest entry is at most 2^(bits-1) then.
    exponent = cell_exponent(largest) - (bits - 1)
    integers = np.round(np.ldexp(difference, -exponent))
    if not integers.any():
        exponent = 0
    n_entries, n_non_zero = difference.size, int(np.count_nonzero(integers))
    places = gammaln(n_entries + 1) - gammaln(n_non_zero + 1) - gammaln(n_entries - n_non_zero + 1)
    length = (
        -math.log(cell_share(exponent))
        + math.log(n_entries + 1)
        + float(places)
        + n_non_zero * bits * math.log(2)
    )
    return np.ldexp(integers, exponent), length


def occam_kl(risk: float, length: float, n: int, delta: float) -> float:
    """Bound on the risk of one network of a fixed code.

    Parameters
    ----------
    risk : float
        Its empirical risk.
    length : float
        Length of its description in nats.
    n : int
        Number of samples.
    delta : float
        Probability with which the bound may fail.

    Returns
    -------
    p : float
        Largest p with ``kl(risk || p) <= (length + ln(2 sqrt(n) / delta)) / n``.

    Examples
    --------
    >>> round(occam_kl(0.25, 64 * math.log(2), 20_000, 0.05), 4)
    0.2824
    """
    return kl_inverse(risk, (length + math.log(2 * math.sqrt(n)) - log_of(delta)) / n)


def best_code(sample: SampleStatistics, delta: float) -> QuantizedErrors:
    """The quantised network of the smallest bound; there must be one."""
    n = sample.n_samples
    return min(
        sample.quantized, key=lambda code: occam_kl(code.n_errors / n, code.length, n, delta)
    )


def occam(sample: SampleStatistics, setting: Setting) -> Bound:
    """Occam-kl bound for the fitted network with quantised weights.

    Parameters
    ----------
    sample : SampleStatistics
        What the data contribute; its `quantized` networks.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Certified, for the quantised deterministic network; terms ``empirical_risk``,
        ``complexity`` (the share of the description) and ``confidence``.

    Raises
    ------
    NotApplicableError
        Without the training data, on which the quantised network is tried.
    """
    if not sample.quantized:
        raise NotApplicableError("occam needs the training data: pass X_train and y_train")
    n, delta = sample.n_samples, setting.delta
    best = best_code(sample, delta)
    risk = best.n_errors / n
    described = kl_inverse(risk, best.length / n)
    value = occam_kl(risk, best.length, n, delta)
    line = (
        f"speaks of the network with rounded weights, {best.bits} bits each where not zero, "
        f"described in {best.length / math.log(2):.0f} bits {best.reference}"
    )
    return Bound(
        name="occam",
        value=value,
        kind="certified",
        terms=(
            Term("empirical_risk", risk, "n^0"),
            Term("complexity", described - risk, "n^-1/2"),
            Term("confidence", value - described, "n^-1/2"),
        ),
        margin=None,
        delta=delta,
        assumptions=(*setting.notes, line),
        vacuous=value >= 1,
        reason="The description is longer than the sample supports." if value >= 1 else "",
    )
