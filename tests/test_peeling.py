"""Peeling over time steps against a slow transcription, against truth, and at its limits."""

import math
from dataclasses import FrozenInstanceError, replace
from functools import cache

import numpy as np
import pytest
import torch
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from sklearn_rnnbound.bounds import BOUNDS, NotApplicableError, Setting
from sklearn_rnnbound.bounds.peeling import (
    UnitType,
    _log_sum,
    expected_max_abs,
    expected_max_positive,
    path_norm_complexity,
    peeling,
    population_square,
    recurrence_budget,
    theorem_p,
    theorem_q,
)
from sklearn_rnnbound.network import RecurrentNetwork
from sklearn_rnnbound.statistics import sample_statistics

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
close = {"rel": 1e-10, "abs": 0}
# A search over the scale of an exponential may stop this far above its best point.
SEARCH = 2e-3


def norms_of(X):
    return np.array(slow.step_l2_columns(X))


def assert_searched(value, best):
    """The value is a limit that a search found: never below the best, hardly above."""
    assert best * (1 - 1e-9) <= value <= best * (1 + SEARCH)


@cache
def sample(seed, n=6, L=4, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, L, d)) * rng.uniform(0, 2, size=(1, L, d))


# ---- the two expectations ----


@pytest.mark.parametrize("d", [1, 2, 5, 40])
@pytest.mark.parametrize("seed", range(3))
def test_expectations_match_the_transcription(seed, d):
    norms = norms_of(sample(seed, d=d))
    for code, plain in [
        (expected_max_abs, slow.least_max_abs),
        (expected_max_positive, slow.least_max_positive),
    ]:
        for value, columns in zip(code(norms), norms.tolist(), strict=True):
            assert_searched(value, plain(columns))


@pytest.mark.parametrize("d", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("law", ["normal", "signs", "sparse", "one_large"])
def test_expectations_are_above_the_truth(n, d, law):
    rng = np.random.default_rng(n * d)
    x = {
        "normal": rng.normal(size=(n, d)),
        "signs": rng.choice([-1.0, 1.0], size=(n, d)),
        "sparse": rng.normal(size=(n, d)) * (rng.uniform(size=(n, d)) < 0.3),
        "one_large": rng.normal(size=(n, d)) * np.geomspace(1, 1e-3, d),
    }[law]
    norms = norms_of(x[:, None])
    assert expected_max_abs(norms)[0] >= slow.true_max_abs(x) * (1 - 1e-12)
    assert expected_max_positive(norms)[0] >= slow.true_max_positive(x) * (1 - 1e-12)


def test_expectations_by_hand():
    # d = 1, n = 1: |Z| = 3, and Z_+ is 3 or 0. Both limits are attained.
    assert expected_max_abs(np.array([[3.0]])).tolist() == [3.0]
    assert expected_max_positive(np.array([[3.0]])).tolist() == [1.5]
    # Two equal columns: Jensen's sqrt(2) is below Massart's sqrt(2 ln 4) and the sum.
    assert expected_max_abs(np.array([[1.0, 1.0]]))[0] == pytest.approx(math.sqrt(2))
    # For the positive part Jensen's root of one half times two, and the half sum: both 1.
    assert expected_max_positive(np.array([[1.0, 1.0]]))[0] == pytest.approx(1.0)
    # Many equal columns: the logarithm wins.
    assert expected_max_abs(np.ones((1, 1000)))[0] == pytest.approx(
        math.sqrt(2 * math.log(2000)), rel=SEARCH
    )


@pytest.mark.parametrize("d", [5, 1000])
def test_expectation_of_equal_columns_is_no_larger_than_massart(d):
    # The sum of d equal exponentials is least exactly at Massart's choice.
    massart = math.sqrt(2 * math.log(2 * d))
    norms = np.ones((2, d)) * [[3.0], [0.5]]
    expected = [size * min(math.sqrt(d), massart) for size in (3.0, 0.5)]
    assert expected_max_abs(norms) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n_signs", [1, 2])
@pytest.mark.parametrize("d", [1, 2, 30])
def test_log_sum_is_the_least_over_all_scales(d, n_signs):
    sizes = 1 / np.arange(1.0, d + 1)

    def at(mu):
        total = n_signs * np.exp(np.square(mu * sizes) / 2).sum()
        return math.log(total + (1 if n_signs == 1 else 0)) / mu

    best = minimize_scalar(at, bounds=(0.1, 20), method="bounded").fun
    # Two steps, the second of which is smaller and in another order.
    values = _log_sum(np.array([3.0 * sizes, 0.5 * sizes[::-1]]), n_signs)
    for value, expected in zip(values, (3 * best, 0.5 * best), strict=True):
        assert_searched(value, expected)


@pytest.mark.parametrize("expectation", [expected_max_abs, expected_max_positive])
def test_expectations_of_extreme_scales(expectation):
    norms = norms_of(sample(0))
    reference = expectation(norms)
    for scale in (1e-300, 1e-150, 1e150, 1e300):
        np.testing.assert_allclose(expectation(scale * norms), scale * reference, rtol=1e-12)
    assert expectation(np.zeros((3, 2))).tolist() == [0.0, 0.0, 0.0]


# ---- Theorem P and its log-sum ----

BETAS = [(1.0, 0.9, 1.0), (2.0, 0.3, 0.5), (0.7, 1.0, 3.0), (1.0, 1.6, 1.0), (1.0, 0.0, 2.0)]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("d", [1, 3])
def test_theorem_p_matches_the_transcription(d, betas, signed):
    X = sample(d, d=d)
    n, L, _ = X.shape
    closed, log_sum = theorem_p(
        norms_of(X), **dict(zip(("beta_u", "beta_w", "beta_v"), betas, strict=True)), signed=signed
    )
    if signed:
        expected, leaves = slow.theorem_p(X, *betas), None
    else:
        # The smaller of the two is always the one with the powers of 2 in the logarithm.
        expected, leaves = slow.theorem_p_l1(X, *betas), [2 ** (L - t) for t in range(1, L + 1)]
    assert closed / n == pytest.approx(expected, **close)
    assert log_sum <= closed * (1 + 1e-12)
    assert_searched(log_sum / n, slow.least_log_sum(X, *betas, leaves))


def p_of(X_norms, beta_u=1.0, beta_w=1.0, beta_v=1.0, signed=True):
    return theorem_p(X_norms, beta_u=beta_u, beta_w=beta_w, beta_v=beta_v, signed=signed)


def test_theorem_p_by_hand():
    norms = np.array([[3.0, 1.0], [0.0, 5.0]])
    # A = 2 * 0.5 * (0.25 * 3 + 5) = 5.75
    closed, _ = p_of(norms, 0.5, 0.25, 2.0)
    assert closed == pytest.approx(5.75 * math.sqrt(2 * math.log(8)))
    # As a ball: p = (0.75, 5) / 5.75, and sum p_t 2^(L - t) = (1.5 + 5) / 5.75.
    closed, _ = p_of(norms, 0.5, 0.25, 2.0, signed=False)
    assert closed == pytest.approx(5.75 * math.sqrt(2 * math.log(8 * 6.5 / 5.75)))


@pytest.mark.parametrize("signed", [True, False])
def test_theorem_p_of_one_step_and_of_no_recurrence(signed):
    norms = norms_of(sample(3))
    last = p_of(norms[-1:], signed=signed)
    assert p_of(norms, beta_w=0.0, signed=signed) == pytest.approx(last, **close)
    assert last[0] == pytest.approx(norms[-1].max() * math.sqrt(2 * math.log(12)))


@pytest.mark.parametrize("signed", [True, False])
def test_theorem_p_near_one_is_continuous(signed):
    norms = norms_of(sample(4))
    at_one = p_of(norms, signed=signed)
    for beta_w in (math.nextafter(1, 0), math.nextafter(1, 2)):
        assert p_of(norms, beta_w=beta_w, signed=signed) == pytest.approx(at_one, rel=1e-12)
    assert at_one[0] >= norms.max(1).sum() * math.sqrt(2 * math.log(12)) * (1 - 1e-12)


@pytest.mark.parametrize("signed", [True, False])
def test_theorem_p_of_nothing_is_nothing(signed):
    assert p_of(np.zeros((3, 2)), signed=signed) == (0.0, 0.0)
    assert p_of(norms_of(sample(0)), beta_v=0.0, signed=signed) == (0.0, 0.0)
    assert p_of(np.zeros((5000, 2)), beta_w=3.0, signed=signed) == (0.0, 0.0)


@pytest.mark.parametrize("signed", [True, False])
def test_theorem_p_overflows_to_infinity(signed):
    assert p_of(np.ones((5000, 1)), beta_w=3.0, signed=signed) == (math.inf, math.inf)
    assert p_of(np.array([[math.inf], [1.0]]), signed=signed) == (math.inf, math.inf)


def test_log_sum_of_a_long_sequence_is_searched_around_its_own_scale():
    # One of 100 columns is large: the logarithm of their number is saved, 200 ln 2 is not.
    X = np.full((1, 200, 100), 1e-3)
    X[:, :, 0] = 1.0
    closed, log_sum = p_of(norms_of(X), beta_w=1.0, signed=False)
    leaves = [2 ** (200 - t) for t in range(1, 201)]
    assert_searched(log_sum, slow.least_log_sum(X, 1.0, 1.0, 1.0, leaves))
    assert log_sum < 0.995 * closed


@pytest.mark.parametrize("signed", [True, False])
def test_front_padding_costs_nothing(signed):
    norms = norms_of(sample(5))
    for padding, beta_w in [(1, 0.9), (40, 1.5), (5000, 3.0)]:
        padded = np.vstack([np.zeros((padding, 3)), norms])
        assert p_of(padded, beta_w=beta_w, signed=signed) == pytest.approx(
            p_of(norms, beta_w=beta_w, signed=signed), **close
        )
        kind = UnitType(1.0, beta_w, 1.0)
        assert theorem_q(padded, (kind,)) == pytest.approx(theorem_q(norms, (kind,)), **close)


@few_examples
@given(seed=seeds, d=st.integers(1, 4), L=st.integers(1, 6), beta_w=st.floats(0, 3))
def test_log_sum_is_never_above_the_closed_form(seed, d, L, beta_w):
    norms = norms_of(sample(seed, L=L, d=d))
    for signed in (True, False):
        closed, log_sum = p_of(norms, beta_w=beta_w, signed=signed)
        assert log_sum <= closed * (1 + 1e-12)
    # A ball lies inside the doubled budgets, which never give less.
    ball, doubled = p_of(norms, beta_w=beta_w, signed=False), p_of(norms, beta_w=2 * beta_w)
    assert ball[0] <= doubled[0] * (1 + 1e-12)
    assert ball[1] <= doubled[1] * (1 + 1e-12)


# ---- Theorem Q ----

TYPES = {
    "balls": [{"u": 1.5, "w": (0.6, 0.6), "v": 2.0}],
    "budgets": [{"u": (1.0, 0.5), "w": (0.7, 0.1), "v": (0.3, 0.9)}],
    "ball_u": [{"u": 1.5, "w": (0.7, 0.1), "v": (0.3, 0.9)}],
    "ball_v": [{"u": (1.0, 0.5), "w": (0.0, 1.2), "v": 0.8}],
    "two_types": [
        {"u": (1.0, 0.0), "w": (1.0, 0.0), "v": (0.5, 0.0)},
        {"u": (0.0, 0.7), "w": (0.9, 0.0), "v": (0.0, 0.4)},
    ],
}


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", TYPES)
def test_theorem_q_matches_the_transcription(name, d):
    columns = slow.step_l2_columns(sample(7, d=d))
    expected = slow.theorem_q(
        TYPES[name],
        [slow.least_max_positive(c) for c in columns],
        [slow.least_max_abs(c) for c in columns],
    )
    types = tuple(UnitType(kind["u"], sum(kind["w"]), kind["v"]) for kind in TYPES[name])
    assert_searched(theorem_q(np.array(columns), types), expected)


def test_theorem_q_by_hand():
    norms = np.array([[4.0], [2.0]])
    budgets, balls = UnitType((2.0, 1.0), 0.5, (1.0, 3.0)), UnitType(2.0, 0.5, 3.0)
    # (1 + 3) * (2 + 1) * (0.5 * 4 / 2 + 2 / 2) and 2 * 3 * 2 * (0.5 * 4 + 2)
    assert theorem_q(norms, (budgets,)) == pytest.approx(24.0)
    assert theorem_q(norms, (balls,)) == pytest.approx(48.0)
    assert theorem_q(norms, (budgets, balls)) == pytest.approx(72.0)
    assert theorem_q(norms, (UnitType(2.0, 0.0, 3.0),)) == pytest.approx(24.0)
    assert theorem_q(np.zeros((2, 1)), (balls,)) == 0.0
    assert theorem_q(np.zeros((5000, 1)), (UnitType(1.0, 3.0, 1.0),)) == 0.0
    assert theorem_q(np.ones((5000, 1)), (UnitType(1.0, 3.0, 1.0),)) == math.inf


@pytest.mark.parametrize(
    ("beta_w", "unit_types", "budget"),
    [
        (None, 1, None),
        (None, 2, None),
        (0.9, 1, 1.8),
        (0.9, 2, 0.9),
        ((0.5, 0.25), 1, 0.75),
        ((0.5, 0.0), 2, 0.5),
    ],
)
def test_budget_of_the_recurrence(beta_w, unit_types, budget):
    assert recurrence_budget(Setting(beta_w=beta_w, unit_types=unit_types)) == budget


# ---- the path norm and the population form ----


@pytest.mark.parametrize("non_negative", [True, False])
@pytest.mark.parametrize("d", [1, 3])
def test_path_norm_matches_the_transcription(d, non_negative):
    X = sample(8, d=d)
    n, L, _ = X.shape
    value = path_norm_complexity(norms_of(X), 1.7, non_negative=non_negative)
    expected = slow.path_norm(X, 1.7, [1.0] * L, signed=not non_negative)
    assert value / n == pytest.approx(expected, **close)


def test_path_norm_covers_the_shift_register():
    # 12 groups of 4 samples, group t is 1 at step t alone; the register outputs any one step.
    X = np.zeros((48, 12, 1))
    for t in range(12):
        X[4 * t : 4 * t + 4, t] = 1.0
    truth = 2 * (1 - (3 / 8) ** 12) + 2 * (1 - (7 / 8) ** 12)
    value = path_norm_complexity(norms_of(X), 1.0, non_negative=True)
    assert value == pytest.approx(2 * math.sqrt(2 * math.log(48)))
    assert value >= truth > 2 * math.sqrt(2 * math.log(4))


def test_path_norm_limits():
    assert path_norm_complexity(np.zeros((3, 2)), 1.0, non_negative=True) == 0.0
    assert path_norm_complexity(np.ones((3, 2)), math.inf, non_negative=False) == math.inf
    long = path_norm_complexity(np.ones((5000, 1)), 1.0, non_negative=False)
    assert long == pytest.approx(math.sqrt(2 * (math.log(4) + 5000 * math.log(2))))


@pytest.mark.parametrize("delta", [0.9, 0.05, 1e-9])
def test_empirical_bernstein_matches_the_transcription(delta):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(12, 3, 1))
    a, p = [0.25, 0.5, 1.0], [0.2, 0.3, 0.5]
    q = [sum(a[t] ** 2 * float(x[t, 0]) ** 2 / p[t] for t in range(3)) for x in X]
    largest = sum(a[t] ** 2 / p[t] for t in range(3))
    mean, variance = float(np.mean(q)), float(np.var(q, ddof=1))
    value = population_square(mean, variance, largest, 12, math.log(delta))
    expected = slow.population(X, a, p, 1.0, 1.0, delta)
    assert math.sqrt(value / 12) == pytest.approx(expected, **close)


# ---- complexities against members of the class, all signs enumerated ----


def members(rng, count, d, m, betas, unit_types=1):
    """U, W, V (one row) within the constraints; extreme points are frequent."""
    beta_u, beta_w, beta_v = betas
    U = slow.random_rows(rng, (count, m, d), beta_u)
    W = slow.random_rows(rng, (count, m, m), beta_w)
    V = slow.random_rows(rng, (count, 1, m), beta_v)[:, 0]
    if unit_types == 2:
        signs = np.where(np.arange(m) < m // 2, 1.0, -1.0)
        U, V, W = abs(U) * signs[:, None], abs(V) * signs, abs(W) * (np.outer(signs, signs) > 0)
    return U, W, V


RELU_AND_TANH = {"relu": lambda g: np.maximum(g, 0), "tanh": np.tanh}
CLASSES = {
    "ball": (1.0, 1.2, 1.0),
    "budgets": ((0.6, 0.4), (0.7, 0.3), (0.5, 0.5)),
    "non_negative": (1.0, (1.0, 0.0), (0.5, 0.5)),
    "two_types": (1.0, 1.0, 1.0),
}


@pytest.mark.parametrize("activation", RELU_AND_TANH)
@pytest.mark.parametrize("constraint", CLASSES)
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("d", [1, 2])
def test_no_member_of_the_class_exceeds_the_complexity(d, k, constraint, activation):
    rng = np.random.default_rng(d)
    X = rng.normal(size=(5, 3, d)) * 0.5
    norms = norms_of(X)
    unit_types = 2 if constraint == "two_types" else 1
    U, W, V = members(rng, 10_000, d, 4, CLASSES[constraint], unit_types)
    if k == 2 and unit_types == 1:
        V = V - members(rng, 10_000, d, 4, CLASSES[constraint])[2]
    scores = np.einsum("Nnm,Nm->Nn", slow.states(U, W, X, RELU_AND_TANH[activation]), V)
    reached = len(X) * slow.complexity_from_below(scores)
    limits = slow.score(CLASSES[constraint], (0, 0, 0), k, unit_types)
    radii = dict(zip(("beta_u", "beta_w", "beta_v"), limits.rows, strict=True))
    types = tuple(UnitType(kind["u"], sum(kind["w"]), kind["v"]) for kind in limits.types)
    forms = [*theorem_p(norms, **radii, signed=limits.signed), theorem_q(norms, types)]
    assert 0.1 * min(forms) < reached <= min(forms) * (1 + 1e-9)


@pytest.mark.parametrize("unit_types", [1, 2])
def test_theorem_q_is_attained(unit_types):
    # One sample, x = 5, one step, u in [0, 2]; v in [0, 0.3] and, for a second type, in [-0.4, 0].
    # The mean over the sign s of the largest s v u 5 is half the sum of the largest scores.
    kinds = [UnitType((2.0, 0.0), 0.5, (0.3, 0.0)), UnitType((2.0, 0.0), 0.5, (0.0, 0.4))]
    scores = np.array([[0.0], [0.3 * 2 * 5], [-0.4 * 2 * 5]])[: unit_types + 1]
    value = theorem_q(np.array([[5.0]]), tuple(kinds[:unit_types]))
    assert value == pytest.approx(slow.complexity_from_below(scores))


# ---- whole rows ----

NORMS = {
    "fixed": (1.4, 0.6, 1.8),
    "pairs": ((0.9, 0.7), (0.5, 0.2), (1.1, 0.6)),
    "non_negative": (1.4, (0.8, 0.0), 1.8),
    "open": (None, None, None),
    "mixed": (None, (0.3, 0.4), 2.0),
    "small_ball": ((0.9, 0.2), 0.1, (0.2, 0.1)),
}


def forms_of(case, setting, limits, noisy_form):
    """Every form that the setting admits, as terms of (alpha, delta), with its share of delta."""
    n, L, d = case.X.shape
    k, fixed = case.k, (setting.beta_u, setting.beta_w, setting.beta_v)
    factor = 2 if k == 2 else 4 * k
    forms = []

    def add(complexity, share, *, noisy=False, shift=0.0):
        margins = case.margins(noisy)
        forms.append(
            (
                lambda alpha, delta: slow.assembled(
                    margins, factor, complexity, n, delta, alpha, shift
                ),
                share,
            )
        )

    add(slow.row_norm_complexity(case.X, limits), limits.share)
    if noisy_form:
        size = paper.expected_max(setting.noise, setting.noise_std, d)
        shift = (1 if k == 2 else 2) * slow.noise_shift(case.X, *limits.rows, size)
        add(
            slow.row_norm_complexity(case.inputs(True), limits),
            limits.share,
            noisy=True,
            shift=shift,
        )
    if None in fixed and setting.activation == "relu":
        U, W, V = case.weights
        read = V[1:2] - V[:1] if k == 2 else V
        e = paper.smallest_cell(max(slow.path_norm_rows(U, W, read, [1.0] * L)))
        non_negative = setting.unit_types == 2 or (
            isinstance(setting.beta_w, tuple) and setting.beta_w[1] == 0
        )
        complexity = slow.path_norm(case.X, 2.0**e, [1.0] * L, signed=not non_negative)
        add(complexity, paper.share(e))
    return forms


def check_row(case, setting):
    fixed = (setting.beta_u, setting.beta_w, setting.beta_v)
    noisy = setting.noise_std > 0
    sums = slow.statistics(case, fixed)
    if not noisy:
        sums = replace(sums, noisy=None)
    bound = peeling(sums, setting)
    limits = slow.score(fixed, case.norms(fixed), case.k, setting.unit_types)
    forms = forms_of(case, setting, limits, noisy)
    best = min(
        (
            *slow.at_best(terms, setting.margin, setting.delta * share / len(forms)),
            number,
        )
        for number, (terms, share) in enumerate(forms)
    )
    value, _, _, number = best
    assert value * (1 - 1e-9) <= bound.value <= value * (1 + SEARCH)
    terms, share = forms[number]
    left = setting.delta * share / len(forms)
    if setting.margin == "auto":
        left *= paper.share(round(math.log2(bound.margin)))
    else:
        assert bound.margin == setting.margin
    expected = {name: value for name, value in terms(bound.margin, left).items() if value}
    found = {term.name: term.value for term in bound.terms if term.value}
    assert found == pytest.approx(expected, rel=SEARCH)
    assert bound.term("confidence") == pytest.approx(expected["confidence"], rel=1e-10)
    assert sum(term.value for term in bound.terms) == pytest.approx(bound.value, rel=1e-12)
    assert (bound.name, bound.kind, bound.delta) == ("peeling", "certified", setting.delta)
    assert bound.vacuous is (bound.value >= 1)
    return number


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("noise_std", [0.0, 0.4])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_row_matches_the_transcription(norms, k, unit_types, noise_std, activation, margin):
    case = slow.make_case(k, d=2, k=k, unit_types=unit_types)
    setting = Setting(
        *NORMS[norms],
        unit_types=unit_types,
        noise_std=noise_std,
        activation=activation,
        margin=margin,
        delta=0.03,
    )
    check_row(case, setting)


@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("norms", ["pairs", "non_negative", "mixed", "small_ball"])
def test_row_of_one_feature_and_one_step(norms, unit_types):
    for L in (1, 4):
        case = slow.make_case(5, L=L, d=1, unit_types=unit_types)
        check_row(case, Setting(*NORMS[norms], unit_types=unit_types, margin=0.5))


SMALL = {
    "fixed": (0.02, 0.6, 0.03),
    "pairs": ((0.02, 0.01), (0.5, 0.2), (0.03, 0.04)),
    "last_open": ((4e-5, 3e-5), (0.5, 0.2), None),
}


@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", SMALL)
def test_noise_route_can_win(norms, k, unit_types):
    # Radii so small that the empirical risk decides, and labels that are right under noise.
    case = slow.make_case(6, k=k, unit_types=unit_types, sigma=3.0)
    labels = paper.outputs(*case.weights, case.inputs(True)).argmax(1)
    case = replace(case, labels=labels)
    assert (case.margins() <= 0).any()
    setting = Setting(*SMALL[norms], unit_types=unit_types, noise_std=3.0, margin=0.5)
    assert check_row(case, setting) == 1


ORIGINS = {
    "Theorem Q": (1, (1.0, (0.4, 0.3), (0.6, 0.4))),
    "Theorem P": (100, (1.0, (0.4, 0.3), 1.0)),
    "Theorem P for l1 balls": (100, (1.0, 0.9, 1.0)),
}


def test_two_types_of_many_features_are_peeled_with_an_exponential():
    # The signs of W are given, so that the logarithm holds no power of 2.
    case = slow.make_case(1, L=4, d=100, k=3, unit_types=2)
    radii = {"beta_u": 1.0, "beta_w": 0.9, "beta_v": 1.0}
    setting = Setting(**radii, unit_types=2, margin=0.7)
    bound = peeling(replace(slow.statistics(case), noisy=None), setting)
    assert "complexity by Theorem P" in bound.assumptions
    _, log_sum = theorem_p(norms_of(case.X), **radii, signed=True)
    assert bound.term("complexity") == pytest.approx(12 / 0.7 * log_sum / len(case.X), rel=1e-12)


@pytest.mark.parametrize(("k", "d"), [(2, 2), (3, 1), (3, 2)])
def test_population_form_is_of_two_classes_and_one_feature(k, d):
    case = slow.make_case(3, k=k, d=d)
    sums = replace(slow.statistics(case, decay=0.5 if d == 1 else None), noisy=None)
    setting = Setting(1.0, (0.5, 0.0), 1.0, margin=0.7)
    bound = peeling(sums, replace(setting, input_bound=9.0))
    assert bound == peeling(sums, setting)


def test_records_do_not_change():
    kind = UnitType(1.0, 0.5, 1.0)
    with pytest.raises(FrozenInstanceError):
        kind.w = 0.6


@pytest.mark.parametrize("origin", ORIGINS)
def test_row_says_where_its_complexity_comes_from(origin):
    d, fixed = ORIGINS[origin]
    case = slow.make_case(1, L=4, d=d, k=3)
    norms = norms_of(case.X)
    beta_u, beta_w, beta_v = (sum(b) if isinstance(b, tuple) else b for b in fixed)
    signed = isinstance(fixed[1], tuple)
    kind = UnitType(beta_u, beta_w if signed else 2 * beta_w, fixed[2])
    _, log_sum = theorem_p(norms, beta_u=beta_u, beta_w=beta_w, beta_v=beta_v, signed=signed)
    by_q = theorem_q(norms, (kind,))
    assert (by_q < log_sum) is (origin == "Theorem Q")
    bound = peeling(replace(slow.statistics(case, fixed), noisy=None), Setting(*fixed, margin=0.7))
    assert f"complexity by {origin}" in bound.assumptions
    # 4 k / (alpha n) times n R
    expected = 12 / 0.7 * min(by_q, log_sum) / len(case.X)
    assert bound.term("complexity") == pytest.approx(expected, rel=1e-12)


def test_assumptions_of_two_types_under_noise():
    # So small radii that the route through the noise wins, as below.
    case = slow.make_case(6, k=3, unit_types=2, sigma=3.0)
    labels = paper.outputs(*case.weights, case.inputs(True)).argmax(1)
    setting = Setting(*SMALL["fixed"], unit_types=2, noise_std=3.0, margin=0.5, notes=("a note",))
    bound = peeling(slow.statistics(replace(case, labels=labels), SMALL["fixed"]), setting)
    text = "\n".join(bound.assumptions)
    for line in (
        "a note",
        "equal parts among 2 forms: row norms, row norms under noise",
        "beta_u = 0.02",
        "two types of hidden units, enforced",
        "gaussian noise of standard deviation 3, one fresh draw",
        "smallest form: row norms under noise",
    ):
        assert line in text


@pytest.mark.parametrize("beta_w", [None, (0.9, 0.0), (0.8, 0.5)])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
def test_path_norm_can_win(k, unit_types, beta_w):
    # Large rows of U, W and V that never meet: paths are short of what the row norms allow.
    case = slow.make_case(2, k=k, unit_types=unit_types)
    U, W, V = (A.copy() for A in case.weights)
    U[1:] = V[:, :1] = 0.0
    W[:, :] = 0.0
    U[0], W[1, 0], V[:, 1:] = 0.05, 1e-3, 10 * V[:, 1:]
    case = replace(case, weights=(U, W, V))
    setting = Setting(None, beta_w, None, unit_types=unit_types, margin=0.05)
    assert check_row(case, setting) == 1
    fixed = (None, beta_w, None)
    found = peeling(replace(slow.statistics(case, fixed), noisy=None), setting).assumptions
    assert any(line.startswith("path norm unconstrained") for line in found)
    assert found[-1] == "smallest form: path norm"


@pytest.mark.parametrize("margin", [0.5, "auto"])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize(
    ("beta_u", "beta_w", "beta_v"),
    [
        (1.0, (0.5, 0.0), (0.25, 0.25)),
        ((0.5, 0.5), (0.5, 0.0), 0.5),
        (1.5, (0.2, 0.4), (1.0, 0.5)),
        (None, (0.2, 0.4), (0.25, 0.25)),
        (1.0, 0.4, (0.25, 0.25)),
        ((0.5, 0.5), 0.4, 0.5),
    ],
    ids=str,
)
def test_population_form(beta_u, beta_w, beta_v, unit_types, margin):
    # Inputs of one size have no variance; the sample is taken many times over.
    case, copies = slow.make_case(3, n=20, L=4, d=1, unit_types=unit_types), 100
    case = replace(case, X=np.sign(case.X))
    fixed = (beta_u, beta_w, beta_v)
    setting = Setting(*fixed, unit_types=unit_types, input_bound=1.5, margin=margin, delta=0.1)
    limits = slow.score(fixed, case.norms(fixed), 2, unit_types)
    decay = sum(limits.types[0]["w"])
    sums = replace(slow.statistics(case, fixed, decay=decay), noisy=None)
    margins, X = np.tile(sums.clean.margins, copies), np.tile(case.X, (copies, 1, 1))
    mean, variance = sums.clean.energy
    n = len(X)
    clean = replace(
        sums.clean,
        margins=margins,
        square_sums=copies * sums.clean.square_sums,
        energy=(mean, variance * copies * 19 / (n - 1)),
    )
    bound = peeling(replace(sums, clean=clean), setting)

    part = setting.delta / (3 if beta_u is None else 2) / 2
    # The event of E Q involves neither the margin nor the radii of U and V, so its part need not be
    # shared out among them; sharing it all the same is valid, and hardly larger.
    values = {}
    for name in ("whole", "shared"):
        values[name] = slow.at_best(
            lambda alpha, left, name=name: slow.population_form(
                X, margins, limits, 1.5, alpha, left, part if name == "whole" else left
            ),
            margin,
            part * limits.share,
            range(-6, 7),
        )[0]
    assert values["whole"] * (1 - 1e-9) <= bound.value <= values["shared"] * (1 + 1e-9)
    assert [term.name for term in bound.terms] == ["empirical_risk", "complexity", "confidence"]
    text = "\n".join(bound.assumptions)
    for line in ("|x| <= 1.5, known beforehand", "half of delta for it", "beta_w = "):
        assert line in text
    # It is the population form that won.
    without = peeling(replace(sums, clean=clean), replace(setting, input_bound=None))
    assert bound.value < 0.99 * without.value


def test_population_form_needs_the_energy_of_the_inputs():
    case = slow.make_case(3, d=1)
    sums = replace(slow.statistics(case), noisy=None)
    assert sums.clean.energy is None
    setting = Setting(1.0, 0.5, 1.0, input_bound=1.0, margin=1.0)
    with pytest.raises(NotApplicableError, match="population form"):
        peeling(sums, setting)


# ---- properties of the row ----

FIXED = Setting(1.4, (0.5, 0.2), 1.8, margin=0.7, delta=0.05)


def changed_inputs(sums, change):
    return replace(sums, clean=change(sums.clean), noisy=change(sums.noisy) if sums.noisy else None)


@few_examples
@given(seed=seeds, copies=st.integers(2, 50), k=st.integers(2, 3))
def test_complexity_decreases_like_the_root_of_n(seed, copies, k):
    case = slow.make_case(seed, k=k)
    many = replace(case, X=np.tile(case.X, (copies, 1, 1)), labels=np.tile(case.labels, copies))
    few, large = (
        peeling(replace(slow.statistics(c, NORMS["pairs"]), noisy=None), replace(FIXED))
        for c in (case, replace(many, noise=0 * many.X))
    )
    for name in ("complexity", "confidence"):
        assert large.term(name) == pytest.approx(few.term(name) / math.sqrt(copies), rel=1e-9)
    assert large.empirical_risk == pytest.approx(few.empirical_risk)


LAWS = {
    "uniform": lambda rng, size: rng.uniform(-1, 1, size),
    "laplace": lambda rng, size: rng.laplace(size=size),
    "sparse": lambda rng, size: rng.normal(size=size) * (rng.uniform(size=size) < 0.5),
}


@pytest.mark.parametrize("form", ["peeling", "golowich2018", "population"])
@few_examples
@given(
    seed=seeds,
    law=st.sampled_from(list(LAWS)),
    norms=st.sampled_from(["fixed", "pairs", "open"]),
    k=st.integers(2, 3),
    d=st.integers(1, 3),
    n=st.integers(500, 1000),
)
def test_half_of_the_data_is_never_tighter_than_sampling_noise(form, seed, law, norms, k, d, n):
    rng = np.random.default_rng(seed)
    population = form == "population"
    if population:
        k, d, norms = 2, 1, "pairs" if norms == "open" else norms
    X, labels = LAWS[law](rng, (2 * n, 3, d)), rng.integers(k, size=2 * n)
    weights = [rng.normal(size=s) for s in ((4, d), (4, 4), (k, 4))]
    network = RecurrentNetwork(*map(torch.from_numpy, weights))
    # So large a margin that the population form, which saves confidence, is the smallest.
    margin, bound = (1e3, float(np.abs(X).max())) if population else (0.7, None)
    setting = Setting(*NORMS[norms], input_bound=bound, margin=margin)

    def row(rows):
        sample = sample_statistics(
            network,
            torch.from_numpy(X[rows]),
            torch.from_numpy(labels[rows]),
            n_classes=k,
            min_eigenvalue=0.0,
            norms=tuple(map(paper.row_norm, weights)),
            noise=None,
            seed=0,
            decay=recurrence_budget(setting),
        )
        found = BOUNDS["peeling" if population else form](sample, setting)
        assert ("smallest form: population" in found.assumptions) == population
        return found

    order = rng.permutation(2 * n)
    whole, half = row(order), row(order[:n])
    # The mean square of a random half is off by a standard error of s / sqrt(2n), s being the
    # deviation of a square: s^2 / n, times the share 1/2 that was left out. Five of them leave at
    # least 1 - noise of the mean square of the whole. The complexity goes like its root, and half
    # as many data cost a factor sqrt(2).
    squares = np.square(X)
    noise = 5 * float((squares.std(0) / squares.mean(0)).max()) / math.sqrt(2 * n)
    growth = half.term("complexity") / whole.term("complexity")
    assert growth >= math.sqrt(2 * (1 - noise)) > 1
    # What the population form pays for the variance goes like 1 / n in part.
    assert population or growth <= math.sqrt(2 * (1 + noise))
    assert half.term("confidence") == pytest.approx(math.sqrt(2) * whole.term("confidence"))


@few_examples
@given(seed=seeds, scale=st.floats(1e-3, 1e3), margin=st.floats(0.05, 5))
def test_scale_of_the_input_cancels(seed, scale, margin):
    case = slow.make_case(seed)
    scaled = replace(case, X=scale * case.X, noise=scale * case.noise)
    for setting in (FIXED, replace(FIXED, noise_std=0.4)):
        one = peeling(slow.statistics(case), replace(setting, margin=margin))
        other = peeling(
            slow.statistics(scaled),
            replace(setting, margin=scale * margin, noise_std=scale * setting.noise_std),
        )
        assert other.value == pytest.approx(one.value, rel=1e-9)


@few_examples
@given(
    seed=seeds,
    which=st.integers(0, 2),
    factor=st.floats(0, 1),
    signed=st.booleans(),
    noise_std=st.sampled_from([0.0, 0.4]),
    margin=st.sampled_from([0.5, "auto"]),
)
def test_smaller_radius_is_never_a_larger_bound(seed, which, factor, signed, noise_std, margin):
    sums = slow.statistics(slow.make_case(seed))
    betas = list(NORMS["pairs" if signed else "fixed"])
    large = Setting(*betas, noise_std=noise_std, margin=margin)
    old = betas[which]
    betas[which] = tuple(factor * b for b in old) if signed else factor * old
    small = Setting(*betas, noise_std=noise_std, margin=margin)
    assert peeling(sums, small).value <= peeling(sums, large).value * (1 + 1e-9)


@few_examples
@given(
    deltas=st.tuples(st.floats(1e-300, 1), st.floats(1e-300, 1)).map(sorted),
    norms=st.sampled_from(list(NORMS)),
    margin=st.sampled_from([0.5, "auto"]),
)
def test_value_does_not_increase_in_delta(deltas, norms, margin):
    sums = slow.statistics(slow.make_case(), NORMS[norms])
    low, high = (
        peeling(sums, Setting(*NORMS[norms], margin=margin, delta=delta)).value for delta in deltas
    )
    assert low >= high * (1 - 1e-12)


@few_examples
@given(seed=seeds, exponent=st.integers(-64, 64), norms=st.sampled_from(list(NORMS)))
def test_auto_margin_is_at_most_every_cell_at_its_share(seed, exponent, norms):
    sums = slow.statistics(slow.make_case(seed), NORMS[norms])
    auto = peeling(sums, Setting(*NORMS[norms], delta=0.05))
    share = paper.share(exponent)
    cell = Setting(*NORMS[norms], margin=2.0**exponent, delta=0.05 * share)
    assert auto.value <= peeling(sums, cell).value * (1 + 1e-9)


def test_budgets_are_never_worse_than_the_ball_around_them():
    sums = slow.statistics(slow.make_case(), NORMS["pairs"])
    pairs = NORMS["pairs"]
    for budgets in ((pairs[0], pairs[1], pairs[2]), (1.6, pairs[1], 1.7), (1.6, 0.7, 1.7)):
        ball = peeling(sums, Setting(*(paper.union([b], [0])[0][0] for b in budgets), margin=1.0))
        assert peeling(sums, Setting(*budgets, margin=1.0)).value <= ball.value * (1 + 1e-9)


def test_two_types_are_never_worse_than_one():
    case = slow.make_case(2, unit_types=2)
    sums = slow.statistics(case)
    for norms in ("fixed", "open", "non_negative"):
        one, two = (
            peeling(sums, Setting(*NORMS[norms], unit_types=types, margin=1.0)).value
            for types in (1, 2)
        )
        assert two <= one * (1 + 1e-9)


@pytest.mark.parametrize("noise_std", [0.0, 0.4])
@pytest.mark.parametrize("margin", [1.0, "auto"])
@pytest.mark.parametrize("beta_w", [3.0, (2.0, 1.0)])
def test_row_overflows_to_infinity(beta_w, margin, noise_std):
    case = slow.make_case(0, n=2, L=3, d=1, m=2)
    sums = slow.statistics(case)

    def long(inputs):
        energy = (1.0, 0.1)
        return replace(
            inputs,
            square_sums=np.ones((5000, 1)),
            step_abs_sums=np.ones(5000),
            step_max_sums=np.ones(5000),
            energy=energy,
        )

    sums = changed_inputs(sums, long)
    for input_bound in (None, 1.0):
        setting = Setting(
            1.0, beta_w, 1.0, noise_std=noise_std, margin=margin, input_bound=input_bound
        )
        bound = peeling(sums, setting)
        assert bound.value == math.inf
        assert bound.vacuous is True
        assert bound.reason
        assert math.isfinite(peeling(sums, replace(setting, beta_v=0.0)).value)


def test_zero_inputs_leave_risk_and_confidence():
    case = slow.make_case()
    zero = replace(case, X=0 * case.X, noise=0 * case.noise)
    for norms in NORMS:
        bound = peeling(slow.statistics(zero, NORMS[norms]), Setting(*NORMS[norms], margin=1.0))
        assert bound.term("complexity") == 0.0
        assert bound.empirical_risk == 1.0


def test_published_setting_is_not_vacuous():
    # 20,000 samples, L = 100, d = 1, two types (theory, "Measured"): 1/2 sum X_t 2/alpha / n.
    n, L, alpha = 20_000, 100, 8.5
    inputs = slow.input_sums(slow.make_case())
    inputs = replace(
        inputs,
        margins=np.repeat([10.0, -1.0], [15_000, 5_000]),
        square_sums=np.full((L, 1), float(n)),
        step_abs_sums=np.full(L, float(n)),
        step_max_sums=np.full(L, float(n)),
    )
    sums = replace(slow.statistics(slow.make_case()), clean=inputs, noisy=None)
    bound = peeling(sums, Setting(1.0, 1.0, 0.5, unit_types=2, margin=alpha, delta=0.05))
    assert bound.term("complexity") == pytest.approx(2 / alpha * 0.5 * L / math.sqrt(n))
    assert bound.value == pytest.approx(0.25 + bound.term("complexity") + 0.0288, abs=1e-4)
    assert bound.vacuous is False
