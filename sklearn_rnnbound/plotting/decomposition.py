"""The picture of what bounds are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_rnnbound.certification.report import BoundReport
from sklearn_rnnbound.certification.table import KINDS
from sklearn_rnnbound.plotting._style import (
    ERROR_COLOR,
    HIGHEST,
    axes_for,
    check_kind,
    legend_beside,
    log_scale,
    term_style,
)
from sklearn_rnnbound.selection.provenance import bound_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_rnnbound.bounds import Bound

__all__ = ["BoundDecompositionDisplay"]


class BoundDecompositionDisplay:
    """Stacked terms of bounds on a logarithmic axis.

    Bounds of which only the order is known are left out: their values mean nothing beside others.
    Build it with :meth:`from_estimator` or :meth:`from_report`.

    Parameters
    ----------
    report : BoundReport
        The bounds to draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of the picture, after :meth:`plot`.

    Examples
    --------
    >>> from sklearn_rnnbound import RNNBoundClassifier
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> from sklearn_rnnbound.plotting import BoundDecompositionDisplay
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(noise_std=0.1, beta_w=1.0, tol=0.1).fit(X, y)
    >>> display = BoundDecompositionDisplay.from_estimator(clf, margin=1.0)
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(self, report: BoundReport) -> None:
        self.report = report

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_test: Any = None,
        y_test: Any = None,
        *,
        ax: Axes | None = None,
        **report_options: Any,
    ) -> BoundDecompositionDisplay:
        """Draw the bounds of a fitted classifier.

        Parameters
        ----------
        estimator : estimator
            A fitted classifier of ours, or a fitted pipeline or search that ends in one. Steps
            that were fitted on the sample make certificates estimates, and a search shares delta
            among its candidates.
        X_test, y_test : array-like, default=None
            Test data, whose error is marked.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.
        **report_options
            Passed to :meth:`.RNNBoundClassifier.bound_report_`.

        Returns
        -------
        display : BoundDecompositionDisplay
            The picture.
        """
        report = bound_report(estimator, X_test, y_test, **report_options)
        return cls.from_report(report, ax=ax)

    @classmethod
    def from_report(
        cls, report: BoundReport, *, ax: Axes | None = None
    ) -> BoundDecompositionDisplay:
        """Draw the bounds of a report.

        Parameters
        ----------
        report : BoundReport
            The bounds.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : BoundDecompositionDisplay
            The picture.
        """
        check_kind("report", report, BoundReport, "which bound_report_ returns")
        return cls(report).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> BoundDecompositionDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : BoundDecompositionDisplay
            This display, with `ax_` and `figure_` set.

        Raises
        ------
        ImportError
            Without matplotlib, which the extra ``plots`` brings.
        ValueError
            For a report without bounds.
        """
        bounds = [bound for bound in self.report.bounds if bound.kind != "order_only"]
        if not bounds:
            raise ValueError("the report has no bound to draw")
        ax = axes_for(ax, width=1.8 + 1.7 * len(bounds), height=4.8)
        # Narrow axes have no room for texts side by side.
        crowded = ax.bbox.width / ax.figure.dpi < 0.85 * len(bounds)
        tops = [_visible_top(bound) for bound in bounds]
        floor = min([0.05, *(t.value / 2 for b in bounds for t in b.terms[:1] if t.value > 0)])
        stretch = 1.25 if crowded else 1.05
        exponent = stretch * np.log10(max([1.0, *tops])) + 0.5
        ceiling = float(10 ** min(exponent, np.log10(HIGHEST)))
        drawn: set[str] = set()
        for position, bound in enumerate(bounds):
            bottom = 0.0
            for term in bound.terms:
                top = ceiling if np.isinf(term.value) else bottom + term.value
                color, hatch = term_style(term.name)
                ax.bar(
                    position,
                    top - bottom,
                    bottom=bottom,
                    width=0.6,
                    color=color,
                    hatch=hatch,
                    edgecolor="black",
                    linewidth=0.6,
                    label=None if term.name in drawn else term.name.replace("_", " "),
                )
                drawn.add(term.name)
                if np.isinf(term.value):
                    break
                bottom = top
            ax.annotate(
                _value_text(bound.value),
                (position, min(bound.value, ceiling)),
                xytext=(0, -4 if bound.value > ceiling else 3),
                textcoords="offset points",
                ha="center",
                va="top" if bound.value > ceiling else "bottom",
                rotation=90 if crowded else 0,
                bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
            )
        ax.axhline(1.0, color="black", linewidth=1.0, label="1: excludes nothing")
        ax.axhline(0.5, color="black", linewidth=1.0, linestyle="--", label="0.5")
        errors = [self.report.test_error_of(bound.name) or np.nan for bound in bounds]
        if np.isfinite(errors).any():
            places = np.arange(len(bounds))
            ax.hlines(
                errors,
                places - 0.4,
                places + 0.4,
                color=ERROR_COLOR,
                linewidth=2.0,
                linestyle=":",
                label="test error",
            )
            floor = min(floor, float(np.nanmin(errors)) / 2)
        ax.set_ylim(floor, ceiling)
        log_scale(ax)
        ax.set_xlim(-0.6, len(bounds) - 0.4)
        separator = ", " if crowded else "\n"
        labels = [f"{bound.name}{separator}{KINDS[bound.kind]}" for bound in bounds]
        ax.set_xticks(range(len(bounds)), labels, rotation=90 if crowded else 0)
        ax.set_ylabel("bound on the probability of error\n(terms stacked, log scale)")
        legend_beside(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _value_text(value: float) -> str:
    if np.isinf(value):
        return "infinite"
    return f"{value:.0f}" if 1e3 <= value < 1e5 else f"{value:.3g}"


def _visible_top(bound: Bound) -> float:
    """Sum of the finite terms of a bound."""
    return float(sum(term.value for term in bound.terms if np.isfinite(term.value)))
