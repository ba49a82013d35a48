"""What must work wherever the package is installed: `make dist` runs this on the bare wheel."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import sklearn_rnnbound
from sklearn_rnnbound import RNNBoundClassifier, load, save
from sklearn_rnnbound.datasets import load_digit_sequences


def main() -> None:
    """Fit, bound, report, save and load."""
    X, y = load_digit_sequences()
    clf = RNNBoundClassifier(16, noise_std=0.1, beta_w=1.0, tol=0.01, random_state=0)
    clf.fit(X[:1200], y[:1200])
    bound = clf.generalization_bound_()
    assert clf.score(X[1200:], y[1200:]) > 0.5
    assert bound >= 1

    report = clf.bound_report_(X[1200:], y[1200:])
    assert float(report["theorem3"]) == bound
    assert report["holdout"].value < 1

    if find_spec("skops"):  # which the extra "save" brings
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "classifier.skops")
            save(clf, path)
            loaded = load(path)
        np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
        assert loaded.generalization_bound_() == bound

    print(report)
    print(f"sklearn_rnnbound {sklearn_rnnbound.__version__} of {sklearn_rnnbound.__file__} works")


if __name__ == "__main__":
    main()
