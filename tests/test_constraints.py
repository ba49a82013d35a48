"""Projections against a quadratic program, bisection and every order of summation."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

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


@pytest.mark.parametrize("width", [1, 2, 7, 33])
@pytest.mark.parametrize("radius", [1e-3, 0.9, 7.0])
def test_ball_against_exact_bisection(width, radius):
    rows = spread_rows(width, 5, width)
    expected = [bisected(v, radius) for v in rows]
    np.testing.assert_allclose(projected(rows, radius), expected, rtol=0, atol=1e-12 * radius)


@pytest.mark.parametrize("width", [1, 2, 7, 33])
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


@pytest.mark.parametrize("radius", [10.0, (5.0, 5.0), None])
def test_rows_inside_stay_as_they_are(radius):
    rows = np.random.default_rng(0).uniform(-0.5, 0.5, size=(10, 8))
    np.testing.assert_array_equal(projected(rows, radius), rows)


@pytest.mark.parametrize("radius", [0.0, (0.0, 0.0)])
def test_radius_zero_leaves_nothing(radius):
    rows = np.array([[1.0, -1e30, 1e-300], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(projected(rows, radius), np.zeros((2, 3)))


@pytest.mark.parametrize("radius", [4e-309, 5e-324])
def test_subnormal_radius_leaves_next_to_nothing(radius):
    rows = np.array([[1.0, -2.0, 2.0], [1.0, 0.0, 0.0]])
    assert (np.abs(projected(rows, radius)).sum(1) <= radius).all()


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
    A = np.array([[1.0, -2.0], [3.0, 0.5]], dtype=np.float32)
    assert row_norm(A) == 3.5
    assert row_norm(A, 1.0) == 3.5
    assert row_norm(A, (1.0, 1.0)) == (3.5, 2.0)


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
def test_fresh_weights_are_oriented_without_losing_their_size(k):
    U, W, V = random_weights(0, k=k)
    sizes = [weight.abs() for weight in (U, W, V)]
    if k == 2:
        # The halves speak for and against class 1 alone.
        sizes[2][0] = 0
    WeightConstraints(unit_types=2).orient_(U, W, V)
    for weight, size in zip((U, W, V), sizes, strict=True):
        torch.testing.assert_close(weight.abs(), size)
    assert (U[:2] >= 0).all()
    assert (U[2:] <= 0).all()
    assert (V[:, :2] >= 0).all()
    assert (V[:, 2:] <= 0).all()
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
