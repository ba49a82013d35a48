"""Fits that go on from a checkpoint give what they would have given, and never another's state."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_rnnbound import (
    BoundSearch,
    RNNBoundClassifier,
    StackedGridSearchCV,
    cross_validate_bounds,
)
from sklearn_rnnbound.checkpoint import Checkpoint, fingerprint
from sklearn_rnnbound.composition import count_candidates
from sklearn_rnnbound.training import Stack, Training

WEIGHTS = "U_", "W_", "V_"
GRID = {"beta_w": [0.5, 0.9]}
EPOCHS, DONE = 6, 3


def problem(dtype=np.float64):
    """The data `small` of other tests, for processes that have no fixtures."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 5, 2)) + np.array([[0, 3], [3, 0], [-3, -3]])[y][:, None]
    return X.astype(dtype), y


@pytest.fixture(scope="module")
def other():
    """A classifier fitted on other data of the same kind."""
    X, y = problem()
    return make_classifier(random_state=1).fit(X[::-1] + 0.5, y[::-1])


def unfitted(name):
    """Classifiers that differ in what training has to remember."""
    params = {
        "plain": {},
        "adam with noise": {"noise_std": 0.3, "batch_size": 7, "beta_w": 0.8, "weight_decay": 0.01},
        "sgd": {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 7, "noise": "laplace"},
        "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "noise_std": 0.1},
        "in order": {"shuffle": False, "batch_size": 7, "gradient_clip_norm": 0.5},
        "float32": {"noise_std": 0.2, "noise": "uniform", "fisher_rao_max": 2.0},
        "types": {"unit_types": 2, "beta_u": (1.0, 0.5), "class_weight": {0: 1, 1: 2, 2: 3}},
    }[name]
    return make_classifier(max_iter=EPOCHS, batch_size=20).set_params(**params)


CASES = ["plain", "adam with noise", "sgd", "early stopping", "in order", "float32", "types"]


def data_of(name):
    return problem(np.float32 if name == "float32" else np.float64)


def assert_same(actual, expected):
    """Everything that a fit leaves is the same, to the last bit."""
    for name in WEIGHTS:
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
    for name in ("loss_curve_", "n_iter_", "validation_scores_", "best_loss_", "beta_w_"):
        assert getattr(actual, name) == getattr(expected, name)
    assert list(actual.net_.history) == list(expected.net_.history)
    for method in ("peeling", "paper", "refined"):
        assert actual.generalization_bound_(method=method) == expected.generalization_bound_(
            method=method
        )


@pytest.fixture
def eager(monkeypatch):
    """Checkpoints at the end of every epoch."""
    monkeypatch.setattr("sklearn_rnnbound.checkpoint._SECONDS_BETWEEN", 0.0)


@pytest.fixture
def steps(monkeypatch):
    """Interrupts the process in a step; counts the epochs that are begun."""

    class Steps:
        epochs = 0
        last = None

    counted, run_epoch, step = Steps(), Stack.run_epoch, Stack._step

    def run(stack):
        counted.epochs += 1
        return run_epoch(stack)

    def interrupted(stack, *args):
        means = step(stack, *args)
        if counted.epochs == counted.last:
            raise KeyboardInterrupt
        return means

    monkeypatch.setattr(Stack, "run_epoch", run)
    monkeypatch.setattr(Stack, "_step", interrupted)
    return counted


def interrupt(clf, data, steps, after=DONE):
    """Interrupt a fit in the epoch after so many."""
    steps.epochs, steps.last = 0, after + 1
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*data)
    steps.epochs, steps.last = 0, None


# A real end of a process


class Stopping(RNNBoundClassifier):
    """Notes every epoch in a file beside its folder, and halts in a step where a file asks it to.

    Processes of a search outlive it, with what they know: so neither the environment nor a patch
    could tell them.
    """

    def fit(self, X, y, sample_weight=None):
        if self.checkpoint is None:
            return super().fit(X, y, sample_weight)
        log, halt = (Path(f"{self.checkpoint}.{name}") for name in ("log", "halt"))
        last = DONE + 1 if halt.exists() else 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sklearn_rnnbound.checkpoint._SECONDS_BETWEEN", 0.0)
            run_epoch, step = Stack.run_epoch, Stack._step
            begun = [0]

            def run(stack):
                begun[0] += 1
                losses = run_epoch(stack)
                with log.open("a") as file:
                    file.write("epoch\n")
                return losses

            def halting(stack, *args):
                means = step(stack, *args)
                if begun[0] == last:
                    with log.open("a") as file:
                        file.write("halt\n")
                    time.sleep(600)
                return means

            patch.setattr(Stack, "run_epoch", run)
            patch.setattr(Stack, "_step", halting)
            return super().fit(X, y, sample_weight)


def stopping(name, **params):
    return Stopping(**{**unfitted(name).get_params(deep=False), **params})


def started(code, folder):
    """A process of its own group that runs code with the names of this module, until it halts."""
    Path(f"{folder}.halt").touch()
    preamble = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{preamble}from test_checkpoint import *\n{code}"],
        start_new_session=True,
    )


def kill_when_halted(process, folder, count):
    """Kill a process and all that it has started when so many fits have halted."""
    try:
        while noted("halt", folder) < count:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    Path(f"{folder}.halt").unlink()


def noted(what, folder):
    """How often fits have noted something."""
    log = Path(f"{folder}.log")
    return log.read_text().count(what) if log.exists() else 0


def test_fits_that_were_killed_within_an_epoch_go_on(tmp_path):
    folder = tmp_path / "checkpoints"
    code = f"""
for name in CASES:
    if not os.fork():
        stopping(name, checkpoint={str(folder)!r}).fit(*data_of(name))
        os._exit(0)
time.sleep(600)
"""
    kill_when_halted(started(code, folder), folder, len(CASES))
    assert noted("epoch", folder) == DONE * len(CASES)
    assert len(list(folder.iterdir())) == len(CASES)
    for number, name in enumerate(CASES, 1):
        actual = stopping(name, checkpoint=folder).fit(*data_of(name))
        assert noted("epoch", folder) == DONE * len(CASES) + (EPOCHS - DONE) * number
        assert_same(actual, unfitted(name).fit(*data_of(name)))
    assert not list(folder.iterdir())


def grid_search(folder):
    return GridSearchCV(stopping("adam with noise", checkpoint=folder), GRID, cv=2, n_jobs=2)


def bound_search(folder):
    clf = stopping("adam with noise", checkpoint=folder, min_eigenvalue=0.0)
    return BoundSearch(clf, GRID, n_jobs=2)


@pytest.mark.parametrize(
    ("search", "n_fits"),
    [(bound_search, 2), pytest.param(grid_search, 5, marks=pytest.mark.slow)],
)
def test_searches_that_were_killed_go_on(search, n_fits, tmp_path):
    folder = tmp_path / "checkpoints"
    code = f"{search.__name__}({str(folder)!r}).fit(*problem())"
    kill_when_halted(started(code, folder), folder, 2)
    assert noted("epoch", folder) == 2 * DONE
    assert len(list(folder.iterdir())) == 2
    actual = search(folder).fit(*problem())
    assert noted("epoch", folder) == n_fits * EPOCHS
    expected = search(None).fit(*problem())
    assert_same(actual.best_estimator_, expected.best_estimator_)
    assert_same_results(actual, expected)
    assert not list(folder.iterdir())


def assert_same_results(actual, expected):
    assert actual.cv_results_.keys() == expected.cv_results_.keys()
    for name, values in actual.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(values, expected.cv_results_[name])


# Interruptions


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("after", [1, EPOCHS - 1])
def test_interrupted_fits_go_on(name, after, tmp_path, eager, steps):
    expected = unfitted(name).fit(*data_of(name))
    clf = unfitted(name).set_params(checkpoint=tmp_path / "new" / "folder")
    interrupt(clf, data_of(name), steps, after)
    # Another object, as in another session.
    actual = clone(clf).fit(*data_of(name))
    assert steps.epochs == EPOCHS - after
    assert_same(actual, expected)
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_a_fit_goes_on_as_often_as_it_is_interrupted(small, tmp_path, eager, steps):
    clf = unfitted("adam with noise").set_params(checkpoint=str(tmp_path))
    for done in range(EPOCHS):
        interrupt(clf, small, steps, min(done, 1))
    assert_same(clf.fit(*small), unfitted("adam with noise").fit(*small))


def test_a_second_fit_under_warm_start_goes_on(small, tmp_path, eager, steps):
    clf = unfitted("adam with noise").set_params(warm_start=True, checkpoint=tmp_path)
    clf.fit(*small)
    fitted = clf.U_.copy(), clf.net_.module_.theta.detach().clone()
    interrupt(clf, small, steps)
    np.testing.assert_array_equal(clf.U_, fitted[0])
    assert torch.equal(clf.net_.module_.theta, fitted[1])
    expected = unfitted("adam with noise").set_params(warm_start=True).fit(*small).fit(*small)
    assert_same(clf.fit(*small), expected)
    assert steps.epochs == EPOCHS - DONE + 2 * EPOCHS


def test_a_fit_from_a_prior_in_a_box_goes_on(small, tmp_path, eager, steps, other):
    params = {"prior": FrozenEstimator(other), "box_width": 0.5, "loss": "ramp", "margin": 1.0}
    clf = make_classifier(**params, checkpoint=tmp_path)
    interrupt(clf, small, steps)
    clf.fit(*small)
    assert steps.epochs == clf.n_iter_ - DONE
    expected = make_classifier(**params).fit(*small)
    assert_same(clf, expected)
    assert clf.generalization_bound_(method="localized") == expected.generalization_bound_(
        method="localized"
    )


def test_training_is_not_lost_when_the_statistics_fail(small, tmp_path, monkeypatch, steps):
    clf = unfitted("early stopping").set_params(checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("sklearn_rnnbound.classifier.sample_statistics", fail)
        with pytest.raises(MemoryError):
            clf.fit(*small)
    assert not vars(clf).keys() - clf.get_params().keys()
    assert len(list(tmp_path.iterdir())) == 1
    steps.epochs = 0
    # How the bounds are made is no part of training.
    clf.set_params(delta=0.1, memory=str(tmp_path / "cache"), verbose=True).fit(*small)
    assert steps.epochs == 0
    assert_same(clf, unfitted("early stopping").set_params(delta=0.1).fit(*small))
    assert not list(tmp_path.glob("*.pt"))


def fail(*args, **kwargs):
    raise MemoryError


def test_what_has_diverged_leaves_nothing(small, tmp_path, eager):
    params = {"learning_rate": 1e300, "optimizer": "sgd", "max_iter": 50}
    with pytest.raises(ValueError, match="diverged"):
        make_classifier(checkpoint=tmp_path, **params).fit(*small)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_changes_nothing(name, tmp_path, eager):
    expected = unfitted(name).fit(*data_of(name))
    assert_same(unfitted(name).set_params(checkpoint=tmp_path).fit(*data_of(name)), expected)


def test_wrong_data_leave_no_folder(small, tmp_path):
    X, y = small
    with pytest.raises(ValueError, match="NaN"):
        make_classifier(checkpoint=tmp_path / "new").fit(np.full_like(X, np.nan), y)
    assert not list(tmp_path.iterdir())


def test_it_says_where_it_goes_on(small, tmp_path, eager, steps, capsys):
    clf = make_classifier(checkpoint=tmp_path, verbose=True)
    clf.fit(*small)
    assert "resumed" not in capsys.readouterr().out
    interrupt(clf, small, steps)
    capsys.readouterr()
    (path,) = tmp_path.iterdir()
    clf.fit(*small)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"resumed at epoch {DONE} from {path}"
    assert second.startswith(f"epoch {DONE + 1:>4}/")


def test_it_is_written_every_few_seconds_and_at_the_end(small, tmp_path, monkeypatch):
    clock, written = [100.0], []
    end, write = Training.end_epoch, Checkpoint.write

    def end_epoch(training, loss):
        clock[0] += 2.0
        return end(training, loss)

    def noted_write(checkpoint, state):
        written.append(len(state["record"]["loss_curve"]))
        write(checkpoint, state)

    monkeypatch.setattr("sklearn_rnnbound.checkpoint.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Training, "end_epoch", end_epoch)
    monkeypatch.setattr(Checkpoint, "write", noted_write)
    make_classifier(max_iter=8, checkpoint=tmp_path).fit(*small)
    assert written == [3, 6, 8]


# Whose state it is


def name_of(clf, X, y, sample_weight=None):
    """Name of the checkpoint of a fit."""
    names = []

    def stop(self, restore):
        names.append(self.path.name)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "read", stop)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, y, sample_weight)
    return names[0]


OTHER_VALUES = {
    "hidden_size": 7,
    "activation": "tanh",
    "noise_std": 0.2,
    "noise": "uniform",
    "beta_u": 1.0,
    "beta_w": (0.5, 0.5),
    "beta_v": 1.0,
    "unit_types": 2,
    "fisher_rao_max": 1.0,
    "gradient_clip_norm": 1.0,
    "gradient_clip_value": 1.0,
    "weight_decay": 0.1,
    "loss": "ramp",
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "max_iter": 9,
    "batch_size": 19,
    "shuffle": False,
    "tol": 0.1,
    "n_iter_no_change": 3,
    "early_stopping": True,
    "class_weight": {0: 2.0},
    "random_state": 1,
}
NOT_OF_TRAINING = {
    "input_bound": 100.0,
    "margin": 0.5,
    "delta": 0.5,
    "min_eigenvalue": 0.0,
    "memory": "cache",
    "verbose": True,
    "warm_start": True,
    "device": "cpu",
    "n_threads": 1,
    "step_size": 2,
}
# These have tests of their own, or none of their values is another fit by itself.
ELSEWHERE = {"prior", "box_width", "checkpoint", "callbacks", "validation_fraction"}


def test_every_parameter_is_thought_of():
    known = [*OTHER_VALUES, *NOT_OF_TRAINING, *ELSEWHERE]
    assert sorted(known) == sorted(RNNBoundClassifier().get_params())


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # One case names a cache there.
    return make_classifier(noise_std=0.1, margin=1.0, batch_size=20, checkpoint=tmp_path)


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_another_parameter_is_another_fit(name, base, small):
    other = clone(base).set_params(**{name: OTHER_VALUES[name]})
    assert name_of(other, *small) != name_of(base, *small)


@pytest.mark.parametrize("name", NOT_OF_TRAINING)
def test_what_training_does_not_read_leaves_the_fit_the_same(name, base, small):
    other = clone(base).set_params(**{name: NOT_OF_TRAINING[name]})
    assert name_of(other, *small) == name_of(base, *small)
    # And so it should be.
    np.testing.assert_array_equal(clone(other).fit(*small).W_, clone(base).fit(*small).W_)


def test_other_data_are_another_fit(base, small, other):
    X, y = small
    changed, swapped = X.copy(), y.copy()
    changed[17, 3, 1] = np.nextafter(changed[17, 3, 1], np.inf)
    swapped[[0, 59]] = swapped[[59, 0]]
    weights = np.linspace(0.5, 1.5, len(y))
    validated = clone(base).set_params(early_stopping=True)
    from_prior = clone(base).set_params(prior=FrozenEstimator(other))
    warm = clone(base).set_params(warm_start=True).fit(X, y)
    ramp = clone(base).set_params(loss="ramp")
    fits = [
        (base, X, y),
        (base, changed, y),
        (base, X.astype(np.float32), y),
        (base, X.reshape(60, 2, 5), y),
        (base, X[::-1], y[::-1]),
        (base, X, swapped),
        (base, X, y, weights),
        (base, X, y, weights**2),
        (validated, X, y),
        (clone(validated).set_params(validation_fraction=0.4), X, y),
        (from_prior, X, y),
        (clone(from_prior).set_params(box_width=0.5), X, y),
        (clone(from_prior).set_params(box_width=0.6), X, y),
        (warm, X, y),
        (ramp, X, y),
        (clone(ramp).set_params(margin=2.0), X, y),
        (Stopping(**base.get_params(deep=False)), X, y),
    ]
    names = [name_of(*fit) for fit in fits]
    assert len(set(names)) == len(names)
    # Where the numbers lie in memory is no matter.
    for same in (np.asfortranarray(X), X.tolist(), torch.tensor(X), np.repeat(X, 2, 0)[::2]):
        assert name_of(base, same, y) == names[0]


def test_other_versions_and_numbers_of_threads_are_another_fit(base, small, monkeypatch):
    expected = name_of(base, *small)
    assert name_of(clone(base).set_params(n_threads=2), *small) != expected
    for target, value in (
        ("sklearn_rnnbound.checkpoint._FORMAT", 0),
        ("sklearn_rnnbound.checkpoint.__version__", "0.0.0"),
        ("torch.__version__", "2.0.0"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, value)
            assert name_of(base, *small) != expected
    assert name_of(base, *small) == expected


def test_fits_of_other_data_do_not_go_on(small, tmp_path, eager, steps):
    X, y = small
    clf = make_classifier(checkpoint=tmp_path)
    interrupt(clf, small, steps)
    other = clone(clf).fit(X + 1.0, y)
    assert steps.epochs == other.n_iter_
    assert_same(other, make_classifier().fit(X + 1.0, y))
    assert len(list(tmp_path.iterdir())) == 1


def test_tensors_of_the_same_bytes_differ_by_their_forms():
    ones = torch.ones(4, 2)
    forms = [ones, ones.view(2, 4), ones.view(torch.int32), None]
    pairs = [[ones, ones[:2]], [ones[:2], ones]]
    names = [fingerprint([], [form]) for form in forms] + [fingerprint([], pair) for pair in pairs]
    assert len(set(names)) == len(names)
    assert fingerprint([1], [ones]) != fingerprint([2], [ones])


@pytest.mark.parametrize(
    ("values", "others"),
    [
        ([1, 1.0, np.int64(1), np.float32(1), np.longdouble(1)], [True, "1", 1.5]),
        ([0, 0.0, -0.0, np.uint8(0)], [False, None]),
        ([0.1, np.float64(0.1)], [np.float32(0.1)]),
        ([(0.5, 1.0), [0.5, 1], (np.float64(0.5), np.int8(1))], [(1, 0.5), 0.5]),
        ([True, np.True_], [1, "True"]),
        (["relu", np.str_("relu"), Path("relu")], ["tanh"]),
        ([10**400], [np.inf, 10**400 + 1]),
    ],
)
def test_settings_of_one_value_are_the_same(values, others):
    names = [fingerprint([("name", value)], []) for value in (*values, *others)]
    assert len(set(names)) == 1 + len(others)
    assert len(set(names[: len(values)])) == 1


# Files


def interrupted_file(clf, data, steps, folder):
    interrupt(clf, data, steps)
    (path,) = folder.glob("*.pt")
    return path


class Trap:
    """Leaves a file where its pickle is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def damaged(path, trap):
    """Files that are no state, by name."""
    content = path.read_bytes()
    state = torch.load(path, weights_only=True)

    def changed(**parts):
        return saved({**state, **parts})

    def saved(state):
        torch.save(state, path)
        return path.read_bytes()

    optimizer, record = state["optimizer"], state["record"]
    return {
        "empty": b"",
        "cut off": content[: len(content) // 2],
        "text": b"state of training",
        "pickle": pickle.dumps(Trap(trap)),
        "trap": changed(theta=Trap(trap)),
        "no state": saved([1, 2]),
        "shape": changed(theta=state["theta"][:-1].clone()),
        "dtype": changed(theta=state["theta"].float()),
        "stranger": changed(more=1),
        "optimizer": changed(optimizer={}),
        "moment": changed(optimizer={**optimizer, "exp_avg": optimizer["exp_avg"][1:].clone()}),
        "generator": changed(generators={}),
        "random state": changed(
            generators={**state["generators"], "noise": torch.zeros(5056, dtype=torch.uint8)}
        ),
        "loss": changed(record={**record, "loss_curve": ["0.5"]}),
        "no epoch": changed(record={**record, "loss_curve": []}),
        "scores": changed(record={**record, "validation_scores": [0.5]}),
        "best": changed(best=None),
        "best weights": changed(best_theta=None),
    }


def test_files_that_hold_no_state_are_named(small, tmp_path, eager, steps):
    trap = tmp_path / "trapped"
    clf = make_classifier(checkpoint=tmp_path / "folder", noise_std=0.1, early_stopping=True)
    path = interrupted_file(clf, small, steps, tmp_path / "folder")
    good = path.read_bytes()
    for name, content in damaged(path, trap).items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match="delete it") as raised:
            clf.fit(*small)
        assert str(path) in str(raised.value), name
        assert path.read_bytes() == content
        assert not vars(clf).keys() - clf.get_params().keys()
    assert not trap.exists()
    path.write_bytes(good)
    steps.epochs = 0
    clf.fit(*small)
    assert steps.epochs == clf.n_iter_ - DONE


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("target", ["pathlib.Path.open", "os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_file_before(target, error, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, "name")
    checkpoint.write({"theta": torch.ones(3)})

    def raising(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(target, raising)
        with pytest.raises(type(error), match=r"checkpoint=.*: disk full|^$"):
            checkpoint.write({"theta": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == [checkpoint.path]
    states = []
    assert checkpoint.read(states.append)
    assert torch.equal(states[0]["theta"], torch.ones(3))


def test_the_end_of_a_fit_clears_up_after_a_process_that_died_as_it_wrote(small, tmp_path):
    clf = make_classifier(checkpoint=tmp_path)
    stem = name_of(clf, *small).removesuffix(".pt")
    left = tmp_path / f"{stem}.0123.part"
    foreign = [tmp_path / "other.pt", tmp_path / "other.0123.part", tmp_path / "notes.txt"]
    for path in (left, *foreign):
        path.touch()
    clf.fit(*small)
    assert sorted(tmp_path.iterdir()) == sorted(foreign)


def test_two_processes_in_the_same_training_may_end_in_any_order(tmp_path, monkeypatch):
    first, second = Checkpoint(tmp_path, "name"), Checkpoint(tmp_path, "name")
    first.write({})
    save = torch.save

    def overtaken(state, file):
        save(state, file)
        first.remove()

    monkeypatch.setattr(torch, "save", overtaken)
    second.write({})
    second.remove()
    assert not list(tmp_path.iterdir())
    assert not first.read(pytest.fail)


def test_files_are_as_small_as_the_network(tmp_path, eager, steps):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 20, 5)), np.arange(2000) % 2
    clf = make_classifier(checkpoint=tmp_path, min_eigenvalue=0.0, early_stopping=True)
    path = interrupted_file(clf, (X, y), steps, tmp_path)
    n_weights = 6 * (5 + 6 + 2)
    # Weights, the best ones, two moments; the states of two generators and the format of torch.
    assert path.stat().st_size < 4 * 8 * n_weights + 2 * 5056 + 8192 < X.nbytes / 50


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_no_copy_of_the_data_is_made_for_the_fingerprint(layout):
    X = torch.ones(4000, 50, 50)
    X = X if layout == "rows" else X.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    fingerprint([], [X])
    tracemalloc.start()
    try:
        fingerprint([], [X])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < X.numel() * X.element_size() / 8


# Parameters


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_seed_must_be_given(random_state, small, tmp_path):
    clf = make_classifier(checkpoint=tmp_path / "folder", random_state=random_state)
    with pytest.raises(ValueError, match=r"checkpoint .*random_state"):
        clf.fit(*small)
    assert not (tmp_path / "folder").exists()


def test_numpy_integers_are_seeds(small, tmp_path):
    make_classifier(checkpoint=tmp_path, random_state=np.int64(3)).fit(*small)


def test_callbacks_exclude_it(small, tmp_path):
    from skorch.callbacks import EpochScoring

    clf = make_classifier(checkpoint=tmp_path, callbacks=[EpochScoring("accuracy")])
    with pytest.raises(ValueError, match=r"checkpoint .*callbacks"):
        clf.fit(*small)


def test_a_file_is_no_folder(small, tmp_path):
    path = tmp_path / "file"
    path.touch()
    for checkpoint in (path, path / "sub" / "folder"):
        with pytest.raises(ValueError, match=r"checkpoint must be a folder, and .*file' is a file"):
            make_classifier(checkpoint=checkpoint).fit(*small)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of Linux")
@pytest.mark.parametrize("checkpoint", ["/proc/checkpoints", "/proc"])
def test_a_folder_that_cannot_be_written_to_is_named_before_training(checkpoint, small, steps):
    with pytest.raises(OSError, match=rf"checkpoint='{checkpoint}' must be a folder that can be"):
        make_classifier(checkpoint=checkpoint).fit(*small)
    assert steps.epochs == 0


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("sklearn_rnnbound.checkpoint.TemporaryFile", OSError(errno.ENOSPC, "refused")),
        ("pathlib.Path.exists", PermissionError(errno.EACCES, "refused")),
        ("pathlib.Path.mkdir", PermissionError(errno.EACCES, "refused")),
    ],
)
def test_what_the_system_refuses_is_named_before_training(
    target, error, small, tmp_path, monkeypatch, steps
):
    def raising(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(target, raising)
        with pytest.raises(type(error), match=r"checkpoint=.*: refused") as caught:
            make_classifier(checkpoint=tmp_path).fit(*small)
    assert caught.value.errno == error.errno
    assert steps.epochs == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("checkpoint", [3, True, b"folder"])
def test_other_types_are_named(checkpoint, small):
    with pytest.raises(ValueError, match="'checkpoint' parameter"):
        make_classifier(checkpoint=checkpoint).fit(*small)


# Searches


def test_searches_give_what_they_give_without(small, tmp_path, eager):
    for checkpoint in (None, tmp_path):
        clf = make_classifier(noise_std=0.1, min_eigenvalue=0.0, max_iter=3, checkpoint=checkpoint)
        piped = make_pipeline(FunctionTransformer(), clf)
        grid = {f"rnnboundclassifier__{name}": values for name, values in GRID.items()}
        found = [
            GridSearchCV(clf, GRID, cv=2).fit(*small),
            StackedGridSearchCV(clf, GRID, cv=2).fit(*small),
            StackedGridSearchCV(clf, GRID, cv=2, n_jobs=2).fit(*small),
            StackedGridSearchCV(piped, grid, cv=2).fit(*small),
            BoundSearch(clf, GRID).fit(*small),
        ]
        for search in found[1:3]:
            assert_same_results(search, found[0])
            assert_same(search.best_estimator_, found[0].best_estimator_)
        scores = [search.cv_results_["mean_test_score"] for search in found[:4]]
        np.testing.assert_array_equal(scores[3], scores[0])
        if checkpoint is None:
            expected = found
    for actual, without in zip(found, expected, strict=True):
        if "beta_w" in actual.best_params_:
            assert_same_results(actual, without)
    report = cross_validate_bounds(clf, *small, cv=2, methods=["peeling"])
    without = cross_validate_bounds(
        clone(clf).set_params(checkpoint=None), *small, cv=2, methods=["peeling"]
    )
    bounds = [[float(fold.report["peeling"]) for fold in one.folds] for one in (report, without)]
    assert bounds[0] == bounds[1]
    assert not list(tmp_path.iterdir())


def test_stacked_searches_fit_them_one_by_one(small, tmp_path, eager, steps):
    clf = make_classifier(min_eigenvalue=0.0, max_iter=5, checkpoint=tmp_path)
    search = StackedGridSearchCV(clf, GRID, cv=2)
    # In the second fit.
    interrupt(search, small, steps, 5 + DONE)
    assert not hasattr(search, "cv_results_")
    assert len(list(tmp_path.iterdir())) == 1
    search.fit(*small)
    assert steps.epochs == 5 * 5 - DONE
    assert_same_results(search, GridSearchCV(clf, GRID, cv=2).fit(*small))


def test_a_full_disk_is_named(small, tmp_path):
    """Here of files that may not grow beyond 100 kB."""
    code = f"""
import errno, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
import sklearn_rnnbound.checkpoint
from conftest import make_classifier
sklearn_rnnbound.checkpoint._SECONDS_BETWEEN = 0.0
X = np.random.default_rng(0).normal(size=(60, 5, 2))
try:
    make_classifier(hidden_size=200, checkpoint={str(tmp_path)!r}).fit(X, np.arange(60) % 3)
except OSError as error:
    assert error.errno == errno.EFBIG, error
    print(error)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"checkpoint={str(tmp_path)!r} must be a folder that can be" in process.stdout, process
    assert not list(tmp_path.iterdir())


def test_it_is_no_candidate_of_its_own():
    clf = make_classifier(noise_std=0.1)
    candidates = [{"checkpoint": None}, {"checkpoint": "one"}, {"checkpoint": "two"}]
    assert count_candidates(clf, candidates) == 1
