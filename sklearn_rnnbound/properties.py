"""What can be proved of a cell: the seam between cells and bounds.

A bound that holds for a cell is a proof about both, so neither lists the other. A bound names the
property that its proof needs, a cell declares those that were proved for it, and what is not
declared does not apply.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOMOGENEOUS", "INTERVAL", "ROW_LIPSCHITZ", "UNROLLABLE", "Property"]


@dataclass(frozen=True)
class Property:
    """Something that a proof needs of a cell.

    Parameters
    ----------
    name : str
        An adjective, for messages.
    meaning : str
        What it says of the cell.
    """

    name: str
    meaning: str


HOMOGENEOUS = Property(
    "homogeneous",
    "h_t = rho(U x_t + W h_(t-1)), y = V h_L with rho(c g) = c rho(g) for c >= 0, such as relu",
)
ROW_LIPSCHITZ = Property(
    "row-Lipschitz",
    "h_t = rho(U x_t + W h_(t-1)), y = V h_L, where rho is 1-Lipschitz, entry by entry, and "
    "rho(0) = 0",
)
UNROLLABLE = Property(
    "unrollable",
    "a feed-forward network carries later inputs through its layers as rho(x) and rho(-x), of which "
    "x = rho(x) - rho(-x)",
)
INTERVAL = Property(
    "interval",
    "h_t = rho(U x_t + W h_(t-1)), y = V h_L, rho 1-Lipschitz and rho(0) = 0: sums over a box of "
    "weights are bounded entry by entry (Theorem I)",
)
