"""Recurrent cells: weights and one step each."""

from sklearn_rnnbound.cells._cell import (
    CELLS,
    Cell,
    Unrolled,
    Weight,
    Weights,
    normal,
    register,
    score_margins,
)
from sklearn_rnnbound.cells.elman import Elman

__all__ = [
    "CELLS",
    "Cell",
    "Elman",
    "Unrolled",
    "Weight",
    "Weights",
    "normal",
    "register",
    "score_margins",
]
