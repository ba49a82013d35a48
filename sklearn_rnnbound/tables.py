"""What tables of bounds share: columns, cells, lines of text, pandas' Styler."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from sklearn_rnnbound.bounds import Bound

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "KINDS",
    "bullets",
    "cell",
    "formatted",
    "html_list",
    "network_of",
    "pandas_for",
    "styled",
    "table",
    "term_names",
]

#: Kinds of bounds as readers see them, from the strongest to the weakest.
KINDS = {"certified": "certified", "plug_in": "plug-in", "order_only": "order only"}
# Bounds that speak of another classifier than the trained network.
_CLASSIFIERS = {"occam": "rounded", "pac_bayes": "randomised"}


def network_of(name: str) -> str:
    """Which network the bound of this name speaks of."""
    return _CLASSIFIERS.get(name, "trained")


def term_names(bounds: Iterable[Bound]) -> list[str]:
    """Names of all terms, in the order of their columns."""
    names = dict.fromkeys(term.name for bound in bounds for term in bound.terms)
    # The confidence term, which every bound has, ends the row.
    return sorted(names, key=lambda name: name == "confidence")


def cell(value: Any) -> str:
    """A value as readers see it."""
    # pandas turns None among numbers into nan.
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def formatted(row: dict[str, Any]) -> dict[str, str]:
    """A row as readers see it."""
    return {column.replace("_", " "): cell(value) for column, value in row.items()}


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a table: text columns to the left, numbers to the right."""
    if not rows:
        return ["no bound applies"]
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}

    def line(row: dict[str, str]) -> str:
        cells = (
            text.ljust(widths[column])
            if column in ("bound", "kind", "network")
            else text.rjust(widths[column])
            for column, text in row.items()
        )
        return "  ".join(cells).rstrip()

    header = line({column: column for column in rows[0]})
    return [header, "-" * len(header), *map(line, rows)]


def bullets(texts: list[str]) -> list[str]:
    """Lines of a list."""
    wrapper = textwrap.TextWrapper(96, initial_indent="  - ", subsequent_indent="    ")
    return [line for text in texts for line in wrapper.wrap(text)]


def html_list(remarks: list[tuple[str, list[str]]]) -> str:
    """Headings with lists below them, as HTML."""
    return "".join(
        f"<p><b>{escape(heading)}</b></p><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in lines)
        + "</ul>"
        for heading, lines in remarks
    )


def pandas_for(method: str) -> Any:
    """The module pandas; ImportError when it is missing, which names the method and the extra."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"{method} needs pandas: pip install 'sklearn-rnnbound[tables]'"
        ) from error
    return pd


def styled(frame: pd.DataFrame, caption: str, *, method: str, language: str) -> Any:
    """The frame for pandas' Styler, as readers should see it, escaped for "html" or "latex"."""
    try:
        style = frame.style
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"{method} needs jinja2: pip install 'sklearn-rnnbound[tables]'"
        ) from error
    style = style.format(cell, escape=language).set_caption(caption)
    for axis in (0, 1):
        style = style.format_index(escape=language, axis=axis)
    return style
