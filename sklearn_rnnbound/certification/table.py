"""What reports share: rows, titles and remarks become text, HTML, LaTeX and frames."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

from sklearn_rnnbound.bounds import BOUNDS, Bound

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

__all__ = ["KINDS", "Row", "Table", "frame_of", "network_of", "readable", "shown", "term_names"]

#: Kinds of bounds as readers see them, from the strongest to the weakest.
KINDS = {"certified": "certified", "plug_in": "plug-in", "order_only": "order only"}
_TEXT_COLUMNS = ("bound", "kind", "network")

#: Values by the name of their column.
Row = dict[str, Any]


class Table(ABC):
    """Base of reports, which say their tables and remarks and print alike."""

    # Columns that name the rows in HTML and LaTeX.
    _index: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def _tables(self) -> list[tuple[str, list[Row]]]:
        """Titles with the rows below them."""

    @abstractmethod
    def _remarks(self) -> list[tuple[str, list[str]]]:
        """Headings with the lines below them; those without lines are not shown."""

    def __str__(self) -> str:
        blocks = [
            block for title, rows in self._tables() for block in ([title], _lines_of_table(rows))
        ]
        blocks += [[heading, *_bullets(lines)] for heading, lines in self._remarks() if lines]
        return "\n\n".join("\n".join(block) for block in blocks)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str | None:
        """Tables for notebooks; None, so that the text is shown, without pandas and jinja2."""
        try:
            parts = [style.to_html() for style in self._styles("_repr_html_", "html")]
        except ImportError:
            return None
        for heading, lines in self._remarks():
            if lines:
                items = "".join(f"<li>{escape(line)}</li>" for line in lines)
                parts.append(f"<p><b>{escape(heading)}</b></p><ul>{items}</ul>")
        return "".join(parts)

    def to_latex(self) -> str:
        """The first table of the text as a LaTeX ``table`` with a booktabs ``tabular``.

        Returns
        -------
        latex : str
            Source; it needs the package booktabs.

        Raises
        ------
        ImportError
            Without pandas and jinja2, which the extra ``tables`` brings.
        """
        first = next(self._styles("to_latex", "latex"))
        return first.to_latex(hrules=True).replace("±", r"$\pm$")

    def _styles(self, method: str, language: str) -> Iterator[Styler]:
        """The tables for pandas' Styler, escaped for "html" or "latex"."""
        for title, rows in self._tables():
            frame = frame_of(method, rows, self._index)
            try:
                style = frame.style
            except (ImportError, AttributeError) as error:
                raise ImportError(
                    f"{method} needs jinja2: pip install 'sklearn-rnnbound[tables]'"
                ) from error
            style = style.format(shown, escape=language).set_caption(title)
            for axis in (0, 1):
                style = style.format_index(escape=language, axis=axis)
            yield style if self._index else style.hide(axis="index")


def frame_of(method: str, rows: list[Row], index: Sequence[str] = ()) -> pd.DataFrame:
    """Rows as a frame; ImportError without pandas, which names the method and the extra."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"{method} needs pandas: pip install 'sklearn-rnnbound[tables]'"
        ) from error
    frame = pd.DataFrame(rows)
    return frame.set_index(list(index)) if rows and index else frame


def network_of(name: str) -> str:
    """Which network the bound of this name speaks of."""
    return getattr(BOUNDS.get(name), "speaks_of", "trained")


def term_names(bounds: Iterable[Bound]) -> list[str]:
    """Names of all terms, in the order of their columns."""
    names = dict.fromkeys(term.name for bound in bounds for term in bound.terms)
    # The confidence term, which every bound has, ends the row.
    return sorted(names, key=lambda name: name == "confidence")


def readable(rows: list[Row]) -> list[Row]:
    """The rows, with names of columns for people."""
    return [{column.replace("_", " "): value for column, value in row.items()} for row in rows]


def shown(value: Any) -> str:
    """A value as readers see it."""
    # pandas turns None among numbers into nan.
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lines_of_table(rows: list[Row]) -> list[str]:
    """Lines of a table: text columns to the left, numbers to the right."""
    if not rows:
        return ["no bound applies"]
    header = {column: column for column in rows[0]}
    texts = [header, *({column: shown(value) for column, value in row.items()} for row in rows)]
    widths = {column: max(len(text[column]) for text in texts) for column in header}

    def line(text: dict[str, str]) -> str:
        cells = (
            word.ljust(widths[column]) if column in _TEXT_COLUMNS else word.rjust(widths[column])
            for column, word in text.items()
        )
        return "  ".join(cells).rstrip()

    first, *others = map(line, texts)
    return [first, "-" * len(first), *others]


def _bullets(texts: list[str]) -> list[str]:
    wrapper = textwrap.TextWrapper(96, initial_indent="  - ", subsequent_indent="    ")
    return [line for text in texts for line in wrapper.wrap(text)]
