"""The state of a training on disk, from which it goes on after it was interrupted."""

from __future__ import annotations

import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklearn_rnnbound._version import __version__

__all__ = ["Checkpoint", "fingerprint"]

# Of two writes, and of the start and the first one.
_SECONDS_BETWEEN = 5.0
_ROWS_AT_ONCE = 1024
_DIGEST_BYTES = hashlib.sha256().digest_size


def fingerprint(settings: dict[str, Any], tensors: Iterable[torch.Tensor | None]) -> str:
    """Hash, in hexadecimal digits, of all that training depends on.

    The `repr` tells settings apart; tensors may be on any device, and are read a part at a time.
    """
    head = __version__, torch.__version__, sorted(settings.items())
    digest = hashlib.sha256(repr(head).encode())
    for tensor in tensors:
        digest.update(repr(None if tensor is None else (tensor.dtype, tensor.shape)).encode())
        if tensor is not None:
            for part in tensor.detach().split(_ROWS_AT_ONCE):
                digest.update(np.ascontiguousarray(part.cpu().numpy()).data)
    return digest.hexdigest()


class Checkpoint:
    """The file in a folder that holds the state of one training, behind a SHA-256 of it.

    Its name is the :func:`fingerprint` of the training. Several processes may write it at once:
    what they write are states of the same training, and each of them is put in place as a whole.
    Where the folder cannot be made, read or written there is an OSError.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str) -> None:
        self.path = Path(folder, f"{name}.pt")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Rather now than after hours of training. Another process may clear it away.
        part = self._part()
        part.touch()
        part.unlink(missing_ok=True)
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether there is so much to lose that it should be written."""
        return time.monotonic() - self._last >= _SECONDS_BETWEEN

    def read(self) -> dict[str, Any] | None:
        """The state that was written last, or None; reading runs no code.

        ValueError if the file is damaged.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(
                f"the checkpoint {self.path} is damaged: delete it, and training starts anew"
            )
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)

    def write(self, state: dict[str, Any]) -> None:
        """Put a state, of plain tensors, lists and numbers, in the place of the file."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        part = self._part()
        try:
            with part.open("wb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
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
        for path in (self.path, *self.path.parent.glob(f"{self.path.stem}.*.part")):
            path.unlink(missing_ok=True)

    def _part(self) -> Path:
        return self.path.with_suffix(f".{uuid.uuid4().hex}.part")
