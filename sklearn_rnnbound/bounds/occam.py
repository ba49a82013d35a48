"""Occam's bound: few bits describe the network, so few networks could have been chosen.

The code is fixed beforehand. It describes the difference of every matrix to a reference (zero, or
weights learned on other data) as integers times a power of two: the number of bits of an integer,
then for each matrix the exponent, the number of non-zero entries, their places and their values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from sklearn_rnnbound.bounds._bound import Bound, Setting, certificate
from sklearn_rnnbound.bounds._numeric import kl_inverse, log_of
from sklearn_rnnbound.bounds._rule import BoundRule, Trial, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.union import bin_exponent, bin_share

__all__ = ["BITS", "Occam", "QuantizedErrors", "occam_kl", "quantized"]

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
    exponent = bin_exponent(largest) - (bits - 1)
    integers = np.round(np.ldexp(difference, -exponent))
    if not integers.any():
        exponent = 0
    n_entries, n_non_zero = difference.size, int(np.count_nonzero(integers))
    places = gammaln(n_entries + 1) - gammaln(n_non_zero + 1) - gammaln(n_entries - n_non_zero + 1)
    length = (
        -math.log(bin_share(exponent))
        + math.log(n_entries + 1)
        + float(places)
        + n_non_zero * bits * math.log(2)
    )
    return np.ldexp(integers, exponent), length


def occam_kl(risk: float, length: float, n: int, delta: float) -> float:
    """Bound on the risk of one network of a fixed code, described in `length` nats.

    It is the largest p with ``kl(risk || p) <= (length + ln(2 sqrt(n) / delta)) / n``.

    >>> round(occam_kl(0.25, 64 * math.log(2), 20_000, 0.05), 4)
    0.2824
    """
    return kl_inverse(risk, (length + math.log(2 * math.sqrt(n)) - log_of(delta)) / n)


@dataclass(frozen=True)
class QuantizedErrors:
    """The network with quantised weights.

    Parameters
    ----------
    bits : int
        Bits of a non-zero entry.
    length : float
        Length of the whole description in nats.
    n_errors : int
        Number of errors on the training sample.
    reference : str
        What the description starts from, in words.
    test_error : float or None
        Share of errors on test data, where they were given.
    """

    bits: int
    length: float
    n_errors: int
    reference: str
    test_error: float | None = None


@register
class Occam(BoundRule):
    """Occam-kl bound for the fitted network with quantised weights.

    Its risk is at most the largest p with ``kl(empirical risk || p) <= (length of the description
    + ln(2 sqrt(n) / delta)) / n``, the length in nats.
    """

    name = "occam"
    data = "train"
    speaks_of = "rounded"

    def evidence(self, trial: Trial) -> tuple[QuantizedErrors, ...]:
        """The network rounded to every number of bits that the code knows."""
        reference, words = trial.reference, "from zero"
        if reference is None:
            reference = {name: np.zeros_like(weight) for name, weight in trial.weights.items()}
        else:
            words = (
                f"from weights learned on up to {trial.n_reference} samples, assumed disjoint from "
                "these"
            )
        networks = []
        with trial.progress("quantised networks", len(BITS)) as advance:
            for bits in BITS:
                codes = {
                    name: quantized(weight - reference[name], bits)
                    for name, weight in trial.weights.items()
                }
                rounded = {name: reference[name] + code for name, (code, _) in codes.items()}
                networks.append(
                    QuantizedErrors(
                        bits=bits,
                        length=math.log(len(BITS)) + sum(length for _, length in codes.values()),
                        n_errors=trial.train_errors(rounded),
                        reference=words,
                        test_error=(
                            trial.test_errors(rounded) / trial.n_test if trial.n_test else None
                        ),
                    )
                )
                advance(1)
        return tuple(networks)

    def test_error(
        self, sample: SampleStatistics, evidence: tuple[QuantizedErrors, ...], setting: Setting
    ) -> float | None:
        """Test error of the quantised network of the smallest bound."""
        return _best(evidence, sample.n_samples, setting.delta).test_error

    def bound(
        self, sample: SampleStatistics, evidence: tuple[QuantizedErrors, ...], setting: Setting
    ) -> Bound:
        """Terms ``empirical_risk``, ``complexity`` (of the description) and ``confidence``."""
        n, delta = sample.n_samples, setting.delta
        best = _best(evidence, n, delta)
        risk = best.n_errors / n
        described = kl_inverse(risk, best.length / n)
        value = occam_kl(risk, best.length, n, delta)
        line = (
            f"speaks of the network with rounded weights, {best.bits} bits each where not zero, "
            f"described in {best.length / math.log(2):.0f} bits {best.reference}"
        )
        prices = {"empirical_risk": risk, "complexity": described, "confidence": value}
        return certificate(
            self.name,
            setting,
            prices,
            [line],
            "The description is longer than the sample supports.",
        )


def _best(networks: tuple[QuantizedErrors, ...], n: int, delta: float) -> QuantizedErrors:
    """The quantised network of the smallest bound."""
    return min(networks, key=lambda code: occam_kl(code.n_errors / n, code.length, n, delta))
