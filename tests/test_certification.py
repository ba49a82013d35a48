"""Priors and boxes, the ramp loss, and what a fitted network says about its own error."""

import math
import pickle
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import transcription as paper
import transcription_bounds as slow
from conftest import make_classifier
from scipy.special import rel_entr
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state

from sklearn_rnnbound import BOUNDS, Bound, BoundReport, RNNBoundClassifier, Term, certification
from sklearn_rnnbound.bounds.occam import BITS, occam_kl
from sklearn_rnnbound.bounds.union import cell_share
from sklearn_rnnbound.certification import DATA_FREE_METHODS
from sklearn_rnnbound.composition import check_attainable
from sklearn_rnnbound.network import RecurrentNetwork
from sklearn_rnnbound.report import BoundCurve
from sklearn_rnnbound.training import RampLoss

NEEDS_TRAINING_DATA = ["occam", "pac_bayes"]


def weights_of(clf):
    return clf.U_, clf.W_, clf.V_


def fitted_names(clf):
    return sorted(name for name in vars(clf) if name.endswith("_") or name.startswith("_"))


@pytest.fixture(scope="module")
def other(small):
    """Data of the law of `small`, disjoint from it."""
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], 15)
    X = rng.normal(size=(45, 5, 2)) + np.array([[0, 3], [3, 0], [-3, -3]])[y][:, None]
    return X, y


@pytest.fixture(scope="module")
def prior(other):
    """A classifier fitted on the other data; not to be refitted."""
    return make_classifier(max_iter=30, learning_rate=0.02).fit(*other)


@pytest.fixture(scope="module")
def boxed(prior, small):
    """A classifier fitted in a box around the prior; not to be refitted."""
    return make_classifier(prior=FrozenEstimator(prior), box_width=0.2, noise_std=0.1).fit(*small)


@pytest.fixture(scope="module")
def binary(small):
    """A classifier of two classes with every norm constrained; not to be refitted."""
    X, y = small
    params = {"beta_u": 1.0, "beta_w": (0.6, 0.3), "beta_v": 2.0, "max_iter": 30}
    return make_classifier(**params, learning_rate=0.02).fit(X, y > 0)


# The ramp loss


@pytest.mark.parametrize("margin", ["auto"])
def test_ramp_loss_needs_a_margin_fixed_beforehand(small, margin):
    clf = make_classifier(loss="ramp", margin=margin)
    with pytest.raises(ValueError, match="margin must be a number > 0, got 'auto'"):
        clf.fit(*small)
    assert not fitted_names(clf)


def ramp_risk(clf, X, y):
    margins = clf.net_.scores(torch.from_numpy(X)).numpy()
    own = margins[np.arange(len(y)), y]
    np.put_along_axis(margins, y[:, None], -np.inf, 1)
    return np.clip(1 - (own - margins.max(1)) / clf.margin, 0, 1).mean()


def test_ramp_loss_goes_on_from_cross_entropy_and_lowers_the_ramp_risk(small):
    X, y = small
    clf = make_classifier(warm_start=True, margin=2.0, max_iter=10).fit(X, y)
    before = ramp_risk(clf, X, y)
    clf.set_params(loss="ramp", max_iter=40, learning_rate=0.01).fit(X, y)
    after = ramp_risk(clf, X, y)
    assert after < before - 0.1
    assert clf.loss_curve_[0] == pytest.approx(before)
    assert clf.loss_curve_[-1] == pytest.approx(after, abs=0.05)
    # It is what the certificate contains.
    report = clf.bound_report_(methods="peeling", margin=2.0)
    assert report["peeling"].empirical_risk == pytest.approx(after)


def test_ramp_loss_starts_from_a_prior(small, prior):
    params = {"loss": "ramp", "margin": 2.0, "learning_rate": 0.01, "max_iter": 40}
    clf = make_classifier(prior=prior, **params).fit(*small)
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]


@pytest.mark.parametrize("loss", ["cross_entropy", "ramp"])
def test_pickle_restores_the_loss_of_the_net(small, prior, loss):
    X, y = small
    clf = make_classifier(prior=prior, loss=loss, margin=0.7, max_iter=2).fit(X, y)
    restored = pickle.loads(pickle.dumps(clf))
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 3)))
    targets = torch.arange(9) % 3
    expected, result = (net.criterion_(scores, targets) for net in (clf.net_, restored.net_))
    for each in (clf, restored):
        assert isinstance(each.net_.criterion_, RampLoss) == (loss == "ramp")
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    np.testing.assert_array_equal(restored.predict_proba(X), clf.predict_proba(X))
    restored.fit(X, y)
    np.testing.assert_array_equal(restored.W_, clf.W_)


# Priors


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"prior": make_classifier()}, ValueError, r"prior is not fitted.*FrozenEstimator"),
        (
            {"prior": FrozenEstimator(make_classifier())},
            ValueError,
            r"prior is not fitted.*FrozenEstimator",
        ),
        ({"prior": LogisticRegression()}, TypeError, "RNNBoundClassifier, got LogisticRegression"),
        ({"prior": "best"}, ValueError, "'prior' parameter"),
        ({"box_width": 0.1}, ValueError, "box_width needs prior"),
    ],
    ids=str,
)
def test_what_is_no_prior(small, params, error, message):
    clf = make_classifier(**params)
    with pytest.raises(error, match=message):
        clf.fit(*small)
    assert not fitted_names(clf)


@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        ({}, lambda X, y: (X[:, :, :1], y), r"features per step.*\(1, 6.*\(2, 6"),
        ({"hidden_size": 7}, lambda X, y: (X, y), r"hidden_size.*\(2, 7.*\(2, 6"),
        ({"activation": "tanh"}, lambda X, y: (X, y), r"activation.*'tanh'.*'relu'"),
        ({"unit_types": 2}, lambda X, y: (X, y), r"unit_types.*'relu', 2\).*'relu', 1\)"),
        ({}, lambda X, y: (X, y + 1), r"classes of y, \[1, 2, 3\].*\[0, 1, 2\]"),
        ({}, lambda X, y: (X, y % 2), r"classes of y, \[0, 1\].*\[0, 1, 2\]"),
        ({"box_width": 0.1, "fisher_rao_max": 1.0}, lambda X, y: (X, y), "fisher_rao_max"),
        ({"box_width": -0.1}, lambda X, y: (X, y), "'box_width' parameter"),
        ({"box_width": 2.1}, lambda X, y: (X, y), "'box_width' parameter"),
    ],
    # The text of a function holds its address, which differs from process to process.
    ids=lambda value: None if callable(value) else str(value),
)
def test_prior_of_another_shape(small, prior, params, change, message, monkeypatch):
    clf = make_classifier(prior=prior, **params)
    monkeypatch.setattr("sklearn_rnnbound.classifier.train", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match=message):
        clf.fit(*change(*small))
    assert not fitted_names(clf)


@pytest.mark.parametrize("name", ["beta_u", "beta_w", "beta_v"])
@pytest.mark.parametrize("form", ["radius", "budgets"])
def test_radius_that_the_box_can_leave(small, prior, name, form, monkeypatch):
    A = getattr(prior, name[-1].upper() + "_")
    reached = np.abs(A).sum(1).max()
    budgets = np.maximum(A, 0).sum(1).max(), np.maximum(-A, 0).sum(1).max()
    enough = {"radius": 1.0501 * reached, "budgets": tuple(1.0501 * b for b in budgets)}[form]
    short = {"radius": 1.0499 * reached, "budgets": (1.0501 * budgets[0], 1.0499 * budgets[1])}
    clf = make_classifier(prior=prior, box_width=0.1, learning_rate=0.1, **{name: enough})
    clf.fit(*small)
    assert (np.asarray(getattr(clf, f"{name}_")) <= enough).all()
    before = fitted_names(clf)
    weights = [weight.copy() for weight in weights_of(clf)]
    clf.set_params(**{name: short[form]})
    monkeypatch.setattr("sklearn_rnnbound.classifier.train", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match=rf"box_width=0\.1 lets weights leave {name}=.*lower box"):
        clf.fit(*small)
    assert fitted_names(clf) == before
    for weight, kept in zip(weights_of(clf), weights, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_training_starts_from_the_prior(small, prior):
    clf = make_classifier(prior=prior, optimizer="sgd", learning_rate=1e-300, max_iter=1)
    clf.fit(*small)
    for weight, start in zip(weights_of(clf), weights_of(prior), strict=True):
        np.testing.assert_allclose(weight, start, rtol=0, atol=1e-290)
    # The constraints hold from the start.
    clf.set_params(beta_w=0.5).fit(*small)
    assert clf.beta_w_ <= 0.5


def test_prior_stays_as_it_is_and_shares_no_memory(small, prior):
    before = [weight.copy() for weight in weights_of(prior)]
    clf = make_classifier(prior=prior, box_width=0.3, learning_rate=0.1).fit(*small)
    for weight, start, kept in zip(weights_of(clf), weights_of(prior), before, strict=True):
        np.testing.assert_array_equal(start, kept)
        assert not np.shares_memory(weight, start)
        assert not np.array_equal(weight, start)


def test_prior_with_read_only_weights(small, prior):
    # As joblib hands large arrays to its workers.
    frozen = pickle.loads(pickle.dumps(prior))
    for weight in weights_of(frozen):
        weight.flags.writeable = False
    clf = make_classifier(prior=FrozenEstimator(frozen), box_width=0.1).fit(*small)
    expected = make_classifier(prior=FrozenEstimator(prior), box_width=0.1).fit(*small)
    np.testing.assert_array_equal(clf.W_, expected.W_)
    clf.bound_report_(X_train=small[0], y_train=small[1], methods=["localized", "pac_bayes"])


def test_clone_keeps_the_fit_of_a_frozen_prior_and_loses_that_of_a_bare_one(small, prior):
    frozen = make_classifier(prior=FrozenEstimator(prior), box_width=0.1)
    first, second = frozen.fit(*small), clone(frozen).fit(*small)
    np.testing.assert_array_equal(first.W_, second.W_)
    assert first.bound_report_()["localized"] == second.bound_report_()["localized"]
    with pytest.raises(ValueError, match=r"if it was cloned, wrap .*FrozenEstimator"):
        clone(make_classifier(prior=prior)).fit(*small)


def test_search_over_the_width_of_the_box(small, prior):
    X, y = small
    search = GridSearchCV(
        make_classifier(prior=FrozenEstimator(prior), learning_rate=0.05),
        {"box_width": [0.0, 0.2, 1.0]},
        cv=2,
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 3
    best = search.best_estimator_
    assert best.bound_report_(methods="localized")["localized"].kind == "certified"
    for weight, start in zip(weights_of(best), weights_of(prior), strict=True):
        assert (np.abs(weight - start) <= search.best_params_["box_width"] * np.abs(start)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"noise_std": 0.3}], ids=str)
def test_weights_stay_in_the_box(small, prior, dtype, width, params):
    X, y = small
    clf = make_classifier(prior=prior, box_width=width, learning_rate=0.5, **params)
    clf.fit(X.astype(dtype), y)
    box = clf._statistics.box
    assert box.width == width
    moved = 0
    for weight, start, low, high in zip(
        weights_of(clf), weights_of(prior), box.lower, box.upper, strict=True
    ):
        assert weight.dtype == dtype
        # In the ends that the bound uses, without tolerance.
        assert low.dtype == high.dtype == dtype
        assert (low <= weight).all()
        assert (weight <= high).all()
        room = width / 2 * np.abs(start)
        slack = 2 * np.finfo(dtype).eps * np.abs(start)
        assert (np.abs(low - (start - room)) <= slack).all()
        assert (np.abs(high - (start + room)) <= slack).all()
        moved += (weight != start.astype(dtype)).sum()
    assert (moved > 0) == (width > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_box_of_width_zero_keeps_weights_and_radii(small, other, dtype):
    X, y = other
    params = {"beta_u": 0.8, "beta_w": (0.5, 0.2), "beta_v": 1.1}
    start = make_classifier(**params, max_iter=30, learning_rate=0.05).fit(X.astype(dtype), y)
    # The constraints are active.
    assert start.beta_u_ == pytest.approx(0.8)
    clf = make_classifier(prior=start, box_width=0, **params, learning_rate=0.1)
    clf.fit(small[0].astype(dtype), small[1])
    for weight, kept in zip(weights_of(clf), weights_of(start), strict=True):
        np.testing.assert_array_equal(weight, kept)
    assert (clf.beta_u_, clf.beta_w_, clf.beta_v_) == (start.beta_u_, start.beta_w_, start.beta_v_)
    localized = clf.bound_report_(methods="localized")["localized"]
    assert localized.term("complexity") == 0
    assert "beta_u = 0.8, fixed beforehand" in str(clf.bound_report_(methods="peeling"))


def test_box_shrinks_to_the_bound_without_complexity(small, prior):
    complexities = [
        make_classifier(prior=prior, box_width=width, margin=1.0)
        .fit(*small)
        .bound_report_(methods="localized")["localized"]
        .term("complexity")
        for width in (0.4, 0.2, 0.1, 0.0)
    ]
    assert complexities[-1] == 0
    assert complexities[2] < complexities[1] / 1.9 < complexities[0] / 3.8


def test_pickle_keeps_every_bound(boxed, small, other):
    X, y = small
    restored = pickle.loads(pickle.dumps(boxed))
    first, second = (clf.bound_report_(*other, X_train=X, y_train=y) for clf in (boxed, restored))
    assert len(first) == len(BOUNDS)
    assert first == second
    np.testing.assert_array_equal(boxed.certified_radius_(X), restored.certified_radius_(X))


def test_samples_of_chained_priors_are_counted(small, other, prior):
    second = make_classifier(prior=FrozenEstimator(prior)).fit(small[0][::2], small[1][::2])
    third = make_classifier(prior=pickle.loads(pickle.dumps(second)), box_width=0.1)
    X, y = small[0][1::2], small[1][1::2]
    third.fit(X, y)
    text = " ".join(str(third.bound_report_(X_train=X, y_train=y)).split())
    assert "weights w learned on up to 75 samples, assumed disjoint" in text
    assert text.count("around weights learned on up to 75 samples, assumed disjoint") == 1
    assert "from weights learned on up to 75 samples, assumed disjoint" in text
    assert third._n_learned == 75 + 30


# Reports


def test_all_bounds_with_all_data(boxed, small, other):
    report = boxed.bound_report_(*other, X_train=small[0], y_train=small[1])
    assert [bound.name for bound in report] == list(BOUNDS)
    assert report.omitted == ()
    assert report.train_error == pytest.approx(1 - boxed.score(*small))
    assert report.test_error == pytest.approx(1 - boxed.score(*other))
    for bound in report:
        assert sum(term.value for term in bound.terms) == pytest.approx(bound.value)
        assert bound.vacuous == (bound.kind != "order_only" and bound.value >= 1)
        assert bool(bound.reason) == bound.vacuous
        assert boxed._setting.notes[0] in bound.assumptions
    kinds = {bound.name: bound.kind for bound in report}
    assert [name for name, kind in kinds.items() if kind == "plug_in"] == [
        "theorem2",
        "theorem3",
        "refined",
    ]
    assert [name for name, kind in kinds.items() if kind == "order_only"] == [
        "zhang2018",
        "chen2019",
    ]


def test_rows_without_their_data_are_left_out_with_a_line_and_raise_by_name(fitted, small):
    lines = "\n".join(fitted.bound_report_().omitted).splitlines()
    assert [line.split(" needs ")[0] for line in lines] == [
        "localized",
        "holdout",
        "occam",
        "pac_bayes",
    ]
    assert "pass X_test and y_test" in lines[1]
    for name, line in zip(("occam", "pac_bayes"), lines[2:], strict=True):
        assert "pass X_train and y_train" in line
        assert line in str(fitted.bound_report_())
        with pytest.raises(ValueError, match=rf"{name} needs .*X_train and y_train"):
            fitted.bound_report_(methods=name)
    with pytest.raises(ValueError, match=r"holdout needs .*X_test and y_test"):
        fitted.bound_report_(methods=["theorem2", "holdout"])
    with pytest.raises(ValueError, match=r"localized needs .*prior"):
        fitted.bound_report_(X_train=small[0], y_train=small[1], methods=["localized"])
    with pytest.raises(ValueError, match="X_train and y_train go together"):
        fitted.bound_report_(X_train=small[0])
    with pytest.raises(ValueError, match="X_train has 60 rows and y_train has 59"):
        fitted.bound_report_(X_train=small[0], y_train=small[1][1:])


@pytest.mark.parametrize(
    ("name", "part"), [("holdout", "test"), ("occam", "train"), ("pac_bayes", "train")]
)
def test_a_single_bound_that_needs_data_names_the_call_that_takes_them(fitted, small, name, part):
    with pytest.raises(ValueError, match=rf"'{name}' needs data.*'localized'") as caught:
        fitted.generalization_bound_(method=name)
    X, y = f"X_{part}", f"y_{part}"
    assert f"use bound_report_({X}=..., {y}=...)" in str(caught.value)
    data = {X: small[0][1:] if part == "test" else small[0], y: small[1][part == "test" :]}
    assert fitted.bound_report_(**data, methods=name)[name].value > 0


@pytest.mark.parametrize("part", ["test", "train"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: X * np.nan, ValueError, "contains NaN"),
        (lambda X: X[:, :, :1], ValueError, "1 features per step"),
        (lambda X: X[0], ValueError, "2 dimensions"),
        (lambda X: X * 1e300, ValueError, "range of float32"),
        (lambda X: torch.empty(X.shape, device="meta"), TypeError, "cannot be read as an array"),
    ],
    ids=["nan", "features", "dimensions", "range", "meta"],
)
def test_errors_in_data_say_whose_they_are(small, part, change, error, message):
    X, y = small[0].astype(np.float32), small[1]
    clf = make_classifier(max_iter=1).fit(X, y)
    X = change(small[0])
    with pytest.raises(error, match=rf"(?s)^X_{part}: .*{message}"):
        clf.bound_report_(**{f"X_{part}": X, f"y_{part}": y})
    with pytest.raises(ValueError, match=rf"^y_{part}: .*1d array"):
        clf.bound_report_(**{f"X_{part}": small[0], f"y_{part}": np.ones((60, 2))})
    if part == "train":
        with pytest.raises(error, match=rf"(?s)^X_train: .*{message}"):
            clf.bound_curve_(X, y)


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: (X[::-1], y[::-1]),
        lambda X, y: (X + 0.5, y),
        lambda X, y: (X[:-1], y[:-1]),
        lambda X, y: (np.concatenate([X, X[:1]]), np.append(y, y[0])),
        lambda X, y: (np.concatenate([np.zeros((60, 1, 2)), X], 1), y),
        lambda X, y: (X, np.roll(y, 1)),
        lambda X, y: (X, y + 1),
    ],
    ids=["shuffled", "other", "shorter", "longer", "other steps", "wrong labels", "unknown labels"],
)
def test_training_data_must_be_those_of_fit(fitted, small, change):
    X, y = change(*small)
    for methods in ("all", "occam", "theorem2"):
        with pytest.raises(ValueError, match=r"X_train|y_train"):
            fitted.bound_report_(X_train=X, y_train=y, methods=methods)
    with pytest.raises(ValueError, match=r"X_train|y_train"):
        fitted.bound_curve_(X, y)


def test_rows_of_positive_weight_are_the_training_data(small):
    X, y = small
    weight = np.where(np.arange(60) % 4, 1.0 + np.arange(60), 0.0)
    clf = make_classifier().fit(X, y, weight)
    kept = {"X_train": X[weight > 0], "y_train": y[weight > 0]}
    occam = clf.bound_report_(**kept, methods="occam")["occam"]
    assert any("unweighted" in line for line in occam.assumptions)
    with pytest.raises(ValueError, match="rows of positive weight"):
        clf.bound_report_(X_train=X, y_train=y)


def test_all_rows_are_the_training_data_under_early_stopping(small):
    X, y = small
    clf = make_classifier(early_stopping=True).fit(X, y)
    report = clf.bound_report_(X_train=X, y_train=y)
    assert any("early stopping" in line for line in report["occam"].assumptions)


def test_training_data_may_come_in_the_other_precision_and_as_a_table(small):
    X, y = small
    clf = make_classifier(step_size=2).fit(X.reshape(60, 10).astype(np.float32), y)
    frame = pd.DataFrame(X.reshape(60, 10))
    assert clf.bound_report_(X_train=frame, y_train=pd.Series(y), methods="occam")["occam"].value


def test_a_tie_is_an_error_of_the_holdout(small, fitted):
    X, y = small
    clf = make_classifier(beta_v=0.0).fit(X, y)
    # Also on the data of fit: a network without any margin cannot recognise them.
    report = clf.bound_report_(X, y)
    assert clf.score(X, y) > 0
    assert report.test_error == report.train_error == 1.0
    assert report["holdout"].value == 1.0
    assert report["holdout"].reason == "Every held-out sample is an error."
    # Empty sequences have scores of zero.
    mixed = np.concatenate([X, np.zeros((20, 5, 2))]), np.append(y, np.zeros(20, int))
    counts = fitted.bound_report_(*mixed, methods="holdout")["holdout"]
    errors = (fitted.predict(X) != y).sum() + 20
    assert counts.empirical_risk == pytest.approx(errors / 80)


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]], ids=str)
@pytest.mark.parametrize("extra", [{}, {"methods": "all"}])
def test_unknown_test_labels_are_errors(small, labels, extra):
    X, y = small
    names = np.array(labels, dtype=object if isinstance(labels[0], str) else int)[y]
    clf = make_classifier().fit(X, names)
    unknown = {int: 99, str: "z"}[type(labels[0])]
    wrong = np.where(np.arange(60) < 12, np.array(unknown, dtype=names.dtype), names)
    if extra:
        extra = {**extra, "X_train": X, "y_train": names}
    report = clf.bound_report_(X, wrong, **extra)
    errors = (clf.predict(X) != wrong).sum()
    assert errors >= 12
    assert report.test_error == report["holdout"].empirical_risk == pytest.approx(errors / 60)
    if extra:
        for name in NEEDS_TRAINING_DATA:
            assert report.test_error_of(name) >= 12 / 60


def test_predictions_without_a_score_are_errors(small):
    X, y = small
    clf = make_classifier().fit(X.astype(np.float32), y)
    # Infinite states, read out with both signs: the scores are not numbers.
    clf.W_ = np.full_like(clf.W_, 1e20)
    for own, value in zip(clf.net_.module_.weights, clf._weights(), strict=True):
        own.copy_(value)
    scores = clf._scores(X)
    lost = np.isnan(scores).any(1)
    assert lost.sum() > 30
    report = clf.bound_report_(X, y, methods="holdout")
    assert report.test_error == report["holdout"].empirical_risk >= lost.mean()


def test_no_certificate_for_labels_that_cannot_be_learned():
    # Wide posteriors overflow over a hundred steps of single precision.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 100, 2)).astype(np.float32), rng.integers(0, 2, 200)
    clf = make_classifier(hidden_size=64, max_iter=1, min_eigenvalue=0.0).fit(X, y)
    report = clf.bound_report_(X_train=X, y_train=y, methods=["occam", "pac_bayes"])
    for bound in report:
        assert bound.empirical_risk > 0.3
        assert bound.value > 0.5


def test_bounds_that_hold_together_share_delta(boxed, small, other):
    arguments = {"X_train": small[0], "y_train": small[1], "delta": 0.03}
    alone = boxed.bound_report_(*other, **arguments)
    together = boxed.bound_report_(*other, **arguments, simultaneous=True)
    # The two rows of which only the order is known state nothing that could fail.
    count = len(BOUNDS) - 2
    assert together.simultaneous
    assert together.delta == pytest.approx(0.03)
    assert "for all bounds together" in str(together)
    for bound in together:
        assert any(
            f"delta = 0.03 in equal parts among {count} rows" in line for line in bound.assumptions
        )
        if bound.kind == "order_only":
            assert bound.value == alone[bound.name].value
            assert bound.delta is None
        else:
            assert bound.delta == 0.03 / count
            assert bound.value > alone[bound.name].value
    by_name = boxed.bound_report_(methods=["peeling", "trivial"], simultaneous=True, delta=0.04)
    for bound in by_name:
        assert bound.value == boxed.generalization_bound_(method=bound.name, delta=0.02)


def test_a_report_is_reproducible_and_leaves_global_state_alone(boxed, small, other):
    torch.manual_seed(7)
    numpy_generator = check_random_state(None)
    before = torch.get_rng_state(), numpy_generator.get_state()[1].copy(), torch.get_num_threads()
    X, y = small
    first, second = (boxed.bound_report_(*other, X_train=X, y_train=y) for _ in range(2))
    assert first == second
    assert boxed.bound_curve_(X, y) == boxed.bound_curve_(X, y)
    boxed.certified_radius_(X)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], numpy_generator.get_state()[1])
    assert before[2] == torch.get_num_threads()
    # Nor does it leave anything in the estimator.
    assert boxed.bound_report_() == pickle.loads(pickle.dumps(boxed)).bound_report_()
    assert boxed._statistics.posterior is None


def test_test_data_change_no_bound_but_the_holdout(boxed, small, other):
    X, y = small
    train = {"X_train": X, "y_train": y}
    with_test, without = boxed.bound_report_(*other, **train), boxed.bound_report_(**train)
    assert "holdout" in {bound.name for bound in with_test} - {bound.name for bound in without}
    for bound in without:
        assert with_test[bound.name].value == bound.value


# The population form


@pytest.mark.parametrize("unit_types", [1, 2])
@pytest.mark.parametrize("beta_w", [0.4, (0.5, 0.2)], ids=str)
@pytest.mark.parametrize("beta_v", [0.5, (0.2, 0.3)], ids=str)
def test_population_form_of_a_fitted_network(beta_v, beta_w, unit_types):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(2000, 4, 1))
    y = (X[:, -1, 0] + 0.2 * rng.normal(size=2000) > 0).astype(int)
    fixed = (1.0, beta_w, beta_v)
    clf = make_classifier(
        **dict(zip(("beta_u", "beta_w", "beta_v"), fixed, strict=True)),
        unit_types=unit_types,
        input_bound=1.0,
        margin=2.0,
        min_eigenvalue=0.0,
    ).fit(X, y)
    limits = slow.score(fixed, (0, 0, 0), 2, unit_types)
    b = sum(limits.types[0]["w"])
    energies = [sum(b ** (4 - t) * x[t - 1, 0] ** 2 for t in range(1, 5)) for x in X]
    assert clf._statistics.clean.energy == pytest.approx(
        (np.mean(energies), np.var(energies, ddof=1)), rel=1e-10
    )
    margins = paper.true_margins(paper.outputs(*weights_of(clf), X), y)
    # Two forms share delta, and the two events of this one its half.
    part = clf.delta / 2 / 2
    expected = slow.population_form(X, margins, limits, 1.0, 2.0, part, part)
    bound = clf.bound_report_(methods="peeling")["peeling"]
    assert bound.assumptions[-1] == "smallest form: population"
    assert {term.name: term.value for term in bound.terms} == pytest.approx(expected, rel=1e-9)


# Occam


def transcribed_code(difference, bits):
    """Rounded matrix and its length, entry by entry."""
    largest = max(abs(v) for v in difference.ravel())
    exponent = 0
    if largest:
        top = 0
        while 2.0**top <= largest:
            top += 1
        while 2.0 ** (top - 1) > largest:
            top -= 1
        exponent = top - (bits - 1)
    unit, limit = 2.0**exponent, 2 ** (bits - 1)
    integers = [min(max(round(v / unit), -limit), limit) for v in difference.ravel()]
    non_zero = sum(q != 0 for q in integers)
    number = 2 * exponent if exponent > 0 else 1 - 2 * exponent
    length = math.log(number * (number + 1)) + math.log(len(integers) + 1)
    length += math.log(math.comb(len(integers), non_zero)) + non_zero * bits * math.log(2)
    return unit * np.array(integers, float).reshape(difference.shape), length


@pytest.mark.parametrize("case", ["from zero", "from a prior"])
def test_occam_by_hand(small, other, prior, fitted, case):
    X, y = small
    if case == "from zero":
        clf, reference = fitted, [np.zeros_like(w) for w in weights_of(fitted)]
    else:
        clf = make_classifier(prior=prior, max_iter=2).fit(X, y)
        reference = weights_of(prior)
    report = clf.bound_report_(*other, X_train=X, y_train=y, methods="occam")
    bound = report["occam"]
    values = {}
    for bits in BITS:
        codes = [
            transcribed_code(w - r, bits) for w, r in zip(weights_of(clf), reference, strict=True)
        ]
        U, W, V = (r + rounded for r, (rounded, _) in zip(reference, codes, strict=True))
        length = math.log(16) + sum(nats for _, nats in codes)
        errors = loop_errors(U, W, V, X, y)
        value = occam_kl(errors / 60, length, 60, clf.delta)
        values[value] = (bits, length, errors, loop_errors(U, W, V, *other) / 45)
    value = min(values)
    bits, length, errors, test_error = values[value]
    assert bound.value == pytest.approx(value)
    assert bound.empirical_risk == errors / 60
    line = bound.assumptions[-1]
    assert f"{bits} bits each" in line
    assert f"described in {length / math.log(2):.0f} bits" in line
    assert report.test_error_of("occam") == pytest.approx(test_error)
    assert ("from zero" in line) == (case == "from zero")
    # kl(risk || value) is the budget.
    risk = errors / 60
    divergence = rel_entr(risk, bound.value) + rel_entr(1 - risk, 1 - bound.value)
    budget = (length + math.log(2 * math.sqrt(60) / clf.delta)) / 60
    assert divergence == pytest.approx(budget) or bound.value == 1


def loop_errors(U, W, V, X, y):
    h = np.zeros((len(X), len(W)))
    for t in range(X.shape[1]):
        h = np.maximum(X[:, t] @ U.T + h @ W.T, 0)
    scores = h @ V.T
    return sum(
        row[label] <= max(np.delete(row, label)) for row, label in zip(scores, y, strict=True)
    )


def test_occam_of_the_prior_itself_costs_next_to_nothing(small, prior):
    X, y = small
    clf = make_classifier(prior=prior, box_width=0.0).fit(X, y)
    bound = clf.bound_report_(X_train=X, y_train=y, methods="occam")["occam"]
    assert bound.empirical_risk == pytest.approx(1 - prior.score(X, y))
    length = math.log(16) + sum(math.log(2 * (w.size + 1)) for w in weights_of(clf))
    assert bound.value == pytest.approx(occam_kl(bound.empirical_risk, length, 60, clf.delta))
    assert f"described in {length / math.log(2):.0f} bits" in bound.assumptions[-1]


# PAC-Bayes

STILL = {"optimizer": "sgd", "learning_rate": 1e-12, "max_iter": 1}


def pac_bayes_of(clf, X, y, *test):
    return clf.bound_report_(*test, X_train=X, y_train=y, methods="pac_bayes")["pac_bayes"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"beta_u": 0.7, "beta_w": 0.5, "beta_v": 0.6},
        {"unit_types": 2},
        {"activation": "tanh"},
        {"random_state": np.random.RandomState(3)},
    ],
    ids=lambda params: ",".join(params),
)
def test_prior_of_an_untrained_network_is_the_network(small, dtype, params):
    X, y = small
    clf = make_classifier(**STILL, **params).fit(X.astype(dtype), y)
    for center, weight in zip(clf._prior_mean(), weights_of(clf), strict=True):
        np.testing.assert_allclose(center, weight, rtol=1e-5, atol=1e-6)
    bound = pac_bayes_of(clf, X.astype(dtype), y)
    assert any("around the initial weights" in line for line in bound.assumptions)
    # Only the cell of the prior's width is paid for.
    exponent = round(math.log2(prior_std(bound)))
    nats = -math.log(cell_share(exponent))
    sampled = bound.empirical_risk + bound.term("monte_carlo")
    informed = sampled + bound.term("kl")
    divergence = rel_entr(sampled, informed) + rel_entr(1 - sampled, 1 - informed)
    assert divergence == pytest.approx(nats / 60, rel=1e-3)


def prior_std(bound):
    (line,) = (line for line in bound.assumptions if "posterior of standard deviation" in line)
    return float(line.split("prior of ")[1].split()[0])


def test_warm_start_keeps_the_initial_weights_of_its_first_fit(small):
    X, y = small
    clf = make_classifier(warm_start=True, random_state=np.random.RandomState(0), **STILL)
    first = [weight.copy() for weight in weights_of(clf.fit(X, y))]
    clf.set_params(learning_rate=0.1, max_iter=5).fit(X, y)
    assert not np.allclose(clf.W_, first[1], atol=1e-3)
    for center, weight in zip(clf._prior_mean(), first, strict=True):
        np.testing.assert_allclose(center, weight, atol=1e-9)
    assert pac_bayes_of(clf, X, y).kind == "certified"


def test_pac_bayes_after_a_prior_was_dropped_under_warm_start(small, prior):
    X, y = small
    clf = make_classifier(warm_start=True, prior=prior).fit(X, y)
    clf.set_params(prior=None).fit(X, y)
    assert pac_bayes_of(clf, X, y).kind == "certified"


def test_prior_is_the_centre_of_the_prior(small, prior):
    X, y = small
    clf = make_classifier(prior=prior, **STILL).fit(X, y)
    near = pac_bayes_of(clf, X, y)
    assert any("around weights learned on up to 45 samples" in line for line in near.assumptions)
    for center, weight in zip(clf._prior_mean(), weights_of(prior), strict=True):
        np.testing.assert_array_equal(center, weight)
    alone = make_classifier(max_iter=60, learning_rate=0.05).fit(X, y)
    assert near.term("kl") < pac_bayes_of(alone, X, y).term("kl")


def test_pac_bayes_speaks_of_the_randomised_classifier(small, other, prior):
    X, y = small
    clf = make_classifier(prior=prior, **STILL).fit(X, y)
    report = clf.bound_report_(*other, X_train=X, y_train=y, methods="pac_bayes")
    bound = report["pac_bayes"]
    assert bound.kind == "certified"
    assert [term.name for term in bound.terms] == [
        "empirical_risk",
        "monte_carlo",
        "kl",
        "confidence",
    ]
    text = "\n".join(bound.assumptions)
    assert "randomised classifier" in text
    assert "480 independent draws" in text
    (line,) = (line for line in bound.assumptions if "posterior of standard deviation" in line)
    std = float(line.split("standard deviation ")[1].split()[0])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(150):
        U, W, V = (w + std * rng.normal(size=w.shape) for w in weights_of(clf))
        drawn.append((loop_errors(U, W, V, X, y) / 60, loop_errors(U, W, V, *other) / 45))
    spread = np.std(drawn, axis=0)
    risk, test_error = np.mean(drawn, axis=0)
    assert abs(bound.empirical_risk - risk) < 5 * spread[0] / 150**0.5 + 5 * 0.5 / 480**0.5
    assert abs(report.test_error_of("pac_bayes") - test_error) < 5 * 0.5 / 45**0.5


def test_the_chosen_posterior_meets_fresh_draws(small, fitted, monkeypatch):
    calls = []
    original = certification.posterior_error

    def spy(weights, std, X, targets, activation, generator, *rest):
        state = bytes(generator.get_state().numpy())
        error = original(weights, std, X, targets, activation, generator, *rest)
        calls.append((std, len(X), state, error))
        return error

    monkeypatch.setattr(certification, "posterior_error", spy)
    bound = pac_bayes_of(fitted, *small)
    stds, sizes, states, errors = zip(*calls, strict=True)
    assert stds[:13] == tuple(2.0**e for e in range(-12, 1))
    assert len(calls) == 13 + 8
    (chosen,) = set(stds[13:])
    assert chosen in stds[:13]
    assert set(sizes) == {60}
    # No draw serves twice: the choice among the widths has seen none of the last eight.
    assert len(set(states)) == 21
    assert bound.empirical_risk == pytest.approx(np.mean(errors[13:]), rel=1e-12)
    assert f"posterior of standard deviation {chosen:.4g}" in "\n".join(bound.assumptions)
    assert f"{8 * 60} independent draws" in "\n".join(bound.assumptions)


# Certified radius


def first_used_step(x):
    used = [t for t, row in enumerate(x) if any(v != 0 for v in row)]
    return used[0] if used else len(x)


def transcribed_radius(clf, x):
    """min_c (y_p - y_c) / sum over the steps that are used of |V_p - V_c| |W|^(L-t) |U| 1."""
    U, W, V = (weight.astype(np.float64) for weight in weights_of(clf))
    h = np.zeros(len(W))
    for row in x.astype(np.float64):
        g = U @ row + W @ h
        h = np.maximum(g, 0) if clf.activation == "relu" else np.tanh(g)
    scores = V @ h
    p, L = int(np.argmax(scores)), len(x)
    radii = []
    for c in range(len(V)):
        if c == p:
            continue
        gap = scores[p] - scores[c]
        slope = 0.0
        for t in range(first_used_step(x), L):
            power = np.linalg.matrix_power(np.abs(W), L - 1 - t)
            slope += (np.abs(V[p] - V[c]) @ power @ np.abs(U)).sum()
        radii.append(gap / slope if gap else 0.0)
    return min(radii)


def padded(X):
    """The sequences with a front padding of every length."""
    X = X.copy()
    for i, x in enumerate(X):
        x[: i % (len(x) + 1)] = 0
    return X


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_certified_radius_is_the_transcribed_one(small, activation, dtype, n_classes, monkeypatch):
    monkeypatch.setattr("sklearn_rnnbound.noise._CHUNK_ENTRIES", 7 * 5 * 6)
    X, y = small
    X = padded(X).astype(dtype)
    # A zero among the inputs is no padding, and neither is a step of zeros after the first one.
    X[0, 2], X[1, 3, 0] = 0, 0
    clf = make_classifier(activation=activation).fit(X, y % n_classes)
    expected = [transcribed_radius(clf, x) for x in X]
    radius = clf.certified_radius_(X)
    assert radius.shape == (60,)
    assert radius.dtype == np.float64
    np.testing.assert_allclose(radius, expected, rtol=1e-9)
    empty = ~X.any((1, 2))
    assert empty.sum() == 10
    assert (radius[empty] == 0).all()
    assert (radius[~empty] > 0).mean() > 0.9
    # More padding changes nothing.
    longer = np.concatenate([np.zeros((60, 3, 2), dtype), X], 1)
    np.testing.assert_allclose(clf.certified_radius_(longer), radius, rtol=1e-9)


def test_certified_radius_of_two_classes_is_the_decision_over_its_row_norm(binary, small):
    X, _ = small
    U, W, V = weights_of(binary)
    norm = sum(
        (np.abs(V[1] - V[0]) @ np.linalg.matrix_power(np.abs(W), s) @ np.abs(U)).sum()
        for s in range(5)
    )
    expected = np.abs(binary.decision_function(X)) / norm
    np.testing.assert_allclose(binary.certified_radius_(X), expected, rtol=1e-9)
    # The paper's Lemma 8 with the radii of the constraints is never larger.
    by_radii = np.abs(binary.decision_function(X)) / (2 * 2.0 * 1.0 * sum(0.9**s for s in range(5)))
    assert (by_radii <= expected).all()


def attack(clf, X, radius, n_restarts=6, n_steps=30):
    """Smallest y_p - y_c that projected sign gradients find within the radius, per sample."""
    U, W, V = (torch.from_numpy(weight).double() for weight in weights_of(clf))
    network = RecurrentNetwork(U, W, V, clf.activation)
    clean = torch.from_numpy(X).double()
    free = torch.from_numpy(
        np.array([[t >= first_used_step(x) for t in range(len(x))] for x in X])
    )[:, :, None]
    reach = torch.from_numpy(radius)[:, None, None] * free
    predicted = network(clean).argmax(1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    worst = torch.full((len(X),), math.inf, dtype=torch.float64)
    for rival in range(len(V)):
        for restart in range(n_restarts):
            start = 2 * torch.rand(clean.shape, generator=generator, dtype=torch.float64) - 1
            change = reach * (start if restart % 2 else start.sign())
            for step in range(n_steps + 1):
                change.requires_grad_(True)
                scores = network(clean + change)
                gap = scores.gather(1, predicted)[:, 0] - scores[:, rival]
                (gradient,) = torch.autograd.grad(gap.sum(), change)
                at_rival = predicted[:, 0] == rival
                worst = torch.minimum(worst, gap.detach().masked_fill(at_rival, math.inf))
                size = reach * 2 * 0.85**step
                change = (change.detach() - size * gradient.sign()).clamp(-reach, reach)
    return worst.numpy()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_attack_within_the_radius_changes_a_prediction(small, activation, n_classes):
    X, y = small
    X = padded(X)[: 6 * 5]
    y = np.arange(len(X)) % n_classes
    clf = make_classifier(activation=activation, beta_w=1.0).fit(X, y)
    radius = clf.certified_radius_(X)
    certain = radius > 0
    assert certain.sum() > 20
    scale = np.abs(clf._scores(X)).max()
    assert (attack(clf, X[certain], radius[certain]) >= -1e-9 * scale).all()
    # The attack is not toothless: far outside it does.
    assert (attack(clf, X[certain], 100 * radius[certain] + 10, 2, 10) < 0).mean() > 0.5


@pytest.mark.parametrize("n_steps", [1, 4])
def test_radius_is_sharp_where_every_unit_is_active(n_steps):
    rng = np.random.default_rng(0)
    X = rng.uniform(1, 2, size=(40, n_steps, 2))
    y = (X[:, :, 0].sum(1) > X[:, :, 1].sum(1)).astype(int)
    clf = make_classifier(hidden_size=2).fit(X, y)
    # One unit for each feature, both always active: f is linear on positive inputs.
    values = np.eye(2), 0.5 * np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])
    for name, value in zip(("U_", "W_", "V_"), values, strict=True):
        setattr(clf, name, value)
    for own, value in zip(clf.net_.module_.weights, clf._weights(), strict=True):
        own.copy_(value)
    X[:, 0] = np.where(np.arange(40)[:, None] % 2, X[:, 0], [4.0, 4.5])
    radius = clf.certified_radius_(X)
    assert (radius > 0).all()
    assert (radius < 1).all()
    direction = -np.sign(clf.decision_function(X))[:, None, None] * np.array([1.0, -1.0])
    before = clf.predict(X)
    inside = X + 0.999 * radius[:, None, None] * direction
    outside = X + 1.001 * radius[:, None, None] * direction
    np.testing.assert_array_equal(clf.predict(inside), before)
    assert (clf.predict(outside) != before).all()


def test_radius_is_zero_where_two_classes_tie(small):
    X, y = small
    clf = make_classifier(beta_v=0.0).fit(X, y)
    np.testing.assert_array_equal(clf.certified_radius_(X), np.zeros(60))


@pytest.mark.parametrize("zeros", ["readout", "recurrence", "input"])
def test_radius_promises_nothing_where_the_norms_overflow(small, zeros):
    X, y = small
    clf = make_classifier(hidden_size=2).fit(X, y > 0)
    U, W, V = np.ones((2, 2)), 10.0 * np.eye(2), np.array([[0.0, 0.0], [1.0, 1.0]])
    if zeros == "readout":
        V[1, 1] = 0
    elif zeros == "recurrence":
        W[1, 1] = 0
    else:
        U[1] = 0
    clf.U_, clf.W_, clf.V_ = U, W, V
    for own, value in zip(clf.net_.module_.weights, clf._weights(), strict=True):
        own.copy_(value)
    long = np.zeros((3, 400, 2))
    # The last step decides, the earlier ones are kept from the state by relu.
    long[:, :-1] = -1.0
    long[:, -1] = 5.0
    assert np.isfinite(clf.decision_function(long)).all()
    assert (clf.decision_function(long) > 0).all()
    assert (clf.certified_radius_(long) < 1.0).all()


def test_radius_checks_its_input(fitted, small):
    with pytest.raises(ValueError, match="3 features per step"):
        fitted.certified_radius_(np.zeros((2, 5, 3)))
    X, _ = small
    before = X.copy()
    np.testing.assert_array_equal(
        fitted.certified_radius_(X[:, ::1].tolist()), fitted.certified_radius_(X)
    )
    np.testing.assert_array_equal(X, before)


# Curves over n


@pytest.fixture(scope="module")
def large():
    """Two classes in many samples, and a classifier of them; not to be refitted."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1600, 4, 1))
    y = (X.sum((1, 2)) > 0).astype(int)
    params = {"beta_u": 1.0, "beta_w": (0.9, 0.0), "beta_v": 1.0, "margin": 1.0}
    return make_classifier(**params).fit(X, y), X, y


def test_curve_recomputes_the_bounds_on_nested_parts(large):
    clf, X, y = large
    curve = clf.bound_curve_(X, y)
    assert curve.n_samples == (200, 400, 800, 1600)
    assert len(curve.reports) == 4
    full = clf.bound_report_(X_train=X, y_train=y)
    names = [bound.name for bound in full]
    for report in curve.reports:
        assert [bound.name for bound in report] == names
    for bound in curve.reports[-1]:
        assert bound.kind == full[bound.name].kind
        assert bound.value == pytest.approx(full[bound.name].value, rel=1e-9)
        for term in bound.terms:
            assert term.value == pytest.approx(full[bound.name].term(term.name), rel=1e-9)
    assert curve.reports[-1].train_error == full.train_error


def test_what_shrinks_with_n_and_what_does_not(large):
    clf, X, y = large
    curve = clf.bound_curve_(X, y, methods=["peeling", "theorem2", "trivial"])
    first, last = curve.reports[0], curve.reports[-1]

    def ratio(name, term):
        return last[name].term(term) / first[name].term(term)

    # n grows eightfold.
    assert ratio("peeling", "complexity") == pytest.approx(8**-0.5, rel=0.1)
    assert ratio("theorem2", "confidence") == pytest.approx(8**-0.5, rel=1e-9)
    assert ratio("theorem2", "linear") == pytest.approx(8**-0.5, rel=0.3)
    for name, term in [("theorem2", "difference"), ("trivial", "complexity")]:
        assert ratio(name, term) == pytest.approx(1, rel=0.1)
    for report in curve.reports:
        for bound in report:
            for term in bound.terms:
                expected = "n^0" if term.name in ("difference", "empirical_risk") else "n^-1/2"
                if (bound.name, term.name) != ("trivial", "complexity"):
                    assert term.rate == expected


def test_parts_are_nested_random_parts(large, monkeypatch):
    clf, X, y = large
    parts = []
    reduce = type(clf)._reduce

    def watched(self, inputs, targets):
        parts.append({row.tobytes() for row in inputs.numpy()})
        # The labels go with their sequences, in the order of the data.
        np.testing.assert_array_equal(targets.numpy(), inputs.sum((1, 2)) > 0)
        return reduce(self, inputs, targets)

    monkeypatch.setattr(type(clf), "_reduce", watched)
    clf.bound_curve_(X, y, fractions=(0.5, 0.125, 0.3), methods="peeling")
    assert [len(part) for part in parts] == [200, 480, 800]
    assert parts[0] < parts[1] < parts[2]
    assert parts[0] != {row.tobytes() for row in X[:200]}


def test_curve_of_bounds_that_need_the_data(boxed, small):
    X, y = small
    names = ["occam", "pac_bayes", "localized", "theorem3"]
    curve = boxed.bound_curve_(X, y, fractions=(0.5, 1.0), methods=names)
    full = boxed.bound_report_(X_train=X, y_train=y, methods=names)
    for bound, expected in zip(curve.reports[-1], full, strict=True):
        assert bound.name == expected.name
        assert bound.value == pytest.approx(expected.value, rel=1e-9)
    assert {report["occam"].delta for report in curve.reports} == {boxed.delta}
    strict = boxed.bound_curve_(X, y, fractions=(1.0,), methods="peeling", margin=0.5, delta=0.01)
    peeling = strict.reports[0]["peeling"]
    assert (peeling.margin, peeling.delta) == (0.5, 0.01)


@pytest.mark.parametrize(
    "fractions", [(), (0.0, 1.0), (-0.5,), (1.5,), (math.nan,), ((0.5, 1.0),), 0.5, None], ids=str
)
def test_bad_fractions(fitted, small, fractions):
    with pytest.raises(ValueError, match="fractions must be numbers in"):
        fitted.bound_curve_(*small, fractions=fractions)


def test_bad_calls_of_the_curve(fitted, small, monkeypatch):
    with pytest.raises(ValueError, match="needs X_train and y_train"):
        fitted.bound_curve_(None, None)
    with pytest.raises(ValueError, match="'theorem9' is unknown"):
        fitted.bound_curve_(*small, methods="theorem9")
    # Before any work.
    monkeypatch.setattr(RNNBoundClassifier, "_validate_inputs", None)
    with pytest.raises(ValueError, match=r"holdout needs test data.*bound_report_\(X_test=\.\.\."):
        fitted.bound_curve_(*small, methods="holdout")


def test_tiny_and_equal_fractions_make_parts_of_two_and_more(fitted, small):
    curve = fitted.bound_curve_(*small, fractions=(1e-9, 0.02, 0.5, 0.5, 1))
    assert curve.n_samples == (2, 30, 60)


def test_curve_as_frame_and_text(large):
    clf, X, y = large
    curve = clf.bound_curve_(X, y, fractions=(0.5, 1), methods=["peeling", "theorem2"])
    frame = curve.to_frame()
    assert frame.index.names == ["bound", "n"]
    assert frame.index.tolist() == [
        ("peeling", 800),
        ("peeling", 1600),
        ("theorem2", 800),
        ("theorem2", 1600),
    ]
    for n, report in zip(curve.n_samples, curve.reports, strict=True):
        for bound in report:
            row = frame.loc[(bound.name, n)]
            assert row["value"] == bound.value
            for term in bound.terms:
                assert row[term.name] == term.value
    assert np.isnan(frame.loc[("peeling", 800), "linear"])
    title, _, *lines = str(curve).split("\n\nrates\n")[0].splitlines()
    assert "confidence 0.95" in title
    assert repr(curve) == str(curve)
    assert "0.95" in curve._repr_html_()
    assert len(lines) == 2 + 4
    assert lines[0].split()[:3] == ["bound", "n", "value"]
    assert lines[2].split()[:2] == ["peeling", "800"]
    assert "-" in lines[2].split()


def test_curve_without_pandas_names_the_extra(large, monkeypatch):
    clf, X, y = large
    curve = clf.bound_curve_(X, y, fractions=(1,), methods="trivial")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[tables\]"):
        curve.to_frame()
    assert "trivial" in str(curve)


def test_empty_curve():
    assert "no bound" in str(BoundCurve((10,), (BoundReport((), 0.5, None, 0.05),)))
    assert len(BoundCurve((10,), (BoundReport((), 0.5, None, 0.05),)).to_frame()) == 0


# How a report is shown


@pytest.fixture(scope="module")
def shown():
    """A report with one bound of every kind and characters that HTML and LaTeX know."""
    terms = Term("empirical_risk", 0.25, "n^0"), Term("confidence", 0.5, "n^-1/2")
    certified = Bound(
        "pac_bayes", 0.75, "certified", terms, 0.5, 0.05, ("||x||_inf <= B & so",), False, ""
    )
    estimate = replace(
        certified, name="a<b>&_c", value=1.5, kind="plug_in", vacuous=True, reason="x < y & 100%"
    )
    order = Bound(
        "chen2019", 7e5, "order_only", (Term("order", 7e5, "n^-1/2"),), 1.0, None, (), False, ""
    )
    return BoundReport(
        (certified, estimate, order), 0.125, None, 0.05, omitted=("occam needs X & y <now>",)
    )


def test_only_certificates_are_called_certified(shown, boxed, small, other):
    report = boxed.bound_report_(*other, X_train=small[0], y_train=small[1])
    expected = {"certified": "certified", "plug_in": "plug-in", "order_only": "order only"}
    for each in (shown, report):
        frame = each.to_frame()
        for bound in each:
            kind = expected[bound.kind]
            assert frame.loc[bound.name, "kind"] == kind
            vacuous = frame.loc[bound.name, "vacuous"]
            assert vacuous is None if bound.kind == "order_only" else vacuous == bound.vacuous
            (line,) = (line for line in table_lines(each) if line.split()[0] == bound.name)
            assert kind in line
            assert ("certified" in line) == (bound.kind == "certified")
            mark = {True: "yes", False: "no"}[bound.vacuous]
            assert line.split()[-1] == ("-" if bound.kind == "order_only" else mark)


def table_lines(report):
    lines = str(report).splitlines()
    return lines[4 : 4 + len(report)]


def html_rows(html):
    return [
        [cell.split(">", 1)[1].split("<")[0].strip() for cell in row.split("<t")[1:]]
        for row in html.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    ]


def test_html(shown, boxed, small):
    html = shown._repr_html_()
    rows = html_rows(html)
    assert [row[0] for row in rows] == ["pac_bayes", "a&lt;b&gt;&amp;_c", "chen2019"]
    assert [row[2] for row in rows] == ["certified", "plug-in", "order only"]
    assert [row[-1] for row in rows] == ["no", "yes", "-"]
    assert "vacuous (&gt;= 1). x &lt; y &amp; 100%" in html
    assert "||x||_inf &lt;= B &amp; so" in html
    assert "occam needs X &amp; y &lt;now&gt;" in html
    for raw in ("<now>", "<b>&", "<= B", "B & so"):
        assert raw not in html
    real = boxed.bound_report_(X_train=small[0], y_train=small[1])
    html = real._repr_html_()
    rows = html_rows(html)
    assert [row[0] for row in rows] == [bound.name for bound in real]
    for row, bound in zip(rows, real, strict=True):
        assert ("certified" in row) == (bound.kind == "certified")
    assert rows[list(BOUNDS).index("zhang2018")][-1] == "-"
    assert "At confidence 0.95".lower() in html.lower()


def test_html_where_every_row_has_a_verdict(fitted):
    report = fitted.bound_report_(methods=["theorem2", "peeling"])
    assert [row[-1] for row in html_rows(report._repr_html_())] == ["yes", "yes"]


def test_latex(shown):
    latex = shown.to_latex()
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}"):
        assert rule in latex
    body = latex.split(r"\midrule")[1]
    lines = [line for line in body.splitlines() if "&" in line]
    assert [line.split(" & ")[0] for line in lines] == [
        r"pac\_bayes",
        r"a<b>\&\_c",
        "chen2019",
    ]
    for line, kind, mark in zip(
        lines, ("certified", "plug-in", "order only"), ("no", "yes", "-"), strict=True
    ):
        assert line.split(" & ")[2] == kind
        assert line.split(" & ")[-1].removesuffix(r" \\") == mark
    assert "_" not in latex.replace(r"\_", "")
    assert r"\caption{Bounds on P[error] at confidence 0.95" in latex


def test_empty_report_is_shown():
    empty = BoundReport((), 0.5, None, 0.05, omitted=("all < of them",))
    html = empty._repr_html_()
    assert html is None or "all &lt; of them" in html
    assert len(empty.to_frame()) == 0


def test_without_pandas_the_text_is_shown(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert shown._repr_html_() is None
    with pytest.raises(ImportError, match=r"to_latex needs pandas.*sklearn-rnnbound\[tables\]"):
        shown.to_latex()
    assert "certified" in str(shown)


def test_without_jinja2_the_text_is_shown(shown, monkeypatch):
    def absent(self):
        raise ImportError("no jinja2")

    monkeypatch.setattr(pd.DataFrame, "style", property(absent))
    assert shown._repr_html_() is None
    with pytest.raises(ImportError, match=r"to_latex needs jinja2.*sklearn-rnnbound\[tables\]"):
        shown.to_latex()


def test_cloned_and_unfitted_estimators_have_nothing_to_say(boxed, small):
    X, y = small
    fresh = clone(boxed)
    assert isinstance(fresh, RNNBoundClassifier)
    for call in (
        fresh.bound_report_,
        fresh.generalization_bound_,
        lambda: fresh.bound_curve_(X, y),
        lambda: fresh.certified_radius_(X),
    ):
        with pytest.raises(ValueError, match="not fitted"):
            call()


# ---- guards against certificates on the wrong data ----


def test_a_prior_fitted_on_these_very_data_is_refused(small):
    X, y = small
    start = make_classifier().fit(X, y)
    clf = make_classifier(prior=start, box_width=0.0)
    with pytest.raises(ValueError, match="prior was fitted on these very data"):
        clf.fit(X, y)
    assert not hasattr(clf, "U_")
    clf.fit(X[:-1], y[:-1])


def test_the_classifier_is_not_its_own_prior(small):
    clf = make_classifier().fit(*small)
    with pytest.raises(ValueError, match="prior must be another classifier"):
        clf.set_params(prior=clf).fit(*small)


def test_training_data_are_not_held_out(fitted, small):
    with pytest.raises(ValueError, match="nothing is held out"):
        fitted.bound_report_(*small)


def test_one_huge_score_does_not_hide_other_labels(small):
    X, y = small
    X = X.copy()
    X[0] = 1e6
    clf = make_classifier(learning_rate=1e-9, max_iter=1).fit(X, y)
    wrong = clf.predict(X)
    assert (wrong != y).any()
    with pytest.raises(ValueError, match="are not the data of fit"):
        clf.bound_report_(X_train=X, y_train=wrong, methods="occam")
    assert clf.bound_report_(X_train=X, y_train=y, methods="occam")["occam"].kind == "certified"


def test_a_warm_start_adds_to_the_samples_that_were_learned_from(small, other):
    start = make_classifier(warm_start=True).fit(*small)
    n_first = len(small[0])
    start.fit(*other)
    assert start._n_learned == n_first + len(other[0])


def test_labels_of_another_kind_are_refused(fitted, small):
    X, y = small
    with pytest.raises(ValueError, match=r"y_test holds none of the labels \[0, 1, 2\].*'a'"):
        fitted.bound_report_(X, np.full(len(y), "a"))


@pytest.mark.parametrize("methods", [None, 3, {"peeling"}])
def test_methods_of_another_type_are_refused(fitted, methods):
    with pytest.raises(TypeError, match="methods must be"):
        fitted.bound_report_(methods=methods)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("x", r"methods='x' is unknown; there are 'paper', 'theorem2'"),
        (["x"], r"methods\[0\]='x' is unknown"),
        (("peeling", None), r"methods\[1\]=None is unknown"),
        (["peeling", "all"], r"methods\[1\]='all' is unknown"),
        ([], r"methods=\[\] asks for no bound: give 'all' or names"),
        ((), r"methods=\(\) asks for no bound"),
    ],
)
def test_unknown_and_missing_methods_are_named_before_any_work(fitted, small, methods, message):
    unread = np.full_like(small[0], np.nan)
    with pytest.raises(ValueError, match=message):
        fitted.bound_report_(unread, small[1], methods=methods)
    with pytest.raises(ValueError, match=message):
        fitted.bound_curve_(unread, small[1], methods=methods)


def test_parameters_rule_out_the_bounds_that_do_not_apply_to_the_fit(small, prior):
    for params in (
        {},
        {"noise_std": 0.1},
        {"activation": "tanh"},
        {"activation": "tanh", "noise_std": 0.1},
        {"prior": prior},
        {"prior": prior, "box_width": 0.5},
    ):
        clf = make_classifier(max_iter=1, **params).fit(*small)
        applying = {bound.name for bound in clf.bound_report_()}
        for name in (name for name in DATA_FREE_METHODS if name != "paper"):
            if name in applying:
                check_attainable("methods", [name], [clf], raises=True)
            else:
                with pytest.raises(ValueError, match=rf"^methods asks .*'{name}' needs"):
                    check_attainable("methods", [name], [clf], raises=False)
    with pytest.raises(ValueError, match="'paper' needs activation='relu'"):
        check_attainable("methods", ["paper"], [make_classifier(activation="tanh")], raises=False)


class _OwnPrior(RNNBoundClassifier):
    """Learns its prior on a part of the data."""

    def fit(self, X, y):
        self.prior = RNNBoundClassifier(6, max_iter=2, random_state=0).fit(X[::2], y[::2])
        self.box_width = 0.5
        return super().fit(X[1::2], y[1::2])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parameters_that_fit_sets_and_wrong_ones_rule_out_nothing(small):
    own = _OwnPrior(6, max_iter=2, random_state=0)
    check_attainable("methods", ["localized"], [own], raises=True)
    assert own.fit(*small).generalization_bound_(method="localized") > 0
    wrong = make_classifier(noise_std=np.ones(2), activation="step")
    check_attainable("methods", ["localized", "theorem3"], [wrong, None], raises=True)


def test_a_method_named_twice_is_one_row(fitted):
    report = fitted.bound_report_(methods=["peeling", "trivial", "peeling"], simultaneous=True)
    assert [bound.name for bound in report] == ["peeling", "trivial"]
    assert report["peeling"].delta == fitted.delta / 2
    assert "peeling" in report
    assert "holdout" not in report


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("scale", [1e-165, 1e160])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_squares_out_of_range_make_no_certificate_smaller(small, scale, activation):
    X, y = small
    y = np.random.default_rng(0).permutation(y)
    norms = {"beta_u": 1.0, "beta_w": 1.0, "beta_v": 1.0}
    for beta_w in (1.0, (0.9, 0.1)):
        clf = make_classifier(
            **(norms | {"beta_w": beta_w}),
            activation=activation,
            min_eigenvalue=0.0,
            learning_rate=1e-6,
            margin=scale,
        ).fit(X * scale, y)
        bound = clf.bound_report_(methods="peeling")["peeling"]
        assert bound.value > 1
        assert bound.vacuous
        assert bound.term("complexity") > 1


def test_a_box_of_inputs_whose_squares_underflow(small, prior):
    X, y = small
    clf = make_classifier(prior=prior, box_width=1.0, margin=1e-165, min_eigenvalue=0.0)
    bound = clf.fit(X * 1e-165, y).bound_report_(methods="localized")["localized"]
    assert bound.term("complexity") > 1


def test_the_table_says_which_classifier_a_row_speaks_of(boxed, small, other):
    report = boxed.bound_report_(*other, X_train=small[0], y_train=small[1])
    frame = report.to_frame()
    assert frame.pop("network").to_dict() == dict.fromkeys(BOUNDS, "trained") | {
        "occam": "rounded",
        "pac_bayes": "randomised",
    }
    for name in BOUNDS:
        assert frame.loc[name, "test_error"] == report.test_error_of(name)
    assert frame.loc["peeling", "test_error"] == report.test_error
    header = str(report).splitlines()[2]
    assert "network" in header
    assert "test error" in header
    assert "test_error" not in boxed.bound_report_(methods="peeling").to_frame()
