"""The grid of bins and the account of delta."""

import math
import sys
from dataclasses import replace

import pytest
import transcription as paper
import transcription_bounds as slow

from sklearn_rnnbound.bounds import Bound, Setting, Term
from sklearn_rnnbound.bounds.union import (
    EXPONENTS,
    best_margin,
    bin_exponent,
    bin_share,
    chosen_among,
    divided,
    fixed_or_bin,
    row_radii,
    smallest,
)

LARGEST = sys.float_info.max
SMALLEST_NORMAL = sys.float_info.min


@pytest.mark.parametrize(
    ("exponent", "number"), [(0, 1), (1, 2), (-1, 3), (2, 4), (-2, 5), (10, 20), (-10, 21)]
)
def test_bins_are_numbered_outwards_from_one(exponent, number):
    assert bin_share(exponent) == 1 / (number * (number + 1)) == paper.share(exponent)


@pytest.mark.parametrize("reach", [0, 1, 10, 64, 5000])
def test_shares_sum_to_one_in_the_limit(reach):
    # The sum of 1/(j (j + 1)) over j = 1, ..., 2 reach + 1 telescopes to 1 - 1/(2 reach + 2).
    partial = math.fsum(map(bin_share, range(-reach, reach + 1)))
    assert partial < 1
    assert partial == pytest.approx(1 - 1 / (2 * reach + 2), rel=1e-14)


@pytest.mark.parametrize("exponent", [-63, -10, -1, 0, 1, 2, 52, 64, 1023])
def test_bin_of_a_power_ends_at_the_power(exponent):
    edge = 2.0**exponent
    assert bin_exponent(edge) == exponent
    assert bin_exponent(math.nextafter(edge, 0)) == exponent
    assert bin_exponent(math.nextafter(edge, math.inf)) == exponent + 1


@pytest.mark.parametrize(
    ("value", "exponent"),
    [
        (0.0, -64),
        (5e-324, -64),
        (SMALLEST_NORMAL / 3, -64),
        (2.0**-100, -64),
        (2.0**-64, -64),
        (math.nextafter(2.0**-64, 1), -63),
        (LARGEST, 1024),
    ],
)
def test_bin_of_an_extreme_value(value, exponent):
    assert bin_exponent(value) == exponent


@pytest.mark.parametrize("value", [1e-9, 0.1, 0.5, 0.75, 1.0, 3.0, 4.0, 1e6, 7e20])
def test_bin_is_the_transcribed_one(value):
    assert bin_exponent(value) == paper.smallest_bin(value)


@pytest.mark.parametrize(
    ("fixed", "reached", "radius"),
    [(1.5, 1.2, 1.5), (0.0, 0.0, 0.0), ((0.5, 0.25), (0.4, 0.1), 0.75), ((0.0, 2), (0, 1), 2.0)],
)
def test_fixed_norm_costs_nothing(fixed, reached, radius):
    value, share, line = fixed_or_bin("beta_w", fixed, reached)
    assert (value, share) == (radius, 1.0)
    assert "beta_w" in line
    assert "fixed beforehand" in line


@pytest.mark.parametrize(
    ("reached", "edge", "share"),
    [
        (1.0, 1.0, 1 / 2),
        (1.1, 2.0, 1 / 6),
        (0.3, 0.5, 1 / 12),
        (3.0, 4.0, 1 / 20),
        ((0.5, 0.5), 1.0, 1 / 2),
        ((1.0, 1.5), 4.0, 1 / 20),
        (0.0, 2.0**-64, 1 / (129 * 130)),
        (2.0**1023, 2.0**1023, 1 / (2046 * 2047)),
        (LARGEST, math.inf, 1 / (2048 * 2049)),
    ],
)
def test_open_norm_pays_for_its_bin(reached, edge, share):
    value, paid, line = fixed_or_bin("beta_v", None, reached)
    assert (value, paid) == (edge, share)
    assert "beta_v unconstrained" in line
    assert f"1/{round(1 / share)} of delta" in line


@pytest.mark.parametrize("reached", [math.inf, (1.0, math.inf), (LARGEST, LARGEST)])
def test_open_norm_out_of_range_is_infinite(reached):
    # What is infinite needs no part of delta.
    expected = math.inf, 1.0, "beta_w is not finite"
    assert fixed_or_bin("beta_w", None, reached) == expected


@pytest.mark.parametrize("margin", [0.3, 2, 1e-6])
def test_fixed_margin_costs_nothing(margin):
    alpha, share, line = best_margin(margin, lambda alpha, share: 1 / 0)
    assert (alpha, share) == (margin, 1.0)
    assert "fixed beforehand" in line


@pytest.mark.parametrize("best", [-64, -7, 0, 1, 64])
def test_best_margin_is_the_least_value_at_its_share(best):
    seen = {}

    def evaluate(alpha, share):
        seen[math.log2(alpha)] = share
        return abs(math.log2(alpha) - best)

    alpha, share, line = best_margin("auto", evaluate)
    assert (alpha, share) == (2.0**best, bin_share(best))
    assert seen == {float(e): bin_share(e) for e in EXPONENTS}
    assert f"1/{round(1 / share)} of delta" in line


@pytest.mark.parametrize(
    ("tied", "alpha"),
    [({2, -5}, 4.0), ({-3, 7, 8}, 0.125), ({60, -61}, 2.0**60), (set(EXPONENTS), 1.0)],
)
def test_tied_margins_give_the_one_nearest_one(tied, alpha):
    assert best_margin("auto", lambda a, share: math.log2(a) not in tied)[0] == alpha


# ---- delta in equal parts ----


def bound_of(value, delta):
    terms = (Term("empirical_risk", value, "n^0"),)
    return Bound("a name", value, "certified", terms, 1.0, delta, ("a line",), False, "")


def test_one_statement_keeps_all_of_delta():
    setting = Setting(delta=0.06, notes=("a note",))
    assert divided(setting, 1, "rows") == setting
    assert chosen_among(bound_of(0.5, 0.06), 1) == bound_of(0.5, 0.06)
    assert smallest(setting, [("only", lambda part: bound_of(0.5, part.delta))]) == bound_of(
        0.5, 0.06
    )


def test_several_statements_share_delta_in_equal_parts():
    part = divided(Setting(beta_u=2.0, delta=0.06, notes=("a note",)), 3, "rows")
    assert part.delta == pytest.approx(0.02)
    assert (part.beta_u, part.notes[0]) == (2.0, "a note")
    assert part.notes[1:] == ("delta = 0.06 in equal parts among 3 rows",)


def test_the_winner_of_a_search_fails_with_the_delta_of_all():
    bound = chosen_among(bound_of(0.5, 0.02), 3)
    assert (bound.value, bound.delta) == (0.5, pytest.approx(0.06))
    line = "chosen by a search: delta = 0.06 in equal parts among 3 candidates"
    assert bound.assumptions == ("a line", line)
    # What is no statement about probabilities has no delta.
    assert chosen_among(bound_of(0.5, None), 3) == bound_of(0.5, None)


def test_the_smallest_form_has_a_part_and_speaks_for_all():
    parts = []

    def form(value):
        def evaluate(part):
            parts.append(part)
            return bound_of(value, part.delta)

        return evaluate

    forms = [("large", form(0.7)), ("small", form(0.3)), ("middle", form(0.5))]
    bound = smallest(Setting(delta=0.06), forms)
    assert (bound.value, bound.delta) == (0.3, 0.06)
    assert bound.assumptions == ("a line", "smallest form: small")
    assert [part.delta for part in parts] == pytest.approx([0.02] * 3)
    note = "delta = 0.06 in equal parts among 3 forms: large, small, middle"
    assert {part.notes for part in parts} == {(note,)}


def test_radii_of_the_rows():
    sample = slow.statistics(slow.make_case())
    sample = replace(sample, beta_u=0.3, beta_w=(0.5, 0.4), beta_v=3.0)
    radii, share, lines = row_radii(sample, Setting(beta_u=0.4))
    assert radii == {"beta_u": 0.4, "beta_w": 1.0, "beta_v": 4.0}
    # Bin 1 for 0.9, bin 4 for 3.
    assert share == pytest.approx(1 / 2 / 20)
    assert [line.split()[0] for line in lines] == ["beta_u", "beta_w", "beta_v"]
