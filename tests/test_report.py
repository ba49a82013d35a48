"""Reports: lookup, text, frame."""

import sys

import numpy as np
import pytest
from conftest import make_classifier

from sklearn_rnnbound import Bound, BoundReport, Term


@pytest.fixture
def report():
    terms = (Term("empirical_risk", 0.25, "n^0"), Term("confidence", 1.0, "n^-1/2"))
    finite = Bound(
        "first", 1.25, "certified", terms, 0.5, 0.05, ("i.i.d.", "only here"), True, "why"
    )
    terms = (Term("empirical_risk", 0.5, "n^0"), Term("noise", np.inf, "n^0"), terms[1])
    infinite = Bound("second", np.inf, "plug_in", terms, 2.0, 0.05, ("i.i.d.",), True, "because")
    return BoundReport((finite, infinite), 0.125, 0.25, 0.05, omitted=("third needs test data",))


def test_lookup(report):
    assert report["second"].value == np.inf
    assert [bound.name for bound in report] == ["first", "second"]
    assert len(report) == 2
    with pytest.raises(KeyError, match="'third' is not in the report; it has first, second"):
        report["third"]


def test_bound_is_a_number_with_named_terms(report):
    bound = report["first"]
    assert float(bound) == 1.25
    assert bound.empirical_risk == 0.25
    assert bound.term("confidence") == 1.0
    with pytest.raises(KeyError):
        bound.term("noise")


def test_text(report):
    title, *lines = str(report).splitlines()
    assert title.startswith(
        "Bounds on P[error] at confidence 0.95 for each bound; train error 0.12"
    )
    assert title.endswith("test error 0.2500")
    assert lines == [
        "",
        "bound   value  kind       network  test error  empirical risk  noise  confidence  margin  "
        "vacuous",
        "-" * 97,
        "first    1.25  certified  trained        0.25            0.25      -           1     0.5  "
        "    yes",
        "second    inf  plug-in    trained        0.25             0.5    inf           1       2  "
        "    yes",
        "",
        "assumed by all",
        "  - i.i.d.",
        "",
        "first",
        "  - change with n: empirical_risk n^0, confidence n^-1/2",
        "  - only here",
        "  - vacuous (>= 1). why",
        "",
        "second",
        "  - change with n: empirical_risk n^0, noise n^0, confidence n^-1/2",
        "  - vacuous (>= 1). because",
        "",
        "left out",
        "  - third needs test data",
    ]


def test_text_without_bounds():
    text = str(BoundReport((), 0.5, None, 0.1, simultaneous=True))
    assert "all bounds together" in text
    assert "no bound applies" in text


def test_frame(report):
    frame = report.to_frame()
    assert frame.loc["first", "value"] == 1.25
    assert frame.loc["second", "noise"] == np.inf
    assert np.isnan(frame.loc["first", "noise"])
    assert frame["kind"].tolist() == ["certified", "plug-in"]


def test_frame_without_pandas_names_the_extra(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[tables\]"):
        report.to_frame()


def test_terms_of_a_real_report_sum_to_the_value(fitted):
    for margin in (None, 0.1, 10.0):
        for bound in fitted.bound_report_(margin=margin):
            assert sum(term.value for term in bound.terms) == pytest.approx(bound.value)


def test_share_of_delta_is_told(small):
    text = str(make_classifier(beta_u=1.0, beta_w=1.0).fit(*small).bound_report_())
    assert "beta_u = 1, fixed beforehand" in text
    assert "beta_v unconstrained" in text
    assert "of delta" in text


def test_a_curve_gives_rates_and_never_calls_an_estimate_certified(small):
    pytest.importorskip("pandas")
    pytest.importorskip("jinja2")
    X, y = small
    clf = make_classifier(noise_std=0.1, beta_u=1.0, beta_w=0.9, beta_v=1.0).fit(X, y)
    curve = clf.bound_curve_(X, y, fractions=(0.5, 1))
    kinds = {bound.name: bound.kind for bound in curve.reports[-1]}
    assert set(kinds.values()) == {"certified", "plug_in", "order_only"}
    frame = curve.to_frame()["kind"]
    lines = [line for line in str(curve).splitlines() if line.split()]
    for name, kind in kinds.items():
        shown = kind.replace("plug_in", "plug-in").replace("_", " ")
        assert set(frame[name]) == {shown}
        rows = [line for line in lines if line.split()[0] == name]
        assert len(rows) == 2
        assert all(("certified" in row) == (kind == "certified") for row in rows)
        assert any(line.startswith(f"  - {name}: change with n:") for line in lines)
    assert "peeling: change with n: empirical_risk n^0, complexity n^-1/2" in str(curve)
    assert "theorem3: change with n" in curve._repr_html_()
