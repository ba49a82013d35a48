"""Projections against a quadratic program, bisection and every order of summation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sklearn_rnnbound.constraints import WeightConstraints, project_rows_, row_norm


def projected(A, radius):
    result = torch.tensor(A)
    project_rows_(result, radius)
    return result.numpy()


def quadratic_program(v, constraints, lower=0.0):
    """argmin |p - q - v|^2 over p, q >= 0 under linear constraints on (p, q)."""
    d = len(v)
    start = np.zeros(2 * d)
    solution = minimize(
        lambda z: 0.5 * np.sum((z[:d] - z[d:] - v) ** 2),
        start,
        jac=lambda z: np.concatenate([z[:d] - z[d:] - v, v - z[:d] + z[d:]]),
        bounds=[(lower, None)] * (2 * d),
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
    """Projection on the l1 ball by bisection of the threshold."""
    if np.abs(v).sum() <= radius:
        return v
    low, high = 0.0, np.abs(v).max()
    for _ in range(200):
        middle = (low + high) / 2
        too_large = np.maximum(np.abs(v) - middle, 0).sum() > radius
        low, high = (middle, high) if too_large else (low, middle)
    return np.sign(v) * np.maximum(np.abs(v) - high, 0)


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


@pytest.mark.parametrize("width", [1, 2, 33])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e8])
def test_ball_against_bisection(width, scale):
    rows = np.random.default_rng(width).normal(size=(20, width)) * scale
    expected = np.array([bisected(v, 0.9) for v in rows])
    np.testing.assert_allclose(projected(rows, 0.9), expected, rtol=1e-6, atol=1e-8 * min(scale, 1))


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
    spread = 10.0 ** rng.uniform(-8, 8, size=(200, 1))
    rows = (rng.normal(size=(200, width)) * spread).astype(dtype)
    rows[100:] = np.sign(rows[100:]) * np.abs(rows[100:]) ** 0.1 / width
    outside = np.abs(rows).astype(np.float64).sum(1) > beta
    result = projected(rows, beta)
    for sums in sums_in_many_orders(result, rng):
        assert (sums <= beta).all()
    # Not deeper inside than promised.
    slack = 2 * width * np.finfo(dtype).eps
    exact = np.abs(result).astype(np.float64).sum(1)
    assert outside.any()
    assert (exact[outside] >= beta * (1 - slack) * (1 - 1e-15)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("radius", [0.7, (0.4, 0.2)])
def test_a_second_projection_changes_nothing(dtype, radius):
    rows = np.random.default_rng(0).normal(size=(300, 40)).astype(dtype)
    once = projected(rows, radius)
    np.testing.assert_array_equal(projected(once, radius), once)


@pytest.mark.parametrize("radius", [10.0, (5.0, 5.0), None])
def test_rows_inside_stay_as_they_are(radius):
    rows = np.random.default_rng(0).uniform(-0.5, 0.5, size=(10, 8))
    np.testing.assert_array_equal(projected(rows, radius), rows)


def test_special_rows():
    np.testing.assert_array_equal(projected(np.ones((2, 3)), 0.0), np.zeros((2, 3)))
    vertex = projected(np.array([[1e30, -3.0, 2.0], [0.0, -1e30, 1e30]]), 1.0)
    np.testing.assert_allclose(vertex, [[1, 0, 0], [0, -0.5, 0.5]], rtol=1e-14)
    np.testing.assert_allclose(projected(np.array([[3.0, -3.0]]), (1.0, 0.0)), [[1, 0]], rtol=1e-14)


@settings(max_examples=50, deadline=None)
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


def test_row_norms():
    A = np.array([[1.0, -2.0], [3.0, 0.5]], dtype=np.float32)
    assert row_norm(A) == 3.5
    assert row_norm(A, 1.0) == 3.5
    assert row_norm(A, (1.0, 1.0)) == (3.5, 2.0)


def random_weights(seed, m=4, d=3, k=2):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(size=s)) for s in ((m, d), (m, m), (k, m))]


@pytest.mark.parametrize("seed", range(3))
def test_two_unit_types_are_projected_on_signs_blocks_and_ball_together(seed):
    U, W, V = (weight.clone() for weight in random_weights(seed))
    before = [weight.numpy() for weight in random_weights(seed)]
    WeightConstraints(0.8, 0.6, 0.5, unit_types=2).project_(U, W, V)
    signs = np.array([1.0, 1.0, -1.0, -1.0])
    same_type = signs[:, None] == signs
    patterns = [np.tile(signs[:, None], 3), np.where(same_type, 1.0, 0.0), np.tile(signs, (2, 1))]
    for after, rows, pattern, beta in zip(
        (U, W, V), before, patterns, (0.8, 0.6, 0.5), strict=True
    ):
        for result, v, sign in zip(after.numpy(), rows, pattern, strict=True):
            # One program in the magnitudes: sign * z with z >= 0, zero where sign is.
            free = sign != 0
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


def test_fresh_weights_are_oriented_without_losing_their_size():
    U, W, V = random_weights(0)
    sizes = [weight.abs() for weight in (U, W, V)]
    WeightConstraints(unit_types=2).orient_(U, W, V)
    for weight, size in zip((U, W, V), sizes, strict=True):
        torch.testing.assert_close(weight.abs(), size)
    assert (U[:2] >= 0).all()
    assert (U[2:] <= 0).all()
    assert (V[:, 2:] <= 0).all()
    assert (W >= 0).all()
