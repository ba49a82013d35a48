"""Tables of bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sklearn_rnnbound.bounds import Bound
from sklearn_rnnbound.bounds._bound import confidence_text
from sklearn_rnnbound.certification.table import (
    KINDS,
    Row,
    Table,
    frame_of,
    network_of,
    readable,
    term_names,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BoundCurve", "BoundReport", "shared_assumptions"]


@dataclass(frozen=True, repr=False)
class BoundReport(Table):
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
    _index = ("bound",)

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
        return frame_of("to_frame", self._rows(), self._index)

    def _rows(self) -> list[Row]:
        rows = []
        for bound in self.bounds:
            values = {term.name: term.value for term in bound.terms}
            error = self.test_error_of(bound.name)
            rows.append(
                {
                    "bound": bound.name,
                    "value": bound.value,
                    "kind": KINDS[bound.kind],
                    "network": network_of(bound.name),
                    **({} if error is None else {"test_error": error}),
                    **{name: values.get(name) for name in term_names(self.bounds)},
                    "margin": bound.margin,
                    "vacuous": None if bound.kind == "order_only" else bound.vacuous,
                }
            )
        return rows

    def _tables(self) -> list[tuple[str, list[Row]]]:
        errors = f"train error {self.train_error:.4f}"
        if self.test_error is not None:
            errors += f", test error {self.test_error:.4f}"
        scope = "all bounds together" if self.simultaneous else "each bound"
        confidence = confidence_text(self.delta)
        title = f"Bounds on P[error] at confidence {confidence} for {scope}; {errors}"
        return [(title, readable(self._rows()))]

    def _remarks(self) -> list[tuple[str, list[str]]]:
        shared = shared_assumptions(self.bounds) if len(self.bounds) > 1 else []
        remarks = [("assumed by all", shared)]
        for bound in self.bounds:
            own = [line for line in bound.assumptions if line not in shared]
            vacuous = [f"vacuous (>= 1). {bound.reason}"] if bound.vacuous else []
            remarks.append((bound.name, [_rates(bound), *own, *vacuous]))
        return [*remarks, ("left out", list(self.omitted))]


@dataclass(frozen=True, repr=False)
class BoundCurve(Table):
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
    _index = ("bound", "n")

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
        return frame_of("to_frame", self._rows(), self._index)

    def _rows(self) -> list[Row]:
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

    def _tables(self) -> list[tuple[str, list[Row]]]:
        confidence = confidence_text(self.reports[0].delta)
        title = f"Bounds on P[error] at confidence {confidence} for each, on parts of the data"
        return [(title, readable(self._rows()))]

    def _remarks(self) -> list[tuple[str, list[str]]]:
        bounds = {bound.name: bound for report in self.reports for bound in report}
        return [("rates", [f"{name}: {_rates(bound)}" for name, bound in bounds.items()])]


def shared_assumptions(bounds: Sequence[Bound]) -> list[str]:
    """Assumptions of all these bounds."""
    first = bounds[0].assumptions if bounds else ()
    return [line for line in first if all(line in bound.assumptions for bound in bounds)]


def _rates(bound: Bound) -> str:
    return "change with n: " + ", ".join(f"{term.name} {term.rate}" for term in bound.terms)
