"""Scorers, BoundSearch and certificates of winners, against bounds of each candidate alone."""

import pickle

import numpy as np
import pytest
from conftest import make_classifier
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it makes the name below
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

from sklearn_rnnbound import (
    BoundSearch,
    RNNBoundClassifier,
    certify,
    make_bound_scorer,
    neg_bound_scorer,
)

FREE = ["theorem2", "theorem3", "refined", "peeling", "golowich2018", "trivial", "zhang2018"]


def constrained(**params):
    radii = {"beta_u": 1.0, "beta_w": 0.5, "beta_v": 1.0, "min_eigenvalue": 0.0}
    return make_classifier(**{**radii, **params})


@pytest.fixture(scope="module")
def binary(small):
    X, y = small
    return X[y > 0], y[y > 0]


@pytest.fixture(scope="module")
def searched(binary):
    grid = {"beta_w": [0.25, 0.5, 1.0], "margin": [0.5, "auto"], "learning_rate": [0.003, 0.03]}
    return BoundSearch(constrained(), grid).fit(*binary)


# Scorers


@pytest.mark.parametrize("method", ["paper", *FREE])
def test_the_score_is_the_negative_bound_whatever_the_fold(method, small):
    clf = constrained(noise_std=0.1 if method in ("paper", "theorem3") else 0.0).fit(*small)
    score = make_bound_scorer(method, margin=0.25, delta=0.1)(clf, small[0][:3], small[1][:3])
    assert score == -clf.generalization_bound_(method=method, margin=0.25, delta=0.1)
    assert make_bound_scorer(method)(clf) == -clf.generalization_bound_(method=method)


def test_an_infinite_bound_scores_minus_infinity(small):
    clf = constrained().fit(*small)
    assert make_bound_scorer("theorem2")(clf, *small) == -np.inf


def test_the_scorer_looks_into_pipelines_and_searches(small):
    X, y = small
    clf = constrained()
    pipeline = make_pipeline("passthrough", make_pipeline(FunctionTransformer(), clf)).fit(X, y)
    expected = neg_bound_scorer(clf.fit(X, y))
    assert neg_bound_scorer(pipeline) == expected
    assert neg_bound_scorer(FrozenEstimator(clf)) == expected


@pytest.mark.parametrize("method", ["holdout", "occam", "pac_bayes"])
def test_methods_that_need_data_are_refused_at_once(method):
    call = r"use bound_report_\(X_(test|train)=\.\.\., y_(test|train)=\.\.\.\)"
    with pytest.raises(ValueError, match=rf"needs data beside the fitted classifier: {call}"):
        make_bound_scorer(method)
    with pytest.raises(ValueError, match="needs data beside the fitted classifier"):
        certify(None, method=method)


def test_unknown_methods_are_refused_at_once(binary):
    with pytest.raises(ValueError, match=r"'theorem9'.* is unknown; .*there are 'paper'"):
        make_bound_scorer("theorem9")
    for method, message in {
        "theorem9": "'theorem9'.* is unknown",
        "zhang2018": "is an order",
    }.items():
        with pytest.raises(ValueError, match=message):
            BoundSearch(constrained(), {"beta_w": [1.0]}, method=method).fit(*binary)


def test_grid_search_by_accuracy_by_bound_or_by_both(binary):
    X, y = binary
    scoring = {"accuracy": "accuracy", "bound": neg_bound_scorer}

    def accurate_then_certified(results):
        good = results["mean_test_accuracy"] >= results["mean_test_accuracy"].max() - 0.05
        return int(np.argmax(np.where(good, results["mean_test_bound"], -np.inf)))

    grid = {"beta_w": [0.25, 1.0]}
    for refit in ("accuracy", "bound", accurate_then_certified):
        search = GridSearchCV(constrained(), grid, scoring=scoring, refit=refit, cv=2).fit(X, y)
        assert np.isfinite(search.cv_results_["mean_test_bound"]).all()
    # At equal accuracy the smaller radius has the smaller bound.
    assert search.best_params_ == {"beta_w": 0.25}


def test_the_scorer_sees_the_training_folds_only(binary):
    X, y = binary
    results = cross_validate(
        constrained(), X, y, cv=2, scoring=neg_bound_scorer, return_estimator=True
    )
    expected = [-clf.generalization_bound_(method="peeling") for clf in results["estimator"]]
    np.testing.assert_array_equal(results["test_score"], expected)


def test_scorers_travel_and_say_what_they_are():
    scorer = pickle.loads(pickle.dumps(make_bound_scorer("trivial", margin=1.0)))
    assert repr(scorer) == "BoundScorer(method='trivial', margin=1.0, delta=None)"


@pytest.mark.parametrize(
    "options",
    [{"margin": 0}, {"margin": np.inf}, {"margin": "auto"}, {"delta": 1}, {"delta": np.nan}],
)
def test_the_numbers_of_a_scorer_are_checked(options):
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' parameter of make_bound_scorer"):
        make_bound_scorer(**options)


# BoundSearch


def test_the_smallest_certificate_wins_at_a_shared_delta(searched, binary):
    # Six classes: three radii times two margins; the learning rate shares their events.
    assert searched.n_candidates_ == 6
    values = []
    for params in searched.cv_results_["params"]:
        clf = constrained(**params).fit(*binary)
        values.append(clf.generalization_bound_(method="peeling", delta=0.05 / 6))
    np.testing.assert_array_equal(searched.cv_results_["bound"], values)
    assert searched.best_index_ == np.argmin(values)
    assert float(searched.best_bound_) == min(values)
    assert searched.best_bound_.kind == "certified"
    assert searched.best_bound_.delta == pytest.approx(0.05)
    assert "0.05 in equal parts among 6 candidates" in searched.best_bound_.assumptions[-1]


def test_the_table_of_candidates(searched):
    results = searched.cv_results_
    assert {len(column) for column in results.values()} == {12}
    assert results["param_beta_w"].tolist() == [0.25] * 4 + [0.5] * 4 + [1.0] * 4
    ranks = results["rank_bound"]
    assert ranks.min() == 1
    assert (
        np.sort(results["bound"][np.argsort(ranks, kind="stable")]) == np.sort(results["bound"])
    ).all()
    assert (np.diff(results["bound"][np.argsort(ranks, kind="stable")]) >= 0).all()
    assert set(results["kind"]) == {"certified"}
    assert (results["fit_time"] > 0).all()


def test_a_column_is_masked_where_a_candidate_lacks_the_parameter(binary):
    search = BoundSearch(constrained(), [{"beta_w": [0.5]}, {"max_iter": [4]}]).fit(*binary)
    assert search.cv_results_["param_beta_w"].tolist() == [0.5, None]
    assert search.cv_results_["param_max_iter"].mask.tolist() == [True, False]


def test_the_winner_predicts(searched, binary):
    X, y = binary
    best = constrained(**searched.best_params_).fit(X, y)
    np.testing.assert_array_equal(searched.predict(X), best.predict(X))
    np.testing.assert_array_equal(searched.predict_proba(X), best.predict_proba(X))
    np.testing.assert_array_equal(searched.predict_log_proba(X), best.predict_log_proba(X))
    np.testing.assert_array_equal(searched.decision_function(X), best.decision_function(X))
    assert searched.score(X, y) == best.score(X, y)
    assert searched.classes_.tolist() == [1, 2]
    assert searched.n_features_in_ == 2


def test_without_refit_there_is_no_winner_to_predict(binary):
    search = BoundSearch(constrained(), {"beta_w": [0.5]}, refit=False).fit(*binary)
    assert search.best_params_ == {"beta_w": 0.5}
    assert not hasattr(search, "best_estimator_")
    with pytest.raises(NotFittedError, match="BoundSearch keeps no fitted winner"):
        search.predict(binary[0])
    search.set_params(refit=True).fit(*binary).set_params(refit=False).fit(*binary)
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "classes_")


def test_a_search_has_the_methods_of_its_estimator():
    assert hasattr(BoundSearch(constrained(), {}), "predict_proba")
    assert not hasattr(BoundSearch(LinearSVC(), {}), "predict_proba")


def test_a_smaller_delta_costs_more(binary):
    values = [
        float(BoundSearch(constrained(), {"beta_w": [0.5]}, delta=delta).fit(*binary).best_bound_)
        for delta in (0.2, 0.02)
    ]
    assert values[0] < values[1]
    plain = constrained(beta_w=0.5).fit(*binary)
    assert values[0] == plain.generalization_bound_(method="peeling", delta=0.2)


def test_estimates_do_not_win(binary):
    X, y = binary
    flat = X.reshape(len(X), -1)
    pipeline = make_pipeline(StandardScaler(), constrained(step_size=2))
    grid = {"rnnboundclassifier__beta_w": [0.5, 1.0]}
    with pytest.raises(ValueError, match="preprocessing was fitted on the certification sample"):
        BoundSearch(pipeline, grid).fit(flat, y)
    pipeline.set_params(standardscaler=FrozenEstimator(StandardScaler().fit(flat[:5])))
    search = BoundSearch(pipeline, grid).fit(flat[5:], y[5:])
    assert search.best_bound_.kind == "certified"


def test_without_a_finite_certificate_it_says_why(binary):
    with pytest.raises(ValueError, match="the bounds are infinite"):
        BoundSearch(constrained(input_bound=20.0), {"beta_w": [0.5]}, method="theorem2").fit(
            *binary
        )


def test_failed_candidates_are_left_out(binary):
    search = BoundSearch(constrained(), {"beta_w": [-1.0, 0.5]})
    with pytest.warns(FitFailedWarning, match="1 of 2 candidates failed"):
        search.fit(*binary)
    assert search.best_params_ == {"beta_w": 0.5}
    assert np.isnan(search.cv_results_["bound"][0])
    assert search.cv_results_["kind"].tolist() == ["failed", "certified"]
    assert search.cv_results_["rank_bound"].tolist() == [2, 1]


def test_failures_can_be_raised(binary):
    with pytest.raises(ValueError, match="beta_w"):
        BoundSearch(constrained(), {"beta_w": [-1.0, 0.5]}, error_score="raise").fit(*binary)


def test_when_all_candidates_fail_the_error_alone_says_why(binary, recwarn):
    with pytest.raises(ValueError, match="all 2 candidates failed") as caught:
        BoundSearch(constrained(), {"beta_w": [-1.0, -2.0]}).fit(*binary)
    assert str(caught.value).count("Traceback") == 1
    assert not recwarn


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({}, {"method": "localized"}, "prior=.* and box_width"),
        ({"noise_std": [0.0]}, {"method": "theorem3"}, "theorem3 .* noise_std is 0"),
        (
            {"noise_std": [0.1, 0.0]},
            {"method": "theorem3", "error_score": "raise"},
            "theorem3 .* noise_std is 0",
        ),
        ({"activation": ["tanh"]}, {"method": "paper"}, "theorem2 .* such as relu units"),
    ],
)
def test_parameters_that_rule_the_method_out_are_named_at_once(
    grid, options, message, binary, monkeypatch
):
    monkeypatch.setattr(RNNBoundClassifier, "fit", lambda *_: pytest.fail("a fit has begun"))
    with pytest.raises(ValueError, match=f"^method asks for .*{message}"):
        BoundSearch(constrained(), grid, **options).fit(*binary)


def test_wrong_parameters_of_the_search(binary):
    with pytest.raises(ValueError, match="found no RNNBoundClassifier"):
        BoundSearch(LogisticRegression(), {"C": [1.0]}).fit(*binary)
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        BoundSearch(constrained(), {"colour": ["red"]}).fit(*binary)
    with pytest.raises(ValueError, match="param_grid holds no candidate"):
        BoundSearch(constrained(), []).fit(*binary)


@pytest.mark.filterwarnings("ignore")  # the checks themselves provoke and count warnings
def test_scikit_learn_checks_the_search():
    clf = RNNBoundClassifier(beta_u=3.0, min_eigenvalue=0.0, random_state=0)
    search = BoundSearch(clf, {"beta_w": [1.0]}, error_score="raise")
    one_class = "check_classifiers_one_label_sample_weights"
    results = check_estimator(
        search,
        expected_failed_checks={
            one_class: "it looks for a parameter named sample_weight; here weights pass through to "
            "the candidates, whose error speaks of the missing class"
        },
        on_skip=None,
        on_fail=None,
    )
    outcomes = {r["check_name"]: r["status"] for r in results if r["status"] != "passed"}
    assert outcomes == {one_class: "xfail"}


# Winners of other searches


@pytest.mark.parametrize("noise_std", [0.0, 0.2])
def test_certify_divides_delta_by_the_distinct_candidates(noise_std, binary):
    grid = {"beta_w": [0.25, 0.5], "max_iter": [4, 8], "random_state": [0, 1]}
    search = GridSearchCV(constrained(noise_std=noise_std), grid, cv=2).fit(*binary)
    # A seed matters through the draw of the noise, where there is noise.
    count = 4 if noise_std else 2
    bound = certify(search, delta=0.1)
    best = clone(search.best_estimator_).fit(*binary)
    assert bound.value == best.generalization_bound_(method="peeling", delta=0.1 / count)
    assert bound.delta == pytest.approx(0.1)
    assert f"among {count} candidates" in bound.assumptions[-1]


def test_certify_knows_every_search(binary):
    X, y = binary
    clf = constrained()
    grid = {"beta_w": [0.25, 0.5, 1.0]}
    halving = HalvingGridSearchCV(
        clf, grid, resource="max_iter", max_resources=8, min_resources=2, cv=2, random_state=0
    )
    for search in (RandomizedSearchCV(clf, grid, n_iter=3, cv=2), halving, BoundSearch(clf, grid)):
        bound = certify(search.fit(X, y))
        assert "among 3 candidates" in bound.assumptions[-1]
        assert bound.kind == "certified"
    inner = certify(BoundSearch(clf, grid).fit(X, y))
    assert inner == BoundSearch(clf, grid).fit(X, y).best_bound_


def test_one_candidate_costs_nothing(binary):
    search = GridSearchCV(constrained(), {"max_iter": [4, 8]}, cv=2).fit(*binary)
    assert certify(search).value == neg_bound_scorer(search.best_estimator_) * -1
    assert not any("chosen by a search" in line for line in certify(search).assumptions)


def test_the_delta_of_certify_is_checked(searched):
    with pytest.raises(ValueError, match="'delta' parameter of certify"):
        certify(searched, delta=1.5)


def test_candidates_do_not_share_an_estimator_among_their_values(binary):
    clf = constrained()
    grid = {"step": [clf], "step__beta_w": [0.25, 1.0]}
    search = BoundSearch(Pipeline([("step", constrained())]), grid).fit(*binary)
    expected = [
        constrained(beta_w=value).fit(*binary).generalization_bound_(method="peeling", delta=0.025)
        for value in (0.25, 1.0)
    ]
    np.testing.assert_array_equal(search.cv_results_["bound"], expected)
    assert clf.beta_w == 0.5
    assert not hasattr(clf, "U_")


def test_a_bound_prints_for_people(searched):
    first, *others = str(searched.best_bound_).splitlines()
    assert first.startswith(f"peeling: {float(searched.best_bound_):.4g}, certified at confidence")
    assert others[-1].startswith("  - chosen by a search")
