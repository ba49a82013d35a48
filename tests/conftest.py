"""What all tests share."""

import os
import signal
from unittest import mock

# Before SciPy is imported: scikit-learn skips its array API check otherwise.
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from networks import Toy
from sklearn.model_selection import train_test_split

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.cells import CELLS
from sklearn_rnnbound.datasets import load_digit_sequences

# A script; what it needs is no part of the development environment.
collect_ignore = ["mutation.py"]


def pytest_configure(config):
    # Short trainings are the rule here; the tests of the warning itself ask for it.
    config.addinivalue_line("filterwarnings", "ignore::sklearn.exceptions.ConvergenceWarning")
    # A script that starts the tests in the background makes them deaf to Ctrl-C, and so would
    # be the processes that the tests of interruptions start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def digits():
    """Digits as sequences: X_train, X_test, y_train, y_test."""
    X, y = load_digit_sequences()
    return train_test_split(X, y, test_size=0.25, random_state=0)


@pytest.fixture(scope="session")
def small():
    """A quick problem of three classes: X (60, 5, 2) and y."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 5, 2)) + np.array([[0, 3], [3, 0], [-3, -3]])[y][:, None]
    return X, y


@pytest.fixture(scope="session")
def fitted(small):
    """A classifier fitted on `small` with noise and every norm constrained; not to be refitted."""
    return make_classifier(noise_std=0.1, beta_u=1.0, beta_w=0.9, beta_v=2.0).fit(*small)


@pytest.fixture(scope="session")
def other():
    """Data of the law of `small`, disjoint from it."""
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], 15)
    X = rng.normal(size=(45, 5, 2)) + np.array([[0, 3], [3, 0], [-3, -3]])[y][:, None]
    return X, y


@pytest.fixture(scope="session")
def prior(other):
    """A classifier fitted on the other data; not to be refitted."""
    return make_classifier(max_iter=30, learning_rate=0.02).fit(*other)


@pytest.fixture
def toy_cell():
    """The cell "toy", of which nothing was proved."""
    with mock.patch.dict(CELLS, toy=Toy):
        yield


def make_classifier(**params):
    """A classifier that fits in a moment."""
    defaults = {"hidden_size": 6, "max_iter": 8, "random_state": 0}
    return RNNBoundClassifier(**{**defaults, **params})
