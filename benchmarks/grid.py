"""A grid of 20 fits trained as one stack against one fit, and against GridSearchCV.

Five values of the noise times four folds, without a last fit on all data. One fit is that of the
third candidate on the first fold. Times are process time on one thread; with two processes,
those of the wall, also for the stack beside them (`StackedGridSearchCV` has no use for the second
core then) and for two stacks with `n_jobs=2`.

The second table is what the rule of `StackedGridSearchCV`, when to stack, rests on: the same ratio
over sizes, every grid stacked whatever the rule says. Stacking on one thread saves time while the
ratio is below 20.
"""

import math
import os
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import joblib
import numpy as np
import torch
from measuring import Claim, Tables, classifier, interleaved, main, sequences, worst
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sklearn_rnnbound import RNNBoundClassifier, StackedGridSearchCV, stacked_search

GRID = {"noise_std": [0.05, 0.075, 0.1, 0.125, 0.15]}
N_FOLDS, N_FITS = 4, 20
# Rows of a minibatch up to which there is much to gain.
SMALL = 64


def functions(
    clf: RNNBoundClassifier, X: np.ndarray, y: np.ndarray, *searches: GridSearchCV
) -> dict[str, Callable[[], object]]:
    """One fit, and searches."""
    train, _ = next(StratifiedKFold(N_FOLDS).split(X, y))
    one = {"one fit": partial(clf.fit, X[train], y[train])}
    return one | {
        f"{type(search).__name__}, n_jobs={search.n_jobs}": partial(search.fit, X, y)
        for search in searches
    }


def search(
    kind: type[GridSearchCV], clf: RNNBoundClassifier, n_jobs: int | None = None
) -> GridSearchCV:
    return kind(clf, GRID, cv=N_FOLDS, refit=False, error_score="raise", n_jobs=n_jobs)


def forced() -> mock._patch:
    """Stack whatever the rule says."""
    return mock.patch.object(stacked_search, "_LARGEST_STEP", math.inf)


def compare(m: int, batch_size: int, *, n: int, epochs: int, repetitions: int) -> dict:
    """Ratios of process time, and of wall time where there are two processes."""
    X, y = sequences(n, 28, 28)
    clf = classifier(hidden_size=m, noise_std=0.1, batch_size=batch_size, max_iter=epochs)
    stacked, usual = (search(kind, clf) for kind in (StackedGridSearchCV, GridSearchCV))
    with forced():
        one, stack, separate = interleaved(
            functions(clf, X, y, stacked, usual), repetitions
        ).values()
    row = {
        "m": m,
        "batch": batch_size,
        "one fit (s)": one,
        "stack (s)": stack,
        "stack ÷ one fit": stack / one,
        "stack ÷ GridSearchCV": stack / separate,
    }
    if joblib.cpu_count() > 1:
        # Warnings of a process of its own would be printed.
        with forced(), mock.patch.dict(os.environ, PYTHONWARNINGS="ignore:max_iter"):
            in_two = [search(kind, clf, 2) for kind in (StackedGridSearchCV, GridSearchCV)]
            _, stack, two_stacks, processes = interleaved(
                functions(clf, X, y, stacked, *in_two), repetitions, time.perf_counter
            ).values()
        row["wall: stack ÷ GridSearchCV(n_jobs=2)"] = stack / processes
        row["wall: 2 stacks ÷ GridSearchCV(n_jobs=2)"] = two_stacks / processes
    return row


def map_sizes(m: int, batch_size: int, *, n: int, epochs: int, repetitions: int) -> dict:
    """The ratio that decides whether to stack."""
    X, y = sequences(n, 28, 8)
    clf = classifier(hidden_size=m, noise_std=0.1, batch_size=batch_size, max_iter=epochs)
    stacks = stacked_search._pays(clf, n)
    with forced():
        one, stack = interleaved(
            functions(clf, X, y, search(StackedGridSearchCV, clf)), repetitions
        ).values()
    return {"m": m, "batch": batch_size, "stack ÷ one fit": stack / one} | {
        "m x batch": m * batch_size,
        "the rule stacks": stacks,
    }


def compare_on_gpu(what: str, *, n: int, epochs: int, repetitions: int) -> Claim:
    """The same on a GPU, by wall time."""
    if not torch.cuda.is_available():
        return Claim(what, None, 3.0, 1.5, "no CUDA device")
    X, y = sequences(n, 28, 28)
    clf = classifier(hidden_size=32, noise_std=0.1, batch_size=64, max_iter=epochs, device="cuda")
    # The scores and the losses come to the host: both have ended when the clock is read.
    one, stack = interleaved(
        functions(clf, X, y, search(StackedGridSearchCV, clf)), repetitions, time.perf_counter
    ).values()
    return Claim(what, stack / one, 3.0, 1.5)


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    repetitions = 2 if quick else 7
    n, epochs = (120, 1) if quick else (1000, 5)
    rows = [
        compare(8 if quick else 32, batch_size, n=n, epochs=epochs, repetitions=repetitions)
        for batch_size in ((32,) if quick else (32, 64, 200))
    ]
    sizes = [
        map_sizes(m, batch_size, n=n if quick else 800, epochs=epochs, repetitions=repetitions)
        for m in ((8,) if quick else (16, 32, 64, 128))
        for batch_size in ((32,) if quick else (32, 64, 200))
    ]
    what = f"StackedGridSearchCV of {N_FITS} fits ÷ one fit, m = 32, L = 28"
    ratios = {
        f"batch {row['batch']}": row["stack ÷ one fit"] for row in rows if row["batch"] <= SMALL
    }
    claims = [worst(f"{what}, small minibatches", ratios, 15, 9)]
    claims.append(compare_on_gpu(f"GPU: {what}", n=n, epochs=epochs, repetitions=repetitions))
    titles = f"{N_FITS} fits, d 28", "every grid stacked, d 8"
    return dict(zip(titles, (rows, sizes), strict=True)), claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
