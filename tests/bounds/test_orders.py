"""Orders of growth against a slow transcription."""

import math
from dataclasses import replace

import pytest
import transcription_bounds as slow
from rules import relu, rule

zhang2018, chen2019 = rule("zhang2018"), rule("chen2019")


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("L", "d", "m"), [(1, 1, 2), (4, 2, 3), (3, 7, 2)])
def test_orders_match_the_transcription(L, d, m, k, scale):
    case = slow.make_case(3, L=L, d=d, m=m, k=k)
    U, W, V = case.weights
    case = replace(case, weights=(U, scale * W, V))
    norms = [slow.spectral(A) for A in case.weights]
    sums, n = slow.statistics(case), len(case.X)
    bound = zhang2018(sums, relu(margin=0.3))
    assert bound.value == pytest.approx(slow.zhang_order(n, d, m, k, L, norms, 0.3), rel=1e-8)
    size = max(math.sqrt(math.fsum(v**2 for v in x_t)) for x in case.X.tolist() for x_t in x)
    expected = math.sqrt(m * (d + m + k)) * norms[0] * norms[2] * size
    expected *= slow.geometric_sum(norms[1], L) / math.sqrt(n) / 0.3
    assert chen2019(sums, relu(margin=0.3)).value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("row", [zhang2018, chen2019])
def test_orders_have_no_best_margin(row):
    sums = slow.statistics(slow.make_case())
    auto, one, half = (row(sums, relu(margin=margin)) for margin in ("auto", 1.0, 0.5))
    assert (auto.margin, one.margin, half.margin) == (1.0, 1.0, 0.5)
    assert auto.value == one.value
    assert half.value == pytest.approx(2 * one.value)
    network = replace(sums.network, spectral_w=1e200)
    assert row(replace(sums, network=network), relu(margin=1.0)).value == math.inf
