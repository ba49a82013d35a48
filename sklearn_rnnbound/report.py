"""Tables of bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sklearn_rnnbound.bounds import Bound
from sklearn_rnnbound.bounds._bound import confidence_text
from sklearn_rnnbound.tables import (
    KINDS,
    bullets,
    formatted,
    html_list,
    network_of,
    pandas_for,
    styled,
    table,
    term_names,
)

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_rnnbound.plotting import BoundCurveDisplay, BoundDecompositionDisplay

__all__ = ["BoundCurve", "BoundReport"]


@dataclass(frozen=True, repr=False)
class BoundReport:
    """Bounds of one classifier, side by side.

    Parameters
    ----------
    bounds : tuple of Bound
        The bounds, in the order asked for.
    train_error : float
        Share of errors on the training sample.
    test_error : float or None
        Share of errors on the test data, when they were given; of the trained network.
    delta : float
        Probability with which each bound, or with `simultaneous` any of them, may fail.
    simultaneous : bool
        Whether the bounds hold all together rather than each alone.
    omitted : tuple of str
        One line for every bound that was left out, saying why.
    other_test_errors : dict
        Test errors of the rounded and of the randomised network, by the name of their bounds.
    """

    bounds: tuple[Bound, ...]
    train_error: float
    test_error: float | None
    delta: float
    simultaneous: bool = False
    omitted: tuple[str, ...] = ()
    other_test_errors: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Bound:
        for bound in self.bounds:
            if bound.name == name:
                return bound
        available = ", ".join(bound.name for bound in self.bounds)
        raise KeyError(f"{name!r} is not in the report; it has {available or 'no bound'}")

    def __contains__(self, name: object) -> bool:
        return any(bound.name == name for bound in self.bounds)

    def __iter__(self) -> Iterator[Bound]:
        return iter(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds)

    def test_error_of(self, name: str) -> float | None:
        """Test error of the classifier that a bound speaks of.

        Parameters
        ----------
        name : str
            Name of the bound.

        Returns
        -------
        error : float or None
            Share of wrong labels; None without test data.

        Raises
        ------
        KeyError
            When the report has no such bound.
        """
        return self.other_test_errors.get(self[name].name, self.test_error)

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for bound in self.bounds:
            values = {term.name: term.value for term in bound.terms}
            terms = {name: values.get(name) for name in term_names(self.bounds)}
            error = self.test_error_of(bound.name)
            rows.append(
                {
                    "bound": bound.name,
                    "value": bound.value,
                    "kind": KINDS[bound.kind],
                    "network": network_of(bound.name),
                    **({} if error is None else {"test_error": error}),
                    **terms,
                    "margin": bound.margin,
                    "vacuous": None if bound.kind == "order_only" else bound.vacuous,
                }
            )
        return rows

    def to_frame(self) -> pd.DataFrame:
        """One row per bound, with its terms as columns.

        Returns
        -------
        frame : pandas.DataFrame
            Indexed by the name of the bound.

        Raises
        ------
        ImportError
            Without pandas, which the extra ``tables`` brings.
        """
        frame = pandas_for("to_frame").DataFrame(self._rows())
        return frame.set_index("bound") if len(frame) else frame

    def _style(self, method: str, language: str) -> Any:
        """The table for pandas' Styler, as readers should see it."""
        pandas_for(method)
        frame = self.to_frame()
        frame.columns = [column.replace("_", " ") for column in frame.columns]
        return styled(frame, self._title(), method=method, language=language)

    def _repr_html_(self) -> str | None:
        """Table for notebooks; None, so that the text is shown, without pandas and jinja2."""
        try:
            style = self._style("_repr_html_", "html")
        except ImportError:
            return None
        return style.to_html() + html_list(self._remarks())

    def to_latex(self) -> str:
        """The table as a LaTeX ``table`` with a booktabs ``tabular``.

        Returns
        -------
        latex : str
            Source; it needs the package booktabs.

        Raises
        ------
        ImportError
            Without pandas and jinja2, which the extra ``tables`` brings.
        """
        return self._style("to_latex", "latex").to_latex(hrules=True)

    def plot(self, **kwargs: Any) -> BoundDecompositionDisplay:
        """Draw the terms of every bound; see :class:`~.plotting.BoundDecompositionDisplay`.

        Parameters
        ----------
        **kwargs
            Passed to :meth:`.BoundDecompositionDisplay.from_report`.

        Returns
        -------
        display : BoundDecompositionDisplay
            The picture.
        """
        from sklearn_rnnbound.plotting import BoundDecompositionDisplay

        return BoundDecompositionDisplay.from_report(self, **kwargs)

    def _shared_assumptions(self) -> list[str]:
        if len(self.bounds) < 2:
            return []
        first, *others = (bound.assumptions for bound in self.bounds)
        return [line for line in first if all(line in lines for lines in others)]

    def _title(self) -> str:
        errors = f"train error {self.train_error:.4f}"
        if self.test_error is not None:
            errors += f", test error {self.test_error:.4f}"
        scope = "all bounds together" if self.simultaneous else "each bound"
        return (
            f"Bounds on P[error] at confidence {confidence_text(self.delta)} for {scope}; {errors}"
        )

    def _remarks(self) -> list[tuple[str, list[str]]]:
        """Headings with the lines below them: assumptions, rates, reasons, omissions."""
        shared = self._shared_assumptions()
        remarks = [("assumed by all", shared)]
        for bound in self.bounds:
            own = [line for line in bound.assumptions if line not in shared]
            vacuous = [f"vacuous (>= 1). {bound.reason}"] if bound.vacuous else []
            remarks.append((bound.name, [_rates(bound), *own, *vacuous]))
        remarks.append(("left out", list(self.omitted)))
        return [(heading, lines) for heading, lines in remarks if lines]

    def __str__(self) -> str:
        lines = [self._title(), "", *table([formatted(row) for row in self._rows()])]
        for heading, remarks in self._remarks():
            lines += ["", heading, *bullets(remarks)]
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class BoundCurve:
    """Bounds of one network over the number of samples.

    Parameters
    ----------
    n_samples : tuple of int
        Sizes of the nested parts of the training data, increasing.
    reports : tuple of BoundReport
        The bounds on each of them.
    """

    n_samples: tuple[int, ...]
    reports: tuple[BoundReport, ...]

    def _rows(self) -> list[dict[str, Any]]:
        bounds = [bound for report in self.reports for bound in report]
        columns = dict.fromkeys(["bound", "n", "value", "kind", *term_names(bounds)])
        return [
            columns
            | {"bound": name, "n": n, "value": bound.value, "kind": KINDS[bound.kind]}
            | {term.name: term.value for term in bound.terms}
            | {"margin": bound.margin}
            for name in dict.fromkeys(bound.name for bound in bounds)
            for n, report in zip(self.n_samples, self.reports, strict=True)
            for bound in report
            if bound.name == name
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row per bound and size, with the terms as columns.

        Returns
        -------
        frame : pandas.DataFrame
            Indexed by the name of the bound and the number of samples ``n``.

        Raises
        ------
        ImportError
            Without pandas, which the extra ``tables`` brings.
        """
        frame = pandas_for("to_frame").DataFrame(self._rows())
        return frame.set_index(["bound", "n"]) if len(frame) else frame

    def plot(self, **kwargs: Any) -> BoundCurveDisplay:
        """Draw the bounds over n; see :class:`~.plotting.BoundCurveDisplay`.

        Parameters
        ----------
        **kwargs
            Passed to :meth:`.BoundCurveDisplay.from_curve`.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.
        """
        from sklearn_rnnbound.plotting import BoundCurveDisplay

        return BoundCurveDisplay.from_curve(self, **kwargs)

    def _repr_html_(self) -> str | None:
        """Table for notebooks; None, so that the text is shown, without pandas and jinja2."""
        try:
            frame = self.to_frame()
            style = styled(frame, self._title(), method="_repr_html_", language="html")
        except ImportError:
            return None
        return style.to_html() + html_list([("rates", self._rates())])

    def _title(self) -> str:
        confidence = 1 - self.reports[0].delta
        return f"Bounds on P[error] at confidence {confidence:g} for each, on parts of the data"

    def _rates(self) -> list[str]:
        """How the terms of every bound are to change with n."""
        bounds = {bound.name: bound for report in self.reports for bound in report}
        return [f"{name}: {_rates(bound)}" for name, bound in bounds.items()]

    def __str__(self) -> str:
        rows = table([formatted(row) for row in self._rows()])
        return "\n".join([self._title(), "", *rows, "", "rates", *bullets(self._rates())])

    __repr__ = __str__


def _rates(bound: Bound) -> str:
    return "change with n: " + ", ".join(f"{term.name} {term.rate}" for term in bound.terms)
