"""What an interruption leaves: every estimator as it was, no files, no settings changed."""

import linecache
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

import sklearn_rnnbound
from sklearn_rnnbound import BoundSearch

PACKAGE = str(Path(sklearn_rnnbound.__file__).parent)
# What puts things back cannot be interrupted without leaving them.
RESTORING = {"torch_threads", "_set_own_threads", "keep_default", "restored_on_failure", "unlink"}
GRID = {"beta_w": [0.5, 0.9]}


class Lines:
    """Context that counts the lines of the package that are run, and interrupts before one of them.

    Parameters
    ----------
    last : int or None
        Number of the line; None: none.
    """

    def __init__(self, last=None):
        self.last, self.count = last, 0

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.call)
        return self

    def __exit__(self, *exception):
        sys.settrace(self.before)

    def call(self, frame, event, arg):
        code = frame.f_code
        ours = code.co_filename.startswith(PACKAGE) and code.co_name not in RESTORING
        return self.line if ours else None

    def line(self, frame, event, arg):
        # Python itself takes no signal between the end of a block and the exit of its `with`.
        code = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not code.lstrip().startswith("with "):
            self.count += 1
            if self.count == self.last:
                sys.settrace(self.before)
                raise KeyboardInterrupt
        return self.line


def settings():
    """What a fit could change around it."""
    return {
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002 - the legacy state is watched
        "errors": np.geterr(),
    }


@pytest.fixture(autouse=True)
def folder(fitted, tmp_path, monkeypatch):
    """The folder of all files, temporary ones included, after torch has made those of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def sequences(seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1, 2], 8)
    return rng.normal(size=(24, 4, 2)) + np.array([[0, 3], [3, 0], [-3, -3]])[y][:, None], y


def quick(**params):
    return make_classifier(**{"hidden_size": 4, "max_iter": 2, "batch_size": 12, **params})


ESTIMATORS = {
    "noise": lambda: quick(noise_std=0.1, beta_u=1.0),
    "careful": lambda: quick(early_stopping=True, validation_fraction=0.3, fisher_rao_max=1.0),
    "warm": lambda: quick(warm_start=True),
    "box": lambda: quick(
        prior=FrozenEstimator(quick(random_state=3).fit(*sequences(2))), box_width=0.5
    ),
    "search": lambda: BoundSearch(
        quick(min_eigenvalue=0.0, beta_u=1.0, beta_w=0.9, beta_v=1.0), GRID
    ),
}


def use(estimator, X):
    """What a fitted estimator says, as bytes and numbers."""
    inner = getattr(estimator, "best_estimator_", estimator)
    bounds = [inner.generalization_bound_(method=name) for name in ("peeling", "paper")]
    weights = inner.net_.module_.theta.detach().numpy().tobytes()
    return estimator.predict_proba(X).tobytes(), bounds, weights, inner.U_.tobytes()


def places(run, n_places):
    """Numbers of lines of a run: the last ones, where attributes are set, and others all over."""
    with Lines() as lines:
        run()
    spread = np.linspace(1, lines.count, n_places, endpoint=False).astype(int)
    # With the last one a method returns, and has done all.
    return sorted({*spread.tolist(), *range(max(1, lines.count - 5), lines.count)})


def assert_unchanged(estimator, attributes):
    """The very same attributes as before."""
    assert vars(estimator).keys() == attributes.keys()
    for name, value in attributes.items():
        assert vars(estimator)[name] is value, name


@pytest.mark.parametrize("name", ESTIMATORS)
def test_ctrl_c_in_a_first_and_in_a_second_fit_leaves_the_estimator_as_it_was(name, folder):
    (X, y), (Z, z) = sequences(0), sequences(1)
    new, old = ESTIMATORS[name](), ESTIMATORS[name]().fit(X, y)
    expected, before = use(old, X), settings()
    for estimator in (new, old):
        attributes, twin = dict(vars(estimator)), ESTIMATORS[name]()
        if estimator is old:
            twin.fit(X, y)
        for number in places(partial(twin.fit, Z, z), 12):
            with Lines(number), pytest.raises(KeyboardInterrupt):
                estimator.fit(Z, z)
            assert_unchanged(estimator, attributes)
    with pytest.raises(NotFittedError):
        check_is_fitted(new)
    assert use(old, X) == expected
    assert settings() == before
    assert not list(folder.iterdir())
    # Nothing that is left gets in the way of a fit.
    assert use(new.fit(X, y), X) == expected


CALLS = {
    "predict": lambda clf, X, y: clf.predict(X),
    "report": lambda clf, X, y: clf.bound_report_(X[::2], y[::2], X_train=X, y_train=y),
    "radius": lambda clf, X, y: clf.certified_radius_(X),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_in_a_use_leaves_the_estimator_as_it_was(call, folder):
    X, y = sequences()
    clf = ESTIMATORS["noise"]().fit(X, y)
    expected, attributes, before = use(clf, X), dict(vars(clf)), settings()
    result = str(call(clf, X, y))
    for number in places(lambda: call(clf, X, y), 8):
        with Lines(number), pytest.raises(KeyboardInterrupt):
            call(clf, X, y)
        assert_unchanged(clf, attributes)
    assert use(clf, X) == expected
    assert str(call(clf, X, y)) == result
    assert settings() == before
    assert not list(folder.iterdir())


# The data reach the workers through files in a folder of joblib, as they have more than 1 MB.
CHILD = """
import sys

import numpy as np

from sklearn_rnnbound import *

rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 20, 8)), np.arange(2000) % 2
clf = RNNBoundClassifier(
    8, max_iter=10**6, tol=0.0, n_iter_no_change=10**6, verbose=True, random_state=0
)
search = BoundSearch(clf, {"beta_w": [0.5, 0.6, 0.7, 0.8]}, n_jobs=2)
try:
    {"fit": clf, "search": search}[sys.argv[1]].fit(X, y)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise
"""


@pytest.mark.parametrize("kind", ["fit", "search"])
def test_sigint_ends_a_process_and_its_workers(kind, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JOBLIB_TEMP_FOLDER": str(folder)},
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            # All are in the midst of training then.
            if line.startswith("epoch    2/"):
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert "interrupted" in output
        # After it the tracker of joblib's resources may tell what it has cleared away.
        assert "\nKeyboardInterrupt\n" in errors
        assert process.returncode == -signal.SIGINT
        for _ in range(600):
            if not is_alive(process.pid) and not list(folder.iterdir()):
                break
            time.sleep(0.1)
        assert not is_alive(process.pid)
        assert not list(folder.iterdir())
    finally:
        if is_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def is_alive(group):
    """Whether a process of the group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
