"""What an interruption leaves: every estimator as it was, no files, no settings changed."""

import linecache
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import sklearn
import torch
from conftest import make_classifier
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

import sklearn_rnnbound
from sklearn_rnnbound import BoundSearch, StackedGridSearchCV
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder

PACKAGE = str(Path(sklearn_rnnbound.__file__).parent)
# What puts things back cannot be interrupted without leaving them.
RESTORING = {"torch_threads", "_set_own_threads", "keep_default", "restored_on_failure", "unlink"}
GRID = {"beta_w": [0.5, 0.9]}
DOCUMENTS = ["a good film", "a bad film", "so good, so bad", "not bad"] * 3
LABELS = [1, 0, 1, 0] * 3
VECTORS = {"good": [1.0, 0.5], "bad": [-1.0, 0.5], "film": [0.0, 1.0]}


class Lines:
    """Context that counts the lines of the package that are run, and interrupts at one of them.

    Parameters
    ----------
    last : int or None
        Number of the line before which `error` is raised; None: none.
    error : BaseException
        What is raised.
    """

    def __init__(self, last=None, error=None):
        self.last, self.error, self.count = last, error, 0

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
                raise self.error
        return self.line


def settings():
    """What a fit could change around it."""
    return {
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002 - the legacy state is watched
        "python": random.getstate(),
        "errors": np.geterr(),
        "warnings": list(warnings.filters),
        "sklearn": sklearn.get_config(),
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


def estimators():
    """Unfitted estimators, with data for two fits that differ."""
    (X, y), (Z, _) = sequences(0), sequences(1)
    series = [values[: 2 + i % 3] for i, values in enumerate(X)]
    noisy = quick(noise_std=0.1, beta_u=1.0, n_threads=torch.get_num_threads() + 1)
    careful = quick(early_stopping=True, validation_fraction=0.3, fisher_rao_max=1.0)
    prior = FrozenEstimator(quick(random_state=3).fit(Z + 0.1, y))
    known = quick(min_eigenvalue=0.0)
    certified = quick(min_eigenvalue=0.0, beta_u=1.0, beta_w=0.9, beta_v=1.0)
    texts = DOCUMENTS, LABELS
    return {
        "classifier": (noisy, (X, y), (Z, y)),
        "careful": (careful, (X, y), (Z, y)),
        "table": (quick(), (X.reshape(24, 8), y), (Z.reshape(24, 8)[:, :6], y)),
        "warm": (quick(warm_start=True), (X, y), (Z, y)),
        "box": (quick(prior=prior, box_width=0.5), (X, y), (X + 0.5, y)),
        "bound search": (BoundSearch(certified, GRID), (X, y), (Z, y)),
        "stacked search": (StackedGridSearchCV(known, GRID, cv=2), (X, y), (Z, y)),
        "scaler": (SequenceScaler(), (X,), (Z[:, :, :1],)),
        "table scaler": (SequenceScaler(), (X.reshape(24, 8),), (Z.reshape(24, 8)[:, :6],)),
        "padder": (SequencePadder(), (series,), ([values[:1] for values in series],)),
        "encoder": (WordVectorEncoder(VECTORS), (DOCUMENTS,), (DOCUMENTS[:2],)),
        "log-odds": (WordVectorEncoder(supervised="log_odds"), texts, (DOCUMENTS[:4], LABELS[:4])),
        "logistic": (WordVectorEncoder(supervised="logistic"), texts, (DOCUMENTS[:4], LABELS[:4])),
    }


NAMES = [
    "classifier",
    "careful",
    "table",
    "warm",
    "box",
    "bound search",
    "stacked search",
    "scaler",
    "table scaler",
    "padder",
    "encoder",
    "log-odds",
    "logistic",
]


def use(estimator, data):
    """What a fitted estimator says, as bytes and numbers."""
    X = data[0]
    if not hasattr(estimator, "predict"):
        return estimator.transform(X).tobytes()
    inner = getattr(estimator, "best_estimator_", estimator)
    bounds = [inner.generalization_bound_(method=name) for name in ("peeling", "paper")]
    weights = inner.net_.module_.theta.detach().numpy().tobytes()
    return estimator.predict_proba(X).tobytes(), bounds, weights, inner.U_.tobytes()


def interrupted_at(lines, n_places):
    """Numbers of lines: the last ones, where attributes are set, and others all over the run."""
    # With the last one `fit` returns, and has done all.
    spread = np.linspace(1, lines, n_places, endpoint=False).astype(int)
    return sorted({*spread.tolist(), *range(max(1, lines - 12), lines)})


def assert_unchanged(estimator, attributes):
    """The very same attributes as before."""
    assert vars(estimator).keys() == attributes.keys()
    for name, value in attributes.items():
        assert vars(estimator)[name] is value, name


@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_at_any_line_of_a_first_fit_leaves_the_estimator_unfitted(name, folder):
    estimator, data, _ = estimators()[name]
    another = clone(estimator)
    with Lines() as lines:
        another.fit(*data)
    attributes, before = dict(vars(estimator)), settings()
    for number in interrupted_at(lines.count, 25):
        with Lines(number, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
            estimator.fit(*data)
        assert_unchanged(estimator, attributes)
        with pytest.raises(NotFittedError):
            check_is_fitted(estimator)
    assert settings() == before
    assert not list(folder.iterdir())
    # Nothing that is left gets in the way of a fit.
    assert use(estimator.fit(*data), data) == use(clone(estimator).fit(*data), data)


@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_at_any_line_of_a_second_fit_leaves_the_first(name, folder):
    estimator, data, others = estimators()[name]
    estimator.fit(*data)
    another = clone(estimator).fit(*data)
    with Lines() as lines:
        another.fit(*others)
    expected, attributes, before = use(estimator, data), dict(vars(estimator)), settings()
    for number in interrupted_at(lines.count, 15):
        with Lines(number, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
            estimator.fit(*others)
        assert_unchanged(estimator, attributes)
    assert use(estimator, data) == expected
    assert settings() == before
    assert not list(folder.iterdir())


# Functions within a fit, and for which of its calls they fail.
PLACES = [
    ("constraints.WeightConstraints.project_", 1),
    ("constraints.WeightConstraints.project_", 4),
    ("training.Stack._step", 1),
    ("training.Stack._step", 4),
    ("training.Training.end_epoch", 1),
    ("training.Training.end_epoch", 2),
    ("classifier.sample_statistics", 1),
    ("classifier.min_eigenvalue", 1),
    ("classifier.whitened_norm", 1),
    ("classifier.row_norm", 3),
]


def raising_at(number, function, error):
    """The function, which fails when it is called for the time of this number."""
    calls = [0]

    def wrapped(*args, **kwargs):
        calls[0] += 1
        if calls[0] == number:
            raise error
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        SystemExit(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(("place", "number"), PLACES)
def test_failures_within_leave_a_fit_as_it_was(place, number, error, folder, monkeypatch):
    owner, name = f"sklearn_rnnbound.{place}".rsplit(".", 1)
    (X, y), (Z, _) = sequences(0), sequences(1)
    clf = quick(warm_start=True, beta_w=0.5)
    fitted = clone(clf).fit(X, y)
    expected, attributes, before = use(fitted, (X, y)), dict(vars(fitted)), settings()
    for one, kept in ((clf, dict(vars(clf))), (fitted, attributes)):
        with monkeypatch.context() as patch:
            function = getattr(resolve_name(owner), name)
            patch.setattr(f"{owner}.{name}", raising_at(number, function, error))
            with pytest.raises(type(error)):
                one.fit(Z, y)
        assert_unchanged(one, kept)
    assert use(fitted, (X, y)) == expected
    assert settings() == before
    assert not list(folder.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_cache_serves_after_an_interruption(error, folder, monkeypatch):
    X, y = sequences()
    clf = quick(memory=str(folder / "cache"))
    before = settings()
    with monkeypatch.context() as patch:
        # Within the function that is cached: the cache knows it by its source.
        patch.setattr("sklearn_rnnbound.spectrum._largest_magnitudes", raising_at(1, None, error))
        with pytest.raises(error):
            clf.fit(X, y)
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)
    assert settings() == before
    left = [path.name for path in (folder / "cache").rglob("*") if path.is_file()]
    assert set(left) <= {"func_code.py", ".gitignore", "CACHEDIR.TAG"}
    assert use(clf.fit(X, y), (X, y)) == use(quick().fit(X, y), (X, y))


@pytest.mark.parametrize("search", [BoundSearch, StackedGridSearchCV])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("place", ["training.Training.end_epoch", "classifier.sample_statistics"])
def test_failures_within_leave_a_search_as_it_was(place, error, search, folder, monkeypatch):
    (X, y), (Z, _) = sequences(0), sequences(1)
    clf = quick(min_eigenvalue=0.0, beta_u=1.0, beta_v=1.0)
    fitted = search(clf, GRID, error_score="raise").fit(X, y)
    expected, attributes, before = use(fitted, (X, y)), dict(vars(fitted)), settings()
    owner, name = f"sklearn_rnnbound.{place}".rsplit(".", 1)
    function = getattr(resolve_name(owner), name)
    for number in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(f"{owner}.{name}", raising_at(number, function, error))
            with pytest.raises(error):
                fitted.fit(Z, y)
        assert_unchanged(fitted, attributes)
    assert use(fitted, (X, y)) == expected
    assert settings() == before
    assert not list(folder.iterdir())


def test_invalid_data_leave_a_scaler_as_it_was():
    scaler = SequenceScaler(step_size=2)
    with pytest.raises(ValueError, match="step_size"):
        scaler.fit(np.ones((4, 3)))
    assert not vars(scaler).keys() - scaler.get_params().keys()


# Processes


class Kill(Callback):
    """Ends the process in the first minibatch."""

    def on_batch_begin(self, net, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_are_killed_leave_a_search_as_it_was(folder, monkeypatch):
    monkeypatch.setattr("sklearn_rnnbound.parallel._FRUITLESS_ROUNDS", 1)
    (X, y), (Z, _) = sequences(0), sequences(1)
    search = BoundSearch(quick(min_eigenvalue=0.0, beta_u=1.0, beta_v=1.0), GRID).fit(X, y)
    expected, classifier = use(search, (X, y)), search.estimator
    search.set_params(estimator__callbacks=[Kill()], n_jobs=2)
    attributes, before = dict(vars(search)), settings()
    with pytest.raises(BrokenProcessPool):
        search.fit(Z, y)
    assert_unchanged(search, attributes)
    assert search.estimator is classifier
    assert use(search, (X, y)) == expected
    assert settings() == before


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
grid = {"beta_w": [0.5, 0.6, 0.7, 0.8]}
run = {
    "fit": lambda: clf.fit(X, y),
    "bound search": lambda: BoundSearch(clf, grid, n_jobs=2).fit(X, y),
    "stacked search": lambda: StackedGridSearchCV(clf, grid, cv=2, n_jobs=2).fit(X, y),
    "folds": lambda: cross_validate_bounds(clf, X, y, cv=2, n_jobs=2),
}[sys.argv[1]]
print("ready", flush=True)
try:
    run()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise
"""


@pytest.mark.parametrize(
    "kind",
    [
        "fit",
        "bound search",
        pytest.param("stacked search", marks=pytest.mark.slow),
        pytest.param("folds", marks=pytest.mark.slow),
    ],
)
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
        # All are in the midst of training then. Those in a stack are silent.
        last = "ready" if kind == "stacked search" else "epoch    2/"
        for line in process.stdout:
            if line.startswith(last):
                break
        time.sleep(10 if last == "ready" else 0)
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
