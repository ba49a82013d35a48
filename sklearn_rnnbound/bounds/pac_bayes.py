"""PAC-Bayes-kl: a bound for the classifier that draws its weights anew for every prediction.

Posterior N(theta, s^2 I) around the trained weights, prior N(theta_0, lambda^2 I) around weights
that do not depend on the sample; lambda is a power of two and pays for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting, Term
from sklearn_rnnbound.bounds._numeric import kl_inverse, log_of
from sklearn_rnnbound.bounds.union import EXPONENTS, cell_share

if TYPE_CHECKING:
    from sklearn_rnnbound.statistics import SampleStatistics

__all__ = ["MONTE_CARLO_SHARE", "gaussian_kl", "pac_bayes", "prior_kl"]

#: Share delta'/delta that the Monte-Carlo estimate of the empirical risk gets.
MONTE_CARLO_SHARE = 0.1


def gaussian_kl(squared_distance: float, n_weights: int, posterior: float, prior: float) -> float:
    """KL(N(theta, posterior^2 I) || N(theta_0, prior^2 I)).

    Parameters
    ----------
    squared_distance : float
        ``||theta - theta_0||_2^2``.
    n_weights : int
        Number of weights.
    posterior, prior : float
        Standard deviations of a weight.

    Returns
    -------
    kl : float
        The relative entropy in nats.

    Examples
    --------
    >>> gaussian_kl(4.0, 10, 1.0, 1.0)
    2.0
    """
    ratio = posterior / prior
    # The ratio may leave the range of floats, its logarithm does not.
    log_ratio = math.log(posterior) - math.log(prior)
    spread = n_weights * (ratio * ratio - 1 - 2 * log_ratio)
    return 0.5 * (spread + squared_distance / prior / prior)


def prior_kl(squared_distance: float, n_weights: int, posterior: float) -> tuple[float, float]:
    """KL to the best prior of the grid 2^j, with what the choice costs in nats.

    Parameters
    ----------
    squared_distance : float
        ``||theta - theta_0||_2^2``.
    n_weights : int
        Number of weights.
    posterior : float
        Standard deviation of the posterior.

    Returns
    -------
    nats : float
        KL plus the logarithm of the inverse share of delta.
    prior : float
        Standard deviation of the prior.

    Examples
    --------
    >>> prior_kl(0.0, 10, 1.0)  # cell 1 of the grid, which gets half of delta
    (0.6931471805599453, 1.0)
    """

    def nats(exponent: int) -> float:
        kl = gaussian_kl(squared_distance, n_weights, posterior, 2.0**exponent)
        return kl - math.log(cell_share(exponent))

    best = min(EXPONENTS, key=nats)
    return nats(best), 2.0**best


def pac_bayes(sample: SampleStatistics, setting: Setting) -> Bound:
    """PAC-Bayes-kl bound (Seeger 2002; Maurer 2004) for the randomised classifier.

    Parameters
    ----------
    sample : SampleStatistics
        What the data contribute; its `posterior`.
    setting : Setting
        What was fixed beforehand.

    Returns
    -------
    bound : Bound
        Certified, for the randomised classifier; terms ``empirical_risk`` (its mean over the
        draws), ``monte_carlo``, ``kl`` and ``confidence``, told as increments.

    Raises
    ------
    NotApplicableError
        Without the training data, on which the draws are tried.
    """
    posterior = sample.posterior
    if posterior is None:
        raise NotApplicableError("pac_bayes needs the training data: pass X_train and y_train")
    n = sample.n_samples
    log_monte_carlo = log_of(setting.delta) + math.log(MONTE_CARLO_SHARE)
    log_rest = log_of(setting.delta) + math.log1p(-MONTE_CARLO_SHARE)
    nats, prior = prior_kl(posterior.squared_distance, posterior.n_weights, posterior.std)
    risk = posterior.error
    sampled = kl_inverse(risk, -log_monte_carlo / posterior.n_draws)
    informed = kl_inverse(sampled, nats / n)
    value = kl_inverse(sampled, (nats + math.log(2 * math.sqrt(n)) - log_rest) / n)
    lines = [
        "speaks of the randomised classifier, which draws its weights anew for every prediction, "
        "and not of the deterministic one",
        f"posterior of standard deviation {posterior.std:g} around the trained weights, prior of "
        f"{prior:g} {posterior.prior}",
        f"Monte-Carlo error of {posterior.n_draws:.0f} independent draws at "
        f"{MONTE_CARLO_SHARE:g} delta",
    ]
    return Bound(
        name="pac_bayes",
        value=value,
        kind="certified",
        terms=(
            Term("empirical_risk", risk, "n^0"),
            Term("monte_carlo", sampled - risk, "n^-1/2"),
            Term("kl", informed - sampled, "n^-1/2"),
            Term("confidence", value - informed, "n^-1/2"),
        ),
        margin=None,
        delta=setting.delta,
        assumptions=(*setting.notes, *lines),
        vacuous=value >= 1,
        reason="The posterior is too far from the prior." if value >= 1 else "",
    )
