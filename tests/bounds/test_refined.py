"""The paper's theorems without their slack, against a slow transcription."""

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import NORMS, relu, rule

from sklearn_rnnbound.bounds.paper import NEVER_BELOW_ONE, theorem1
from sklearn_rnnbound.bounds.refined import difference_part, linear_part

refined, theorem2, theorem3 = rule("refined"), rule("theorem2"), rule("theorem3")

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
close = {"rel": 1e-9, "abs": 0}

# ---- the two parts ----


@cache
def spread(seed, n=12, L=2, d=2):
    """A sample of full rank, of different size at every step."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, L, d)) * rng.uniform(0.1, 3, size=(1, L, d))


def whitened(X, moment):
    """sqrt(tr(X X' (C E C)^-1)) by exact fractions."""
    return len(X) * slow.refined_linear(X, moment, 1.0)


@cache
def estimated(case, noisy, variance):
    """The same for a case, with the second moment of its clean inputs and the noise's variance."""
    moment = slow.second_moment(case.X) + variance * np.eye(case.X[0].size)
    return whitened(case.inputs(noisy), moment)


def floor_norm(X, floor):
    """The same for E = floor * identity: sqrt(sum_t |X_t|_F^2 / c_t^2 / floor)."""
    return len(X) * slow.refined_linear_zero_moment(X, math.sqrt(floor), 1.0) if floor else math.inf


def test_exact_trace_of_a_multiple_of_the_identity():
    X = spread(0)
    assert whitened(X, 0.3 * np.eye(4)) == pytest.approx(floor_norm(X, 0.3), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_linear_part_is_never_above_lemma_3(seed):
    X = spread(seed, L=1 + seed % 3)
    n, L, _ = X.shape
    moment = slow.second_moment(X)
    norm = whitened(X, moment)
    assert linear_part(2.5, norm, n) == pytest.approx(
        slow.refined_linear(X, moment, 2.5), rel=1e-12
    )
    lemma_3, _ = theorem1(
        n=n,
        n_steps=L,
        frobenius=paper.frobenius(X),
        abs_sum=1.0,
        r=2.5,
        min_eigenvalue=paper.min_eigenvalue(X),
        beta_u=1.0,
        beta_w=1.0,
        beta_v=1.0,
    )
    assert linear_part(2.5, norm, n) <= lemma_3 * (1 + 1e-9)


@pytest.mark.parametrize("betas", [(1.0, 0.0, 2.0), (1.4, 0.6, 1.8), (1.0, 1.0, 1.0), (1, 2.5, 1)])
@pytest.mark.parametrize("L", [1, 2, 5])
def test_difference_part_matches_the_transcription(L, betas):
    X = spread(1, L=L)
    radii = dict(zip(("beta_u", "beta_w", "beta_v"), betas, strict=True))
    value = difference_part(np.array(slow.step_l1(X)), n=len(X), **radii)
    assert value == pytest.approx(slow.refined_difference(X, *betas), rel=1e-12)
    assert value <= paper.difference_part(X, *betas) * (1 + 1e-12)


def test_parts_by_hand():
    # 2 * 3 / 4 * (3 * 0.25 * 8 + 2 * 0.5 * 4 + 1 * 2)
    sums = np.array([8.0, 4.0, 2.0])
    assert difference_part(sums, n=4, beta_u=2.0, beta_w=0.5, beta_v=3.0) == pytest.approx(18.0)
    assert linear_part(3.0, 8.0, 4) == 6.0
    assert linear_part(3.0, math.inf, 4) == math.inf
    # No radius is stronger than no knowledge of the spectrum.
    assert linear_part(0.0, math.inf, 4) == 0.0
    assert linear_part(1.0, 8.0, 4) == 2.0


def test_difference_part_overflows_to_infinity():
    ones, zeros = np.ones(5000), np.zeros(5000)
    assert difference_part(ones, n=1, beta_u=1.0, beta_w=3.0, beta_v=1.0) == math.inf
    assert difference_part(ones, n=1, beta_u=1.0, beta_w=3.0, beta_v=0.0) == 0.0
    assert difference_part(zeros, n=1, beta_u=1.0, beta_w=3.0, beta_v=1.0) == 0.0
    last = np.eye(1, 5000, 4999)[0]
    assert difference_part(last, n=1, beta_u=2.0, beta_w=3.0, beta_v=1.0) == pytest.approx(2.0)


# ---- whole rows ----

SOURCES = {"input_bound": {"input_bound": 5.5}, "given": {"fisher_rao_max": 900.0}, "open": {}}


def candidates_of_r(case, setting, betas, noisy):
    """Radii of the score that may be used, with their share of delta, and whether certified."""
    X, (U, W, V) = case.inputs(noisy), case.weights
    _, L, d = X.shape
    if setting.input_bound is not None:
        law = (setting.noise, setting.noise_std)
        if noisy:
            return [(paper.remark6_noisy(setting.input_bound, *law, d, *betas, L), 1.0)], True
        return [(paper.remark6(setting.input_bound, *betas, L), 1.0)], True
    double = 2 if case.k == 2 and setting.unit_types == 1 else 1
    vector = paper.fisher_rao(U, W, V, X)
    if setting.fisher_rao_max is not None and vector <= setting.fisher_rao_max:
        return [(double * setting.fisher_rao_max, 1.0)], False
    # One grid of radii double * 2^e of the score: all its bins hold together, so that the bin of
    # the score's own norm and the one that the vector's norm implies may both be used.
    bins = [paper.smallest_bin(vector)]
    if double == 2:
        scalar = paper.fisher_rao(U, W, V[1:2] - V[:1], X)
        assert scalar <= 2 * vector * (1 + 1e-12)
        bins.append(paper.smallest_bin(scalar / 2))
    found = [(double * 2.0**e, paper.share(e)) for e in bins]
    return found, False


def transcribed(case, setting, norm, noisy):
    """Terms as a function of (alpha, delta) with a share, for every radius that may be used."""
    n, _, d = case.X.shape
    k, X, margins = case.k, case.inputs(noisy), case.margins(noisy)
    fixed = (setting.beta_u, setting.beta_w, setting.beta_v)
    limits = slow.score(fixed, case.norms(fixed), k, setting.unit_types)
    factor = 2 if k == 2 else 4 * k
    radii, certified = candidates_of_r(case, setting, limits.betas, noisy)
    shift = 0.0
    if noisy:
        size = paper.expected_max(setting.noise, setting.noise_std, d)
        shift = (1 if k == 2 else 2) * slow.noise_shift(X, *limits.betas, size)

    def terms_for(r):
        def terms(alpha, delta):
            return {
                "empirical_risk": slow.mean_ramp(margins, alpha),
                "linear": factor / alpha * r * norm / n,
                "difference": factor / alpha * slow.refined_difference(X, *limits.betas),
                "noise": shift / alpha,
                "confidence": slow.confidence(n, delta),
            }

        return terms

    return [(terms_for(r), limits.share * share) for r, share in radii], certified


def seen(sums, noisy):
    """The statistics, without their noisy half where there is no noise."""
    return sums if noisy else replace(sums, noisy=None)


# E itself, only its estimated floor, a floor known beforehand, the floor 0 that always holds.
MOMENTS = ["estimated", "floor", "known", "zero"]


def check_row(case, setting, moment, noisy):
    fixed = (setting.beta_u, setting.beta_w, setting.beta_v)
    X = case.inputs(noisy)
    variance = setting.noise_std**2 if noisy else 0.0
    estimate = None
    if moment == "estimated":
        estimate = norm = estimated(case, noisy, variance)
        eigenvalue = paper.min_eigenvalue(case.X)
    else:
        eigenvalue = 0.0 if moment == "zero" else 0.07
        norm = floor_norm(X, eigenvalue + variance)
    setting = replace(setting, min_eigenvalue_known=moment == "known")
    sums = slow.statistics(case, fixed, eigenvalue=eigenvalue, whitened=estimate)
    bound = refined(seen(sums, noisy), setting)
    rows, certified_r = transcribed(case, setting, norm, noisy)
    found = [
        (*slow.at_best(terms, setting.margin, setting.delta * share), number)
        for number, (terms, share) in enumerate(rows)
    ]
    value, _, _, number = min(found)
    terms, share = rows[number]
    left = setting.delta * share
    if setting.margin == "auto":
        left *= paper.share(round(math.log2(bound.margin)))
    expected = terms(bound.margin, left)
    assert bound.value == pytest.approx(value, **close)
    assert {term.name for term in bound.terms} == set(expected) - (set() if noisy else {"noise"})
    for term in bound.terms:
        assert term.value == pytest.approx(expected[term.name], rel=1e-9, abs=1e-300)
    certified = certified_r and moment in {"known", "zero"}
    assert (bound.name, bound.kind) == ("refined", "certified" if certified else "plug_in")
    assert bound.delta == setting.delta
    assert bound.vacuous is True
    assert bound.value >= 1
    assert bound.reason == NEVER_BELOW_ONE
    floor = f"spectrum of the second moment bounded below by {eigenvalue + variance:.4g}"
    trace = "E[x x^T] estimated on the sample, exact trace"
    assert (trace if moment == "estimated" else floor) in bound.assumptions
    assert ("scalar score y_1 - y_0 of two classes" in bound.assumptions) is (case.k == 2)
    assert any("one fresh draw per sample" in line for line in bound.assumptions) is noisy


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("radius", SOURCES)
@pytest.mark.parametrize("norms", NORMS)
def test_row_matches_the_transcription(norms, radius, k, unit_types, noisy, margin):
    case = slow.make_case(k, n=9, L=2, d=2, k=k, unit_types=unit_types)
    setting = relu(
        *NORMS[norms],
        **SOURCES[radius],
        unit_types=unit_types,
        noise_std=0.4 * noisy,
        margin=margin,
        delta=0.03,
    )
    for moment in MOMENTS if margin != "auto" else ["estimated"]:
        check_row(case, setting, moment, noisy)


@pytest.mark.parametrize("noise", ["uniform", "laplace"])
def test_row_of_other_noise(noise):
    for k, source in itertools.product((2, 3), SOURCES.values()):
        setting = relu(*NORMS["pairs"], **source, noise=noise, noise_std=0.3, margin=0.7)
        check_row(slow.make_case(k, L=2, k=k), setting, "zero", True)


def test_spectrum_without_a_floor_by_hand():
    # One step, so c_1 = 2, and sum_i |x_i|^2 = 4: the norm is sqrt(4 / 4 / 0.25) = 2.
    sums = slow.statistics(slow.make_case(3, n=9, L=1, d=2, k=3), eigenvalue=0.25)

    def linear(square_sums, **changes):
        inputs = replace(sums.clean, square_sums=np.array(square_sums), fisher_rao=1.0)
        setting = relu(1.0, 0.5, 1.0, fisher_rao_max=1.0, margin=1.0)
        return refined(replace(sums, clean=inputs, noisy=None, **changes), setting).term("linear")

    assert linear([[3.0, 1.0]]) == pytest.approx(12 * 2 / 9)
    assert linear([[3.0, 1.0]], min_eigenvalue=0.0) == math.inf
    assert linear([[0.0, 0.0]]) == linear([[0.0, 0.0]], min_eigenvalue=0.0) == 0.0
    assert linear([[1e308, 1e308]]) == math.inf


def test_a_floor_of_zero_needs_no_estimate():
    # What the sample says of the spectrum is left alone where it supports no floor.
    sums = slow.statistics(slow.make_case(2, n=9, L=2), eigenvalue=0.0, whitened=3.0)
    setting = relu(1.4, 0.6, 1.8, input_bound=5.5, noise_std=0.4, margin=0.7)
    bound = refined(sums, setting)
    assert bound.kind == "certified"
    assert "spectrum of the second moment bounded below by 0.16" in bound.assumptions


def test_without_the_norm_of_the_scalar_score_the_other_one_counts():
    sums = slow.statistics(slow.make_case(2, L=2), eigenvalue=0.1)
    noisy = replace(sums.noisy, scalar_fisher_rao=None)
    setting = relu(1.4, 0.6, 1.8, noise_std=0.4, margin=0.7)
    bound, other = refined(replace(sums, noisy=noisy), setting), refined(sums, setting)
    assert other.value <= bound.value < math.inf


def test_vacuous_also_where_the_value_is_below_one():
    # Margins that no such inputs have stand in for what rounding may do.
    sums = slow.statistics(slow.make_case(n=9), eigenvalue=0.1)
    sums = replace(sums, clean=replace(sums.clean, margins=np.full(9, 50.0)), noisy=None)
    bound = refined(sums, relu(0.0, 0.5, 1.0, input_bound=0.0, delta=1.0, margin=20.0))
    assert bound.value == pytest.approx(3 * (math.log(2) / 18) ** 0.5)
    assert bound.value < 1
    assert bound.vacuous is True


# ---- never above the theorems ----


@few_examples
@given(
    seed=seeds,
    L=st.integers(1, 3),
    k=st.integers(2, 4),
    norms=st.sampled_from(list(NORMS)),
    source=st.sampled_from(list(SOURCES)),
    margin=st.one_of(st.floats(0.01, 10), st.just("auto")),
    noisy=st.booleans(),
    moment=st.sampled_from(MOMENTS),
    unit_types=st.integers(1, 2),
)
def test_never_above_the_theorem(seed, L, k, norms, source, margin, noisy, moment, unit_types):
    case = slow.make_case(seed, n=10, L=L, k=k, unit_types=unit_types)
    eigenvalue = {"estimated": paper.min_eigenvalue(case.X), "zero": 0.0}.get(moment, 0.05)
    estimate = None
    if moment == "estimated":
        estimate = estimated(case, noisy, 0.16 * noisy)
    sums = slow.statistics(case, NORMS[norms], eigenvalue=eigenvalue, whitened=estimate)
    setting = relu(
        *NORMS[norms],
        **SOURCES[source],
        unit_types=unit_types,
        min_eigenvalue_known=moment == "known",
        noise_std=0.4 * noisy,
        margin=margin,
    )
    sums = seen(sums, noisy)
    loose, tight = (theorem3 if noisy else theorem2)(sums, setting), refined(sums, setting)
    assert tight.value <= loose.value * (1 + 1e-9)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("margin", [1.0, "auto"])
def test_row_overflows_to_infinity(margin, noisy):
    sums, ones = slow.statistics(slow.make_case(n=4, d=1, m=2)), np.ones(5000)

    def row(setting, **changes):
        halves = (
            replace(half, **{"square_sums": ones[:, None], "step_abs_sums": ones, **changes})
            for half in (sums.clean, sums.noisy)
        )
        clean, other = halves
        return refined(seen(replace(sums, clean=clean, noisy=other), noisy), setting)

    setting = relu(1.0, 3.0, 1.0, margin=margin, input_bound=1.0, noise_std=0.4 * noisy)
    assert row(setting).value == math.inf
    # Sums over the sample that overflow when they are weighted by their step.
    for beta_w in (0.5, 0.0):
        bound = row(
            replace(setting, beta_w=beta_w, input_bound=None),
            step_abs_sums=np.full(5000, 1e308),
            fisher_rao=math.inf,
        )
        assert (bound.value, bound.vacuous) == (math.inf, True)
