"""The classifier: labels, predictions, weights of samples, and the face of the bound methods."""

import numpy as np
import pytest
import torch
from conftest import make_classifier
from data import japanese_vowels
from sklearn.exceptions import NotFittedError

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.cells.fisher_rao import fisher_rao_norm, gradient_norm

# Labels


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["no", "yes", "perhaps"], ["no", "perhaps", "yes"]),
        ([-7, 100, 3], [-7, 3, 100]),
        ([True, False, True], [False, True]),
        (torch.tensor([2, 0, 1]), [0, 1, 2]),
    ],
    ids=str,
)
def test_labels_of_every_kind_come_back(small, labels, classes):
    X, y = small
    y = labels[y] if isinstance(labels, torch.Tensor) else np.array(labels)[y]
    clf = make_classifier(max_iter=60, learning_rate=0.02).fit(X, y)
    assert clf.classes_.tolist() == classes
    assert clf.predict(X).dtype == np.asarray(y).dtype
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X, np.zeros(60)), r"number of classes is 1: \[0\.0\]"),
        (lambda X, y: (X, X[:, 0, 0]), "continuous"),
        (lambda X, y: (X, None), "requires y"),
        (lambda X, y: (X, np.where(y > 1, np.nan, y)), "NaN"),
        (lambda X, y: (X[:1], y[:1]), "1 sample"),
    ],
    ids=["length", "one class", "continuous", "none", "missing", "one sample"],
)
def test_bad_labels(small, change, message):
    clf = make_classifier()
    with pytest.raises(ValueError, match=message):
        clf.fit(*change(*small))
    assert not [name for name in vars(clf) if name.endswith("_")]


# Predictions


def test_binary_decision_is_the_difference_of_the_scores(small):
    X, y = small
    clf = make_classifier().fit(X, y > 0)
    decision = clf.decision_function(X)
    assert decision.shape == (60,)
    log_odds = np.log(clf.predict_proba(X)[:, 1] / clf.predict_proba(X)[:, 0])
    np.testing.assert_allclose(decision, log_odds, rtol=1e-9)
    np.testing.assert_array_equal(clf.predict(X), decision > 0)


def test_probabilities(fitted, small):
    X, _ = small
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    np.testing.assert_allclose(np.log(probabilities), fitted.predict_log_proba(X))
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(1)], fitted.predict(X))


def test_scores_are_those_of_the_recurrence(fitted, small):
    X, _ = small
    h = np.zeros((60, 6))
    for t in range(5):
        h = np.maximum(X[:, t] @ fitted.U_.T + h @ fitted.W_.T, 0)
    np.testing.assert_allclose(fitted.decision_function(X), h @ fitted.V_.T, rtol=1e-10)
    # Zero vectors at the front change nothing.
    longer = np.concatenate([np.zeros((60, 7, 2)), X], axis=1)
    np.testing.assert_allclose(fitted.decision_function(longer), h @ fitted.V_.T, rtol=1e-10)


def test_scores_that_leave_the_range_are_no_predictions(fitted, small):
    X, _ = small
    with pytest.raises(ValueError, match=r"scores of 1 sequences, first of number 2,.* float64"):
        fitted.predict(np.concatenate([X[:2], np.full_like(X[:1], 1e308)]))


def test_everything_needs_a_fit(small):
    clf, (X, y) = make_classifier(), small
    predictions = clf.predict, clf.predict_proba, clf.predict_log_proba, clf.decision_function
    for call in (*predictions, clf.certified_radius_, clf.fisher_rao_norm_):
        with pytest.raises(NotFittedError):
            call(X)
    for call in (clf.bound_report_, clf.generalization_bound_, lambda: clf.bound_curve_(X, y)):
        with pytest.raises(NotFittedError):
            call()


# Weights of samples


def test_rows_of_weight_zero_are_left_out_and_equal_weights_change_nothing(small):
    X, y = small
    sample_weight = np.r_[np.zeros(5), np.full(55, 2.5)]
    clf = make_classifier().fit(X, y, sample_weight)
    expected = make_classifier().fit(X[5:], y[5:])
    np.testing.assert_array_equal(clf.W_, expected.W_)
    assert clf._certifier.statistics.n_samples == 55
    np.testing.assert_array_equal(
        make_classifier().fit(X, y, sample_weight=3).W_, make_classifier().fit(X, y).W_
    )


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [(-np.ones(60), "(?i)negative"), (np.zeros(60), "non-zero|classes"), (np.ones(59), "59")],
    ids=["negative", "all zero", "shorter"],
)
def test_bad_sample_weights(small, sample_weight, message):
    with pytest.raises(ValueError, match=message):
        make_classifier().fit(*small, sample_weight=sample_weight)


def test_class_weight_is_a_sample_weight(small):
    X, y = small
    by_class = make_classifier(class_weight={0: 1.0, 1: 2.0, 2: 5.0}).fit(X, y)
    by_sample = make_classifier().fit(X, y, np.array([1.0, 2.0, 5.0])[y])
    np.testing.assert_allclose(by_class.W_, by_sample.W_, rtol=1e-12)
    assert "the risk is the unweighted one" in str(by_class.bound_report_())
    both = make_classifier(class_weight={0: 2.0}).fit(X, y, np.array([1.0, 2.0, 5.0])[y])
    expected = make_classifier().fit(X, y, np.array([2.0, 2.0, 5.0])[y])
    np.testing.assert_allclose(both.W_, expected.W_, rtol=1e-12)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("uneven", "class_weight"),
        ({0: -1.0}, r"class_weight must be .* \[-1\.0, 1\.0, 1\.0\]"),
        ({0: 0, 1: 0, 2: 0}, "nor zero for every class"),
    ],
    ids=str,
)
def test_bad_class_weights(small, class_weight, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(class_weight=class_weight).fit(*small)


# The face of the bound methods


def test_paper_means_theorem_3_exactly_when_there_was_noise(small, fitted):
    quiet = make_classifier().fit(*small)
    assert quiet.generalization_bound_() == quiet.generalization_bound_(method="theorem2")
    assert fitted.generalization_bound_() == fitted.generalization_bound_(method="theorem3")
    assert fitted.generalization_bound_() != fitted.generalization_bound_(method="theorem2")


def test_margin_and_delta_of_a_call_override_the_parameters(fitted):
    bound = fitted.bound_report_(margin=0.25, delta=0.5)["theorem3"]
    assert (bound.margin, bound.delta) == (0.25, 0.5)
    assert any("fixed beforehand" in line for line in bound.assumptions if "alpha" in line)
    strict = fitted.generalization_bound_(delta=0.01)
    assert strict > fitted.generalization_bound_(delta=0.1)
    for wrong in ({"margin": -1.0}, {"margin": "wide"}, {"delta": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fitted.generalization_bound_(**wrong)


def test_margin_and_delta_are_read_when_a_bound_is_asked_for(small):
    clf = make_classifier().fit(*small)
    fresh = clf.generalization_bound_(margin=2.0, delta=0.2)
    assert clf.set_params(margin=2.0, delta=0.2).generalization_bound_() == fresh


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_fisher_rao_norms(small, activation):
    X, y = small
    labels = np.array(["a", "b", "c"])[y]
    clf = make_classifier(activation=activation).fit(X, labels)
    weights = {name: torch.from_numpy(getattr(clf, f"{name}_")) for name in "UWV"}
    cell = Elman(2, 6, 3, activation)
    linearized = fisher_rao_norm(cell, weights, [torch.from_numpy(X)])
    gradient = gradient_norm(cell, weights, [torch.from_numpy(X)], torch.from_numpy(y))
    assert clf.fisher_rao_norm_() == pytest.approx(linearized)
    assert clf.fisher_rao_norm_(X) == pytest.approx(linearized)
    assert clf.fisher_rao_norm_(form="gradient") == pytest.approx(gradient)
    assert clf.fisher_rao_norm_(X, labels, form="gradient") == pytest.approx(gradient)
    for arguments, message in [
        ({"form": "natural"}, "form"),
        ({"X": X, "form": "gradient"}, "labels"),
        ({"X": X, "y": np.full(60, "z"), "form": "gradient"}, "'z'"),
        ({"y": labels}, "without X"),
    ]:
        with pytest.raises(ValueError, match=message):
            clf.fisher_rao_norm_(**arguments)


def test_fisher_rao_norm_without_data_is_that_of_the_noisy_input(fitted, small):
    statistics = fitted._certifier.statistics
    assert fitted.fisher_rao_norm_() == statistics.noisy.fisher_rao
    assert fitted.fisher_rao_norm_(small[0]) == pytest.approx(statistics.clean.fisher_rao)


def test_input_bound_makes_theorem_3_a_certificate_without_an_eigenvalue(small):
    X, y = small
    params = {"noise_std": 0.1, "beta_u": 1.0, "beta_w": 0.9, "beta_v": 1.0}
    known = {"input_bound": float(np.abs(X).max()), "min_eigenvalue": 0.0, "margin": 1.0}
    assert make_classifier(**params).fit(X, y).bound_report_()["theorem3"].kind == "plug_in"
    clf = make_classifier(**params, **known).fit(X, y)
    assert clf.bound_report_()["theorem3"].kind == "certified"


def test_html_representation_needs_no_bound(fitted):
    assert "RNNBoundClassifier" in fitted._repr_html_()


# Accuracy of the defaults


def median_accuracy(data, **params):
    X_train, X_test, y_train, y_test = data
    scores = [
        RNNBoundClassifier(random_state=seed, **params).fit(X_train, y_train).score(X_test, y_test)
        for seed in range(5)
    ]
    return np.median(scores)


@pytest.mark.slow
@pytest.mark.parametrize(("params", "accuracy"), [({}, 0.96), ({"beta_w": 1.0}, 0.92)])
def test_digits_accuracy_of_the_defaults(digits, params, accuracy):
    assert median_accuracy(digits, **params) >= accuracy


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"beta_w": 1.0}])
def test_japanese_vowels_accuracy_of_the_defaults(params):
    X_train, y_train, X_test, y_test = japanese_vowels()
    assert median_accuracy((X_train, X_test, y_train, y_test), **params) >= 0.95


def test_one_fit_of_the_defaults_on_digits(digits):
    X_train, X_test, y_train, y_test = digits
    clf = RNNBoundClassifier(random_state=0).fit(X_train, y_train)
    assert clf.score(X_test, y_test) > 0.95


@pytest.mark.parametrize("beta_w", [None, 1.0])
def test_one_fit_of_the_defaults_on_japanese_vowels(beta_w):
    X_train, y_train, X_test, y_test = japanese_vowels()
    clf = RNNBoundClassifier(beta_w=beta_w, random_state=0).fit(X_train, y_train)
    assert clf.score(X_test, y_test) > 0.93


@pytest.mark.parametrize("beta_w", [None, 1.0])
def test_a_sign_is_remembered_over_a_hundred_steps(beta_w):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.normal(scale=0.02, size=(400, 120, 2)).astype(np.float32)
    X[:, 0, 0] = 2 * y - 1
    clf = RNNBoundClassifier(beta_w=beta_w, max_iter=60, random_state=0, min_eigenvalue=0.0)
    assert clf.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.85
