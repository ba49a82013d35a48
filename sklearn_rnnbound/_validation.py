"""Checks of input: scikit-learn's, and what three dimensions and steps add to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array, validate_data

__all__ = ["DTYPES", "RAGGED", "as_array", "as_steps", "check_sequences", "restored_on_failure"]

#: Types that are kept; all others become the first.
DTYPES = [np.float64, np.float32]

RAGGED = (
    "X holds sequences of different lengths. Pad them with zero vectors at the front to a common "
    "length, as sklearn_rnnbound.preprocessing.SequencePadder does: this is exact for a network "
    "without biases"
)


def as_array(X: Any) -> Any:
    """Tensors and lists as arrays; what scikit-learn converts, such as a table, as it is.

    ValueError for rows of different lengths, and for dates, which scikit-learn would take for
    numbers.
    """
    if isinstance(X, torch.Tensor):
        X = X.numpy(force=True)
    elif isinstance(X, list | tuple):
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise ValueError(RAGGED) from error
    for dtype in getattr(X, "dtypes", [getattr(X, "dtype", None)]):
        if getattr(dtype, "kind", "") in ("M", "m"):
            raise ValueError(f"X must hold numbers, and holds dates (dtype {dtype})")
    return X


def check_sequences(
    estimator: Any, X: Any, *, reset: bool, ensure_min_samples: int = 1
) -> np.ndarray:
    """Sequences (n, L, d) or (n, L * step_size), checked by scikit-learn: float32 or float64.

    In a fit (`reset`) the `n_features_in_` of the estimator is set, else checked: it is d for three
    dimensions, else the number of columns. Nothing is copied that need not be. TypeError for sparse
    data, ValueError for data that are not finite numbers, or of another form than in `fit`.
    """
    X = as_array(X)
    ndim, name = getattr(X, "ndim", 2), type(estimator).__name__
    if isinstance(X, np.ndarray) and ndim == 1 and X.dtype == object and len(X) and np.ndim(X[0]):
        raise ValueError(RAGGED)
    if not reset and ndim == 2 and estimator._fitted_on_3d:
        raise ValueError(
            f"X has 2 dimensions, but {name} was fitted on sequences of shape (n, L, "
            f"{estimator.n_features_in_}); reshape X to three dimensions"
        )
    if ndim > 2:
        X = check_array(
            X,
            dtype=DTYPES,
            allow_nd=True,
            ensure_min_samples=ensure_min_samples,
            estimator=estimator,
            input_name="X",
        )
        if X.ndim > 3 or 0 in X.shape:
            raise ValueError(
                f"X has shape {X.shape}: sequences have the shape (n, L, d), with a step and a "
                "feature at least"
            )
        if reset:
            estimator.n_features_in_ = X.shape[2]
            vars(estimator).pop("feature_names_in_", None)
            estimator._fitted_on_3d = True
            return X
        d = estimator.n_features_in_ if estimator._fitted_on_3d else estimator.step_size
        if X.shape[2] != d:
            raise ValueError(
                f"X has {X.shape[2]} features per step, but {name} was fitted with {d}"
            )
        return X
    X = validate_data(
        estimator, X, reset=reset, dtype=DTYPES, ensure_min_samples=ensure_min_samples
    )
    if reset:
        estimator._fitted_on_3d = False
    return X


def as_steps(X: np.ndarray, step_size: int) -> np.ndarray:
    """View of 2-D or 3-D input as (n, L, d)."""
    if X.ndim == 3:
        return X
    if X.shape[1] % step_size:
        raise ValueError(
            f"X has {X.shape[1]} columns, which is not a multiple of step_size={step_size}; 2-D "
            "input is read as steps of step_size columns"
        )
    return X.reshape(len(X), X.shape[1] // step_size, step_size)


@contextmanager
def restored_on_failure(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes back when the block fails or is interrupted.

    The block sets attributes, and changes none in place.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise
