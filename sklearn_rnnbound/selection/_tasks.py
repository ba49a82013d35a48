"""Fits side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

__all__ = ["run_tasks"]


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None,
    verbose: bool | int,
    description: str,
) -> list[Any]:
    """Results of ``function(*task)`` for every task, in order, on joblib's current backend."""
    results: Iterable[Any] = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(function)(*task) for task in tasks
    )
    return list(tqdm(results, total=len(tasks), desc=description, disable=not verbose))
