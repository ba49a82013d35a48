"""What a pickle or a saved file holds of an estimator: plain things, in a numbered format.

Format 1 has numbers, text, arrays, and tuples and dictionaries of these, so that it does not
depend on where private classes live. Format 0, from before there was a number, had the objects
themselves. What an older version could not do without makes a new format.
"""

from __future__ import annotations

import functools
import inspect
import os
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_rnnbound._version import __version__
from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.constraints import Box, WeightConstraints, row_norm
from sklearn_rnnbound.statistics import SampleStatistics

__all__ = ["FORMAT", "Fitted", "FittedClassifier", "restored", "versioned"]

#: The format that is written; it and those before it are read.
FORMAT = 1


@dataclass(frozen=True)
class Fitted:
    """What fitting sets in an estimator, as far as it travels; one field for each attribute.

    Attributes
    ----------
    shapes : dict
        Shapes of the arrays as strings of letters, where one letter stands for one number. Arrays
        hold finite floats, unless kinds follow after a colon: those of NumPy's types, F for floats
        that may be infinite, P for those that are not negative either.
    """

    shapes: ClassVar[dict[str, str]] = {}

    def check(self, constraints: dict[str, list[Any]]) -> None:
        """Raise ValueError where attributes contradict each other.

        Parameters
        ----------
        constraints : dict
            The estimator's constraints on its parameters.
        """


_hints = functools.cache(get_type_hints)


def versioned(state: dict[str, Any], fitted: type[Fitted]) -> dict[str, Any]:
    """State of an estimator in the current format.

    Parameters
    ----------
    state : dict
        The attributes.
    fitted : subclass of Fitted
        Those that fitting sets.

    Returns
    -------
    state : dict
        The same as plain things, with the format and the version of the package.
    """
    plain = {**_plain_attributes(state, fitted), "_format": FORMAT, "_version": __version__}
    # In one order, whatever way they came.
    return dict(sorted(plain.items()))


def _plain_attributes(state: dict[str, Any], fitted: type[Fitted]) -> dict[str, Any]:
    names = {field.name for field in fields(fitted)} | {"_metadata_request"}
    return {
        name: _plain(value) if name in names else _plain_path(value)
        for name, value in state.items()
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, MetadataRequest):
        # It refers to the estimator, which skops would follow without end.
        methods = {name: part.requests for name, part in vars(value).items() if name != "owner"}
        return {name: dict(requests) for name, requests in methods.items() if requests}
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return np.array(value, np.float64) if isinstance(value, list) else value


def _plain_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def restored(estimator: Any, state: dict[str, Any], fitted: type[Fitted]) -> dict[str, Any]:
    """Attributes of an estimator from its state in any format, checked.

    Parameters
    ----------
    estimator : estimator
        The estimator that they are for.
    state : dict
        What :func:`versioned` returned, in this or in an older version.
    fitted : subclass of Fitted
        Those that fitting sets.

    Returns
    -------
    attributes : dict
        The attributes.

    Raises
    ------
    ValueError
        When the format is one to come, or the state is not that of such an estimator.
    """
    kind = type(estimator)
    attributes = dict(state)
    number, version = attributes.pop("_format", 0), attributes.pop("_version", None)
    if not _is_a(number, int) or number < 0:
        raise _invalid(estimator, f"_format is {number!r}")
    if number > FORMAT:
        raise ValueError(
            f"this {kind.__name__} was saved in format {number} by sklearn_rnnbound {version}, and "
            f"the installed version reads formats up to {FORMAT}: upgrade sklearn_rnnbound"
        )
    if number == 0:
        attributes = _plain_attributes(attributes, fitted)
    try:
        _check_names(kind, attributes)
        if "_metadata_request" in attributes:
            attributes["_metadata_request"] = _requests(estimator, attributes["_metadata_request"])
        parameters = inspect.signature(kind.__init__).parameters
        names = kind._get_param_names()
        for name in names:
            # It may be younger than the state.
            if parameters[name].default is not inspect.Parameter.empty:
                attributes.setdefault(name, parameters[name].default)
        known = {field.name for field in fields(fitted)}
        if not known.intersection(attributes):
            return attributes
        given = {name: attributes[name] for name in names if name in attributes}
        validate_parameter_constraints(kind._parameter_constraints, given, kind.__name__)
        found = {name: attributes.pop(name) for name in known.intersection(attributes)}
        arrays: dict[str, np.ndarray] = {}
        values: Fitted = _record(fitted, found, "", arrays)
        _check_arrays(arrays, fitted.shapes)
        values.check(kind._parameter_constraints)
    except ValueError as error:
        raise _invalid(estimator, error) from error
    return attributes | {name: getattr(values, name) for name in found}


def _invalid(estimator: Any, why: object) -> ValueError:
    return ValueError(f"the saved state of {type(estimator).__name__} is not valid: {why}")


def _check_names(kind: type, attributes: dict[Any, Any]) -> None:
    for name in attributes:
        known = getattr(kind, name, None) if isinstance(name, str) else kind
        # An attribute would hide the method or property of its name.
        if callable(known) or hasattr(known, "__get__") or name in ("net_", "device_"):
            raise ValueError(f"it has no attribute of the name {name!r} to be set")


def _requests(estimator: Any, plain: Any) -> MetadataRequest:
    """What the estimator asks of scikit-learn's metadata routing."""
    made = MetadataRequest(owner=estimator)
    try:
        for method, requests in plain.items():
            for param, alias in requests.items():
                getattr(made, method).add_request(param=param, alias=alias)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"_metadata_request is {plain!r}") from error
    return made


def _record(kind: Any, value: dict[str, Any], name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Instance of a dataclass from its fields."""
    hints = _hints(kind)
    prefix = f"{name}." if name else ""
    parts = {}
    # In the order of the fields: of two shapes that differ the later one is named.
    # That the kind is a dataclass is more than its type can say.
    for field in fields(kind):
        key = field.name
        if key in value:
            parts[key] = _typed(hints[key], value[key], f"{prefix}{key}", arrays)
        elif field.default is MISSING:
            raise ValueError(f"{prefix}{key} is missing")
    if strangers := [key for key in value if key not in parts]:
        raise ValueError(f"{prefix}{strangers[0]} is unknown")
    return kind(**parts)


def _typed(hint: Any, value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The value that a type hint asks for; arrays are noted under their names."""
    options: tuple[Any, ...] = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    option = next((option for option in options if _is_a(value, _plain_type(option))), None)
    if option is None:
        expected = inspect.formatannotation(hint)
        raise ValueError(f"{name} must be {expected}, and is of type {type(value).__name__}")
    if isinstance(value, dict):
        return _record(option, value, name, arrays)
    if isinstance(value, tuple):
        parts = get_args(option)
        if parts[-1] is ...:
            parts = parts[:1] * len(value)
        if len(parts) != len(value):
            raise ValueError(f"{name} must have {len(parts)} entries, and has {len(value)}")
        numbered = zip(parts, value, range(len(value)), strict=True)
        return tuple(_typed(part, entry, f"{name}[{i}]", arrays) for part, entry, i in numbered)
    if isinstance(value, np.ndarray):
        # The bytes may be in the order of another machine.
        arrays[name] = value.astype(value.dtype.newbyteorder("="), copy=False)
        return arrays[name].tolist() if get_origin(option) is list else arrays[name]
    if isinstance(value, int | float) and value < 0:
        raise ValueError(f"{name} must not be negative")
    if isinstance(value, int) and value >= 2**63:
        raise ValueError(f"{name} must have 63 bits at most")
    return value


def _plain_type(hint: Any) -> type:
    """Type of the plain things that stand for what a hint asks for."""
    if is_dataclass(hint):
        return dict
    origin = get_origin(hint)
    return np.ndarray if origin is list else origin or hint


def _is_a(value: Any, kind: type) -> bool:
    """Whether the value is of the type, where a bool is no int."""
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _check_arrays(arrays: dict[str, np.ndarray], shapes: dict[str, str]) -> None:
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        letters, _, kinds = shapes[name].partition(":")
        is_float = array.dtype in (np.float32, np.float64)
        if not (is_float if kinds in ("", "F", "P") else array.dtype.kind in kinds):
            raise ValueError(f"{name} must not have dtype {array.dtype}")
        if kinds == "" and not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        if kinds == "F" and np.isnan(array).any():
            raise ValueError(f"{name} must hold numbers")
        if kinds == "P" and not (array >= 0).all():
            raise ValueError(f"{name} must not be negative")
        if array.dtype.kind == "O" and not all(isinstance(item, str) for item in array.flat):
            raise ValueError(f"{name} must hold text")
        known = dict(sizes)
        fits = array.ndim == len(letters) and 0 not in array.shape
        if not fits or any(
            sizes.setdefault(letter, size) != size
            for letter, size in zip(letters, array.shape, strict=True)
        ):
            asked = ", ".join(f"{x} = {known[x]}" if x in known else x for x in letters)
            raise ValueError(f"{name} must have shape ({asked}), and has {array.shape}")


_WEIGHTS = {"U_": "md", "W_": "mm", "V_": "km"}
_SUMS = {
    "margins": "n:F",
    "step_abs_sums": "L:P",
    "square_sums": "Ld:P",
    "step_max_sums": "L:P",
}
_TRIPLES = "_prior_weights", "_fitted_box.center", "_statistics.box.lower", "_statistics.box.upper"
_SHAPES = {
    **_WEIGHTS,
    "classes_": "k:biufUOMm",
    "loss_curve_": "e",
    "validation_scores_": "e",
    "feature_names_in_": "c:O",
    **{f"_statistics.clean.{name}": shape for name, shape in _SUMS.items()},
    **{f"_statistics.noisy.{name}": shape for name, shape in _SUMS.items()},
    "_statistics.box.hidden_norms": "Lm:P",
    **{f"{name}[{i}]": s for name in _TRIPLES for i, s in enumerate(_WEIGHTS.values())},
}


@dataclass(frozen=True)
class FittedClassifier(Fitted):
    """What fitting sets in a classifier, as far as it travels.

    Parameters
    ----------
    U_, W_, V_ : ndarray of shapes (m, d), (m, m), (k, m)
        Weights.
    classes_ : ndarray of shape (k,)
        Class labels.
    n_features_in_ : int
        Number of features per step, or of columns.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Training loss after every epoch.
    best_loss_ : float or None
        Smallest training loss.
    validation_scores_ : list of float or None
        Validation accuracy after every epoch.
    beta_u_, beta_w_, beta_v_ : float or pair of floats
        Row norms reached.
    _setting : Setting
        What was fixed before the data were seen.
    _statistics : SampleStatistics
        What the bounds need of the data.
    _fitted_box : Box or None
        Intervals that hold the weights.
    _prior_weights : tuple of ndarray of shapes (m, d), (m, m), (k, m), or None
        Weights that other data have trained.
    _n_prior, _n_learned : int
        Number of samples behind these weights, and behind U_, W_ and V_.
    _init_seed, _evaluation_seed : int
        Seeds of the initial weights, and of the noise under which the bounds are taken.
    _fitted_on_3d : bool
        Whether the data had three dimensions.
    feature_names_in_ : ndarray of shape (n_features_in_,) or None
        Names of the columns.
    """

    shapes: ClassVar[dict[str, str]] = _SHAPES
    U_: np.ndarray
    W_: np.ndarray
    V_: np.ndarray
    classes_: np.ndarray
    n_features_in_: int
    n_iter_: int
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    beta_u_: float | tuple[float, float]
    beta_w_: float | tuple[float, float]
    beta_v_: float | tuple[float, float]
    _setting: Setting
    _statistics: SampleStatistics
    _fitted_box: Box | None
    _prior_weights: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    _n_prior: int
    _n_learned: int
    _init_seed: int
    _evaluation_seed: int
    _fitted_on_3d: bool
    feature_names_in_: np.ndarray | None = None

    def check(self, constraints: dict[str, list[Any]]) -> None:
        """Raise ValueError where attributes contradict each other, or the setting is none."""
        validate_parameter_constraints(constraints, vars(self._setting), "_setting")
        statistics, setting, box = self._statistics, self._setting, self._fitted_box
        weights = self.U_, self.W_, self.V_
        _require(len({weight.dtype for weight in weights}) == 1, "U_, W_ and V_ have one dtype")
        _require(
            len(self.classes_) > 1 and (self.classes_[1:] > self.classes_[:-1]).all(),
            "classes_ are two or more in ascending order",
        )
        _require(
            statistics.n_classes == len(self.classes_)
            and statistics.network.hidden_size == len(self.W_),
            "_statistics speaks of these classes_ and this W_",
        )
        _require(
            (statistics.noisy is None) == (setting.noise_std == 0),
            "_statistics has noisy where noise_std of _setting is positive",
        )
        n_columns = statistics.n_features * statistics.n_steps
        _require(
            self.n_features_in_ == (statistics.n_features if self._fitted_on_3d else n_columns),
            "n_features_in_ goes with U_ and _statistics",
        )
        names = self.feature_names_in_
        _require(
            names is None or (len(names) == n_columns and not self._fitted_on_3d),
            "feature_names_in_ has n_features_in_ names",
        )
        _require(self.n_iter_ == len(self.loss_curve_), "loss_curve_ has n_iter_ losses")
        _require(
            self._n_learned >= statistics.n_samples + self._n_prior,
            "_n_learned counts the samples and those of the prior",
        )
        _require(
            max(self._init_seed, self._evaluation_seed) < 2**31,
            "_init_seed and _evaluation_seed are below 2**31",
        )
        _require(
            (None if box is None else (box.width, self._n_prior))
            == (None if statistics.box is None else (statistics.box.width, statistics.box.n_prior)),
            "_statistics.box is that of _fitted_box",
        )
        _require(
            box is None or (box.width <= 2 and self._prior_weights is not None),
            "_fitted_box has a width up to 2 around _prior_weights",
        )
        _require(
            statistics.holdout is None
            and statistics.posterior is None
            and not statistics.quantized,
            "_statistics has nothing that other data decide",
        )
        for name, weight in zip(("beta_u", "beta_w", "beta_v"), weights, strict=True):
            radius, reached = getattr(setting, name), getattr(self, f"{name}_")
            norm = row_norm(weight, radius)
            _require(
                np.shape(reached) == np.shape(norm)
                and np.allclose(reached, norm, rtol=1e-9)
                and reached == getattr(statistics, name),
                f"{name}_ is what the weights reach, in _statistics too",
            )
            _require(
                radius is None or np.less_equal(norm, radius).all(),
                f"the weights are within {name} of _setting",
            )
        inside = tuple(torch.tensor(weight) for weight in weights)
        WeightConstraints(unit_types=setting.unit_types, box=box).project_(*inside)
        _require(
            all(map(np.array_equal, inside, weights)),
            "U_, W_ and V_ are within unit_types of _setting and _fitted_box",
        )


def _require(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        raise ValueError(f"it does not hold that {what}")
