"""Tables of bounds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from sklearn_rnnbound.bounds import Bound

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BoundCurve", "BoundReport"]

# Bounds that speak of another classifier than the trained network.
_CLASSIFIERS = {"occam": "rounded", "pac_bayes": "randomised"}
_KINDS = {"certified": "certified", "plug_in": "plug-in", "order_only": "order only"}


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
        """Test error of the classifier that a bound speaks of; None without test data."""
        return self.other_test_errors.get(name, self.test_error)

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for bound in self.bounds:
            values = {term.name: term.value for term in bound.terms}
            terms = {name: values.get(name) for name in _term_names(self.bounds)}
            error = self.test_error_of(bound.name)
            rows.append(
                {
                    "bound": bound.name,
                    "value": bound.value,
                    "kind": _KINDS[bound.kind],
                    "network": _CLASSIFIERS.get(bound.name, "trained"),
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
        frame = _pandas("to_frame").DataFrame(self._rows())
        return frame.set_index("bound") if len(frame) else frame

    def _style(self, method: str) -> Any:
        """The table for pandas' Styler, as readers should see it."""
        _pandas(method)
        frame = self.to_frame()
        frame.columns = [column.replace("_", " ") for column in frame.columns]
        try:
            style = frame.style
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"{method} needs jinja2: pip install 'sklearn-rnnbound[tables]'"
            ) from error
        return style.format(_cell).set_caption(self._title())

    def _repr_html_(self) -> str | None:
        """Table for notebooks; None, so that the text is shown, without pandas and jinja2."""
        try:
            style = self._style("_repr_html_")
        except ImportError:
            return None
        style = style.format(_cell, escape="html").format_index(escape="html", axis=0)
        return style.to_html() + _html_list(self._remarks())

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
        style = self._style("to_latex")
        style = style.format(_cell, escape="latex").format_index(escape="latex", axis=0)
        return style.format_index(escape="latex", axis=1).to_latex(hrules=True)

    def plot(self, **kwargs: Any) -> Any:
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
        return f"Bounds on P[error] at confidence {1 - self.delta:g} for {scope}; {errors}"

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
        lines = [self._title(), "", *_table([_formatted(row) for row in self._rows()])]
        for heading, remarks in self._remarks():
            lines += ["", heading, *_bullets(remarks)]
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
        columns = dict.fromkeys(["bound", "n", "value", "kind", *_term_names(bounds)])
        return [
            columns
            | {"bound": name, "n": n, "value": bound.value, "kind": _KINDS[bound.kind]}
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
        frame = _pandas("to_frame").DataFrame(self._rows())
        return frame.set_index(["bound", "n"]) if len(frame) else frame

    def plot(self, **kwargs: Any) -> Any:
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
            style = self.to_frame().style
        except (ImportError, AttributeError):
            return None
        return style.format(_cell, escape="html").set_caption(self._title()).to_html()

    def _title(self) -> str:
        confidence = 1 - self.reports[0].delta
        return f"Bounds on P[error] at confidence {confidence:g} for each, on parts of the data"

    def __str__(self) -> str:
        return "\n".join([self._title(), "", *_table([_formatted(row) for row in self._rows()])])

    __repr__ = __str__


def _term_names(bounds: Iterable[Bound]) -> list[str]:
    names = dict.fromkeys(term.name for bound in bounds for term in bound.terms)
    # The confidence term, which every bound has, ends the row.
    return sorted(names, key=lambda name: name == "confidence")


def _pandas(method: str) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"{method} needs pandas: pip install 'sklearn-rnnbound[tables]'"
        ) from error
    return pd


def _html_list(remarks: list[tuple[str, list[str]]]) -> str:
    return "".join(
        f"<p><b>{escape(heading)}</b></p><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in lines)
        + "</ul>"
        for heading, lines in remarks
    )


def _rates(bound: Bound) -> str:
    return "change with n: " + ", ".join(f"{term.name} {term.rate}" for term in bound.terms)


def _bullets(texts: list[str]) -> list[str]:
    wrapper = textwrap.TextWrapper(96, initial_indent="  - ", subsequent_indent="    ")
    return [line for text in texts for line in wrapper.wrap(text)]


def _cell(value: Any) -> str:
    # pandas turns None among numbers into nan.
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _formatted(row: dict[str, Any]) -> dict[str, str]:
    return {column.replace("_", " "): _cell(value) for column, value in row.items()}


def _table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a table: text columns to the left, numbers to the right."""
    if not rows:
        return ["no bound applies"]
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}

    def line(row: dict[str, str]) -> str:
        cells = (
            cell.ljust(widths[column])
            if column in ("bound", "kind", "network")
            else cell.rjust(widths[column])
            for column, cell in row.items()
        )
        return "  ".join(cells).rstrip()

    header = line({column: column for column in rows[0]})
    return [header, "-" * len(header), *map(line, rows)]
