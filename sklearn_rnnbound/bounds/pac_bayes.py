"""PAC-Bayes-kl: a bound for the classifier that draws its weights anew for every prediction.

Posterior N(theta, s^2 I) around the trained weights, prior N(theta_0, lambda^2 I) around weights
that do not depend on the sample; lambda is a power of two and pays for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting, certificate
from sklearn_rnnbound.bounds._numeric import kl_inverse, log_of
from sklearn_rnnbound.bounds._rule import BoundRule, Trial, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.bounds.union import EXPONENTS, bin_share

__all__ = [
    "MONTE_CARLO_SHARE",
    "PacBayes",
    "PosteriorErrors",
    "gaussian_kl",
    "pac_bayes_kl",
    "prior_kl",
]

#: Share delta'/delta that the Monte-Carlo estimate of the empirical risk gets.
MONTE_CARLO_SHARE = 0.1
# Posterior widths that are tried, with one draw per group of rows each; the best one is then
# estimated by fresh draws, over this many rounds.
_STDS = 2.0 ** np.arange(-12, 1)
_ROUNDS = 8


def gaussian_kl(squared_distance: float, n_weights: int, posterior: float, prior: float) -> float:
    """KL(N(theta, posterior^2 I) || N(theta_0, prior^2 I)) in nats, from ||theta - theta_0||_2^2.

    >>> gaussian_kl(4.0, 10, 1.0, 1.0)
    2.0
    """
    ratio = posterior / prior
    # The ratio may leave the range of floats, its logarithm does not.
    log_ratio = math.log(posterior) - math.log(prior)
    spread = n_weights * (ratio * ratio - 1 - 2 * log_ratio)
    return 0.5 * (spread + squared_distance / prior / prior)


def prior_kl(squared_distance: float, n_weights: int, posterior: float) -> tuple[float, float]:
    """KL in nats to the best prior of the grid 2^j, with what the choice costs, and that 2^j.

    >>> prior_kl(0.0, 10, 1.0)  # bin 1 of the grid, which gets half of delta
    (0.6931471805599453, 1.0)
    """

    def nats(exponent: int) -> float:
        kl = gaussian_kl(squared_distance, n_weights, posterior, 2.0**exponent)
        return kl - math.log(bin_share(exponent))

    best = min(EXPONENTS, key=nats)
    return nats(best), 2.0**best


@dataclass(frozen=True)
class PosteriorErrors:
    """The randomised classifier on the training sample.

    Parameters
    ----------
    std : float
        Standard deviation of the Gaussian posterior around the trained weights.
    squared_distance : float
        ||theta - theta_0||_2^2 to the centre of the prior.
    n_weights : int
        Number of weights.
    error : float
        Share of errors over the draws.
    n_draws : float
        Number of independent draws that the Monte-Carlo bound may count.
    prior : str
        Where the prior stands, in words.
    test_error : float or None
        Share of errors of draws on test data, where they were given.
    """

    std: float
    squared_distance: float
    n_weights: int
    error: float
    n_draws: float
    prior: str
    test_error: float | None = None


def pac_bayes_kl(posterior: PosteriorErrors, n: int, delta: float) -> tuple[float, float, float]:
    """Bound on the risk of the randomised classifier, one price after the other.

    The first is the largest p with ``kl(error || p) <= ln(1/delta') / n_draws``, since draws are
    finite in number; the second the largest p with ``kl(first || p) <= KL / n``, the choice of the
    prior included; the third, the value, with ``kl(first || p) <= (KL + ln(2 sqrt(n) / (delta -
    delta'))) / n``.
    """
    log_monte_carlo = log_of(delta) + math.log(MONTE_CARLO_SHARE)
    log_rest = log_of(delta) + math.log1p(-MONTE_CARLO_SHARE)
    nats, _ = prior_kl(posterior.squared_distance, posterior.n_weights, posterior.std)
    sampled = kl_inverse(posterior.error, -log_monte_carlo / posterior.n_draws)
    informed = kl_inverse(sampled, nats / n)
    value = kl_inverse(sampled, (nats + math.log(2 * math.sqrt(n)) - log_rest) / n)
    return sampled, informed, value


@register
class PacBayes(BoundRule):
    """PAC-Bayes-kl bound (Seeger 2002; Maurer 2004) for the randomised classifier.

    Its risk is at most what :func:`pac_bayes_kl` makes of its empirical risk: the price of the
    draws, of the distance to the prior and of the confidence.
    """

    name = "pac_bayes"
    data = "train"
    speaks_of = "randomised"
    prior_from_seed = True

    def evidence(self, trial: Trial) -> PosteriorErrors:
        """The randomised classifier of the posterior width that promises the smallest bound."""
        n, prior = trial.n_train, trial.prior_mean
        squared_distance = sum(
            float(np.square(weight - prior[name]).sum()) for name, weight in trial.weights.items()
        )
        n_weights = sum(weight.size for weight in trial.weights.values())
        words = "around the initial weights"
        if trial.reference is not None:
            words = (
                f"around weights learned on up to {trial.n_reference} samples, assumed disjoint "
                "from these"
            )
        with trial.progress("draws of the posterior", len(_STDS) + _ROUNDS) as advance:

            def tried(std: float, n_rounds: int) -> PosteriorErrors:
                errors = []
                for _ in range(n_rounds):
                    errors.append(trial.random_error(std))
                    advance(1)
                error, n_draws = float(np.mean(errors)), n_rounds * n / min(trial.rows_per_draw, n)
                return PosteriorErrors(std, squared_distance, n_weights, error, n_draws, words)

            pilots = [tried(float(std), 1) for std in _STDS]
            best = min(pilots, key=lambda pilot: pac_bayes_kl(pilot, n, trial.setting.delta)[-1])
            chosen = tried(best.std, _ROUNDS)
        if not trial.n_test:
            return chosen
        return replace(chosen, test_error=trial.random_error(chosen.std, test=True))

    def test_error(
        self, sample: SampleStatistics, evidence: PosteriorErrors, setting: Setting
    ) -> float | None:
        """Test error of the randomised classifier."""
        return evidence.test_error

    def bound(self, sample: SampleStatistics, evidence: PosteriorErrors, setting: Setting) -> Bound:
        """Terms ``empirical_risk``, ``monte_carlo``, ``kl`` and ``confidence``, as increments."""
        sampled, informed, value = pac_bayes_kl(evidence, sample.n_samples, setting.delta)
        _, prior = prior_kl(evidence.squared_distance, evidence.n_weights, evidence.std)
        lines = [
            "speaks of the randomised classifier, which draws its weights anew for every "
            "prediction, and not of the deterministic one",
            f"posterior of standard deviation {evidence.std:g} around the trained weights, prior "
            f"of {prior:g} {evidence.prior}",
            f"Monte-Carlo error of {evidence.n_draws:.0f} independent draws at "
            f"{MONTE_CARLO_SHARE:g} delta",
        ]
        prices = {
            "empirical_risk": evidence.error,
            "monte_carlo": sampled,
            "kl": informed,
            "confidence": value,
        }
        return certificate(
            self.name, setting, prices, lines, "The posterior is too far from the prior."
        )
