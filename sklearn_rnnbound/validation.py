"""Checks of input and parameters beyond those of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback

from sklearn_rnnbound.constraints import Radius

__all__ = [
    "DTYPES",
    "as_array_like",
    "as_steps",
    "check_callbacks",
    "check_prior",
    "check_radius",
    "resolve_device",
]

#: Types that are kept; all others become the first.
DTYPES = [np.float64, np.float32]

_RAGGED = (
    "X holds sequences of different lengths. Pad them with zero vectors at the front to a common "
    "length, as sklearn_rnnbound.preprocessing.SequencePadder does: this is exact for a network "
    "without biases"
)


def as_array_like(X: Any) -> tuple[Any, int]:
    """Input that scikit-learn can check, and its number of dimensions."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        # NumPy has no bfloat16.
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    if isinstance(X, list | tuple):
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise ValueError(_RAGGED) from error
    ndim = getattr(X, "ndim", None)
    holds_objects = isinstance(X, np.ndarray) and X.dtype.kind == "O"
    if holds_objects and ndim == 1 and isinstance(next(iter(X), None), list | tuple | np.ndarray):
        raise ValueError(_RAGGED)
    if ndim is not None and ndim > 3:
        raise ValueError(
            f"X has {ndim} dimensions; it must have shape (n, L, d) or (n, L * step_size)"
        )
    return X, 2 if ndim is None else ndim


def as_steps(X: np.ndarray, step_size: int) -> np.ndarray:
    """View of 2-D or 3-D input as (n, L, d)."""
    if X.ndim == 2:
        columns = X.shape[1]
        if columns % step_size:
            raise ValueError(
                f"X has {columns} columns, which is not a multiple of step_size={step_size}; 2-D "
                "input is read as steps of step_size columns"
            )
        return X.reshape(len(X), columns // step_size, step_size)
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}: sequences need at least one step and one feature")
    return X


def check_radius(name: str, value: Any) -> Radius:
    """Radius as a float, a pair of floats or None."""
    if not isinstance(value, tuple | list):
        return None if value is None else float(value)
    valid = len(value) == 2 and all(
        isinstance(part, int | float | np.number)
        and not isinstance(part, bool)
        and 0 <= part < np.inf
        for part in value
    )
    if not valid:
        raise ValueError(
            f"{name}={value!r} must be a number >= 0, a pair (beta+, beta-) of numbers >= 0, or "
            "None"
        )
    return float(value[0]), float(value[1])


def check_prior(prior: Any, kind: type[Any]) -> Any:
    """Fitted classifier of a kind, taken out of a FrozenEstimator, or None."""
    if isinstance(prior, FrozenEstimator):
        prior = prior.estimator
    if prior is None:
        return None
    if not isinstance(prior, kind):
        raise TypeError(f"prior must be an {kind.__name__}, got {type(prior).__name__}")
    if not hasattr(prior, "U_"):
        raise ValueError(
            "prior is not fitted; if it was cloned, wrap the fitted classifier in "
            "sklearn.frozen.FrozenEstimator, which cloning leaves as it is"
        )
    return prior


def check_callbacks(callbacks: list[Any] | None) -> None:
    """Raise TypeError unless all are skorch callbacks, or pairs of a name and a callback."""
    for item in callbacks or []:
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise TypeError(
                "callbacks must hold skorch callbacks or pairs (name, callback), and holds "
                f"{item!r}"
            )


def resolve_device(name: str) -> torch.device:
    """Device of this name; ValueError when it is not there."""
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if n_cuda else "cpu")
    there = ["cpu", *(["cuda"] if n_cuda else []), *(f"cuda:{i}" for i in range(n_cuda))]
    if name not in there:
        raise ValueError(
            f"device={name!r} is not there; this machine has 'auto', {', '.join(map(repr, there))}"
        )
    return torch.device(name)
