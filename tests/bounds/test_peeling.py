"""Peeling over time steps against a slow transcription, against truth, and at its limits."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import NORMS, RELU, TANH, relu, rule

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.bounds.peeling import (
    UnitType,
    expected_max_abs,
    expected_max_positive,
    path_norm_complexity,
    population_square,
    recurrence_budget,
    theorem_p,
    theorem_q,
)

peeling = rule("peeling")
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
def test_theorem_p_at_its_limits(signed):
    norms = norms_of(sample(3))
    # One step, or no recurrence.
    last = p_of(norms[-1:], signed=signed)
    assert p_of(norms, beta_w=0.0, signed=signed) == pytest.approx(last, **close)
    assert last[0] == pytest.approx(norms[-1].max() * math.sqrt(2 * math.log(12)))
    # Continuous near one.
    at_one = p_of(norms, signed=signed)
    for beta_w in (math.nextafter(1, 0), math.nextafter(1, 2)):
        assert p_of(norms, beta_w=beta_w, signed=signed) == pytest.approx(at_one, rel=1e-12)
    # Nothing of nothing, and infinite where it overflows.
    nothing, infinite = (0.0, 0.0), (math.inf, math.inf)
    assert p_of(np.zeros((3, 2)), signed=signed) == nothing
    assert p_of(norms, beta_v=0.0, signed=signed) == nothing
    assert p_of(np.zeros((5000, 2)), beta_w=3.0, signed=signed) == nothing
    assert p_of(np.ones((5000, 1)), beta_w=3.0, signed=signed) == infinite
    assert p_of(np.array([[math.inf], [1.0]]), signed=signed) == infinite


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


# ---- whole rows ----

NORMS = NORMS | {
    "non_negative": (1.4, (0.8, 0.0), 1.8),
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

        def terms(alpha, delta):
            return slow.assembled(margins, factor, complexity, n, delta, alpha, shift)

        forms.append((terms, share))

    add(slow.row_norm_complexity(case.X, limits), limits.share)
    if noisy_form:
        size = paper.expected_max(setting.noise, setting.noise_std, d)
        shift = (1 if k == 2 else 2) * slow.noise_shift(case.X, *limits.rows, size)
        complexity = slow.row_norm_complexity(case.inputs(True), limits)
        add(complexity, limits.share, noisy=True, shift=shift)
    if None in fixed and setting.properties == RELU:
        U, W, V = case.weights
        read = V[1:2] - V[:1] if k == 2 else V
        e = paper.smallest_bin(max(slow.path_norm_rows(U, W, read, [1.0] * L)))
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
    value, _, _, number = min(
        (*slow.at_best(terms, setting.margin, setting.delta * share / len(forms)), number)
        for number, (terms, share) in enumerate(forms)
    )
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
    return bound


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("properties", [RELU, TANH], ids=["relu", "tanh"])
@pytest.mark.parametrize("noise_std", [0.0, 0.4])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_row_matches_the_transcription(norms, k, unit_types, noise_std, properties, margin):
    case = slow.make_case(k, d=2, k=k, unit_types=unit_types)
    setting = relu(
        *NORMS[norms],
        unit_types=unit_types,
        noise_std=noise_std,
        properties=properties,
        margin=margin,
        delta=0.03,
    )
    check_row(case, setting)


@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("norms", ["pairs", "non_negative", "mixed", "small_ball"])
def test_row_of_one_feature_and_one_step(norms, unit_types):
    for L in (1, 4):
        case = slow.make_case(5, L=L, d=1, unit_types=unit_types)
        check_row(case, relu(*NORMS[norms], unit_types=unit_types, margin=0.5))


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
    setting = relu(*SMALL[norms], unit_types=unit_types, noise_std=3.0, margin=0.5)
    lines = check_row(case, setting).assumptions
    assert lines[-1] == "smallest form: row norms under noise"
    text = "\n".join(lines)
    assert "forms: row norms, row norms under noise" in text
    assert "gaussian noise of standard deviation 3, one fresh draw" in text
    assert ("two types of hidden units, enforced" in text) is (unit_types == 2)


ORIGINS = {
    "Theorem Q": (1, (1.0, (0.4, 0.3), (0.6, 0.4))),
    "Theorem P": (100, (1.0, (0.4, 0.3), 1.0)),
    "Theorem P for l1 balls": (100, (1.0, 0.9, 1.0)),
}


def test_two_types_of_many_features_are_peeled_with_an_exponential():
    # The signs of W are given, so that the logarithm holds no power of 2.
    case = slow.make_case(1, L=4, d=100, k=3, unit_types=2)
    radii = {"beta_u": 1.0, "beta_w": 0.9, "beta_v": 1.0}
    setting = relu(**radii, unit_types=2, margin=0.7)
    bound = peeling(replace(slow.statistics(case), noisy=None), setting)
    assert "complexity by Theorem P" in bound.assumptions
    _, log_sum = theorem_p(norms_of(case.X), **radii, signed=True)
    assert bound.term("complexity") == pytest.approx(12 / 0.7 * log_sum / len(case.X), rel=1e-12)


@pytest.mark.parametrize(("k", "d"), [(2, 2), (3, 1), (3, 2)])
def test_population_form_is_of_two_classes_and_one_feature(k, d):
    case = slow.make_case(3, k=k, d=d)
    sums = replace(slow.statistics(case, decay=0.5 if d == 1 else None), noisy=None)
    setting = relu(1.0, (0.5, 0.0), 1.0, margin=0.7)
    bound = peeling(sums, replace(setting, input_bound=9.0))
    assert bound == peeling(sums, setting)


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
    bound = peeling(replace(slow.statistics(case, fixed), noisy=None), relu(*fixed, margin=0.7))
    assert f"complexity by {origin}" in bound.assumptions
    # 4 k / (alpha n) times n R
    expected = 12 / 0.7 * min(by_q, log_sum) / len(case.X)
    assert bound.term("complexity") == pytest.approx(expected, rel=1e-12)


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
    setting = relu(None, beta_w, None, unit_types=unit_types, margin=0.05)
    lines = check_row(case, setting).assumptions
    assert any(line.startswith("path norm unconstrained") for line in lines)
    assert lines[-1] == "smallest form: path norm"


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
    setting = relu(*fixed, unit_types=unit_types, input_bound=1.5, margin=margin, delta=0.1)
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


# ---- properties of the row ----


@pytest.mark.parametrize("noise_std", [0.0, 0.4])
@pytest.mark.parametrize("margin", [1.0, "auto"])
@pytest.mark.parametrize("beta_w", [3.0, (2.0, 1.0)])
def test_row_overflows_to_infinity(beta_w, margin, noise_std):
    sums = slow.statistics(slow.make_case(0, n=2, d=1, m=2))
    long = {"square_sums": np.ones((5000, 1)), "energy": (1.0, 0.1)}
    sums = replace(sums, clean=replace(sums.clean, **long), noisy=replace(sums.noisy, **long))
    for input_bound in (None, 1.0):
        setting = relu(
            1.0, beta_w, 1.0, noise_std=noise_std, margin=margin, input_bound=input_bound
        )
        bound = peeling(sums, setting)
        assert (bound.value, bound.vacuous) == (math.inf, True)
        assert bound.reason
        assert math.isfinite(peeling(sums, replace(setting, beta_v=0.0)).value)


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
    bound = peeling(sums, relu(1.0, 1.0, 0.5, unit_types=2, margin=alpha, delta=0.05))
    assert bound.term("complexity") == pytest.approx(2 / alpha * 0.5 * L / math.sqrt(n))
    assert bound.value == pytest.approx(0.25 + bound.term("complexity") + 0.0288, abs=1e-4)
    assert bound.vacuous is False
