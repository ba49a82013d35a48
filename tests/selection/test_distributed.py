"""Searches in processes and on a Dask cluster: the same results, and data sent once."""

import os
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn import config_context, get_config

from sklearn_rnnbound import BoundSearch, cross_validate_bounds
from sklearn_rnnbound.selection._tasks import run_tasks

pytestmark = [
    # Dask's own clean-up leaves sockets and threads to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def dask():
    """A client of two workers."""
    distributed = pytest.importorskip("distributed", reason="needs the extra: distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        # The workers know these tests by import, as they know the package.
        client.run(_see_tests, [str(Path(__file__).parent), str(Path(__file__).parents[1])])
        yield client


def _see_tests(folders):
    import sys

    sys.path[:0] = folders


@pytest.fixture(params=["loky", "dask"])
def backend(request):
    """joblib's settings for two worker processes."""
    if request.param == "dask":
        request.getfixturevalue("dask")
        return {"backend": "dask"}
    return {"backend": "loky", "n_jobs": 2}


def quick(**params):
    return make_classifier(**{"max_iter": 2, "min_eigenvalue": 0.0, **params})


def where(number, X, pause):
    """Process of a task, address of its array, torch threads, and settings of scikit-learn."""
    time.sleep(pause)
    address = X.__array_interface__["data"][0]
    return number, os.getpid(), address, torch.get_num_threads(), get_config()


def test_workers_get_the_data_once_and_the_settings_of_scikit_learn(dask):
    X = np.ones((400, 10, 500))
    with joblib.parallel_config(backend="dask"), config_context(enable_metadata_routing=True):
        tasks = [(i, X, 0.1) for i in range(10)]
        found = run_tasks(where, tasks, n_jobs=None, verbose=False, description="tasks")
    numbers, pids, addresses, threads, configs = zip(*found, strict=True)
    assert numbers == tuple(range(10))
    assert len(set(pids)) == len(set(zip(pids, addresses, strict=True))) == 2
    assert os.getpid() not in pids
    assert set(threads) == {1}
    assert all(config["enable_metadata_routing"] for config in configs)


def test_bound_search_equals_the_sequential_one(backend, small):
    X, y = small
    search = BoundSearch(quick(), {"beta_w": [0.5, 1.0], "noise_std": [0.0, 0.1]})
    bounds = search.fit(X, y).cv_results_["bound"]
    winner = search.best_estimator_
    with joblib.parallel_config(**backend):
        search.fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["bound"], bounds)
    for name in ("U_", "W_", "V_"):
        np.testing.assert_array_equal(getattr(search.best_estimator_, name), getattr(winner, name))


def test_cross_validated_bounds_equal_the_sequential_ones(backend, small):
    X, y = small
    options = {"cv": 3, "param_grid": {"noise_std": [0.0, 0.1]}, "methods": ["peeling", "occam"]}
    expected = cross_validate_bounds(quick(), X, y, **options)
    with joblib.parallel_config(**backend):
        result = cross_validate_bounds(quick(), X, y, **options)
    assert [fold.report for fold in result.folds] == [fold.report for fold in expected.folds]
    assert [fold.params for fold in result.folds] == [fold.params for fold in expected.folds]
