"""Tables of bounds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklearn_rnnbound.bounds import Bound

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BoundReport"]

_KINDS = {"certified": "certified", "plug_in": "plug-in", "order_only": "order only"}


@dataclass(frozen=True)
class BoundReport:
    """Bounds of one classifier, side by side.

    Parameters
    ----------
    bounds : tuple of Bound
        The bounds, in the order asked for.
    train_error : float
        Share of errors on the training sample.
    test_error : float or None
        Share of errors on the test data, when they were given.
    delta : float
        Probability with which each bound, or with `simultaneous` any of them, may fail.
    simultaneous : bool
        Whether the bounds hold all together rather than each alone.
    omitted : tuple of str
        One line for every bound that was left out, saying why.
    """

    bounds: tuple[Bound, ...]
    train_error: float
    test_error: float | None
    delta: float
    simultaneous: bool = False
    omitted: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Bound:
        for bound in self.bounds:
            if bound.name == name:
                return bound
        available = ", ".join(bound.name for bound in self.bounds)
        raise KeyError(f"{name!r} is not in the report; it has {available or 'no bound'}")

    def __iter__(self) -> Iterator[Bound]:
        return iter(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds)

    def _term_names(self) -> list[str]:
        names = dict.fromkeys(term.name for bound in self.bounds for term in bound.terms)
        # The confidence term, which every bound has, ends the row.
        return sorted(names, key=lambda name: name == "confidence")

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for bound in self.bounds:
            values = {term.name: term.value for term in bound.terms}
            terms = {name: values.get(name) for name in self._term_names()}
            rows.append(
                {
                    "bound": bound.name,
                    "value": bound.value,
                    "kind": _KINDS[bound.kind],
                    **terms,
                    "margin": bound.margin,
                    "vacuous": bound.vacuous,
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
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas: pip install 'sklearn-rnnbound[tables]'"
            ) from error
        frame = pd.DataFrame(self._rows())
        return frame.set_index("bound") if len(frame) else frame

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

    def __str__(self) -> str:
        errors = f"train error {self.train_error:.4f}"
        if self.test_error is not None:
            errors += f", test error {self.test_error:.4f}"
        scope = "all bounds together" if self.simultaneous else "each bound"
        lines = [f"Bounds on P[error] at confidence {1 - self.delta:g} for {scope}; {errors}", ""]
        lines += _table([_formatted(row) for row in self._rows()])
        shared = self._shared_assumptions()
        if shared:
            lines += ["", "assumed by all", *_bullets(shared)]
        for bound in self.bounds:
            own = [line for line in bound.assumptions if line not in shared]
            lines += ["", bound.name, *_bullets([_rates(bound), *own])]
            if bound.vacuous:
                lines += _bullets([f"vacuous (>= 1). {bound.reason}"])
        if self.omitted:
            lines += ["", "left out", *_bullets(list(self.omitted))]
        return "\n".join(lines)


def _rates(bound: Bound) -> str:
    return "change with n: " + ", ".join(f"{term.name} {term.rate}" for term in bound.terms)


def _bullets(texts: list[str]) -> list[str]:
    wrapper = textwrap.TextWrapper(96, initial_indent="  - ", subsequent_indent="    ")
    return [line for text in texts for line in wrapper.wrap(text)]


def _formatted(row: dict[str, Any]) -> dict[str, str]:
    def text(value: Any) -> str:
        if value is None:
            return "-"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return {column.replace("_", " "): text(value) for column, value in row.items()}


def _table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a table: text columns to the left, numbers to the right."""
    if not rows:
        return ["no bound applies"]
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}

    def line(row: dict[str, str]) -> str:
        cells = (
            cell.ljust(widths[column])
            if column in ("bound", "kind")
            else cell.rjust(widths[column])
            for column, cell in row.items()
        )
        return "  ".join(cells).rstrip()

    header = line({column: column for column in rows[0]})
    return [header, "-" * len(header), *map(line, rows)]
