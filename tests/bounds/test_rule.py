"""What a bound is to the rest of the package, and what all bounds have in common."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import NORMS, TANH, relu

from sklearn_rnnbound.bounds import (
    BOUNDS,
    Bound,
    BoundRule,
    NotApplicableError,
    Setting,
    Term,
    register,
)
from sklearn_rnnbound.bounds._sample import BoxStatistics
from sklearn_rnnbound.bounds.holdout import HoldoutCounts
from sklearn_rnnbound.bounds.occam import QuantizedErrors
from sklearn_rnnbound.bounds.pac_bayes import PosteriorErrors
from sklearn_rnnbound.properties import (
    HOMOGENEOUS,
    INTERVAL,
    PLAIN,
    ROW_LIPSCHITZ,
    UNROLLABLE,
    Property,
)

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)

NEEDS = {
    "theorem2": HOMOGENEOUS,
    "theorem3": HOMOGENEOUS,
    "refined": HOMOGENEOUS,
    "peeling": ROW_LIPSCHITZ,
    "localized": INTERVAL,
    "golowich2018": UNROLLABLE,
    "trivial": ROW_LIPSCHITZ,
    "zhang2018": PLAIN,
    "chen2019": PLAIN,
    "holdout": None,
    "occam": None,
    "pac_bayes": None,
}
EVIDENCE = {
    "holdout": HoldoutCounts(2, 30),
    "occam": (QuantizedErrors(4, 30.0, 2, "against zero"),),
    "pac_bayes": PosteriorErrors(0.1, 2.0, 24, 0.2, 12.0, "around zero"),
}
SETTINGS = {
    "fixed": relu(*NORMS["fixed"], margin=0.7, fisher_rao_max=100.0),
    "pairs": relu(*NORMS["pairs"], margin="auto", input_bound=6.0),
    "open": relu(*NORMS["open"], margin=0.7),
    "mixed": relu(*NORMS["mixed"], margin="auto", input_bound=6.0),
}
SETTINGS = {name: replace(s, noise_std=0.4, box_width=0.2) for name, s in SETTINGS.items()}


@cache
def complete(norms="fixed", unit_types=1, k=2, copies=1, scale=1.0):
    """Statistics with which every bound applies, of so many copies of scaled inputs."""
    case = slow.make_case(1, n=12, L=3, d=1, k=k, unit_types=unit_types)
    case = replace(case, X=scale * case.X, noise=scale * case.noise)
    lower, upper = (
        {name: A + side * abs(A) for name, A in zip("UWV", case.weights, strict=True)}
        for side in (-0.1, 0.1)
    )
    root = math.sqrt(copies)
    box = BoxStatistics(lower, upper, np.full((3, 4), scale * root), 0.2, 30)
    sums = slow.statistics(
        case, NORMS[norms], decay=0.5, whitened=3.0 * root, eigenvalue=0.1 * scale**2, box=box
    )
    halves = (
        replace(
            half,
            margins=np.tile(half.margins, copies),
            step_abs_sums=copies * half.step_abs_sums,
            square_sums=copies * half.square_sums,
            step_max_sums=copies * half.step_max_sums,
        )
        for half in (sums.clean, sums.noisy)
    )
    clean, noisy = halves
    return replace(sums, clean=clean, noisy=noisy)


def row(name, sums, setting):
    return BOUNDS[name](sums, EVIDENCE.get(name), setting)


def rows(norms, k, unit_types=1, **changes):
    setting = replace(SETTINGS[norms], unit_types=unit_types, **changes)
    return {name: row(name, complete(norms, unit_types, k), setting) for name in NEEDS}


# ---- what applies ----


def test_bounds_in_the_order_of_reports():
    # Those of today; a new one brings tests of its own.
    rules = {name: rule for name, rule in BOUNDS.items() if name in NEEDS}
    assert list(rules) == list(NEEDS)
    assert {name: rule.needs_property for name, rule in rules.items()} == NEEDS
    assert {name for name, rule in rules.items() if rule.order_only} == {"zhang2018", "chen2019"}
    data = {name: rule.data for name, rule in rules.items() if rule.data}
    assert data == {"holdout": "test", "occam": "train", "pac_bayes": "train"}
    others = {name: rule.speaks_of for name, rule in BOUNDS.items() if rule.speaks_of != "trained"}
    assert others == {"occam": "rounded", "pac_bayes": "randomised"}


@pytest.mark.parametrize("name", NEEDS)
def test_nothing_is_taken_for_granted_of_a_cell(name):
    # Of a cell that declares nothing, only what holds for any network.
    bare = replace(SETTINGS["fixed"], properties=frozenset(), cell="cell='gru'")
    if (needed := NEEDS[name]) is None:
        assert BOUNDS[name].obstacle(Setting()) is None
        assert row(name, complete(), bare).kind == "certified"
        return
    text = rf"{name} is proved for {needed.name} cells, such as .*, and cell='gru' is not known"
    with pytest.raises(NotApplicableError, match=text):
        row(name, complete(), bare)
    with pytest.raises(NotApplicableError, match=f"{needed.name} .* this cell is not known"):
        row(name, complete(), Setting())
    # Its own property is enough, whatever else there may be.
    only = replace(bare, properties=frozenset({needed}))
    assert row(name, complete(), only).value == row(name, complete(), SETTINGS["fixed"]).value


def test_what_holds_of_tanh():
    tanh = replace(SETTINGS["fixed"], properties=TANH)
    applicable = {name for name in BOUNDS if BOUNDS[name].obstacle(tanh) is None}
    assert set(BOUNDS) - applicable == {"theorem2", "theorem3", "refined", "golowich2018"}


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("holdout", "test data: pass X_test and y_test"),
        ("occam", "the training data: pass X_train and y_train"),
        ("pac_bayes", "the training data: pass X_train and y_train"),
    ],
)
def test_missing_data_are_named(name, needed):
    with pytest.raises(NotApplicableError, match=f"{name} needs {needed}"):
        BOUNDS[name](complete(), None, Setting())


def test_a_new_bound_is_one_class():
    class Toy(BoundRule):
        name = "toy"
        needs_property = Property("toyish", "toys", "it is a toy")

        def bound(self, sample, evidence, setting):
            terms = (Term("complexity", 1 / sample.n_samples, "n^-1"),)
            return Bound("toy", 1 / 12, "certified", terms, None, setting.delta, (), False, "")

    before = dict(BOUNDS)
    try:
        assert register(Toy) is Toy
        assert list(BOUNDS) == [*before, "toy"]
        rule, setting = BOUNDS["toy"], Setting(properties=frozenset({Toy.needs_property}))
        assert rule(complete(), None, setting).term("complexity") == 1 / 12
        assert "toyish cells, such as toys" in rule.obstacle(Setting())
        # What a bound without data asks for, and the test error beside it.
        assert rule.evidence(None) is None
        assert rule.test_error(complete(), None, setting) is None
        assert (rule.data, rule.speaks_of, rule.order_only) == ("", "trained", False)
    finally:
        BOUNDS.clear()
        BOUNDS.update(before)


# ---- what every row has in common ----

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
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_every_row_is_well_formed(norms, k, unit_types, known):
    known_radius = SETTINGS[norms].input_bound is not None
    for name, bound in rows(norms, k, unit_types, min_eigenvalue_known=known).items():
        assert bound.name == name
        assert math.fsum(term.value for term in bound.terms) == pytest.approx(bound.value)
        if BOUNDS[name].order_only:
            assert [term.name for term in bound.terms] == ["order"]
            found = bound.kind, bound.delta, bound.vacuous, bound.reason
            assert found == ("order_only", None, False, "")
            continue
        certified = name in ALWAYS_CERTIFIED or (known and known_radius)
        assert bound.kind == ("certified" if certified else "plug_in")
        assert bound.delta == 0.05
        assert bound.vacuous is (bound.value >= 1)
        assert bool(bound.reason) is bound.vacuous
        assert bound.assumptions
        if name in {"theorem2", "theorem3", "refined", "trivial"}:
            assert bound.vacuous is True


RADII = ["beta_u unconstrained", "beta_w unconstrained", "beta_v unconstrained"]
NOISE = "gaussian noise of standard deviation 0.4, one fresh draw per sample"
ORDER = "at margin 0.7; in its own units"
LINES = {
    "theorem2": [*RADII, "r unconstrained", "lambda_min = 0.1, estimated"],
    "theorem3": [*RADII, "r unconstrained", "lambda_min = 0.1, estimated", NOISE],
    "refined": [*RADII, "r unconstrained", "exact trace", NOISE],
    "peeling": ["equal parts among 3 forms: row norms, row norms under noise, path norm"],
    "localized": ["w (1 +- 0.1) for weights w learned on up to 30 samples"],
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
    for name, bound in rows("open", 3, notes=("a note",)).items():
        text = "\n".join(bound.assumptions)
        assert [line for line in ("a note", *LINES[name]) if line not in text] == []


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("eigenvalue", [0.0, 0.1])
@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", NORMS)
def test_certified_rows_do_not_depend_on_estimates(norms, k, unit_types, eigenvalue, known):
    sums = replace(complete(norms, unit_types, k), min_eigenvalue=eigenvalue)
    setting = replace(SETTINGS[norms], unit_types=unit_types, min_eigenvalue_known=known)

    def other_estimates(inputs):
        return replace(
            inputs,
            fisher_rao=3 * inputs.fisher_rao,
            scalar_fisher_rao=None if k != 2 else 3 * inputs.scalar_fisher_rao,
            whitened_norm=7 * inputs.whitened_norm,
            max_norm=9 * inputs.max_norm,
        )

    other = replace(
        sums,
        clean=other_estimates(sums.clean),
        noisy=other_estimates(sums.noisy),
        min_eigenvalue=eigenvalue if known or eigenvalue == 0 else 5.0,
        network=replace(sums.network, spectral_u=8.0, spectral_w=8.0, spectral_v=8.0),
    )
    for name in NEEDS:
        bound = row(name, sums, setting)
        if bound.kind == "certified":
            again = row(name, other, setting)
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


DATA_FREE = [name for name in NEEDS if not BOUNDS[name].data]


@pytest.mark.parametrize("copies", [2, 7])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", ["fixed", "open"])
@pytest.mark.parametrize("name", DATA_FREE)
def test_terms_change_with_n_at_their_rates(name, norms, k, copies):
    # Under noise the smallest form of peeling may be another one for more samples.
    noisy = name in {"theorem3", "refined"}
    setting = replace(SETTINGS[norms], fisher_rao_max=None, noise_std=0.4 * noisy)
    few, many = (
        row(name, sums if noisy else replace(sums, noisy=None), setting)
        for sums in (complete(norms, k=k), complete(norms, k=k, copies=copies))
    )
    for term in few.terms:
        rate = copies ** float(Fraction(term.rate.removeprefix("n^")))
        assert many.term(term.name) == pytest.approx(rate * term.value, rel=1e-9)
    shrinking = {term.name for term in few.terms if term.rate == "n^-1/2"}
    assert shrinking & {"confidence", "order"}
    assert ("complexity" in shrinking) is (name in {"peeling", "localized", "golowich2018"})


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1e3])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("norms", ["fixed", "open"])
@pytest.mark.parametrize("name", DATA_FREE)
def test_scale_of_input_and_margin_cancels(name, norms, k, scale):
    setting = replace(SETTINGS[norms], input_bound=6.0)
    scaled = replace(setting, input_bound=6.0 * scale, margin=0.7 * scale, noise_std=0.4 * scale)
    one = row(name, complete(norms, k=k), setting)
    other = row(name, complete(norms, k=k, scale=scale), scaled)
    # The order of Zhang et al. leaves the size of the input out.
    factor = 1 / scale if name == "zhang2018" else 1.0
    assert other.value == pytest.approx(factor * one.value, rel=1e-9)
