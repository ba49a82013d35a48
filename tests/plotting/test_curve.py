"""Curves of bounds and errors, against numbers computed apart from them."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import make_classifier
from pictures import closed_figures as closed_figures
from pictures import flat, legend_of, line_of, made_report, points_of
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_rnnbound import BoundReport, CrossValidatedBoundReport, cross_validate_bounds
from sklearn_rnnbound.certification.folds import FoldReport
from sklearn_rnnbound.plotting import BoundCurveDisplay
from sklearn_rnnbound.plotting._positions import Positions


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


def test_failed_fits_are_left_out_and_counted():
    rows = [[made_report(2.0, 0.1, 0.2), None, made_report(4.0, 0.2, 0.2)], [None] * 3]
    rows += [[made_report(value, 0.3, 0.2) for value in (5.0, 6.0, 7.0)]]
    report = made_folds([{"noise_std": sigma} for sigma in (0.0, 0.1, 0.2)], rows)
    display = BoundCurveDisplay.from_cross_validation(report)
    np.testing.assert_allclose(points_of(display.ax_, "peeling"), [[0.0, 0.2], [3.0, 6.0]])
    drawn = points_of(display.error_ax_, "train error")
    np.testing.assert_allclose(drawn, [[0.0, 0.2], [0.15, 0.3]])
    assert "4 of 9 fits failed:\nleft out" in legend_of(display.error_ax_)


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
    values = [{"beta_w": b} for b in (None, 0.5, (0.125, 0.5), 1.0)]
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
    assert {label.get_rotation() for label in display.error_ax_.get_xticklabels()} == {30.0}
    assert ticks == {"none": none, "(0.125, 0.5)": pair, "1": 1.0, "0.5": 0.5}
    assert display.error_ax_.get_xlabel() == r"radius $\beta_W$ of the rows of W"
    for bar, mean in zip(bars.lines[2][0].get_segments(), (1.5, 3.5), strict=True):
        np.testing.assert_allclose(bar[:, 1], [mean - 0.5, mean + 0.5])


def test_categories_stand_side_by_side_with_every_fit():
    rows = [[made_report(2.0, 0.1, 0.2), made_report(6.0, 0.3, 0.2)] for _ in range(2)]
    rows.append([made_report(np.inf, 0.1, 0.2), made_report(6.0, 0.3, 0.2)])
    losses = ("ramp", "cross_entropy", "hinge")
    display = BoundCurveDisplay.from_cross_validation(
        made_folds([{"loss": loss} for loss in losses], rows)
    )
    ax = display.error_ax_
    assert [label.get_text() for label in ax.get_xticklabels()] == list(losses)
    assert ax.get_xlabel() == "loss"
    means = [bars.lines[0] for bars in ax.containers]
    assert len({round(line.get_xdata()[0], 6) for line in means}) == 3
    np.testing.assert_allclose(means[1].get_ydata(), [0.2] * 3)
    dots = [line for line in ax.get_lines() if line.get_marker() == "." and len(line.get_xdata())]
    np.testing.assert_allclose(dots[1].get_ydata(), [0.1, 0.3] * 3)
    assert "single fits" in legend_of(ax)
    # Of an infinite mean the sign of infinity is shown alone.
    (dots,) = [line for line in display.ax_.get_lines() if line.get_marker() == "."]
    np.testing.assert_allclose(dots.get_ydata(), [2.0, 6.0] * 2)


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


def test_a_candidate_may_lack_a_parameter_or_a_bound():
    rows = [[made_report(2.0, 0.1, 0.2)], [made_report(3.0, 0.1, 0.2)]]
    rows.append([made_report(4.0, 0.1, 0.2, name="theorem3")])
    report = made_folds([{"noise_std": 0.5}, {"noise_std": 1.0}, {}], rows)
    display = BoundCurveDisplay.from_cross_validation(report)
    labels = [label.get_text() for label in display.error_ax_.get_xticklabels()]
    assert sorted(labels) == ["0.5", "1", "as given"]
    np.testing.assert_array_equal(points_of(display.ax_, "peeling"), [[0.5, 1.0], [2.0, 3.0]])
    (bars,) = display.ax_.containers
    np.testing.assert_array_equal(bars.lines[0].get_ydata(), [4.0])


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


def test_two_axes_or_one(noise_report):
    figure, axes = plt.subplots(2)
    display = BoundCurveDisplay.from_cross_validation(noise_report, ax=axes)
    assert (display.ax_, display.error_ax_, display.figure_) == (*axes, figure)
    assert (axes[0].get_xlabel(), axes[1].get_xlabel()[:11]) == ("", "input noise")
    _, ax = plt.subplots()
    display = BoundCurveDisplay.from_cross_validation(noise_report, ax=ax)
    assert (display.ax_, display.error_ax_) == (ax, None)
    assert ax.get_xlabel().startswith("input noise")
    with pytest.raises(ValueError, match="ax must be one Axes or a pair of Axes, got 3"):
        BoundCurveDisplay.from_cross_validation(noise_report, ax=plt.subplots(3)[1])


def test_cross_validation_of_a_pipeline(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_v=1.0, min_eigenvalue=0.0, margin=1.0)
    pipeline = make_pipeline(StandardScaler(), clf)
    name, values = "rnnboundclassifier__beta_w", [0.5, 1.0, None]
    options = {"cv": 3, "methods": ["peeling", "theorem2"]}
    display = BoundCurveDisplay.from_estimator(
        pipeline, flat(X), y, param_name=name, param_range=values, **options
    )
    report = cross_validate_bounds(pipeline, flat(X), y, param_grid={name: values}, **options)
    means = report.summary().query("bound == 'peeling'")[:2]
    np.testing.assert_allclose(
        points_of(display.ax_, "peeling (plug-in)"), [[0.5, 1.0], means["mean_value"]]
    )
    drawn = points_of(display.error_ax_, "test error")[1]
    np.testing.assert_allclose(drawn, means["mean_test_error"])
    assert "theorem2 (plug-in): infinite" in legend_of(display.ax_)
    for half in ({"param_name": "beta_w"}, {"param_range": [1.0]}):
        with pytest.raises(ValueError, match="param_name and param_range go together"):
            BoundCurveDisplay.from_estimator(clf, X, y, **half)


def test_curve_over_n(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0).fit(X, y)
    curve = clf.bound_curve_(X, y, fractions=(0.5, 1), methods=["peeling", "theorem2", "zhang2018"])
    display = BoundCurveDisplay.from_curve(curve)
    labels = [line.get_label() for line in display.ax_.get_lines()]
    assert labels[:2] == ["peeling (certified)", "theorem2 (plug-in)"]
    assert not any("zhang" in label for label in labels)
    bounds = [report["peeling"].value for report in curve.reports]
    np.testing.assert_allclose(points_of(display.ax_, "peeling"), [[30, 60], bounds])
    errors = [report.train_error for report in curve.reports]
    np.testing.assert_allclose(points_of(display.error_ax_, "train error")[1], errors)
    assert legend_of(display.error_ax_) == ["train error"]


def test_curve_over_n_of_a_pipeline_and_of_a_search(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=1.0, beta_v=1.0, margin=1.0, min_eigenvalue=0.0)
    options = {"fractions": (0.5, 1), "methods": ["peeling"]}
    pipeline = make_pipeline(StandardScaler(), clf).fit(flat(X), y)
    scaled = StandardScaler().fit_transform(flat(X))
    plain = pipeline[-1].bound_curve_(scaled, y, **options)
    search = GridSearchCV(clf, {"beta_w": [0.5, 1.0]}, cv=2).fit(X, y)
    half = search.best_estimator_.bound_curve_(X, y, delta=0.025, **options)
    for estimator, data, label, curve in (
        (pipeline, flat(X), "peeling (plug-in)", plain),
        (search, X, "peeling (certified)", half),
    ):
        display = BoundCurveDisplay.from_estimator(estimator, data, y, **options)
        expected = [report["peeling"].value for report in curve.reports]
        np.testing.assert_allclose(points_of(display.ax_, label)[1], expected)


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


def test_reports_of_another_kind_are_named():
    report = made_report(1.0, 0.1, 0.2)
    for draw, name, kind in (
        (BoundCurveDisplay.from_cross_validation, "report", "CrossValidatedBoundReport"),
        (BoundCurveDisplay.from_curve, "curve", "BoundCurve"),
        (
            lambda report: BoundCurveDisplay.from_reports({8: report}, xlabel="steps"),
            r"reports\[8\]",
            "CrossValidatedBoundReport",
        ),
    ):
        with pytest.raises(
            TypeError, match=f"^{name} must be of type {kind}, which .*; got Bounds"
        ):
            draw(report)


def test_nothing_to_draw():
    empty = BoundReport((), 0.0, None, 0.05)
    with pytest.raises(ValueError, match="no bound to draw"):
        BoundCurveDisplay([1, 2], [[empty], [None]]).plot()
    with pytest.raises(ValueError, match="no bound to draw"):
        BoundCurveDisplay.from_reports({}, xlabel="steps L")
