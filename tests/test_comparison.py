"""The other rows of the comparison, and what every row has in common."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.bounds import BOUNDS, NotApplicableError, Setting
from sklearn_rnnbound.bounds.comparison import (
    ORDER_ONLY,
    chen2019,
    golowich2018,
    trivial,
    trivial_complexity,
    unrolled_complexity,
    zhang2018,
)
from sklearn_rnnbound.bounds.peeling import path_norm_complexity, theorem_p
from sklearn_rnnbound.statistics import (
    BoxStatistics,
    HoldoutCounts,
    PosteriorErrors,
    QuantizedErrors,
)

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
close = {"rel": 1e-10, "abs": 0}
BETAS = [(1.4, 0.6, 1.8), (1.0, 1.0, 1.0), (0.5, 0.0, 2.0), (1.0, 1.7, 0.3)]


def radii(betas):
    return dict(zip(("beta_u", "beta_w", "beta_v"), betas, strict=True))


def unrolled(X, betas):
    n, L, d = X.shape
    largest = max(max(columns) for columns in slow.step_l2_columns(X))
    return unrolled_complexity(n=n, n_steps=L, n_features=d, largest=largest, **radii(betas))


def trivially(X, betas):
    sums = np.abs(X).max(2).sum(0)
    return trivial_complexity(sums, n=len(X), **radii(betas))


# ---- complexities ----


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize(("L", "d"), [(1, 1), (1, 3), (4, 1), (5, 2)])
def test_complexities_match_the_transcription(L, d, betas):
    X = slow.make_case(L, L=L, d=d).X
    assert unrolled(X, betas) == pytest.approx(slow.unrolled(X, *betas), **close)
    assert trivially(X, betas) == pytest.approx(slow.trivial(X, *betas), **close)


def test_complexities_by_hand():
    # b_1 = 2, b_2 = 0.5 * 2 + 4 = 5, b_3 = 2.5 + 4 = 6.5
    value = unrolled_complexity(
        n=10, n_steps=3, n_features=2, largest=7.0, beta_u=2.0, beta_w=0.5, beta_v=3.0
    )
    assert value == pytest.approx(3 * 6.5 / 10 * math.sqrt(2 * math.log(16 * 6)) * 7)
    value = trivial_complexity(np.array([4.0, 6.0, 8.0]), n=2, **radii((2.0, 0.5, 3.0)))
    assert value == pytest.approx(6 * (0.25 * 2 + 0.5 * 3 + 4))


@pytest.mark.parametrize("beta_w", [math.nextafter(1, 0), math.nextafter(1, 2)])
def test_complexities_near_one_are_continuous(beta_w):
    X = slow.make_case().X
    for complexity in (unrolled, trivially):
        assert complexity(X, (1.0, beta_w, 1.0)) == pytest.approx(complexity(X, (1.0, 1.0, 1.0)))


def test_complexities_overflow_to_infinity():
    X = np.ones((1, 5000, 1))
    for complexity in (unrolled, trivially):
        assert complexity(X, (1.0, 3.0, 1.0)) == math.inf
        assert complexity(X, (1.0, 3.0, 0.0)) == 0.0
        assert complexity(0 * X, (1.0, 3.0, 1.0)) == 0.0


def test_no_member_of_the_class_exceeds_the_complexities():
    rng = np.random.default_rng(0)
    X, betas = rng.normal(size=(6, 3, 2)), (1.0, 1.2, 1.0)
    U, W, V = (
        slow.random_rows(rng, (10_000, *shape), beta)
        for shape, beta in zip([(4, 2), (4, 4), (1, 4)], betas, strict=True)
    )
    last = slow.states(U, W, X, lambda g: np.maximum(g, 0))
    reached = slow.complexity_from_below(np.einsum("Nnm,Nm->Nn", last, V[:, 0]))
    for complexity in (unrolled, trivially):
        assert reached <= complexity(X, betas)


@pytest.mark.parametrize("non_negative", [True, False])
def test_no_network_of_the_path_norm_exceeds_its_complexity(non_negative):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6, 3, 2))
    U, W, V = (rng.normal(size=(5000, *shape)) ** 5 for shape in [(4, 2), (4, 4), (1, 4)])
    W = abs(W) if non_negative else W
    reach = np.zeros((5000, 4))
    for _ in range(3):
        reach = abs(U).sum(2) + np.einsum("Nmk,Nk->Nm", abs(W), reach)
    V = V / np.einsum("Nm,Nm->N", abs(V[:, 0]), reach)[:, None, None]
    norm = max(slow.path_norm_rows(U[0], W[0], V[0], [1.0] * 3))
    assert norm == pytest.approx(1.0)
    last = slow.states(U, W, X, lambda g: np.maximum(g, 0))
    reached = 6 * slow.complexity_from_below(np.einsum("Nnm,Nm->Nn", last, V[:, 0]))
    value = path_norm_complexity(np.array(slow.step_l2_columns(X)), 1.0, non_negative=non_negative)
    assert 0.1 * value < reached <= value


@few_examples
@given(seed=seeds, L=st.integers(1, 6), d=st.integers(1, 4), beta_w=st.floats(0, 3))
def test_peeling_is_never_above_the_unrolled_network(seed, L, d, beta_w):
    X = slow.make_case(seed, L=L, d=d).X
    closed, _ = theorem_p(
        np.array(slow.step_l2_columns(X)), **radii((1.0, beta_w, 1.0)), signed=False
    )
    # Only the ball is compared: both pay for the two signs at every step.
    assert closed / len(X) <= unrolled(X, (1.0, beta_w, 1.0)) * (1 + 1e-12)


# ---- certified rows ----

NORMS = {
    "fixed": (1.4, 0.6, 1.8),
    "pairs": ((0.9, 0.7), (0.5, 0.2), (1.1, 0.6)),
    "open": (None, None, None),
    "mixed": (None, (0.3, 0.4), 2.0),
}
CERTIFIED = {"golowich2018": (golowich2018, slow.unrolled), "trivial": (trivial, slow.trivial)}


@pytest.mark.parametrize("margin", [0.7, "auto"])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("name", CERTIFIED)
def test_row_matches_the_transcription(name, norms, k, unit_types, noisy, margin):
    case = slow.make_case(k, k=k, unit_types=unit_types)
    fixed = NORMS[norms]
    setting = Setting(
        *fixed, unit_types=unit_types, noise_std=0.4 * noisy, margin=margin, delta=0.03
    )
    row, complexity = CERTIFIED[name]
    sums = slow.statistics(case, fixed)
    bound = row(sums if noisy else replace(sums, noisy=None), setting)
    limits = slow.score(fixed, case.norms(fixed), k, unit_types)
    size, margins, n = complexity(case.X, *limits.betas), case.margins(), len(case.X)
    factor = 2 if k == 2 else 4 * k
    value, alpha, left = slow.at_best(
        lambda alpha, delta: slow.assembled(margins, factor, size, n, delta, alpha),
        margin,
        0.03 * limits.share,
    )
    expected = slow.assembled(margins, factor, size, n, left, alpha)
    assert bound.value == pytest.approx(value, **close)
    assert bound.margin == alpha
    assert [term.name for term in bound.terms] == ["empirical_risk", "complexity", "confidence"]
    for term in bound.terms:
        assert term.value == pytest.approx(expected[term.name], rel=1e-10, abs=1e-300)
    assert (bound.name, bound.kind, bound.delta) == (name, "certified", 0.03)
    assert bound.vacuous is (bound.value >= 1)


def test_tanh_cannot_carry_the_inputs_forward():
    setting = replace(SETTINGS["fixed"], activation="tanh")
    with pytest.raises(NotApplicableError, match=r"golowich2018 covers .* 'tanh'"):
        golowich2018(complete(), setting)
    assert trivial(complete(), setting).value == trivial(complete(), SETTINGS["fixed"]).value


@pytest.mark.parametrize(("unit_types", "rows"), [(1, 2.0), (2, 1.0)])
def test_only_unit_types_spare_two_classes_the_row_of_class_zero(unit_types, rows):
    setting = replace(SETTINGS["fixed"], unit_types=unit_types)
    # 2/alpha times the row norm times 1.4 sum_t 0.6^(3-t) sum_i max_j |x_itj| / 12
    sums = complete()
    size = 1.4 * float(sums.clean.step_max_sums @ [0.36, 0.6, 1.0]) / 12
    expected = 2 / 0.7 * rows * 1.8 * size
    assert trivial(sums, setting).term("complexity") == pytest.approx(expected)


@few_examples
@given(seed=seeds, k=st.integers(2, 4), margin=st.one_of(st.floats(1e-3, 1e3), st.just("auto")))
def test_trivial_is_never_below_one(seed, k, margin):
    case = slow.make_case(seed, k=k)
    for norms in (case.norms(), (None, None, None)):
        assert trivial(slow.statistics(case), Setting(*norms, margin=margin)).value >= 1


# ---- orders of growth ----


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("L", "d", "m"), [(1, 1, 2), (4, 2, 3), (3, 7, 2)])
def test_orders_match_the_transcription(L, d, m, k, scale):
    case = slow.make_case(3, L=L, d=d, m=m, k=k)
    U, W, V = case.weights
    case = replace(case, weights=(U, scale * W, V))
    norms = [slow.spectral(A) for A in case.weights]
    sums, n = slow.statistics(case), len(case.X)
    bound = zhang2018(sums, Setting(margin=0.3))
    assert bound.value == pytest.approx(slow.zhang_order(n, d, m, k, L, norms, 0.3), rel=1e-8)
    size = max(math.sqrt(math.fsum(v**2 for v in x_t)) for x in case.X.tolist() for x_t in x)
    expected = math.sqrt(m * (d + m + k)) * norms[0] * norms[2] * size
    expected *= slow.geometric_sum(norms[1], L) / math.sqrt(n) / 0.3
    assert chen2019(sums, Setting(margin=0.3)).value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("row", [zhang2018, chen2019])
def test_orders_have_no_best_margin(row):
    auto, one, half = (row(complete(), Setting(margin=m)) for m in ("auto", 1.0, 0.5))
    assert (auto.margin, one.margin, half.margin) == (1.0, 1.0, 0.5)
    assert auto.value == one.value
    assert half.value == pytest.approx(2 * one.value)


def test_orders_overflow_to_infinity():
    sums = complete()
    network = replace(sums.network, spectral_w=1e200)
    for row in (zhang2018, chen2019):
        assert row(replace(sums, network=network), Setting(margin=1.0)).value == math.inf


# ---- all rows ----


@cache
def complete(norms="fixed", unit_types=1, k=2):
    """Statistics with which every bound applies."""
    case = slow.make_case(1, n=12, L=3, d=1, k=k, unit_types=unit_types)
    points = tuple(case.weights)
    return slow.statistics(
        case,
        NORMS[norms],
        decay=0.5,
        whitened=3.0,
        box=BoxStatistics(points, points, np.ones((3, 4)), 0.1, 30),
        holdout=HoldoutCounts(2, 30),
        quantized=(QuantizedErrors(4, 30.0, 2, "against zero"),),
        posterior=PosteriorErrors(0.1, 2.0, 24, 0.2, 12.0, "around zero"),
    )


SETTINGS = {
    "fixed": Setting(*NORMS["fixed"], margin=0.7, noise_std=0.4, fisher_rao_max=100.0),
    "pairs": Setting(*NORMS["pairs"], margin="auto", noise_std=0.4, input_bound=6.0),
    "open": Setting(*NORMS["open"], margin=0.7, noise_std=0.4),
    "mixed": Setting(*NORMS["mixed"], margin="auto", noise_std=0.4, input_bound=6.0),
}


def rows(norms, k, unit_types=1, **changes):
    sums, setting = complete(norms, unit_types, k), replace(SETTINGS[norms], **changes)
    return {
        name: row(sums, replace(setting, unit_types=unit_types)) for name, row in BOUNDS.items()
    }


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_every_row_is_well_formed(norms, k, unit_types, known):
    found = rows(norms, k, unit_types, min_eigenvalue_known=known)
    assert {name for name in found if found[name].kind == "order_only"} == ORDER_ONLY
    for name, bound in found.items():
        assert bound.name == name
        assert math.fsum(term.value for term in bound.terms) == pytest.approx(bound.value)
        assert float(bound) == bound.value
        assert bound.kind in {"certified", "plug_in", "order_only"}
        assert (bound.kind == "order_only") is (name in {"zhang2018", "chen2019"})
        if bound.kind == "order_only":
            assert [term.name for term in bound.terms] == ["order"]
            assert (bound.delta, bound.vacuous, bound.reason) == (None, False, "")
        else:
            assert bound.delta == 0.05
            assert bound.vacuous is (bound.value >= 1)
            assert bool(bound.reason) is bound.vacuous
            assert any(line for line in bound.assumptions)
        if name in {"theorem2", "theorem3", "refined", "trivial"}:
            assert bound.vacuous is True


RATES = {
    "empirical_risk": "n^0",
    "difference": "n^0",
    "noise": "n^0",
    "linear": "n^-1/2",
    "complexity": "n^-1/2",
    "confidence": "n^-1/2",
    "monte_carlo": "n^-1/2",
    "kl": "n^-1/2",
    "order": "n^-1/2",
}


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_rates_of_the_terms(norms, k):
    for name, bound in rows(norms, k).items():
        # The mean size of a score does not shrink with more of them.
        expected = RATES | ({"complexity": "n^0"} if name == "trivial" else {})
        assert {t.name: t.rate for t in bound.terms} == {
            t.name: expected[t.name] for t in bound.terms
        }


RADII = ["beta_u unconstrained", "beta_w unconstrained", "beta_v unconstrained"]
NOISE = "gaussian noise of standard deviation 0.4, one fresh draw per sample"
ORDER = "at margin 0.7; in its own units"
LINES = {
    "theorem2": [*RADII, "r unconstrained", "lambda_min = 0.1, estimated"],
    "theorem3": [*RADII, "r unconstrained", "lambda_min = 0.1, estimated", NOISE],
    "refined": [*RADII, "r unconstrained", "exact trace", NOISE],
    "peeling": ["equal parts among 3 forms: row norms, row norms under noise, path norm"],
    "localized": ["w (1 +- 0.05) for weights w learned on up to 30 samples"],
    "golowich2018": RADII,
    "trivial": RADII,
    "zhang2018": [ORDER],
    "chen2019": [ORDER],
    "holdout": ["2 errors on 30 held-out samples"],
    "occam": ["rounded weights, 4 bits each where not zero, described in 43 bits against zero"],
    "pac_bayes": [
        "speaks of the randomised classifier",
        "posterior of standard deviation 0.1 around the trained weights",
        "around zero",
        "Monte-Carlo error of 12 independent draws at 0.1 delta",
    ],
}


def test_assumptions_say_what_a_row_rests_on():
    for name, bound in rows("open", 3, notes=("a note",), margin=0.7).items():
        text = "\n".join(bound.assumptions)
        assert [line for line in ("a note", *LINES[name]) if line not in text] == []


ALWAYS_CERTIFIED = {
    "peeling",
    "localized",
    "golowich2018",
    "trivial",
    "holdout",
    "occam",
    "pac_bayes",
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_kinds(norms, k, known):
    found = rows(norms, k, min_eigenvalue_known=known)
    assert {name for name in ALWAYS_CERTIFIED if found[name].kind != "certified"} == set()
    known_radius = SETTINGS[norms].input_bound is not None
    for name in ("theorem2", "theorem3", "refined"):
        assert found[name].kind == ("certified" if known and known_radius else "plug_in")


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("eigenvalue", [0.0, 0.1])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_certified_rows_do_not_depend_on_estimates(norms, k, unit_types, eigenvalue, known):
    sums = replace(complete(norms, unit_types, k), min_eigenvalue=eigenvalue)
    setting = replace(SETTINGS[norms], unit_types=unit_types, min_eigenvalue_known=known)

    def doubled(inputs):
        return replace(
            inputs,
            fisher_rao=3 * inputs.fisher_rao,
            scalar_fisher_rao=None if k != 2 else 3 * inputs.scalar_fisher_rao,
            whitened_norm=7 * inputs.whitened_norm,
            max_norm=9 * inputs.max_norm,
        )

    other = replace(
        sums,
        clean=doubled(sums.clean),
        noisy=doubled(sums.noisy),
        min_eigenvalue=eigenvalue if known or eigenvalue == 0 else 5.0,
        network=replace(sums.network, spectral_u=8.0, spectral_w=8.0, spectral_v=8.0),
    )
    for row in BOUNDS.values():
        bound = row(sums, setting)
        if bound.kind == "certified":
            again = row(other, setting)
            assert (again.kind, again.value) == ("certified", bound.value)


@few_examples
@given(
    deltas=st.tuples(st.floats(1e-300, 0.99), st.floats(1e-300, 0.99)).map(sorted),
    norms=st.sampled_from(list(NORMS)),
    k=st.integers(2, 3),
)
def test_no_row_increases_in_delta(deltas, norms, k):
    low, high = (rows(norms, k, delta=delta) for delta in deltas)
    for name, bound in low.items():
        assert bound.value >= high[name].value * (1 - 1e-9)


@few_examples
@given(scale=st.floats(1e-3, 1e3), k=st.integers(2, 3), norms=st.sampled_from(["fixed", "open"]))
def test_scale_of_input_and_margin_cancels(scale, k, norms):
    case = slow.make_case(1, k=k)
    scaled = replace(case, X=scale * case.X, noise=scale * case.noise)
    setting = replace(SETTINGS[norms], fisher_rao_max=None)
    for name in ("golowich2018", "trivial", "zhang2018", "chen2019"):
        one = BOUNDS[name](slow.statistics(case), setting)
        other = BOUNDS[name](
            slow.statistics(scaled), replace(setting, margin=scale * 0.7, noise_std=0.4 * scale)
        )
        # The order of Zhang et al. leaves the size of the input out.
        factor = 1 / scale if name == "zhang2018" else 1.0
        assert other.value == pytest.approx(factor * one.value, rel=1e-9)
