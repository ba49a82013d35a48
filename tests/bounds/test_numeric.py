"""Sums of powers and the inverse of kl, to high precision."""

import math
from decimal import Decimal

import numpy as np
import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.bounds._numeric import kl_inverse, log_of, power_sum

many_examples = settings(max_examples=150, deadline=None, derandomize=True, database=None)
risks = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 1e-9, 0.5, 1 - 1e-9, 1.0]))
budgets = st.one_of(
    st.floats(0, 20), st.floats(-40, 2).map(lambda e: 10.0**e), st.sampled_from([0.0, 1e-300])
)


@many_examples
@given(q=risks, c=budgets)
def test_kl_inverse_is_on_the_safe_side(q, c):
    p = kl_inverse(q, c)
    assert q <= p <= 1
    if p < 1:
        assert slow.kl(q, p) >= Decimal(c)


@many_examples
@given(q=risks, c=budgets)
def test_kl_inverse_is_close(q, c):
    p = kl_inverse(q, c)
    # A little below it, kl is within the rounding of the budget.
    lower = q + (p - q) * (1 - 1e-9) - 1e-15
    if lower > q:
        assert slow.kl(q, lower) <= Decimal(c * (1 + 1e-9) + 1e-14)


@pytest.mark.parametrize("q", [0.0, 0.01, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("c", [0.0, 0.003, 0.1, 1.0, 5.0])
def test_kl_inverse_matches_a_scan(q, c):
    low, high = slow.kl_upper_scan(q, c)
    assert low - 1e-12 <= kl_inverse(q, c) <= high + 1e-12


@pytest.mark.parametrize("c", [1e-20, 1e-9, 0.1, 3.0, 40.0])
def test_kl_inverse_of_no_errors(c):
    assert kl_inverse(0.0, c) == pytest.approx(-math.expm1(-c), rel=1e-9, abs=1e-14)


def test_kl_inverse_at_the_ends():
    assert kl_inverse(0.3, math.inf) == kl_inverse(0.3, 1e6) == kl_inverse(1.0, 0.0) == 1.0
    assert kl_inverse(0.3, 0.0) == pytest.approx(0.3, abs=1e-6)


@many_examples
@given(q=risks, c=budgets, more=st.floats(0, 1))
def test_kl_inverse_is_monotone_and_below_pinsker(q, c, more):
    p = kl_inverse(q, c)
    assert kl_inverse(q, c + more) >= p - 1e-12
    assert kl_inverse(q + more * (1 - q), c) >= p - 1e-12
    assert p <= q + math.sqrt(c / 2) + 1e-6


def test_logarithm_of_a_share_that_has_vanished():
    assert (log_of(1.0), log_of(0.5), log_of(0.0)) == (0.0, -math.log(2), -math.inf)


@pytest.mark.parametrize("beta_w", [0.0, 0.5, 1.0, math.nextafter(1, 0), math.nextafter(1, 2), 2.0])
def test_power_sum(beta_w):
    weights = np.array([3.0, 0.0, 2.0, 5.0])
    expected = 0.5 * 4.0 * (3 + 2 * beta_w**2 + 5 * beta_w**3)
    assert power_sum(beta_w, weights, 0.5, 4.0) == pytest.approx(expected, rel=1e-12)


def test_power_sum_of_plain_numbers_is_exact():
    # A detour through logarithms would cost digits.
    assert power_sum(0.5, np.array([3.0, 0.0, 2.0, 5.0]), 0.5, 4.0) == 2 * (3 + 0.5 + 0.625)
    assert power_sum(0.0, np.array([3.0, 7.0]), 1.5) == 4.5


def test_power_sum_over_and_underflow():
    assert power_sum(3.0, np.ones(5000)) == math.inf
    assert power_sum(3.0, np.ones(5000), 0.0) == 0.0
    assert power_sum(3.0, np.zeros(5000)) == 0.0
    # Infinite weights have no logarithms to add up.
    assert power_sum(0.5, np.array([1.0, math.inf]), 2.0) == math.inf
    assert power_sum(1e-200, np.array([1.0, 1.0, math.inf]), 2.0) == math.inf
    assert power_sum(0.0, np.array([1.0, math.inf]), 2.0) == 2.0
    # 3^999 times 1e-300 and 1e-100: about 1.3e476 * 1e-400, finite although the sum is not.
    exact = Decimal(3) ** 1000 / 2 * Decimal("1e-400")
    assert power_sum(3.0, np.ones(1000), 1e-300, 1e-100) == pytest.approx(float(exact), rel=1e-9)
    one = np.zeros(5000)
    one[0] = 2.0
    assert power_sum(3.0, one, 4.0) == pytest.approx(8.0)
