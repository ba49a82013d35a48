"""scikit-learn's own checks, all of them and none skipped."""

import numpy as np
import pytest
from conftest import make_classifier
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder

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


class Spelled(TransformerMixin, BaseEstimator):
    """Adapter that hands the rows of 2-D data as documents to an encoder."""

    def __init__(self, unknown="zero", keep="first"):
        self.unknown = unknown
        self.keep = keep

    def _documents(self, X):
        words = np.array(["low", "middle", "high"], dtype=object)
        return [" ".join(words[row]) for row in np.searchsorted([-0.5, 0.5], X)]

    def fit(self, X, y=None):
        X = validate_data(self, X)
        vectors = {"low": [-1.0, 0.5], "high": [1.0, 0.5]}
        self.inner_ = WordVectorEncoder(
            vectors, max_words=2, unknown=self.unknown, keep=self.keep, dtype=np.float64
        )
        self.inner_.fit(self._documents(X))
        return self

    def transform(self, X):
        check_is_fitted(self)
        return self.inner_.transform(self._documents(validate_data(self, X, reset=False)))


ROWS_ARE_SERIES = "a row of a table is a series of one feature, and series may have any length"
SERIES = dict.fromkeys(
    ["check_transformer_general", "check_n_features_in", "check_n_features_in_after_fitting"],
    ROWS_ARE_SERIES,
)

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
    "scaler": (SequenceScaler(), {}),
    "scaler without centring": (SequenceScaler(with_mean=False), {}),
    "padder": (SequencePadder(), SERIES),
    "padder of a given length": (SequencePadder(3, keep="last"), SERIES),
    "encoder": (Spelled(), {}),
    "encoder that skips": (Spelled(unknown="skip", keep="last"), {}),
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
    assert len(results) > (50 if hasattr(estimator, "predict") else 40)


# check_estimator leaves out transformers of strings; these checks bring no data of their own.
DATA_FREE_CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("check", DATA_FREE_CHECKS)
@pytest.mark.parametrize("params", [{}, {"supervised": "log_odds", "unknown": "skip"}])
def test_encoder_of_strings(check, params):
    getattr(estimator_checks, check)("WordVectorEncoder", WordVectorEncoder(**params))


def test_sequences_are_declared_beside_tables():
    tags = make_classifier().__sklearn_tags__().input_tags
    assert tags.three_d_array
    assert tags.two_d_array
    assert not tags.sparse
