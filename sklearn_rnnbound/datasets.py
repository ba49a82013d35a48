"""Data sets as sequences."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

__all__ = ["load_digit_sequences"]


def load_digit_sequences() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits, each image read row by row from the top.

    Returns
    -------
    X : ndarray of shape (1797, 8, 8)
        8 steps of 8 pixels, float64, scaled from 0..16 to 0..1 by the known range of a pixel
        and not by the data.
    y : ndarray of shape (1797,)
        The digits 0 to 9.

    Examples
    --------
    >>> X, y = load_digit_sequences()
    >>> X.shape, float(X.max())
    ((1797, 8, 8), 1.0)
    """
    digits = load_digits()
    return digits.images / 16.0, digits.target
