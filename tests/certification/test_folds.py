"""Reports of cross-validations, against plain NumPy and counted pairs."""

import itertools
import sys

import numpy as np
import pytest

from sklearn_rnnbound import Bound, BoundReport, CrossValidatedBoundReport, Term
from sklearn_rnnbound.certification.folds import FoldReport, _kendall


def report_of(value, test_error, *, kind="certified", train_error=0.0, name="peeling", notes=()):
    terms = (Term("empirical_risk", value - 0.25, "n^0"), Term("confidence", 0.25, "n^-1/2"))
    bound = Bound(name, value, kind, terms, 1.0, 0.05, ("i.i.d.", *notes), value >= 1, "why")
    return BoundReport((bound,), train_error, test_error, 0.05, omitted=("x needs y",))


def fold_of(report, fold=0, failure="", **params):
    norms = {"beta_u": 1.0, "beta_w": 2.0, "beta_v": 3.0}
    return FoldReport(params, fold, 8, 4, 0.5, norms if report else {}, report, failure)


def folds_of(points, **options):
    return CrossValidatedBoundReport(
        tuple(fold_of(report_of(*point, **options), k) for k, point in enumerate(points))
    )


@pytest.fixture
def told():
    """Two candidates on three folds, with a failure and a bound of two kinds."""
    hostile = "<b>&_"
    folds = [
        fold_of(report_of(0.75, 0.5, train_error=0.25, notes=("a = 1",)), 0, name=hostile),
        fold_of(report_of(1.25, 0.5, train_error=0.25, notes=("a = 2",)), 1, name=hostile),
        fold_of(None, 2, "Traceback\nValueError: no <luck>", name=hostile),
        *(fold_of(report_of(2.0, 0.25, kind="plug_in"), k, name=None) for k in range(3)),
    ]
    return CrossValidatedBoundReport(tuple(folds), error_score=7.0)


# Frames


def test_frame_has_a_row_for_every_fold_and_bound(told):
    frame = told.to_frame()
    assert frame.columns.tolist() == [
        *("param_name", "fold", "n_train", "n_test", "bound", "value", "kind", "network"),
        *("train_error", "test_error", "gap", "empirical_risk", "confidence"),
        *("margin", "vacuous", "beta_u", "beta_w", "beta_v", "fit_time"),
    ]
    assert frame["kind"].tolist() == ["certified", "certified", "failed", *["plug-in"] * 3]
    assert frame["value"].tolist() == [0.75, 1.25, 7.0, 2.0, 2.0, 2.0]
    assert frame["gap"].tolist() == pytest.approx([0.25, 0.25, np.nan, *[0.25] * 3], nan_ok=True)
    assert frame["vacuous"].tolist() == [False, True, None, True, True, True]
    assert frame.loc[2, ["train_error", "empirical_risk", "margin", "beta_w"]].isna().all()
    assert frame.loc[0, ["beta_u", "beta_w", "beta_v", "fit_time"]].tolist() == [1, 2, 3, 0.5]


def test_errors_are_those_of_the_network_that_a_bound_speaks_of():
    report = report_of(0.75, 0.5, name="occam", train_error=0.25)
    fold = fold_of(BoundReport(report.bounds, 0.25, 0.5, 0.05, other_test_errors={"occam": 0.625}))
    assert fold.errors_of("occam") == (0.5, 0.625)
    assert fold_of(report_of(0.75, None, train_error=0.25)).errors_of("peeling") == pytest.approx(
        (0.25, np.nan), nan_ok=True
    )
    assert np.isnan(fold_of(None).errors_of("peeling")).all()
    row = CrossValidatedBoundReport((fold,)).to_frame().loc[0]
    assert (row["network"], row["gap"]) == ("rounded", 0.125)


def test_means_and_standard_errors():
    rng = np.random.default_rng(0)
    values, train, test = rng.uniform(0, 1, (3, 4, 3))
    reports = [
        [report_of(*numbers[:2], train_error=numbers[2]) for numbers in np.transpose(part)]
        for part in zip(values, test, train, strict=True)
    ]
    folds = [
        fold_of(one, k, beta_w=c) for c, row in enumerate(reports) for k, one in enumerate(row)
    ]
    summary = CrossValidatedBoundReport(tuple(folds)).summary()
    assert summary["param_beta_w"].tolist() == [0, 1, 2, 3]
    assert summary["n_folds"].tolist() == [3] * 4
    tables = {"value": values, "train_error": train, "test_error": test, "gap": test - train}
    for name, table in {**tables, "empirical_risk": values - 0.25}.items():
        mean = table.sum(1) / 3
        variance = ((table - mean[:, None]) ** 2).sum(1) / 2
        np.testing.assert_allclose(summary[f"mean_{name}"], mean)
        np.testing.assert_allclose(summary[f"se_{name}"], np.sqrt(variance / 3))


def test_means_leave_failures_out_and_tell_the_weakest_kind(told):
    summary = told.summary()
    assert summary["n_folds"].tolist() == [2, 3]
    assert summary["mean_value"].tolist() == [1.0, 2.0]
    assert summary["se_value"].tolist() == [0.25, 0.0]
    assert summary["kind"].tolist() == ["certified", "plug-in"]
    kinds = ["certified", "plug_in", "order_only"]
    for weakest, shown in [(1, "plug-in"), (2, "order only")]:
        for order in itertools.permutations(kinds[: weakest + 1]):
            folds = [fold_of(report_of(0.5, 0.1, kind=kind), k) for k, kind in enumerate(order)]
            report = CrossValidatedBoundReport(tuple(folds))
            assert report.summary()["kind"].tolist() == [shown]
            assert "certified" not in str(report).splitlines()[4]


def test_a_candidate_that_fails_on_every_fold():
    folds = [fold_of(None, k, "Error: no luck", a=1) for k in range(2)]
    folds += [fold_of(report_of(1.0, 0.5), k, a=2) for k in range(2)]
    report = CrossValidatedBoundReport(tuple(folds))
    summary = report.summary()
    assert summary["kind"].tolist() == ["failed", "certified"]
    assert summary["n_folds"].tolist() == [0, 2]
    assert np.isnan(summary["mean_value"][0])
    lines = str(report).splitlines()
    assert "  - fold 0 and 1, a=1: Error: no luck" in lines
    assert not any(line.split()[:1] == ["1"] for line in lines)


# Rank correlations


def counted_tau(x, y):
    """Kendall's tau-b by counting pairs."""
    score = ties_x = ties_y = total = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        sign_x, sign_y = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        score += sign_x * sign_y
        ties_x += sign_x == 0
        ties_y += sign_y == 0
        total += 1
    return score / ((total - ties_x) * (total - ties_y)) ** 0.5


def test_rank_correlation_over_candidates():
    rng = np.random.default_rng(0)
    values, gaps = rng.uniform(0, 1, (2, 5, 2))
    folds = [
        fold_of(report_of(values[c, k], gaps[c, k]), k, a=c) for c in range(5) for k in range(2)
    ]
    row = CrossValidatedBoundReport(tuple(folds)).rank_correlation().loc["peeling"]
    assert row["n_pairs"] == 5
    assert row["tau"] == pytest.approx(counted_tau(values.mean(1), gaps.mean(1)))


def test_rank_correlation_over_folds():
    points = [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2), (4.0, 0.4), (np.inf, 0.5), (4.0, 0.7)]
    row = folds_of(points).rank_correlation().loc["peeling"]
    x, y = zip(*(point for point in points if np.isfinite(point[0])), strict=True)
    assert row["n_pairs"] == 5
    assert row["tau"] == pytest.approx(counted_tau(x, y))
    # The ends solve (tau - t)^2 = z^2 2 (1 - t^2) / n.
    z, tau = 1.959963984540054, row["tau"]
    lower, upper = sorted(np.roots([1 + 2 * z**2 / 5, -2 * tau, tau**2 - 2 * z**2 / 5]))
    assert (row["lower"], row["upper"]) == pytest.approx((lower, upper))
    narrower = folds_of(points).rank_correlation(confidence=0.5).loc["peeling"]
    assert lower < narrower["lower"] < tau < narrower["upper"] < upper
    with pytest.raises(ValueError, match="'confidence' parameter"):
        folds_of(points).rank_correlation(confidence=95)


def test_equal_gaps_are_ties_whatever_their_rounding():
    gaps = [(0.3, 0.1), (0.4, 0.2), (0.5, 0.3), (0.6, 0.4)]
    assert len({a - b for a, b in gaps}) > 1
    folds = tuple(
        fold_of(report_of(1.0 + k, test, train_error=train), k)
        for k, (test, train) in enumerate(gaps)
    )
    assert np.isnan(CrossValidatedBoundReport(folds).rank_correlation()["tau"].item())


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1.0, 0.1)], (np.nan, np.nan, np.nan, 1)),
        ([(1.0, 0.1), (1.0, 0.2)], (np.nan, np.nan, np.nan, 2)),
        ([(1.0, 0.1), (2.0, 0.2), (np.inf, 0.3)], (1.0, -1.0, 1.0, 2)),
        ([(np.inf, 0.1), (np.inf, 0.2)], (np.nan, np.nan, np.nan, 0)),
    ],
)
def test_rank_correlation_of_few_pairs(points, expected):
    row = folds_of(points).rank_correlation().loc["peeling"]
    assert tuple(row) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("n_pairs", [4, 6, 12])
@pytest.mark.parametrize("tau", [0.0, 0.5, 0.9])
def test_the_interval_covers_tau_for_normal_and_other_laws(tau, n_pairs):
    rng = np.random.default_rng(0)
    n_rounds = 300
    correlation = np.sin(np.pi * tau / 2)
    x, noise = rng.normal(size=(2, n_rounds, n_pairs))
    normal = correlation * x + np.sqrt(1 - correlation**2) * noise
    # y = x on a share s and y = -x on the rest: pairs of one sort are in one order, pairs of both
    # sorts in either, so tau = s^2 - (1 - s)^2 = 2 s - 1.
    mixed = np.where(rng.random((n_rounds, n_pairs)) < (1 + tau) / 2, x, -x)
    for y in (normal, mixed):
        intervals = [_kendall(np.transpose(pairs), 0.9) for pairs in zip(x, y, strict=True)]
        covered = [i["lower"] <= tau <= i["upper"] for i in intervals]
        assert np.mean(covered) >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / n_rounds)


# Text, HTML, LaTeX


def test_text(told):
    assert str(told).splitlines() == [
        "Cross-validated bounds on P[error], 3 folds of 2 candidates, at confidence 0.95 for each "
        "bound of each fold; mean ± standard error",
        "",
        "param_name  bound    kind       network   folds     value  empirical risk  train error  "
        "test error       gap",
        "-" * 108,
        "     <b>&_  peeling  certified  trained  2 of 3  1 ± 0.25     0.75 ± 0.25     0.25 ± 0  "
        "   0.5 ± 0  0.25 ± 0",
        "         -  peeling  plug-in    trained  3 of 3     2 ± 0        1.75 ± 0        0 ± 0  "
        "  0.25 ± 0  0.25 ± 0",
        "",
        "how to read",
        "  - gap: test error less train error of the network that the bound speaks of",
        "  - a bound of a fold holds for the network of that fold; folds share samples, so means "
        "and",
        "    standard errors describe and bound nothing",
        "  - choosing a candidate by this table costs confidence that no bound in it pays; certify "
        "and",
        "    BoundSearch pay it",
        "  - plug-in: in one fold at least, an estimate stands for a population quantity",
        "",
        "failed",
        "  - fold 2, name=<b>&_: ValueError: no <luck>",
        "",
        "assumed by all",
        "  - i.i.d.",
        "",
        "peeling",
        "  - further lines differ from fit to fit: see the reports of the folds",
        "",
        "left out",
        "  - x needs y",
    ]
    assert repr(told) == str(told)


def test_text_has_the_rank_correlations():
    report = folds_of([(1.0, 0.1), (2.0, 0.3), (3.0, 0.2), (4.0, 0.4)])
    lines = str(report).splitlines()
    start = lines.index("Kendall's tau between bound and gap over the folds, 95 % interval")
    row = report.rank_correlation().loc["peeling"]
    assert lines[start + 2].split() == ["bound", "tau", "lower", "upper", "n", "pairs"]
    numbers = [f"{row[name]:.4g}" for name in ("tau", "lower", "upper")]
    assert lines[start + 4].split() == ["peeling", *numbers, "4"]
    assert "choosing a candidate" not in str(report)


def test_text_of_infinite_bounds_and_single_folds():
    report = folds_of([(np.inf, 0.5), (1.0, 0.5)])
    assert str(report).splitlines()[4].split()[3:7] == ["2", "of", "2", "inf"]
    summary = report.summary().iloc[0]
    assert summary["mean_value"] == np.inf
    assert np.isnan(summary["se_value"])
    single = folds_of([(1.0, 0.5)])
    assert "±" not in str(single).splitlines()[4]


def test_html_escapes(told):
    html = told._repr_html_()
    assert "&lt;b&gt;&amp;_" in html
    assert "<b>&_" not in html
    assert "no &lt;luck&gt;" in html
    assert "1 ± 0.25" in html
    assert "plug-in" in html
    assert "Kendall" in folds_of([(1.0, 0.1), (2.0, 0.3)])._repr_html_()


def test_latex_escapes(told):
    latex = told.to_latex()
    assert r"<b>\&\_ & peeling & certified & trained & 2 of 3 & 1 $\pm$ 0.25 &" in latex
    assert r"param\_name" in latex
    assert r"\toprule" in latex
    assert "±" not in latex


def test_without_pandas_and_jinja2(told, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for method in ("to_frame", "summary", "rank_correlation", "to_latex"):
        with pytest.raises(ImportError, match=rf"{method} needs pandas.*\[tables\]"):
            getattr(told, method)()
    assert told._repr_html_() is None
    assert "peeling" in str(told)


def test_a_report_without_bounds():
    report = CrossValidatedBoundReport((fold_of(BoundReport((), 0.0, 0.5, 0.05)),))
    assert "no bound applies" in str(report)
    assert "confidence 0.95" in str(report)
    assert len(report.to_frame()) == len(report.summary()) == len(report.rank_correlation()) == 0
    assert "tabular" in report.to_latex()
