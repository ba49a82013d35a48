"""What can be proved of a cell: the seam between cells and bounds.

A bound that holds for a cell is a proof about both, so neither lists the other. A bound names the
property that its proof needs, a cell declares those that were proved for it, and what is not
declared does not apply.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOMOGENEOUS", "INTERVAL", "PLAIN", "ROW_LIPSCHITZ", "UNROLLABLE", "Property"]


@dataclass(frozen=True)
class Property:
    """Something that a proof needs of a cell.

    Parameters
    ----------
    name : str
        An adjective, for messages.
    example : str
        Units that have it, for messages.
    meaning : str
        What it says of the cell.
    """

    name: str
    example: str
    meaning: str


HOMOGENEOUS = Property(
    "homogeneous",
    "relu units",
    "h_t = rho(U x_t + W h_(t-1)), y = V h_L, where rho(c g) = c rho(g) for c >= 0 and the slopes "
    "of rho are in [0, 1], as those of relu",
)
ROW_LIPSCHITZ = Property(
    "row-Lipschitz",
    "relu or tanh units",
    "h_t = rho(U x_t + W h_(t-1)), y = V h_L, where rho is 1-Lipschitz, entry by entry, and "
    "rho(0) = 0",
)
UNROLLABLE = Property(
    "unrollable",
    "relu units",
    "homogeneous, with x = rho(x) - rho(-x) and rho(rho(x)) = rho(x), so that a feed-forward "
    "network carries later inputs through its layers",
)
PLAIN = Property(
    "plain",
    "relu or tanh units",
    "h_t = rho(U x_t + W h_(t-1)), y = V h_L, whose matrices U, W and V are the weights themselves",
)
INTERVAL = Property(
    "interval",
    "relu or tanh units",
    "plain, with rho 1-Lipschitz and rho(0) = 0: sums over a box of weights are bounded entry by "
    "entry (Theorem I)",
)
