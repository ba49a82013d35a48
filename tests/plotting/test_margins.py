"""Drawn margins, against the scores of the classifier."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_classifier
from pictures import closed_figures as closed_figures
from pictures import flat, legend_of, line_of, points_of
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_rnnbound.plotting import MarginDistributionDisplay


def margins_by_hand(scores, y):
    """Score of the label less the largest other one, row by row."""
    return np.array(
        [row[label] - max(np.delete(row, label)) for row, label in zip(scores, y, strict=True)]
    )


def distribution_at(line, points):
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    return [y[np.flatnonzero(x <= point)[-1]] for point in points]


def test_margins_of_the_training_data_clean_and_noisy(fitted, small):
    X, y = small
    display = MarginDistributionDisplay.from_estimator(fitted)
    ax = display.ax_
    clean = margins_by_hand(fitted.decision_function(X), y)
    np.testing.assert_allclose(display.margins, clean, rtol=1e-5, atol=1e-6)
    points = np.quantile(clean, [0.1, 0.35, 0.8]) + 1e-4
    for label, sample in (("clean", clean), ("under noise", display.noisy_margins)):
        line = line_of(ax, label)
        expected = [np.mean(sample <= point) for point in points]
        assert distribution_at(line, points) == pytest.approx(expected)
        assert f"M ≤ 0: {100 * np.mean(sample <= 0):.2f} %" in line.get_label()
        assert (line.get_ydata()[0], line.get_ydata()[-1]) == (0, 1)
        assert line.get_drawstyle() == "steps-post"
    assert line_of(ax, "clean").get_linestyle() != line_of(ax, "under noise").get_linestyle()
    assert r"$\sigma$ = 0.1" in line_of(ax, "under noise").get_label()
    alpha = fitted.bound_report_(methods="peeling")["peeling"].margin
    assert display.alpha == alpha
    assert f"$\\alpha$ = {alpha:g} of peeling" in " ".join(legend_of(ax))
    assert "score" in ax.get_xlabel()
    display.figure_.canvas.draw()


def test_margin_and_ramp_are_drawn(fitted):
    figure, ax = plt.subplots()
    display = MarginDistributionDisplay.from_estimator(fitted, margin=0.5, ramp=True, ax=ax)
    assert (display.ax_, display.figure_) == (ax, figure)
    assert line_of(ax, "margin").get_xdata()[0] == 0.5
    assert ax.get_xlim()[0] < 0.5 < ax.get_xlim()[1]
    x, y = points_of(ax, "ramp")
    np.testing.assert_allclose(np.interp([-0.1, 0, 0.25, 0.5, 0.6], x, y), [1, 1, 0.5, 0, 0])
    bound = fitted.bound_report_(methods="theorem3", margin=0.5)["theorem3"]
    noisy = line_of(ax, "under noise").get_label()
    assert f"mean ramp: {100 * bound.empirical_risk:.2f} %" in noisy
    share = np.mean(display.noisy_margins <= 0.5)
    assert rf"M ≤ $\alpha$: {100 * share:.2f} %" in noisy


def test_margins_of_other_data_through_a_pipeline(small):
    X, y = small
    binary = y < 2
    X, y = flat(X[binary]), np.array(["no", "yes"])[y[binary]]
    clf = make_classifier(noise_std=0.1, margin=0.75, min_eigenvalue=0.0)
    pipeline = make_pipeline(StandardScaler(), clf).fit(X, y)
    X_new = X + 0.3
    display = MarginDistributionDisplay.from_estimator(pipeline, X_new, y)
    expected = np.where(y == "yes", 1, -1) * pipeline.decision_function(X_new)
    np.testing.assert_allclose(display.margins, expected)
    assert display.noisy_margins is None
    assert display.alpha == 0.75
    error = 1 - pipeline.score(X_new, y)
    assert f"M ≤ 0: {100 * error:.2f} %" in line_of(display.ax_, "clean").get_label()


def test_margins_that_are_far_away_or_infinite():
    display = MarginDistributionDisplay(np.array([-np.inf, 1.0, 2.0, -1.0]), alpha=1e6)
    display.plot(ramp=True)
    line = line_of(display.ax_, "clean")
    assert distribution_at(line, [-1.1, -1, 1, 2]) == [0.25, 0.5, 0.75, 1.0]
    assert display.ax_.get_xlim()[1] < 10
    assert "right of the picture" in " ".join(legend_of(display.ax_))
    same = MarginDistributionDisplay(np.zeros(3)).plot()
    assert legend_of(same.ax_) == ["clean:\n  M ≤ 0: 100.00 %", "M = 0: errors to the left"]
    same.figure_.canvas.draw()


def test_margins_need_labels_and_a_known_bound(fitted, small):
    X, y = small
    for half in ({"X": X}, {"y": y}):
        with pytest.raises(ValueError, match="X and y go together"):
            MarginDistributionDisplay.from_estimator(fitted, **half)
    with pytest.raises(ValueError, match=r"labels must be among \[0, 1, 2\], and \[3\]"):
        MarginDistributionDisplay.from_estimator(fitted, X, y + 1)
    with pytest.raises(ValueError, match="'all'"):
        MarginDistributionDisplay.from_estimator(fitted, method="all")
