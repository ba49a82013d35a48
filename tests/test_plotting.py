"""What the pictures show, against numbers computed apart from them."""

import re
import sys
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_rnnbound import Bound, BoundReport, Term, certify
from sklearn_rnnbound.cross_validation import cross_validate_bounds
from sklearn_rnnbound.datasets import make_gaussian_sequences
from sklearn_rnnbound.fold_reports import CrossValidatedBoundReport, FoldReport
from sklearn_rnnbound.plotting import (
    BoundCurveDisplay,
    BoundDecompositionDisplay,
    MarginDistributionDisplay,
    SpectrumDisplay,
)
from sklearn_rnnbound.plotting._positions import Positions
from sklearn_rnnbound.plotting._style import curve_style, parameter_label, term_style
from sklearn_rnnbound.spectrum import min_eigenvalue


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def flat(X):
    return X.reshape(len(X), -1)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line_of(ax, label):
    """The one line whose label begins so."""
    (line,) = [line for line in ax.get_lines() if str(line.get_label()).startswith(label)]
    return line


def points_of(ax, label):
    line = line_of(ax, label)
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def made_report(value, train, test, *, name="peeling", kind="certified", complexity=0.25):
    terms = (Term("empirical_risk", value - complexity, "n^0"), Term("complexity", complexity, "?"))
    bound = Bound(name, value, kind, terms, 1.0, 0.05, (), value >= 1, "")
    order = Term("order", 1e9, "?")
    mere = Bound("zhang2018", 1e9, "order_only", (order,), 1.0, None, (), True, "")
    return BoundReport((bound, mere), train, test, 0.05)


def made_rows(tables):
    """Rows of reports from tables of bounds, train errors and test errors."""
    return [
        [made_report(*numbers) for numbers in np.transpose(part)]
        for part in zip(*tables, strict=True)
    ]


def made_folds(values, reports):
    """One candidate per value of `params`, with its reports; None for a failed fit."""
    return CrossValidatedBoundReport(
        tuple(
            FoldReport(params, fold, 20, 10, 0.1, {}, report, "" if report else "Error: no luck")
            for params, row in zip(values, reports, strict=True)
            for fold, report in enumerate(row)
        )
    )


@pytest.fixture(scope="module")
def noise_numbers():
    """Bounds, train errors and test errors of three values of noise_std (rows) and four folds."""
    rng = np.random.default_rng(0)
    return rng.uniform(1, 9, (3, 4)), rng.uniform(0, 0.3, (3, 4)), rng.uniform(0, 0.5, (3, 4))


@pytest.fixture(scope="module")
def noise_report(noise_numbers):
    values = [{"pipeline__rnn__noise_std": sigma} for sigma in (0.4, 0.0, 0.1)]
    rows = made_rows(noise_numbers)
    return made_folds(values, rows)


# Decompositions


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
    assert {"linear", "difference", "noise", "confidence", "0.5"} <= set(legend_of(display.ax_))
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


def test_bounds_near_the_end_of_floating_point(small):
    display = BoundDecompositionDisplay.from_report(made_report(1e306, 0.1, 0.2))
    assert np.isfinite(display.ax_.get_ylim()).all()
    assert "1e+306" in [text.get_text() for text in display.ax_.texts]
    display.figure_.canvas.draw()
    rows = [[made_report(10.0**e, 0.1, 0.2), made_report(1.7e308, 0.1, 0.2)] for e in (300, 308)]
    report = made_folds([{"beta_w": 1.0}, {"beta_w": 2.0}], rows)
    BoundCurveDisplay.from_cross_validation(report).figure_.canvas.draw()


def test_narrow_axes_get_upright_texts(fitted):
    report = fitted.bound_report_(margin=1.0)
    figure, ax = plt.subplots(figsize=(4, 5), layout="constrained")
    BoundDecompositionDisplay.from_report(report, ax=ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90.0}
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
    wide = BoundDecompositionDisplay.from_report(report)
    assert {label.get_rotation() for label in wide.ax_.get_xticklabels()} == {0.0}


def test_decomposition_of_a_pipeline_counts_its_fitted_steps_as_estimates(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0)
    for step, kind in ((StandardScaler(), "plug-in"), (FunctionTransformer(), "certified")):
        pipeline = make_pipeline(step, clf).fit(flat(X), y)
        display = BoundDecompositionDisplay.from_estimator(
            pipeline, flat(X[:7]) + 0.1, y[:7], methods=["peeling"]
        )
        assert [t.get_text() for t in display.ax_.get_xticklabels()] == [f"peeling\n{kind}"]
        assert display.report.test_error == np.mean(pipeline.predict(flat(X[:7]) + 0.1) != y[:7])


def test_decomposition_of_a_search_shares_delta(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_v=1.0, margin=1.0, min_eigenvalue=0.0)
    search = GridSearchCV(clf, {"beta_w": [0.5, 1.0]}, cv=2).fit(X, y)
    display = BoundDecompositionDisplay.from_estimator(search, methods="peeling")
    assert float(display.report["peeling"]) == float(certify(search))


# Curves


def test_lines_are_means_over_folds_and_bands_their_standard_errors(noise_report, noise_numbers):
    bounds, train, test = noise_numbers
    display = BoundCurveDisplay.from_cross_validation(noise_report)
    order = [1, 2, 0]
    x, y = points_of(display.ax_, "peeling (certified)")
    np.testing.assert_array_equal(x, [0.0, 0.1, 0.4])
    np.testing.assert_allclose(y, bounds.mean(1)[order])
    ax = display.error_ax_
    tables = {"test error": test, "train error": train, "gap": test - train}
    for label, table in tables.items():
        np.testing.assert_allclose(points_of(ax, label)[1], table.mean(1)[order])
    bands = [*display.ax_.collections, *ax.collections]
    assert len(bands) == 4
    for band, table in zip(bands, [bounds, *tables.values()], strict=True):
        corners = band.get_paths()[0].vertices
        for sigma, row in zip((0.0, 0.1, 0.4), table[order], strict=True):
            error = np.sqrt(np.sum((row - row.mean()) ** 2) / 3 / 4)
            edges = corners[corners[:, 0] == sigma, 1]
            assert edges.min() == pytest.approx(row.mean() - error)
            assert edges.max() == pytest.approx(row.mean() + error)
    assert legend_of(display.ax_) == ["peeling (certified)", "1: excludes nothing"]
    assert "mean ± standard error\nover folds" in legend_of(ax)
    assert (display.ax_.get_yscale(), ax.get_yscale()) == ("log", "linear")
    assert ax.get_xlabel() == r"input noise $\sigma$ (units of the input)"
    assert 1.0 in [line.get_ydata()[0] for line in display.ax_.get_lines() if len(line.get_ydata())]
    display.figure_.canvas.draw()


def test_a_term_in_place_of_the_bounds():
    rows = [[made_report(3.0, 0.1, 0.2, complexity=c)] for c in (0.5, 0.125)]
    report = made_folds([{"hidden_size": 8}, {"hidden_size": 16}], rows)
    display = BoundCurveDisplay.from_cross_validation(report, term="complexity")
    np.testing.assert_array_equal(points_of(display.ax_, "peeling"), [[8, 16], [0.5, 0.125]])
    assert display.ax_.get_ylabel().startswith("complexity of the bound")
    assert display.error_ax_.get_xlabel() == "hidden units m"
    # A single fold has no error of its mean.
    assert not display.ax_.collections
    assert not any("standard error" in text for text in legend_of(display.error_ax_))
    with pytest.raises(ValueError, match="no bound with the term 'kl'"):
        BoundCurveDisplay.from_cross_validation(report, term="kl")


def test_failed_fits_are_left_out_and_counted(noise_report, noise_numbers):
    bounds, train, _ = noise_numbers
    folds = list(noise_report.folds)
    for lost in (2, 5):
        old = folds[lost]
        folds[lost] = FoldReport(old.params, old.fold, 20, 10, 0.1, {}, None, "Error: no luck")
    display = BoundCurveDisplay.from_cross_validation(CrossValidatedBoundReport(tuple(folds)))
    kept = [bounds[1, [0, 2, 3]], bounds[2], bounds[0, [0, 1, 3]]]
    np.testing.assert_allclose(points_of(display.ax_, "peeling")[1], [row.mean() for row in kept])
    kept = [train[1, [0, 2, 3]], train[2], train[0, [0, 1, 3]]]
    drawn = points_of(display.error_ax_, "train error")[1]
    np.testing.assert_allclose(drawn, [row.mean() for row in kept])
    assert "2 of 12 fits failed:\nleft out" in legend_of(display.error_ax_)


def test_infinite_bounds_and_estimates_are_told_apart():
    rows = [
        [made_report(2.0, 0.1, 0.2), made_report(np.inf, 0.1, 0.2)],
        [made_report(2.0, 0.1, 0.2), made_report(4.0, 0.1, 0.2, kind="plug_in")],
        [made_report(5.0, 0.1, 0.2), made_report(5.0, 0.1, 0.2)],
    ]
    report = made_folds([{"beta_w": b} for b in (0.5, 1.0, 1.5)], rows)
    ax = BoundCurveDisplay.from_cross_validation(report).ax_
    np.testing.assert_array_equal(points_of(ax, "peeling"), [[1.0, 1.5], [3.0, 5.0]])
    assert line_of(ax, "peeling").get_label() == "peeling (certified or plug-in)"
    (sign,) = [line for line in ax.get_lines() if "infty" in str(line.get_marker())]
    np.testing.assert_array_equal(sign.get_xdata(), [0.5])
    assert 0 < sign.get_ydata()[0] < 1
    hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[1.0], []]
    assert "hollow: plug-in" in legend_of(ax)

    alone = made_report(np.inf, 0.1, 0.2, name="theorem2", kind="plug_in")
    display = BoundCurveDisplay.from_reports(
        {1: made_folds([{}], [[alone]]), 2: made_folds([{}], [[alone]])}, xlabel="L"
    )
    assert legend_of(display.ax_)[0] == "theorem2 (plug-in): infinite"
    display.figure_.canvas.draw()


def test_what_is_no_number_stands_to_the_right_and_none_is_last():
    rows = [[made_report(v, 0.1, 0.2), made_report(v + 1, 0.3, 0.2)] for v in (1.0, 2.0, 3.0, 4.0)]
    values = [{"beta_w": b} for b in (None, 0.5, (0.25, 0.5), 1.0)]
    display = BoundCurveDisplay.from_cross_validation(made_folds(values, rows))
    np.testing.assert_array_equal(points_of(display.ax_, "peeling"), [[0.5, 1.0], [2.5, 4.5]])
    (bars,) = display.ax_.containers
    points = bars.lines[0]
    np.testing.assert_allclose(points.get_ydata(), [1.5, 3.5])
    none, pair = points.get_xdata()
    assert 1.0 < pair < none
    ticks = dict(
        zip(
            [label.get_text() for label in display.error_ax_.get_xticklabels()],
            display.error_ax_.get_xticks(),
            strict=True,
        )
    )
    assert ticks == {"none": none, "(0.25, 0.5)": pair, "1": 1.0, "0.5": 0.5}
    assert display.error_ax_.get_xlabel() == r"radius $\beta_W$ of the rows of W"
    for bar, mean in zip(bars.lines[2][0].get_segments(), (1.5, 3.5), strict=True):
        np.testing.assert_allclose(bar[:, 1], [mean - 0.5, mean + 0.5])


def test_categories_stand_side_by_side_with_every_fit():
    rows = [[made_report(2.0, 0.1, 0.2), made_report(6.0, 0.3, 0.2)] for _ in range(2)]
    report = made_folds([{"loss": "ramp"}, {"loss": "cross_entropy"}], rows)
    display = BoundCurveDisplay.from_cross_validation(report)
    ax = display.error_ax_
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ramp", "cross_entropy"]
    assert ax.get_xlabel() == "loss"
    means = [bars.lines[0] for bars in ax.containers]
    assert len({round(line.get_xdata()[0], 6) for line in means}) == 3
    np.testing.assert_allclose(means[1].get_ydata(), [0.2, 0.2])
    dots = [line for line in ax.get_lines() if line.get_marker() == "." and len(line.get_xdata())]
    np.testing.assert_allclose(dots[1].get_ydata(), [0.1, 0.3, 0.1, 0.3])
    assert "single fits" in legend_of(ax)


def test_one_candidate_is_one_position(noise_numbers):
    bounds, train, test = (table[0] for table in noise_numbers)
    row = [made_report(*numbers) for numbers in zip(bounds, train, test, strict=True)]
    display = BoundCurveDisplay.from_cross_validation(made_folds([{}], [row]))
    (bars,) = display.ax_.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), [bounds.mean()])
    (dots,) = [line for line in display.ax_.get_lines() if line.get_marker() == "."]
    np.testing.assert_allclose(dots.get_ydata(), bounds)
    assert [t.get_text() for t in display.error_ax_.get_xticklabels()] == ["4 folds"]
    named = BoundCurveDisplay.from_cross_validation(
        made_folds([{"noise_std": 0.5}], [row]), param="noise_std"
    )
    assert [t.get_text() for t in named.error_ax_.get_xticklabels()] == ["0.5"]
    with pytest.raises(ValueError, match="param='alpha' is no parameter of the candidates; there"):
        BoundCurveDisplay.from_cross_validation(made_folds([{}], [row]), param="alpha")


def test_candidates_that_differ_in_several_parameters():
    grid = [(a, b) for a in (0.0, 0.5) for b in (1, 2)]
    rows = [[made_report(1 + a + b, 0.1, 0.2)] for a, b in grid]
    report = made_folds([{"noise_std": a, "rnn__hidden_size": b} for a, b in grid], rows)
    with pytest.raises(ValueError, match="noise_std and rnn__hidden_size: give one of them"):
        BoundCurveDisplay.from_cross_validation(report)
    with pytest.raises(ValueError, match=r"'beta_w'.*there are noise_std and rnn__hidden_size"):
        BoundCurveDisplay.from_cross_validation(report, param="beta_w")
    display = BoundCurveDisplay.from_cross_validation(report, param="noise_std")
    np.testing.assert_array_equal(points_of(display.ax_, "peeling"), [[0.0, 0.5], [2.5, 3.0]])
    legend = legend_of(display.error_ax_)
    assert "mean ± standard error\nover folds and rnn__hidden_size" in legend


def test_a_candidate_may_leave_a_parameter_as_it_is():
    rows = [[made_report(v, 0.1, 0.2)] for v in (2.0, 3.0, 4.0)]
    report = made_folds([{"beta_w": 0.5}, {"beta_w": 1.0}, {}], rows)
    display = BoundCurveDisplay.from_cross_validation(report)
    labels = [label.get_text() for label in display.error_ax_.get_xticklabels()]
    assert sorted(labels) == ["0.5", "1", "as given"]


def test_reports_for_what_is_varied_outside(noise_numbers):
    bounds, train, test = noise_numbers
    lengths = (10, 40, 160)
    rows = made_rows(noise_numbers)
    reports = {L: made_folds([{}], [row]) for L, row in zip(lengths, rows, strict=True)}
    display = BoundCurveDisplay.from_reports(reports, xlabel="steps L")
    np.testing.assert_allclose(points_of(display.ax_, "peeling"), [lengths, bounds.mean(1)])
    drawn = points_of(display.error_ax_, "gap")[1]
    np.testing.assert_allclose(drawn, (test - train).mean(1))
    assert display.ax_.get_xscale() == "log"
    assert display.error_ax_.get_xlabel() == "steps L"
    several = made_folds([{"beta_w": 1.0}, {"beta_w": 2.0}], rows[:2])
    with pytest.raises(ValueError, match=r"reports\[20\] has several.* differ in beta_w"):
        BoundCurveDisplay.from_reports({10: reports[10], 20: several}, xlabel="steps L")


def test_chosen_bounds_alone():
    reports = [made_report(2.0, 0.1, 0.2, name=name) for name in ("theorem2", "peeling", "occam")]
    bounds = (*(report.bounds[0] for report in reports), reports[0].bounds[1])
    merged = BoundReport(bounds, 0.1, 0.2, 0.05)
    report = made_folds([{"noise_std": 0.0}, {"noise_std": 1.0}], [[merged], [merged]])
    display = BoundCurveDisplay.from_cross_validation(report, methods=["occam", "paper"])
    assert legend_of(display.ax_)[:2] == [
        "occam (certified, rounded)",
        "theorem2 (certified)",
    ]
    assert not any("peeling" in text for text in legend_of(display.ax_))
    assert not any("zhang" in text for text in legend_of(display.plot().ax_))
    for wrong in ("zhang2018", ["peeling", "holdout"]):
        with pytest.raises(ValueError, match=r"methods holds .*; of bounds to draw there are theo"):
            display.plot(methods=wrong)


def test_two_axes_or_one_and_no_style_touched(noise_report):
    before = dict(mpl.rcParams)
    figure, axes = plt.subplots(2)
    display = BoundCurveDisplay.from_cross_validation(noise_report, ax=axes)
    assert display.ax_ is axes[0]
    assert display.error_ax_ is axes[1]
    assert display.figure_ is figure
    assert (axes[0].get_xlabel(), axes[1].get_xlabel()[:11]) == ("", "input noise")
    _, ax = plt.subplots()
    display = BoundCurveDisplay.from_cross_validation(noise_report, ax=ax)
    assert display.ax_ is ax
    assert display.error_ax_ is None
    assert ax.get_xlabel().startswith("input noise")
    with pytest.raises(ValueError, match="ax must be one Axes or a pair of Axes, got 3"):
        BoundCurveDisplay.from_cross_validation(noise_report, ax=plt.subplots(3)[1])
    assert dict(mpl.rcParams) == before


def test_cross_validation_of_an_estimator_and_of_a_pipeline(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_v=1.0, min_eigenvalue=0.0, margin=1.0)
    options = {"cv": 3, "methods": ["peeling", "theorem2"]}
    display = BoundCurveDisplay.from_estimator(
        make_pipeline(StandardScaler(), clf),
        flat(X),
        y,
        param_name="rnnboundclassifier__beta_w",
        param_range=[0.5, 1.0, None],
        **options,
    )
    report = cross_validate_bounds(
        make_pipeline(StandardScaler(), clf),
        flat(X),
        y,
        param_grid={"rnnboundclassifier__beta_w": [0.5, 1.0, None]},
        **options,
    )
    values = np.array([fold.report["peeling"].value for fold in report.folds]).reshape(3, 3)
    np.testing.assert_allclose(points_of(display.ax_, "peeling"), [[0.5, 1.0], values.mean(1)[:2]])
    errors = np.array([fold.report.test_error for fold in report.folds]).reshape(3, 3)
    drawn = points_of(display.error_ax_, "test error")[1]
    np.testing.assert_allclose(drawn, errors.mean(1)[:2])
    assert "peeling (plug-in)" in legend_of(display.ax_)
    assert "theorem2 (plug-in): infinite" in legend_of(display.ax_)
    for half in ({"param_name": "beta_w"}, {"param_range": [1.0]}):
        with pytest.raises(ValueError, match="param_name and param_range go together"):
            BoundCurveDisplay.from_estimator(clf, X, y, **half)


def test_curves_over_n_show_bounds_or_one_of_their_terms(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0).fit(X, y)
    curve = clf.bound_curve_(X, y, fractions=(0.5, 1), methods=["peeling", "theorem2", "zhang2018"])
    whole = curve.plot()
    labels = [line.get_label() for line in whole.ax_.get_lines()]
    assert labels[:2] == ["peeling (certified)", "theorem2 (plug-in)"]
    assert not any("zhang" in label for label in labels)
    np.testing.assert_allclose(
        points_of(whole.ax_, "peeling"),
        [[30, 60], [report["peeling"].value for report in curve.reports]],
    )
    np.testing.assert_allclose(
        points_of(whole.error_ax_, "train error")[1],
        [report.train_error for report in curve.reports],
    )
    assert legend_of(whole.error_ax_) == ["train error"]
    part = curve.plot(term="complexity")
    np.testing.assert_allclose(
        points_of(part.ax_, "peeling (certified)")[1],
        [report["peeling"].term("complexity") for report in curve.reports],
    )
    assert "complexity of the bound" in part.ax_.get_ylabel()
    with pytest.raises(ValueError, match="no bound with the term 'kl'"):
        curve.plot(term="kl")


def test_curve_over_n_of_a_pipeline_and_of_a_search(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0, min_eigenvalue=0.0)
    options = {"fractions": (0.5, 1), "methods": ["peeling"]}
    pipeline = make_pipeline(StandardScaler(), clf).fit(flat(X), y)
    display = BoundCurveDisplay.from_estimator(pipeline, flat(X), y, **options)
    scaled = StandardScaler().fit_transform(flat(X))
    curve = pipeline[-1].bound_curve_(scaled, y, **options)
    np.testing.assert_allclose(
        points_of(display.ax_, "peeling (plug-in)")[1],
        [report["peeling"].value for report in curve.reports],
    )
    search = GridSearchCV(clf, {"beta_w": [0.5, 1.0]}, cv=2).fit(X, y)
    display = BoundCurveDisplay.from_estimator(search, X, y, **options)
    half = search.best_estimator_.bound_curve_(X, y, delta=0.025, **options)
    assert points_of(display.ax_, "peeling")[1] == pytest.approx(
        [report["peeling"].value for report in half.reports]
    )


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ((0.1, 0.2, 0.3, 0.4), False),
        ((0.0, 0.01, 1.0), False),
        ((0.01, 0.02, 1.0), True),
        ((16, 32, 64), True),
        ((168, 337, 674, 1347), True),
        ((10, 10.1, 10.2), False),
        ((1.0, 2.0), False),
    ],
)
def test_scale_of_a_numeric_axis(values, logarithmic):
    positions = Positions.of(values)
    assert positions.logarithmic == logarithmic
    assert positions.numeric.all()
    np.testing.assert_array_equal(positions.places, values)


def test_places_of_mixed_values():
    positions = Positions.of([1, None, "auto", 100])
    np.testing.assert_allclose(positions.places, [1, 100**1.4, 100**1.2, 100])
    assert positions.labels == ("1", "none", "auto", "100")
    np.testing.assert_array_equal(positions.numeric, [True, False, False, True])
    for lonely in ([None, 3.0, True], [None, "b", False]):
        np.testing.assert_array_equal(Positions.of(lonely).places, [2, 0, 1])
        assert not Positions.of(lonely).numeric.any()


def test_labels_of_close_numbers_do_not_overlap():
    rows = [[made_report(2.0, 0.1, 0.2)]] * 7
    sigmas = (0, 0.001, 0.002, 0.05, 0.1, 0.2, 0.4)
    display = BoundCurveDisplay.from_cross_validation(
        made_folds([{"noise_std": sigma} for sigma in sigmas], rows)
    )
    display.figure_.canvas.draw()
    boxes = sorted(
        (label.get_window_extent() for label in display.error_ax_.get_xticklabels()),
        key=lambda box: box.x0,
    )
    assert len(boxes) >= 4
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_names_of_parameters():
    assert parameter_label("pipeline__rnn__noise_std").endswith("(units of the input)")
    assert parameter_label("weight_decay") == "weight decay"


def test_styles_differ_without_colour():
    from sklearn_rnnbound import BOUNDS

    assert len({curve_style(name)["marker"] for name in BOUNDS}) == len(BOUNDS)
    terms = ("empirical_risk", "linear", "difference", "complexity", "kl", "noise", "monte_carlo")
    assert len({term_style(name)[1] for name in terms}) == len(terms)


# Margins


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
    before = dict(mpl.rcParams)
    display = MarginDistributionDisplay.from_estimator(fitted)
    ax = display.ax_
    clean = margins_by_hand(fitted.decision_function(X), y)
    noisy = fitted._statistics.noisy.margins
    np.testing.assert_allclose(display.margins, clean, rtol=1e-5, atol=1e-6)
    points = np.quantile(clean, [0.1, 0.35, 0.8]) + 1e-4
    for label, sample in (("clean", clean), ("under noise", noisy)):
        line = line_of(ax, label)
        expected = [np.mean(sample <= point) for point in points]
        assert distribution_at(line, points) == pytest.approx(expected)
        assert f"M ≤ 0: {100 * np.mean(sample <= 0):.2f} %" in line.get_label()
        assert line.get_ydata()[0] == 0
        assert line.get_ydata()[-1] == 1
        assert line.get_drawstyle() == "steps-post"
    assert line_of(ax, "clean").get_linestyle() != line_of(ax, "under noise").get_linestyle()
    assert r"$\sigma$ = 0.1" in line_of(ax, "under noise").get_label()
    alpha = fitted.bound_report_(methods="peeling")["peeling"].margin
    assert display.alpha == alpha
    assert f"$\\alpha$ = {alpha:g} of peeling" in " ".join(legend_of(ax))
    assert "score" in ax.get_xlabel()
    assert dict(mpl.rcParams) == before
    display.figure_.canvas.draw()


def test_margin_and_ramp_are_drawn(fitted):
    figure, ax = plt.subplots()
    display = MarginDistributionDisplay.from_estimator(fitted, margin=0.5, ramp=True, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert line_of(ax, "margin").get_xdata()[0] == 0.5
    assert ax.get_xlim()[0] < 0.5 < ax.get_xlim()[1]
    x, y = points_of(ax, "ramp")
    np.testing.assert_allclose(np.interp([-0.1, 0, 0.25, 0.5, 0.6], x, y), [1, 1, 0.5, 0, 0])
    bound = fitted.bound_report_(methods="theorem3", margin=0.5)["theorem3"]
    noisy = line_of(ax, "under noise").get_label()
    assert f"mean ramp: {100 * bound.empirical_risk:.2f} %" in noisy
    share = np.mean(fitted._statistics.noisy.margins <= 0.5)
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


def test_margins_need_labels_and_a_bound_with_a_margin(fitted, small):
    X, y = small
    for half in ({"X": X}, {"y": y}):
        with pytest.raises(ValueError, match="X and y go together"):
            MarginDistributionDisplay.from_estimator(fitted, **half)
    with pytest.raises(ValueError, match=r"labels of \[0, 1, 2\], and \[3\]"):
        MarginDistributionDisplay.from_estimator(fitted, X, y + 1)
    with pytest.raises(ValueError, match="found no RNNBoundClassifier"):
        MarginDistributionDisplay.from_estimator(StandardScaler())
    with pytest.raises(ValueError, match="'nonsense' is unknown"):
        MarginDistributionDisplay.from_estimator(fitted, method="nonsense")
    with pytest.raises(ValueError, match="method='all' is unknown"):
        MarginDistributionDisplay.from_estimator(fitted, method="all")


# Spectra


def test_spectrum_is_the_prescribed_one():
    prescribed = np.geomspace(1e4, 1e-4, 12)
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(50, 12)))[0]
    right = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    X = (np.sqrt(50) * left * np.sqrt(prescribed) @ right.T).reshape(50, 4, 3)
    display = SpectrumDisplay.from_data(X, noise_std=0.5)
    ax = display.ax_
    numbers, drawn = points_of(ax, "eigenvalues")
    np.testing.assert_array_equal(numbers, np.arange(1, 13))
    np.testing.assert_allclose(drawn, prescribed, rtol=1e-6)
    np.testing.assert_allclose(points_of(ax, "under noise")[1], prescribed + 0.25, rtol=1e-6)
    assert line_of(ax, "floor").get_ydata()[0] == 0.25
    marked = line_of(ax, r"$\lambda_{\min}$")
    assert marked.get_ydata()[0] == min_eigenvalue(X)
    assert f"{min_eigenvalue(X):.4g}" in marked.get_label()
    assert ax.get_yscale() == "log"
    assert "squared units of X" in ax.get_ylabel()
    assert "12" in ax.get_xlabel()
    two_dimensional = SpectrumDisplay.from_data(flat(X).tolist(), step_size=3)
    np.testing.assert_array_equal(two_dimensional.eigenvalues, display.eigenvalues)
    assert not any("floor" in text for text in legend_of(two_dimensional.ax_))


def test_fewer_samples_than_coordinates():
    X = make_gaussian_sequences(7, 4, 3, random_state=0).data.astype(np.float32)
    display = SpectrumDisplay.from_data(X, noise_std=0.1)
    singular = np.linalg.svd(flat(X).astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(points_of(display.ax_, "eigenvalues")[1], singular**2 / 7)
    assert "zero, not drawn: 5\n(n = 7 < 12)" in legend_of(display.ax_)
    assert r"$\lambda_{\min}$ = 0" in legend_of(display.ax_)
    np.testing.assert_allclose(points_of(display.ax_, "under noise")[1][7:], 0.01)
    assert display.ax_.get_ylim()[0] > 1e-4


def test_scale_does_not_matter_and_zeros_are_counted():
    X = make_gaussian_sequences(90, 4, 3, random_state=0).data
    X[:, 1, 2] = 0
    expected = np.linalg.svd(flat(X), compute_uv=False) ** 2 / 90
    for scale in (1e-140, 1.0, 1e140):
        display = SpectrumDisplay.from_data(scale * X)
        np.testing.assert_allclose(
            display.eigenvalues[:11], expected[:11] * scale * scale, rtol=1e-9
        )
        assert display.eigenvalues[11] == 0
        assert "zero, not drawn: 1" in legend_of(display.ax_)
    nothing = SpectrumDisplay.from_data(np.zeros((5, 2, 2)))
    assert "zero, not drawn: 4" in legend_of(nothing.ax_)
    nothing.figure_.canvas.draw()


def test_chunks_of_rows_make_no_difference(monkeypatch):
    X = make_gaussian_sequences(90, 4, 3, random_state=0).data
    whole = SpectrumDisplay.from_data(X).eigenvalues
    monkeypatch.setattr("sklearn_rnnbound.spectrum._CHUNK_ROWS", 7)
    np.testing.assert_allclose(SpectrumDisplay.from_data(X).eigenvalues, whole, rtol=1e-12)


def test_spectrum_names_what_is_wrong():
    X = np.ones((6, 4))
    with pytest.raises(ValueError, match="4 columns, which is not a multiple of step_size=3"):
        SpectrumDisplay.from_data(X, step_size=3)
    with pytest.raises(ValueError, match=r"'noise_std' parameter of .*from_data must be"):
        SpectrumDisplay.from_data(X, noise_std=-1.0)
    with pytest.raises(ValueError, match="X contains NaN"):
        SpectrumDisplay.from_data(X * np.nan)
    with pytest.raises(ValueError, match="different lengths"):
        SpectrumDisplay.from_data([[[1.0]], [[1.0], [2.0]]])
    with pytest.raises(ValueError, match="at least one step"):
        SpectrumDisplay.from_data(np.ones((6, 0, 2)))


# All of them


def test_given_axes_are_used_and_no_style_is_touched(fitted):
    before = dict(mpl.rcParams)
    figure, ax = plt.subplots()
    display = fitted.bound_report_().plot(ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    spectrum = SpectrumDisplay.from_data(np.eye(4), ax=plt.subplots()[1])
    assert spectrum.figure_ is plt.gcf()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("wrong", [None, 5, "fitted", make_classifier(), [1], {"a": None}], ids=str)
@pytest.mark.parametrize(
    ("draw", "name", "kind"),
    [
        (BoundDecompositionDisplay, "report", "BoundReport"),
        (BoundDecompositionDisplay.from_report, "report", "BoundReport"),
        (
            lambda wrong: BoundCurveDisplay([1], [[wrong or 0]]),
            "an entry of reports",
            "BoundReport",
        ),
        (BoundCurveDisplay.from_cross_validation, "report", "CrossValidatedBoundReport"),
        (BoundCurveDisplay.from_curve, "curve", "BoundCurve"),
        (
            lambda wrong: BoundCurveDisplay.from_reports({8: wrong}, xlabel="steps"),
            "reports[8]",
            "CrossValidatedBoundReport",
        ),
        (MarginDistributionDisplay, "margins", "ndarray"),
        (
            lambda wrong: SpectrumDisplay(wrong, min_eigenvalue=1.0, n_samples=3),
            "eigenvalues",
            "ndarray",
        ),
    ],
)
def test_objects_that_cannot_be_drawn_are_named(draw, name, kind, wrong):
    with pytest.raises(TypeError, match=f"^{re.escape(name)} must be of type {kind}, .*; got"):
        draw(wrong)
    assert not plt.get_fignums()


def test_names_and_ranges_of_parameters_are_checked(noise_report):
    X, y = np.ones((4, 2, 2)), [0, 1] * 2
    for options, named in (
        ({"param_name": ["beta_w"], "param_range": [1.0]}, "param_name"),
        ({"param_name": "beta_w", "param_range": 1.0}, "param_range"),
    ):
        with pytest.raises(TypeError, match=f"'{named}' parameter of .*from_estimator must be"):
            BoundCurveDisplay.from_estimator(make_classifier(), X, y, **options)
    with pytest.raises(TypeError, match=r"'param' parameter of .*from_cross_validation must be"):
        BoundCurveDisplay.from_cross_validation(noise_report, param=["beta_w"])


def test_rows_and_tables_of_reports_are_named():
    with pytest.raises(TypeError, match="reports must be of type Sequence"):
        BoundCurveDisplay([1], None)
    with pytest.raises(TypeError, match="reports must be of type Mapping"):
        BoundCurveDisplay.from_reports([1], xlabel="steps")


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
def test_estimators_that_have_nothing_to_draw(draw):
    with pytest.raises(NotFittedError):
        draw(make_classifier())
    for wrong in (None, 5, "fitted"):
        with pytest.raises(ValueError, match=f"no RNNBoundClassifier in {type(wrong).__name__}"):
            draw(wrong)


def test_nothing_to_draw_and_nothing_to_draw_with(fitted, noise_report, monkeypatch):
    empty = BoundReport((), 0.0, None, 0.05)
    with pytest.raises(ValueError, match="no bound to draw"):
        empty.plot()
    with pytest.raises(ValueError, match="no bound to draw"):
        BoundCurveDisplay([1, 2], [[empty], [None]]).plot()
    with pytest.raises(ValueError, match="no bound to draw"):
        BoundCurveDisplay.from_reports({}, xlabel="steps L")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (
        fitted.bound_report_().plot,
        BoundCurveDisplay([1, 2], [[empty], [empty]]).plot,
        MarginDistributionDisplay(np.ones(3)).plot,
        SpectrumDisplay(np.ones(3), min_eigenvalue=1.0, n_samples=3).plot,
    ):
        with pytest.raises(ImportError, match=r"sklearn-rnnbound\[plots\]"):
            draw()
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[plots\]"):
        BoundCurveDisplay.from_estimator(None, None, None, param_name="a", param_range=[1])
