"""The picture of bounds and errors over a parameter or the number of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np

from sklearn_rnnbound.certification.folds import (
    CrossValidatedBoundReport,
    FoldReport,
    mean_and_error,
)
from sklearn_rnnbound.certification.report import BoundCurve, BoundReport
from sklearn_rnnbound.certification.table import KINDS, network_of
from sklearn_rnnbound.plotting._positions import Positions, is_number
from sklearn_rnnbound.plotting._style import (
    ERROR_COLOR,
    HIGHEST,
    check_kind,
    curve_style,
    legend_beside,
    log_scale,
    parameter_label,
    pyplot,
)
from sklearn_rnnbound.selection.cross_validation import cross_validate_bounds
from sklearn_rnnbound.selection.provenance import bound_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BoundCurveDisplay"]

_ERRORS = {
    "test error": {"color": "black", "marker": "o", "linestyle": "-"},
    "train error": {"color": "#707070", "marker": "s", "linestyle": "--"},
    "gap: test less train": {"color": ERROR_COLOR, "marker": "D", "linestyle": ":"},
}
_SOURCE = "which cross_validate_bounds returns"


class BoundCurveDisplay:
    """Bounds and errors over a parameter, the number of samples or any other number.

    The upper part shows bounds, or one of their terms, on a logarithmic axis; the lower part shows
    the train and test error of the trained network, and the gap between them. Lines are means over
    the folds, bands are one standard error to either side: the standard deviation over the folds
    divided by the root of their number. Folds that failed are left out. Hollow markers stand where
    a bound is an estimate, and the sign of infinity where it is infinite. Bounds of which only the
    order is known are left out.

    Build it with :meth:`from_cross_validation`, :meth:`from_estimator`, :meth:`from_reports` or
    :meth:`from_curve`.

    Parameters
    ----------
    positions : sequence
        One value per position. Numbers get a numeric axis, logarithmic when they are positive and
        grow by a constant factor or span more than 30; anything else stands to the right of them,
        and None, "none", is the last.
    reports : sequence of sequences of BoundReport or None
        For every position the reports of its fits; None for a fit that failed.
    xlabel : str, default=""
        What the positions are.
    over : str, default="folds"
        What the fits of a position differ in, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the bounds, after :meth:`plot`.
    error_ax_ : matplotlib Axes or None
        Axes of the errors, after :meth:`plot`; None when it was given no room for them.
    figure_ : matplotlib Figure
        Figure of the picture, after :meth:`plot`.

    See Also
    --------
    sklearn_rnnbound.cross_validate_bounds : The reports of folds and candidates.

    Examples
    --------
    >>> from sklearn_rnnbound import RNNBoundClassifier
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> from sklearn_rnnbound.plotting import BoundCurveDisplay
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(beta_w=1.0, tol=0.1, min_eigenvalue=0.0)
    >>> display = BoundCurveDisplay.from_estimator(
    ...     clf, X[:300], y[:300], param_name="hidden_size", param_range=[4, 8], cv=2,
    ...     methods=["peeling"],
    ... )
    >>> display.ax_.get_lines()[0].get_label(), display.error_ax_.get_xlabel()
    ('peeling (certified)', 'hidden units m')

    Without a parameter it shows a fitted classifier on parts of its training data.

    >>> display = BoundCurveDisplay.from_estimator(
    ...     clf.fit(X, y), X, y, methods=["peeling", "trivial"]
    ... )
    >>> [line.get_label() for line in display.ax_.get_lines()][:2]
    ['peeling (certified)', 'trivial (certified)']
    """

    def __init__(
        self,
        positions: Sequence[Any],
        reports: Sequence[Sequence[BoundReport | None]],
        *,
        xlabel: str = "",
        over: str = "folds",
    ) -> None:
        self.positions = positions
        self.reports = reports
        self.xlabel = xlabel
        self.over = over

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        param_name: str | None = None,
        param_range: Sequence[Any] | None = None,
        term: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
        **options: Any,
    ) -> BoundCurveDisplay:
        """Draw the bounds of an estimator over one of its parameters, or over the sample size.

        Parameters
        ----------
        estimator : estimator
            A classifier of ours, a pipeline that ends in one, or a search over either. With
            `param_name`, clones of it are fitted; without, it must be fitted itself.
        X, y : array-like
            Data to cross-validate on; without `param_name`, the training data of its `fit`.
        param_name : str or None, default=None
            Parameter to vary, such as ``"noise_std"``. None: the number of samples.
        param_range : sequence or None, default=None
            Values of the parameter.
        term : str or None, default=None
            Name of the term to draw, such as ``"complexity"``; None: the bounds themselves.
        ax : matplotlib Axes, pair of Axes or None, default=None
            As in :meth:`plot`.
        **options
            ``methods``, ``margin`` and ``delta``, and with `param_name` also ``cv``, ``n_jobs``,
            ``verbose`` and the others of :func:`.cross_validate_bounds`; without, ``fractions`` of
            :meth:`.RNNBoundClassifier.bound_curve_`.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.

        Raises
        ------
        ValueError
            When only one of `param_name` and `param_range` is given.
        """
        if (param_name is None) != (param_range is None):
            raise ValueError("param_name and param_range go together: give both or none")
        pyplot()
        if param_name is None or param_range is None:
            curve = bound_curve(estimator, X, y, **options)
            return cls.from_curve(curve, term=term, ax=ax)
        grid = {param_name: list(param_range)}
        report = cross_validate_bounds(estimator, X, y, param_grid=grid, **options)
        return cls.from_cross_validation(report, param=param_name, term=term, ax=ax)

    @classmethod
    def from_cross_validation(
        cls,
        report: CrossValidatedBoundReport,
        *,
        param: str | None = None,
        methods: str | Sequence[str] | None = None,
        term: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> BoundCurveDisplay:
        """Draw what cross-validation has shown.

        Parameters
        ----------
        report : CrossValidatedBoundReport
            Folds of one or several candidates.
        param : str or None, default=None
            Parameter along the horizontal axis; fits that differ in other parameters are averaged
            like folds, which the legend says. None: the only one in which the candidates differ.
        methods : str, sequence of str or None, default=None
            Names of the bounds to draw; None: all.
        term : str or None, default=None
            Name of the term to draw; None: the bounds themselves.
        ax : matplotlib Axes, pair of Axes or None, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.

        Raises
        ------
        ValueError
            When `param` is none of the parameters of the candidates, or it is not given and they
            differ in several.
        """
        check_kind("report", report, CrossValidatedBoundReport, _SOURCE)
        values = _parameter_values(report)
        varying = _varying(report)
        if param is None:
            if len(varying) > 1:
                raise ValueError(
                    f"the candidates differ in {_listed(varying)}: give one of them as param"
                )
            if not varying:
                row = [fold.report for fold in report.folds]
                return cls([f"{len(row)} folds"], [row]).plot(term=term, methods=methods, ax=ax)
            (param,) = varying
        if param not in values:
            there = f"there are {_listed(values)}" if values else "there are none"
            raise ValueError(f"param={param!r} is no parameter of the candidates; {there}")
        groups: dict[str, list[BoundReport | None]] = {key: [] for key in values[param]}
        for fold in report.folds:
            groups[_key(_value_of(fold, param))].append(fold.report)
        display = cls(
            list(values[param].values()),
            list(groups.values()),
            xlabel=parameter_label(param),
            over=_listed(["folds", *(name for name in varying if name != param)]),
        )
        return display.plot(term=term, methods=methods, ax=ax)

    @classmethod
    def from_reports(
        cls,
        reports: Mapping[Any, CrossValidatedBoundReport],
        *,
        xlabel: str,
        methods: str | Sequence[str] | None = None,
        term: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> BoundCurveDisplay:
        """Draw what was varied outside the estimator, such as the number of samples or of steps.

        Parameters
        ----------
        reports : mapping from number to CrossValidatedBoundReport
            For every value of what was varied, a report of one candidate.
        xlabel : str
            What was varied, with its unit.
        methods : str, sequence of str or None, default=None
            Names of the bounds to draw; None: all.
        term : str or None, default=None
            Name of the term to draw; None: the bounds themselves.
        ax : matplotlib Axes, pair of Axes or None, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.

        Raises
        ------
        ValueError
            When a report holds several candidates.
        """
        for value, report in reports.items():
            name = f"reports[{value!r}]"
            check_kind(name, report, CrossValidatedBoundReport, _SOURCE)
            if varying := _varying(report):
                raise ValueError(
                    f"{name} has several candidates, which differ in "
                    f"{_listed(varying)}: give one report of one candidate for every value"
                )
        rows = [[fold.report for fold in report.folds] for report in reports.values()]
        return cls(list(reports), rows, xlabel=xlabel).plot(term=term, methods=methods, ax=ax)

    @classmethod
    def from_curve(
        cls,
        curve: BoundCurve,
        *,
        term: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> BoundCurveDisplay:
        """Draw a curve over the number of samples.

        Parameters
        ----------
        curve : BoundCurve
            The bounds.
        term : str or None, default=None
            Name of the term to draw; None: the bounds themselves.
        ax : matplotlib Axes, pair of Axes or None, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : BoundCurveDisplay
            The picture.
        """
        check_kind("curve", curve, BoundCurve, "which bound_curve_ returns")
        reports = [[report] for report in curve.reports]
        return cls(curve.n_samples, reports, xlabel="training samples n").plot(term=term, ax=ax)

    def plot(
        self,
        *,
        term: str | None = None,
        methods: str | Sequence[str] | None = None,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> BoundCurveDisplay:
        """Draw the picture.

        Parameters
        ----------
        term : str or None, default=None
            Name of the term to draw, such as ``"complexity"``; None: the bounds themselves.
        methods : str, sequence of str or None, default=None
            Names of the bounds to draw; "paper" stands for the theorem that the report has. None:
            all.
        ax : matplotlib Axes, pair of Axes or None, default=None
            A pair takes the bounds and the errors; one takes the bounds alone. None: a new figure
            with both. Legends stand to the right: make figures of your own with
            ``layout="constrained"``.

        Returns
        -------
        display : BoundCurveDisplay
            This display, with `ax_`, `error_ax_` and `figure_` set.

        Raises
        ------
        ImportError
            Without matplotlib, which the extra ``plots`` brings.
        ValueError
            Without a bound to draw, or one that has the term; for other than one or two axes.
        """
        plt = pyplot()
        names = self._names(methods, term)
        if ax is None:
            _, axes = plt.subplots(
                2, sharex=True, figsize=(8.0, 6.4), height_ratios=(3, 2), layout="constrained"
            )
        else:
            axes = np.ravel(np.asarray(ax, dtype=object))
            if len(axes) not in (1, 2):
                raise ValueError(f"ax must be one Axes or a pair of Axes, got {len(axes)}")
        positions = Positions.of(self.positions)
        self._draw_bounds(axes[0], positions, names, term)
        if len(axes) == 2:
            self._draw_errors(axes[1], positions)
        for part in axes:
            positions.apply(part)
        axes[-1].set_xlabel(self.xlabel)
        self.ax_ = axes[0]
        self.error_ax_ = axes[1] if len(axes) == 2 else None
        self.figure_ = self.ax_.figure
        return self

    def _names(self, methods: str | Sequence[str] | None, term: str | None) -> list[str]:
        """Names of the bounds to draw."""
        bounds = [b for row in self.reports for report in row for b in report or ()]
        stated = dict.fromkeys(bound.name for bound in bounds if bound.kind != "order_only")
        names = list(stated)
        if methods is not None:
            asked = [methods] if isinstance(methods, str) else methods
            theorems = [name for name in stated if name in ("theorem2", "theorem3")]
            spelt = [theorems if name == "paper" and theorems else [name] for name in asked]
            names = list(dict.fromkeys(name for group in spelt for name in group))
            if unknown := [name for name in names if name not in stated]:
                there = f"there are {_listed(stated)}" if stated else "there is none"
                raise ValueError(f"methods holds {_listed(unknown)}; of bounds to draw {there}")
        if term is not None:
            having = {b.name for b in bounds if any(t.name == term for t in b.terms)}
            names = [name for name in names if name in having]
        if not names:
            what = "" if term is None else f" with the term {term!r}"
            raise ValueError(f"there is no bound{what} to draw")
        return names

    def _values(self, number: Callable[[BoundReport], float | None]) -> list[np.ndarray]:
        """Numbers of the fits of every position, where there are any."""
        rows = [[number(report) for report in row if report is not None] for row in self.reports]
        return [np.array([value for value in row if value is not None]) for row in rows]

    def _draw_bounds(
        self, ax: Axes, positions: Positions, names: list[str], term: str | None
    ) -> None:
        n_infinite, any_estimate = 0, False
        for number, name in enumerate(names):
            values = self._values(partial(_value, name=name, term=term))
            kinds = [
                {bound.kind for report in row for bound in report or () if bound.name == name}
                for row in self.reports
            ]
            # What is no certificate in one fold is none in the mean.
            estimate = np.array(["plug_in" in found for found in kinds])
            infinite = np.array([np.isinf(row).any() for row in values])
            finite = np.array([len(row) > 0 for row in values]) & ~infinite
            any_estimate |= bool((estimate & finite).any())
            places, style = positions.beside(number, len(names)), curve_style(name)
            label = _label(name, set().union(*kinds), infinite=not finite.any())
            _draw_curve(ax, places, positions.numeric, values, style, label, hollow=estimate)
            if finite.any() and infinite.any():
                ax.plot(
                    places[infinite],
                    np.full(infinite.sum(), 0.95 - 0.07 * n_infinite),
                    color=style["color"],
                    marker=r"$\infty$",
                    markersize=11,
                    linestyle="none",
                    transform=ax.get_xaxis_transform(),
                )
                n_infinite += 1
        ax.axhline(1.0, color="black", linewidth=1.0, label="1: excludes nothing")
        if any_estimate:
            ax.plot([], [], "o", color="0.3", markerfacecolor="white", label="hollow: plug-in")
        log_scale(ax)
        what = "bound" if term is None else term.replace("_", " ") + " of the bound"
        ax.set_ylabel(f"{what} on the\nprobability of error (log scale)")
        legend_beside(ax)

    def _draw_errors(self, ax: Axes, positions: Positions) -> None:
        errors = {
            "test error": self._values(lambda report: report.test_error),
            "train error": self._values(lambda report: report.train_error),
            "gap: test less train": self._values(_gap),
        }
        drawn = {name: values for name, values in errors.items() if any(map(len, values))}
        for number, (name, values) in enumerate(drawn.items()):
            places = positions.beside(number, len(drawn))
            _draw_curve(ax, places, positions.numeric, values, _ERRORS[name], name)
        ax.axhline(0.0, color="black", linewidth=0.6)
        if any(len(row) > 1 for row in errors["train error"]):
            label = f"mean ± standard error\nover {self.over}"
            ax.plot([], [], color="0.8", linewidth=8, label=label)
            if not positions.numeric.any():
                ax.plot([], [], ".", color="0.3", label="single fits")
        fits = [report for row in self.reports for report in row]
        if n_failed := sum(report is None for report in fits):
            label = f"{n_failed} of {len(fits)} fits failed:\nleft out"
            ax.plot([], [], linestyle="none", label=label)
        ax.set_ylabel("error of the\ntrained network")
        legend_beside(ax)


def _draw_curve(
    ax: Axes,
    places: np.ndarray,
    numeric: np.ndarray,
    values: list[np.ndarray],
    style: Mapping[str, Any],
    label: str,
    hollow: np.ndarray | bool = False,
) -> None:
    """Line and band over numbers, points with bars elsewhere; hollow where it is said."""
    mean, error = np.transpose([mean_and_error(row) for row in values])
    finite = np.isfinite(mean)
    marked = finite & hollow
    point = {**style, "linestyle": "none"}
    white: dict[str, Any] = {"markerfacecolor": "white"}

    rows = np.flatnonzero(numeric & finite)
    rows = rows[np.argsort(places[rows], kind="stable")]
    # This line is what the legend shows, even where it has no points.
    face = white if marked.any() and marked[finite].all() else {}
    ax.plot(places[rows], mean[rows], label=label, **style, **face)
    if np.isfinite(error[rows]).any():
        lower, upper = mean[rows] - error[rows], mean[rows] + error[rows]
        ax.fill_between(places[rows], lower, upper, color=style["color"], alpha=0.2, linewidth=0)

    rows = np.flatnonzero(~numeric & finite)
    if len(rows):
        ax.errorbar(places[rows], mean[rows], error[rows], capsize=3, **point)
    if not numeric.any() and max(map(len, values)) > 1:
        dots = np.reshape([(places[i], value) for i in rows for value in values[i]], (-1, 2))
        ax.plot(*dots.T, ".", color=style["color"], alpha=0.6)
    if marked.any():
        ax.plot(places[marked], mean[marked], zorder=3, **point, **white)


def _value(report: BoundReport, name: str, term: str | None) -> float | None:
    """Value of a bound or of its term, if there is one."""
    if name not in report:
        return None
    terms = {part.name: part.value for part in report[name].terms}
    value = report[name].value if term is None else terms.get(term)
    return np.inf if value is not None and value > HIGHEST else value


def _gap(report: BoundReport) -> float | None:
    return None if report.test_error is None else report.test_error - report.train_error


def _label(name: str, kinds: set[str], *, infinite: bool) -> str:
    """A bound with its kinds and, where it is not the trained one, its network."""
    words = " or ".join(text for kind, text in KINDS.items() if kind in kinds)
    network = network_of(name)
    words += "" if network == "trained" else f", {network}"
    return f"{name} ({words})" + (": infinite" if infinite else "")


def _parameter_values(report: CrossValidatedBoundReport) -> dict[str, dict[str, Any]]:
    """Distinct values of every parameter of the candidates, by a key each."""
    names = dict.fromkeys(name for fold in report.folds for name in fold.params)
    return {
        name: {_key(_value_of(fold, name)): _value_of(fold, name) for fold in report.folds}
        for name in names
    }


def _varying(report: CrossValidatedBoundReport) -> list[str]:
    """Parameters in which the candidates differ."""
    return [name for name, found in _parameter_values(report).items() if len(found) > 1]


def _value_of(fold: FoldReport, name: str) -> Any:
    """Value of a parameter in a fold; a candidate may leave it as the estimator has it."""
    return fold.params.get(name, "as given")


def _key(value: Any) -> str:
    """The same for equal values, hashable or not."""
    return joblib.hash(float(value) if is_number(value) else value)


def _listed(names: Iterable[str]) -> str:
    """Names as an enumeration."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
