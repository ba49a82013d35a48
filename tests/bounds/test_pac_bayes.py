"""PAC-Bayes-kl against a slow transcription."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import FakeTrial, rule

from sklearn_rnnbound.bounds import BOUNDS, Setting
from sklearn_rnnbound.bounds.pac_bayes import (
    MONTE_CARLO_SHARE,
    PosteriorErrors,
    gaussian_kl,
    prior_kl,
)

pac_bayes = rule("pac_bayes")
few_examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@few_examples
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 30),
    posterior=st.floats(0.01, 10),
    prior=st.floats(0.01, 10),
)
def test_divergence_matches_the_transcription(seed, size, posterior, prior):
    rng = np.random.default_rng(seed)
    mean, centre = rng.normal(size=size), rng.normal(size=size)
    distance = float(((mean - centre) ** 2).sum())
    expected = slow.gaussian_divergence(mean, posterior, centre, prior)
    assert gaussian_kl(distance, size, posterior, prior) == pytest.approx(
        expected, rel=1e-9, abs=1e-12 * size
    )


def test_divergence_by_hand():
    assert gaussian_kl(0.0, 7, 0.3, 0.3) == pytest.approx(0.0, abs=1e-12)
    assert gaussian_kl(8.0, 3, 1.0, 2.0) == pytest.approx(1 + 1.5 * (0.25 - 1 + math.log(4)))


@few_examples
@given(distance=st.floats(0, 1e4), size=st.integers(1, 500), posterior=st.floats(1e-4, 10))
def test_best_prior_of_the_grid(distance, size, posterior):
    nats = {
        e: slow.gaussian_divergence(np.zeros(1), posterior, 0.0, 2.0**e) * size
        + distance / (2 * 4.0**e)
        - math.log(paper.share(e))
        for e in range(-30, 31)
    }
    best = min(nats, key=nats.get)
    value, prior = prior_kl(distance, size, posterior)
    assert value == pytest.approx(nats[best], rel=1e-9, abs=1e-9)
    assert nats[round(math.log2(prior))] == pytest.approx(nats[best], rel=1e-9, abs=1e-9)
    assert prior == 2.0 ** round(math.log2(prior))


def test_best_prior_by_hand():
    # lambda^2 = s^2 + distance / size = 1 + 3: the bin 2^1 has the share 1/6.
    nats, prior = prior_kl(30.0, 10, 1.0)
    assert prior == 2.0
    assert nats == pytest.approx(5 * (0.25 - 1 + math.log(4)) + 30 / 8 + math.log(6))


POSTERIOR = PosteriorErrors(0.1, 3.0, 30, 0.12, 50.0, "zero")


@cache
def case_statistics(n):
    return slow.statistics(slow.make_case(0, n=n))


def row(setting, n=40, **changes):
    return pac_bayes(case_statistics(n), setting, replace(POSTERIOR, **changes))


def decimals(bracket):
    return pytest.approx(sum(bracket) / 2, abs=(bracket[1] - bracket[0]) + 1e-9)


@pytest.mark.parametrize("error", [0.0, 0.12, 0.4])
@pytest.mark.parametrize("delta", [0.05, 1e-6])
@pytest.mark.parametrize("n", [40, 300])
def test_row_matches_the_transcription(n, delta, error):
    bound = row(Setting(delta=delta), n, error=error)
    assert 0 < MONTE_CARLO_SHARE < 1
    first = delta * MONTE_CARLO_SHARE
    nats, prior = prior_kl(3.0, 30, 0.1)
    # The prior enters with its own share of delta.
    share = paper.share(round(math.log2(prior)))
    divergence = slow.gaussian_divergence(np.zeros(30), 0.1, math.sqrt(3 / 30), prior)
    assert nats == pytest.approx(divergence - math.log(share))
    sampling = slow.kl_upper_scan(error, math.log(1 / first) / 50.0)
    mean = bound.empirical_risk + bound.term("monte_carlo")
    assert mean == decimals(sampling)
    right = slow.pac_bayes_right(divergence, n, (delta - first) * share)
    assert bound.value == decimals(slow.kl_upper_scan(mean, right))
    assert mean + bound.term("kl") == decimals(slow.kl_upper_scan(mean, nats / n))
    assert bound.empirical_risk == error
    names = ["empirical_risk", "monte_carlo", "kl", "confidence"]
    assert [term.name for term in bound.terms] == names
    assert all(term.value >= 0 for term in bound.terms)
    found = bound.name, bound.kind, bound.delta, bound.margin
    assert found == ("pac_bayes", "certified", delta, None)
    assert bound.vacuous is (bound.value >= 1)
    assert bool(bound.reason) is bound.vacuous


def test_row_that_says_nothing():
    bound = row(Setting(), squared_distance=1e30, std=1e-9)
    assert bound.vacuous is True
    assert bound.value == 1.0
    assert bound.reason


@pytest.mark.parametrize("rows_per_draw", [1, 25, 1000])
@pytest.mark.parametrize("learned", [False, True])
def test_evidence_is_the_width_that_promises_the_smallest_bound(learned, rows_per_draw):
    weights = {"U": np.full((2, 3), 1.0), "V": np.full((1, 2), -0.5)}
    reference = {name: 0.75 * weight for name, weight in weights.items()} if learned else None
    distance = (0.25 if learned else 0.5) ** 2 * (6 + 2 * 0.25)

    def error(std, turn):
        # Wider is worse; fresh draws differ from those by which the width was chosen.
        return min(0.1 + std, 1.0) + (0.001 * turn if turn > 13 else 0.0)

    trial = FakeTrial(
        weights,
        reference=reference,
        n_train=200,
        n_test=9,
        error=error,
        rows_per_draw=rows_per_draw,
        delta=0.02,
    )
    found = BOUNDS["pac_bayes"].evidence(trial)
    per_draw = min(rows_per_draw, 200)
    pilots = {}
    for e in range(-12, 1):
        share = {j: paper.share(j) for j in range(-40, 41)}
        prices = [
            slow.gaussian_divergence(np.zeros(8), 2.0**e, math.sqrt(distance / 8), 2.0**j)
            - math.log(share[j])
            for j in share
        ]
        mean = slow.kl_upper_scan(error(2.0**e, 1), math.log(1 / 0.002) / (200 / per_draw))[1]
        pilots[2.0**e] = slow.kl_upper_scan(mean, slow.pac_bayes_right(min(prices), 200, 0.018))[1]
    std = min(pilots, key=pilots.get)
    assert found.std == std
    assert trial.asked == [(2.0**e, False) for e in range(-12, 1)] + [(std, False)] * 8 + [
        (std, True)
    ]
    assert found.error == pytest.approx(0.1 + std + 0.001 * np.mean(range(14, 22)))
    assert found.test_error == pytest.approx(0.1 + std + 0.001 * 22)
    assert found.squared_distance == pytest.approx(distance)
    assert (found.n_weights, found.n_draws) == (8, 8 * 200 / per_draw)
    assert trial.done == trial.total == 13 + 8
    words = "around weights learned on up to 17 samples, assumed disjoint from these"
    assert found.prior == (words if learned else "around the initial weights")
    assert BOUNDS["pac_bayes"].test_error(None, found, trial.setting) == found.test_error
    trial.n_test = 0
    assert BOUNDS["pac_bayes"].evidence(trial).test_error is None
