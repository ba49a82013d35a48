"""Checks of input and parameters beyond those of scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Number
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.utils import indexable
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_array
from skorch.callbacks import Callback

from sklearn_rnnbound.constraints import Radius

__all__ = [
    "DTYPES",
    "as_array_like",
    "as_indexable",
    "as_labels",
    "as_numbers",
    "as_radius",
    "as_steps",
    "as_weights",
    "check_callbacks",
    "check_prior",
    "check_sequences",
    "conversion",
    "resolve_device",
    "restored_on_failure",
]

#: Types that are kept; all others become the first.
DTYPES = [np.float64, np.float32]

_RAGGED = (
    "X holds sequences of different lengths. Pad them with zero vectors at the front to a common "
    "length, as sklearn_rnnbound.preprocessing.SequencePadder does: this is exact for a network "
    "without biases"
)
# What scikit-learn would take for numbers, by the kinds of NumPy's types.
_NO_NUMBERS = {"M": "dates", "m": "durations", "V": "records"}


def as_array_like(X: Any) -> tuple[Any, int]:
    """Input that scikit-learn can check, and its number of dimensions."""
    if X is None or np.isscalar(X):
        raise TypeError(
            f"X must be an array of shape (n, L, d) or (n, L * step_size), got {X!r:.50}"
        )
    X = as_numbers(X, "X", _RAGGED)
    ndim = getattr(X, "ndim", None)
    holds_objects = isinstance(X, np.ndarray) and X.dtype.kind == "O"
    if holds_objects and ndim == 1 and isinstance(next(iter(X), None), list | tuple | np.ndarray):
        raise ValueError(_RAGGED)
    if ndim is not None and ndim > 3:
        raise ValueError(
            f"X has {ndim} dimensions; it must have shape (n, L, d) or (n, L * step_size)"
        )
    return X, 2 if ndim is None else ndim


def as_indexable(X: Any, y: Any) -> tuple[Any, Any]:
    """Data and labels of which a splitter can take rows; errors name what is wrong."""
    if isinstance(X, torch.Tensor):
        X = as_numbers(X, "X", "")
    with conversion("X"):
        _num_samples(X)
    y = as_labels(y)
    if y is not None:
        with conversion("y"):
            type_of_target(y)
    with conversion("X or y"):
        X, y = indexable(X, y)
    return X, y


def as_labels(y: Any, name: str = "y") -> Any:
    """Labels that scikit-learn can check; ValueError where some are missing or have no order."""
    y = _as_array(y, name, f"{name} must hold one label per sample")
    values = np.asarray(y)
    if values.ndim == 0:
        # Nothing that has rows: scikit-learn says so.
        return y
    if values.dtype.kind == "V":
        raise ValueError(f"{name} must hold one label per sample, and has dtype {values.dtype}")
    try:
        # Classes are sorted.
        ordered = np.sort(values, axis=None) if values.dtype.kind == "O" else values
        missing = bool((ordered != ordered).any())
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must hold labels of one type that has an order, none of them missing: {error}"
        ) from error
    if missing:
        raise ValueError(f"Input {name} contains NaN or NaT: no label may be missing")
    return y


def as_weights(sample_weight: Any, X: Any) -> np.ndarray:
    """Sample weights of the rows of X in float64, scaled so that no sum of them overflows."""
    given = as_numbers(sample_weight, "sample_weight", "sample_weight must be one-dimensional")
    with conversion("sample_weight"):
        if isinstance(given, Number) or getattr(given, "ndim", 1) == 0:
            given = np.full(_num_samples(X), given)
        weights = _check_sample_weight(given, X, dtype=np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("sample_weight must be finite and not negative, nor zero everywhere")
    # By a power of two, which rounds nothing; a row counts however small its weight is.
    scaled = np.ldexp(weights, -np.frexp(weights.max())[1])
    return np.where(weights > 0, np.maximum(scaled, np.finfo(np.float64).tiny), 0.0)


def as_numbers(values: Any, name: str, ragged: str) -> Any:
    """Numbers that scikit-learn can check; ValueError for what only looks like them.

    Parameters
    ----------
    values : object
        An array, table, tensor or list.
    name : str
        What it is called.
    ragged : str
        What to say of lists of different lengths.

    Returns
    -------
    values : object
        Tensors, lists and masked arrays as plain arrays in native byte order, anything else as it
        is.
    """
    values = _as_array(values, name, ragged)
    is_table = getattr(values, "ndim", 1) == 2 and hasattr(values, "dtypes")
    for dtype in values.dtypes if is_table else [getattr(values, "dtype", None)]:
        if what := _NO_NUMBERS.get(getattr(dtype, "kind", "")):
            raise ValueError(
                f"{name} must hold numbers, and holds {what} (dtype {dtype}): convert them first"
            )
    return values


def check_sequences(X: Any, ndim: int, estimator: Any = None, min_samples: int = 1) -> np.ndarray:
    """Sequences of :func:`as_array_like` as an array that is finite, float32 or float64."""
    with conversion("X"):
        return check_array(
            X,
            dtype=DTYPES,
            ensure_2d=ndim != 3,
            allow_nd=True,
            ensure_min_samples=min_samples,
            estimator=estimator,
            input_name="X",
        )


@contextmanager
def conversion(name: str) -> Iterator[None]:
    """Convert and check an argument in the block; errors name it.

    Parameters
    ----------
    name : str
        What is converted.

    Yields
    ------
    None
        Nothing.
    """
    try:
        # What has become infinite scikit-learn finds.
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except OverflowError as error:
        raise ValueError(f"{name} holds a number out of the range of float64: {error}") from error
    except (TypeError, ValueError) as error:
        if re.search(rf"\b{name}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def _as_array(values: Any, name: str, ragged: str) -> Any:
    """Tensors, lists and masked arrays as arrays in native byte order; anything else as it is."""
    given = values
    try:
        if isinstance(values, torch.Tensor):
            # NumPy lacks the smallest floating types.
            if values.is_floating_point() and values.itemsize < 4:
                values = values.double()
            values = values.numpy(force=True)
        elif isinstance(values, list | tuple):
            values = np.asarray(values)
    except ValueError as error:
        raise ValueError(ragged) from error
    except (RuntimeError, TypeError) as error:
        # What torch raises for a tensor that has no data, or of another layout.
        raise TypeError(f"{name} cannot be read as an array: {error}") from error
    # Arrays that were made of lists have lost their masks.
    if _is_masked(given):
        raise ValueError(f"{name} has masked entries: missing values are not supported, fill them")
    if isinstance(values, np.ma.MaskedArray):
        values = values.data
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return values


def _is_masked(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return any(map(_is_masked, values))
    return isinstance(values, np.ma.MaskedArray) and bool(np.ma.is_masked(values))


def as_steps(X: np.ndarray, step_size: int) -> np.ndarray:
    """View of 2-D or 3-D input as (n, L, d)."""
    if X.ndim == 2:
        # Of a NumPy scalar the type may be too small for the number of columns.
        columns, step_size = X.shape[1], int(step_size)
        if columns % step_size:
            raise ValueError(
                f"X has {columns} columns, which is not a multiple of step_size={step_size}; 2-D "
                "input is read as steps of step_size columns"
            )
        return X.reshape(len(X), columns // step_size, step_size)
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}: sequences need at least one step and one feature")
    return X


def as_radius(value: Any) -> Radius:
    """Radius as a float, a pair of floats or None."""
    if isinstance(value, tuple | list):
        plus, minus = value
        return float(plus), float(minus)
    return None if value is None else float(value)


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


@contextmanager
def restored_on_failure(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes back when the block fails or is interrupted.

    Parameters
    ----------
    estimator : estimator
        The estimator, whose attributes the block sets and does not change in place.

    Yields
    ------
    None
        Nothing.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise
