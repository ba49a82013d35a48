"""Pictures of bounds, in the manner of scikit-learn's displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_rnnbound.classifier import RNNBoundClassifier
    from sklearn_rnnbound.report import BoundCurve, BoundReport

__all__ = ["BoundCurveDisplay", "BoundDecompositionDisplay"]

# Light to dark with a hatch each, so that the terms differ in greyscale too.
_STYLES = {
    "empirical_risk": ("#f0f0f0", ""),
    "linear": ("#9ecae1", "//"),
    "difference": ("#3182bd", "\\\\"),
    "complexity": ("#756bb1", "xx"),
    "kl": ("#bcbddc", "xx"),
    "noise": ("#fdae6b", ".."),
    "monte_carlo": ("#fdd0a2", ".."),
    "confidence": ("#636363", ""),
}
_OTHER_STYLE = ("#bdbdbd", "xx")
# Tell the curves apart without colour, too.
_MARKERS = "osD^vP*X<>dh"


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
        estimator: RNNBoundClassifier,
        X_test: Any = None,
        y_test: Any = None,
        *,
        ax: Axes | None = None,
        **report_options: Any,
    ) -> BoundDecompositionDisplay:
        """Draw the bounds of a fitted classifier.

        Parameters
        ----------
        estimator : RNNBoundClassifier
            Fitted classifier.
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
        return cls.from_report(estimator.bound_report_(X_test, y_test, **report_options), ax=ax)

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
        plt = _pyplot()
        bounds = [bound for bound in self.report.bounds if bound.kind != "order_only"]
        if not bounds:
            raise ValueError("the report has no bound to draw")
        if ax is None:
            _, ax = plt.subplots(figsize=(1.8 + 1.7 * len(bounds), 4.8), layout="constrained")

        tops = [_visible_top(bound) for bound in bounds]
        floor = min([0.05, *(t.value / 2 for b in bounds for t in b.terms[:1] if t.value > 0)])
        ceiling = 3 * max([1.0, *tops]) ** 1.05
        drawn: set[str] = set()
        for position, bound in enumerate(bounds):
            bottom = 0.0
            for term in bound.terms:
                top = ceiling if np.isinf(term.value) else bottom + term.value
                color, hatch = _STYLES.get(term.name, _OTHER_STYLE)
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
                "infinite" if np.isinf(bound.value) else f"{bound.value:.3g}",
                (position, min(bound.value, ceiling)),
                xytext=(0, -4 if np.isinf(bound.value) else 3),
                textcoords="offset points",
                ha="center",
                va="top" if np.isinf(bound.value) else "bottom",
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
                color="#b10026",
                linewidth=2.0,
                linestyle=":",
                label="test error",
            )
            floor = min(floor, float(np.nanmin(errors)) / 2)
        ax.set_yscale("log")
        ax.set_ylim(floor, ceiling)
        ax.set_xlim(-0.6, len(bounds) - 0.4)
        kinds = [bound.kind.replace("_", "-") for bound in bounds]
        labels = [f"{bound.name}\n{kind}" for bound, kind in zip(bounds, kinds, strict=True)]
        ax.set_xticks(range(len(bounds)), labels)
        ax.set_ylabel("bound on the probability of error\n(terms stacked, log scale)")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


class BoundCurveDisplay:
    """Bounds over the number of samples, both axes logarithmic.

    Build it with :meth:`from_estimator` or :meth:`from_curve`. Bounds of which only the order is
    known are left out.

    Parameters
    ----------
    curve : BoundCurve
        The bounds to draw.
    term : str or None, default=None
        Name of the term to draw, such as ``"complexity"``; None: the bounds themselves.

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
    >>> from sklearn_rnnbound.plotting import BoundCurveDisplay
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(beta_w=1.0, tol=0.1, min_eigenvalue=0.0).fit(X, y)
    >>> display = BoundCurveDisplay.from_estimator(clf, X, y, methods=["peeling", "trivial"])
    >>> [line.get_label() for line in display.ax_.get_lines()][:2]
    ['peeling (certified)', 'trivial (certified)']
    """

    def __init__(self, curve: BoundCurve, *, term: str | None = None) -> None:
        self.curve = curve
        self.term = term

    @classmethod
    def from_estimator(
        cls,
        estimator: RNNBoundClassifier,
        X_train: Any,
        y_train: Any,
        *,
        term: str | None = None,
        ax: Axes | None = None,
        **curve_options: Any,
    ) -> BoundCurveDisplay:
        """Draw the bounds of a fitted classifier on parts of its training data.

        Parameters
        ----------
        estimator : RNNBoundClassifier
            Fitted classifier.
        X_train, y_train : array-like
            The training data of its `fit`.
        term : str or None, default=None
            Name of the term to draw; None: the bounds themselves.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.
        **curve_options
            Passed to :meth:`.RNNBoundClassifier.bound_curve_`.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.
        """
        curve = estimator.bound_curve_(X_train, y_train, **curve_options)
        return cls.from_curve(curve, term=term, ax=ax)

    @classmethod
    def from_curve(
        cls, curve: BoundCurve, *, term: str | None = None, ax: Axes | None = None
    ) -> BoundCurveDisplay:
        """Draw a curve.

        Parameters
        ----------
        curve : BoundCurve
            The bounds.
        term : str or None, default=None
            Name of the term to draw; None: the bounds themselves.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.
        """
        return cls(curve, term=term).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> BoundCurveDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : BoundCurveDisplay
            This display, with `ax_` and `figure_` set.

        Raises
        ------
        ImportError
            Without matplotlib, which the extra ``plots`` brings.
        ValueError
            For a curve without bounds, or without a bound that has the term.
        """
        plt = _pyplot()
        curves: dict[str, dict[int, float]] = {}
        kinds = {}
        for n, report in zip(self.curve.n_samples, self.curve.reports, strict=True):
            for bound in report:
                values = {term.name: term.value for term in bound.terms} | {None: bound.value}
                if bound.kind != "order_only" and self.term in values:
                    curves.setdefault(bound.name, {})[n] = values[self.term]
                    kinds[bound.name] = bound.kind.replace("_", "-")
        if not curves:
            what = "" if self.term is None else f" with the term {self.term!r}"
            raise ValueError(f"the curve has no bound{what} to draw")
        if ax is None:
            _, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
        for number, (name, points) in enumerate(curves.items()):
            finite = {n: value for n, value in points.items() if np.isfinite(value)}
            marker = _MARKERS[number % len(_MARKERS)]
            label = f"{name} ({kinds[name]})" + ("" if finite else ": infinite")
            ax.plot(list(finite), list(finite.values()), marker=marker, label=label)
        ax.axhline(1.0, color="black", linewidth=1.0, label="1: excludes nothing")
        errors = [report.train_error for report in self.curve.reports]
        if any(errors) and self.term is None:
            ax.plot(
                self.curve.n_samples, errors, color="#b10026", linestyle=":", label="train error"
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(self.curve.n_samples, [str(n) for n in self.curve.n_samples])
        ax.minorticks_off()
        ax.set_xlabel("number of samples n")
        what = "bound" if self.term is None else self.term.replace("_", " ") + " of the bound"
        ax.set_ylabel(f"{what} on the probability of error")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "pictures need matplotlib: pip install 'sklearn-rnnbound[plots]'"
        ) from error
    return plt


def _visible_top(bound: Any) -> float:
    """Sum of the finite terms of a bound."""
    return float(sum(term.value for term in bound.terms if np.isfinite(term.value)))
