"""The hold-out bound: what a practitioner does instead."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import betaincc

from sklearn_rnnbound.bounds._bound import Bound, Setting, certificate
from sklearn_rnnbound.bounds._numeric import end_of
from sklearn_rnnbound.bounds._rule import BoundRule, Trial, register
from sklearn_rnnbound.bounds._sample import SampleStatistics

__all__ = ["Holdout", "HoldoutCounts", "binomial_tail_inverse"]


def binomial_tail_inverse(n_errors: int, n: int, delta: float) -> float:
    """Largest p with P[Binomial(n, p) <= n_errors] >= delta, rounded upward (Langford 2005).

    It is the ``1 - delta`` quantile of Beta(K + 1, n - K) for K errors; 1 when every sample is one.

    >>> round(binomial_tail_inverse(0, 10, 0.05), 4)  # 1 - 0.05^(1/10)
    0.2589
    """
    if n_errors == n:
        return 1.0
    return end_of(lambda p: betaincc(n_errors + 1, n - n_errors, p) >= delta, 0.0, 1.0)


@dataclass(frozen=True)
class HoldoutCounts:
    """Errors on held-out data.

    Parameters
    ----------
    n_errors, n_samples : int
        Number of errors, and of samples.
    """

    n_errors: int
    n_samples: int


@register
class Holdout(BoundRule):
    """Binomial tail inversion on held-out data (Langford 2005).

    ``P[M <= 0]`` is at most the largest p with ``P[Binomial(n, p) <= number of errors] >= delta``.
    """

    name = "holdout"
    data = "test"

    def evidence(self, trial: Trial) -> HoldoutCounts:
        """Errors of the trained network on the test data."""
        return HoldoutCounts(trial.test_errors(trial.weights), trial.n_test)

    def bound(self, sample: SampleStatistics, evidence: HoldoutCounts, setting: Setting) -> Bound:
        """Terms ``empirical_risk`` (the share of held-out errors) and ``confidence``."""
        risk = evidence.n_errors / evidence.n_samples
        value = binomial_tail_inverse(evidence.n_errors, evidence.n_samples, setting.delta)
        line = (
            f"{evidence.n_errors} errors on {evidence.n_samples} held-out samples, assumed to "
            "have had no part in training or selection"
        )
        prices = {"empirical_risk": risk, "confidence": value}
        return certificate(self.name, setting, prices, [line], "Every held-out sample is an error.")
