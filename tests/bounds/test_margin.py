"""From a complexity to a risk: losses, confidence, and the sum at its margin."""

import math

import numpy as np
import pytest
import transcription as paper
import transcription_bounds as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.bounds import Setting, Term
from sklearn_rnnbound.bounds.margin import (
    at_best_margin,
    complexity_factor,
    confidence,
    indicator_risk,
    ramp_bound,
    ramp_risk,
    score_radii,
)

few_examples = settings(max_examples=25, deadline=None, derandomize=True, database=None)
margin_lists = st.lists(st.floats(-5, 5), min_size=1, max_size=12)
alphas = st.floats(0.01, 10)


@few_examples
@given(margins=margin_lists, alpha=alphas)
def test_risks_match_the_transcription(margins, alpha):
    given = np.array(margins)
    assert ramp_risk(given)(alpha) == pytest.approx(slow.mean_ramp(margins, alpha), abs=1e-14)
    assert indicator_risk(given)(alpha) == slow.mean_indicator(margins, alpha)
    assert indicator_risk(given)(0.0) - 1e-14 <= ramp_risk(given)(alpha)
    assert ramp_risk(given)(alpha) <= indicator_risk(given)(alpha) + 1e-14


def test_losses_by_hand():
    margins = np.array([-1.0, 0.0, 0.5, 2.0, 3.0])
    assert ramp_risk(margins)(2.0) == pytest.approx((1 + 1 + 0.75 + 0 + 0) / 5)
    assert indicator_risk(margins)(2.0) == 4 / 5


@pytest.mark.parametrize("delta", [1.0, 0.05, 1e-300])
@pytest.mark.parametrize("n", [1, 7, 20_000])
def test_confidence_matches_the_transcription(n, delta):
    assert confidence(math.log(delta), n) == pytest.approx(slow.confidence(n, delta), rel=1e-12)
    # Also of a delta too small for a float.
    expected = 3 * math.sqrt((math.log(2) + 2000) / (2 * n))
    assert confidence(-2000.0, n) == pytest.approx(expected)


def test_factor_of_the_complexity():
    assert [complexity_factor(k) for k in (2, 3, 10)] == [2, 12, 40]


def terms(alpha, log_delta):
    return (
        Term("empirical_risk", alpha / 8, "n^0"),
        Term("complexity", 0.4 / alpha, "n^-1/2"),
        Term("confidence", 1e-3 * -log_delta, "n^-1/2"),
    )


def put_together(setting, **changes):
    given = {"share": 0.5, "certified": True, "lines": ("a line",), **changes}
    return at_best_margin("a name", setting, terms, **given)


def test_margin_fixed_beforehand():
    bound = put_together(Setting(margin=0.7, delta=0.04, notes=("a note",)))
    expected = 0.7 / 8 + 0.4 / 0.7 - 1e-3 * math.log(0.04 / 2)
    assert bound.value == pytest.approx(expected)
    values = [0.7 / 8, 0.4 / 0.7, -1e-3 * math.log(0.02)]
    assert [term.value for term in bound.terms] == pytest.approx(values)
    found = bound.name, bound.kind, bound.margin, bound.delta
    assert found == ("a name", "certified", 0.7, 0.04)
    assert {"a line", "a note"} <= set(bound.assumptions)
    assert (bound.vacuous, bound.reason) == (False, "")


def test_best_margin_of_the_grid_pays_its_share():
    bound = put_together(Setting(margin="auto", delta=0.04), certified=False)
    values = {
        e: 2.0**e / 8 + 0.4 / 2.0**e - 1e-3 * math.log(0.02 * paper.share(e))
        for e in slow.EXPONENTS
    }
    best = min(values, key=values.get)
    assert bound.margin == 2.0**best
    assert bound.value == pytest.approx(values[best], rel=1e-12)
    assert (bound.kind, bound.delta) == ("plug_in", 0.04)


def of_constants(margin=1.0, **values):
    def constant(alpha, log_delta):
        return tuple(Term(name, value, "n^0") for name, value in values.items())

    setting = Setting(margin=margin)
    return at_best_margin("b", setting, constant, share=1.0, certified=True, lines=())


@pytest.mark.parametrize(("risk", "vacuous"), [(0.9, False), (1.0, True), (math.inf, True)])
def test_vacuous_from_one_on(risk, vacuous):
    bound = of_constants(empirical_risk=risk, confidence=0.0)
    assert bound.vacuous is vacuous
    assert bool(bound.reason) is vacuous


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            (1.5, 0.3, 0.2),
            "A smaller margin would leave more samples safe, but at a larger complexity.",
        ),
        ((0.5, 1.25, 0.2), "Its largest term is complexity, 1.25."),
        ((0.5, 0.3, math.inf), "Its largest term is monte carlo, inf."),
    ],
)
def test_reason_names_the_largest_term(values, reason):
    names = ("empirical_risk", "complexity", "monte_carlo")
    assert of_constants(**dict(zip(names, values, strict=True))).reason == reason


@pytest.mark.parametrize("margin", [1.0, "auto"])
def test_what_is_not_a_number_promises_nothing(margin):
    bound = of_constants(margin, empirical_risk=0.0, complexity=math.nan)
    assert (bound.value, bound.term("complexity")) == (math.inf, math.inf)
    assert bound.term("empirical_risk") == 0.0


@pytest.mark.parametrize("noise", [None, 0.75])
def test_bound_by_ramp_risk(noise):
    margins = np.array([-1.0, 0.5, 2.0, 3.0])
    bound = ramp_bound(
        "a name",
        Setting(margin=1.5, delta=0.04),
        margins,
        3.0,
        share=0.5,
        lines=["a line"],
        rate="n^0",
        noise=noise,
    )
    # Ramp at 1.5: 1, 1 - 1/3, 0 and 0.
    expected = [
        ("empirical_risk", 5 / 12, "n^0"),
        ("complexity", 2.0, "n^0"),
        ("noise", 0.5, "n^0"),
        ("confidence", 3 * math.sqrt(math.log(100) / 8), "n^-1/2"),
    ]
    expected = [term for term in expected if term[0] != "noise" or noise is not None]
    assert [(term.name, term.rate) for term in bound.terms] == [
        (n, rate) for n, _, rate in expected
    ]
    assert [term.value for term in bound.terms] == pytest.approx(
        [value for _, value, _ in expected]
    )
    assert (bound.kind, bound.assumptions[0]) == ("certified", "a line")


@pytest.mark.parametrize(("k", "unit_types", "rows"), [(2, 1, 2.0), (2, 2, 1.0), (3, 1, 1.0)])
def test_the_score_of_two_classes_reads_two_rows_unless_one_of_them_is_zero(k, unit_types, rows):
    setting = Setting(1.4, 0.6, 1.8, unit_types=unit_types)
    radii, share, _ = score_radii(slow.statistics(slow.make_case(k=k)), setting)
    assert radii == {"beta_u": 1.4, "beta_w": 0.6, "beta_v": rows * 1.8}
    assert share == 1.0


def test_only_the_given_bins_of_the_grid_are_looked_at():
    # 1/64 + 3.2 at 2^-3 is less than 4 + 1/80 at 2^5; the best of all bins is 2^1.
    assert put_together(Setting(margin="auto", margin_bins=(-3, 5))).margin == 0.125
    assert put_together(Setting(margin="auto")).margin == 2.0


def test_risks_of_margins_whose_sum_overflows():
    margins = np.array([1e308, 1.5e308, -np.inf, np.inf, 1.0])
    # The ramp at 1.6e308 is 1 - 1/1.6 for the first, 1 - 1.5/1.6 for the second.
    expected = (0.375 + 0.0625 + 1 + 0 + 1) / 5
    assert ramp_risk(margins)(1.6e308) == pytest.approx(expected, rel=1e-12)
    assert indicator_risk(margins)(1.6e308) == 4 / 5
    assert ramp_risk(np.full(3, 2.0))(2.0) == 0.0
    assert ramp_risk(np.full(3, -np.inf))(5e-324) == 1.0


def test_single_precision_margins_are_compared_in_double_precision():
    # 0.1 in single precision is a little more than 0.1.
    assert indicator_risk(np.array([0.1, 0.3], dtype=np.float32))(0.1) == 0.0
    # 2^24 + 3 is no number in single precision: 4 - (2^24 + 3) / 2^25.
    margins = np.array([2.0**24, 1.0, 1.0, 1.0], dtype=np.float32)
    assert ramp_risk(margins)(2.0**25) == (3.5 - 3 / 2**25) / 4
