"""Binomial tail inversion against exact sums."""

from fractions import Fraction

import numpy as np
import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import FakeTrial, rule

from sklearn_rnnbound.bounds import BOUNDS, Setting
from sklearn_rnnbound.bounds.holdout import HoldoutCounts, binomial_tail_inverse

holdout = rule("holdout")

few_examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-6])
@pytest.mark.parametrize(("errors", "n"), [(0, 1), (0, 30), (1, 2), (3, 10), (29, 30), (40, 100)])
def test_matches_the_exact_inversion(errors, n, delta):
    low, high = slow.binomial_upper(errors, n, delta)
    value = binomial_tail_inverse(errors, n, delta)
    assert float(low) * (1 - 1e-9) <= value <= float(high) * (1 + 1e-9)


def test_by_hand():
    # (1 - p)^N = delta, and for one of two: 1 - p^2 = delta.
    assert binomial_tail_inverse(0, 4, 0.0625) == pytest.approx(0.5)
    assert binomial_tail_inverse(1, 2, 0.19) == pytest.approx(0.9)
    assert binomial_tail_inverse(7, 7, 0.05) == 1.0


@few_examples
@given(n=st.integers(1, 25), share=st.floats(0, 1), delta=st.floats(1e-6, 0.9))
def test_failures_are_no_more_frequent_than_delta(n, share, delta):
    # For a true error rate p the bound fails when K is small; exact probability of that.
    p = Fraction(share)
    failing = [
        errors for errors in range(n + 1) if Fraction(binomial_tail_inverse(errors, n, delta)) < p
    ]
    if failing:
        assert slow.binomial_cdf(max(failing), n, p) <= Fraction(delta) * (1 + Fraction(1, 10**9))


SUMS = slow.statistics(slow.make_case())


def test_row():
    bound = holdout(SUMS, Setting(delta=0.02), HoldoutCounts(3, 40))
    _, high = slow.binomial_upper(3, 40, 0.02)
    assert bound.value == pytest.approx(float(high), rel=1e-9)
    assert {term.name: term.value for term in bound.terms} == pytest.approx(
        {"empirical_risk": 3 / 40, "confidence": float(high) - 3 / 40}
    )
    found = bound.name, bound.kind, bound.delta, bound.margin
    assert found == ("holdout", "certified", 0.02, None)
    assert (bound.vacuous, bound.reason) == (False, "")
    assert [line for line in bound.assumptions if "3 errors on 40 held-out samples" in line]


def test_row_of_errors_only_is_vacuous():
    bound = holdout(SUMS, Setting(delta=0.05), HoldoutCounts(5, 5))
    assert (bound.value, bound.vacuous) == (1.0, True)
    assert bound.reason == "Every held-out sample is an error."


def test_evidence_is_the_errors_of_the_trained_network_on_the_test_data():
    trial = FakeTrial({"U": np.array([[3.0]])}, n_test=40)
    assert BOUNDS["holdout"].evidence(trial) == HoldoutCounts(30, 40)
