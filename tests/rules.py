"""Bounds as tests call them: of cells for which all that relu has, or that tanh has, was proved."""

from contextlib import contextmanager

import numpy as np
import pytest
import transcription_bounds as slow

from sklearn_rnnbound.bounds import BOUNDS, Setting
from sklearn_rnnbound.properties import HOMOGENEOUS, INTERVAL, PLAIN, ROW_LIPSCHITZ, UNROLLABLE

RELU = frozenset({HOMOGENEOUS, INTERVAL, PLAIN, ROW_LIPSCHITZ, UNROLLABLE})
TANH = frozenset({INTERVAL, PLAIN, ROW_LIPSCHITZ})

#: beta_u, beta_w and beta_v.
NORMS = {
    "fixed": (1.4, 0.6, 1.8),
    "pairs": ((0.9, 0.7), (0.5, 0.2), (1.1, 0.6)),
    "open": (None, None, None),
    "mixed": (None, (0.3, 0.4), 2.0),
}


def relu(*norms, **fixed):
    """What was fixed beforehand, of a network for which every bound is proved."""
    return Setting(*norms, **{"properties": RELU, **fixed})


def rule(name):
    """The bound of this name, as a function of the sample, the setting and the evidence."""
    return lambda sample, setting, evidence=None: BOUNDS[name](sample, evidence, setting)


def check_ramp_row(bound, margins, factor, complexity, setting, share=1.0):
    """The bound has these addends, with the ramp risk, at the best alpha."""

    def terms(alpha, delta):
        return slow.assembled(margins, factor, complexity, len(margins), delta, alpha)

    value, alpha, left = slow.at_best(terms, setting.margin, setting.delta * share)
    assert bound.value == pytest.approx(value, rel=1e-10, abs=0)
    assert (bound.margin, bound.delta, bound.kind) == (alpha, setting.delta, "certified")
    assert [term.name for term in bound.terms] == ["empirical_risk", "complexity", "confidence"]
    for term in bound.terms:
        assert term.value == pytest.approx(terms(alpha, left)[term.name], rel=1e-10, abs=1e-300)
    assert bound.vacuous is (bound.value >= 1)


class FakeTrial:
    """A trial without data: weights of size w are wrong on 10 w of the samples.

    Random weights of standard deviation s are wrong on a share `error(s)`. What was asked is kept
    in `asked`, and the progress in `done` and `total`.
    """

    def __init__(
        self, weights, *, reference=None, n_train=0, n_test=0, error=None, rows_per_draw=1, **fixed
    ):
        self.setting = Setting(**fixed)
        self.weights, self.reference = weights, reference
        self.prior_mean = reference or {name: 0.5 * w for name, w in weights.items()}
        self.n_reference, self.n_train, self.n_test = 17, n_train, n_test
        self.rows_per_draw, self.error = rows_per_draw, error
        self.asked, self.done, self.total = [], 0, None

    def train_errors(self, weights):
        return round(10 * sum(np.abs(weight).sum() for weight in weights.values()))

    test_errors = train_errors

    def random_error(self, std, *, test=False):
        self.asked.append((std, test))
        return self.error(std, len(self.asked))

    @contextmanager
    def progress(self, what, total):
        self.total = total
        yield self.advance

    def advance(self, count):
        self.done += count
