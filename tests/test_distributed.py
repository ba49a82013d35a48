"""Searches on a Dask cluster of two worker processes: the same results, data sent once, losses."""

import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_rnnbound import BoundSearch, cross_validate_bounds, neg_bound_scorer
from sklearn_rnnbound.parallel import run_tasks

distributed = pytest.importorskip("distributed", reason="needs the extra: distributed")

pytestmark = [
    # Dask's own clean-up leaves sockets and threads to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def running_cluster():
    """A client of two workers."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        # The workers know these tests by import, as they know the package.
        client.run(_see_tests, str(Path(__file__).parent))
        yield client


@pytest.fixture(scope="module")
def dask():
    with running_cluster() as client:
        yield client


def _see_tests(folder):
    import sys

    sys.path.insert(0, folder)


@pytest.fixture
def on_dask(dask):
    with joblib.parallel_config(backend="dask"):
        yield dask


@pytest.fixture(scope="module")
def wide():
    """Sequences of 16 MB, which Dask loses with the worker that holds them."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 200)
    X = rng.normal(size=(400, 10, 500)) + y[:, None, None]
    return X, y


def quick(**params):
    return make_classifier(**{"max_iter": 2, "min_eigenvalue": 0.0, "n_threads": 1, **params})


def where(number, X, pause):
    """Process, address of the array, and torch threads of a task."""
    time.sleep(pause)
    return os.getpid(), X.__array_interface__["data"][0], torch.get_num_threads()


def test_data_travel_once_per_worker_and_workers_have_one_thread(on_dask, wide):
    X, _ = wide
    places = run_tasks(where, [(i, X, 0.1) for i in range(10)])
    workers = {pid for pid, *_ in places}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert len({place[:2] for place in places}) == 2
    assert {threads for *_, threads in places} == {1}


def test_bound_search_equals_the_sequential_one(dask, small):
    X, y = small
    grid = {"beta_w": [0.5, 1.0], "noise_std": [0.0, 0.1]}
    search = BoundSearch(quick(), grid)
    expected = search.fit(X, y)
    with joblib.parallel_config(backend="dask"):
        result = BoundSearch(quick(), grid).fit(X, y)
    np.testing.assert_array_equal(result.cv_results_["bound"], expected.cv_results_["bound"])
    for name in ("U_", "W_", "V_"):
        ours = getattr(result.best_estimator_, name)
        np.testing.assert_array_equal(ours, getattr(expected.best_estimator_, name))


def test_grid_search_equals_the_sequential_one(dask, small):
    X, y = small
    scoring = {"accuracy": "accuracy", "bound": neg_bound_scorer}
    search = GridSearchCV(quick(), {"beta_w": [0.5, 1.0]}, scoring=scoring, refit="bound", cv=2)
    expected = search.fit(X, y).cv_results_
    with joblib.parallel_config(backend="dask"):
        result = search.fit(X, y).cv_results_
    for key in ("split0_test_accuracy", "split1_test_accuracy", "split0_test_bound"):
        np.testing.assert_array_equal(result[key], expected[key])


def test_cross_validated_bounds_equal_the_sequential_ones(dask, small):
    X, y = small
    options = {"cv": 3, "param_grid": {"noise_std": [0.0, 0.1]}, "methods": ["peeling", "occam"]}
    expected = cross_validate_bounds(quick(), X, y, **options).to_frame()
    with joblib.parallel_config(backend="dask"):
        result = cross_validate_bounds(quick(), X, y, **options).to_frame()
    # Everything but the clock.
    same = [column for column in expected.columns if column != "fit_time"]
    assert result[same].equals(expected[same])


def die(X, folder, times):
    """X; so many calls before end their process."""
    for number in range(times):
        try:
            Path(folder, str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
    return X


def killing(folder, times):
    step = FunctionTransformer(die, kw_args={"folder": str(folder), "times": times})
    return make_pipeline(step, quick(max_iter=1))


@pytest.fixture(params=["dask", "loky"])
def deaths(request):
    """How many workers may die of a backend, on which work then goes."""
    if request.param == "loky":
        with joblib.parallel_config(backend="loky", n_jobs=2):
            yield 1
    else:
        # A cluster of its own: Dask may take minutes to replace a worker. Two deaths on two
        # workers lose the data for certain.
        with running_cluster(), joblib.parallel_config(backend="dask"):
            yield 2


def test_our_search_survives_the_death_of_workers(deaths, wide, tmp_path):
    X, y = wide
    grid = {"rnnboundclassifier__beta_w": [0.25, 0.5, 1.0, 2.0]}
    with joblib.parallel_config(backend="sequential"):
        expected = BoundSearch(killing(tmp_path, 0), grid).fit(X, y)
    result = BoundSearch(killing(tmp_path, deaths), grid).fit(X, y)
    assert len(list(tmp_path.iterdir())) == deaths
    np.testing.assert_array_equal(result.cv_results_["bound"], expected.cv_results_["bound"])


def test_cross_validation_survives_them_too(deaths, wide, tmp_path):
    X, y = wide
    report = cross_validate_bounds(killing(tmp_path, deaths), X, y, cv=4, methods=["trivial"])
    assert len(list(tmp_path.iterdir())) == deaths
    assert [fold.fold for fold in report.folds] == [0, 1, 2, 3]
    assert not any(fold.failure for fold in report.folds)


def test_a_plain_grid_search_ends_with_the_error_of_the_engine(wide, tmp_path):
    grid = {"rnnboundclassifier__beta_w": [0.25, 0.5]}
    with pytest.raises(BrokenProcessPool):
        GridSearchCV(killing(tmp_path, 1), grid, cv=2, n_jobs=2).fit(*wide)
