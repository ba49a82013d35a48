"""The feed-forward bound of Golowich et al. against a slow transcription."""

import math

import numpy as np
import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import NORMS, check_ramp_row, relu, rule

from sklearn_rnnbound.bounds.golowich import unrolled_complexity
from sklearn_rnnbound.bounds.peeling import theorem_p

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)
golowich2018 = rule("golowich2018")


def radii(betas):
    return dict(zip(("beta_u", "beta_w", "beta_v"), betas, strict=True))


def unrolled(X, betas):
    n, L, d = X.shape
    largest = max(max(columns) for columns in slow.step_l2_columns(X))
    return unrolled_complexity(n=n, n_steps=L, n_features=d, largest=largest, **radii(betas))


@pytest.mark.parametrize(
    "betas", [(1.4, 0.6, 1.8), (1.0, 1.0, 1.0), (0.5, 0.0, 2.0), (1, 1.7, 0.3)]
)
@pytest.mark.parametrize(("L", "d"), [(1, 1), (1, 3), (4, 1), (5, 2)])
def test_complexity_matches_the_transcription(L, d, betas):
    X = slow.make_case(L, L=L, d=d).X
    assert unrolled(X, betas) == pytest.approx(slow.unrolled(X, *betas), rel=1e-10, abs=0)


def test_complexity_by_hand():
    # b_1 = 2, b_2 = 0.5 * 2 + 4 = 5, b_3 = 2.5 + 4 = 6.5
    value = unrolled_complexity(
        n=10, n_steps=3, n_features=2, largest=7.0, beta_u=2.0, beta_w=0.5, beta_v=3.0
    )
    assert value == pytest.approx(3 * 6.5 / 10 * math.sqrt(2 * math.log(16 * 6)) * 7)


def test_complexity_at_its_limits():
    X, ones = slow.make_case().X, np.ones((1, 5000, 1))
    for beta_w in (math.nextafter(1, 0), math.nextafter(1, 2)):
        assert unrolled(X, (1.0, beta_w, 1.0)) == pytest.approx(unrolled(X, (1.0, 1.0, 1.0)))
    assert unrolled(ones, (1.0, 3.0, 1.0)) == math.inf
    assert unrolled(ones, (1.0, 3.0, 0.0)) == unrolled(0 * ones, (1.0, 3.0, 1.0)) == 0.0


@few_examples
@given(
    seed=st.integers(0, 2**32 - 1),
    L=st.integers(1, 6),
    d=st.integers(1, 4),
    beta_w=st.floats(0, 3),
)
def test_peeling_is_never_above_the_unrolled_network(seed, L, d, beta_w):
    X = slow.make_case(seed, L=L, d=d).X
    norms, betas = np.array(slow.step_l2_columns(X)), (1.0, beta_w, 1.0)
    # Only the ball is compared: both pay for the two signs at every step.
    closed, _ = theorem_p(norms, **radii(betas), signed=False)
    assert closed / len(X) <= unrolled(X, betas) * (1 + 1e-12)


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_row_matches_the_transcription(norms, k, unit_types, margin):
    case, fixed = slow.make_case(k, k=k, unit_types=unit_types), NORMS[norms]
    setting = relu(*fixed, unit_types=unit_types, noise_std=0.4, margin=margin, delta=0.03)
    bound = golowich2018(slow.statistics(case, fixed), setting)
    limits = slow.score(fixed, case.norms(fixed), k, unit_types)
    complexity = slow.unrolled(case.X, *limits.betas)
    factor = 2 if k == 2 else 4 * k
    check_ramp_row(bound, case.margins(), factor, complexity, setting, limits.share)
