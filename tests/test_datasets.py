"""Embedded data."""

import numpy as np
from sklearn.datasets import load_digits

from sklearn_rnnbound.datasets import load_digit_sequences


def test_digit_sequences_are_the_rows_of_the_images():
    X, y = load_digit_sequences()
    digits = load_digits()
    np.testing.assert_array_equal(X.reshape(1797, 64) * 16, digits.data)
    np.testing.assert_array_equal(y, digits.target)
