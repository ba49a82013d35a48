"""Series of numbers to sequences of one length and scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils import Tags, check_array, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from sklearn_rnnbound._validation import (
    DTYPES,
    as_array,
    as_steps,
    check_sequences,
    restored_on_failure,
)

__all__ = ["SequencePadder", "SequenceScaler"]

_NUMBERS_AT_ONCE = 2**20


class SequencePadder(TransformerMixin, BaseEstimator):
    """Series of different lengths to one array, padded by zero vectors at the front.

    Zeros at the front are exact for a recurrent network without biases: its state is 0 until the
    first step that is not zero. For the same reason steps of zeros at the front of a series count
    as padding, and of a series that is too long they are dropped first.

    Parameters
    ----------
    length : int or None, default=None
        Number L of steps. None: that of the longest series of `fit`.
    keep : {"first", "last"}, default="first"
        Which L steps to keep of a longer series.

    Attributes
    ----------
    length_ : int
        Number L of steps.
    n_features_in_ : int
        Number d of features of a step.
    n_samples_fit_ : int
        Number of series that the output depends on beyond the series themselves: 0 when `length`
        is given; else all series of `fit`, since the longest decides where new ones are cut off.

    See Also
    --------
    SequenceScaler : Centres and scales what this transformer returns.
    sklearn_rnnbound.datasets.load_ts : Reads series of different lengths.

    Notes
    -----
    Padding itself costs a certificate nothing. A length that was learned from the certification
    sample does, since longer series of the future are cut off by it: give `length` beforehand for
    a certificate that needs no reservation. A generous one costs time only.

    The output has three dimensions and no columns, hence neither `set_output` nor
    `get_feature_names_out` is there.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_rnnbound.preprocessing import SequencePadder
    >>> X = SequencePadder().fit_transform([[1, 2, 3], [4]])
    >>> X.shape, X[:, :, 0].tolist()
    ((2, 3, 1), [[1.0, 2.0, 3.0], [0.0, 0.0, 4.0]])
    >>> series = [np.ones((5, 2)), np.ones((2, 2)), np.ones((9, 2))]
    >>> SequencePadder(6, keep="last").fit_transform(series).shape
    (3, 6, 2)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "length": [Interval(Integral, 1, None, closed="left"), None],
        "keep": [StrOptions({"first", "last"})],
    }

    def __init__(self, length: int | None = None, *, keep: str = "first") -> None:
        self.length = length
        self.keep = keep

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> SequencePadder:
        """Find out the length, and the number of features.

        Parameters
        ----------
        X : list of array-like of shape (L_i, d) or (L_i,), or array-like of shape (n, L, d) or \
(n, L)
            Series; those without a second dimension have one feature.
        y : None
            Ignored.

        Returns
        -------
        self : SequencePadder
            The fitted transformer.

        Raises
        ------
        TypeError
            When X is sparse, or neither a list nor an array.
        ValueError
            For an invalid parameter, or series that are empty, not finite, or of different
            numbers of features.
        """
        series = _as_series(X)
        with restored_on_failure(self):
            self.n_features_in_ = series[0].shape[1]
            self.length_ = max(map(len, series)) if self.length is None else self.length
            self.n_samples_fit_ = len(series) if self.length is None else 0
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Pad and truncate series.

        Parameters
        ----------
        X : list of array-like of shape (L_i, d) or (L_i,), or array-like of shape (n, L, d) or \
(n, L)
            Series.

        Returns
        -------
        X : ndarray of shape (n, L, d)
            Sequences: float32 when all series are, else float64.

        Raises
        ------
        TypeError
            When X is sparse, or neither a list nor an array.
        ValueError
            For series that are empty, not finite, or of another number of features than in `fit`.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        series = _as_series(X)
        d = series[0].shape[1]
        _check_n_features(self, d, self.n_features_in_)
        dtype = np.result_type(*{values.dtype for values in series})
        padded = np.zeros((len(series), self.length_, d), dtype)
        for sequence, values in zip(padded, series, strict=True):
            kept = self._kept(values)
            sequence[self.length_ - len(kept) :] = kept
        return padded

    def _kept(self, values: np.ndarray) -> np.ndarray:
        """At most `length_` steps."""
        if len(values) <= self.length_:
            return values
        if self.keep == "last":
            return values[-self.length_ :]
        start = int(values.any(1).argmax())
        return values[start : start + self.length_]

    def __sklearn_tags__(self) -> Tags:
        return _sequence_tags(super().__sklearn_tags__())


def _as_series(X: Any) -> Sequence[np.ndarray] | np.ndarray:
    """Series of shape (L_i, d) with one d."""
    is_ragged = getattr(X, "ndim", None) == 1 and np.asarray(X).dtype == object
    if not is_ragged and (isinstance(X, str) or not isinstance(X, Sequence)):
        X = check_array(as_array(X), dtype=DTYPES, allow_nd=True, input_name="X")
        if X.ndim > 3 or 0 in X.shape:
            raise ValueError(
                f"X has shape {X.shape}; expected series in a list, or in an array of shape "
                "(n, L, d) or (n, L) with at least one step and one feature"
            )
        return X if X.ndim == 3 else X[:, :, None]
    series = [_one_series(values, number) for number, values in enumerate(X)]
    if not series:
        raise ValueError("X holds no series: a minimum of 1 is required")
    d = series[0].shape[1]
    for number, values in enumerate(series):
        if values.shape[1] != d:
            raise ValueError(
                "X must hold series of one number of features: number 0 has "
                f"{d} and number {number} has {values.shape[1]}"
            )
    return series


def _one_series(values: Any, number: int) -> np.ndarray:
    """Series as an array of shape (L, d)."""
    try:
        if not hasattr(values, "shape"):
            values = np.asarray(values)
        values = check_array(as_array(values), dtype=DTYPES, ensure_2d=False, input_name="X")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"number {number} of X is not a series of finite numbers of shape (L, d) or (L,): "
            f"{error}"
        ) from error
    return values if values.ndim == 2 else values[:, None]


class SequenceScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Centring and scaling of each feature, over samples and steps.

    Steps of zeros before the first step that is not zero count as padding: they do not enter
    means and standard deviations, and stay exactly zero. So the state of a recurrent network
    without biases is still 0 where a sequence begins. A sequence that truly begins with steps of
    zeros cannot be told from a padded one; these steps count as padding as well.

    Parameters
    ----------
    with_mean : bool, default=True
        Whether to subtract the mean.
    with_std : bool, default=True
        Whether to divide by the standard deviation. A feature that is constant is not divided.
    step_size : int, default=1
        A 2-D X of shape (n, L * step_size) is read as L steps of `step_size` features, as in
        :class:`~sklearn_rnnbound.RNNBoundClassifier`.

    Attributes
    ----------
    mean_ : ndarray of shape (d,)
        What is subtracted: the mean of each feature, zeros without `with_mean`.
    scale_ : ndarray of shape (d,)
        What is divided by: the standard deviation of each feature, 1 where it is constant, ones
        without `with_std`.
    n_features_in_ : int
        d for 3-D input, the number of columns for 2-D input.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, when `fit` was given a data frame with str names.
    n_samples_fit_ : int
        Number of samples that means and standard deviations were computed from; 0 without
        `with_mean` and `with_std`.

    See Also
    --------
    SequencePadder : Pads series of different lengths.
    sklearn.preprocessing.StandardScaler : Centres and scales every column by itself.

    Notes
    -----
    **A certificate may only use sequences that were not in this fit.** Fitted on the
    certification sample, as in a pipeline, the scaler makes the bounds of the classifier
    estimates, and the classifier cannot see it. Fit it on sequences that were set aside, or scale
    by numbers known beforehand.

    Sums are taken in float64, a part of the sequences at a time: no float64 copy of float32
    sequences is made.

    Column names are kept for 2-D input. A data frame cannot hold three dimensions, so that
    `set_output` has to be left at its default for 3-D input.

    Examples
    --------
    >>> from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler
    >>> X = SequencePadder().fit_transform([[1, 2, 3], [6]])
    >>> scaler = SequenceScaler().fit(X)
    >>> scaler.mean_
    array([3.])
    >>> scaler.transform(X)[:, :, 0].round(2)
    array([[-1.07, -0.53,  0.  ],
           [ 0.  ,  0.  ,  1.6 ]])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
        "step_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, *, with_mean: bool = True, with_std: bool = True, step_size: int = 1
    ) -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.step_size = step_size

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> SequenceScaler:
        """Compute means and standard deviations.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.
        y : None
            Ignored.

        Returns
        -------
        self : SequenceScaler
            The fitted transformer.

        Raises
        ------
        TypeError
            When X is sparse.
        ValueError
            For an invalid parameter, or sequences that are ragged, not finite, or of a number of
            columns that is no multiple of `step_size`.
        """
        with restored_on_failure(self):
            X = check_sequences(self, X, reset=True)
            mean, scale = _moments(as_steps(X, self.step_size))
            self.mean_ = mean if self.with_mean else np.zeros_like(mean)
            self.scale_ = scale if self.with_std else np.ones_like(scale)
            self.n_samples_fit_ = len(X) if self.with_mean or self.with_std else 0
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Centre and scale sequences.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences, of any length when they are 3-D.

        Returns
        -------
        X : ndarray of the shape of X
            Scaled sequences; float32 stays float32, and padding stays zero.

        Raises
        ------
        TypeError
            When X is sparse.
        ValueError
            For sequences that are not finite or do not go with those of `fit`, or when 3-D output
            would have to become a data frame.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        X = check_sequences(self, X, reset=False)
        container = _get_output_config("transform", self)["dense"]
        if X.ndim == 3 and container != "default":
            raise ValueError(
                f"the output for X of three dimensions cannot be a data frame of {container}: call "
                "set_output(transform='default')"
            )
        return self._map(X, lambda steps: (steps - self.mean_) / self.scale_)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Undo centring and scaling.

        A sequence whose first step was scaled to zero cannot be told from a padded one; what was
        zero at the front stays zero.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Scaled sequences.

        Returns
        -------
        X : ndarray of the shape of X
            Sequences in their own units.

        Raises
        ------
        ValueError
            For sequences that are not finite or do not go with those of `fit`.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        X = check_array(as_array(X), dtype=DTYPES, allow_nd=True, input_name="X")
        return self._map(X, lambda steps: steps * self.scale_ + self.mean_)

    def _map(self, X: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Values of the function at all steps but padding."""
        sequences = as_steps(X, self.step_size)
        _check_n_features(self, sequences.shape[2], len(self.scale_))
        mapped = np.zeros(sequences.shape, sequences.dtype)
        for part in _parts(sequences):
            observed = _observed(sequences[part])
            mapped[part][observed] = function(sequences[part][observed])
        return mapped.reshape(X.shape)

    def __sklearn_tags__(self) -> Tags:
        return _sequence_tags(super().__sklearn_tags__())


def _sequence_tags(tags: Tags) -> Tags:
    tags.input_tags.three_d_array = True
    tags.transformer_tags.preserves_dtype = ["float64", "float32"]
    return tags


def _check_n_features(estimator: BaseEstimator, d: int, expected: int) -> None:
    if d != expected:
        raise ValueError(
            f"X has {d} features per step, but {type(estimator).__name__} was fitted with "
            f"{expected}"
        )


def _parts(X: np.ndarray) -> Iterator[slice]:
    rows = max(1, _NUMBERS_AT_ONCE // (X.shape[1] * X.shape[2]))
    return gen_batches(len(X), rows)


def _observed(X: np.ndarray) -> np.ndarray:
    """Steps from the first on that is not zero, of shape (n, L)."""
    return np.logical_or.accumulate(X.any(2), axis=1)


def _moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over steps that are no padding; 1 for constant features."""
    d = X.shape[2]
    n_steps, total, squares = 0, np.zeros(d), np.zeros(d)
    lowest, highest = np.full(d, np.inf), np.full(d, -np.inf)
    for steps in _observed_steps(X):
        n_steps += len(steps)
        total += steps.sum(0)
        lowest = np.minimum(lowest, steps.min(0, initial=np.inf))
        highest = np.maximum(highest, steps.max(0, initial=-np.inf))
    if not n_steps:
        return np.zeros(d), np.ones(d)
    # Exactly, so that centring makes exact zeros of features that are constant.
    mean = np.where(lowest == highest, lowest, total / n_steps)
    for steps in _observed_steps(X):
        squares += np.square(steps - mean).sum(0)
    deviation = np.sqrt(squares / n_steps)
    return mean, np.where(deviation > 0, deviation, 1.0)


def _observed_steps(X: np.ndarray) -> Iterator[np.ndarray]:
    """Steps that are no padding, in float64, a part of the sequences at a time."""
    for part in _parts(X):
        yield X[part][_observed(X[part])].astype(np.float64)
