"""The inverse of kl to high precision, the code of the weights, and Occam's row."""

import math
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import product

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.bounds import NotApplicableError, Setting
from sklearn_rnnbound.bounds._numeric import kl_inverse, log_of, power_sum
from sklearn_rnnbound.bounds.occam import BITS, occam, occam_kl, quantized
from sklearn_rnnbound.statistics import QuantizedErrors

many_examples = settings(max_examples=150, deadline=None, derandomize=True, database=None)
few_examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)
risks = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 1e-9, 0.5, 1 - 1e-9, 1.0]))
budgets = st.one_of(
    st.floats(0, 20), st.floats(-40, 2).map(lambda e: 10.0**e), st.sampled_from([0.0, 1e-300])
)

# ---- the inverse of kl ----


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


# ---- the code ----


def test_numbers_of_bits():
    assert (min(BITS), max(BITS), len(BITS)) == (1, 16, 16)


def description(rounded, exponent, bits):
    """Nats of exponent, number of non-zero entries, their places and values."""
    size, kept = rounded.size, np.count_nonzero(rounded)
    nats = -math.log(paper.share(exponent)) + math.log(size + 1) + math.log(math.comb(size, kept))
    return nats + kept * bits * math.log(2)


def fits(rounded, exponent, bits):
    """Whether every entry is 0 or +-(1 .. 2^(bits-1)) times 2^exponent, exactly."""
    integers = abs(rounded) * 2.0**-exponent
    return bool(np.all((integers == np.round(integers)) & (integers <= 2 ** (bits - 1))))


@few_examples
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 16),
    rows=st.integers(1, 3),
    columns=st.integers(1, 4),
    scale=st.integers(-20, 20),
)
def test_description_is_of_the_rounded_matrix(seed, bits, rows, columns, scale):
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(rows, columns)) * 2.0**scale * (rng.uniform(size=(1, columns)) < 0.8)
    rounded, nats = quantized(given, bits)
    assert rounded.shape == given.shape
    assert bool(np.all(rounded * given >= 0))
    # The length is that of a message from which the matrix can be read.
    lengths = [description(rounded, e, bits) for e in slow.EXPONENTS if fits(rounded, e, bits)]
    assert any(nats == pytest.approx(length, rel=1e-12) for length in lengths)


def test_code_by_hand():
    rounded, nats = quantized(np.array([[0.9, 0.0, -0.3]]), 2)
    assert rounded.tolist() == [[1.0, 0.0, -0.5]]
    # 2^-1 is cell 3 (1/12), 2 of 3 entries (1/4), at 3 places, 2 bits each.
    assert nats == pytest.approx(math.log(12 * 4 * 3 * 16))
    rounded, nats = quantized(np.zeros((2, 2)), 3)
    assert not rounded.any()
    assert math.log(2 * 5) <= nats + 1e-12 <= math.log(2 * 5) + 1e-9


@pytest.mark.parametrize("bits", [1, 2])
def test_lengths_satisfy_kraft(bits):
    # Messages of a 1 x 2 matrix, found by rounding: a matrix told in two lengths is two messages.
    values = [s * i * 2.0**e for e in range(-6, 7) for i in (0.7, 0.9) for s in (-1, 1)] + [0.0]
    code = set()
    for a, b in product(values, values):
        rounded, nats = quantized(np.array([[a, b]]), bits)
        code.add((*(rounded.ravel() + 0.0), round(nats, 9)))
    assert len(code) > 100
    assert 0.3 < math.fsum(math.exp(-nats) for *_, nats in code) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_more_bits_are_closer(seed):
    given = np.random.default_rng(seed).normal(size=(3, 4))
    errors = [abs(quantized(given, bits)[0] - given).max() for bits in BITS]
    assert errors[0] > errors[7] > errors[-1]
    assert errors[-1] < 1e-4 * abs(given).max()


def test_zero_needs_only_to_be_said():
    for bits in BITS:
        assert quantized(np.zeros((3, 4)), bits)[1] < quantized(np.eye(3, 4), bits)[1]


@pytest.mark.parametrize("size", [1e-300, 1e-25, 1e25, 1e300])
def test_extreme_weights_are_no_error(size):
    rounded, nats = quantized(np.array([[size, -size / 3, 0.0]]), 4)
    assert np.isfinite(rounded).all()
    assert math.isfinite(nats)


# ---- the row ----


@pytest.mark.parametrize("risk", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("length", "n"), [(0.0, 50), (40.0, 1000), (900.0, 20_000), (1e6, 10)])
def test_bound_matches_the_transcription(length, n, risk):
    right = slow.occam_right(length / math.log(2), n, 0.05)
    low, high = slow.kl_upper_scan(risk, right)
    assert low - 1e-12 <= occam_kl(risk, length, n, 0.05) <= high + 1e-12


def test_bound_of_64_bits():
    # kl(1/4 || p) = (64 ln 2 + ln(2 sqrt(20000) / 0.05)) / 20000, about 0.0027.
    p = occam_kl(0.25, 64 * math.log(2), 20_000, 0.05)
    right = (64 * math.log(2) + math.log(2 * math.sqrt(20_000) / 0.05)) / 20_000
    assert float(slow.kl(0.25, p)) == pytest.approx(right, rel=1e-6)
    assert p == pytest.approx(0.2824, abs=1e-4)


@cache
def case_statistics():
    return slow.statistics(slow.make_case(0, n=40))


def described(*networks):
    tried = tuple(QuantizedErrors(b, length, errors, "zero") for b, length, errors in networks)
    return replace(case_statistics(), quantized=tried)


def test_row_takes_the_best_description():
    sums = described((1, 5.0, 12), (3, 8.0, 2), (8, 60.0, 1))
    bound = occam(sums, Setting(delta=0.03))
    brackets = [
        slow.kl_upper_scan(errors / 40, slow.occam_right(length / math.log(2), 40, 0.03))
        for length, errors in [(5.0, 12), (8.0, 2), (60.0, 1)]
    ]
    low, high = min(brackets)
    assert low - 1e-12 <= bound.value <= high + 1e-12
    assert bound.empirical_risk == 2 / 40
    assert [term.name for term in bound.terms] == ["empirical_risk", "complexity", "confidence"]
    assert all(term.value >= 0 for term in bound.terms)
    low, high = slow.kl_upper_scan(2 / 40, 8.0 / 40)
    assert low <= 2 / 40 + bound.term("complexity") + 1e-12 <= high + 1e-9
    assert math.fsum(term.value for term in bound.terms) == pytest.approx(bound.value, rel=1e-12)
    assert (bound.name, bound.kind, bound.delta, bound.margin) == ("occam", "certified", 0.03, None)
    assert (bound.vacuous, bound.reason) == (False, "")


def test_row_that_says_nothing():
    bound = occam(described((16, 1e9, 0)), Setting())
    assert (bound.value, bound.vacuous) == (1.0, True)
    assert bound.reason == "The description is longer than the sample supports."


def test_row_needs_the_training_data():
    with pytest.raises(NotApplicableError):
        occam(slow.statistics(slow.make_case()), Setting())


@few_examples
@given(
    deltas=st.tuples(st.floats(1e-300, 1), st.floats(1e-300, 1)).map(sorted),
    lengths=st.tuples(st.floats(0, 100), st.floats(0, 100)).map(sorted),
)
def test_row_is_monotone(deltas, lengths):
    base = described((2, lengths[0], 4))
    worse = replace(base, quantized=(replace(base.quantized[0], length=lengths[1]),))
    value = occam(base, Setting(delta=deltas[1])).value
    assert occam(base, Setting(delta=deltas[0])).value >= value - 1e-12
    assert occam(worse, Setting(delta=deltas[1])).value >= value - 1e-12


@pytest.mark.parametrize("bits", [1, 2, 5])
@pytest.mark.parametrize("scale", [2.0**-40, 0.25, 1.0, 2.0**40])
def test_a_largest_entry_that_is_a_power_of_two_uses_every_bit(bits, scale):
    steps = np.arange(2 ** (bits - 1) + 1) / 2 ** (bits - 1)
    matrix = scale * np.concatenate([-steps, steps])[None]
    np.testing.assert_array_equal(quantized(matrix, bits)[0], matrix)
