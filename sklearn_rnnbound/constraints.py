"""Norm constraints: rows in l1 balls or within sign budgets, and the Fisher-Rao radius."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from sklearn_rnnbound.network import Weights

__all__ = ["Box", "Radius", "WeightConstraints", "project_rows_", "row_norm"]

#: The l1 radius of a row, its sign budgets (beta+, beta-), or None where nothing is constrained.
Radius = float | tuple[float, float] | None


def _project_l1(rows: torch.Tensor, radius: float) -> torch.Tensor:
    """Euclidean projection of float64 rows outside an l1 ball (Duchi et al. 2008, Figure 1)."""
    if radius < rows.shape[1] * torch.finfo(rows.dtype).tiny:
        # Shared among the entries such a radius underflows: zero, inside the ball, is the answer.
        return torch.zeros_like(rows)
    # The threshold is found relative to the largest entry: rows far outside lose no digits.
    magnitudes = rows.abs()
    magnitudes -= magnitudes.amax(1, keepdim=True)
    ordered = magnitudes.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - radius
    counts = torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype, device=rows.device)
    last = (ordered * counts > excess).sum(1, keepdim=True) - 1
    shrunk = (magnitudes - (excess / counts).gather(1, last)).clamp(min=0)
    # The running sums above leave the norm off the radius in the last digits.
    shrunk *= radius / shrunk.sum(1, keepdim=True)
    return shrunk * rows.sign()


def _project_ball_rows_(A: torch.Tensor, radius: float) -> None:
    """Project in place the rows of A whose l1 norm may exceed the radius in some rounding.

    With u = eps/2 and width w, a row with a computed norm up to radius (1 - 2 w u) satisfies
    the constraint in every order of summation and after rounding of the radius itself; a row
    that is projected goes to radius (1 - 3 w u), so that it is not caught again.
    """
    slack = A.shape[1] * torch.finfo(A.dtype).eps
    violators = A.abs().sum(1) > radius * (1 - slack)
    if violators.any():
        inside = radius * (1 - 1.5 * slack)
        A[violators] = _project_l1(A[violators].double(), inside).to(A.dtype)


def project_rows_(A: torch.Tensor, radius: Radius) -> None:
    """Project every row of A, in place, on its l1 ball or within its sign budgets.

    The result satisfies the constraint in the dtype of A, in float64 and in any order of
    summation; it may lie inside the set by ``2 * (width + 1) * eps``, relatively.

    Parameters
    ----------
    A : torch.Tensor of shape (rows, width)
        Weights, overwritten.
    radius : float, pair of floats or None
        l1 radius, or (beta+, beta-): bounds on the sums of the positive and of the negative
        parts. None: nothing happens.
    """
    if radius is None:
        return
    if isinstance(radius, tuple):
        # A projection never flips a sign, so the two parts separate.
        positive, negative = A.clamp(min=0), (-A).clamp(min=0)
        _project_ball_rows_(positive, radius[0])
        _project_ball_rows_(negative, radius[1])
        torch.sub(positive, negative, out=A)
    else:
        _project_ball_rows_(A, radius)


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

    def _signs(self, U: torch.Tensor) -> torch.Tensor:
        signs = U.new_ones(U.shape[0])
        signs[(U.shape[0] + 1) // 2 :] = -1
        return signs

    def orient_(self, U: torch.Tensor, W: torch.Tensor, V: torch.Tensor) -> None:
        """Give fresh weights the signs that their unit type asks for, in place."""
        if self.unit_types == 2:
            signs = self._signs(U)
            U.abs_().mul_(signs[:, None])
            W.abs_()
            V.abs_().mul_(signs)
            if len(V) == 2:
                V[0] = 0

    def project_(self, U: torch.Tensor, W: torch.Tensor, V: torch.Tensor) -> None:
        """Euclidean projection of the weights on the constraint set, in place."""
        if self.box is not None:
            for weight, low, high in zip((U, W, V), *self.box.ends(U), strict=True):
                torch.clamp(weight, low, high, out=weight)
            return
        if self.unit_types == 2:
            # Clamping first and projecting on the ball then is the projection on both.
            signs = self._signs(U)
            U.mul_(signs[:, None]).clamp_(min=0).mul_(signs[:, None])
            W.clamp_(min=0).mul_(signs[:, None] == signs)
            V.mul_(signs).clamp_(min=0).mul_(signs)
            if len(V) == 2:
                V[0] = 0
        project_rows_(U, self.beta_u)
        project_rows_(W, self.beta_w)
        project_rows_(V, self.beta_v)
