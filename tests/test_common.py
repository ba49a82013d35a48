"""scikit-learn's own checks, all of them and none skipped."""

import numpy as np
import pytest
from conftest import make_classifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_rnnbound import RNNBoundClassifier

WEIGHT_EQUIVALENCE = "check_sample_weight_equivalence_on_dense_data"


class ThreeDimensional(ClassifierMixin, BaseEstimator):
    """Adapter that hands 2-D data to the classifier as 3-D sequences of one feature."""

    def __init__(self, max_iter=200, random_state=None):
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        self.inner_ = RNNBoundClassifier(max_iter=self.max_iter, random_state=self.random_state)
        self.inner_.fit(X[:, :, None], y, sample_weight)
        self.classes_, self.n_iter_ = self.inner_.classes_, self.inner_.n_iter_
        return self

    def _sequences(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=False)[:, :, None]

    def predict(self, X):
        sequences = self._sequences(X)
        return self.inner_.predict(sequences)

    def predict_proba(self, X):
        sequences = self._sequences(X)
        return self.inner_.predict_proba(sequences)

    def decision_function(self, X):
        sequences = self._sequences(X)
        return self.inner_.decision_function(sequences)


CASES = {
    "default": (RNNBoundClassifier(), {}),
    "constraints": (
        RNNBoundClassifier(beta_u=3.0, beta_w=(1.0, 0.5), beta_v=10.0),
        {},
    ),
    "Fisher-Rao radius": (
        RNNBoundClassifier(fisher_rao_max=50.0),
        {WEIGHT_EQUIVALENCE: "the norm is a mean over the unweighted sample, as in the bound"},
    ),
    "unit types": (
        RNNBoundClassifier(unit_types=2, beta_w=1.0),
        {
            "check_classifiers_train": "with two classes larger inputs speak for class 1 only, and "
            "the data of the check have it the other way round"
        },
    ),
    "noise": (
        RNNBoundClassifier(noise_std=0.05),
        {WEIGHT_EQUIVALENCE: "the noise is drawn per row: a repeated row gets two draws"},
    ),
    "three-dimensional": (ThreeDimensional(), {}),
}


@pytest.mark.filterwarnings("ignore")  # the checks themselves provoke and count warnings
@pytest.mark.parametrize("case", CASES)
def test_check_estimator(case):
    estimator, expected_failures = CASES[case]
    results = check_estimator(
        estimator, expected_failed_checks=expected_failures, on_skip=None, on_fail=None
    )
    outcomes = {
        result["check_name"]: (result["status"], result["exception"])
        for result in results
        if result["status"] != "passed"
    }
    assert {name: status for name, (status, _) in outcomes.items()} == dict.fromkeys(
        expected_failures, "xfail"
    ), outcomes
    assert len(results) > 50


def test_sequences_are_declared_beside_tables():
    tags = make_classifier().__sklearn_tags__().input_tags
    assert tags.three_d_array
    assert tags.two_d_array
    assert not tags.sparse
