"""Norm constraints: rows in l1 balls or within sign budgets, and the Fisher-Rao radius."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from sklearn_rnnbound.network import Weights

__all__ = ["Box", "Radius", "WeightConstraints", "project_rows_", "row_norm"]

#: The l1 radius of a row, its sign budgets (beta+, beta-), or None where nothing is constrained.
Radius = float | tuple[float, float] | None
#: The same for the networks of a stack, where radii that differ are a tensor.
StackedRadius = Radius | torch.Tensor | tuple[float | torch.Tensor, float | torch.Tensor]


_TINY = torch.finfo(torch.float64).tiny


def _project_simplex(sizes: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Euclidean projection of float64 rows >= 0 with larger sums on the simplex of a radius.

    The sum is convex and piecewise linear in the threshold that is subtracted. Newton's method
    climbs to the root from below, and each step that falls short of it sets entries to zero for
    good (Michelot 1986). A sort is no faster on narrow rows and far slower on wide ones.
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
    radii : sequence of float, torch.Tensor or None
        Radii of each matrix; a tensor broadcasts to the shape (..., rows).
    matrices : sequence of torch.Tensor of shape (..., rows, width)
        Matrices of the shapes, dtype and device of those to be projected.
    """

    def __init__(
        self, radii: Sequence[float | torch.Tensor | None], matrices: Sequence[torch.Tensor]
    ) -> None:
        finfo = torch.finfo(matrices[0].dtype)
        limits, insides = [], []
        for radius, A in zip(radii, matrices, strict=True):
            number = torch.as_tensor(
                math.inf if radius is None else radius, dtype=torch.float64, device=A.device
            ).expand(A.shape[:-1])
            slack = A.shape[-1] * finfo.eps
            limits.append(number * (1 - slack))
            # Shared among its entries a smaller radius underflows: zero is the answer.
            vanishing = number < A.shape[-1] * finfo.tiny
            # What is projected stays finite, however large the radius.
            inside = (number * (1 - 1.5 * slack)).clamp(max=finfo.max)
            insides.append(inside.masked_fill(vanishing, 0.0))
        self._limits, self._insides = torch.cat(limits, -1), torch.cat(insides, -1)
        width = max(A.shape[-1] for A in matrices)
        self._rows = matrices[0].new_zeros(*self._limits.shape, width)
        parts = self._rows.split([A.shape[-2] for A in matrices], dim=-2)
        self._parts = [part[..., : A.shape[-1]] for part, A in zip(parts, matrices, strict=True)]

    def project_(self, matrices: Sequence[torch.Tensor]) -> bool:
        """Project in place the rows whose norm may exceed the radius; whether there are any."""
        excess = torch.cat([A.abs().sum(-1) for A in matrices], -1) - self._limits
        # This ends most calls, at less cost than the mask. NaN goes on to the mask.
        if excess.amax().item() <= 0:
            return False
        violators = (excess > 0).nonzero(as_tuple=True)
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
    radii: Sequence[StackedRadius],
    known: dict[tuple[Hashable, ...], list[_RowBalls]],
) -> None:
    """Project matrices of one dtype in place; `known` keeps what depends on their shapes only."""
    parts: list[torch.Tensor] = []
    numbers: list[float | torch.Tensor | None] = []
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
        rows = sum(math.prod(part.shape[:-1]) for part in parts)
        together = rows * max(part.shape[-1] for part in parts) <= _PADDED_ENTRIES
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


def project_rows_(A: torch.Tensor, radius: StackedRadius) -> None:
    """Project every row of A, in place, on its l1 ball or within its sign budgets.

    The result satisfies the constraint in the dtype of A, in float64 and in any order of
    summation; it may lie inside the set by ``2 * (width + 1) * eps``, relatively. Each row is
    projected for itself, with the same result whatever the others are. A row with a NaN stays
    as it is; infinite entries count as the largest number that there is.

    Parameters
    ----------
    A : torch.Tensor of shape (..., rows, width)
        Weights, overwritten; any strides.
    radius : float, pair of floats or None
        l1 radius, or (beta+, beta-): bounds on the sums of the positive and of the negative
        parts. None: nothing happens. In the place of a number there may be a float64 tensor that
        broadcasts to the shape (..., rows).

    References
    ----------
    C. Michelot, "A finite algorithm for finding the projection of a point onto the canonical
    simplex of R^n", Journal of Optimization Theory and Applications 50, 1986.
    """
    if radius is not None:
        _project_rows_([A], [radius], {})


def row_norm(A: np.ndarray, radius: Radius = None) -> float | tuple[float, float]:
    """Largest row l1 norm of A, or the largest sign sums when the radius is a pair.

    Parameters
    ----------
    A : ndarray of shape (rows, width)
        Weights.
    radius : float, pair of floats or None
        The constraint on A; only its form matters.

    Returns
    -------
    norm : float or pair of floats
        ``max_i sum_j |a_ij|``, or ``(max_i sum_j max(a_ij, 0), max_i sum_j max(-a_ij, 0))``.
    """
    A = np.asarray(A, dtype=np.float64)
    with np.errstate(over="ignore"):
        if isinstance(radius, tuple):
            return (
                float(np.maximum(A, 0).sum(1).max()),
                float(np.maximum(-A, 0).sum(1).max()),
            )
        return float(np.abs(A).sum(1).max())


@dataclass(frozen=True)
class Box:
    """Intervals w (1 +- width/2) around weights w; with a width up to 2 no sign changes.

    Parameters
    ----------
    center : tuple of ndarray of shapes (m, d), (m, m), (k, m)
        The weights.
    width : float
        Relative width, in [0, 2].
    """

    center: tuple[np.ndarray, np.ndarray, np.ndarray]
    width: float

    def ends(self, like: torch.Tensor) -> tuple[Weights, Weights]:
        """Lower and upper ends for U, W and V, in the dtype and on the device of a tensor."""
        U, W, V = (torch.tensor(weight).to(like) for weight in self.center)
        half = self.width / 2
        lower = U - half * U.abs(), W - half * W.abs(), V - half * V.abs()
        upper = U + half * U.abs(), W + half * W.abs(), V + half * V.abs()
        return lower, upper


@dataclass(frozen=True)
class WeightConstraints:
    """The constraint set Omega of the weights U, W and V.

    Parameters
    ----------
    beta_u, beta_w, beta_v : float, pair of floats or None
        Row radii of U, W and V.
    unit_types : {1, 2}
        With 2, the first half of the hidden units has U, V >= 0, the other half U, V <= 0, both
        W >= 0, and no weight connects the halves. For two classes row 0 of V is zero then: the
        halves speak for and against class 1.
    box : Box or None
        Intervals that hold every weight; together with radii only where these follow from it.
    """

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

    def with_box(self, box: Box, like: torch.Tensor) -> WeightConstraints:
        """The same constraints with a box; ValueError where the box lets weights leave a radius.

        Parameters
        ----------
        box : Box
            The intervals.
        like : torch.Tensor
            A tensor of the dtype and on the device of the weights.

        Returns
        -------
        constraints : WeightConstraints
            The constraints.
        """
        for name, low, high in zip(("beta_u", "beta_w", "beta_v"), *box.ends(like), strict=True):
            extreme = torch.where(high.abs() > low.abs(), high, low)
            projected = extreme.clone()
            project_rows_(projected, getattr(self, name))
            if not torch.equal(projected, extreme):
                raise ValueError(
                    f"box_width={box.width:g} lets weights leave {name}={getattr(self, name)!r}: "
                    f"lower box_width, or drop {name}"
                )
        return replace(self, box=box)

    @property
    def form(self) -> tuple[Hashable, ...]:
        """What sets of constraints must have in common to be one set for a stack of networks."""
        radii = self.beta_u, self.beta_w, self.beta_v
        return *(isinstance(radius, tuple) for radius in radii), self.unit_types, id(self.box)

    @classmethod
    def stacked(
        cls, constraints: Sequence[WeightConstraints], device: torch.device
    ) -> WeightConstraints:
        """The constraints of a stack of networks, one set of one form for each.

        Parameters
        ----------
        constraints : sequence of WeightConstraints
            The sets.
        device : torch.device
            Device of the weights.

        Returns
        -------
        constraints : WeightConstraints
            A set for :meth:`project_` on the stack.
        """

        def together(radii: Sequence[Any]) -> Any:
            first = radii[0]
            if all(radius == first for radius in radii):
                return first
            if isinstance(first, tuple):
                return tuple(together(part) for part in zip(*radii, strict=True))
            numbers = [[math.inf if radius is None else radius] for radius in radii]
            return torch.tensor(numbers, dtype=torch.float64, device=device)

        names = "beta_u", "beta_w", "beta_v"
        radii = {name: together([getattr(c, name) for c in constraints]) for name in names}
        return replace(constraints[0], **radii)

    def orient_(self, U: torch.Tensor, W: torch.Tensor, V: torch.Tensor) -> None:
        """Give fresh weights the signs that their unit type asks for, in place."""
        if self.unit_types == 2:
            half = (U.shape[-2] + 1) // 2
            U.abs_()[..., half:, :].neg_()
            W.abs_()
            V.abs_()[..., half:].neg_()
            if V.shape[-2] == 2:
                V[..., 0, :].zero_()

    def project_(self, U: torch.Tensor, W: torch.Tensor, V: torch.Tensor) -> None:
        """Euclidean projection of the weights on the constraint set, in place.

        Parameters
        ----------
        U, W, V : torch.Tensor of shapes (..., m, d), (..., m, m), (..., k, m)
            Weights of one network or of a stack of networks, overwritten; any strides.
        """
        if self.box is not None:
            key = U.dtype, U.device
            if key not in self._ends:
                self._ends[key] = self.box.ends(U)
            for weight, low, high in zip((U, W, V), *self._ends[key], strict=True):
                torch.clamp(weight, low, high, out=weight)
            return
        if self.unit_types == 2:
            # Clamping first and projecting on the ball then is the projection on both.
            half = (U.shape[-2] + 1) // 2
            U[..., :half, :].clamp_(min=0)
            U[..., half:, :].clamp_(max=0)
            W.clamp_(min=0)
            W[..., :half, half:].zero_()
            W[..., half:, :half].zero_()
            V[..., :half].clamp_(min=0)
            V[..., half:].clamp_(max=0)
            if V.shape[-2] == 2:
                V[..., 0, :].zero_()
        radii = self.beta_u, self.beta_w, self.beta_v
        if any(radius is not None for radius in radii):
            _project_rows_((U, W, V), radii, self._balls)
