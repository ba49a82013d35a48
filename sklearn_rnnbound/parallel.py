"""Tasks side by side under joblib's backends, and again where a worker was lost with them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs
from sklearn import config_context, get_config
from tqdm.std import TqdmDefaultWriteLock, tqdm

__all__ = ["Progress", "run_tasks"]

# Rounds in a row that may lose workers without finishing a single task.
_FRUITLESS_ROUNDS = 3
# Seconds in which a cluster may start its lost workers again. With one worker left joblib would go
# on in this very process, and what killed a worker might kill it too.
_PATIENCE = 30.0


class Progress(tqdm):
    """Progress bar for whatever process, locked between threads alone.

    tqdm's own lock is a semaphore of every worker that makes a bar, shown or not: a worker that is
    interrupted leaks it, and Python complains.
    """

    _lock = TqdmDefaultWriteLock.th_lock


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None = None,
    verbose: bool | int = False,
    description: str = "",
    sizes: Sequence[int] | None = None,
) -> list[Any]:
    """Results of ``function(*task)`` for every task, in their order.

    The backend is joblib's current one. When it reports that a worker died, the tasks without a
    result are submitted again; data go with them, since they may have been lost as well.

    Parameters
    ----------
    function : callable
        What to do; it must not depend on which tasks ran before.
    tasks : sequence of tuples
        Arguments. An array that is the same object in every task reaches a worker once: loky maps
        it into memory, Dask scatters it.
    n_jobs : int or None, default=None
        As in joblib.
    verbose : bool or int, default=False
        Whether to show a progress bar.
    description : str, default=""
        What the bar counts.
    sizes : sequence of int or None, default=None
        How much of that is in each task. None: one.

    Returns
    -------
    results : list
        One result per task.

    Raises
    ------
    Exception
        What a task raised, or the backend's error when workers died three times in a row without
        a single task finished.
    """
    results: dict[int, Any] = {}
    fruitless = 0
    n_workers, config = effective_n_jobs(n_jobs), get_config()
    sizes = [1] * len(tasks) if sizes is None else sizes
    with Progress(total=sum(sizes), desc=description, disable=not verbose) as bar:
        while len(results) < len(tasks):
            n_before = len(results)
            missing = [number for number in range(len(tasks)) if number not in results]
            try:
                finished = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
                    delayed(_numbered)(number, config, function, *tasks[number])
                    for number in missing
                )
                for number, result in finished:
                    results[number] = result
                    bar.update(sizes[number])
            except Exception as error:
                fruitless = 0 if len(results) > n_before else fruitless + 1
                if not _lost_worker(error) or fruitless == _FRUITLESS_ROUNDS:
                    raise
                _wait_for_workers(n_jobs, n_workers)
    return [results[number] for number in range(len(tasks))]


def _numbered(
    number: int, config: dict[str, Any], function: Callable[..., Any], *task: Any
) -> tuple[int, Any]:
    # scikit-learn's settings, metadata routing among them, belong to a thread.
    with config_context(**config):
        return number, function(*task)


def _wait_for_workers(n_jobs: int | None, n_workers: int) -> None:
    """Wait until there are as many workers as before, or for as long as it makes sense."""
    end = time.monotonic() + _PATIENCE
    while effective_n_jobs(n_jobs) < n_workers and time.monotonic() < end:
        time.sleep(0.1)


def _lost_worker(error: Exception) -> bool:
    """Whether the error says that a worker died, or data that it held."""
    kinds: list[type[BaseException]] = [BrokenExecutor, CancelledError]
    if distributed := sys.modules.get("distributed"):
        kinds += [distributed.KilledWorker, distributed.client.FutureCancelledError]
    return isinstance(error, tuple(kinds))
