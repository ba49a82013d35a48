"""The state of a training on disk, from which it goes on after it was interrupted."""

from __future__ import annotations

import hashlib
import io
import os
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch

from sklearn_rnnbound._version import __version__
from sklearn_rnnbound.paths import as_path, explained

__all__ = ["Checkpoint", "check_checkpoint", "fingerprint"]

# Part of the name of a file: those of another form are not found.
_FORMAT = 1
# Of two writes, and of the start and the first one.
_SECONDS_BETWEEN = 5.0
_NUMBERS_AT_ONCE = 2**20
# More than what is left of a disk that is called full.
_TRIAL_BYTES = 2**16


def check_checkpoint(checkpoint: str | os.PathLike[str], random_state: Any, callbacks: Any) -> None:
    """ValueError where a fit could not go on from a checkpoint in this folder.

    Parameters
    ----------
    checkpoint : str or os.PathLike
        The folder.
    random_state, callbacks : object
        The parameters of the fit.
    """
    if not isinstance(random_state, int | np.integer):
        raise ValueError(
            "checkpoint needs an integer random_state, from which a fit that starts again draws "
            f"the same numbers, got random_state={random_state!r}"
        )
    if callbacks:
        raise ValueError(
            "checkpoint cannot save what callbacks keep: leave out one of the two; skorch has a "
            "callback Checkpoint of its own"
        )
    folder = Path(as_path(checkpoint, "checkpoint"))
    with _explained(folder):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"checkpoint must be a folder, and {str(there)!r} is a file")


def _explained(folder: Path) -> AbstractContextManager[None]:
    return explained(f"checkpoint={str(folder)!r} must be a folder that can be read and written")


def fingerprint(settings: Iterable[Any], tensors: Iterable[torch.Tensor | None]) -> str:
    """Hash of all that training depends on.

    Parameters
    ----------
    settings : iterable
        Numbers, strings and the like, whose `repr` tells them apart. Numbers of one value are the
        same whatever their types, and so are paths and text.
    tensors : iterable of torch.Tensor or None
        Tensors on any device, read a part at a time.

    Returns
    -------
    fingerprint : str
        Hexadecimal digits.
    """
    settings = _FORMAT, __version__, torch.__version__, *map(_plain, settings)
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in tensors:
        form = None if tensor is None else (tensor.dtype, tuple(tensor.shape))
        digest.update(repr(form).encode())
        if tensor is not None:
            rows = max(1, _NUMBERS_AT_ONCE // tensor[0].numel())
            for part in tensor.detach().split(rows):
                digest.update(np.ascontiguousarray(part.cpu().numpy()).data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """One of the values that mean the same: 1 for 1.0 and np.int64(1), but not for True."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    if isinstance(value, np.generic):
        value = value.item()
    # The item of a longdouble is a longdouble.
    if isinstance(value, float | np.floating):
        value = float(value)
        return int(value) if value.is_integer() else value
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Checkpoint:
    """The file that holds the state of one training.

    Several processes may write it at once: what they write are states of the same training, and
    each of them is put in place as a whole.

    Parameters
    ----------
    folder : str or os.PathLike
        Where the file is; it is made unless it is there.
    name : str
        Name of the training, its :func:`fingerprint`.

    Raises
    ------
    OSError
        When the folder cannot be made, read or written, here and in the methods.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str) -> None:
        self.path = Path(folder, f"{name}.pt")
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Rather now than after hours of training.
            with TemporaryFile(dir=self.path.parent) as file:
                file.write(bytes(_TRIAL_BYTES))
                file.flush()
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether there is so much to lose that it should be written."""
        return time.monotonic() - self._last >= _SECONDS_BETWEEN

    def read(self, restore: Callable[[Any], None]) -> bool:
        """Hand on what the file holds; whether there is one.

        Parameters
        ----------
        restore : callable
            Takes what was written; any error means that it is not that.

        Returns
        -------
        found : bool
            Whether there is a file.

        Raises
        ------
        ValueError
            If it holds something else.
        """
        try:
            with self._explained():
                file = self.path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            try:
                restore(torch.load(file, map_location="cpu", weights_only=True))
            except Exception as error:
                # What torch raises for a file that is damaged can be anything.
                raise ValueError(
                    f"checkpoint holds a file from which training cannot go on, {self.path}: "
                    "delete it, and training starts anew"
                ) from error
        return True

    def write(self, state: Any) -> None:
        """Put a state, of plain tensors, lists and numbers, in the place of the file."""
        part = self._part(uuid.uuid4().hex)
        # Of a disk that is full torch would not say so.
        data = io.BytesIO()
        torch.save(state, data)
        with self._explained():
            try:
                with part.open("wb") as file:
                    file.write(data.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())
                # Another process that is in the same training may have ended it, and removed this.
                with suppress(FileNotFoundError):
                    part.replace(self.path)
            finally:
                part.unlink(missing_ok=True)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the file, and what was left of one by a process that died as it wrote."""
        with self._explained():
            for path in (self.path, *self.path.parent.glob(self._part("*").name)):
                path.unlink(missing_ok=True)

    def _explained(self) -> AbstractContextManager[None]:
        return _explained(self.path.parent)

    def _part(self, name: str) -> Path:
        return self.path.with_suffix(f".{name}.part")
