"""The report of a cross-validation: bounds of every fold beside the errors that come true."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import kendalltau, norm
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_rnnbound.bounds import Bound
from sklearn_rnnbound.bounds._bound import confidence_text
from sklearn_rnnbound.certification.report import BoundReport, shared_assumptions
from sklearn_rnnbound.certification.table import (
    KINDS,
    Row,
    Table,
    frame_of,
    network_of,
    readable,
    shown,
    term_names,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NORMS", "CrossValidatedBoundReport", "FoldReport", "mean_and_error"]

#: Norms of the weights that a fold is described by.
NORMS = ("beta_u", "beta_w", "beta_v")
# With fewer pairs the normal approximation of Kendall's tau does not hold.
_FEWEST_PAIRS = 4


@dataclass(frozen=True)
class FoldReport:
    """What became of one fit.

    Parameters
    ----------
    params : dict
        Parameters of the candidate; empty without candidates.
    fold : int
        Number of the split, from 0.
    n_train, n_test : int
        Numbers of training samples (of positive weight) and of test samples.
    fit_time : float
        Duration of the fit in seconds; of the attempt, when it failed.
    norms : dict
        Norms ``"beta_u"``, ``"beta_w"`` and ``"beta_v"`` that the weights reached; sign sums are
        added up. Empty when the fit failed.
    report : BoundReport or None
        The bounds of this fold's network, with its train and test error; None after a failure.
    failure : str
        Traceback of what went wrong, or an empty string.
    """

    params: dict[str, Any]
    fold: int
    n_train: int
    n_test: int
    fit_time: float
    norms: dict[str, float]
    report: BoundReport | None = field(repr=False)
    failure: str = field(default="", repr=False)

    def errors_of(self, name: str) -> tuple[float, float]:
        """Errors of the classifier that a bound speaks of.

        Parameters
        ----------
        name : str
            Name of a bound in the report.

        Returns
        -------
        train_error : float
            Share of errors on the training part; of the rounded or the randomised network for
            ``"occam"`` and ``"pac_bayes"``. nan after a failure.
        test_error : float
            Share of errors on the test part, likewise.
        """
        if self.report is None:
            return np.nan, np.nan
        test_error = self.report.test_error_of(name)
        train_error = self.report.train_error
        if network_of(name) != "trained":
            terms = {term.name: term.value for term in self.report[name].terms}
            train_error = terms.get("empirical_risk", np.nan)
        return train_error, np.nan if test_error is None else test_error

    def _numbers(self, name: str) -> dict[str, float]:
        """Bound, errors, gap and terms."""
        assert self.report is not None
        train_error, test_error = self.errors_of(name)
        return {
            "value": self.report[name].value,
            "train_error": train_error,
            "test_error": test_error,
            "gap": test_error - train_error,
            **{term.name: term.value for term in self.report[name].terms},
        }


@dataclass(frozen=True, repr=False)
class CrossValidatedBoundReport(Table):
    """Bounds of every fold and candidate, beside the errors that they speak of.

    Parameters
    ----------
    folds : tuple of FoldReport
        One entry per fit, candidate by candidate and fold by fold.
    error_score : float, default=nan
        What stands for the bounds of a fold that failed.

    Notes
    -----
    The *gap* is the test error less the train error of the classifier that a bound speaks of:
    the trained network, for ``"occam"`` the rounded and for ``"pac_bayes"`` the randomised one. The
    ramp risk of a fold, which the bounds of the trained network contain in place of its train
    error, is their term ``empirical_risk``; for ``"holdout"`` this term is the test error.

    A bound of a fold holds, at its confidence, for the network of that fold. Folds share training
    samples; means and standard errors over them describe, and bound nothing.
    """

    folds: tuple[FoldReport, ...]
    error_score: float = np.nan

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate, fold and bound.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``param_<name>`` of the candidate, ``fold``, ``n_train``, ``n_test``, ``bound``,
            ``value``, ``kind``, ``network`` that the bound speaks of, its ``train_error``,
            ``test_error`` and ``gap``, every term, ``margin``, ``vacuous``, the norms ``beta_u``,
            ``beta_w`` and ``beta_v`` that were reached, and ``fit_time`` in seconds. The rows of a
            failed fold have the kind ``"failed"`` and the value `error_score`.

        Raises
        ------
        ImportError
            Without pandas, which the extra ``tables`` brings.
        """
        return frame_of("to_frame", self._rows())

    def summary(self) -> pd.DataFrame:
        """Means and standard errors over the folds, one row per candidate and bound.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``param_<name>``, ``bound``, ``kind`` (the weakest of the folds), ``network``,
            ``n_folds`` that did not fail, and ``mean_<name>`` and ``se_<name>`` of ``value``,
            ``train_error``, ``test_error``, ``gap`` and every term. Folds that failed are left
            out. The standard error is the standard deviation over the folds divided by the root of
            their number; nan for a single fold, and where a value is infinite.

        Raises
        ------
        ImportError
            Without pandas, which the extra ``tables`` brings.
        """
        return frame_of("summary", self._summary_rows())

    @validate_params(
        {"confidence": [Interval(Real, 0, 1, closed="neither")]}, prefer_skip_nested_validation=True
    )
    def rank_correlation(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Kendall's tau between each bound and the real gap.

        It is taken over the candidates, with their means over the folds, or over the folds when
        there is only one candidate. Values that are infinite or missing are left out.

        Parameters
        ----------
        confidence : float, default=0.95
            Confidence of the interval.

        Returns
        -------
        frame : pandas.DataFrame
            Indexed by the name of the bound, with the columns ``tau`` (nan when the bound or the
            gap is constant), ``lower`` and ``upper`` end of the interval, and ``n_pairs`` of a
            bound and a gap that went into it.

        Raises
        ------
        ImportError
            Without pandas, which the extra ``tables`` brings.

        Notes
        -----
        The interval inverts the normal approximation with the largest variance that tau can have
        for n independent pairs of whatever law, 2 (1 - tau^2) / n [1]_. It is wide rather than
        wrong: the narrower one of Fisher's transformation [2]_, made for normal samples and
        moderate tau, shrinks to a point at tau = 1, which few pairs reach easily. With fewer than
        four pairs it is (-1, 1). Candidates are a choice rather than a sample, and folds overlap:
        read it as the precision that so few pairs allow.

        References
        ----------
        .. [1] H. E. Daniels, M. G. Kendall. The significance of rank correlations where parental
           correlation exists. Biometrika 34 (1947), 197-208.
        .. [2] E. C. Fieller, H. O. Hartley, E. S. Pearson. Tests for rank correlation
           coefficients I. Biometrika 44 (1957), 470-481.
        """
        return frame_of("rank_correlation", self._correlations(confidence), ["bound"])

    def _candidates(self) -> list[list[FoldReport]]:
        """The folds of every candidate."""
        candidates: list[list[FoldReport]] = []
        for fold in self.folds:
            if not candidates or fold.fold <= candidates[-1][-1].fold:
                candidates.append([])
            candidates[-1].append(fold)
        return candidates

    def _grouped(self) -> Iterator[tuple[Row, list[FoldReport], list[str]]]:
        """Every candidate: its columns, its folds and the names of its bounds."""
        params = dict.fromkeys(name for fold in self.folds for name in fold.params)
        everywhere = _names(self.folds)
        for folds in self._candidates():
            columns = {f"param_{name}": folds[0].params.get(name) for name in params}
            yield columns, folds, _names(folds) or everywhere

    def _quantities(self) -> list[str]:
        return ["value", "train_error", "test_error", "gap", *term_names(_bounds(self.folds))]

    def _rows(self) -> list[Row]:
        _, *others = self._quantities()
        return [
            columns | self._row(fold, name, others)
            for columns, folds, names in self._grouped()
            for fold in folds
            for name in names
            if fold.report is None or name in fold.report
        ]

    def _row(self, fold: FoldReport, name: str, others: list[str]) -> Row:
        bound, numbers = None, {"value": self.error_score}
        if fold.report is not None:
            bound, numbers = fold.report[name], fold._numbers(name)
        return {
            "fold": fold.fold,
            "n_train": fold.n_train,
            "n_test": fold.n_test,
            "bound": name,
            "value": numbers["value"],
            "kind": "failed" if bound is None else KINDS[bound.kind],
            "network": network_of(name),
            **{other: numbers.get(other, np.nan) for other in others},
            "margin": None if bound is None else bound.margin,
            "vacuous": None if bound is None or bound.kind == "order_only" else bound.vacuous,
            **{key: fold.norms.get(key, np.nan) for key in NORMS},
            "fit_time": fold.fit_time,
        }

    def _summary_rows(self) -> list[Row]:
        quantities = self._quantities()
        rows = []
        for columns, folds, names in self._grouped():
            for name in names:
                kinds = [bound.kind for bound in _bounds(folds) if bound.name == name]
                numbers = [fold._numbers(name) for fold in folds if name in (fold.report or ())]
                row = {
                    **columns,
                    "bound": name,
                    "kind": KINDS[max(kinds, key=list(KINDS).index)] if kinds else "failed",
                    "network": network_of(name),
                    "n_folds": len(kinds),
                }
                for quantity in quantities:
                    values = np.array([n[quantity] for n in numbers if quantity in n])
                    row[f"mean_{quantity}"], row[f"se_{quantity}"] = mean_and_error(values)
                rows.append(row)
        return rows

    def _correlations(self, confidence: float) -> list[Row]:
        rows, prefix = self._rows(), ""
        if len(self._candidates()) > 1:
            rows, prefix = self._summary_rows(), "mean_"
        pairs: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            # Equal gaps must not differ by rounding.
            pair = row[f"{prefix}value"], round(row[f"{prefix}gap"], 12)
            pairs.setdefault(row["bound"], []).extend([pair] if np.isfinite(pair).all() else [])
        return [
            {"bound": name, **_kendall(np.reshape(points, (-1, 2)), confidence)}
            for name, points in pairs.items()
        ]

    def _shown_summary(self) -> list[Row]:
        """The summary as readers should see it, with the first term alone."""
        rows = []
        totals = [len(folds) for _, folds, names in self._grouped() for _ in names]
        for row, total in zip(self._summary_rows(), totals, strict=True):
            if not row["n_folds"]:
                continue
            params = {
                name: _one_line(value) for name, value in row.items() if name.startswith("param_")
            }
            numbers = {
                name.replace("_", " "): _with_error(row[f"mean_{name}"], row[f"se_{name}"])
                for name in ("value", "empirical_risk", "train_error", "test_error", "gap")
                if f"mean_{name}" in row
            }
            labels = {name: row[name] for name in ("bound", "kind", "network")}
            rows.append({**params, **labels, "folds": f"{row['n_folds']} of {total}", **numbers})
        return rows

    def _tables(self) -> list[tuple[str, list[Row]]]:
        candidates = self._candidates()
        count, over = f"{len(candidates[0])} folds", "folds"
        if len(candidates) > 1:
            count, over = f"{count} of {len(candidates)} candidates", "means of the candidates"
        reports = _reports(self.folds)
        confidence = confidence_text(reports[0].delta) if reports else "?"
        scope = "all bounds" if any(report.simultaneous for report in reports) else "each bound"
        title = (
            f"Cross-validated bounds on P[error], {count}, at confidence "
            f"{confidence} for {scope} of each fold; mean ± standard error"
        )
        tables = [(title, self._shown_summary())]
        correlations = self._correlations(0.95)
        if not all(np.isnan(row["tau"]) for row in correlations):
            title = f"Kendall's tau between bound and gap over the {over}, 95 % interval"
            tables.append((title, readable(correlations)))
        return tables

    def _remarks(self) -> list[tuple[str, list[str]]]:
        bounds = list(_bounds(self.folds))
        reading = [
            "gap: test error less train error of the network that the bound speaks of",
            "a bound of a fold holds for the network of that fold; folds share samples, so means "
            "and standard errors describe and bound nothing",
        ]
        if len(self._candidates()) > 1:
            reading.append(
                "choosing a candidate by this table costs confidence that no bound in it pays; "
                "certify and BoundSearch pay it"
            )
        if any(bound.kind == "plug_in" for bound in bounds):
            reading.append(
                "plug-in: in one fold at least, an estimate stands for a population quantity"
            )
        failed: dict[str, list[str]] = {}
        for fold in self.folds:
            if fold.failure:
                params = "".join(f", {key}={_one_line(part)}" for key, part in fold.params.items())
                what = f"{params}: {fold.failure.splitlines()[-1]}"
                failed.setdefault(what, []).append(str(fold.fold))
        failures = [f"fold {' and '.join(numbers)}{what}" for what, numbers in failed.items()]
        shared = shared_assumptions(bounds)
        remarks = [("how to read", reading), ("failed", failures), ("assumed by all", shared)]
        for name in _names(self.folds):
            alike = [bound for bound in bounds if bound.name == name]
            own = [line for line in shared_assumptions(alike) if line not in shared]
            if any(set(bound.assumptions) != {*shared, *own} for bound in alike):
                own.append("further lines differ from fit to fit: see the reports of the folds")
            remarks.append((name, own))
        omitted = dict.fromkeys(line for report in _reports(self.folds) for line in report.omitted)
        return [*remarks, ("left out", list(omitted))]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; nan where there are too few values, or infinite ones."""
    mean = float(values.mean()) if len(values) else np.nan
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, np.nan
    return mean, float(values.std(ddof=1) / np.sqrt(len(values)))


def _reports(folds: Sequence[FoldReport]) -> list[BoundReport]:
    return [fold.report for fold in folds if fold.report is not None]


def _bounds(folds: Sequence[FoldReport]) -> Iterator[Bound]:
    return (bound for report in _reports(folds) for bound in report)


def _names(folds: Sequence[FoldReport]) -> list[str]:
    return list(dict.fromkeys(bound.name for bound in _bounds(folds)))


def _kendall(pairs: np.ndarray, confidence: float) -> dict[str, float]:
    """Kendall's tau of pairs (n, 2) and its interval by Daniels and Kendall (1947)."""
    n = len(pairs)
    if n < 2 or (pairs == pairs[0]).all(0).any():
        return {"tau": np.nan, "lower": np.nan, "upper": np.nan, "n_pairs": n}
    tau = float(kendalltau(*pairs.T).statistic)
    lower, upper = -1.0, 1.0
    if n >= _FEWEST_PAIRS:
        # The roots t of (tau - t)^2 = z^2 2 (1 - t^2) / n.
        ratio = 2 * float(norm.ppf((1 + confidence) / 2)) ** 2 / n
        half = math.sqrt(ratio * (1 + ratio - tau**2))
        lower = max((tau - half) / (1 + ratio), lower)
        upper = min((tau + half) / (1 + ratio), upper)
    return {"tau": tau, "lower": lower, "upper": upper, "n_pairs": n}


def _with_error(mean: float, error: float) -> str:
    # Rounding leaves of a zero what nobody should read.
    mean = round(mean, 12) + 0.0
    return shown(mean) if np.isnan(error) else f"{mean:.4g} ± {error:.2g}"


def _one_line(value: Any) -> str:
    return "-" if value is None else " ".join(str(value).split())
