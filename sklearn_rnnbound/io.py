"""Saving estimators without pickle, to files that are safe to load."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from sklearn.base import BaseEstimator

__all__ = ["load", "save"]

# Beside what skops trusts: the estimators of scikit-learn, NumPy's arrays, numbers and universal
# functions, and Python's numbers, text and containers.
_TRUSTED = [
    "numpy.dtype",
    "sklearn_rnnbound.classifier.RNNBoundClassifier",
    "sklearn_rnnbound.datasets.word_vectors.WordVectors",
    "sklearn_rnnbound.preprocessing.series.SequencePadder",
    "sklearn_rnnbound.preprocessing.series.SequenceScaler",
    "sklearn_rnnbound.preprocessing.text.WordVectorEncoder",
]
# Before it looks whether a type is trusted, skops 0.12 imports the module of a loss; it calls
# functions of numpy.random by names that it does not look at. No estimator here needs such nodes.
_NODES = {
    "DTypeNode",
    "DictNode",
    "FunctionNode",
    "JsonNode",
    "ListNode",
    "NdArrayNode",
    "ObjectNode",
    "RandomStateNode",
    "SetNode",
    "SliceNode",
    "TupleNode",
    "TypeNode",
}
_ADVICE = (
    "Set parameters that hold such objects to plain values or None; of a search save "
    "best_estimator_, of a pipeline the steps that can be saved; joblib.dump saves more, in files "
    "for those who trust you"
)


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save an estimator to a file that :func:`load` can read without running code from it.

    The file holds what the estimator holds, as arrays and text: an archive of skops. It is
    written beside its place first, and a file that was there stays as it is until all is written.

    Parameters
    ----------
    estimator : estimator
        A fitted or unfitted :class:`RNNBoundClassifier`, transformer of
        :mod:`sklearn_rnnbound.preprocessing`, estimator of scikit-learn, or pipeline of these.
        Subclasses of your own, functions and callbacks are code and cannot be saved; nor can a
        search: save its `best_estimator_`.
    path : str or path-like
        Name of the file.

    Raises
    ------
    ImportError
        When skops is missing.
    TypeError
        When the estimator is none, or holds a type that :func:`load` would refuse.
    OSError
        When no file can be written there.

    See Also
    --------
    load : Reads the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_rnnbound import RNNBoundClassifier, load, save
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(8, max_iter=20, tol=1.0, random_state=0).fit(X[:200], y[:200])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "digits.skops")
    ...     save(clf, path)
    ...     loaded = load(path)
    >>> bool((loaded.predict(X) == clf.predict(X)).all())
    True
    >>> loaded.generalization_bound_() == clf.generalization_bound_()
    True
    """
    skops_io = _skops_io("save")
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be an estimator, and is of type {type(estimator)}")
    try:
        data = skops_io.dumps(estimator)
        _loaded(data, skops_io)
    except (AttributeError, NotImplementedError, RecursionError, TypeError, ValueError) as error:
        said = str(error).rstrip(".")
        raise TypeError(f"estimator cannot be saved safely: {said}. {_ADVICE}") from error
    # As open does, and unlike replace, to where a link points.
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> BaseEstimator:
    """Load an estimator from a file that :func:`save` has written.

    No code from the file is run. Only types on a short list are made: those of this package that
    :func:`save` takes, estimators of scikit-learn, and NumPy's arrays and numbers. Still, a file
    says what its author wants it to say: believe the bounds of a file as much as you believe its
    author, and look at the parameters, some of which are paths, before you call `fit`.

    Parameters
    ----------
    path : str or path-like
        Name of the file.

    Returns
    -------
    estimator : estimator
        The estimator. A fitted classifier is on the device that its parameter `device` names, or
        on the CPU where this is not there.

    Raises
    ------
    ImportError
        When skops is missing.
    OSError
        When there is no such file, or it cannot be read.
    ValueError
        When it is no file of :func:`save`, is damaged, holds types that are not trusted, or was
        written by a version with another format.

    See Also
    --------
    save : Writes such files.
    """
    skops_io = _skops_io("load")
    data = Path(path).read_bytes()
    with _one_error(path):
        estimator = _loaded(data, skops_io)
        if not isinstance(estimator, BaseEstimator):
            raise ValueError(f"it holds no estimator, but something of type {type(estimator)}")
    return estimator


@contextmanager
def _one_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise what skops, NumPy or an estimator may say of a damaged file as one kind of error."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"path={str(path)!r} cannot be loaded: {error}") from error


def _loaded(data: bytes, skops_io: Any) -> Any:
    """What an archive holds, made of types on the list; TypeError or ValueError for others."""
    with ZipFile(io.BytesIO(data)) as archive:
        json.loads(archive.read("schema.json"), object_hook=_checked)
    return skops_io.loads(data, trusted=_TRUSTED)


def _checked(node: dict[str, Any]) -> dict[str, Any]:
    """A node of the tree in an archive, if its kind is known."""
    loader = node.get("__loader__")
    if isinstance(loader, str) and loader not in _NODES:
        raise ValueError(f"{loader} of {node['__module__']}.{node['__class__']} is not trusted")
    # skops makes True of the keys False and True.
    if loader == "DictNode" and any(
        key["__class__"] in ("bool", "bool_") for key in node["key_types"]["content"]
    ):
        raise ValueError("a dictionary has bool keys: use 0 and 1")
    return node


def _skops_io(function: str) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            f"{function} needs skops: pip install 'sklearn-rnnbound[save]'"
        ) from error
    return skops.io
