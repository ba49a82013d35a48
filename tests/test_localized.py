"""Theorem I against a slow transcription, its limits, and members of the box."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.bounds import NotApplicableError, Setting
from sklearn_rnnbound.bounds.localized import box_complexity, localized
from sklearn_rnnbound.statistics import BoxStatistics

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
close = {"rel": 1e-10, "abs": 0}
ACTIVATIONS = {"relu": lambda g: max(g, 0.0), "tanh": math.tanh}


def box_around(weights, width):
    """Intervals of this relative width, and a few that reach across zero."""
    lower, upper = [], []
    for A in weights:
        half = width / 2 * abs(A)
        half[0, 0] = 1.5 * abs(A[0, 0])
        lower.append(A - half)
        upper.append(A + half)
    return lower, upper


def hidden_norms(X, weights, activation="relu"):
    states = slow.hidden(X, weights[0], weights[1], ACTIVATIONS[activation])
    return np.sqrt((states[:, 1:] ** 2).sum(0))


def complexity(X, weights, box, activation="relu"):
    intervals = zip(*box, strict=True)
    norms = np.array(slow.step_l2_columns(X))
    return box_complexity(norms, hidden_norms(X, weights, activation), *intervals)


def transcribed(X, weights, box, activation="relu"):
    boxes = list(zip(*([A.tolist() for A in end] for end in box), strict=True))
    expected_abs = slow.step_l2_columns(X)
    return slow.theorem_i(X, boxes, weights[:2], expected_abs, ACTIVATIONS[activation])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("width", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("L", [1, 4])
def test_complexity_matches_the_transcription(L, width, k, activation):
    case = slow.make_case(L, L=L, k=k, d=2, m=3)
    box = box_around(case.weights, width)
    value = complexity(case.X, case.weights, box, activation)
    expected = transcribed(case.X, case.weights, box, activation)
    assert value.shape == (k,)
    assert value / len(case.X) == pytest.approx(expected, **close)


def test_complexity_by_hand():
    # One sample x = (2, 3), one unit: U = 1 +- 0.1, W = 0.5 +- 0.2, V in [-0.3, 0.1].
    ends = [
        (np.array([[lo]]), np.array([[hi]])) for lo, hi in [(0.9, 1.1), (0.3, 0.7), (-0.3, 0.1)]
    ]
    norms, hidden = np.array([[2.0], [3.0]]), np.array([[2.0], [4.0]])
    # D_1 = 0.5 * 0.2 * 2 = 0.2; D_2 = 0.5 * 0.2 * 3 + 0.7 * 0.2 + 0.5 * 0.4 * 2 = 0.84
    # c = 0.1 + 0.3 and width 0.4: 0.4 * 0.84 + 0.5 * 0.4 * 4
    assert box_complexity(norms, hidden, *ends) == pytest.approx([1.136])


def test_negative_intervals_are_mirror_images():
    case = slow.make_case(1, k=2, m=3)
    lower, upper = box_around(case.weights, 0.3)
    plain = complexity(case.X, case.weights, (lower, upper))
    mirrored = complexity(
        case.X,
        case.weights,
        ([lower[0], lower[1], -upper[2]], [upper[0], upper[1], -lower[2]]),
    )
    np.testing.assert_allclose(mirrored, plain, rtol=1e-12)


@few_examples
@given(seed=seeds, L=st.integers(1, 5), activation=st.sampled_from(list(ACTIVATIONS)))
def test_a_point_has_no_complexity_and_width_adds_to_it(seed, L, activation):
    case = slow.make_case(seed, L=L)
    values = []
    for width in (0.0, 0.01, 0.5, 2.0):
        ends = [[A - s * width / 2 * abs(A) for A in case.weights] for s in (1, -1)]
        values.append(complexity(case.X, case.weights, ends, activation))
    assert values[0].tolist() == [0.0, 0.0]
    assert all((a <= b).all() for a, b in pairwise(values))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [0.2, 2.0])
def test_no_member_of_the_box_exceeds_the_complexity(width, activation):
    rng = np.random.default_rng(0)
    case = slow.make_case(4, n=6, L=3, d=2, m=3, k=1)
    lower, upper = box_around(case.weights, width)
    # Corners of the box.
    U, W, V = (
        np.where(rng.uniform(size=(20_000, *lo.shape)) < 0.5, lo, hi)
        for lo, hi in zip(lower, upper, strict=True)
    )
    last = slow.states(
        U, W, case.X, {"relu": lambda g: np.maximum(g, 0), "tanh": np.tanh}[activation]
    )
    reached = slow.complexity_from_below(np.einsum("Nnm,Nm->Nn", last, V[:, 0]))
    value = complexity(case.X, case.weights, (lower, upper), activation)[0] / 6
    assert 0.1 * value < reached <= value


def test_box_across_zero_is_attained():
    # One sample x = 1, one step, u = 1 a point, v in [-1, 1]: the complexity is E |s| = 1.
    one, interval = (np.ones((1, 1)),) * 2, (-np.ones((1, 1)), np.ones((1, 1)))
    value = box_complexity(np.ones((1, 1)), np.ones((1, 1)), one, one, interval)
    assert value == pytest.approx(slow.complexity_from_below(np.array([[1.0], [-1.0]])))


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_complexity_of_extreme_inputs(size):
    case = slow.make_case(2)
    box = box_around(case.weights, 0.4)
    norms, states = np.array(slow.step_l2_columns(case.X)), hidden_norms(case.X, case.weights)
    intervals = list(zip(*box, strict=True))
    expected = size * box_complexity(norms, states, *intervals)
    np.testing.assert_allclose(box_complexity(size * norms, size * states, *intervals), expected)


# ---- the row ----


def boxed(case, width, noisy=False):
    lower, upper = box_around(case.weights, width)
    if case.k == 2:
        lower[2][0], upper[2][0] = lower[2][0] - 0.05, upper[2][0] + 0.1
    box = BoxStatistics(
        tuple(lower), tuple(upper), hidden_norms(case.X, case.weights), width, n_prior=40
    )
    sums = slow.statistics(case, box=box)
    return sums if noisy else replace(sums, noisy=None)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("margin", [0.6, "auto"])
@pytest.mark.parametrize("width", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_row_matches_the_transcription(k, width, margin, noisy):
    case = slow.make_case(k, k=k, d=2, m=3)
    sums = boxed(case, width, noisy)
    setting = Setting(margin=margin, delta=0.04, noise_std=0.4 * noisy)
    bound = localized(sums, setting)
    lower, upper = sums.box.lower, sums.box.upper
    if k == 2:
        # The score y_1 - y_0 in one row: Minkowski difference of the intervals.
        low = [*lower[:2], lower[2][1:2] - upper[2][:1]]
        high = [*upper[:2], upper[2][1:2] - lower[2][:1]]
        factor, total = 2, sum(transcribed(case.X, case.weights, (low, high)))
    else:
        factor, total = 4, sum(transcribed(case.X, case.weights, (lower, upper)))
    margins, n = case.margins(), len(case.X)
    value, alpha, left = slow.at_best(
        lambda alpha, delta: slow.assembled(margins, factor, total, n, delta, alpha), margin, 0.04
    )
    expected = slow.assembled(margins, factor, total, n, left, alpha)
    assert bound.value == pytest.approx(value, **close)
    assert bound.margin == alpha
    assert {term.name for term in bound.terms} == {"empirical_risk", "complexity", "confidence"}
    for term in bound.terms:
        assert term.value == pytest.approx(expected[term.name], rel=1e-10, abs=1e-300)
    assert (bound.name, bound.kind, bound.delta) == ("localized", "certified", 0.04)
    assert bound.vacuous is (bound.value >= 1)


def test_row_overflows_to_infinity():
    case = slow.make_case(0, n=2, d=1, m=2, k=3)
    ends = [np.full(A.shape, 3.0) for A in case.weights]
    box = BoxStatistics(tuple(-A for A in ends), tuple(ends), np.ones((5000, 2)), 1.0, 10)
    sums = slow.statistics(case, box=box)
    sums = replace(sums, clean=replace(sums.clean, square_sums=np.ones((5000, 1))))
    for margin in (1.0, "auto"):
        bound = localized(sums, Setting(margin=margin))
        assert (bound.value, bound.vacuous) == (math.inf, True)
        assert bound.reason
    # Hidden units that overflow beside weights that are known to a point.
    infinite = BoxStatistics(tuple(ends), tuple(ends), np.full((5000, 2), np.inf), 0.0, 10)
    assert localized(replace(sums, box=infinite), Setting(margin=1.0)).value == math.inf


def test_row_needs_a_box():
    with pytest.raises(NotApplicableError):
        localized(slow.statistics(slow.make_case()), Setting(margin=1.0))


def test_row_at_width_zero_is_a_hold_out_bound():
    case = slow.make_case(0, k=3)
    points = tuple(case.weights)
    box = BoxStatistics(points, points, hidden_norms(case.X, case.weights), 0.0, 10)
    bound = localized(slow.statistics(case, box=box), Setting(margin=1e-6, delta=0.1))
    assert bound.term("complexity") == 0.0
    errors = paper.indicator_risk(case.margins(), 0.0)
    assert bound.value == pytest.approx(errors + slow.confidence(len(case.X), 0.1))


@few_examples
@given(seed=seeds, copies=st.integers(2, 9))
def test_complexity_decreases_like_the_root_of_n(seed, copies):
    case = slow.make_case(seed)
    many = replace(case, X=np.tile(case.X, (copies, 1, 1)))
    box = box_around(case.weights, 0.4)
    few, large = (complexity(c.X, c.weights, box) / len(c.X) for c in (case, many))
    np.testing.assert_allclose(large, few / math.sqrt(copies), rtol=1e-9)


@few_examples
@given(deltas=st.tuples(st.floats(1e-300, 1), st.floats(1e-300, 1)).map(sorted))
def test_value_does_not_increase_in_delta(deltas):
    sums = boxed(slow.make_case(), 0.3)
    low, high = (localized(sums, Setting(margin=0.5, delta=delta)).value for delta in deltas)
    assert low >= high * (1 - 1e-12)
