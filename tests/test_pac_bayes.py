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

from sklearn_rnnbound.bounds import NotApplicableError, Setting
from sklearn_rnnbound.bounds.pac_bayes import MONTE_CARLO_SHARE, gaussian_kl, pac_bayes, prior_kl
from sklearn_rnnbound.statistics import PosteriorErrors

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
    # lambda^2 = s^2 + distance / size = 1 + 3: the cell 2^1 has the share 1/6.
    nats, prior = prior_kl(30.0, 10, 1.0)
    assert prior == 2.0
    assert nats == pytest.approx(5 * (0.25 - 1 + math.log(4)) + 30 / 8 + math.log(6))


POSTERIOR = PosteriorErrors(0.1, 3.0, 30, 0.12, 50.0, "zero")


@cache
def case_statistics(n):
    return slow.statistics(slow.make_case(0, n=n))


def sampled(n=40, **changes):
    return replace(case_statistics(n), posterior=replace(POSTERIOR, **changes))


def decimals(bracket):
    return pytest.approx(sum(bracket) / 2, abs=(bracket[1] - bracket[0]) + 1e-9)


@pytest.mark.parametrize("error", [0.0, 0.12, 0.4])
@pytest.mark.parametrize("delta", [0.05, 1e-6])
@pytest.mark.parametrize("n", [40, 300])
def test_row_matches_the_transcription(n, delta, error):
    bound = pac_bayes(sampled(n, error=error), Setting(delta=delta))
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
    assert [term.name for term in bound.terms] == [
        "empirical_risk",
        "monte_carlo",
        "kl",
        "confidence",
    ]
    assert all(term.value >= 0 for term in bound.terms)
    assert math.fsum(term.value for term in bound.terms) == pytest.approx(bound.value, rel=1e-12)
    assert (bound.name, bound.kind, bound.delta, bound.margin) == (
        "pac_bayes",
        "certified",
        delta,
        None,
    )
    assert bound.vacuous is (bound.value >= 1)
    assert bool(bound.reason) is bound.vacuous


def test_row_needs_the_training_data():
    with pytest.raises(NotApplicableError):
        pac_bayes(slow.statistics(slow.make_case()), Setting())


def test_row_that_says_nothing():
    bound = pac_bayes(sampled(squared_distance=1e30, std=1e-9), Setting())
    assert bound.vacuous is True
    assert bound.value == 1.0
    assert bound.reason


@few_examples
@given(
    deltas=st.tuples(st.floats(1e-300, 1), st.floats(1e-300, 1)).map(sorted),
    distances=st.tuples(st.floats(0, 50), st.floats(0, 50)).map(sorted),
    draws=st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)).map(sorted),
)
def test_row_is_monotone(deltas, distances, draws):
    def value(delta, distance, count):
        given = sampled(n=40, squared_distance=distance, n_draws=count)
        return pac_bayes(given, Setting(delta=delta)).value

    best = value(deltas[1], distances[0], draws[1])
    for other in (
        value(deltas[0], distances[0], draws[1]),
        value(deltas[1], distances[1], draws[1]),
        value(deltas[1], distances[0], draws[0]),
    ):
        assert other >= best - 1e-12


def test_row_needs_no_margin_and_no_norms():
    sums, other = sampled(), sampled()
    other = replace(other, beta_u=9.0, beta_w=9.0, beta_v=9.0, min_eigenvalue=3.0)
    one = pac_bayes(sums, Setting(margin=0.1))
    assert pac_bayes(other, Setting(margin="auto")).value == one.value
