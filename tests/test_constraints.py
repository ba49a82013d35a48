"""Projections against a quadratic program, bisection, a sort and every order of summation."""

from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sklearn_rnnbound import constraints
from sklearn_rnnbound.constraints import Box, WeightConstraints, project_rows_, row_norm


def projected(A, radius):
    result = torch.tensor(A)
    project_rows_(result, radius)
    return result.numpy()


def quadratic_program(v, constraints):
    """argmin |p - q - v|^2 over p, q >= 0 under linear constraints on (p, q)."""
    d = len(v)
    start = np.zeros(2 * d)
    solution = minimize(
        lambda z: 0.5 * np.sum((z[:d] - z[d:] - v) ** 2),
        start,
        jac=lambda z: np.concatenate([z[:d] - z[d:] - v, v - z[:d] + z[d:]]),
        bounds=[(0.0, None)] * (2 * d),
        constraints=[
            {"type": "ineq", "fun": lambda z, c=c, b=b: b - c @ z, "jac": lambda z, c=c, b=b: -c}
            for c, b in constraints
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert solution.success
    return solution.x[:d] - solution.x[d:]


def bisected(v, radius):
    """Projection on the l1 ball by bisection of the threshold, without rounding."""
    sizes = [abs(Fraction(float(value))) for value in v]
    if sum(sizes) <= radius:
        return v
    low, high = Fraction(0), max(sizes)
    while high - low > 1e-15 * radius:
        middle = (low + high) / 2
        too_large = sum(size - middle for size in sizes if size > middle) > radius
        low, high = (middle, high) if too_large else (low, middle)
    return np.sign(v) * [float(max(size - high, 0)) for size in sizes]


def textbook(rows, radius):
    """Projection of rows outside an l1 ball by sorting (Duchi et al. 2008, Figure 1)."""
    sizes = np.abs(rows).astype(np.float64)
    ordered = -np.sort(-sizes, axis=1)
    counts = np.arange(1, rows.shape[1] + 1)
    thresholds = (np.cumsum(ordered, axis=1) - radius) / counts
    last = (ordered > thresholds).sum(axis=1) - 1
    threshold = thresholds[np.arange(len(rows)), last]
    return np.sign(rows) * np.maximum(sizes - threshold[:, None], 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5])
def test_ball_against_a_quadratic_program(seed, radius):
    rows = np.random.default_rng(seed).normal(size=(4, 6))
    expected = [quadratic_program(v, [(np.ones(12), radius)]) for v in rows]
    np.testing.assert_allclose(projected(rows, radius), expected, atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budgets", [(0.3, 0.8), (1.0, 0.0), (5.0, 0.5)])
def test_sign_budgets_against_a_quadratic_program(seed, budgets):
    rows = np.random.default_rng(seed).normal(size=(4, 6))
    # The positive part of x is at most p, its negative part at most q, for x = p - q.
    sides = [
        (np.r_[np.ones(6), np.zeros(6)], budgets[0]),
        (np.r_[np.zeros(6), np.ones(6)], budgets[1]),
    ]
    expected = [quadratic_program(v, sides) for v in rows]
    np.testing.assert_allclose(projected(rows, budgets), expected, atol=2e-6)


def spread_rows(seed, n_rows, width, dtype=np.float64):
    """Rows of one size, rows of many sizes, and rows of entries of many sizes."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3, n_rows, width))
    rows[1] *= 10.0 ** rng.uniform(-8, 8, size=(n_rows, 1))
    rows[2] *= 10.0 ** rng.uniform(-8, 8, size=(n_rows, width))
    return rows.reshape(-1, width).astype(dtype)


@pytest.mark.parametrize("width", [1, 2, 7, 33, 129])
@pytest.mark.parametrize("radius", [1e-3, 0.9, 7.0])
def test_ball_against_exact_bisection(width, radius):
    rows = spread_rows(width, 5, width)
    expected = [bisected(v, radius) for v in rows]
    np.testing.assert_allclose(projected(rows, radius), expected, rtol=0, atol=1e-12 * radius)


@pytest.mark.parametrize("width", [1, 2, 7, 33, 129])
@pytest.mark.parametrize("budgets", [(1e-3, 7.0), (0.9, 0.3), (0.0, 1.0)])
def test_sign_budgets_against_exact_bisection(width, budgets):
    rows = spread_rows(width, 5, width)
    # The two parts share no entry, so each is projected for itself; a budget 0 leaves none.
    expected = [
        sum(
            sign * bisected(np.maximum(sign * v, 0), budget)
            for sign, budget in zip((1, -1), budgets, strict=True)
            if budget
        )
        for v in rows
    ]
    np.testing.assert_allclose(projected(rows, budgets), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 2e-7), (np.float64, 1e-12)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_wide_rows_against_a_sort(dtype, atol, scale):
    width, rng = 10_000, np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(6, width)), rng.standard_cauchy(size=(6, width))])
    rows = (scale * rows).astype(dtype)
    result = projected(rows, 1.0)
    # The result lies inside by up to 3 width eps / 2 of the radius.
    atol += 1.5 * width * np.finfo(dtype).eps
    np.testing.assert_allclose(result, textbook(rows, 1.0), rtol=0, atol=atol)
    for sums in sums_in_many_orders(result, rng):
        assert (sums <= 1).all()
    np.testing.assert_array_equal(projected(result, 1.0), result)


@pytest.mark.parametrize("width", [7, 128, 10_000])
def test_single_precision_is_rounded_once(width):
    rows = np.random.default_rng(width).normal(size=(5, width)).astype(np.float32)
    eps = float(np.finfo(np.float32).eps)
    inside = 0.9 * (1 - 1.5 * width * eps)
    expected = textbook(rows.astype(np.float64), inside)
    np.testing.assert_allclose(projected(rows, 0.9), expected, rtol=eps, atol=1e-13)


def staircase(n_stairs):
    """A row whose every entry but two is dropped by a Newton step of its own, for radius 1.

    With the n largest entries and their threshold t, the next entry lies below t by a gap that
    grows so fast that the threshold with this entry is still below the entry before.
    """
    entries, threshold, gap = [1.0, 1.0], Fraction(1, 2), Fraction(1, 10**13)
    for count in range(3, 3 + n_stairs):
        entries.append(float(threshold - gap))
        threshold -= gap / count
        gap *= count
    assert min(entries) > 0
    return np.array(entries)


@pytest.mark.parametrize("n_zeros", [0, 100])
@pytest.mark.parametrize("n_stairs", [1, 5, 12])
def test_a_row_that_takes_one_step_for_every_entry(n_stairs, n_zeros):
    row = np.r_[staircase(n_stairs), np.zeros(n_zeros)]
    beside = np.random.default_rng(0).normal(size=(3, len(row)))
    result = projected(np.concatenate([row[None], beside]), 1.0)
    assert np.count_nonzero(result[0]) == 2
    np.testing.assert_allclose(result[0, :2], 0.5, rtol=0, atol=1e-12)
    expected = [bisected(v, 1.0) for v in beside]
    np.testing.assert_allclose(result[1:], expected, rtol=0, atol=1e-12)


def exact_sum(values):
    return sum((Fraction(abs(value)) for value in values.tolist()), Fraction(0))


any_float = st.one_of(
    st.floats(allow_nan=False),
    st.floats(-10, 10),
    st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1.0, -1.0, 1.0 + 2**-52, 1e308, -1e308]),
)


@pytest.mark.parametrize("repeats", [1, 70])
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    v=st.lists(any_float, min_size=1, max_size=20),
    beta=st.one_of(st.floats(0, 10), st.floats(0, 1e300), st.sampled_from([5e-324, 1e-307])),
)
def test_extreme_rows_and_radii(v, beta, repeats):
    v = np.array(v * repeats)
    result = projected(v[None], beta)[0]
    assert exact_sum(result) <= Fraction(beta)
    assert (np.abs(result) <= np.abs(v)).all()
    assert (result * np.sign(v) >= 0).all()
    # Larger entries stay larger, and equal ones equal.
    order = np.argsort(np.abs(v))
    assert (np.diff(np.abs(result[order])) >= 0).all()
    ties = np.diff(np.abs(v[order])) == 0 if np.isfinite(v).all() else []
    assert not np.diff(np.abs(result[order]))[ties].any()
    np.testing.assert_array_equal(projected(result[None], beta)[0], result)
    # What is not left alone fills the ball.
    slack = Fraction(2 * (len(v) + 1) * np.finfo(float).eps)
    if beta > len(v) * np.finfo(float).tiny and not np.array_equal(result, v):
        assert exact_sum(result) >= (1 - slack) * Fraction(beta)


@pytest.mark.parametrize("repeats", [1, 70])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    v=st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    w=st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    radius=st.one_of(st.floats(0.01, 5), st.tuples(st.floats(0, 5), st.floats(0.01, 5))),
)
def test_no_two_points_move_apart(v, w, radius, repeats):
    before = np.tile([v, w], repeats)
    after = projected(before, radius)
    assert np.linalg.norm(after[0] - after[1]) <= np.linalg.norm(before[0] - before[1]) + 1e-12


@pytest.mark.parametrize("repeats", [1, 70])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    v=st.lists(st.floats(-5, 5), min_size=1, max_size=20),
    beta=st.floats(0.01, 5),
)
def test_one_threshold_is_taken_from_every_entry(v, beta, repeats):
    v = np.array(v * repeats)
    result = projected(v[None], beta)[0]
    taken, kept = np.abs(v) - np.abs(result), result != 0
    if np.abs(v).sum() > beta:
        threshold = taken[kept].max()
        np.testing.assert_allclose(taken[kept], threshold, rtol=0, atol=1e-13)
        assert (np.abs(v[~kept]) <= threshold + 1e-13).all()
    else:
        np.testing.assert_allclose(taken, 0, atol=1e-13)


def near_boundary(beta, width, dtype):
    """Equal entries whose sums differ from beta by a few units in the last place."""
    steps = 1 + np.arange(-8, 9)[:, None] * np.finfo(dtype).eps / 2
    return (beta / width * steps * np.ones(width)).astype(dtype)


def sums_in_many_orders(A, rng):
    yield np.abs(A).sum(1)
    yield np.abs(A).astype(np.float64).sum(1)
    for _ in range(20):
        order = rng.permutation(A.shape[1])
        yield np.add.accumulate(np.abs(A[:, order]), axis=1)[:, -1]
    ordered = np.sort(np.abs(A), axis=1)
    yield np.add.accumulate(ordered, axis=1)[:, -1]
    yield np.add.accumulate(ordered[:, ::-1], axis=1)[:, -1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 2, 7, 64, 513])
@pytest.mark.parametrize("beta", [1e-3, 0.3, 0.9, 1.0, 7.0])
def test_rows_satisfy_the_constraint_in_every_order_of_summation(dtype, width, beta):
    rng = np.random.default_rng(width)
    rows = np.concatenate([spread_rows(width, 70, width, dtype), near_boundary(beta, width, dtype)])
    outside = np.abs(rows).astype(np.float64).sum(1) > beta
    result = projected(rows, beta)
    for sums in sums_in_many_orders(result, rng):
        assert (sums <= beta).all()
    # Not deeper inside than rounding asks for.
    slack = 2 * (width + 1) * np.finfo(dtype).eps
    exact = np.array([float(sum(map(Fraction, row.tolist()))) for row in np.abs(result[outside])])
    assert outside.any()
    assert (exact >= beta * (1 - slack)).all()
    assert (result * np.sign(rows) >= 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 2, 7, 64, 513])
@pytest.mark.parametrize("budgets", [(1e-3, 7.0), (0.9, 0.3), (1.0, 0.0)])
def test_sign_budgets_hold_in_every_order_of_summation(dtype, width, budgets):
    rng = np.random.default_rng(width)
    result = projected(spread_rows(width, 70, width, dtype), budgets)
    for part, budget in zip((np.maximum(result, 0), np.minimum(result, 0)), budgets, strict=True):
        for sums in sums_in_many_orders(part, rng):
            assert (sums <= budget).all()


def one_in_front(width, beta, dtype=np.float64):
    """Rows of equal entries, but for a first one that is larger by nearly the radius."""
    rng = np.random.default_rng(width)
    rows = rng.uniform(0.1, 5, size=(20, 1)) * beta * np.ones(width)
    rows[:, 0] += beta * rng.uniform(0.5, 0.99999, size=20)
    return rows.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [7, 64, 513])
@pytest.mark.parametrize("beta", [0.9, 1.0])
def test_one_entry_in_front_of_many_equal_ones(dtype, width, beta):
    # The running sums of the threshold search round alike at every entry.
    once = projected(one_in_front(width, beta, dtype), beta)
    for sums in sums_in_many_orders(once, np.random.default_rng(0)):
        assert (sums <= beta).all()
    np.testing.assert_array_equal(projected(once, beta), once)


@pytest.mark.parametrize("width", [64, 513])
def test_one_entry_in_front_of_many_equal_ones_is_projected_to_the_last_digits(width):
    rows = one_in_front(width, 1.0)
    result = projected(rows, 1.0)
    assert (result.sum(1) >= 1 - 2 * (width + 1) * np.finfo(float).eps).all()
    expected = [bisected(v, 1.0) for v in rows[:3]]
    np.testing.assert_allclose(result[:3], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 2, 7, 64, 513])
@pytest.mark.parametrize("radius", [1e-3, 0.7, 1.0, np.pi, (0.4, 0.2), (7.0, 1e-3), (0.0, 1.0)])
def test_a_second_projection_changes_nothing(dtype, width, radius):
    once = projected(spread_rows(width, 70, width, dtype), radius)
    np.testing.assert_array_equal(projected(once, radius), once)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 513])
def test_rows_inside_stay_as_they_are_beside_rows_outside(dtype, width):
    rows = spread_rows(width, 20, width, dtype).astype(np.float64)
    # Inside by twice the slack, which is more than any rounding of the sum.
    slack = 2 * width * np.finfo(dtype).eps
    rows[::2] *= (1 - slack) / np.abs(rows[::2]).sum(1, keepdims=True)
    rows[1::2] *= 2 / np.abs(rows[1::2]).sum(1, keepdims=True)
    rows = rows.astype(dtype)
    result = projected(rows, 1.0)
    np.testing.assert_array_equal(result[::2], rows[::2])
    assert (result[1::2] != rows[1::2]).any(axis=1).all()


def test_a_row_at_the_limit_stays_beside_a_row_outside():
    # For one column the limit is 1 - eps.
    limit = 1 - np.finfo(np.float64).eps
    assert projected(np.array([[limit], [2.0], [-limit]]), 1.0)[[0, 2], 0].tolist() == [
        limit,
        -limit,
    ]


@pytest.mark.parametrize("radius", [10.0, (5.0, 5.0), None])
def test_rows_inside_stay_as_they_are(radius):
    rows = np.random.default_rng(0).uniform(-0.5, 0.5, size=(10, 8))
    np.testing.assert_array_equal(projected(rows, radius), rows)


@pytest.mark.parametrize("radius", [0.0, (0.0, 0.0)])
def test_radius_zero_leaves_nothing(radius):
    rows = np.array([[1.0, -1e30, 1e-300], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(projected(rows, radius), np.zeros((2, 3)))


@pytest.mark.parametrize("repeats", [1, 50])
@pytest.mark.parametrize("radius", [4e-309, 5e-324])
def test_subnormal_radius_leaves_next_to_nothing(radius, repeats):
    rows = np.tile([[1.0, -2.0, 2.0], [1.0, 0.0, 0.0]], repeats)
    assert (np.abs(projected(rows, radius)).sum(1) <= radius).all()


@pytest.mark.parametrize("repeats", [1, 50])
@pytest.mark.parametrize("radius", [1e-44, 3e-45, 1e-40])
def test_subnormal_radius_in_single_precision(radius, repeats):
    rows = np.tile([[1.0, -2.0, 2.0], [1.0, 1.0, 0.0]], repeats).astype(np.float32)
    assert (np.abs(projected(rows, radius).astype(np.float64)).sum(1) <= radius).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (7, 5)])
def test_radius_whose_shares_would_be_subnormal_is_zero(shape, dtype):
    smallest = float(np.finfo(dtype).tiny)
    assert not projected(np.ones(shape, dtype=dtype), np.nextafter(5 * smallest, 0)).any()
    assert projected(np.ones(shape, dtype=dtype), 5 * smallest).any(-1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_zeros", [0, 100])
def test_infinite_entries_share_the_radius(dtype, n_zeros):
    def padded(rows):
        return np.pad(np.array(rows, dtype=dtype), ((0, 0), (0, n_zeros)))

    rows = padded([[np.inf, -3.0, 1e30], [np.inf, 0.0, -np.inf]])
    rtol = 2 * rows.shape[1] * np.finfo(dtype).eps
    expected = padded([[1, 0, 0], [0.5, 0, -0.5]])
    np.testing.assert_allclose(projected(rows, 1.0), expected, rtol=rtol)
    expected = padded([[2, -1, 0], [2, 0, -1]])
    np.testing.assert_allclose(projected(rows, (2.0, 1.0)), expected, rtol=rtol)


@pytest.mark.parametrize("radius", [1.0, (1.0, 0.5)])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_nan_stays_where_it_is(radius, n_rows):
    rows = np.array([[np.nan, 5.0, -5.0], [1.0, 5.0, -5.0]])[:n_rows]
    result = projected(rows, radius)
    np.testing.assert_array_equal(result[0], rows[0])
    np.testing.assert_array_equal(
        result[1:], projected(rows[1:], radius) if n_rows > 1 else rows[1:]
    )


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 2e-15)])
def test_huge_entries_give_a_vertex_or_the_middle_of_a_side(dtype, rtol):
    rows = np.array([[1e30, -3.0, 2.0], [0.0, -1e30, 1e30]], dtype=dtype)
    np.testing.assert_allclose(projected(rows, 1.0), [[1, 0, 0], [0, -0.5, 0.5]], rtol=rtol)
    np.testing.assert_allclose(projected(rows, (2.0, 0.0)), [[2, 0, 0], [0, 0, 2]], rtol=rtol)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    v=st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    w=st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    beta=st.floats(0.01, 5),
)
def test_no_point_of_the_ball_is_nearer_and_no_sign_flips(v, w, beta):
    v, w = np.array(v), np.array(w)
    nearest = projected(v[None], beta)[0]
    norm = np.abs(w).sum()
    other = w if norm <= beta else w * beta / norm
    assert np.linalg.norm(nearest - v) <= np.linalg.norm(other - v) + 1e-9
    assert (nearest * v >= 0).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    v=st.lists(st.floats(-10, 10), min_size=4, max_size=4),
    w=st.lists(st.floats(-10, 10), min_size=4, max_size=4),
    budgets=st.tuples(st.floats(0, 5), st.floats(0.01, 5)),
)
def test_no_point_within_the_sign_budgets_is_nearer_and_no_sign_flips(v, w, budgets):
    v, w = np.array(v), np.array(w)
    nearest = projected(v[None], budgets)[0]
    parts = np.maximum(w, 0), np.maximum(-w, 0)
    positive, negative = (
        part * min(1, budget / max(part.sum(), 1e-300))
        for part, budget in zip(parts, budgets, strict=True)
    )
    distance = np.linalg.norm(positive - negative - v)
    assert np.linalg.norm(nearest - v) <= distance + 1e-9
    assert (nearest * v >= 0).all()


def test_row_norms():
    A = np.array([[1.0, -2.0], [3.0, 0.5], [-1.5, -1.0]], dtype=np.float32)
    assert row_norm(A) == 3.5
    assert row_norm(A, 1.0) == 3.5
    assert row_norm(A, (1.0, 1.0)) == (3.5, 2.5)
    # In single precision the second entry would be lost.
    assert row_norm(np.array([[1.0, 2.0**-24]], dtype=np.float32)) == 1 + 2.0**-24
    assert row_norm(np.array([[1e308, -1e308]])) == np.inf


def random_weights(seed, m=4, d=3, k=2):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(size=s)) for s in ((m, d), (m, m), (k, m))]


def test_one_unit_type_is_projected_matrix_by_matrix():
    before, after = random_weights(0), random_weights(0)
    constraints = WeightConstraints(0.8, (0.3, 0.2), None)
    constraints.orient_(*after)
    constraints.project_(*after)
    for weight, result, radius in zip(before, after, (0.8, (0.3, 0.2), None), strict=True):
        np.testing.assert_array_equal(result, projected(weight.numpy(), radius))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("signs", [[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0, -1.0]])
@pytest.mark.parametrize("k", [2, 3])
def test_two_unit_types_are_projected_on_signs_blocks_and_ball_together(seed, signs, k):
    signs = np.array(signs)
    U, W, V = random_weights(seed, m=len(signs), k=k)
    before = [weight.numpy() for weight in random_weights(seed, m=len(signs), k=k)]
    WeightConstraints(0.8, 0.6, 0.5, unit_types=2).project_(U, W, V)
    same_type = signs[:, None] == signs
    readout = np.tile(signs, (k, 1))
    if k == 2:
        readout[0] = 0.0
    patterns = [np.tile(signs[:, None], 3), np.where(same_type, 1.0, 0.0), readout]
    for after, rows, pattern, beta in zip(
        (U, W, V), before, patterns, (0.8, 0.6, 0.5), strict=True
    ):
        for result, v, sign in zip(after.numpy(), rows, pattern, strict=True):
            # One program in the magnitudes: sign * z with z >= 0, zero where sign is.
            free = sign != 0
            if not free.any():
                assert not result.any()
                continue
            program = quadratic_program(
                (v * sign)[free],
                [
                    (np.ones(2 * free.sum()), beta),
                    (np.r_[np.zeros(free.sum()), np.ones(free.sum())], 0.0),
                ],
            )
            expected = np.zeros(len(v))
            expected[free] = program
            np.testing.assert_allclose(result, expected * sign, atol=2e-6)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("m", [5, 6])
def test_fresh_weights_are_oriented_without_losing_their_size(m, k):
    U, W, V = random_weights(0, m=m, k=k)
    sizes = [weight.abs() for weight in (U, W, V)]
    if k == 2:
        # The halves speak for and against class 1 alone.
        sizes[2][0] = 0
    WeightConstraints(unit_types=2).orient_(U, W, V)
    for weight, size in zip((U, W, V), sizes, strict=True):
        torch.testing.assert_close(weight.abs(), size)
    # Of five or six units three are of the first type.
    assert (U[:3] >= 0).all()
    assert (U[3:] <= 0).all()
    assert (V[:, :3] >= 0).all()
    assert (V[:, 3:] <= 0).all()
    assert (W >= 0).all()


def box_around(weights, width):
    return Box(tuple(weight.numpy() for weight in weights), width)


@pytest.mark.parametrize("width", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_holds_the_relative_interval_around_every_weight(width, dtype):
    center = random_weights(0)
    lower, upper = box_around(center, width).ends(torch.zeros((), dtype=dtype))
    for w, low, high in zip(center, lower, upper, strict=True):
        assert low.dtype == high.dtype == dtype
        expected = sorted_ends(w.numpy(), width)
        tolerance = 2 * torch.finfo(dtype).eps * w.abs().numpy()
        assert (np.abs(low.numpy() - expected[0]) <= tolerance).all()
        assert (np.abs(high.numpy() - expected[1]) <= tolerance).all()
        assert (low <= w.to(dtype)).all()
        assert (w.to(dtype) <= high).all()
        # No interval reaches across zero.
        assert (low * high >= 0).all()


def sorted_ends(w, width):
    ends = np.stack([w * (1 - width / 2), w * (1 + width / 2)])
    return np.sort(ends, axis=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projection_on_a_box_is_the_nearest_end_or_nothing(dtype):
    center = random_weights(0)
    box = box_around(center, 0.2)
    constraints = WeightConstraints(box=box)
    fresh = tuple(weight.to(dtype) for weight in random_weights(1))
    projected_weights = tuple(weight.clone() for weight in fresh)
    constraints.project_(*projected_weights)
    for before, after, low, high in zip(fresh, projected_weights, *box.ends(fresh[0]), strict=True):
        torch.testing.assert_close(
            after, torch.minimum(torch.maximum(before, low), high), rtol=0, atol=0
        )
    inside = tuple(weight.to(dtype) for weight in random_weights(0))
    copies = tuple(weight.clone() for weight in inside)
    constraints.project_(*copies)
    for before, after in zip(inside, copies, strict=True):
        assert torch.equal(before, after)


def test_box_of_width_zero_is_a_point_and_of_width_two_keeps_the_signs():
    center, far = random_weights(0), random_weights(1)
    WeightConstraints(box=box_around(center, 0.0)).project_(*far)
    for weight, expected in zip(far, center, strict=True):
        assert torch.equal(weight, expected)
    far = random_weights(1)
    WeightConstraints(box=box_around(center, 2.0)).project_(*far)
    for weight, reference in zip(far, center, strict=True):
        assert (weight * reference >= 0).all()
        assert (weight.abs() <= 2 * reference.abs()).all()


def test_class_zero_of_two_is_read_out_as_zero_under_two_unit_types():
    constraints = WeightConstraints(beta_v=0.5, unit_types=2)
    for change in (constraints.orient_, constraints.project_):
        weights = random_weights(0)
        change(*weights)
        assert not weights[2][0].any()
        assert weights[2][1].any()
    three = random_weights(0, k=3)
    constraints.orient_(*three)
    assert three[2].any(1).all()


@pytest.mark.parametrize("diverged", [False, True])
@pytest.mark.parametrize("radius", [2.0, (1.0, 0.9)])
def test_weights_inside_are_not_written_to(radius, diverged):
    weights = [weight / 20 for weight in random_weights(0)]
    if diverged:
        weights[1][0] = np.nan
    versions = [weight._version for weight in weights]
    WeightConstraints(radius, radius, radius).project_(*weights)
    assert [weight._version for weight in weights] == versions


def test_nothing_is_constrained_by_default():
    assert WeightConstraints() == WeightConstraints(None, None, None, 1, None)
    weights = random_weights(0)
    constraints = WeightConstraints()
    constraints.orient_(*weights)
    constraints.project_(*weights)
    for weight, before in zip(weights, random_weights(0), strict=True):
        assert torch.equal(weight, before)


def test_what_is_kept_for_speed_is_no_part_of_the_constraints():
    used, fresh = WeightConstraints(0.1, 0.1, 0.1), WeightConstraints(0.1, 0.1, 0.1)
    used.project_(*random_weights(0))
    boxed = WeightConstraints(box=box_around(random_weights(1), 0.5))
    boxed.project_(*random_weights(0))
    assert used == fresh
    assert boxed == WeightConstraints(box=boxed.box)
    assert repr(used) == repr(fresh)
    with pytest.raises(TypeError):
        WeightConstraints(None, None, None, 1, None, {})
    for record in (used, boxed.box):
        name = next(iter(vars(record)))
        with pytest.raises(FrozenInstanceError):
            setattr(record, name, None)


def test_a_box_fits_into_radii_that_all_its_weights_satisfy():
    # Up to 1.5 * 0.4 + 1.5 * 0.2 in a row of U, and 1.5 * 0.4 and 1.5 * 0.2 by sign.
    U, W, V = torch.tensor([[0.4, -0.2]]), torch.tensor([[0.5]]), torch.tensor([[1.0], [-1.0]])
    box, like = box_around((U, W, V), 1.0), torch.zeros((), dtype=torch.float64)
    radii = {"beta_u": 0.91, "beta_w": (0.76, 0.0), "beta_v": 1.51}
    constraints = WeightConstraints(**radii)
    assert constraints.with_box(box, like) == WeightConstraints(**radii, box=box)
    assert WeightConstraints().with_box(box, like) == WeightConstraints(box=box)
    for name, tight in {"beta_u": 0.89, "beta_w": (0.74, 0.0), "beta_v": (1.51, 1.49)}.items():
        with pytest.raises(ValueError, match=f"box_width=1 lets weights leave {name}"):
            WeightConstraints(**{**radii, name: tight}).with_box(box, like)


def test_form_tells_what_a_stack_must_share():
    box = box_around(random_weights(0), 0.5)
    forms = [
        WeightConstraints(1.0, 2.0, None),
        WeightConstraints((0.5, 0.5), 2.0, None),
        WeightConstraints(1.0, (0.5, 0.5), None),
        WeightConstraints(1.0, 2.0, (0.5, 0.5)),
        WeightConstraints(1.0, 2.0, None, unit_types=2),
        WeightConstraints(box=box),
        WeightConstraints(box=box_around(random_weights(0), 0.5)),
    ]
    assert len({one.form for one in forms}) == len(forms)
    assert forms[0].form == WeightConstraints(None, 0.3, 1.0).form
    assert forms[5].form == WeightConstraints(box=box).form


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stack_of_different_radii_is_projected_as_each_model_alone(dtype):
    sets = [
        WeightConstraints(0.8, (0.3, 0.2), 0.5),
        WeightConstraints(None, (0.3, 0.7), 0.5),
        WeightConstraints(0.1, (0.1, 0.2), 0.5),
    ]
    _, stack, _ = stack_of_weights(dtype, n_models=3)
    expected = [[weight[i].clone() for weight in stack] for i in range(3)]
    for alone, weights in zip(sets, expected, strict=True):
        alone.project_(*weights)
    together = WeightConstraints.stacked(sets, torch.device("cpu"))
    # What all share stays a number, and every tensor is in double precision.
    assert (together.beta_v, together.unit_types) == (0.5, 1)
    assert together.beta_u.tolist() == [[0.8], [np.inf], [0.1]]
    assert together.beta_w[0].tolist() == [[0.3], [0.3], [0.1]]
    assert together.beta_w[1].tolist() == [[0.2], [0.7], [0.2]]
    assert together.beta_u.dtype == torch.float64
    together.project_(*stack)
    for i, weights in enumerate(expected):
        for weight, stacked in zip(weights, stack, strict=True):
            assert torch.equal(stacked[i], weight)


def test_sets_that_are_equal_are_stacked_as_they_are():
    same = WeightConstraints(0.8, (0.3, 0.2), None, unit_types=2)
    assert WeightConstraints.stacked([same, same], torch.device("cpu")) == same


def stack_of_weights(dtype, m=5, d=3, k=2, n_models=4, gap=3):
    """Weights of models as views of one buffer, with gaps; some rows inside, some far outside."""
    rng = np.random.default_rng(0)
    shapes = [(m, d), (m, m), (k, m)]
    size = sum(rows * width + gap for rows, width in shapes) + gap
    theta = rng.normal(size=(n_models, size)) * 10.0 ** rng.integers(-3, 2, size=(n_models, size))
    theta = torch.tensor(theta, dtype=dtype)
    views, start = [], gap
    outside = torch.ones(size, dtype=torch.bool)
    for rows, width in shapes:
        stop = start + rows * width
        views.append(theta[:, start:stop].view(n_models, rows, width))
        outside[start:stop] = False
        start = stop + gap
    return theta, views, outside


stack_constraints = {
    "balls": WeightConstraints(0.8, 0.6, 0.5),
    "budgets": WeightConstraints((0.8, 0.1), (0.3, 0.2), (0.0, 0.5)),
    "mixed": WeightConstraints(None, 0.6, (0.2, 0.5)),
    "types": WeightConstraints(0.8, None, 0.5, unit_types=2),
    "box": WeightConstraints(box=box_around(random_weights(1, m=5), 0.5)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", stack_constraints)
@pytest.mark.parametrize("change", ["project_", "orient_"])
def test_a_stack_is_changed_in_place_as_each_model_alone(dtype, k, name, change):
    constraints = stack_constraints[name]
    if constraints.box is not None:
        constraints = WeightConstraints(box=box_around(random_weights(1, m=5, k=k), 0.5))
    theta, stack, outside = stack_of_weights(dtype, k=k)
    before = theta.clone()
    assert not stack[0].is_contiguous()
    alone = [[weight[i].clone() for weight in stack] for i in range(len(theta))]
    getattr(constraints, change)(*stack)
    for i, weights in enumerate(alone):
        getattr(constraints, change)(*weights)
        for weight, stacked in zip(weights, stack, strict=True):
            assert torch.equal(stacked[i], weight)
    assert torch.equal(theta[:, outside], before[:, outside])
    if change == "project_":
        assert (theta != before).any(1).all()


@pytest.mark.parametrize("radius", [0.9, (0.9, 0.4)])
@pytest.mark.parametrize("width", [3, 31, 128])
def test_rows_of_a_stack_do_not_depend_on_each_other(radius, width):
    rows = torch.tensor(spread_rows(0, 20, width, np.float32))
    stack = torch.cat([rows, torch.ones(4, width)])
    expected = torch.cat([torch.tensor(projected(row[None].numpy(), radius)) for row in stack])
    stack = stack.view(4, -1, width).clone()
    project_rows_(stack, radius)
    assert torch.equal(stack.view(-1, width), expected)


def test_a_diverged_model_leaves_the_others_of_its_stack_alone():
    _, stack, _ = stack_of_weights(torch.float64)
    expected = [weight[1:].clone() for weight in stack]
    constraints = stack_constraints["balls"]
    constraints.project_(*expected)
    for weight in stack:
        weight[0] = np.nan
    constraints.project_(*stack)
    for weight, others in zip(stack, expected, strict=True):
        assert weight[0].isnan().all()
        assert torch.equal(weight[1:], others)


def test_one_box_serves_weights_of_either_precision():
    center = random_weights(0)
    constraints = WeightConstraints(box=box_around(center, 0.2))
    for dtype in (torch.float32, torch.float64, torch.float32):
        weights = [weight.to(dtype) for weight in random_weights(1)]
        expected = [
            np.clip(weight.double().numpy(), *sorted_ends(w.numpy(), 0.2))
            for weight, w in zip(weights, center, strict=True)
        ]
        constraints.project_(*weights)
        for weight, value in zip(weights, expected, strict=True):
            assert weight.dtype == dtype
            np.testing.assert_allclose(weight, value, rtol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("radii", [(1.0, 0.5, 2.0), (1.0, (0.5, 0.3), None), (None, 0.5, (0, 1))])
def test_matrices_too_large_for_one_projection_go_one_by_one(radii, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 6, 9), (3, 6, 6), (3, 2, 6)
    weights = [torch.randn(*shape, generator=generator) for shape in shapes]
    together = [A.clone() for A in weights]
    WeightConstraints(*radii).project_(*together)
    monkeypatch.setattr(constraints, "_PADDED_ENTRIES", 3 * 14 * 9 - 1)
    WeightConstraints(*radii).project_(*weights)
    for one, other in zip(weights, together, strict=True):
        assert torch.equal(one, other)
