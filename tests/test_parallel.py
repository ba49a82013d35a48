"""Tasks in processes, and what becomes of them when a worker dies."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from sklearn import config_context, get_config

from sklearn_rnnbound.parallel import run_tasks


def square(number):
    return number**2


def die_once(number, marker):
    """Kill the process the first time that number 2 comes by."""
    with Path(marker, "log").open("a") as log:
        log.write(f"{number}\n")
    if number == 2 and not Path(marker, "died").exists():
        Path(marker, "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number):
    if number == 1:
        raise ArithmeticError("number 1")
    return number


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_results_keep_the_order_of_the_tasks(n_jobs):
    assert run_tasks(square, [(i,) for i in range(7)], n_jobs=n_jobs) == [i**2 for i in range(7)]


def test_no_tasks_no_results():
    assert run_tasks(square, []) == []


def test_tasks_of_a_dead_worker_are_run_again(tmp_path):
    tasks = [(i, str(tmp_path)) for i in range(6)]
    assert run_tasks(die_once, tasks, n_jobs=2) == [i**2 for i in range(6)]
    runs = (tmp_path / "log").read_text().split()
    assert runs.count("2") == 2
    assert (tmp_path / "died").exists()


def test_tasks_that_always_kill_their_worker_end_with_the_error_of_the_backend():
    with pytest.raises(BrokenProcessPool):
        run_tasks(die, [(0,), (1,)], n_jobs=2)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_errors_of_a_task_are_raised(n_jobs):
    with pytest.raises(ArithmeticError, match="number 1"):
        run_tasks(fail, [(i,) for i in range(4)], n_jobs=n_jobs)


def test_progress_goes_to_the_standard_error(capsys):
    run_tasks(square, [(1,), (2,)], verbose=True, description="squares")
    assert "squares: 100%" in capsys.readouterr().err
    run_tasks(square, [(1,), (2,)])
    assert not capsys.readouterr().err


# What is shown or hidden in a worker must leave nothing behind when all are interrupted.
INTERRUPTED = """
import os, signal, sys, time

from sklearn_rnnbound.parallel import Progress, run_tasks


def work(folder):
    with Progress(total=1, disable=True):
        open(os.path.join(folder, str(os.getpid())), "w").close()
        time.sleep(60)


run_tasks(work, [(sys.argv[1],), (sys.argv[1],)], n_jobs=2)
"""


def test_an_interruption_leaks_no_semaphore(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while process.poll() is None and len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "KeyboardInterrupt" in errors
    assert "leaked" not in errors


def routing_is_on(number):
    return get_config()["enable_metadata_routing"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_settings_of_scikit_learn_reach_the_workers(n_jobs):
    with config_context(enable_metadata_routing=True):
        assert run_tasks(routing_is_on, [(0,), (1,)], n_jobs=n_jobs) == [True, True]
    assert run_tasks(routing_is_on, [(0,), (1,)], n_jobs=n_jobs) == [False, False]
