"""The hold-out bound: what a practitioner does instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy.special import betaincc

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting, Term
from sklearn_rnnbound.bounds._numeric import end_of

if TYPE_CHECKING:
    from sklearn_rnnbound.statistics import SampleStatistics

__all__ = ["binomial_tail_inverse", "holdout"]


def binomial_tail_inverse(n_errors: int, n: int, delta: float) -> float:
    """Largest p with P[Binomial(n, p) <= n_errors] >= delta, rounded upward (Langford 2005).

    Parameters
    ----------
    n_errors, n : int
        Number of errors K among n samples.
    delta : float
        Probability with which the bound may fail.

    Returns
    -------
    p : float
        ``1 - delta`` quantile of Beta(K + 1, n - K); 1 when every sample is an error.

    Examples
    --------
    >>> round(binomial_tail_inverse(0, 10, 0.05), 4)  # 1 - 0.05^(1/10)
    0.2589
    """
    if n_errors == n:
        return 1.0
    return end_of(lambda p: betaincc(n_errors + 1, n - n_errors, p) >= delta, 0.0, 1.0)


def holdout(sample: SampleStatistics, setting: Setting) -> Bound:
    """Binomial tail inversion on held-out data (Langford 2005).

    Parameters
    ----------
    sample : SampleStatistics
        What the data contribute; its `holdout` counts.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Certified; terms ``empirical_risk`` (the share of held-out errors) and ``confidence``.

    Raises
    ------
    NotApplicableError
        Without held-out data.
    """
    counts = sample.holdout
    if counts is None:
        raise NotApplicableError("holdout needs test data: pass X_test and y_test")
    risk = counts.n_errors / counts.n_samples
    value = binomial_tail_inverse(counts.n_errors, counts.n_samples, setting.delta)
    return Bound(
        name="holdout",
        value=value,
        kind="certified",
        terms=(
            Term("empirical_risk", risk, "n^0"),
            Term("confidence", value - risk, "n^-1/2"),
        ),
        margin=None,
        delta=setting.delta,
        assumptions=(
            *setting.notes,
            f"{counts.n_errors} errors on {counts.n_samples} held-out samples, assumed to have had "
            "no part in training or selection",
        ),
        vacuous=value >= 1,
        reason="Every held-out sample is an error." if value >= 1 else "",
    )
