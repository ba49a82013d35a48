"""Projections against bisection, a sort, a quadratic program and every order of summation."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Toy
from scipy.optimize import minimize

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.training import constraints
from sklearn_rnnbound.training.constraints import (
    Box,
    WeightConstraints,
    kind_norm,
    project_rows_,
    row_norm,
)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_radius_whose_shares_would_be_subnormal_is_zero(dtype):
    smallest, rows = float(np.finfo(dtype).tiny), np.ones((7, 5), dtype=dtype)
    assert not projected(rows, np.nextafter(5 * smallest, 0)).any()
    assert projected(rows, 5 * smallest).any(1).all()


@pytest.mark.parametrize("radius", [1.0, (1.0, 0.5)])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_nan_stays_where_it_is(radius, n_rows):
    rows = np.array([[np.nan, 5.0, -5.0], [1.0, 5.0, -5.0]])[:n_rows]
    result = projected(rows, radius)
    np.testing.assert_array_equal(result[0], rows[0])
    np.testing.assert_array_equal(
        result[1:], projected(rows[1:], radius) if n_rows > 1 else rows[1:]
    )


def test_row_norms():
    A = np.array([[1.0, -2.0], [3.0, 0.5], [-1.5, -1.0]], dtype=np.float32)
    assert row_norm(A) == 3.5
    assert row_norm(A, 1.0) == 3.5
    assert row_norm(A, (1.0, 1.0)) == (3.5, 2.5)
    # In single precision the second entry would be lost.
    assert row_norm(np.array([[1.0, 2.0**-24]], dtype=np.float32)) == 1 + 2.0**-24
    assert row_norm(np.array([[1e308, -1e308]])) == np.inf
    assert kind_norm([A, 2 * A]) == 7.0
    assert kind_norm([A, -A], (1.0, 1.0)) == (3.5, 3.5)


# All weights of a cell


def weights_of(seed, m=4, d=3, k=2, names="UWV"):
    rng = np.random.default_rng(seed)
    shapes = {"U": (m, d), "R": (m, m), "W": (m, m), "V": (k, m)}
    return {name: torch.tensor(rng.normal(size=shapes[name])) for name in names}


def constraints_of(m=4, d=3, k=2, kind=Elman, **parameters):
    return WeightConstraints(kind(d, m, k), **parameters)


def box_around(weights, width):
    return Box({name: weight.numpy() for name, weight in weights.items()}, width)


def test_matrices_are_projected_by_their_kinds():
    before, after = (weights_of(0, names="URWV") for _ in range(2))
    constraints_of(kind=Toy, beta_u=0.8, beta_w=(0.3, 0.2)).project_(after)
    radii = {"U": 0.8, "R": (0.3, 0.2), "W": (0.3, 0.2), "V": None}
    for name, radius in radii.items():
        expected = projected(before[name].numpy(), radius)
        np.testing.assert_allclose(after[name], expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("m", [4, 5])
@pytest.mark.parametrize("k", [2, 3])
def test_two_unit_types_are_projected_on_signs_blocks_and_ball_together(seed, m, k):
    # Of four units two are of the first type, of five three.
    signs = np.where(np.arange(m) < (m + 1) // 2, 1.0, -1.0)
    before, after = (weights_of(seed, m=m, k=k) for _ in range(2))
    constraints_of(m=m, k=k, beta_u=0.8, beta_w=0.6, beta_v=0.5, unit_types=2).project_(after)
    readout = np.tile(signs, (k, 1))
    if k == 2:
        readout[0] = 0.0
    patterns = {
        "U": np.tile(signs[:, None], 3),
        "W": np.where(signs[:, None] == signs, 1.0, 0.0),
        "V": readout,
    }
    for name, beta in {"U": 0.8, "W": 0.6, "V": 0.5}.items():
        rows = after[name].numpy(), before[name].numpy(), patterns[name]
        for result, v, sign in zip(*rows, strict=True):
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
    plain = constraints_of(m=m, k=k).initial_weights(3)
    weights = constraints_of(m=m, k=k, unit_types=2).initial_weights(3)
    sizes = {name: weight.abs() for name, weight in plain.items()}
    if k == 2:
        # The halves speak for and against class 1 alone.
        sizes["V"][0] = 0
    for name, size in sizes.items():
        torch.testing.assert_close(weights[name].abs(), size)
    # Of five or six units three are of the first type.
    assert (weights["U"][:3] >= 0).all()
    assert (weights["U"][3:] <= 0).all()
    assert (weights["V"][:, :3] >= 0).all()
    assert (weights["V"][:, 3:] <= 0).all()
    assert (weights["W"] >= 0).all()
    assert (plain["W"] < 0).any()


@pytest.mark.parametrize("diverged", [False, True])
@pytest.mark.parametrize("radius", [2.0, (1.0, 0.9)])
def test_weights_inside_are_not_written_to(radius, diverged):
    weights = {name: weight / 20 for name, weight in weights_of(0).items()}
    if diverged:
        weights["W"][0] = np.nan
    versions = [weight._version for weight in weights.values()]
    constraints_of(beta_u=radius, beta_w=radius, beta_v=radius).project_(weights)
    assert [weight._version for weight in weights.values()] == versions


@pytest.mark.parametrize("radii", [(1.0, 0.5, 2.0), (1.0, (0.5, 0.3), None), (None, 0.5, (0, 1))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_too_large_for_one_projection_go_one_by_one(radii, dtype, monkeypatch):
    names = dict(zip(("beta_u", "beta_w", "beta_v"), radii, strict=True))
    weights, together = (
        {name: A.to(dtype) for name, A in weights_of(0, m=6, d=9).items()} for _ in range(2)
    )
    constraints_of(m=6, d=9, **names).project_(together)
    monkeypatch.setattr(constraints, "_PADDED_ENTRIES", 14 * 9 - 1)
    constraints_of(m=6, d=9, **names).project_(weights)
    for (name, one), radius in zip(weights.items(), radii, strict=True):
        alone = projected(weights_of(0, m=6, d=9)[name].to(dtype).numpy(), radius)
        np.testing.assert_array_equal(one, alone)
        # Zeros beside a row may change the order of its sums.
        rtol = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(one, together[name], rtol=rtol, atol=0)


def test_one_set_serves_weights_of_either_precision_in_views_of_a_row():
    sets = constraints_of(beta_u=0.8, beta_w=0.6, beta_v=(0.2, 0.5))
    for dtype in (torch.float32, torch.float64, torch.float32):
        theta = torch.cat([A.flatten() for A in weights_of(0).values()]).to(dtype)
        alone = weights_of(0)
        sets.project_(sets.cell.split(theta))
        for (name, part), radius in zip(
            sets.cell.split(theta).items(), (0.8, 0.6, (0.2, 0.5)), strict=True
        ):
            expected = projected(alone[name].to(dtype).numpy(), radius)
            rtol = 4 * torch.finfo(dtype).eps
            np.testing.assert_allclose(part, expected, rtol=rtol, atol=0)


# Boxes


def sorted_ends(w, width):
    return np.sort(np.stack([w * (1 - width / 2), w * (1 + width / 2)]), axis=0)


@pytest.mark.parametrize("width", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_holds_the_relative_interval_around_every_weight(width, dtype):
    center = weights_of(0)
    lower, upper = box_around(center, width).ends(torch.zeros((), dtype=dtype))
    for name, w in center.items():
        low, high = lower[name], upper[name]
        assert low.dtype == high.dtype == dtype
        expected = sorted_ends(w.numpy(), width)
        tolerance = 2 * torch.finfo(dtype).eps * w.abs().numpy()
        assert (np.abs(low.numpy() - expected[0]) <= tolerance).all()
        assert (np.abs(high.numpy() - expected[1]) <= tolerance).all()
        assert (low <= w.to(dtype)).all()
        assert (w.to(dtype) <= high).all()
        # No interval reaches across zero.
        assert (low * high >= 0).all()


def test_projection_on_a_box_is_the_nearest_end_or_nothing():
    center = weights_of(0)
    boxed = constraints_of(box=box_around(center, 0.2))
    # One box serves weights of either precision.
    for dtype in (torch.float32, torch.float64, torch.float32):
        weights = {name: weight.to(dtype) for name, weight in weights_of(1).items()}
        boxed.project_(weights)
        for name, before in weights_of(1).items():
            assert weights[name].dtype == dtype
            expected = np.clip(before.numpy(), *sorted_ends(center[name].numpy(), 0.2))
            rtol = 4 * torch.finfo(dtype).eps
            np.testing.assert_allclose(weights[name], expected, rtol=rtol)
        inside = {name: weight.to(dtype) for name, weight in center.items()}
        boxed.project_(inside)
        for name, weight in inside.items():
            assert torch.equal(weight, center[name].to(dtype))


def test_a_box_fits_into_radii_that_all_its_weights_satisfy():
    # Up to 1.5 * 0.4 + 1.5 * 0.2 in a row of U, and 1.5 * 0.4 and 1.5 * 0.2 by sign.
    weights = {
        "U": torch.tensor([[0.4, -0.2]]),
        "W": torch.tensor([[0.5]]),
        "V": torch.tensor([[1.0], [-1.0]]),
    }
    sizes = {"m": 1, "d": 2, "k": 2, "box": box_around(weights, 1.0)}
    radii = {"beta_u": 0.91, "beta_w": (0.76, 0.0), "beta_v": 1.51}
    constraints_of(**sizes, **radii)
    for name, tight in {"beta_u": 0.89, "beta_w": (0.74, 0.0), "beta_v": (1.51, 1.49)}.items():
        with pytest.raises(ValueError, match=f"box_width=1 lets weights leave {name}"):
            constraints_of(**sizes, **{**radii, name: tight})


def test_constraints_and_boxes_are_those_of_a_setting():
    cell, weights = Elman(3, 4, 2), weights_of(0)
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    setting = Setting(beta_u=1.0, beta_w=(0.5, 0.2), unit_types=2, box_width=0.1)
    like = torch.zeros((), dtype=torch.float32)
    box = Box.of(setting, arrays, like)
    assert box.width == 0.1
    for name, weight in weights.items():
        np.testing.assert_array_equal(box.center[name], weight.float())
    made = WeightConstraints.of(cell, setting)
    assert made == WeightConstraints(cell, 1.0, (0.5, 0.2), None, 2, None)
    assert Box.of(setting, None, like) is None
    assert Box.of(Setting(), arrays, like) is None
