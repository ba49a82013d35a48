"""The number of torch threads that suits a network, set for a block and restored after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

__all__ = ["ROWS", "suited_threads", "torch_threads"]

# Below this many multiplications a step, starting torch threads costs more than they save.
_WORK_FOR_THREADS = 2**24
#: Rows that a step works on where nothing else is said: the largest minibatch by default.
ROWS = 200

_setting_threads = threading.Lock()


def suited_threads(
    n_features: int, hidden_size: int, rows: int, largest: int = ROWS
) -> AbstractContextManager[None]:
    """One thread for small networks, else what torch is set to, for a step on so many rows."""
    work = min(rows, largest) * hidden_size * (hidden_size + n_features)
    return torch_threads(1 if work < _WORK_FOR_THREADS else None)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run a block with `count` torch threads, None for those set, and restore their number.

    Other Python threads keep the numbers that they have. Those that start meanwhile get the number
    that they would have got without the block, if the caller was not the only thread before it.
    """
    with _setting_threads:
        before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    # Without other threads nobody is disturbed, and starting one takes longer than small fits do.
    alone = threading.active_count() == 1
    set_threads = torch.set_num_threads if alone else _set_own_threads
    try:
        set_threads(count)
        yield
    finally:
        set_threads(before)


def _set_own_threads(count: int) -> None:
    """Set the number of torch threads of the calling thread.

    torch keeps a number for every thread, but the last one that any of them has set is what a
    thread begins with that uses torch for the first time.
    """
    asked, done = threading.Event(), threading.Event()

    def keep_default() -> None:
        default = torch.get_num_threads()
        asked.set()
        done.wait()
        torch.set_num_threads(default)

    keeper = threading.Thread(target=keep_default)
    with _setting_threads:
        try:
            keeper.start()
            asked.wait()
            torch.set_num_threads(count)
        finally:
            done.set()
            keeper.join()
