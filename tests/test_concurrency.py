"""Fits side by side in threads: the results of fits in a row, and torch's thread counts kept."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_rnnbound import BoundSearch, StackedGridSearchCV
from sklearn_rnnbound.network import torch_threads

GRID = {"noise_std": [0.0, 0.1], "beta_w": [0.5, 0.9]}


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


def test_threads_that_start_within_a_block_get_what_they_would_have_got(bystander):
    with torch_threads(1):
        assert torch.get_num_threads() == 1
        assert of_new_thread() == 3
        with torch_threads(2):
            assert torch.get_num_threads() == 2
            assert of_new_thread() == 3
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 3


def test_threads_that_were_there_keep_theirs(bystander):
    with ThreadPoolExecutor(1) as pool:
        # A number that is set before the first use is forgotten by torch.
        pool.submit(torch.get_num_threads).result()
        pool.submit(torch.set_num_threads, 2).result()
        torch.set_num_threads(3)
        with torch_threads(1):
            assert pool.submit(torch.get_num_threads).result() == 2
        assert pool.submit(torch.get_num_threads).result() == 2


def test_the_number_of_threads_to_come_may_be_another(bystander):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(torch.set_num_threads, 2).result()
    with torch_threads(1):
        assert of_new_thread() == 2
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 2


def test_blocks_that_overlap_leave_nothing_behind():
    entered, left = (threading.Event() for _ in range(2))
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

    second_entered = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(first), pool.submit(second)]:
            future.result()
    assert numbers == [3, 3]
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 3


@pytest.mark.parametrize("accompanied", [False, True])
def test_a_number_that_cannot_be_set_leaves_the_one_before(accompanied, request, monkeypatch):
    if accompanied:
        request.getfixturevalue("bystander")
    set_threads, calls = torch.set_num_threads, []

    def interrupted(count):
        set_threads(count)
        calls.append(count)
        if count == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "set_num_threads", interrupted)
    # A test runner, or a progress bar, may keep threads of its own.
    alone = threading.active_count() == 1
    with pytest.raises(KeyboardInterrupt), torch_threads(1):
        pytest.fail("it was not set")
    monkeypatch.undo()
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 3
    # One that is alone has no helper.
    assert calls == ([1, 3] if alone else [1, 3, 3, 3])


def test_a_thread_alone_sets_the_number_for_those_to_come():
    code = (
        "import torch; from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "from sklearn_rnnbound.network import torch_threads\n"
        "new = lambda: Pool(1).submit(torch.get_num_threads).result()\n"
        "torch.set_num_threads(3)\n"
        "with torch_threads(2): print(torch.get_num_threads(), new())\n"
        "print(torch.get_num_threads(), new())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.split() == ["2", "2", "3", "3"], process.stderr


def test_none_is_the_number_that_is_set():
    with torch_threads(None):
        assert torch.get_num_threads() == 3


class Watch(Callback):
    """Notes the number of torch threads in every minibatch."""

    def __init__(self, seen):
        self.seen = seen

    def on_batch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


def results(clf, X):
    """What a fit leaves, as bytes and numbers."""
    weights = clf.U_.tobytes(), clf.W_.tobytes(), clf.V_.tobytes()
    bounds = [clf.generalization_bound_(method=name) for name in ("peeling", "paper")]
    return weights, clf.loss_curve_, clf.predict_proba(X).tobytes(), bounds


def classifiers():
    """Classifiers that differ in their noise, their seeds and their numbers of threads."""
    return [
        make_classifier(
            noise_std=0.1 * (seed % 3),
            random_state=seed,
            n_threads=[None, 1, 2, 4][seed % 4],
            hidden_size=[6, 40][seed % 2],
            max_iter=4,
        )
        for seed in range(12)
    ]


@pytest.mark.parametrize("backend", ["pool", "joblib"])
def test_fits_side_by_side_are_those_in_a_row(backend, small, monkeypatch):
    # Those without a number of their own have the three of this fixture.
    monkeypatch.setattr("sklearn_rnnbound.classifier._WORK_FOR_THREADS", 0)
    X, y = small
    expected = [results(clf.fit(X, y), X) for clf in classifiers()]
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is watched

    def run(clf):
        seen = []
        clf.set_params(callbacks=[Watch(seen)]) if clf.random_state % 5 == 0 else None
        found = results(clf.fit(X, y), X)
        assert set(seen) <= {clf.n_threads or 3}
        return found, torch.get_num_threads()

    if backend == "pool":
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(run, classifiers()))
            numbers = list(pool.map(lambda _: torch.get_num_threads(), range(20)))
        assert set(numbers) == {3}
    else:
        tasks = (joblib.delayed(run)(clf) for clf in classifiers())
        found = joblib.Parallel(n_jobs=4, backend="threading")(tasks)
    for clf, (one, number), reference in zip(classifiers(), found, expected, strict=True):
        # skorch's loop and ours round in another order.
        if clf.random_state % 5:
            assert one == reference
        assert number == 3
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 3
    assert torch.equal(torch.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002 - the legacy state is watched


def test_one_classifier_serves_many_threads(fitted, small):
    X, y = small
    expected = [results(fitted, X[:n]) for n in range(1, 21)]
    report, radius = str(fitted.bound_report_(X_train=X, y_train=y)), fitted.certified_radius_(X)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: results(fitted, X[:n]), range(1, 21)))
        reports = list(
            pool.map(lambda _: str(fitted.bound_report_(X_train=X, y_train=y)), range(4))
        )
        radii = list(pool.map(lambda _: fitted.certified_radius_(X), range(4)))
    assert found == expected
    assert set(reports) == {report}
    for one in radii:
        np.testing.assert_array_equal(one, radius)


@pytest.mark.parametrize("search", [BoundSearch, StackedGridSearchCV, GridSearchCV])
def test_searches_in_threads_are_those_in_a_row(search, small):
    clf = make_classifier(min_eigenvalue=0.0, beta_u=1.0, beta_v=1.0, max_iter=3)
    expected = search(clf, GRID).fit(*small)
    with joblib.parallel_config(backend="threading"):
        found = search(clf, GRID, n_jobs=4).fit(*small)
    for name, values in expected.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(values, found.cv_results_[name])
    assert torch.get_num_threads() == 3
    assert of_new_thread() == 3
