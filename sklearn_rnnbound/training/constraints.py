"""Norm constraints: rows in l1 balls or within sign budgets, types of units, boxes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.cells import Cell, Weights

__all__ = [
    "Box",
    "Radius",
    "WeightConstraints",
    "as_radius",
    "kind_norm",
    "project_rows_",
    "row_norm",
]

#: The l1 radius of a row, its sign budgets (beta+, beta-), or None where nothing is constrained.
Radius = float | tuple[float, float] | None

_TINY = torch.finfo(torch.float64).tiny


def as_radius(name: str, value: Any) -> Radius:
    """Radius as a float, a pair of floats or None; ValueError for a pair that is none."""
    if isinstance(value, tuple | list):
        if len(value) != 2 or not all(part >= 0 for part in value):
            raise ValueError(f"{name} must be a radius or a pair (beta+, beta-), got {value!r}")
        plus, minus = value
        return float(plus), float(minus)
    return None if value is None else float(value)


def _project_simplex(sizes: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Euclidean projection of float64 rows >= 0 with larger sums on the simplex of a radius.

    The sum is convex and piecewise linear in the threshold that is subtracted. Newton's method
    climbs to the root from below, and each step that falls short of it sets entries to zero for
    good (C. Michelot, "A finite algorithm for finding the projection of a point onto the canonical
    simplex of R^n", Journal of Optimization Theory and Applications 50, 1986). A sort is no faster
    on narrow rows and far slower on wide ones.
    """
    width = sizes.shape[1]
    slack = width * torch.finfo(sizes.dtype).eps
    # In radii, relative to the largest entry: rows far outside lose no digits, nothing overflows.
    sizes = sizes.clamp(max=torch.finfo(sizes.dtype).max)
    sizes.sub_(sizes.amax(1, keepdim=True)).div_(radius).add_(1).relu_()
    # So many steps are enough in exact arithmetic; a handful is the rule.
    for _ in range(width):
        sums = sizes.sum(1, keepdim=True)
        if sums.amax().item() <= 1 + slack:
            break
        # A row that is done stands still, so that no row depends on the others.
        excess = torch.threshold_(sums.sub_(1), slack, 0.0)
        sizes.sub_(excess.div_(sizes.sign().sum(1, keepdim=True))).relu_()
    # The rounding of the steps leaves the sums off the radius in the last digits.
    return sizes.mul_(radius / sizes.sum(1, keepdim=True))


# Up to so many entries one operation on rows padded to one width beats several operations.
_PADDED_ENTRIES = 2**17


class _RowBalls:
    """l1 balls of the rows of several matrices, which are projected as the rows of one matrix.

    With u = eps/2 and width w, a row with a computed norm up to radius (1 - 2 w u) satisfies
    the constraint in every order of summation and after rounding of the radius itself; a row
    that is projected goes to radius (1 - 3 w u), so that it is not caught again.

    Parameters
    ----------
    radii : sequence of float or None
        Radius of each matrix.
    matrices : sequence of torch.Tensor of shape (rows, width)
        Matrices of the shapes, dtype and device of those to be projected.
    """

    def __init__(self, radii: Sequence[float | None], matrices: Sequence[torch.Tensor]) -> None:
        finfo = torch.finfo(matrices[0].dtype)
        limits, insides = [], []
        for radius, A in zip(radii, matrices, strict=True):
            number = torch.full(
                A.shape[:1], math.inf if radius is None else radius, dtype=torch.float64
            ).to(A.device)
            slack = A.shape[1] * finfo.eps
            limits.append(number * (1 - slack))
            # Shared among its entries a smaller radius underflows: zero is the answer.
            vanishing = number < A.shape[1] * finfo.tiny
            # What is projected stays finite, however large the radius.
            inside = (number * (1 - 1.5 * slack)).clamp(max=finfo.max)
            insides.append(inside.masked_fill(vanishing, 0.0))
        self._limits, self._insides = torch.cat(limits), torch.cat(insides)
        width = max(A.shape[1] for A in matrices)
        self._rows = matrices[0].new_zeros(len(self._limits), width)
        parts = self._rows.split([len(A) for A in matrices])
        self._parts = [part[:, : A.shape[1]] for part, A in zip(parts, matrices, strict=True)]

    def project_(self, matrices: Sequence[torch.Tensor]) -> bool:
        """Project in place the rows whose norm may exceed the radius; whether there are any."""
        excess = torch.cat([A.abs().sum(1) for A in matrices]) - self._limits
        # This ends most calls, at less cost than the mask. NaN goes on to the mask.
        if excess.amax().item() <= 0:
            return False
        violators = (excess > 0).nonzero()[:, 0]
        for part, A in zip(self._parts, matrices, strict=True):
            part.copy_(A)
        rows = self._rows[violators]
        if len(rows) == 0:
            return False
        inside = self._insides[violators][:, None]
        shrunk = _project_simplex(rows.abs().double(), inside.clamp(min=_TINY)).mul_(inside > 0)
        self._rows[violators] = shrunk.to(rows.dtype).copysign_(rows)
        for part, A in zip(self._parts, matrices, strict=True):
            A.copy_(part)
        return True


def _project_rows_(
    matrices: Sequence[torch.Tensor],
    radii: Sequence[Radius],
    known: dict[tuple[Hashable, ...], list[_RowBalls]],
) -> None:
    """Project matrices of one dtype in place; `known` keeps what depends on their shapes only."""
    parts: list[torch.Tensor] = []
    numbers: list[float | None] = []
    for A, radius in zip(matrices, radii, strict=True):
        if isinstance(radius, tuple):
            # A projection never flips a sign, so the two parts separate.
            parts += [A.clamp(min=0), A.neg().clamp_(min=0)]
            numbers += radius
        else:
            parts.append(A)
            numbers.append(radius)
    key = *(A.shape for A in matrices), parts[0].dtype, parts[0].device
    if key not in known:
        rows, width = sum(map(len, parts)), max(part.shape[1] for part in parts)
        together = rows * width <= _PADDED_ENTRIES
        size = len(parts) if together else 1
        known[key] = [
            _RowBalls(numbers[i : i + size], parts[i : i + size])
            for i in range(0, len(parts), size)
        ]
    size = len(parts) // len(known[key])
    changed = [
        balls.project_(parts[i * size : (i + 1) * size]) for i, balls in enumerate(known[key])
    ]
    if any(changed):
        pending = iter(parts)
        for A, radius in zip(matrices, radii, strict=True):
            part = next(pending)
            if isinstance(radius, tuple):
                torch.sub(part, next(pending), out=A)


def project_rows_(A: torch.Tensor, radius: Radius) -> None:
    """Project every row of A, in place, on its l1 ball or within its sign budgets (Michelot 1986).

    The result satisfies the constraint in the dtype of A, in float64 and in any order of summation;
    it may lie inside the set by ``2 * (width + 1) * eps``, relatively. Each row is projected for
    itself, with the same result whatever the others are. A row with a NaN stays as it is; infinite
    entries count as the largest number that there is. Nothing happens where the radius is None.
    """
    if radius is not None:
        _project_rows_([A], [radius], {})


def row_norm(A: np.ndarray, radius: Radius = None) -> float | tuple[float, float]:
    """Largest row l1 norm of A, or the largest sums of both signs where the radius is a pair."""
    A = np.asarray(A, dtype=np.float64)
    with np.errstate(over="ignore"):
        if isinstance(radius, tuple):
            return (
                float(np.maximum(A, 0).sum(1).max()),
                float(np.maximum(-A, 0).sum(1).max()),
            )
        return float(np.abs(A).sum(1).max())


def kind_norm(matrices: Iterable[np.ndarray], radius: Radius = None) -> float | tuple[float, float]:
    """Largest :func:`row_norm` of the matrices of a kind."""
    norms = np.array([row_norm(A, radius) for A in matrices] or [0.0]).max(0)
    return tuple(norms.tolist()) if norms.ndim else float(norms)


@dataclass(frozen=True)
class Box:
    """Intervals w (1 +- width/2) around weights w; with a width up to 2 no sign changes.

    Parameters
    ----------
    center : dict of ndarray
        The weights.
    width : float
        Relative width, in [0, 2].
    """

    center: Mapping[str, np.ndarray]
    width: float

    @classmethod
    def of(
        cls, setting: Setting, learned: Mapping[str, np.ndarray] | None, like: torch.Tensor
    ) -> Box | None:
        """The box that a setting draws around learned weights, in the dtype of a tensor."""
        if learned is None or setting.box_width is None:
            return None
        center = {name: torch.tensor(weight).to(like.dtype) for name, weight in learned.items()}
        return cls({name: weight.numpy() for name, weight in center.items()}, setting.box_width)

    def ends(self, like: torch.Tensor) -> tuple[Weights, Weights]:
        """Lower and upper ends, in the dtype and on the device of a tensor."""
        centers = {name: torch.tensor(weight).to(like) for name, weight in self.center.items()}
        halves = {name: self.width / 2 * weight.abs() for name, weight in centers.items()}
        return (
            {name: weight - halves[name] for name, weight in centers.items()},
            {name: weight + halves[name] for name, weight in centers.items()},
        )


@dataclass(frozen=True)
class WeightConstraints:
    """The constraint set Omega of the weights of a cell.

    Parameters
    ----------
    cell : Cell
        The cell; constraints go by the kinds of its weights.
    beta_u, beta_w, beta_v : float, pair of floats or None
        Row radii of the weights of the kinds input, recurrent and readout.
    unit_types : {1, 2}
        With 2, the first half of the hidden units has input and read-out weights >= 0, the other
        half <= 0, both recurrent weights >= 0, and no weight connects the halves. For two classes
        row 0 of the read-out is zero then: the halves speak for and against class 1.
    box : Box or None
        Intervals that hold every weight; together with radii only where these follow from it.

    Raises
    ------
    ValueError
        Where the box lets weights leave a radius.
    """

    cell: Cell
    beta_u: Radius = None
    beta_w: Radius = None
    beta_v: Radius = None
    unit_types: int = 1
    box: Box | None = None
    _ends: dict[tuple[torch.dtype, torch.device], tuple[Weights, Weights]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _balls: dict[tuple[Hashable, ...], list[_RowBalls]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, cell: Cell, setting: Setting, box: Box | None = None) -> WeightConstraints:
        """The constraints that a setting speaks of, and a box around learned weights."""
        radii = setting.beta_u, setting.beta_w, setting.beta_v
        return cls(cell, *radii, setting.unit_types, box)

    def __post_init__(self) -> None:
        square = self.cell.hidden_size, self.cell.hidden_size
        forms = [form for form in self.cell.weights.values() if form.kind == "recurrent"]
        if self.unit_types == 2 and any((form.rows, form.columns) != square for form in forms):
            raise ValueError(f"unit_types=2 needs weights between all units, unlike {self.cell}")
        if self.box is None:
            return
        like = torch.from_numpy(next(iter(self.box.center.values())))
        lower, upper = self.box.ends(like)
        names = {"input": "beta_u", "recurrent": "beta_w", "readout": "beta_v"}
        for matrix, radius in self._radii().items():
            low, high = lower[matrix], upper[matrix]
            extreme = torch.where(high.abs() > low.abs(), high, low)
            projected = extreme.clone()
            project_rows_(projected, radius)
            if not torch.equal(projected, extreme):
                name = names[self.cell.weights[matrix].kind]
                raise ValueError(
                    f"box_width={self.box.width:g} lets weights leave {name}={radius!r}: "
                    f"lower box_width, or drop {name}"
                )

    def _radii(self) -> dict[str, Radius]:
        """Radius of every matrix."""
        of_kind = {"input": self.beta_u, "recurrent": self.beta_w, "readout": self.beta_v}
        return {name: of_kind[form.kind] for name, form in self.cell.weights.items()}

    def initial_weights(self, seed: int) -> Weights:
        """Fresh weights with the signs that their unit types ask for, in float64."""
        weights = self.cell.initial_weights(torch.Generator().manual_seed(seed))
        if self.unit_types == 2:
            for matrix in weights.values():
                matrix.abs_()
            half = (self.cell.hidden_size + 1) // 2
            for U in self.cell.of_kind("input", weights):
                U[half:].neg_()
            for V in self.cell.of_kind("readout", weights):
                V[:, half:].neg_()
                if len(V) == 2:
                    V[0].zero_()
        return weights

    def project_(self, weights: Weights) -> None:
        """Euclidean projection of the weights on the constraint set, in place; any strides."""
        if self.box is not None:
            like = next(iter(weights.values()))
            key = like.dtype, like.device
            if key not in self._ends:
                self._ends[key] = self.box.ends(like)
            lower, upper = self._ends[key]
            for name, weight in weights.items():
                torch.clamp(weight, lower[name], upper[name], out=weight)
            return
        if self.unit_types == 2:
            self._project_types_(weights)
        radii = self._radii()
        if any(radius is not None for radius in radii.values()):
            matrices = [weights[name] for name in radii]
            _project_rows_(matrices, list(radii.values()), self._balls)

    def _project_types_(self, weights: Weights) -> None:
        """Clamp the signs; projecting on the balls afterwards is the projection on both."""
        half = (self.cell.hidden_size + 1) // 2
        for U in self.cell.of_kind("input", weights):
            U[:half].clamp_(min=0)
            U[half:].clamp_(max=0)
        for W in self.cell.of_kind("recurrent", weights):
            W.clamp_(min=0)
            W[:half, half:].zero_()
            W[half:, :half].zero_()
        for V in self.cell.of_kind("readout", weights):
            V[:, :half].clamp_(min=0)
            V[:, half:].clamp_(max=0)
            if len(V) == 2:
                V[0].zero_()
