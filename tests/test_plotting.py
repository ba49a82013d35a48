"""The picture of a decomposition."""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_classifier

from sklearn_rnnbound import BoundReport
from sklearn_rnnbound.plotting import BoundDecompositionDisplay


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_bars_end_at_the_values_of_the_bounds(fitted, small):
    X, y = small
    report = fitted.bound_report_(X[1:], y[1:], X_train=X, y_train=y, margin=1.0)
    display = BoundDecompositionDisplay.from_report(report)
    tops = {}
    for bar in display.ax_.patches:
        x = round(bar.get_x() + bar.get_width() / 2)
        tops[x] = max(tops.get(x, 0.0), bar.get_y() + bar.get_height())
    values = [bound.value for bound in report if bound.kind != "order_only"]
    assert len(values) == len(report) - 2
    assert [tops[i] for i in range(len(tops))] == pytest.approx(values)
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert {"linear", "difference", "noise", "confidence", "0.5"} <= set(legend)
    heights = [line.get_ydata()[0] for line in display.ax_.lines]
    assert {1.0, 0.5} <= set(heights)
    (marks,) = display.ax_.collections
    drawn = {round(line[:, 0].mean()): line[0, 1] for line in marks.get_segments()}
    shown = [bound.name for bound in report if bound.kind != "order_only"]
    for place, name in enumerate(shown):
        if error := report.test_error_of(name):
            assert drawn[place] == error
    assert len(set(drawn.values())) > 1


def test_an_infinite_bound_reaches_the_top_and_says_so(small):
    X, y = small
    clf = make_classifier(min_eigenvalue=0.0).fit(X, y)
    display = BoundDecompositionDisplay.from_estimator(clf)
    assert "infinite" in [text.get_text() for text in display.ax_.texts]
    assert np.isfinite(display.ax_.get_ylim()).all()
    display.figure_.canvas.draw()


def test_given_axes_are_used_and_no_style_is_touched(fitted):
    before = dict(mpl.rcParams)
    figure, ax = plt.subplots()
    display = fitted.bound_report_().plot(ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert dict(mpl.rcParams) == before


def test_nothing_to_draw_and_nothing_to_draw_with(fitted, monkeypatch):
    with pytest.raises(ValueError, match="no bound to draw"):
        BoundReport((), 0.0, None, 0.05).plot()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[plots\]"):
        fitted.bound_report_().plot()


def test_curves_show_bounds_or_one_of_their_terms(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0).fit(X, y)
    curve = clf.bound_curve_(X, y, fractions=(0.5, 1), methods=["peeling", "theorem2", "zhang2018"])
    whole = curve.plot()
    labels = [line.get_label() for line in whole.ax_.get_lines()]
    assert labels[:2] == ["peeling (certified)", "theorem2 (plug-in)"]
    assert not any("zhang" in label for label in labels)
    np.testing.assert_allclose(
        whole.ax_.get_lines()[0].get_ydata(), [report["peeling"].value for report in curve.reports]
    )
    part = curve.plot(term="complexity")
    assert part.ax_.get_lines()[0].get_label() == "peeling (certified)"
    np.testing.assert_allclose(
        part.ax_.get_lines()[0].get_ydata(),
        [report["peeling"].term("complexity") for report in curve.reports],
    )
    assert "complexity of the bound" in part.ax_.get_ylabel()
    with pytest.raises(ValueError, match="no bound with the term 'kl'"):
        curve.plot(term="kl")
