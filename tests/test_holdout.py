"""Binomial tail inversion against exact sums."""

from fractions import Fraction

import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.bounds import NotApplicableError, Setting
from sklearn_rnnbound.bounds.holdout import binomial_tail_inverse, holdout
from sklearn_rnnbound.statistics import HoldoutCounts

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


@few_examples
@given(
    n=st.integers(1, 10_000),
    share=st.floats(0, 1),
    deltas=st.tuples(st.floats(1e-300, 0.99), st.floats(1e-300, 0.99)).map(sorted),
)
def test_monotone(n, share, deltas):
    errors = round(share * n)
    small, large = (binomial_tail_inverse(errors, n, delta) for delta in deltas)
    assert 0 < large <= small * (1 + 1e-9)
    assert small <= 1
    if errors < n:
        assert small <= binomial_tail_inverse(errors + 1, n, deltas[0]) * (1 + 1e-12)


def test_row():
    sums = slow.statistics(slow.make_case(), holdout=HoldoutCounts(3, 40))
    bound = holdout(sums, Setting(margin="auto", delta=0.02))
    _, high = slow.binomial_upper(3, 40, 0.02)
    assert bound.value == pytest.approx(float(high), rel=1e-9)
    assert bound.empirical_risk == 3 / 40
    assert {term.name: term.value for term in bound.terms} == pytest.approx(
        {"empirical_risk": 3 / 40, "confidence": float(high) - 3 / 40}
    )
    assert (bound.name, bound.kind, bound.delta, bound.margin) == (
        "holdout",
        "certified",
        0.02,
        None,
    )
    assert [term.rate for term in bound.terms] == ["n^0", "n^-1/2"]
    assert (bound.vacuous, bound.reason) == (False, "")
    assert [line for line in bound.assumptions if "3 errors on 40 held-out samples" in line]


def test_row_of_errors_only_is_vacuous():
    bound = holdout(
        slow.statistics(slow.make_case(), holdout=HoldoutCounts(5, 5)), Setting(delta=0.05)
    )
    assert (bound.value, bound.vacuous) == (1.0, True)
    assert bound.reason == "Every held-out sample is an error."


def test_row_needs_held_out_data():
    with pytest.raises(NotApplicableError):
        holdout(slow.statistics(slow.make_case()), Setting())
