"""Saving estimators without pickle, to files that are safe to load."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_rnnbound.paths import as_path, explained

__all__ = ["load", "save"]

# Beside what skops trusts: the estimators of scikit-learn, NumPy's arrays, numbers and universal
# functions, and Python's numbers, text and containers.
_TRUSTED = [
    "numpy.dtype",
    "sklearn_rnnbound.classifier.RNNBoundClassifier",
    "sklearn_rnnbound.preprocessing.series.SequencePadder",
    "sklearn_rnnbound.preprocessing.series.SequenceScaler",
    "sklearn_rnnbound.preprocessing.text.WordVectorEncoder",
    # What states of format 0 are made of.
    "sklearn_rnnbound.bounds._bound.Setting",
    "sklearn_rnnbound.constraints.Box",
    "sklearn_rnnbound.datasets.word_vectors.WordVectors",
    "sklearn_rnnbound.statistics.BoxStatistics",
    "sklearn_rnnbound.statistics.InputSums",
    "sklearn_rnnbound.statistics.NetworkNorms",
    "sklearn_rnnbound.statistics.SampleStatistics",
]
_SCHEMA = "schema.json"
# Older files of skops describe functions and arrays otherwise; skops wrote them until 2022.
_OLDEST_PROTOCOL = 2
# Numbers in the state of NumPy's generator behind RandomState, which does not check the position.
_STATE_LENGTH = 624
_ADVICE = (
    ". Set parameters that hold such objects to plain values or None; of a search save "
    "best_estimator_, of a pipeline the steps that can be saved; joblib.dump saves more, in files "
    "for those who trust you"
)


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save an estimator to a file that :func:`load` can read without running code from it.

    The file holds what the estimator holds, as arrays and text: an archive of skops. It is
    written beside its place first, and a file that was there, even a read-only one, stays as it
    is until all is written.

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
        When the estimator is none, or holds a type that :func:`load` would refuse; when path is
        no name of a file.
    ValueError
        When :func:`load` would refuse the state of the estimator, such as parameters that became
        invalid after `fit`.
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
    path = as_path(path, "path")
    with explained(f"path={path!r} must name a file that can be written"):
        # As open does, and unlike replace, to where a link points.
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            raise IsADirectoryError(errno.EISDIR, "it is a folder or a device")
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "its folder is not there")
        data = _archive(estimator, skops_io)
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
    :func:`save` takes, estimators of scikit-learn, and NumPy's arrays and numbers. What is in the
    file of a classifier must go together. Still, a file says what its author wants it to say:
    believe the bounds of a file as much as you believe its author, and look at the parameters,
    some of which are paths, before you call `fit`.

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
    TypeError
        When path is no name of a file, or the file holds types that are not trusted.
    ValueError
        When it is no file of :func:`save`, is damaged, or was written by a later version that
        this one cannot follow.

    See Also
    --------
    save : Writes such files.
    """
    skops_io = _skops_io("load")
    path = as_path(path, "path")
    with explained(f"path={path!r} must name a file that can be read"):
        file = Path(path)
        # Other things than files and folders may have no end.
        if not (file.is_file() or file.is_dir()):
            raise FileNotFoundError(errno.ENOENT, "no file is there")
        data = file.read_bytes()
    with _errors_as(ValueError, f"path={path!r} cannot be loaded"):
        data, refused = _sifted(data, skops_io)
        estimator = None if refused else skops_io.loads(data, trusted=_TRUSTED)
    if refused:
        raise TypeError(
            f"path={path!r} holds types that are not trusted: {', '.join(refused)}. Nothing was "
            "loaded"
        )
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(
            f"path={path!r} holds no estimator, but something of type {type(estimator)}"
        )
    return estimator


def _skops_io(function: str) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            f"{function} needs skops: pip install 'sklearn-rnnbound[save]'"
        ) from error
    return skops.io


def _archive(estimator: BaseEstimator, skops_io: Any) -> bytes:
    """The file of an estimator; TypeError or ValueError where load would refuse it."""
    with _errors_as(TypeError, "estimator cannot be saved safely", _ADVICE):
        data, refused = _sifted(_dumped(estimator, "estimator", skops_io.dumps), skops_io)
        if refused:
            raise TypeError(f"load does not trust {', '.join(refused)}")
    with _errors_as(ValueError, "estimator could not be loaded again"):
        skops_io.loads(data, trusted=_TRUSTED)
    return data


def _dumped(value: Any, place: str, dumps: Callable[[Any], bytes]) -> bytes:
    """What skops writes of a value; TypeError names the innermost part that it cannot write."""
    try:
        return dumps(value)
    except MemoryError:
        raise
    except Exception as error:
        _raise_interrupt(error)
        item, parts = "[{!r}]", value
        if isinstance(error, RecursionError):
            # What is a part of itself has no innermost part.
            parts = None
        elif isinstance(value, BaseEstimator):
            item, parts = ".{}", value.__getstate__()
        elif isinstance(value, list | tuple):
            parts = dict(enumerate(value))
        for key, part in parts.items() if isinstance(parts, dict) else ():
            _dumped(part, place + item.format(key), dumps)
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{kind} at {place}: {str(error).rstrip('.')}") from error


@contextmanager
def _errors_as(kind: type[Exception], what: str, advice: str = "") -> Iterator[None]:
    """Raise whatever skops, NumPy or scikit-learn may say in the block as one kind of error."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        _raise_interrupt(error)
        raise kind(f"{what}: {str(error) or type(error).__name__}{advice}") from error


def _raise_interrupt(error: BaseException | None) -> None:
    """Raise the Ctrl-C that an error hides: an archive closed in the middle fails on its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        error = error.__context__


def _sifted(data: bytes, skops_io: Any) -> tuple[bytes, list[str]]:
    """An archive with nothing in it but what is known, and types not trusted with their places.

    skops reads what it expects and passes over the rest, follows references within the file, and
    believes sizes. In the new archive a tree of a few kinds of nodes is written out in full.
    """
    sieve = _Sieve(_members(data))
    schema = json.loads(sieve.members[_SCHEMA])
    clean = sieve.node(schema, "estimator")
    protocol = schema.get("protocol")
    if not isinstance(protocol, int) or protocol < _OLDEST_PROTOCOL:
        raise ValueError(f"protocol {protocol!r} of skops is not known")
    clean |= {"protocol": protocol, "_skops_version": schema.get("_skops_version")}
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        # Members have no time: the same estimator gives the same file.
        for file, number in sieve.numbers.items():
            archive.writestr(ZipInfo(f"{number}.npy"), sieve.members[file])
        archive.writestr(ZipInfo(_SCHEMA), json.dumps(clean, separators=(",", ":")))
    data = stream.getvalue()
    untrusted = set(skops_io.get_untrusted_types(data=data)).difference(_TRUSTED)
    return data, [f"{kind} at {sieve.places[kind]}" for kind in sorted(untrusted | sieve.refused)]


def _members(data: bytes) -> dict[str, bytes]:
    """Contents of an archive by their names; ValueError when they take more room than it."""
    with ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        for info in infos:
            if info.compress_type != ZIP_STORED:
                raise ValueError(f"{info.filename!r} in it is compressed")
        if sum(info.file_size for info in infos) > len(data):
            raise ValueError("its parts claim to be larger than all of it")
        return {info.filename: archive.read(info) for info in infos}


def _builtin(loader: str, name: str, content: Any, **others: Any) -> dict[str, Any]:
    """A node of a built-in type."""
    node = {"__loader__": loader, "__module__": "builtins", "__class__": name}
    return {**node, "content": content, **others}


_NOTHING = _builtin("JsonNode", "str", "null")
_NO_ATTRIBUTES = _builtin("DictNode", "dict", {}, key_types=_builtin("ListNode", "list", []))


class _Sieve:
    """Reads the tree of an archive of skops and leaves behind what is not known.

    Parameters
    ----------
    members : dict
        Contents of the archive by their names.

    Attributes
    ----------
    numbers : dict
        Numbers of those that are arrays in the tree.
    refused : set of str
        Types in nodes of unknown kinds.
    places : dict
        Where each type occurs first.
    """

    def __init__(self, members: dict[str, bytes]) -> None:
        self.members = members
        self.numbers: dict[str, int] = {}
        self.refused: set[str] = set()
        self.places: dict[str, str] = {}

    def node(self, node: Any, place: str, item: str = "[{!r}]") -> dict[str, Any]:
        """The node at a place with what is known of it, and the items below it."""
        loader, module, name = (_text(node, f"__{key}__") for key in ("loader", "module", "class"))
        clean: dict[str, Any] = {"__loader__": loader, "__module__": module, "__class__": name}
        self.places.setdefault(f"{module}.{name}", place)
        content = node.get("content")
        match loader:
            case "JsonNode":
                clean["content"] = _text(node, "content")
            case "TypeNode" | "FunctionNode":
                pass
            case "DTypeNode" | "RandomStateNode":
                clean["content"] = self.node(content, place)
                if loader == "RandomStateNode":
                    _check_position(clean)
            case "ObjectNode":
                # skops calls __setstate__ with an empty dictionary, but not with None.
                if content is None or (
                    _text(content, "__loader__") == "JsonNode" and content.get("content") == "null"
                ):
                    content = _NO_ATTRIBUTES
                if _text(content, "__loader__") != "DictNode":
                    raise ValueError(f"{module}.{name} at {place} has no dictionary of attributes")
                clean["content"] = self.node(content, place, ".{}")
            case "ListNode" | "TupleNode" | "SetNode":
                clean["content"] = self._items(content, place)
            case "DictNode":
                clean["key_types"] = self.node(node.get("key_types"), f"the keys of {place}")
                clean["content"] = {
                    key: self.node(value, place + item.format(key))
                    for key, value in content.items()
                }
                _check_keys(clean, place)
            case "SliceNode":
                clean["content"] = {key: content[key] for key in ("start", "stop", "step")}
            case "NdArrayNode" if node.get("type") == "json":
                clean["type"] = "json"
                clean["content"] = self._items(content, place)
                clean["shape"] = self.node(node.get("shape"), place)
            # Of these, one number could make any number of bytes.
            case "NdArrayNode" if name not in ("bytes_", "void"):
                number = self._array(_text(node, "file"), place)
                clean |= {"type": "numpy", "file": f"{number}.npy", "__id__": number}
            case _:
                self.refused.add(f"{module}.{name}")
                clean = _NOTHING
        return clean

    def _items(self, nodes: Any, place: str) -> list[dict[str, Any]]:
        return [self.node(node, f"{place}[{i}]") for i, node in enumerate(nodes)]

    def _array(self, file: str, place: str) -> int:
        """Number of an array in NumPy's format, which is one array wherever it occurs."""
        if file not in self.members:
            raise ValueError(f"{file!r} is missing in it, the array at {place}")
        _check_array(self.members[file], place)
        return self.numbers.setdefault(file, len(self.numbers) + 1)


def _check_array(data: bytes, place: str) -> None:
    """Raise ValueError unless an array in NumPy's format is plain, and what its header says."""
    stream = io.BytesIO(data)
    numpy_format: Any = np.lib.format
    is_first = numpy_format.read_magic(stream) == (1, 0)
    read = numpy_format.read_array_header_1_0 if is_first else numpy_format.read_array_header_2_0
    # Python's parser runs out of memory in deep expressions.
    shape, _, dtype = read(stream, max_header_size=1000)
    # Entries of no bytes could be any number.
    if dtype.kind not in "biufcSUmM" or dtype.itemsize == 0:
        raise ValueError(f"numpy.ndarray at {place} holds neither numbers nor text, but {dtype}")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"numpy.ndarray at {place} is not of shape {shape} and type {dtype}")


def _check_keys(node: dict[str, Any], place: str) -> None:
    """Keys are text in JSON, and made again by their types: not so those of some types."""
    types = node["key_types"]["content"]
    if len(types) != len(node["content"]) or any(
        kind["__loader__"] != "TypeNode" or kind["__class__"] in ("bool", "bool_", "NoneType")
        for kind in types
    ):
        raise ValueError(f"keys of the dictionary at {place} must be text or numbers, each once")


def _check_position(node: dict[str, Any]) -> None:
    try:
        state = node["content"]["content"]["state"]["content"]
        position = json.loads(state["pos"]["content"])
        is_valid = isinstance(position, int) and 0 <= position <= _STATE_LENGTH
    except (KeyError, TypeError) as error:
        raise ValueError("a state of numpy.random.RandomState has no position") from error
    if not is_valid:
        raise ValueError(f"a state of numpy.random.RandomState has position {position}")


def _text(node: Any, key: str) -> str:
    text = node.get(key) if isinstance(node, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"a node of the tree in it has no {key}")
    return text
