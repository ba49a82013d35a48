"""Time and memory of one task in a process of its own.

Usage: python fresh_process.py TASK '{"parameter": value}', which prints one line of JSON.
"""

import json
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
from measuring import classifier, one_thread, sequences
from sklearn.exceptions import ConvergenceWarning

from sklearn_rnnbound.evidence.spectrum import min_eigenvalue

MB = 1e6
STATUS = Path("/proc/self/status")


def measured(task: Callable[..., dict], **parameters: object) -> dict:
    """What a task returns in a fresh process, with its peaks of memory."""
    command = [sys.executable, __file__, task.__name__, json.dumps(parameters)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout)


def _memory(name: str) -> float:
    """An entry of the memory that the system keeps count of, in MB; nan where it does not."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    values = [float(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return values[0] * 1024 / MB if values else float("nan")


class Peaks:
    """Largest resident memory in MB: in all, and without pages of files.

    The system keeps the first itself, from the start of the process where there is no /proc; the
    second is read every few milliseconds.
    """

    total = float("nan")
    anonymous = float("nan")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch a block."""
        if STATUS.exists():
            # Forget the peak so far.
            Path("/proc/self/clear_refs").write_text("5")
        self.anonymous = _memory("RssAnon")
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,))
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self._read()
        unit = 1 if sys.platform == "darwin" else 1024
        self.total = getrusage(RUSAGE_SELF).ru_maxrss * unit / MB
        if STATUS.exists():
            # The other one remembers what the parent process had.
            self.total = _memory("VmHWM")

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.01):
            self._read()

    def _read(self) -> None:
        self.anonymous = max(self.anonymous, _memory("RssAnon"))


@contextmanager
def clocked(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Process time of a block."""
    start = time.process_time()
    yield
    seconds[name] = time.process_time() - start


# Tasks


def fit_and_report(n: int, n_steps: int, d: int, m: int, batch_size: int, epochs: int) -> dict:
    """Fit and report on sequences in memory; memory counts from before these were made."""
    parameters = {"hidden_size": m, "batch_size": batch_size, "noise_std": 0.1}
    seconds: dict[str, float] = {}
    # What torch sets up at its first use is no part of it.
    clf = classifier(**parameters, max_iter=1).fit(*sequences(batch_size, n_steps, d))
    clf.bound_report_()
    before = _memory("VmRSS")
    peaks = Peaks()
    with peaks.watched():
        X, y = sequences(n, n_steps, d)
        clf = classifier(**parameters, max_iter=epochs)
        with clocked(seconds, "seconds"):
            clf.fit(X, y).bound_report_()
    return seconds | {"memory (MB)": peaks.total - before, "data (MB)": X.nbytes / MB}


def from_file(path: str, shape: list[int]) -> dict:
    """Fit, predict and report on a memory map."""
    seconds: dict[str, float] = {}
    peaks = Peaks()
    with peaks.watched():
        X = np.memmap(path, np.float32, "r", shape=tuple(shape))
        y = np.random.default_rng(1).integers(0, 2, len(X))
        clf = classifier(hidden_size=32, noise_std=0.1, batch_size=256, max_iter=1)
        with clocked(seconds, "fit (s)"):
            clf.fit(X, y)
        with clocked(seconds, "predict (s)"):
            clf.predict(X)
        with clocked(seconds, "report (s)"):
            clf.bound_report_()
    return seconds | {"peak (MB)": peaks.total, "of it anonymous (MB)": peaks.anonymous}


def smallest_eigenvalue(path: str, shape: list[int]) -> dict:
    """Second moment of a memory map, and its smallest eigenvalue."""
    seconds: dict[str, float] = {}
    peaks = Peaks()
    with peaks.watched():
        X = np.memmap(path, np.float32, "r", shape=tuple(shape))
        with clocked(seconds, "eigenvalue (s)"):
            eigenvalue = min_eigenvalue(X)
    return (
        seconds
        | {"eigenvalue": eigenvalue}
        | {"peak (MB)": peaks.total, "of it anonymous (MB)": peaks.anonymous}
    )


TASKS = {task.__name__: task for task in (fit_and_report, from_file, smallest_eigenvalue)}

if __name__ == "__main__":
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
