"""
Searches on a Dask cluster
==========================

The same code on one core and on many machines: joblib hands the fits to whatever backend is set.
Here a cluster of two worker processes on this machine; ``--scheduler ADDRESS`` uses one that is
running already. Needs the extra ``distributed``.

Usage: ``python examples/dask_grid.py [--scheduler tcp://host:8786]``
"""

import argparse
import time
from contextlib import contextmanager

import joblib
import numpy as np
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from sklearn_rnnbound import (
    BoundSearch,
    RNNBoundClassifier,
    certify,
    cross_validate_bounds,
    neg_bound_scorer,
)
from sklearn_rnnbound.datasets import load_digit_sequences

PARAM_GRID = {"noise_std": [0.0, 0.3], "beta_w": [0.5, 1.0]}


@contextmanager
def client_of(scheduler):
    """Client of the cluster at an address, or of a new one with two workers on this machine."""
    if scheduler:
        with Client(scheduler) as client:
            yield client
    else:
        # One thread per worker: the fits run side by side. The dashboard gets a free port.
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            yield client


def searches(X, y):
    """Three searches, with the numbers that they found."""
    clf = RNNBoundClassifier(
        hidden_size=16,
        beta_u=2.0,
        beta_v=4.0,
        margin=1.0,
        min_eigenvalue=0.0,
        learning_rate=0.02,
        tol=3e-2,
        random_state=0,
    )
    scoring = {"accuracy": "accuracy", "bound": neg_bound_scorer}
    grid = GridSearchCV(clf, PARAM_GRID, scoring=scoring, refit="accuracy", cv=2).fit(X, y)
    search = BoundSearch(clf, PARAM_GRID).fit(X, y)
    report = cross_validate_bounds(clf, X, y, param_grid=PARAM_GRID, cv=2, methods=["peeling"])
    return {
        "grid search": (grid.best_params_, grid.best_score_, certify(grid).value),
        "choice by certificate": (search.best_params_, search.best_bound_.value),
        "cross-validated bounds": [fold.report["peeling"].value for fold in report.folds],
    }


def main():
    """The searches one after the other, then on the cluster, and whether both agree."""
    parser = argparse.ArgumentParser(description="Searches on a Dask cluster.")
    parser.add_argument("--scheduler", help="address of a running scheduler")
    arguments = parser.parse_args()
    X, y = load_digit_sequences()
    X, y = X[:400], y[:400]

    start = time.perf_counter()
    expected = searches(X, y)
    print(f"in this process    {time.perf_counter() - start:.1f} s")
    with client_of(arguments.scheduler) as client:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        start = time.perf_counter()
        with joblib.parallel_config(backend="dask"):
            found = searches(X, y)
        print(f"on {n_workers} workers of Dask {time.perf_counter() - start:.1f} s\n")
    for name, numbers in found.items():
        verdict = "the same numbers" if numbers == expected[name] else "OTHER numbers"
        print(f"{name:23} {verdict} as in this process")
    params, accuracy, bound = found["grid search"]
    print(f"\nwinner by accuracy    {params}: {accuracy:.3f} over the folds, bound {bound:.0f}")
    params, bound = found["choice by certificate"]
    print(f"winner by certificate {params}: bound {bound:.0f}")
    print(f"bounds over folds     {np.mean(found['cross-validated bounds']):.0f} on average")


# Worker processes import this file: without the guard each would start a cluster of its own.
if __name__ == "__main__":
    main()
