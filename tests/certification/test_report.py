"""Reports and curves of bounds: lookup, frame, text, HTML, LaTeX."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import make_classifier

from sklearn_rnnbound import Bound, BoundCurve, BoundReport, Term


@pytest.fixture
def report():
    """One bound of every kind, and characters that HTML and LaTeX know."""
    terms = (Term("empirical_risk", 0.25, "n^0"), Term("confidence", 0.5, "n^-1/2"))
    certified = Bound(
        "pac_bayes", 0.75, "certified", terms, 0.5, 0.05, ("i.i.d.", "a < b & c"), False, ""
    )
    terms = (Term("empirical_risk", 0.5, "n^0"), Term("noise", np.inf, "n^0"), terms[1])
    estimate = Bound(
        "a<b>&_c", np.inf, "plug_in", terms, 2.0, 0.05, ("i.i.d.",), True, "x < y & 100%"
    )
    terms = (Term("order", 7e5, "n^-1/2"),)
    order = Bound("chen2019", 7e5, "order_only", terms, 1.0, None, ("i.i.d.",), True, "")
    return BoundReport(
        (certified, estimate, order),
        train_error=0.125,
        test_error=0.25,
        delta=0.05,
        omitted=("occam needs X & y <now>",),
        other_test_errors={"pac_bayes": 0.375},
    )


@pytest.fixture
def curve(report):
    half = replace(report, bounds=report.bounds[:1], test_error=None)
    return BoundCurve((30, 60), (half, replace(half, bounds=report.bounds[:2])))


EMPTY = BoundReport((), 0.5, None, 0.1, simultaneous=True, omitted=("all < of them",))


def test_lookup(report):
    assert report["a<b>&_c"].value == np.inf
    assert [bound.name for bound in report] == ["pac_bayes", "a<b>&_c", "chen2019"]
    assert len(report) == 3
    assert "chen2019" in report
    with pytest.raises(KeyError, match="'third' is not in the report; it has pac_bayes, a<b>&_c"):
        report["third"]
    with pytest.raises(KeyError, match="it has no bound"):
        EMPTY["third"]


def test_frame(report):
    frame = report.to_frame()
    assert frame.index.tolist() == [bound.name for bound in report]
    assert frame.columns.tolist() == [
        *("value", "kind", "network", "test_error", "empirical_risk", "noise", "order"),
        *("confidence", "margin", "vacuous"),
    ]
    assert frame["value"].tolist() == [0.75, np.inf, 7e5]
    assert frame["kind"].tolist() == ["certified", "plug-in", "order only"]
    assert frame["network"].tolist() == ["randomised", "trained", "trained"]
    assert frame["test_error"].tolist() == [0.375, 0.25, 0.25]
    assert frame["vacuous"].tolist() == [False, True, None]
    assert frame.loc["a<b>&_c", "noise"] == np.inf
    assert np.isnan(frame.loc["pac_bayes", "noise"])
    assert "test_error" not in replace(report, test_error=None, other_test_errors={}).to_frame()
    assert len(EMPTY.to_frame()) == 0


def test_text(report):
    assert str(report).splitlines() == [
        "Bounds on P[error] at confidence 0.95 for each bound; train error 0.1250, test error "
        "0.2500",
        "",
        "bound      value  kind        network     test error  empirical risk  noise  order  "
        "confidence  margin  vacuous",
        "-" * 111,
        "pac_bayes   0.75  certified   randomised       0.375            0.25      -      -  "
        "       0.5     0.5       no",
        "a<b>&_c      inf  plug-in     trained           0.25             0.5    inf      -  "
        "       0.5       2      yes",
        "chen2019   7e+05  order only  trained           0.25               -      -  7e+05  "
        "         -       1        -",
        "",
        "assumed by all",
        "  - i.i.d.",
        "",
        "pac_bayes",
        "  - change with n: empirical_risk n^0, confidence n^-1/2",
        "  - a < b & c",
        "",
        "a<b>&_c",
        "  - change with n: empirical_risk n^0, noise n^0, confidence n^-1/2",
        "  - vacuous (>= 1). x < y & 100%",
        "",
        "chen2019",
        "  - change with n: order n^-1/2",
        "  - vacuous (>= 1).",
        "",
        "left out",
        "  - occam needs X & y <now>",
    ]
    assert repr(report) == str(report)
    assert "assumed by all" not in str(replace(report, bounds=report.bounds[:1]))
    assert str(EMPTY).splitlines()[0].endswith("0.9 for all bounds together; train error 0.5000")
    assert "no bound applies" in str(EMPTY)


def html_rows(html):
    return [
        [cell.split(">", 1)[1].split("<")[0].strip() for cell in row.split("<t")[1:]]
        for row in html.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    ]


def test_html(report):
    html = report._repr_html_()
    rows = html_rows(html)
    assert [row[0] for row in rows] == ["pac_bayes", "a&lt;b&gt;&amp;_c", "chen2019"]
    assert [row[2] for row in rows] == ["certified", "plug-in", "order only"]
    assert [row[-1] for row in rows] == ["no", "yes", "-"]
    assert "at confidence 0.95" in html
    assert "vacuous (&gt;= 1). x &lt; y &amp; 100%" in html
    assert "occam needs X &amp; y &lt;now&gt;" in html
    for raw in ("<now>", "<b>&", "a < b", "b & c"):
        assert raw not in html
    # A column without gaps has another type in pandas.
    stated = replace(report, bounds=report.bounds[:2])
    assert [row[-1] for row in html_rows(stated._repr_html_())] == ["no", "yes"]
    assert "all &lt; of them" in EMPTY._repr_html_()


def test_latex(report):
    latex = report.to_latex()
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrllrrrrrrl}"):
        assert part in latex
    lines = [line for line in latex.split(r"\midrule")[1].splitlines() if "&" in line]
    assert [line.split(" & ")[0] for line in lines] == [r"pac\_bayes", r"a<b>\&\_c", "chen2019"]
    assert [line.split(" & ")[2] for line in lines] == ["certified", "plug-in", "order only"]
    assert [line.split(" & ")[-1] for line in lines] == [r"no \\", r"yes \\", r"- \\"]
    assert "_" not in latex.replace(r"\_", "")
    assert r"\caption{Bounds on P[error] at confidence 0.95" in latex


def test_curve(curve):
    frame = curve.to_frame()
    assert frame.index.names == ["bound", "n"]
    assert frame.index.tolist() == [("pac_bayes", 30), ("pac_bayes", 60), ("a<b>&_c", 60)]
    assert frame.columns.tolist() == [
        *("value", "kind", "empirical_risk", "noise", "confidence", "margin")
    ]
    assert frame["value"].tolist() == [0.75, 0.75, np.inf]
    assert str(curve).splitlines() == [
        "Bounds on P[error] at confidence 0.95 for each, on parts of the data",
        "",
        "bound       n  value  kind       empirical risk  noise  confidence  margin",
        "-" * 74,
        "pac_bayes  30   0.75  certified            0.25      -         0.5     0.5",
        "pac_bayes  60   0.75  certified            0.25      -         0.5     0.5",
        "a<b>&_c    60    inf  plug-in               0.5    inf         0.5       2",
        "",
        "rates",
        "  - pac_bayes: change with n: empirical_risk n^0, confidence n^-1/2",
        "  - a<b>&_c: change with n: empirical_risk n^0, noise n^0, confidence n^-1/2",
    ]
    assert "pac_bayes: change with n" in curve._repr_html_()
    assert r"a<b>\&\_c & 60 & inf & plug-in" in curve.to_latex()


def test_curve_without_bounds():
    curve = BoundCurve((10,), (EMPTY,))
    assert "no bound applies" in str(curve)
    assert len(curve.to_frame()) == 0


def test_without_pandas_the_text_is_shown(report, curve, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for shown in (report, curve):
        assert shown._repr_html_() is None
        for method in ("to_frame", "to_latex"):
            with pytest.raises(
                ImportError, match=rf"{method} needs pandas.*sklearn-rnnbound\[tables\]"
            ):
                getattr(shown, method)()
        assert "certified" in str(shown)


def test_without_jinja2_the_text_is_shown(report, monkeypatch):
    def absent(self):
        raise ImportError("no jinja2")

    monkeypatch.setattr(pd.DataFrame, "style", property(absent))
    assert report._repr_html_() is None
    with pytest.raises(ImportError, match=r"to_latex needs jinja2.*sklearn-rnnbound\[tables\]"):
        report.to_latex()


def test_terms_of_a_real_report_sum_to_the_value(fitted):
    for margin in (None, 0.1, 10.0):
        for bound in fitted.bound_report_(margin=margin):
            assert sum(term.value for term in bound.terms) == pytest.approx(bound.value)


def test_share_of_delta_is_told(small):
    text = str(make_classifier(beta_u=1.0, beta_w=1.0).fit(*small).bound_report_())
    assert "beta_u = 1, fixed beforehand" in text
    assert "beta_v unconstrained" in text
    assert "of delta" in text
