"""Small data sets that need no file: embedded in scikit-learn, or drawn."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

__all__ = ["load_digit_sequences", "make_gaussian_sequences"]


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


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "correlation": [Interval(Real, -1, 1, closed="neither")],
        "flip_y": [Interval(Real, 0, 0.5, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_gaussian_sequences(
    n_samples: int = 1000,
    n_steps: int = 5,
    n_features: int = 2,
    *,
    correlation: float = 0.0,
    flip_y: float = 0.1,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Gaussian sequences of which everything that enters a bound is known.

    The p = n_steps * n_features entries of a sequence are jointly normal with mean 0, variance 1
    and the same correlation between any two. The label says whether their sum is positive, and
    is flipped with probability `flip_y`, independently of everything else.

    Parameters
    ----------
    n_samples : int, default=1000
        Number n of sequences.
    n_steps : int, default=5
        Number L of steps.
    n_features : int, default=2
        Number d of features per step.
    correlation : float, default=0.0
        Correlation rho between any two entries of a sequence, in the open interval
        (-1 / (p - 1), 1); 0 when p = 1.
    flip_y : float, default=0.1
        Probability with which a label is flipped, in [0, 0.5].
    random_state : int, RandomState instance or None, default=None
        Seed of the draw. None: a fresh seed from the operating system; NumPy's global generator
        is neither read nor moved.

    Returns
    -------
    bunch : Bunch
        A dictionary with attributes:

        data : ndarray of shape (n, L, d)
            Sequences, float64.
        target : ndarray of shape (n,)
            Labels 0 and 1.
        second_moment : ndarray of shape (p, p)
            The population's E[x x^T] of the flattened sequences.
        min_eigenvalue : float
            Its smallest eigenvalue: 1 - rho for rho >= 0 and 1 + (p - 1) rho for rho < 0.
        bayes_risk : float
            The smallest probability of error of any classifier, which is `flip_y`.
        weights : ndarray of shape (L, d)
            Weights of the linear functional whose sign is the label before flips: all equal, and
            such that it has variance 1.

    Raises
    ------
    ValueError
        For a parameter out of its range.

    Notes
    -----
    The true risk of a classifier is its error on a large fresh sample. A ReLU network of two
    units without biases comes close to the label before flips: one unit gathers the positive
    part of the running sum, the other the negative part.

    Examples
    --------
    >>> from sklearn_rnnbound.datasets import make_gaussian_sequences
    >>> sequences = make_gaussian_sequences(200, correlation=0.5, random_state=0)
    >>> sequences.data.shape, sequences.min_eigenvalue, sequences.bayes_risk
    ((200, 5, 2), 0.5, 0.1)
    """
    correlation = float(correlation)
    p = n_steps * n_features
    if (p == 1 and correlation != 0) or (p > 1 and 1 + (p - 1) * correlation <= 0):
        expected = "0 for sequences of one entry" if p == 1 else f"above {-1 / (p - 1):g}"
        raise ValueError(f"correlation must be {expected}, got {correlation!r}")
    # check_random_state would hand out the global generator.
    rng = np.random.RandomState() if random_state is None else check_random_state(random_state)
    # The two eigenvalues of the second moment: of sums over all entries, and of the rest.
    of_sums, of_rest = 1 + (p - 1) * correlation, 1 - correlation
    normal = rng.standard_normal((n_samples, p))
    mean = normal.mean(1, keepdims=True)
    data = np.sqrt(of_rest) * (normal - mean) + np.sqrt(of_sums) * mean
    weights = np.full((n_steps, n_features), 1 / np.sqrt(p * of_sums))
    second_moment = np.full((p, p), correlation)
    np.fill_diagonal(second_moment, 1.0)
    flipped = rng.uniform(size=n_samples) < flip_y
    return Bunch(
        data=data.reshape(n_samples, n_steps, n_features),
        target=((data.sum(1) > 0) ^ flipped).astype(np.int64),
        second_moment=second_moment,
        min_eigenvalue=float(min(of_sums, of_rest)),
        bayes_risk=float(flip_y),
        weights=weights,
    )
