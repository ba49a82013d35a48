"""A cell and a bound from outside, one class each, are found wherever cells and bounds are."""

from unittest import mock

import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.model_selection import GridSearchCV

from sklearn_rnnbound import (
    BOUNDS,
    BoundSearch,
    bound_report,
    certify,
    cross_validate_bounds,
    make_bound_scorer,
)
from sklearn_rnnbound.bounds import Bound, BoundRule, Term, register
from sklearn_rnnbound.cells import CELLS, Cell, Weight, normal
from sklearn_rnnbound.cells import register as register_cell
from sklearn_rnnbound.plotting import BoundCurveDisplay, BoundDecompositionDisplay
from sklearn_rnnbound.properties import Property

COUNTING = Property("counting", "units that can be counted", "nothing that any other bound needs")


class ToyCell(Cell):
    """Leaky units, of which nothing is proved but that they can be counted."""

    name = "toy"
    properties = frozenset({COUNTING})

    @property
    def weights(self):
        d, m, k = self.n_features, self.hidden_size, self.n_classes
        return {
            "A": Weight("input", m, d),
            "B": Weight("recurrent", m, m),
            "V": Weight("readout", k, m),
        }

    def initial_weights(self, generator):
        return {name: normal(form, generator) for name, form in self.weights.items()}

    def step(self, weights, state, x):
        return 0.5 * state + 0.5 * torch.tanh(x @ weights["A"].T + state @ weights["B"].T)


class ToyBound(BoundRule):
    """A statement about the number of units."""

    name = "toy"
    needs_property = COUNTING

    def bound(self, sample, evidence, setting):
        terms = (
            Term("empirical_risk", sample.train_error, "n^0"),
            Term("units", 0.01 * sample.network.hidden_size, "n^0"),
        )
        value = terms[0].value + terms[1].value
        return Bound("toy", value, "certified", terms, None, setting.delta, ("a toy",), False, "")


@pytest.fixture(autouse=True)
def registered():
    """The toys are known here alone."""
    with mock.patch.dict(BOUNDS), mock.patch.dict(CELLS):
        register(ToyBound)
        register_cell(ToyCell)
        yield


@pytest.fixture
def clf():
    return make_classifier(cell="toy", hidden_size=5, margin=1.0)


def test_report_table_and_pictures_have_the_bound_of_the_cell(clf, small):
    report = clf.fit(*small).bound_report_()
    assert [bound.name for bound in report] == ["toy"]
    expected = np.mean(clf.predict(small[0]) != small[1]) + 0.05
    assert clf.generalization_bound_(method="toy") == report["toy"].value
    assert report["toy"].value == pytest.approx(expected)
    # One line for each of the others says what it lacks.
    assert len(report.omitted) == len(BOUNDS) - 1
    assert any("peeling is proved for row-Lipschitz cells" in line for line in report.omitted)
    assert "toy" in str(report)
    assert "toy" in report.to_latex()
    assert report.to_frame().loc["toy", "units"] == 0.05
    (tick,) = BoundDecompositionDisplay.from_report(report).ax_.get_xticklabels()
    assert tick.get_text().startswith("toy")


def test_searches_choose_by_it(clf, small):
    search = BoundSearch(clf, {"hidden_size": [5, 3]}, method="toy").fit(*small)
    assert search.best_bound_.name == "toy"
    scorer = make_bound_scorer("toy")
    grid = GridSearchCV(clf, {"hidden_size": [5, 3]}, scoring=scorer, cv=2).fit(*small)
    bound = certify(grid, method="toy")
    assert bound.value == bound_report(grid, methods="toy")["toy"].value
    assert "2 candidates" in bound.assumptions[-1]


def test_folds_and_their_picture_have_it(clf, small):
    folds = cross_validate_bounds(clf, *small, param_grid={"hidden_size": [3, 5]}, cv=2)
    assert {bound.name for fold in folds.folds for bound in fold.report} == {"toy", "holdout"} | {
        name for name, rule in BOUNDS.items() if rule.data == "train"
    }
    assert (folds.to_frame().query("bound == 'toy'")["units"] > 0).all()
    display = BoundCurveDisplay.from_cross_validation(folds, methods=["toy"])
    assert display.ax_.get_lines()[0].get_label() == "toy (certified)"


def test_other_cells_do_not_have_it(small):
    report = make_classifier().fit(*small).bound_report_()
    assert "toy" not in report
    assert any("toy is proved for counting cells" in line for line in report.omitted)


class Diagonal(ToyCell):
    """Units that remember themselves alone."""

    name = "diagonal"

    @property
    def weights(self):
        return {**super().weights, "B": Weight("recurrent", self.hidden_size, 1)}

    def step(self, weights, state, x):
        return torch.tanh(x @ weights["A"].T + state * weights["B"].T)


def test_types_of_units_need_weights_between_them(small):
    register_cell(Diagonal)
    with pytest.raises(ValueError, match="unit_types=2 needs weights between all units"):
        make_classifier(cell="diagonal", unit_types=2).fit(*small)
    assert make_classifier(cell="diagonal").fit(*small).B_.shape == (6, 1)
