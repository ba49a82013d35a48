"""Fits that go on from a checkpoint give what they would have given, and never another's state."""

import errno
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import EpochScoring

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound._base import _READ_BEFORE_TRAINING
from sklearn_rnnbound.training.checkpoint import Checkpoint, fingerprint
from sklearn_rnnbound.training.loop import Training

EPOCHS, DONE = 6, 3
CASES = {
    "adam": {"noise_std": 0.3, "batch_size": 7, "beta_w": 0.8, "weight_decay": 0.01},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 7, "noise": "laplace"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "noise_std": 0.1},
    "in order": {"shuffle": False, "batch_size": 7, "gradient_clip_norm": 0.5},
    "float32": {"noise_std": 0.2, "noise": "uniform", "fisher_rao_max": 2.0},
    "types": {"unit_types": 2, "beta_u": (1.0, 0.5), "class_weight": {0: 1, 1: 2, 2: 3}},
}


def problem(name=""):
    """The data `small` of other tests, for processes that have no fixtures."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 5, 2)) + np.array([[0, 3], [3, 0], [-3, -3]])[y][:, None]
    return X.astype(np.float32 if name == "float32" else np.float64), y


def unfitted(name, **params):
    """Classifiers that differ in what training has to remember."""
    return make_classifier(**{"max_iter": EPOCHS, "batch_size": 20} | CASES[name] | params)


@pytest.fixture(scope="module")
def other():
    """A classifier fitted on other data of the same kind."""
    X, y = problem()
    return make_classifier(random_state=1).fit(X[::-1] + 0.5, y[::-1])


def assert_same(actual, expected):
    """Everything that a fit leaves is the same, to the last bit."""
    for name in ("U_", "W_", "V_"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
    for name in ("loss_curve_", "n_iter_", "validation_scores_", "best_loss_", "beta_w_"):
        assert getattr(actual, name) == getattr(expected, name)
    assert list(actual.net_.history) == list(expected.net_.history)
    for method in ("peeling", "paper"):
        values = [clf.generalization_bound_(method=method) for clf in (actual, expected)]
        assert values[0] == values[1]


@pytest.fixture
def eager(monkeypatch):
    """Checkpoints at the end of every epoch."""
    monkeypatch.setattr("sklearn_rnnbound.training.checkpoint._SECONDS_BETWEEN", 0.0)


@pytest.fixture
def steps(monkeypatch):
    """Interrupts the process in a step; counts the epochs that are begun."""

    class Steps:
        epochs = 0
        last = None

    counted, run_epoch, step = Steps(), Training._run_epoch, Training._step

    def run(training):
        counted.epochs += 1
        return run_epoch(training)

    def interrupted(training, batch):
        result = step(training, batch)
        if counted.epochs == counted.last:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Training, "_run_epoch", run)
    monkeypatch.setattr(Training, "_step", interrupted)
    return counted


def interrupt(clf, data, steps, after=DONE):
    """Interrupt a fit in the epoch after so many."""
    steps.epochs, steps.last = 0, after + 1
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*data)
    steps.epochs, steps.last = 0, None


# A real end of a process


def run_until_killed(name, folder):
    """Fit, write every epoch, note each, and wait within a step of the one after so many."""
    begun, run_epoch, step = [], Training._run_epoch, Training._step

    def run(training):
        begun.append("epoch")
        return run_epoch(training)

    def waiting(training, batch):
        result = step(training, batch)
        if len(begun) > DONE:
            Path(folder, f"{name}.waits").touch()
            time.sleep(600)
        return result

    Training._run_epoch, Training._step = run, waiting
    unfitted(name, checkpoint=folder).fit(*problem(name))


def test_fits_that_were_killed_within_an_epoch_go_on(tmp_path, steps):
    here = Path(__file__).parent
    code = f"""
import os, sys, time
sys.path[:0] = {[str(here), str(here.parent)]!r}
from test_checkpoint import CASES, run_until_killed
import sklearn_rnnbound.training.checkpoint
sklearn_rnnbound.training.checkpoint._SECONDS_BETWEEN = 0.0
for name in CASES:
    if not os.fork():
        run_until_killed(name, {str(tmp_path)!r})
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        while len(list(tmp_path.glob("*.waits"))) < len(CASES):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.pt"))) == len(CASES)
    for name in CASES:
        steps.epochs = 0
        actual = unfitted(name, checkpoint=tmp_path).fit(*problem(name))
        assert steps.epochs == EPOCHS - DONE
        assert_same(actual, unfitted(name).fit(*problem(name)))
    assert not list(tmp_path.glob("*.pt"))


# Interruptions


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("after", [1, EPOCHS - 1])
def test_interrupted_fits_go_on(name, after, tmp_path, eager, steps):
    expected = unfitted(name).fit(*problem(name))
    clf = unfitted(name, checkpoint=tmp_path / "new" / "folder")
    interrupt(clf, problem(name), steps, after)
    # Another object, as in another session.
    actual = clone(clf).fit(*problem(name))
    assert steps.epochs == EPOCHS - after
    assert_same(actual, expected)
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_a_second_fit_under_warm_start_goes_on(small, tmp_path, eager, steps):
    clf = unfitted("adam", warm_start=True, checkpoint=tmp_path).fit(*small)
    fitted = clf.U_.copy()
    interrupt(clf, small, steps)
    np.testing.assert_array_equal(clf.U_, fitted)
    expected = unfitted("adam", warm_start=True).fit(*small).fit(*small)
    assert_same(clf.fit(*small), expected)


def test_a_fit_from_a_prior_in_a_box_goes_on(small, tmp_path, eager, steps, other):
    params = {"prior": FrozenEstimator(other), "box_width": 0.5, "loss": "ramp", "margin": 1.0}
    clf = make_classifier(**params, checkpoint=tmp_path)
    interrupt(clf, small, steps)
    clf.fit(*small)
    assert steps.epochs == clf.n_iter_ - DONE
    assert_same(clf, make_classifier(**params).fit(*small))


def test_training_is_not_lost_when_the_statistics_fail(small, tmp_path, monkeypatch, steps):
    def fail(*args, **kwargs):
        raise MemoryError

    clf = unfitted("early stopping", checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("sklearn_rnnbound._base.sample_statistics", fail)
        with pytest.raises(MemoryError):
            clf.fit(*small)
    assert not vars(clf).keys() - clf.get_params().keys()
    assert len(list(tmp_path.iterdir())) == 1
    steps.epochs = 0
    # How the bounds are made is no part of training.
    clf.set_params(delta=0.1).fit(*small)
    assert steps.epochs == 0
    assert_same(clf, unfitted("early stopping", delta=0.1).fit(*small))
    assert not list(tmp_path.iterdir())


def test_what_has_diverged_leaves_nothing(small, tmp_path, eager):
    params = {"learning_rate": 1e300, "optimizer": "sgd", "max_iter": 50}
    with pytest.raises(ValueError, match="diverged"):
        make_classifier(checkpoint=tmp_path, **params).fit(*small)
    assert not list(tmp_path.iterdir())


def test_it_says_where_it_goes_on(small, tmp_path, eager, steps, capsys):
    clf = make_classifier(checkpoint=tmp_path, verbose=True)
    interrupt(clf, small, steps)
    assert "resumed" not in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    clf.fit(*small)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"resumed at epoch {DONE} from {path}"
    assert second.startswith(f"epoch {DONE + 1:>4}/")


def test_it_is_written_every_few_seconds_and_at_the_end(small, tmp_path, monkeypatch):
    clock, written = [100.0], []
    end, write = Training._end_epoch, Checkpoint.write

    def end_epoch(training, loss):
        clock[0] += 2.0
        return end(training, loss)

    def noted_write(checkpoint, state):
        written.append(len(state["record"]["loss_curve"]))
        write(checkpoint, state)

    monkeypatch.setattr("sklearn_rnnbound.training.checkpoint.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Training, "_end_epoch", end_epoch)
    monkeypatch.setattr(Checkpoint, "write", noted_write)
    make_classifier(max_iter=8, checkpoint=tmp_path).fit(*small)
    assert written == [3, 6, 8]


# Whose state it is


def name_of(clf, X, y, sample_weight=None):
    """Name of the checkpoint of a fit."""
    names = []

    def stop(self):
        names.append(self.path.name)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "read", stop)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, y, sample_weight)
    return names[0]


# Another value of each parameter that training does not read.
NOT_OF_TRAINING = {
    "input_bound": 100.0,
    "delta": 0.5,
    "margin": 2.0,
    "min_eigenvalue": 0.0,
    "memory": "cache",
    "verbose": True,
    "warm_start": True,
    "device": "cpu",
    "step_size": 2,
}


def test_what_training_does_not_read_leaves_the_fit_the_same(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # One case names a cache there.
    # What data and weights come from is known by these.
    known_by_tensors = {"callbacks", "checkpoint", "class_weight", "prior"}
    assert {*NOT_OF_TRAINING} | known_by_tensors == _READ_BEFORE_TRAINING
    base = make_classifier(noise_std=0.1, batch_size=20, checkpoint=tmp_path)
    expected, weights = name_of(base, *small), clone(base).fit(*small).W_
    for name, value in NOT_OF_TRAINING.items():
        another = clone(base).set_params(**{name: value})
        assert name_of(another, *small) == expected, name
        # And so it should be.
        np.testing.assert_array_equal(another.fit(*small).W_, weights, err_msg=name)


def test_other_parameters_data_and_starts_are_other_fits(small, tmp_path, other):
    class Subclass(RNNBoundClassifier):
        pass

    X, y = small
    base = make_classifier(batch_size=20, checkpoint=tmp_path)
    changed, swapped = X.copy(), y.copy()
    changed[17, 3, 1] = np.nextafter(changed[17, 3, 1], np.inf)
    swapped[[0, 59]] = swapped[[59, 0]]
    weights = np.linspace(0.5, 1.5, len(y))
    changes = {"noise_std": 0.2, "beta_w": (0.5, 0.5), "max_iter": 9, "class_weight": {0: 2.0}}
    from_prior = clone(base).set_params(prior=FrozenEstimator(other))
    fits = [
        (base, X, y),
        (base, changed, y),
        (base, X.astype(np.float32), y),
        (base, X.reshape(60, 2, 5), y),
        (base, X, swapped),
        (base, X, y, weights),
        (base, X, y, weights**2),
        (from_prior, X, y),
        (clone(from_prior).set_params(box_width=0.5), X, y),
        (clone(from_prior).set_params(box_width=0.6), X, y),
        (clone(base).set_params(warm_start=True).fit(X, y), X, y),
        *((clone(base).set_params(**{name: value}), X, y) for name, value in changes.items()),
        (Subclass(**base.get_params(deep=False)), X, y),
    ]
    names = [name_of(*fit) for fit in fits]
    assert len(set(names)) == len(names)
    # Where the numbers lie in memory is no matter.
    for same in (np.asfortranarray(X), X.tolist(), torch.tensor(X), np.repeat(X, 2, 0)[::2]):
        assert name_of(base, same, y) == names[0]


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("sklearn_rnnbound.training.checkpoint.__version__", "0.0.0"),
        ("torch.__version__", "2.0.0"),
        ("torch.get_num_threads", lambda: 7),
    ],
)
def test_other_versions_and_numbers_of_threads_are_other_fits(
    target, value, small, tmp_path, monkeypatch
):
    base = make_classifier(checkpoint=tmp_path)
    expected = name_of(base, *small)
    monkeypatch.setattr(target, value)
    assert name_of(base, *small) != expected


def test_tensors_of_the_same_bytes_differ_by_their_forms():
    ones = torch.ones(4, 2)
    forms = [ones, ones.view(2, 4), ones.view(torch.int32), None]
    pairs = [[ones, ones[:2]], [ones[:2], ones]]
    names = [fingerprint({}, [form]) for form in forms] + [fingerprint({}, pair) for pair in pairs]
    assert len(set(names)) == len(names)
    assert fingerprint({"a": 1}, [ones]) != fingerprint({"a": 2}, [ones])
    assert fingerprint({"a": 1, "b": 2}, []) == fingerprint({"b": 2, "a": 1}, [])


# Files


class Trap:
    """Leaves a file where its pickle is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_every_bit_of_the_file_counts(small, tmp_path, eager, steps):
    clf = make_classifier(checkpoint=tmp_path, early_stopping=True)
    interrupt(clf, small, steps)
    (path,) = tmp_path.iterdir()
    good, rng = path.read_bytes(), np.random.default_rng(0)
    checkpoint = Checkpoint(tmp_path, path.stem)
    for place in [*range(32), *rng.integers(32, len(good), size=300).tolist()]:
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="is damaged: delete it"):
            checkpoint.read()
    for content in (b"", good[:31], good[:32], good[: len(good) // 2], good[:-1], good + b"\0"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged: delete it") as raised:
            clf.fit(*small)
        assert str(path) in str(raised.value)
        assert path.read_bytes() == content
        assert not vars(clf).keys() - clf.get_params().keys()
    path.write_bytes(good)
    steps.epochs = 0
    clf.fit(*small)
    assert steps.epochs == clf.n_iter_ - DONE


def test_a_file_runs_no_code(tmp_path):
    checkpoint, trap, buffer = Checkpoint(tmp_path, "name"), tmp_path / "trapped", io.BytesIO()
    torch.save({"theta": Trap(trap)}, buffer)
    data = buffer.getvalue()
    checkpoint.path.write_bytes(hashlib.sha256(data).digest() + data)
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.read()
    assert not trap.exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("target", ["pathlib.Path.open", "os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_file_before(target, error, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, "name")
    checkpoint.write({"theta": torch.ones(3)})

    def raising(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(target, raising)
        with pytest.raises(type(error)):
            checkpoint.write({"theta": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == [checkpoint.path]
    assert torch.equal(checkpoint.read()["theta"], torch.ones(3))


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
    fsync = os.fsync

    def overtaken(file):
        fsync(file)
        first.remove()

    monkeypatch.setattr(os, "fsync", overtaken)
    second.write({})
    second.remove()
    assert not list(tmp_path.iterdir())
    assert first.read() is None


def test_two_fits_at_once_share_a_folder(small, tmp_path, eager):
    expected = unfitted("adam").fit(*small)
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(unfitted("adam", checkpoint=tmp_path).fit, *small) for _ in range(6)]
        for one in fits:
            np.testing.assert_array_equal(one.result().W_, expected.W_)
    assert not list(tmp_path.iterdir())


# Parameters


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_seed_must_be_given(random_state, small, tmp_path):
    make_classifier(checkpoint=tmp_path, random_state=np.int64(3)).fit(*small)
    clf = make_classifier(checkpoint=tmp_path / "folder", random_state=random_state)
    with pytest.raises(ValueError, match=r"checkpoint .*random_state"):
        clf.fit(*small)
    assert not (tmp_path / "folder").exists()


def test_callbacks_exclude_it(small, tmp_path):
    clf = make_classifier(checkpoint=tmp_path, callbacks=[EpochScoring("accuracy")])
    with pytest.raises(ValueError, match=r"checkpoint .*callbacks"):
        clf.fit(*small)


def test_what_cannot_be_written_to_is_named_before_training(small, tmp_path, steps):
    path = tmp_path / "file"
    path.touch()
    for checkpoint in (path, path / "sub" / "folder"):
        with pytest.raises(OSError, match="file"):
            make_classifier(checkpoint=checkpoint).fit(*small)
    assert steps.epochs == 0
