"""Files from elsewhere, read within limits: they may be damaged, or made to harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, AnyStr

__all__ = ["lines_within", "open_within"]

_OPEN: dict[str, Any] = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}
# Texts shrink to a fifth to a third of their size; bombs to a thousandth and less.
_MAX_EXPANSION = 100
# What is this small harms nobody, and the headers of a few short files are almost nothing else.
_NEVER_TOO_LARGE = 2**24


class _Within(io.RawIOBase):
    """Stream that raises ValueError when more than `limit` bytes are read from it."""

    def __init__(self, file: Any, limit: float, complaint: str) -> None:
        self._file, self._left, self._complaint = file, limit, complaint

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n_read: int = self._file.readinto(buffer)
        self._left -= n_read
        if self._left < 0:
            raise ValueError(self._complaint)
        return n_read


@contextmanager
def open_within(
    path: Path, *, compression: str, kind: str, source: str, limit: float = float("inf")
) -> Iterator[io.BufferedReader]:
    """Open a file for reading bytes; decompress it where `compression` is .bz2, .gz or .xz.

    A damaged file is a ValueError that calls it no whole `kind` and says where its `source` is.
    So is one of more than `limit` bytes, or of more than a hundred times its compressed size.
    """
    limit = min(limit, max(_NEVER_TOO_LARGE, _MAX_EXPANSION * path.stat().st_size))
    complaint = (
        f"{path} holds more than {limit:,} bytes, the most that is read of a {kind} of its size. "
        f"{source}"
    )
    try:
        with _OPEN.get(compression, open)(path, "rb") as file:
            yield io.BufferedReader(_Within(file, limit, complaint), 2**16)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        # Damaged gzip and bz2 files raise OSError without a number of the operating system.
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(f"{path} is not a whole {kind}: {error}. {source}") from error


def lines_within(file: IO[AnyStr], limit: int, name: str) -> Iterator[AnyStr]:
    """Lines of a file; a longer one than `limit` is a ValueError before it is read whole."""
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise ValueError(
                f"{name}, line {number} is longer than {limit:,}, the most that is read"
            )
        yield line
