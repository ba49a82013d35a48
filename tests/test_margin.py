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
    ramp_risk,
    ramp_terms,
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


def test_confidence_of_a_delta_too_small_for_a_float():
    assert confidence(-2000.0, 9) == pytest.approx(3 * math.sqrt((math.log(2) + 2000) / 18))


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
    assert [term.value for term in bound.terms] == pytest.approx(
        [0.7 / 8, 0.4 / 0.7, -1e-3 * math.log(0.02)]
    )
    assert (bound.name, bound.kind, bound.margin, bound.delta) == (
        "a name",
        "certified",
        0.7,
        0.04,
    )
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


@pytest.mark.parametrize(("risk", "vacuous"), [(0.9, False), (1.0, True), (math.inf, True)])
def test_vacuous_from_one_on(risk, vacuous):
    def constant(alpha, log_delta):
        return (Term("empirical_risk", risk, "n^0"), Term("confidence", 0.0, "n^-1/2"))

    bound = at_best_margin("b", Setting(margin=1.0), constant, share=1.0, certified=True, lines=())
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

    def constant(alpha, log_delta):
        return tuple(Term(name, value, "n^0") for name, value in zip(names, values, strict=True))

    bound = at_best_margin("b", Setting(margin=1.0), constant, share=1.0, certified=True, lines=())
    assert bound.reason == reason


def test_what_is_not_a_number_promises_nothing():
    def undefined(alpha, log_delta):
        return (Term("empirical_risk", 0.0, "n^0"), Term("complexity", math.nan, "n^-1/2"))

    for margin in (1.0, "auto"):
        bound = at_best_margin(
            "b", Setting(margin=margin), undefined, share=1.0, certified=True, lines=()
        )
        assert (bound.value, bound.term("complexity"), bound.term("empirical_risk")) == (
            math.inf,
            math.inf,
            0.0,
        )


@pytest.mark.parametrize("noise", [None, 0.75])
def test_terms_of_a_ramp_bound(noise):
    given = np.array([-1.0, 0.5, 2.0, 3.0])
    found = ramp_terms(given, 3.0, rate="n^0", noise=noise)(1.5, math.log(0.02))
    # Ramp at 1.5: 1, 1 - 1/3, 0 and 0.
    expected = [
        ("empirical_risk", 5 / 12, "n^0"),
        ("complexity", 2.0, "n^0"),
        ("noise", 0.5, "n^0"),
        ("confidence", 3 * math.sqrt(math.log(100) / 8), "n^-1/2"),
    ]
    expected = [term for term in expected if term[0] != "noise" or noise is not None]
    assert [(term.name, term.rate) for term in found] == [(n, rate) for n, _, rate in expected]
    assert [term.value for term in found] == pytest.approx([value for _, value, _ in expected])
    assert ramp_terms(given, 3.0)(1.5, 0.0)[1].rate == "n^-1/2"


def test_only_the_given_cells_of_the_grid_are_looked_at():
    # 1/64 + 3.2 at 2^-3 is less than 4 + 1/80 at 2^5; the best of all cells is 2^1.
    assert put_together(Setting(margin="auto", margin_cells=(-3, 5))).margin == 0.125
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
    margins = np.array([0.1, 0.3], dtype=np.float32)
    # 0.1 in single precision is a little more than 0.1.
    assert indicator_risk(margins)(0.1) == 0.0
    assert ramp_risk(margins)(0.2) == pytest.approx((1 - float(margins[0]) / 0.2) / 2, rel=1e-14)
    # 2^24 + 3 is no number in single precision: 4 - (2^24 + 3) / 2^25.
    margins = np.array([2.0**24, 1.0, 1.0, 1.0], dtype=np.float32)
    assert ramp_risk(margins)(2.0**25) == (3.5 - 3 / 2**25) / 4
