"""The bound without learning theory against a slow transcription."""

import math

import numpy as np
import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import NORMS, TANH, check_ramp_row, relu, rule

from sklearn_rnnbound.bounds.trivial import trivial_complexity

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)
trivial = rule("trivial")


def trivially(X, beta_u, beta_w, beta_v):
    sums = np.abs(X).max(2).sum(0)
    return trivial_complexity(sums, n=len(X), beta_u=beta_u, beta_w=beta_w, beta_v=beta_v)


@pytest.mark.parametrize(
    "betas", [(1.4, 0.6, 1.8), (1.0, 1.0, 1.0), (0.5, 0.0, 2.0), (1, 1.7, 0.3)]
)
@pytest.mark.parametrize(("L", "d"), [(1, 1), (1, 3), (4, 1), (5, 2)])
def test_complexity_matches_the_transcription(L, d, betas):
    X = slow.make_case(L, L=L, d=d).X
    assert trivially(X, *betas) == pytest.approx(slow.trivial(X, *betas), rel=1e-10, abs=0)


def test_complexity_by_hand():
    sums = np.array([4.0, 6.0, 8.0])
    value = trivial_complexity(sums, n=2, beta_u=2.0, beta_w=0.5, beta_v=3.0)
    assert value == pytest.approx(6 * (0.25 * 2 + 0.5 * 3 + 4))


def test_complexity_at_its_limits():
    ones = np.ones((1, 5000, 1))
    assert trivially(ones, 1.0, 3.0, 1.0) == math.inf
    assert trivially(ones, 1.0, 3.0, 0.0) == trivially(0 * ones, 1.0, 3.0, 1.0) == 0.0


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_row_matches_the_transcription(norms, k, unit_types, margin):
    case, fixed = slow.make_case(k, k=k, unit_types=unit_types), NORMS[norms]
    setting = relu(
        *fixed, unit_types=unit_types, noise_std=0.4, margin=margin, delta=0.03, properties=TANH
    )
    bound = trivial(slow.statistics(case, fixed), setting)
    limits = slow.score(fixed, case.norms(fixed), k, unit_types)
    complexity = slow.trivial(case.X, *limits.betas)
    factor = 2 if k == 2 else 4 * k
    check_ramp_row(bound, case.margins(), factor, complexity, setting, limits.share)


@few_examples
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(2, 4),
    margin=st.one_of(st.floats(1e-3, 1e3), st.just("auto")),
)
def test_never_below_one(seed, k, margin):
    case = slow.make_case(seed, k=k)
    for norms in (case.norms(), (None, None, None)):
        assert trivial(slow.statistics(case), relu(*norms, margin=margin)).value >= 1
