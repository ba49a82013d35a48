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
from rules import check_ramp_row, relu, rule

from sklearn_rnnbound.bounds import NotApplicableError
from sklearn_rnnbound.bounds._sample import BoxStatistics
from sklearn_rnnbound.bounds.localized import box_complexity

localized = rule("localized")
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


# ---- the row ----


def box_statistics(lower, upper, states, width, n_reference=40):
    ends = (dict(zip("UWV", end, strict=True)) for end in (lower, upper))
    return BoxStatistics(*ends, states, width, n_reference)


def boxed(case, width):
    lower, upper = box_around(case.weights, width)
    if case.k == 2:
        lower[2][0], upper[2][0] = lower[2][0] - 0.05, upper[2][0] + 0.1
    box = box_statistics(lower, upper, hidden_norms(case.X, case.weights), width)
    return slow.statistics(case, box=box), (lower, upper)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("margin", [0.6, "auto"])
@pytest.mark.parametrize("width", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_row_matches_the_transcription(k, width, margin, noisy):
    case = slow.make_case(k, k=k, d=2, m=3)
    sums, (lower, upper) = boxed(case, width)
    setting = relu(margin=margin, delta=0.04, noise_std=0.4 * noisy, box_width=width)
    bound = localized(sums if noisy else replace(sums, noisy=None), setting)
    if k == 2:
        # The score y_1 - y_0 in one row: Minkowski difference of the intervals.
        low = [*lower[:2], lower[2][1:2] - upper[2][:1]]
        high = [*upper[:2], upper[2][1:2] - lower[2][:1]]
        factor, total = 2, sum(transcribed(case.X, case.weights, (low, high)))
    else:
        factor, total = 4, sum(transcribed(case.X, case.weights, (lower, upper)))
    check_ramp_row(bound, case.margins(), factor, total, setting)


def test_row_overflows_to_infinity():
    case = slow.make_case(0, n=2, d=1, m=2, k=3)
    high = [np.full(A.shape, 3.0) for A in case.weights]
    box = box_statistics([-A for A in high], high, np.ones((5000, 2)), 1.0)
    sums = slow.statistics(case, box=box)
    sums = replace(sums, clean=replace(sums.clean, square_sums=np.ones((5000, 1))))
    for margin in (1.0, "auto"):
        bound = localized(sums, relu(margin=margin, box_width=1.0))
        assert (bound.value, bound.vacuous) == (math.inf, True)
        assert bound.reason
    # Hidden units that overflow beside weights that are known to a point.
    infinite = box_statistics(high, high, np.full((5000, 2), np.inf), 0.0)
    sums = replace(sums, box=infinite)
    assert localized(sums, relu(margin=1.0, box_width=0.0)).value == math.inf


def test_row_needs_a_box():
    with pytest.raises(NotApplicableError, match="box_width"):
        localized(slow.statistics(slow.make_case()), relu(margin=1.0))


def test_row_at_width_zero_is_a_hold_out_bound():
    case = slow.make_case(0, k=3)
    points = case.weights
    box = box_statistics(points, points, hidden_norms(case.X, points), 0.0)
    setting = relu(margin=1e-6, delta=0.1, box_width=0.0)
    bound = localized(slow.statistics(case, box=box), setting)
    assert bound.term("complexity") == 0.0
    errors = paper.indicator_risk(case.margins(), 0.0)
    assert bound.value == pytest.approx(errors + slow.confidence(len(case.X), 0.1))
