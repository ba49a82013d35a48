"""Numbers that a change of the house must not move: fits, bounds and searches, recorded once.

``python tests/test_values.py`` prints what tests/fixtures/values.json holds. Record anew only for a
change that is meant to move numbers, and say so in CHANGELOG.md.
"""

import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_rnnbound import (
    BOUNDS,
    BoundSearch,
    RNNBoundClassifier,
    certify,
    cross_validate_bounds,
)
from sklearn_rnnbound.datasets import load_digit_sequences
from sklearn_rnnbound.preprocessing import SequenceScaler

RECORDED = Path(__file__).parent / "fixtures" / "values.json"
# Rounding differs between processors and builds, and training magnifies it. On those of the record
# weights are equal to the last bit, and everything else nearly so.
ELSEWHERE, THERE = 1e-9, 1e-12


def digits(k=10, dtype=np.float64):
    """Training and test data of the first k digits."""
    X, y = load_digit_sequences()
    X, y = X[y < k].astype(dtype), y[y < k]
    return X[:240], y[:240], X[240:400], y[240:400]


def pixels():
    """Two digits, pixel by pixel: one feature, long enough to matter."""
    X, y, X_test, y_test = digits(2)
    return X[:, :3].reshape(len(X), 24, 1), y, X_test[:, :3].reshape(len(X_test), 24, 1), y_test


def prior(**params):
    X, y, *_ = digits(2)
    return RNNBoundClassifier(6, max_iter=5, random_state=1, **params).fit(X[:100], y[:100])


def boxed(**params):
    """A classifier in a box around another one, and data that this one has not seen."""
    X, y, X_test, y_test = digits(2)
    learned = FrozenEstimator(prior())
    clf = RNNBoundClassifier(6, prior=learned, max_iter=5, random_state=0, **params)
    return clf, (X[100:], y[100:], X_test, y_test), {}


def plain(data, fit_params=None, **params):
    defaults = {"hidden_size": 8, "max_iter": 6, "random_state": 0}
    return RNNBoundClassifier(**{**defaults, **params}), data, fit_params or {}


CASES = {
    "default": lambda: plain(digits()),
    "float32": lambda: plain(digits(dtype=np.float32), max_iter=2),
    "radii under noise": lambda: plain(
        digits(),
        noise_std=0.1,
        beta_u=1.0,
        beta_w=0.9,
        beta_v=2.0,
        gradient_clip_norm=1.0,
        weight_decay=1e-3,
    ),
    "budgets, sgd, laplace": lambda: plain(
        digits(3),
        noise_std=0.05,
        noise="laplace",
        beta_u=(0.5, 0.6),
        beta_w=(0.7, 0.2),
        beta_v=(1.0, 1.0),
        optimizer="sgd",
        learning_rate=0.05,
        gradient_clip_value=0.1,
        shuffle=False,
        batch_size=32,
    ),
    "two types": lambda: plain(
        pixels(),
        unit_types=2,
        beta_u=1.0,
        beta_w=1.0,
        beta_v=0.5,
        input_bound=1.0,
        min_eigenvalue=0.0,
        margin=0.5,
    ),
    "population": lambda: plain(pixels(), beta_w=(0.9, 0.1), input_bound=1.0, delta=0.01),
    "tanh, uniform": lambda: plain(
        digits(4), activation="tanh", noise_std=0.1, noise="uniform", batch_size=50
    ),
    "Fisher-Rao radius": lambda: plain(
        digits(2), fisher_rao_max=0.5, early_stopping=True, min_eigenvalue=1e-4
    ),
    "weights": lambda: plain(
        digits(3),
        {"sample_weight": np.linspace(0.5, 2.0, 240)},
        class_weight={0: 1.0, 1: 2.0, 2: 1.0},
        noise_std=0.2,
    ),
    "box": lambda: boxed(box_width=0.5),
    "ramp": lambda: boxed(loss="ramp", margin=0.3, noise_std=0.05),
}


def measured(case):
    """What a fit leaves: weights, norms, and every bound term by term."""
    clf, (X, y, X_test, y_test), fit_params = CASES[case]()
    clf.fit(X, y, **fit_params)
    report = clf.bound_report_(X_test, y_test, X_train=X, y_train=y)
    return {
        "loss_curve": clf.loss_curve_,
        "weights": [weight.ravel().tolist() for weight in (clf.U_, clf.W_, clf.V_)],
        "norms": np.hstack([clf.beta_u_, clf.beta_w_, clf.beta_v_]).tolist(),
        "fisher_rao": [
            clf.fisher_rao_norm_(),
            clf.fisher_rao_norm_(form="gradient"),
            clf.fisher_rao_norm_(X_test),
            clf.fisher_rao_norm_(X_test, y_test, form="gradient"),
        ],
        "scores": clf.decision_function(X_test[:8]).tolist(),
        "radius": clf.certified_radius_(X_test[:8]).tolist(),
        "bounds": {bound.name: described(bound) for bound in report},
        "test_errors": {bound.name: report.test_error_of(bound.name) for bound in report},
        "curve": [
            {bound.name: bound.value for bound in part}
            for part in clf.bound_curve_(X, y, fractions=(0.5, 1), methods="all").reports
        ],
    }


def described(bound):
    return {
        "value": bound.value,
        "kind": bound.kind,
        "margin": bound.margin,
        "delta": bound.delta,
        "terms": {term.name: term.value for term in bound.terms},
    }


def measured_searches():
    """Bounds of winners, and the means of a cross-validation."""
    X, y, *_ = digits(3)
    grid = {"beta_w": [0.5, 1.0], "learning_rate": [0.003, 0.01]}
    clf, *_ = plain(None, min_eigenvalue=0.0, beta_u=1.0, beta_v=1.0)
    folds = cross_validate_bounds(clf, X, y, cv=3, param_grid={"beta_w": [0.5, 1.0]})
    pipeline = make_pipeline(SequenceScaler(), clf)
    return {
        "search": described(BoundSearch(clf, grid).fit(X, y).best_bound_),
        "certified": described(certify(GridSearchCV(clf, grid, cv=2).fit(X, y))),
        "folds": {
            f"{fold.params}, {fold.fold}": {b.name: b.value for b in fold.report}
            for fold in folds.folds
        },
        "pipeline": {
            bound.name: described(bound)
            for fold in cross_validate_bounds(pipeline, X, y, cv=2).folds
            for bound in fold.report
        },
    }


def machine():
    """What decides the rounding."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().split("\n\n")[0] if info.exists() else ""
    processor = re.findall(r"^(?:cpu family|model|stepping)\s*: (.+)$", lines, re.MULTILINE)
    kernels = torch.backends.cpu.get_cpu_capability(), os.environ.get("OPENBLAS_CORETYPE", "")
    return [*processor, *kernels, torch.__version__, np.__version__]


def recorded():
    return json.loads(RECORDED.read_text())


def differences(found, expected, place="", tolerance=ELSEWHERE):
    """Places where two nested results differ."""
    if isinstance(expected, dict):
        # A bound that came later has no record.
        if (set(found) ^ set(expected)) - set(BOUNDS) or set(expected) - set(found):
            return [f"{place}: {sorted(set(found) ^ set(expected))}"]
        pairs = [(found[key], expected[key], f"{place}/{key}") for key in expected]
    elif isinstance(expected, list) and not np.isscalar(expected[0] if expected else 0.0):
        pairs = [
            (*pair, f"{place}/{i}") for i, pair in enumerate(zip(found, expected, strict=True))
        ]
    elif expected is None or isinstance(expected, str):
        return [] if found == expected else [f"{place}: {found!r}, not {expected!r}"]
    else:
        close = np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
        return [] if close else [f"{place}: {found!r}, not {expected!r}"]
    return [line for pair in pairs for line in differences(*pair, tolerance=tolerance)]


@pytest.mark.parametrize("case", CASES)
def test_fits_and_their_bounds_are_those_recorded(case):
    if "laplace" in case and torch.__version__.split("+")[0] not in str(recorded()["machine"]):
        pytest.skip("other versions of torch draw other exponential variables")
    found, expected = measured(case), recorded()[case]
    if recorded()["machine"] == machine():
        assert found["weights"] == expected["weights"]
        assert differences(found, expected, tolerance=THERE) == []
    tolerance = 1e-4 if case == "float32" else ELSEWHERE
    assert differences(found, expected, tolerance=tolerance) == []


def test_searches_are_those_recorded():
    tolerance = THERE if recorded()["machine"] == machine() else ELSEWHERE
    assert differences(measured_searches(), recorded()["searches"], tolerance=tolerance) == []


def test_a_number_that_has_moved_is_found():
    moved = {"bounds": {"peeling": {"value": 0.5, "kind": "certified", "terms": [1.0, 2.0]}}}
    assert differences(moved, {"bounds": {"peeling": {**moved["bounds"]["peeling"]}}}) == []
    for change in ({"value": 0.5 + 1e-8}, {"kind": "plug_in"}, {"terms": [1.0, 2.1]}):
        expected = {"bounds": {"peeling": {**moved["bounds"]["peeling"], **change}}}
        assert len(differences(moved, expected)) == 1


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    values = {case: measured(case) for case in CASES} | {"searches": measured_searches()}
    print(json.dumps({"machine": machine(), **values}))
