"""A bound, its terms and its text."""

from dataclasses import replace

import pytest

from sklearn_rnnbound.bounds import Bound, Term

BOUND = Bound(
    name="a name",
    value=1.25,
    kind="plug_in",
    terms=(Term("empirical_risk", 0.25, "n^0"), Term("confidence", 1.0, "n^-1/2")),
    margin=0.5,
    delta=0.05,
    assumptions=("one line", "another"),
    vacuous=True,
    reason="It is large.",
)


def test_values_by_name():
    assert (BOUND.empirical_risk, BOUND.term("confidence"), float(BOUND)) == (0.25, 1.0, 1.25)
    with pytest.raises(KeyError):
        BOUND.term("noise")


def test_no_confidence_is_certainty():
    assert " at confidence 0.999999 " in str(replace(BOUND, delta=1e-6))
    assert " at confidence 1 - 1e-09 " in str(replace(BOUND, delta=1e-9))


def test_text():
    assert str(BOUND) == (
        "a name: 1.25, plug in at confidence 0.95 (empirical_risk 0.25, confidence 1)\n"
        "  - vacuous (>= 1). It is large.\n"
        "  - one line\n"
        "  - another"
    )
    order = replace(BOUND, kind="order_only", delta=None, vacuous=False, assumptions=())
    assert str(order) == "a name: 1.25, order only (empirical_risk 0.25, confidence 1)"


def test_a_reason_changes_nothing_else():
    explained = BOUND.explained("It is too large.")
    assert explained.reason == "It is too large."
    assert replace(explained, reason=BOUND.reason) == BOUND


@pytest.mark.parametrize(
    ("kind", "after"),
    [("certified", "plug_in"), ("plug_in", "plug_in"), ("order_only", "order_only")],
)
def test_an_estimate_is_no_certificate(kind, after):
    bound = replace(BOUND, kind=kind)
    estimate = bound.as_estimate("estimated")
    assert (estimate.kind, estimate.assumptions) == (after, ("one line", "another", "estimated"))
    assert replace(estimate, kind=kind, assumptions=bound.assumptions) == bound
