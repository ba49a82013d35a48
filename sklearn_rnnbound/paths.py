"""Arguments that are paths, and errors of the file system that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["as_path", "explained"]


def as_path(value: Any, name: str) -> str:
    """Path of a file or folder as text.

    Parameters
    ----------
    value : str or os.PathLike
        The path.
    name : str
        What it is called.

    Returns
    -------
    path : str
        The path.

    Raises
    ------
    TypeError
        For anything else, bytes included.
    ValueError
        For a NUL character, which no path holds.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path, of type str or os.PathLike, got {value!r}")
    if "\0" in path:
        raise ValueError(f"{name} must be a path, which holds no NUL character, got {path!r}")
    return path


@contextmanager
def explained(requirement: str) -> Iterator[None]:
    """Let errors of the file system in the block say what was asked for.

    Parameters
    ----------
    requirement : str
        The argument with what it is, and what it must be.

    Yields
    ------
    None
        Nothing.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise type(error)(error.errno, f"{requirement}: {why}") from error
