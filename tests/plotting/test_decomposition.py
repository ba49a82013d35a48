"""Stacked terms of bounds, against the report that they show."""

import sys
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_classifier
from pictures import closed_figures as closed_figures
from pictures import flat, legend_of, made_report
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_rnnbound import BOUNDS, BoundReport, certify
from sklearn_rnnbound.plotting import (
    BoundCurveDisplay,
    BoundDecompositionDisplay,
    MarginDistributionDisplay,
    SpectrumDisplay,
)
from sklearn_rnnbound.plotting._style import curve_style, term_style


def test_bars_end_at_the_values_of_the_bounds(fitted, small):
    X, y = small
    before = dict(mpl.rcParams)
    report = fitted.bound_report_(X[1:], y[1:], X_train=X, y_train=y, margin=1.0)
    figure, ax = plt.subplots()
    display = BoundDecompositionDisplay.from_report(report, ax=ax)
    assert (display.ax_, display.figure_) == (ax, figure)
    assert dict(mpl.rcParams) == before
    tops = {}
    for bar in ax.patches:
        x = round(bar.get_x() + bar.get_width() / 2)
        tops[x] = max(tops.get(x, 0.0), bar.get_y() + bar.get_height())
    shown = [bound for bound in report if bound.kind != "order_only"]
    assert len(shown) == len(report) - 2
    assert [tops[i] for i in range(len(tops))] == pytest.approx([bound.value for bound in shown])
    assert {"linear", "difference", "noise", "confidence", "0.5"} <= set(legend_of(ax))
    assert {1.0, 0.5} <= {line.get_ydata()[0] for line in ax.lines}
    (marks,) = ax.collections
    drawn = {round(line[:, 0].mean()): line[0, 1] for line in marks.get_segments()}
    for place, bound in enumerate(shown):
        if error := report.test_error_of(bound.name):
            assert drawn[place] == error
    assert len(set(drawn.values())) > 1


def test_an_infinite_bound_reaches_the_top_and_says_so(small):
    clf = make_classifier(min_eigenvalue=0.0).fit(*small)
    display = BoundDecompositionDisplay.from_estimator(clf)
    assert "infinite" in [text.get_text() for text in display.ax_.texts]
    assert np.isfinite(display.ax_.get_ylim()).all()
    display.figure_.canvas.draw()


def test_bounds_near_the_end_of_floating_point():
    display = BoundDecompositionDisplay.from_report(made_report(1e306, 0.1, 0.2))
    assert "1e+306" in [text.get_text() for text in display.ax_.texts]
    display.figure_.canvas.draw()
    rows = [[made_report(10.0**e, 0.1, 0.2), made_report(1.7e308, 0.1, 0.2)] for e in (300, 308)]
    BoundCurveDisplay([1, 2], rows).plot().figure_.canvas.draw()


def test_narrow_axes_get_upright_texts(fitted):
    names = ["theorem3", "refined", "peeling", "golowich2018", "trivial"]
    report = fitted.bound_report_(margin=1.0, methods=names)
    figure, ax = plt.subplots(figsize=(4, 5), layout="constrained")
    BoundDecompositionDisplay.from_report(report, ax=ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90.0}
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
    wide = BoundDecompositionDisplay.from_report(report)
    assert {label.get_rotation() for label in wide.ax_.get_xticklabels()} == {0.0}


def test_fitted_steps_of_a_pipeline_make_estimates(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0)
    for step, kind in ((StandardScaler(), "plug-in"), (FunctionTransformer(), "certified")):
        pipeline = make_pipeline(step, clf).fit(flat(X), y)
        display = BoundDecompositionDisplay.from_estimator(
            pipeline, flat(X[:7]) + 0.1, y[:7], methods=["peeling"]
        )
        assert [t.get_text() for t in display.ax_.get_xticklabels()] == [f"peeling\n{kind}"]
        assert display.report.test_error == np.mean(pipeline.predict(flat(X[:7]) + 0.1) != y[:7])


def test_a_search_shares_delta(small):
    clf = make_classifier(beta_u=1.0, beta_v=1.0, margin=1.0, min_eigenvalue=0.0)
    search = GridSearchCV(clf, {"beta_w": [0.5, 1.0]}, cv=2).fit(*small)
    display = BoundDecompositionDisplay.from_estimator(search, methods="peeling")
    assert float(display.report["peeling"]) == float(certify(search))


def test_a_report_is_needed(fitted):
    with pytest.raises(TypeError, match=r"^report must be of type BoundReport, which .*; got RNN"):
        BoundDecompositionDisplay.from_report(fitted)
    with pytest.raises(ValueError, match="the report has no bound to draw"):
        BoundDecompositionDisplay.from_report(BoundReport((), 0.0, None, 0.05))


# What all displays share


@pytest.mark.parametrize(
    "draw",
    [
        BoundDecompositionDisplay.from_estimator,
        MarginDistributionDisplay.from_estimator,
        lambda estimator: BoundCurveDisplay.from_estimator(
            estimator, np.ones((4, 2, 2)), [0, 1] * 2
        ),
    ],
)
def test_a_fitted_classifier_is_needed(draw):
    with pytest.raises(NotFittedError):
        draw(make_classifier())
    with pytest.raises(ValueError, match="no RNNBoundClassifier in StandardScaler"):
        draw(StandardScaler())


def test_without_matplotlib(monkeypatch):
    report = made_report(1.0, 0.1, 0.2)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for display in (
        BoundDecompositionDisplay(report),
        BoundCurveDisplay([1], [[report]]),
        MarginDistributionDisplay(np.ones(3)),
        SpectrumDisplay(np.ones(3), min_eigenvalue=1.0, n_samples=3),
    ):
        with pytest.raises(ImportError, match=r"sklearn-rnnbound\[plots\]"):
            display.plot()
    # Nothing is fitted in vain.
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[plots\]"):
        BoundCurveDisplay.from_estimator(None, None, None, param_name="a", param_range=[1])


def test_styles_differ_without_colour():
    first = list(BOUNDS)[:12]
    assert len({curve_style(name)["marker"] for name in first}) == len(first)
    styles = {tuple(curve_style(name).values()) for name in BOUNDS}
    assert len(styles) == len(BOUNDS)
    terms = ("empirical_risk", "linear", "difference", "complexity", "kl", "noise", "monte_carlo")
    assert len({term_style(name)[1] for name in terms}) == len(terms)
