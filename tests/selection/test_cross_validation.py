"""Cross-validated bounds against folds fitted by hand."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from conftest import make_classifier
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import Callback

from sklearn_rnnbound import RNNBoundClassifier, bound_report, cross_validate_bounds

METHODS = ["paper", "peeling", "zhang2018", "holdout"]


def constrained(**params):
    radii = {"beta_u": 1.0, "beta_w": 0.5, "beta_v": 1.0, "min_eigenvalue": 0.0}
    return make_classifier(**{**radii, **params})


@pytest.fixture(scope="module")
def flat(small):
    X, y = small
    return X.reshape(len(X), -1), y


# Folds by hand


def test_every_fold_is_what_fitting_by_hand_gives(small):
    X, y = small
    grid = {"noise_std": [0.0, 0.1], "beta_w": [0.5, 1.0]}
    clf = constrained(min_eigenvalue="estimate")
    report = cross_validate_bounds(clf, X, y, param_grid=grid, cv=3)
    rows = iter(report.to_frame().to_dict("records"))
    folds = iter(report.folds)
    for noise_std, beta_w in [(0.0, 0.5), (0.1, 0.5), (0.0, 1.0), (0.1, 1.0)]:
        for number, (train, test) in enumerate(StratifiedKFold(3).split(X, y)):
            clf = constrained(noise_std=noise_std, beta_w=beta_w, min_eigenvalue="estimate")
            clf.fit(X[train], y[train])
            expected = clf.bound_report_(X[test], y[test], X_train=X[train], y_train=y[train])
            fold = next(folds)
            assert fold.params == {"noise_std": noise_std, "beta_w": beta_w}
            assert (fold.fold, fold.n_train, fold.n_test) == (number, 40, 20)
            assert fold.failure == ""
            assert fold.fit_time > 0
            assert fold.report == expected
            train_error = np.mean(clf.predict(X[train]) != y[train])
            test_error = np.mean(clf.predict(X[test]) != y[test])
            for bound in expected:
                row = next(rows)
                errors = train_error, test_error
                if bound.name in ("occam", "pac_bayes"):
                    errors = bound.empirical_risk, expected.other_test_errors[bound.name]
                assert row["bound"] == bound.name
                assert row["value"] == bound.value
                assert row["kind"] == bound.kind.replace("plug_in", "plug-in").replace("_", " ")
                assert row["train_error"] == pytest.approx(errors[0])
                assert row["test_error"] == pytest.approx(errors[1])
                assert row["gap"] == pytest.approx(errors[1] - errors[0], abs=1e-12)
                for term in bound.terms:
                    assert row[term.name] == term.value
                assert row["param_noise_std"] == noise_std
                assert row["param_beta_w"] == beta_w
                assert (row["beta_u"], row["beta_w"]) == (clf.beta_u_, clf.beta_w_)
                assert row["beta_v"] == clf.beta_v_
                assert row["fit_time"] == fold.fit_time
                assert row["vacuous"] == (None if bound.kind == "order_only" else bound.vacuous)
    assert next(rows, None) is None
    assert next(folds, None) is None


def test_options_reach_the_report(small):
    X, y = small
    clf = constrained(beta_w=(0.25, 0.5))
    options = {"methods": ("peeling", "trivial"), "margin": 0.25, "delta": 0.2}
    report = cross_validate_bounds(clf, X, y, cv=2, simultaneous=True, **options)
    train, test = next(StratifiedKFold(2).split(X, y))
    clf.fit(X[train], y[train])
    assert report.folds[0].report == clf.bound_report_(
        X[test], y[test], simultaneous=True, **options
    )
    assert report.folds[0].norms["beta_w"] == sum(clf.beta_w_)
    assert report.folds[0].params == {}
    assert "confidence 0.8 for all bounds of each fold" in str(report)


def test_the_estimator_and_its_parameters_are_left_alone(small):
    inner = constrained()
    pipeline = make_pipeline("passthrough", inner)
    other = constrained(hidden_size=3)
    grid = {"rnnboundclassifier": [other], "rnnboundclassifier__beta_w": [0.25]}
    cross_validate_bounds(pipeline, *small, param_grid=grid, cv=2, methods="peeling")
    assert pipeline[-1] is inner
    assert not hasattr(inner, "U_")
    assert not hasattr(other, "U_")
    assert other.beta_w == 0.5


def test_no_fold_goes_on_from_another(small):
    # Under warm_start a second fit of one object would.
    generator = np.random.RandomState(0)
    options = {"cv": 3, "methods": "peeling"}
    warm = cross_validate_bounds(
        constrained(warm_start=True, random_state=generator), *small, **options
    )
    cold = cross_validate_bounds(constrained(random_state=generator), *small, **options)
    assert [fold.report for fold in warm.folds] == [fold.report for fold in cold.folds]


def test_candidates_on_a_single_split_stay_apart(small):
    report = cross_validate_bounds(
        constrained(),
        *small,
        param_grid={"beta_w": [0.25, 1.0]},
        cv=ShuffleSplit(1, random_state=0),
        methods=["peeling"],
    )
    summary = report.summary()
    assert summary["param_beta_w"].tolist() == [0.25, 1.0]
    assert summary["n_folds"].tolist() == [1, 1]
    values = [fold.report["peeling"].value for fold in report.folds]
    assert summary["mean_value"].tolist() == values
    assert summary["se_value"].isna().all()


# Data and splits


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.tolist(),
        lambda X: pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]),
        lambda X: X.astype(np.float32),
    ],
)
def test_lists_frames_and_float32(convert, flat):
    X, y = flat
    clf = constrained(step_size=2)
    report = cross_validate_bounds(clf, convert(X), y.tolist(), cv=2, methods="peeling")
    train, test = next(StratifiedKFold(2).split(X, y))
    rows = [convert(X[part]) for part in (train, test)]
    expected = clf.fit(rows[0], y[train]).bound_report_(rows[1], y[test], methods="peeling")
    assert report.folds[0].report == expected


@pytest.mark.parametrize(
    "cv", [KFold(2, shuffle=True, random_state=1), ShuffleSplit(2, test_size=0.3, random_state=0)]
)
def test_splitters_and_iterables_of_splits(cv, small):
    X, y = small
    splits = list(cv.split(X, y))
    reports = [
        cross_validate_bounds(constrained(), X, y, cv=way, methods=["holdout"])
        for way in (cv, iter(splits))
    ]
    for report in reports:
        for fold, (train, test) in zip(report.folds, splits, strict=True):
            clf = constrained().fit(X[train], y[train])
            assert fold.report.test_error == np.mean(clf.predict(X[test]) != y[test])
            assert (fold.n_train, fold.n_test) == (len(train), len(test))


def test_groups_stay_together(small):
    X, y = small
    groups = np.arange(60) % 4
    report = cross_validate_bounds(
        constrained(), X, y, groups=groups, cv=GroupKFold(4), methods="holdout"
    )
    for fold, (train, test) in zip(report.folds, GroupKFold(4).split(X, y, groups), strict=True):
        assert set(groups[train]).isdisjoint(groups[test])
        expected = constrained().fit(X[train], y[train])
        assert fold.report == expected.bound_report_(X[test], y[test], methods="holdout")
    with pytest.raises(ValueError, match="groups"):
        cross_validate_bounds(constrained(), X, y, cv=GroupKFold(4))


# Metadata


def by_hand(clf, small, weights, cv):
    X, y = small
    reports = []
    for train, test in cv:
        clf = clone(clf).fit(X[train], y[train], sample_weight=weights[train])
        kept = train[weights[train] > 0]
        data = {"X_train": X[kept], "y_train": y[kept]}
        reports.append((clf.bound_report_(X[test], y[test], **data), len(kept)))
    return reports


@pytest.fixture(scope="module")
def weighted(small):
    weights = np.random.default_rng(0).integers(0, 3, 60)
    cv = list(StratifiedKFold(2).split(*small))
    return weights, cv, by_hand(constrained(), small, weights, cv)


def test_weights_without_routing(weighted, small):
    weights, cv, expected = weighted
    pipeline = make_pipeline(FunctionTransformer(), constrained())
    for estimator, name in [
        (constrained(), "sample_weight"),
        (pipeline, "rnnboundclassifier__sample_weight"),
        (make_pipeline("passthrough", pipeline), "pipeline__rnnboundclassifier__sample_weight"),
        (GridSearchCV(pipeline, {}, cv=2), "rnnboundclassifier__sample_weight"),
    ]:
        report = cross_validate_bounds(estimator, *small, cv=cv, params={name: weights})
        assert [(fold.report, fold.n_train) for fold in report.folds] == expected


def test_weights_and_groups_with_routing(weighted, small):
    weights, cv, expected = weighted
    with sklearn.config_context(enable_metadata_routing=True):
        clf = constrained().set_fit_request(sample_weight=True)
        for estimator in (clf, make_pipeline(FunctionTransformer(), clf)):
            report = cross_validate_bounds(
                estimator, *small, cv=cv, params={"sample_weight": weights}
            )
            assert [(fold.report, fold.n_train) for fold in report.folds] == expected
        renamed = make_pipeline(constrained().set_fit_request(sample_weight="importance"))
        report = cross_validate_bounds(renamed, *small, cv=cv, params={"importance": weights})
        assert [(fold.report, fold.n_train) for fold in report.folds] == expected
        scoring = constrained().set_fit_request(sample_weight=False)
        search = GridSearchCV(scoring.set_score_request(sample_weight=True), {}, cv=2)
        report = cross_validate_bounds(search, *small, cv=cv, params={"sample_weight": weights})
        assert [fold.n_train for fold in report.folds] == [30, 30]
        assert not any(fold.failure for fold in report.folds)
        groups = np.arange(60) % 2
        options = {"cv": GroupKFold(2), "methods": "holdout"}
        routed = cross_validate_bounds(clf, *small, params={"groups": groups}, **options)
        plain = cross_validate_bounds(clf, *small, cv=2, methods="holdout")
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            cross_validate_bounds(constrained(), *small, params={"sample_weight": weights})
        with pytest.raises(ValueError, match=r"params=\{'groups': groups\}"):
            cross_validate_bounds(clf, *small, groups=groups, cv=GroupKFold(2))
    unrouted = cross_validate_bounds(constrained(), *small, groups=groups, **options)
    assert [f.report for f in routed.folds] == [f.report for f in unrouted.folds]
    assert [f.report for f in routed.folds] != [f.report for f in plain.folds]


# What surrounds the classifier


def test_a_step_that_learns_makes_estimates_and_a_frozen_one_does_not(flat):
    X, y = flat
    clf = constrained(step_size=2)
    frozen = FrozenEstimator(StandardScaler().fit(X[::-1] + 1))
    for step, kind in [(StandardScaler(), "plug-in"), (frozen, "certified")]:
        report = cross_validate_bounds(
            make_pipeline(step, clf), X, y, cv=2, methods=["peeling", "occam", "holdout"]
        )
        train, test = next(StratifiedKFold(2).split(X, y))
        pipeline = make_pipeline(step, clf).fit(X[train], y[train])
        expected = clone(clf).fit(pipeline[:-1].transform(X[train]), y[train])
        expected = expected.bound_report_(pipeline[:-1].transform(X[test]), y[test])
        assert report.folds[0].report["peeling"].value == expected["peeling"].value
        assert report.folds[0].report.test_error == expected.test_error
        kinds = report.summary().set_index("bound")["kind"]
        assert kinds.to_dict() == {"peeling": kind, "occam": kind, "holdout": "certified"}
        learned = "preprocessing was fitted on the certification sample: StandardScaler"
        assert (learned in str(report)) == (kind == "plug-in")
        assert ("plug-in: in one fold at least" in str(report)) == (kind == "plug-in")


def test_a_search_is_fitted_in_every_fold_and_pays_for_its_choice(small):
    X, y = small
    search = GridSearchCV(constrained(), {"beta_w": [0.25, 0.5, 1.0]}, cv=2)
    report = cross_validate_bounds(
        make_pipeline("passthrough", search), X, y, cv=2, methods=["peeling", "occam"]
    )
    train, test = next(StratifiedKFold(2).split(X, y))
    search.fit(X[train], y[train])
    data = {"X_train": X[train], "y_train": y[train]}
    clf = search.best_estimator_
    for bound in clf.bound_report_(X[test], y[test], **data, delta=0.05 / 3):
        if bound.name in report.folds[0].report:
            found = report.folds[0].report[bound.name]
            assert found.value == bound.value
            assert found.assumptions[-1].endswith("among 3 candidates")
    assert report.folds[0].report == bound_report(
        search, X[test], y[test], **data, methods=["peeling", "occam"]
    )


# Failures


class Interrupt(Callback):
    def on_train_begin(self, net, **kwargs):
        raise KeyboardInterrupt


def one_sided(y):
    """Three splits, the second of which trains on a single class."""
    splits = list(StratifiedKFold(3).split(y, y))
    splits[1] = (np.flatnonzero(y == 0), np.flatnonzero(y == 1))
    return splits


def test_a_failed_fold_is_told_and_not_fatal(small):
    X, y = small
    with pytest.warns(FitFailedWarning, match="1 of 3 fits failed") as caught:
        report = cross_validate_bounds(
            constrained(), X, y, cv=one_sided(y), methods=["peeling"], error_score=7
        )
    (warning,) = [w for w in caught if w.category is FitFailedWarning]
    assert "Traceback" in str(warning.message)
    assert "the number of classes is 1: [0]" in str(warning.message)
    assert warning.filename == __file__
    first, failed, last = report.folds
    assert failed.report is None
    assert failed.norms == {}
    assert failed.failure.startswith("Traceback")
    assert failed.errors_of("peeling") == pytest.approx((np.nan, np.nan), nan_ok=True)
    assert (failed.n_train, failed.n_test) == (20, 20)
    frame = report.to_frame()
    assert frame["kind"].tolist() == ["certified", "failed", "certified"]
    assert frame["value"][1] == 7
    assert frame.loc[1, ["gap", "empirical_risk", "beta_w"]].isna().all()
    summary = report.summary().iloc[0]
    values = [fold.report["peeling"].value for fold in (first, last)]
    assert summary["n_folds"] == 2
    assert summary["mean_value"] == pytest.approx(np.mean(values))
    assert report.rank_correlation()["n_pairs"].tolist() == [2]
    text = " ".join(str(report).split())
    assert "2 of 3" in text
    assert "failed - fold 1: ValueError: y must hold two classes" in text


def test_a_candidate_that_fails_on_every_fold(small):
    with pytest.warns(FitFailedWarning, match="2 of 4 fits failed"):
        report = cross_validate_bounds(
            constrained(), *small, param_grid={"beta_w": [-1.0, 1.0]}, cv=2, methods=METHODS
        )
    summary = report.summary()
    assert summary["n_folds"].tolist() == [0] * 4 + [2] * 4
    assert summary["kind"][:4].tolist() == ["failed"] * 4
    assert summary["mean_value"][:4].isna().all()
    assert report.to_frame()["value"][:8].isna().all()
    # Without an eigenvalue Theorem 2 is infinite.
    assert report.rank_correlation()["n_pairs"].to_dict() == {
        "theorem2": 0,
        "peeling": 1,
        "zhang2018": 1,
        "holdout": 1,
    }
    text = str(report)
    assert "fold 0 and 1, beta_w=-1.0: " in text
    assert "Kendall" not in text
    assert sum(line.strip().startswith("-1.0") for line in text.splitlines()) == 0


def test_a_report_that_fails_keeps_what_the_fit_gave(small):
    X, y = small
    unseen = np.where(np.arange(60) < 20, 7, y)
    splits = [(np.arange(20, 60), np.arange(20)), (np.arange(0, 60, 2), np.arange(1, 60, 2))]
    with pytest.warns(FitFailedWarning, match="y_test: the labels must be among"):
        report = cross_validate_bounds(constrained(), X, unseen, cv=splits, methods="peeling")
    assert report.folds[0].report is None
    assert report.folds[0].norms["beta_w"] == pytest.approx(0.5)


def test_a_bound_that_one_candidate_cannot_have_fails_for_it_alone(small):
    with pytest.warns(FitFailedWarning, match="2 of 4 fits failed"):
        report = cross_validate_bounds(
            constrained(), *small, param_grid={"noise_std": [0.0, 0.1]}, cv=2, methods="theorem3"
        )
    assert [fold.report is None for fold in report.folds] == [True, True, False, False]
    # A search may choose what its estimator lacks.
    search = GridSearchCV(constrained(), {"noise_std": [0.1]}, cv=2)
    report = cross_validate_bounds(search, *small, cv=2, methods="theorem3")
    assert all("theorem3" in fold.report for fold in report.folds)


def test_failures_that_are_raised(small):
    X, y = small
    with pytest.raises(ValueError, match="number of classes is 1"):
        cross_validate_bounds(constrained(), X, y, cv=one_sided(y), error_score="raise")
    with pytest.raises(ValueError, match=r"3 of 3 fits failed, the first with\nTraceback"):
        cross_validate_bounds(constrained(noise_std=-1.0), X, y, cv=3)
    # A number for failures does not swallow what is none.
    with pytest.raises(KeyboardInterrupt):
        cross_validate_bounds(constrained(callbacks=[Interrupt()]), X, y, cv=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": "peling"}, "'peling'.* is unknown"),
        ({"methods": ["peeling", "localized"]}, r"prior=.* and box_width"),
        ({"methods": "theorem3"}, "methods asks .*theorem3 .* noise_std is 0"),
        (
            {
                "estimator": make_pipeline(FunctionTransformer(), constrained(activation="tanh")),
                "param_grid": {"rnnboundclassifier__beta_w": [0.5, 1.0]},
                "methods": ["peeling", "refined"],
            },
            "refined .* such as relu units",
        ),
        (
            {
                "param_grid": {"noise_std": [0.1, 0.0]},
                "methods": "theorem3",
                "error_score": "raise",
            },
            "theorem3 .* noise_std is 0",
        ),
        ({"methods": 3}, "'methods' parameter of cross_validate_bounds"),
        ({"margin": 0.0}, "'margin' parameter"),
        ({"delta": 1.0}, "'delta' parameter"),
        ({"simultaneous": "yes"}, "'simultaneous' parameter"),
        ({"error_score": "ignore"}, "'error_score' parameter"),
        ({"param_grid": []}, "param_grid holds no candidate"),
        ({"param_grid": {"delta": [0.05, 0.1]}}, "must not choose a bound's confidence"),
        ({"param_grid": {"beta_x": [1.0]}}, "Invalid parameter 'beta_x'"),
        ({"estimator": FrozenEstimator(constrained())}, "estimator holds a frozen classifier"),
        (
            {"estimator": GridSearchCV(make_pipeline(FrozenEstimator(constrained())), {})},
            "estimator holds a frozen classifier",
        ),
        (
            {"estimator": GridSearchCV(LogisticRegression(), {})},
            "no RNNBoundClassifier in GridSearchCV",
        ),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
        ({"cv": []}, "cv gives no split"),
        ({"cv": [(range(40), range(39, 60))]}, "cv gives a split with rows in both parts"),
        ({"cv": [(range(40), [40, 41, 40])]}, "cv gives a split that repeats rows"),
        ({"cv": [([0, 1, 1], range(40, 60))]}, "cv gives a split that repeats rows"),
        ({"cv": [([0, 1], [900])]}, "index 900 is out of bounds"),
        ({"cv": 61}, "n_splits=61"),
    ],
)
def test_errors_before_any_work(change, message, small, monkeypatch):
    def fit(self, *args, **kwargs):
        pytest.fail("a fit has begun")

    monkeypatch.setattr(RNNBoundClassifier, "fit", fit)
    monkeypatch.setattr(LogisticRegression, "fit", fit)
    arguments = {"estimator": constrained(), "X": small[0], "y": small[1], **change}
    with pytest.raises((ValueError, IndexError), match=message):
        cross_validate_bounds(**arguments)


def test_splits_of_any_kind_that_numbers_rows(small):
    def value(cv):
        report = cross_validate_bounds(constrained(), *small, cv=cv, methods="holdout")
        return report.folds[0].report["holdout"].value

    first = np.arange(60) % 3 > 0
    expected = value([(np.flatnonzero(first), np.flatnonzero(~first))])
    assert value([(first, ~first)]) == expected
    assert value([(torch.tensor(np.flatnonzero(first)), range(0, 60, 3))]) == expected


def test_progress_is_shown_when_asked_for(small, capsys):
    options = {"param_grid": {"beta_w": [0.5, 1.0]}, "cv": 2, "methods": "peeling"}
    cross_validate_bounds(constrained(), *small, **options)
    assert capsys.readouterr().err == ""
    cross_validate_bounds(constrained(), *small, verbose=1, **options)
    shown = capsys.readouterr().err
    assert "fits: 100%" in shown
    assert "4/4" in shown
