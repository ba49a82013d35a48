"""Theorems 1 to 3 and Remarks 4 and 6 against a slow transcription of the paper."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import relu, rule

from sklearn_rnnbound.bounds import NotApplicableError
from sklearn_rnnbound.bounds._sample import InputSums, NetworkNorms, SampleStatistics
from sklearn_rnnbound.bounds.paper import (
    NEVER_BELOW_ONE,
    expected_max_noise,
    remark6_radius,
    rms_max_noise,
    theorem1,
)
from sklearn_rnnbound.bounds.union import EXPONENTS

theorem2, theorem3 = rule("theorem2"), rule("theorem3")
THEOREMS = {"theorem2": theorem2, "theorem3": theorem3}
NOISES = ["gaussian", "uniform", "laplace"]

few_examples = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
exact = {"rel": 1e-9, "abs": 0}

FIXED = relu(2.0, 0.5, 3.0, fisher_rao_max=5.0, margin=1.0, noise_std=0.4, delta=0.05)


def changed(sums, **changes):
    """Both halves of the statistics with the same changes."""
    return replace(sums, clean=replace(sums.clean, **changes), noisy=replace(sums.noisy, **changes))


# ---- against the transcription ----

NORMS = {
    "fixed": (4.0, 1.7, 5.5),
    "pairs": ((3.0, 2.5), (1.1, 0.6), (2.5, 2.0)),
    "open": (None, None, None),
    "mixed": (None, (0.9, 1.2), 4.0),
}


def transcribed(case, setting, eigenvalue, *, noisy):
    """The transcription's terms as a function of (alpha, delta), and the delta left for them."""
    X, margins = case.inputs(noisy), case.margins(noisy)
    law = (setting.noise, setting.noise_std)
    fixed = (setting.beta_u, setting.beta_w, setting.beta_v)
    norms = case.norms(fixed)
    if setting.input_bound is None:
        trained = (*norms, paper.fisher_rao(*case.weights, X))
        (*betas, r), share = paper.union((*fixed, setting.fisher_rao_max), trained)
    else:
        betas, share = paper.union(fixed, norms)
        _, L, d = X.shape
        if noisy:
            r = paper.remark6_noisy(setting.input_bound, *law, d, *betas, L)
        else:
            r = paper.remark6(setting.input_bound, *betas, L)

    def terms(alpha, delta):
        shared = (X, margins, case.k, alpha, r, eigenvalue, betas, delta)
        return paper.theorem3(*shared, *law) if noisy else paper.theorem2(*shared)

    return terms, setting.delta * share


def check_against_transcription(name, case, setting, eigenvalue):
    fixed = (setting.beta_u, setting.beta_w, setting.beta_v)
    sums = slow.statistics(case, fixed, eigenvalue=eigenvalue)
    bound = THEOREMS[name](sums, setting)
    terms, delta = transcribed(case, setting, eigenvalue, noisy=name == "theorem3")
    if setting.margin == "auto":
        assert bound.value == pytest.approx(paper.best_value(terms, delta, EXPONENTS), **exact)
        delta *= paper.share(int(math.log2(bound.margin)))
    else:
        assert bound.margin == setting.margin
    expected = terms(bound.margin, delta)
    assert {term.name: term.value for term in bound.terms} == pytest.approx(expected, **exact)
    assert bound.value == pytest.approx(paper.total(expected), **exact)
    assert bound.delta == setting.delta


SOURCES = {"input_bound": {"input_bound": 9.5}, "given": {"fisher_rao_max": 900.0}, "open": {}}


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("radius", SOURCES)
@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", THEOREMS)
def test_matches_the_transcription(name, k, norms, radius, margin):
    case = slow.make_case(seed=k, k=k)
    setting = relu(*NORMS[norms], **SOURCES[radius], margin=margin, noise_std=0.4, delta=0.03)
    for eigenvalue, known in [(0.07, True), (paper.min_eigenvalue(case.X), False), (0.0, False)]:
        setting = replace(setting, min_eigenvalue_known=known)
        check_against_transcription(name, case, setting, eigenvalue)


@pytest.mark.parametrize("norms", ["fixed", "open"])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("noise", NOISES)
def test_every_noise_matches_the_transcription(noise, d, norms):
    case = slow.make_case(seed=d, d=d, k=3, sigma=0.8)
    for source, eigenvalue in itertools.product(SOURCES.values(), [0.0, 0.05]):
        setting = relu(*NORMS[norms], **source, margin=2.0, noise=noise, noise_std=0.8)
        check_against_transcription("theorem3", case, setting, eigenvalue)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("beta_w", [0.0, 0.3, 1.0, 2.5])
def test_theorem1_matches_the_transcription(seed, beta_w):
    X = slow.make_case(seed, n=7, L=1 + seed, d=1 + seed % 3).X
    linear, difference = theorem1(
        n=len(X),
        n_steps=X.shape[1],
        frobenius=paper.frobenius(X),
        abs_sum=paper.one_norm(X),
        r=1.7,
        min_eigenvalue=0.3,
        beta_u=0.6,
        beta_w=beta_w,
        beta_v=2.2,
    )
    assert linear == pytest.approx(paper.linear_part(1.7, paper.frobenius(X), 0.3, 7), **exact)
    assert difference == pytest.approx(paper.difference_part(X, 0.6, beta_w, 2.2), **exact)


@pytest.mark.parametrize("eigenvalue", [0.0, 0.25])
@pytest.mark.parametrize(
    ("r", "frobenius", "times_root"),
    [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 0.1), (3.0, 2.0, 0.6)],
)
def test_linear_part_by_hand(r, frobenius, times_root, eigenvalue):
    # r ||X||_F / (2 * 5) over the root of lambda_min: a factor of zero is stronger than 1/0.
    betas = dict.fromkeys(["beta_u", "beta_w", "beta_v"], 1.0)
    linear, _ = theorem1(
        n=5,
        n_steps=2,
        frobenius=frobenius,
        abs_sum=1.0,
        r=r,
        min_eigenvalue=eigenvalue,
        **betas,
    )
    expected = math.inf if times_root and eigenvalue == 0 else times_root / 0.5
    assert linear == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_remark6_covers_the_linearised_norm(seed):
    case = slow.make_case(seed, n=5, L=4, d=3, k=3)
    betas = dict(zip(["beta_u", "beta_w", "beta_v"], case.norms(), strict=True))
    r = remark6_radius(n_steps=4, max_input=float(np.abs(case.X).max()), **betas)
    assert paper.fisher_rao(*case.weights, case.X) <= r


# ---- by hand: n = 2, L = 2, d = 1, k = 2 ----
# X: sample 1 is (2, 1), sample 2 is (0, 2).   ||X||_F = sqrt(4 + 1 + 0 + 4) = 3
# step 1: |2| + |0| = 2, step 2: |1| + |2| = 3, so ||X^T||_1 = 3
# beta_u, beta_w, beta_v = 1, 1/2, 2

HAND_SUMS = InputSums(
    margins=np.array([0.5, 2.0]),
    fisher_rao=1.0,
    step_abs_sums=np.array([2.0, 3.0]),
    square_sums=np.array([[4.0], [5.0]]),
    step_max_sums=np.array([2.0, 3.0]),
    max_norm=2.0,
)
NO_MATTER = NetworkNorms(3, 1.0, 1.0, 1.0, 1.0)
HAND = SampleStatistics(2, HAND_SUMS, HAND_SUMS, 0.25, 0.3, 1.0, 3.0, NO_MATTER)
HAND_SETTING = relu(
    1.0, 0.5, 2.0, fisher_rao_max=1.0, noise_std=1.0, margin=1.0, delta=2 * math.exp(-4)
)


def test_theorem2_by_hand():
    bound = theorem2(HAND, HAND_SETTING)
    assert bound.term("empirical_risk") == 0.5  # 0.5 <= 1 counts, 2 does not
    # 4k/alpha = 8 times r ||X||_F / (2n) / sqrt(1/4) = 1 * 3 / 4 * 2 = 1.5
    assert bound.term("linear") == pytest.approx(12)
    # 8 times beta_v beta_u ||X^T||_1 / n * (1 + 2 * 1/2) = 2 * 1 * 3 / 2 * 2 = 6
    assert bound.term("difference") == pytest.approx(48)
    # 3 sqrt(ln(2 / (2 e^-4)) / (2 * 2)) = 3 sqrt(4 / 4)
    assert bound.term("confidence") == pytest.approx(3)
    assert bound.value == pytest.approx(63.5)


@pytest.mark.parametrize(
    ("noise", "std", "largest"),
    [
        ("uniform", 3**-0.5, 0.5),  # on [-1, 1]: E|e| = 1/2
        ("laplace", 2**0.5, 1.0),  # scale 1: E|e| = 1
        ("gaussian", 2.0, 2.3548200450309493),  # 2 sqrt(2 ln 2)
    ],
)
def test_theorem3_by_hand(noise, std, largest):
    # lambda_min + sigma^2 = 9, so that the linear part is 8 * (1 * 3 / 4) / 3 = 2
    bound = theorem3(
        replace(HAND, min_eigenvalue=9 - std**2), replace(HAND_SETTING, noise=noise, noise_std=std)
    )
    assert bound.term("empirical_risk") == 0.25  # ramp: 1 - 0.5/1 and 0
    assert bound.term("linear") == pytest.approx(2)
    assert bound.term("difference") == pytest.approx(48)
    # 2/alpha * beta_v beta_u (1/2 + 1) E||e_t|| = 2 * 2 * 1.5 E||e_t|| = 6 E||e_t||
    assert bound.term("noise") == pytest.approx(6 * largest)
    assert bound.value == pytest.approx(0.25 + 2 + 48 + 6 * largest + 3)


def test_remark6_by_hand():
    # r = beta_v beta_u B (2 + 3/2) = 7 B = 14, so the linear part is 14 times the 12 of r = 1
    bounded = replace(HAND_SETTING, input_bound=2.0)
    assert theorem2(HAND, bounded).term("linear") == pytest.approx(168)
    # uniform on [-1, 1], d = 1: root of E e^2 = sqrt(1/3), r = 7 (2 + sqrt(1/3)), and
    # lambda_min + sigma^2 = 1/4 + 1/3 = 7/12: 8 * r * 3/4 / sqrt(7/12) = 42 (2 + ...) sqrt(12/7)
    noisy = theorem3(HAND, replace(bounded, noise="uniform", noise_std=3**-0.5))
    assert noisy.term("linear") == pytest.approx(42 * (2 + 3**-0.5) * (12 / 7) ** 0.5)


def test_union_by_hand():
    # u: 0.3 -> 2^-1, bin 3, 1/12; w: 1 -> 2^0, bin 1, 1/2; v: 3 -> 2^2, bin 4, 1/20; r: 1 -> 1/2
    # shares: 1/12 * 1/2 * 1/20 * 1/2 = 1/960; Lambda = 1 + 2 = 3
    bound = theorem2(HAND, relu(margin=1.0, delta=2 / 960 * math.exp(-4)))
    assert bound.term("difference") == pytest.approx(8 * 4 * 0.5 * 3 / 2 * 3)
    assert bound.term("linear") == pytest.approx(12)
    # delta * 1/960 = 2 / 960^2 e^-4, so ln(2 / ...) = 4 + 2 ln 960 = 17.7338...
    assert bound.term("confidence") == pytest.approx(3 * (17.733866569294 / 4) ** 0.5)


# ---- Lambda ----


def lambda_of(beta_w, L, **others):
    others = {"beta_u": 1.0, "beta_v": 1.0, "abs_sum": 1.0, **others}
    return theorem1(n=1, n_steps=L, frobenius=0, r=0, min_eigenvalue=1, beta_w=beta_w, **others)[1]


@pytest.mark.parametrize("L", [1, 2, 7, 60])
@pytest.mark.parametrize("beta_w", [0.01, 0.5, 0.9, 1.2, 3.0])
def test_lambda_is_the_closed_form(beta_w, L):
    assert lambda_of(beta_w, L) == pytest.approx(paper.lambda_closed_form(beta_w, L), rel=1e-9)


@pytest.mark.parametrize("L", [1, 5, 400])
@pytest.mark.parametrize("beta_w", [1 - 1e-12, 1.0, 1 + 1e-12])
def test_lambda_near_one(beta_w, L):
    assert lambda_of(beta_w, L) == pytest.approx(L * (L + 1) / 2, rel=1e-9)


def test_lambda_at_its_limits():
    assert lambda_of(0.0, 1) == lambda_of(0.0, 400) == 1
    assert lambda_of(1e10, 400) == lambda_of(math.inf, 3) == math.inf
    assert lambda_of(1e10, 400, beta_v=0.0) == lambda_of(1e10, 400, abs_sum=0.0) == 0
    for beta_w in (0.0, 0.5):
        assert lambda_of(beta_w, 3, beta_u=1e200, beta_v=1e200) == math.inf


def test_product_is_finite_where_lambda_alone_overflows():
    product = sum((s + 1) * Fraction(100) ** s for s in range(160)) * Fraction(1e-40)
    assert lambda_of(100.0, 160, beta_v=1e-40) == pytest.approx(float(product), rel=1e-9)


def test_product_is_positive_where_the_factors_alone_underflow():
    # 3 * 1e300 * 1e-200 * 1e-200 = 3e-100, up to 1e-150 of it
    product = lambda_of(1e150, 3, beta_u=1e-200, beta_v=1e-200)
    assert product == pytest.approx(3e-100, **exact)


@pytest.mark.parametrize("margin", [1.0, "auto"])
@pytest.mark.parametrize("name", THEOREMS)
def test_bound_overflows_to_infinity(name, margin):
    sums = slow.statistics(slow.make_case(n=4, L=400, d=1, m=1))
    setting = replace(FIXED, beta_w=1e10, input_bound=10.0, margin=margin)
    bound = THEOREMS[name](sums, setting)
    assert bound.value == math.inf
    assert bound.reason.startswith("Infinite")
    null = THEOREMS[name](sums, replace(setting, beta_v=0.0))
    complexity = {"linear", "difference", "noise"}
    assert {term.value for term in null.terms if term.name in complexity} == {0.0}
    assert math.isfinite(null.value)
    sums = changed(sums, square_sums=np.full((400, 1), 1e308))
    assert THEOREMS[name](sums, replace(FIXED, margin=margin)).value == math.inf


@pytest.mark.parametrize("margin", [1.0, "auto"])
@pytest.mark.parametrize("name", THEOREMS)
def test_bound_at_the_edge_of_overflow(name, margin):
    sums = slow.statistics(slow.make_case())
    for exponent in np.linspace(285, 308, 100):
        setting = replace(FIXED, beta_u=float(10**exponent), margin=margin, input_bound=3.0)
        assert THEOREMS[name](sums, setting).value > 1e250
    assert theorem3(sums, replace(FIXED, noise_std=1e200, margin=margin)).value > 1e150


# ---- the largest of d noise entries ----


@pytest.mark.parametrize("d", [1, 2, 5, 50])
@pytest.mark.parametrize("std", [0.3, 2.0])
@pytest.mark.parametrize("noise", ["uniform", "laplace"])
def test_noise_maximum_is_exact(noise, std, d):
    first = paper.max_moment(noise, std, d, 1)
    second = paper.max_moment(noise, std, d, 2)
    assert expected_max_noise(noise, std, d) == pytest.approx(first, rel=1e-8)
    assert rms_max_noise(noise, std, d) == pytest.approx(second**0.5, rel=1e-8)


@pytest.mark.parametrize("d", [1, 2, 5, 50, 1000])
def test_gaussian_noise_maximum_is_an_upper_bound(d):
    first, second = (paper.max_moment("gaussian", 2.0, d, power) for power in (1, 2))
    assert first <= expected_max_noise("gaussian", 2.0, d) <= 1.5 * first
    assert second**0.5 <= rms_max_noise("gaussian", 2.0, d) <= 1.5 * second**0.5


# ---- kinds, terms, reasons ----


@pytest.mark.parametrize("norms", ["fixed", "open"])
@pytest.mark.parametrize("name", THEOREMS)
@pytest.mark.parametrize(
    ("source", "eigenvalue", "known", "kind"),
    [
        ({"input_bound": 9.5}, 0.1, True, "certified"),
        ({"input_bound": 9.5}, 0.0, True, "certified"),
        ({"input_bound": 9.5}, 0.0, False, "certified"),
        ({"input_bound": 9.5, "fisher_rao_max": 900.0}, 0.1, True, "certified"),
        ({"input_bound": 9.5}, 0.1, False, "plug_in"),
        ({"fisher_rao_max": 900.0}, 0.1, True, "plug_in"),
        ({"fisher_rao_max": 900.0}, 0.0, False, "plug_in"),
        ({}, 0.1, True, "plug_in"),
    ],
)
def test_certified_needs_a_valid_r_and_a_valid_eigenvalue(
    name, source, eigenvalue, known, kind, norms
):
    sums = slow.statistics(slow.make_case(), eigenvalue=eigenvalue)
    for margin in (1.0, "auto"):
        setting = relu(
            *NORMS[norms], **source, min_eigenvalue_known=known, margin=margin, noise_std=0.4
        )
        assert THEOREMS[name](sums, setting).kind == kind


@pytest.mark.parametrize(
    ("given", "eigenvalue", "lines"),
    [
        (
            {"input_bound": 9.5, "min_eigenvalue_known": True},
            0.1,
            ["from the norms, B = 9.5", "lambda_min = 0.1, known beforehand"],
        ),
        (
            {"fisher_rao_max": 900.0},
            0.1,
            ["r = 900, enforced on the sample", "lambda_min = 0.1, estimated on the sample"],
        ),
        (
            {},
            0.0,
            [
                "r unconstrained",
                "; an estimate on the sample",
                "lambda_min = 0, all that the sample supports",
            ],
        ),
    ],
)
@pytest.mark.parametrize("name", THEOREMS)
def test_assumptions_say_where_every_number_comes_from(name, given, eigenvalue, lines):
    sums = slow.statistics(slow.make_case(), eigenvalue=eigenvalue)
    setting = relu(2.0, 0.5, 3.0, margin=1.0, noise_std=0.4, notes=("a note",), **given)
    text = "\n".join(THEOREMS[name](sums, setting).assumptions)
    for line in ("a note", "beta_u = 2,", "beta_w = 0.5,", "beta_v = 3,", "alpha = 1,", *lines):
        assert line in text
    noisy = name == "theorem3"
    assert ("gaussian noise of standard deviation 0.4, one fresh draw" in text) is noisy
    assert ("B = 9.5 and the noise (Remark 6)" in text) is (noisy and "input_bound" in given)


def test_singular_second_moment_makes_theorem2_infinite():
    sums = slow.statistics(slow.make_case(), eigenvalue=0.0)
    bound, noisy = theorem2(sums, FIXED), theorem3(sums, FIXED)
    assert bound.value == bound.term("linear") == math.inf
    assert bound.reason.startswith("Infinite: the second moment")
    assert math.isfinite(noisy.value)
    # Here the linear part is zero, and the difference part overflows.
    nothing = replace(FIXED, fisher_rao_max=0.0, beta_w=1e200)
    overflow = theorem2(changed(sums, fisher_rao=0.0), nothing)
    assert overflow.term("linear") == 0.0
    assert overflow.reason.startswith("Infinite: a term leaves the range")
    # Here it overflows itself, and not for the eigenvalue.
    norms = replace(FIXED, fisher_rao_max=None, input_bound=1.0, beta_w=1e200, beta_v=1e200)
    other = theorem2(slow.statistics(slow.make_case(), eigenvalue=0.1), norms)
    assert other.reason.startswith("Infinite: a term leaves the range")
    assert all(row.reason.endswith(NEVER_BELOW_ONE) for row in (bound, noisy, overflow, other))
    assert bound.vacuous is noisy.vacuous is True


@pytest.mark.parametrize("name", THEOREMS)
def test_vacuous_also_where_the_value_is_below_one(name):
    # Margins that no such inputs have stand in for what rounding may do.
    sums = changed(
        slow.statistics(slow.make_case()),
        margins=np.full(9, 5.0),
        fisher_rao=0.0,
        step_abs_sums=np.zeros(3),
        square_sums=np.zeros((3, 2)),
    )
    bound = THEOREMS[name](sums, replace(FIXED, beta_u=0.0, delta=1.0))
    assert bound.value == pytest.approx(3 * (math.log(2) / 18) ** 0.5)
    assert bound.value < 1
    assert bound.vacuous is True


def test_theorem3_needs_noise():
    with pytest.raises(NotApplicableError, match="noise_std is 0"):
        theorem3(slow.statistics(slow.make_case()), replace(FIXED, noise_std=0.0))
    assert issubclass(NotApplicableError, ValueError)


def test_broken_fisher_rao_radius_is_replaced_by_its_bin():
    sums = changed(slow.statistics(slow.make_case()), fisher_rao=5.1)
    bound, honest = theorem2(sums, FIXED), theorem2(sums, replace(FIXED, fisher_rao_max=None))
    assert bound.value == honest.value
    edge = theorem2(sums, replace(FIXED, fisher_rao_max=8.0))
    assert bound.term("linear") == pytest.approx(edge.term("linear"))


# ---- never below one ----


@few_examples
@given(
    seed=seeds,
    n=st.integers(1, 12),
    L=st.integers(1, 4),
    k=st.integers(2, 4),
    margin=st.one_of(st.floats(1e-6, 1e6), st.just("auto")),
    slack=st.sampled_from([1.0, 1.3]),
)
def test_consistent_samples_never_get_below_one(seed, n, L, k, margin, slack):
    case = slow.make_case(seed, n=n, L=L, k=k)
    # A known, huge eigenvalue removes the linear part, and delta = 1 most of the confidence.
    sums = slow.statistics(case, eigenvalue=1e30)
    for norms in [tuple(slack * norm for norm in case.norms()), (None, None, None)]:
        setting = relu(*norms, margin=margin, noise_std=0.4, delta=1.0)
        for theorem in (theorem2, theorem3):
            bound = theorem(sums, setting)
            assert bound.value >= 1
            assert bound.empirical_risk + bound.term("difference") >= 1 - 1e-12
