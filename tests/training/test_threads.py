"""Fits side by side in threads: the results of fits in a row, and torch's thread counts kept."""

import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_rnnbound import BoundSearch
from sklearn_rnnbound._threads import suited_threads, torch_threads


@pytest.fixture(autouse=True)
def three():
    """Three torch threads, in this thread and in those that start."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bystander():
    """A thread that is there all the time, as there are in a notebook or a server."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def of_new_thread():
    """Number of torch threads that a thread begins with."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def assert_kept():
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 3


@pytest.mark.parametrize(
    ("rows", "largest", "count"), [(512, 512, 3), (511, 512, 1), (512, 511, 1)]
)
def test_small_networks_have_one_thread(rows, largest, count):
    # 512 rows times 64 units times 64 + 448 numbers are 2^24 multiplications.
    with suited_threads(448, 64, rows, largest):
        assert torch.get_num_threads() == count
    assert_kept()


def test_threads_that_start_within_a_block_get_what_they_would_have_got(bystander):
    with torch_threads(1):
        assert torch.get_num_threads() == 1
        assert of_new_thread() == 3
        with torch_threads(2):
            assert torch.get_num_threads() == 2
            assert of_new_thread() == 3
        assert torch.get_num_threads() == 1
    assert_kept()
    with torch_threads(None):
        assert torch.get_num_threads() == 3


def test_threads_that_were_there_keep_theirs(bystander):
    with ThreadPoolExecutor(1) as pool:
        # A number that is set before the first use is forgotten by torch.
        pool.submit(torch.get_num_threads).result()
        pool.submit(torch.set_num_threads, 2).result()
        torch.set_num_threads(3)
        with torch_threads(1):
            assert pool.submit(torch.get_num_threads).result() == 2
        assert pool.submit(torch.get_num_threads).result() == 2


def test_blocks_that_overlap_leave_nothing_behind():
    entered, second_entered, left = (threading.Event() for _ in range(3))
    numbers = []

    def first():
        with torch_threads(1):
            entered.set()
            assert second_entered.wait(60)
        numbers.append(torch.get_num_threads())
        left.set()

    def second():
        assert entered.wait(60)
        with torch_threads(4):
            second_entered.set()
            assert left.wait(60)
        numbers.append(torch.get_num_threads())

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(first), pool.submit(second)]:
            future.result()
    assert numbers == [3, 3]
    assert_kept()


@pytest.mark.parametrize("accompanied", [False, True])
def test_the_number_comes_back_after_an_interruption(accompanied, request, monkeypatch):
    if accompanied:
        request.getfixturevalue("bystander")
    set_threads = torch.set_num_threads

    def interrupted(count):
        set_threads(count)
        if count == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "set_num_threads", interrupted)
    with pytest.raises(KeyboardInterrupt), torch_threads(1):
        pytest.fail("it was not set")
    with pytest.raises(ZeroDivisionError), torch_threads(2):
        _ = 1 / 0
    monkeypatch.undo()
    assert_kept()


class Watch(Callback):
    """Notes the number of torch threads in every minibatch."""

    def __init__(self, seen):
        self.seen = seen

    def on_batch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


def results(clf, X):
    """What a fit leaves, as bytes and numbers."""
    bounds = [clf.generalization_bound_(method=name) for name in ("peeling", "paper")]
    return clf.W_.tobytes(), clf.loss_curve_, clf.predict_proba(X).tobytes(), bounds


@pytest.mark.parametrize(("work", "count"), [(0, 3), (10**9, 1)])
def test_fits_side_by_side_are_those_in_a_row(work, count, small, monkeypatch):
    monkeypatch.setattr("sklearn_rnnbound._threads._WORK_FOR_THREADS", work)
    X, y = small

    def run(seed):
        seen = []
        clf = make_classifier(
            noise_std=0.1 * (seed % 3), random_state=seed, max_iter=4, callbacks=[Watch(seen)]
        ).fit(X, y)
        assert set(seen) == {count}
        return results(clf, X), torch.get_num_threads()

    expected = [run(seed) for seed in range(8)]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(8)))
    assert found == expected
    assert {number for _, number in found} == {3}
    assert torch.equal(torch.get_rng_state(), state)
    assert_kept()


def test_one_classifier_serves_many_threads(fitted, small):
    X, y = small
    expected = [results(fitted, X[:n]) for n in range(1, 21)]
    report = str(fitted.bound_report_(X_train=X, y_train=y))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: results(fitted, X[:n]), range(1, 21)))
        reports = pool.map(lambda _: str(fitted.bound_report_(X_train=X, y_train=y)), range(4))
        assert set(reports) == {report}
    assert found == expected


@pytest.mark.parametrize("search", [BoundSearch, GridSearchCV])
def test_searches_in_threads_are_those_in_a_row(search, small):
    grid = {"noise_std": [0.0, 0.1], "beta_w": [0.5, 0.9]}
    clf = make_classifier(min_eigenvalue=0.0, beta_u=1.0, beta_v=1.0, max_iter=3)
    expected = search(clf, grid).fit(*small)
    with joblib.parallel_config(backend="threading"):
        found = search(clf, grid, n_jobs=4).fit(*small)
    for name, values in expected.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(values, found.cv_results_[name])
    assert_kept()
