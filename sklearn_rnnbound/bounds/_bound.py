"""A bound, its terms, and what was fixed before the data were seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sklearn_rnnbound.properties import Property

__all__ = [
    "Bound",
    "Norm",
    "NotApplicableError",
    "Setting",
    "Term",
    "certificate",
    "confidence_text",
]

#: The l1 radius of a row or its sign budgets (beta+, beta-).
Norm = float | tuple[float, float]


def confidence_text(delta: float) -> str:
    """1 - delta in digits, or as a difference where rounding would make it 1."""
    return f"{1 - delta:g}" if delta >= 1e-6 else f"1 - {delta:g}"


@dataclass(frozen=True)
class Term:
    """One addend of a bound.

    Parameters
    ----------
    name : str
        What it stands for: ``"empirical_risk"``, ``"linear"``, ``"difference"``, ``"noise"``,
        ``"confidence"``, ...
    value : float
        Its value, in units of probability of error.
    rate : str
        How it changes with the sample size n, such as ``"n^-1/2"``.
    """

    name: str
    value: float
    rate: str


@dataclass(frozen=True)
class Bound:
    """An upper bound on the probability of error, with everything it rests on.

    Parameters
    ----------
    name : str
        Key of :data:`sklearn_rnnbound.BOUNDS`.
    value : float
        The bound; it is never clipped, and inf where it says nothing.
    kind : {"certified", "plug_in", "order_only"}
        Whether it holds with probability 1 - delta under its assumptions, rests on an estimate
        in place of a population quantity, or has constants that are not explicit.
    terms : tuple of Term
        Addends; they sum to `value`.
    margin : float or None
        The margin alpha; None where the bound speaks of errors without a margin.
    delta : float or None
        Probability with which the bound may fail, everything included; None for a mere order.
    assumptions : tuple of str
        What was assumed, fixed, estimated and paid for.
    vacuous : bool
        Whether the bound is at least 1 and so excludes nothing.
    reason : str
        Why it is vacuous, or an empty string.
    """

    name: str
    value: float
    kind: str
    terms: tuple[Term, ...]
    margin: float | None
    delta: float | None
    assumptions: tuple[str, ...]
    vacuous: bool
    reason: str

    @property
    def empirical_risk(self) -> float:
        """Value of the term of this name."""
        return self.term("empirical_risk")

    def term(self, name: str) -> float:
        """Value of a term.

        Parameters
        ----------
        name : str
            Name of the term.

        Returns
        -------
        value : float
            Its value; KeyError when the bound has no term of this name.
        """
        return {term.name: term.value for term in self.terms}[name]

    def explained(self, reason: str) -> Bound:
        """The same bound, with the reason why it is vacuous.

        Parameters
        ----------
        reason : str
            A sentence, for people.

        Returns
        -------
        bound : Bound
            A new bound; this one stays as it is.
        """
        return replace(self, reason=reason)

    def as_estimate(self, why: str) -> Bound:
        """The same bound, certified no more.

        Parameters
        ----------
        why : str
            What stands against a certificate; it is listed among the assumptions.

        Returns
        -------
        bound : Bound
            A new bound; this one stays as it is.
        """
        kind = "plug_in" if self.kind == "certified" else self.kind
        return replace(self, kind=kind, assumptions=(*self.assumptions, why))

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        """The bound as a few lines, for people."""
        level = "" if self.delta is None else f" at confidence {confidence_text(self.delta)}"
        terms = ", ".join(f"{term.name} {term.value:.4g}" for term in self.terms)
        lines = [f"{self.name}: {self.value:.4g}, {self.kind.replace('_', ' ')}{level} ({terms})"]
        lines += [f"vacuous (>= 1). {self.reason}"] if self.vacuous else []
        return "\n  - ".join([*lines, *self.assumptions])


@dataclass(frozen=True)
class Setting:
    """What was fixed before the data were seen.

    Parameters
    ----------
    beta_u, beta_w, beta_v : float, pair of floats or None
        Radii of the rows of U, W and V; None: not constrained.
    fisher_rao_max : float or None
        Radius of the Fisher-Rao norm on the training data.
    unit_types : {1, 2}
        With 2 the first half of the units has U, V >= 0, the other half U, V <= 0, both W >= 0
        and no connections between them; for two classes, class 0 is then read out as zero.
    input_bound : float or None
        B with ||x||_inf <= B almost surely.
    min_eigenvalue_known : bool
        Whether the smallest eigenvalue of the second moment was known beforehand.
    properties : frozenset of Property
        What was proved for the cell; nothing else may be taken for granted.
    cell : str
        What messages call the cell.
    box_width : float or None
        Relative width of the box around weights that other data have trained; None: no box.
    noise : {"gaussian", "uniform", "laplace"}
        Law of the input noise.
    noise_std : float
        Its standard deviation sigma.
    margin : float or "auto"
        alpha, or "auto": the best of the grid of :mod:`sklearn_rnnbound.bounds.union`.
    margin_bins : tuple of int
        Exponents of the bins of that grid to look at; empty: all. Each has its share of delta,
        however few are looked at.
    delta : float
        Probability with which a bound may fail.
    notes : tuple of str
        Further assumptions to be listed.
    """

    beta_u: Norm | None = None
    beta_w: Norm | None = None
    beta_v: Norm | None = None
    fisher_rao_max: float | None = None
    unit_types: int = 1
    input_bound: float | None = None
    min_eigenvalue_known: bool = False
    properties: frozenset[Property] = frozenset()
    cell: str = "this cell"
    box_width: float | None = None
    noise: str = "gaussian"
    noise_std: float = 0.0
    margin: float | str = "auto"
    margin_bins: tuple[int, ...] = ()
    delta: float = 0.05
    notes: tuple[str, ...] = ()


class NotApplicableError(ValueError):
    """A bound does not cover the network, or lacks data that it needs."""


def certificate(
    name: str, setting: Setting, prices: dict[str, float], lines: Sequence[str], reason: str
) -> Bound:
    """A certificate without a margin, told as it grows.

    `prices` holds the empirical risk, and under the name of every further term what it makes of the
    bound; the last one is the value. The reason is told where it is vacuous.
    """
    *_, value = prices.values()
    terms: list[Term] = []
    before = 0.0
    for term, after in prices.items():
        terms.append(Term(term, after - before, "n^-1/2" if terms else "n^0"))
        before = after
    return Bound(
        name=name,
        value=value,
        kind="certified",
        terms=tuple(terms),
        margin=None,
        delta=setting.delta,
        assumptions=(*setting.notes, *lines),
        vacuous=value >= 1,
        reason=reason if value >= 1 else "",
    )
