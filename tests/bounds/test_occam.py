"""The code of the weights, and Occam's row."""

import math
from itertools import product

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import FakeTrial, rule

from sklearn_rnnbound.bounds import BOUNDS, Setting
from sklearn_rnnbound.bounds.occam import BITS, QuantizedErrors, occam_kl, quantized

few_examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)
occam = rule("occam")

# ---- the code ----


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
    # 2^-1 is bin 3 (1/12), 2 of 3 entries (1/4), at 3 places, 2 bits each.
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


SUMS = slow.statistics(slow.make_case(0, n=40))


def described(*networks):
    return tuple(QuantizedErrors(*network, "zero", test_error=network[1]) for network in networks)


def test_row_takes_the_best_description():
    tried, setting = described((1, 5.0, 12), (3, 8.0, 2), (8, 60.0, 1)), Setting(delta=0.03)
    bound = occam(SUMS, setting, tried)
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
    found = bound.name, bound.kind, bound.delta, bound.margin
    assert found == ("occam", "certified", 0.03, None)
    assert (bound.vacuous, bound.reason) == (False, "")
    # The network of the smallest bound is the one that the row speaks of.
    assert BOUNDS["occam"].test_error(SUMS, tried, setting) == 8.0


def test_row_that_says_nothing():
    bound = occam(SUMS, Setting(), described((16, 1e9, 0)))
    assert (bound.value, bound.vacuous) == (1.0, True)
    assert bound.reason == "The description is longer than the sample supports."


@pytest.mark.parametrize("learned", [False, True])
def test_evidence_is_the_network_in_every_number_of_bits(learned):
    weights = {"U": np.array([[0.9, 0.0, -0.3]]), "V": np.array([[1.6], [-0.7]])}
    reference = {"U": np.array([[0.4, 0.0, 0.0]]), "V": np.array([[1.6], [0.0]])}
    trial = FakeTrial(weights, reference=reference if learned else None, n_train=40, n_test=20)
    tried = BOUNDS["occam"].evidence(trial)
    assert [network.bits for network in tried] == list(BITS)
    assert trial.done == trial.total == len(BITS)
    for network in tried:
        # What is told is the difference to the reference, and the number of bits.
        start = reference if learned else {name: 0 * weight for name, weight in weights.items()}
        codes = {name: quantized(w - start[name], network.bits) for name, w in weights.items()}
        lengths = [length for _, length in codes.values()]
        assert network.length == pytest.approx(math.log(16) + sum(lengths), rel=1e-12)
        rounded = {name: start[name] + code for name, (code, _) in codes.items()}
        assert network.n_errors == trial.train_errors(rounded)
        assert network.test_error == network.n_errors / 20
    words = "from weights learned on up to 17 samples, assumed disjoint from these"
    assert {network.reference for network in tried} == {words if learned else "from zero"}
    trial.n_test = 0
    assert BOUNDS["occam"].evidence(trial)[0].test_error is None


@pytest.mark.parametrize("bits", [1, 2, 5])
@pytest.mark.parametrize("scale", [2.0**-40, 0.25, 1.0, 2.0**40])
def test_a_largest_entry_that_is_a_power_of_two_uses_every_bit(bits, scale):
    steps = np.arange(2 ** (bits - 1) + 1) / 2 ** (bits - 1)
    matrix = scale * np.concatenate([-steps, steps])[None]
    np.testing.assert_array_equal(quantized(matrix, bits)[0], matrix)
