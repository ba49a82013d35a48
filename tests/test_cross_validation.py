"""Cross-validated bounds against folds fitted by hand, plain NumPy and counted pairs."""

import itertools
import sys

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

from sklearn_rnnbound import (
    Bound,
    BoundReport,
    RNNBoundClassifier,
    StackedGridSearchCV,
    Term,
)
from sklearn_rnnbound.composition import Composition
from sklearn_rnnbound.cross_validation import cross_validate_bounds
from sklearn_rnnbound.fold_reports import CrossValidatedBoundReport, FoldReport, _kendall

GRID = {"noise_std": [0.0, 0.1], "beta_w": [0.5, 1.0]}
METHODS = ["paper", "peeling", "zhang2018", "holdout"]


def constrained(**params):
    radii = {"beta_u": 1.0, "beta_w": 0.5, "beta_v": 1.0, "min_eigenvalue": 0.0}
    return make_classifier(**{**radii, **params})


@pytest.fixture(scope="module")
def flat(small):
    X, y = small
    return X.reshape(len(X), -1), y


@pytest.fixture(scope="module")
def gridded(small):
    """Four candidates on three folds, with every bound."""
    clf = constrained(min_eigenvalue="estimate")
    return cross_validate_bounds(clf, *small, param_grid=GRID, cv=3)


# Folds by hand


def test_every_fold_is_what_fitting_by_hand_gives(gridded, small):
    X, y = small
    frame = gridded.to_frame()
    rows = iter(frame.to_dict("records"))
    folds = iter(gridded.folds)
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


def test_columns_of_the_frame(gridded):
    assert gridded.to_frame().columns.tolist() == [
        *("param_beta_w", "param_noise_std", "fold", "n_train", "n_test", "bound", "value"),
        *("kind", "network", "train_error", "test_error", "gap"),
        *("empirical_risk", "linear", "difference", "complexity", "order"),
        *("monte_carlo", "kl", "noise", "confidence"),
        *("margin", "vacuous", "beta_u", "beta_w", "beta_v", "fit_time"),
    ]
    assert set(gridded.to_frame()["network"]) == {"trained", "rounded", "randomised"}


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


def test_two_jobs_equal_one_bit_for_bit(gridded, small):
    clf = constrained(min_eigenvalue="estimate")
    parallel = cross_validate_bounds(clf, *small, param_grid=GRID, cv=3, n_jobs=2)
    frames = (r.to_frame().drop(columns="fit_time") for r in (gridded, parallel))
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert str(gridded) == str(parallel)


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
    assert report.folds[0].report == Composition.of(search).bound_report(
        X[test], y[test], **data, methods=["peeling", "occam"]
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
    assert "y must hold two classes or more, but has one class: 0" in str(warning.message)
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
    with pytest.warns(FitFailedWarning, match="y_test holds none of the labels"):
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
    with pytest.raises(ValueError, match="has one class"):
        cross_validate_bounds(constrained(), X, y, cv=one_sided(y), error_score="raise")
    with pytest.raises(ValueError, match=r"3 of 3 fits failed, the first with\nTraceback"):
        cross_validate_bounds(constrained(noise_std=-1.0), X, y, cv=3)
    # A number for failures does not swallow what is none.
    with pytest.raises(KeyboardInterrupt):
        cross_validate_bounds(constrained(callbacks=[Interrupt()]), X, y, cv=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": "peling"}, "'peling' is unknown"),
        ({"methods": ["peeling", "all"]}, r"methods\[1\]='all' is unknown"),
        ({"methods": []}, r"methods=\[\] asks for no bound"),
        ({"methods": ["peeling", "localized"]}, r"'localized' needs prior=.* and box_width"),
        ({"methods": "theorem3"}, "methods asks .*'theorem3' needs noise_std > 0"),
        (
            {
                "estimator": make_pipeline(FunctionTransformer(), constrained(activation="tanh")),
                "param_grid": {"rnnboundclassifier__beta_w": [0.5, 1.0]},
                "methods": ["peeling", "refined"],
            },
            "'refined' needs activation='relu'",
        ),
        (
            {
                "param_grid": {"noise_std": [0.1, 0.0]},
                "methods": "theorem3",
                "error_score": "raise",
            },
            "'theorem3' needs noise_std > 0",
        ),
        ({"methods": 3}, "'methods' parameter of cross_validate_bounds"),
        ({"margin": 0.0}, "'margin' parameter"),
        ({"margin": True}, "'margin' parameter"),
        ({"margin": 10**400}, "'margin' parameter"),
        ({"delta": 1.0}, "'delta' parameter"),
        ({"delta": np.longdouble("1e-4000")}, "'delta' parameter"),
        ({"simultaneous": "yes"}, "'simultaneous' parameter"),
        ({"error_score": "ignore"}, "'error_score' parameter"),
        ({"param_grid": []}, "param_grid holds no candidate"),
        ({"param_grid": {"beta_x": [1.0]}}, "Invalid parameter 'beta_x'"),
        ({"estimator": LogisticRegression()}, "no RNNBoundClassifier in LogisticRegression"),
        (
            {"estimator": GridSearchCV(LogisticRegression(), {})},
            "no RNNBoundClassifier in LogisticRegression",
        ),
        ({"estimator": FrozenEstimator(constrained())}, "estimator holds a frozen classifier"),
        (
            {"estimator": GridSearchCV(make_pipeline(FrozenEstimator(constrained())), {})},
            "estimator holds a frozen classifier",
        ),
        (
            {"estimator": make_pipeline(StandardScaler(), LogisticRegression())},
            "no RNNBoundClassifier in LogisticRegression",
        ),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
        ({"cv": []}, "cv gives no split"),
        ({"cv": [(range(40), range(39, 60))]}, "cv gives a split with rows in both parts"),
        ({"cv": [(range(40), [40, 41, 40])]}, "cv gives a split that repeats rows"),
        ({"cv": [([0, 1, 1], range(40, 60))]}, "cv gives a split that repeats rows"),
        ({"cv": [([0, 1], [900])]}, "cv gives a split of rows that X, with 60, has not"),
        (
            {"cv": [(range(31, 61), range(30))], "params": {"sample_weight": np.ones(60)}},
            "cv gives a split of rows that X, with 60, has not",
        ),
        ({"cv": [(3, range(30, 60))]}, "cv must give pairs of one-dimensional arrays"),
        ({"cv": [(np.arange(30.0), [40])]}, "cv must give pairs of one-dimensional arrays"),
        ({"cv": 61}, "n_splits=61"),
    ],
)
def test_errors_before_any_work(change, message, small, monkeypatch):
    def fit(self, *args, **kwargs):
        pytest.fail("a fit has begun")

    monkeypatch.setattr(RNNBoundClassifier, "fit", fit)
    monkeypatch.setattr(LogisticRegression, "fit", fit)
    arguments = {"estimator": constrained(), "X": small[0], "y": small[1], **change}
    with pytest.raises((ValueError, TypeError), match=message):
        cross_validate_bounds(**arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda X, y, cv: cross_validate_bounds(constrained(), X, y, cv=cv),
        lambda X, y, cv: StackedGridSearchCV(constrained(), {}, cv=cv).fit(X, y),
    ],
)
def test_errors_of_a_generator_of_splits_are_its_own(call, small):
    with pytest.raises(ValueError, match=r"^n_splits=50 cannot be greater"):
        call(*small, StratifiedKFold(50).split(*small))


def test_splits_of_any_kind_that_numbers_rows(small):
    def values(cv):
        report = cross_validate_bounds(constrained(), *small, cv=cv, methods="holdout")
        search = StackedGridSearchCV(constrained(), {}, cv=cv).fit(*small)
        return report.folds[0].report["holdout"].value, search.best_score_

    first = np.arange(60) % 3 > 0
    expected = values([(np.flatnonzero(first), np.flatnonzero(~first))])
    assert values([(first, ~first)]) == expected
    assert values([(torch.tensor(np.flatnonzero(first)), range(0, 60, 3))]) == expected


# Summaries


def test_means_and_standard_errors(gridded):
    summary = gridded.summary()
    frame = gridded.to_frame()
    names = dict.fromkeys(frame["bound"])
    assert len(summary) == 4 * len(names) - 2  # theorem3 needs noise
    for row in summary.to_dict("records"):
        chosen = (
            (frame["bound"] == row["bound"])
            & (frame["param_noise_std"] == row["param_noise_std"])
            & (frame["param_beta_w"] == row["param_beta_w"])
        )
        assert row["n_folds"] == chosen.sum() == 3
        for column in [name[5:] for name in row if name.startswith("mean_")]:
            a, b, c = frame.loc[chosen, column]
            mean = (a + b + c) / 3
            variance = ((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2
            expected = mean, (variance / 3) ** 0.5
            found = row[f"mean_{column}"], row[f"se_{column}"]
            assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def counted_tau(x, y):
    """Kendall's tau-b by counting pairs."""
    score = ties_x = ties_y = total = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        sign_x, sign_y = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        score += sign_x * sign_y
        ties_x += sign_x == 0
        ties_y += sign_y == 0
        total += 1
    return score / ((total - ties_x) * (total - ties_y)) ** 0.5


def test_rank_correlation_over_candidates(gridded):
    table = gridded.rank_correlation()
    for name, rows in gridded.summary().groupby("bound"):
        gaps = rows["mean_gap"].round(9).to_numpy()
        values = rows["mean_value"].to_numpy()
        assert table.loc[name, "n_pairs"] == len(rows)
        if len(set(gaps)) > 1 and len(set(values)) > 1:
            assert table.loc[name, "tau"] == pytest.approx(counted_tau(values, gaps))
        else:
            assert np.isnan(table.loc[name, "tau"])
    # The order of growth is compared with itself, which is what a rank correlation asks for.
    assert "zhang2018" in table.index


@pytest.mark.parametrize("confidence", [0, 1.0, True, "0.9", 10**400, np.nan, None])
def test_a_confidence_is_a_number_between_0_and_1(confidence):
    with pytest.raises(ValueError, match=r"'confidence' parameter of .*rank_correlation must be"):
        folds_of([(1.0, 0.1), (2.0, 0.2)]).rank_correlation(confidence=confidence)


def report_of(value, test_error, *, kind="certified", train_error=0.0, name="peeling", notes=()):
    terms = (Term("empirical_risk", value - 0.25, "n^0"), Term("confidence", 0.25, "n^-1/2"))
    bound = Bound(name, value, kind, terms, 1.0, 0.05, ("i.i.d.", *notes), value >= 1, "why")
    return BoundReport((bound,), train_error, test_error, 0.05, omitted=("x needs y",))


def fold_of(report, fold=0, failure="", **params):
    norms = {"beta_u": 1.0, "beta_w": 2.0, "beta_v": 3.0}
    return FoldReport(params, fold, 8, 4, 0.5, norms if report else {}, report, failure)


def folds_of(points, **options):
    return CrossValidatedBoundReport(
        tuple(fold_of(report_of(*point, **options), k) for k, point in enumerate(points))
    )


def test_rank_correlation_over_folds():
    points = [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2), (4.0, 0.4), (np.inf, 0.5), (4.0, 0.7)]
    row = folds_of(points).rank_correlation().loc["peeling"]
    x, y = zip(*(point for point in points if np.isfinite(point[0])), strict=True)
    assert row["n_pairs"] == 5
    assert row["tau"] == pytest.approx(counted_tau(x, y))
    # The ends solve (tau - t)^2 = z^2 2 (1 - t^2) / n.
    z, tau = 1.959963984540054, row["tau"]
    lower, upper = sorted(np.roots([1 + 2 * z**2 / 5, -2 * tau, tau**2 - 2 * z**2 / 5]))
    assert (row["lower"], row["upper"]) == pytest.approx((lower, upper))
    narrower = folds_of(points).rank_correlation(confidence=0.5).loc["peeling"]
    assert lower < narrower["lower"] < tau < narrower["upper"] < upper
    with pytest.raises(ValueError, match="'confidence' parameter"):
        folds_of(points).rank_correlation(confidence=95)


def test_equal_gaps_are_ties_whatever_their_rounding():
    gaps = [(0.3, 0.1), (0.4, 0.2), (0.5, 0.3), (0.6, 0.4)]
    assert len({a - b for a, b in gaps}) > 1
    folds = tuple(
        fold_of(report_of(1.0 + k, test, train_error=train), k)
        for k, (test, train) in enumerate(gaps)
    )
    assert np.isnan(CrossValidatedBoundReport(folds).rank_correlation()["tau"].item())


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1.0, 0.1)], (np.nan, np.nan, np.nan, 1)),
        ([(1.0, 0.1), (1.0, 0.2)], (np.nan, np.nan, np.nan, 2)),
        ([(1.0, 0.1), (2.0, 0.2), (np.inf, 0.3)], (1.0, -1.0, 1.0, 2)),
        ([(np.inf, 0.1), (np.inf, 0.2)], (np.nan, np.nan, np.nan, 0)),
    ],
)
def test_rank_correlation_of_few_pairs(points, expected):
    row = folds_of(points).rank_correlation().loc["peeling"]
    assert tuple(row) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("n_pairs", [4, 6, 12])
@pytest.mark.parametrize("tau", [0.0, 0.5, 0.9])
def test_the_interval_covers_tau_for_normal_and_other_laws(tau, n_pairs):
    rng = np.random.default_rng(0)
    n_rounds = 300
    correlation = np.sin(np.pi * tau / 2)
    x, noise = rng.normal(size=(2, n_rounds, n_pairs))
    normal = correlation * x + np.sqrt(1 - correlation**2) * noise
    # y = x on a share s and y = -x on the rest: pairs of one sort are in one order, pairs of both
    # sorts in either, so tau = s^2 - (1 - s)^2 = 2 s - 1.
    mixed = np.where(rng.random((n_rounds, n_pairs)) < (1 + tau) / 2, x, -x)
    for y in (normal, mixed):
        intervals = [_kendall(np.transpose(pairs), 0.9) for pairs in zip(x, y, strict=True)]
        covered = [i["lower"] <= tau <= i["upper"] for i in intervals]
        assert np.mean(covered) >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / n_rounds)


# Text, HTML, LaTeX


def test_the_weakest_kind_of_the_folds_is_shown():
    kinds = ["certified", "plug_in", "order_only"]
    for weakest, shown in [(1, "plug-in"), (2, "order only")]:
        for order in itertools.permutations(kinds[: weakest + 1]):
            folds = [fold_of(report_of(0.5, 0.1, kind=kind), k) for k, kind in enumerate(order)]
            report = CrossValidatedBoundReport(tuple(folds))
            assert report.summary()["kind"].tolist() == [shown]
            row = str(report).splitlines()[4]
            assert row.split()[1:3] == [*shown.split(), "trained"][:2]
            assert "certified" not in row


@pytest.fixture
def told():
    """Two candidates on three folds, with a failure and a bound of two kinds."""
    hostile = "<b>&_"
    folds = [
        fold_of(report_of(0.75, 0.5, train_error=0.25, notes=("a = 1",)), 0, name=hostile),
        fold_of(report_of(1.25, 0.5, train_error=0.25, notes=("a = 2",)), 1, name=hostile),
        fold_of(None, 2, "Traceback\nValueError: no <luck>", name=hostile),
        *(fold_of(report_of(2.0, 0.25, kind="plug_in"), k, name=None) for k in range(3)),
    ]
    return CrossValidatedBoundReport(tuple(folds))


def test_text(told):
    assert str(told).splitlines() == [
        "Cross-validated bounds on P[error], 3 folds of 2 candidates, at confidence 0.95 for each "
        "bound of each fold; mean ± standard error",
        "",
        "param_name  bound    kind       network   folds     value  empirical risk  train error  "
        "test error       gap",
        "-" * 108,
        "     <b>&_  peeling  certified  trained  2 of 3  1 ± 0.25     0.75 ± 0.25     0.25 ± 0  "
        "   0.5 ± 0  0.25 ± 0",
        "         -  peeling  plug-in    trained  3 of 3     2 ± 0        1.75 ± 0        0 ± 0  "
        "  0.25 ± 0  0.25 ± 0",
        "",
        "how to read",
        "  - gap: test error less train error of the network that the bound speaks of",
        "  - a bound of a fold holds for the network of that fold; folds share samples, so means "
        "and",
        "    standard errors describe and bound nothing",
        "  - choosing a candidate by this table costs confidence that no bound in it pays; certify "
        "and",
        "    BoundSearch pay it",
        "  - plug-in: in one fold at least, an estimate stands for a population quantity",
        "",
        "failed",
        "  - fold 2, name=<b>&_: ValueError: no <luck>",
        "",
        "assumed by all",
        "  - i.i.d.",
        "",
        "peeling",
        "  - further lines differ from fit to fit: see the reports of the folds",
        "",
        "left out",
        "  - x needs y",
    ]
    assert repr(told) == str(told)


def test_text_has_the_rank_correlations():
    report = folds_of([(1.0, 0.1), (2.0, 0.3), (3.0, 0.2), (4.0, 0.4)])
    lines = str(report).splitlines()
    start = lines.index("Kendall's tau between bound and gap over the folds, 95 % interval")
    row = report.rank_correlation().loc["peeling"]
    assert lines[start + 2].split() == ["bound", "tau", "lower", "upper", "n", "pairs"]
    numbers = [f"{row[name]:.4g}" for name in ("tau", "lower", "upper")]
    assert lines[start + 4].split() == ["peeling", *numbers, "4"]
    assert "choosing a candidate" not in str(report)


def test_text_of_infinite_bounds_and_single_folds():
    report = folds_of([(np.inf, 0.5), (1.0, 0.5)])
    assert str(report).splitlines()[4].split()[3:7] == ["2", "of", "2", "inf"]
    summary = report.summary().iloc[0]
    assert summary["mean_value"] == np.inf
    assert np.isnan(summary["se_value"])
    single = folds_of([(1.0, 0.5)])
    assert "±" not in str(single).splitlines()[4]


def test_html_escapes(told):
    html = told._repr_html_()
    assert "&lt;b&gt;&amp;_" in html
    assert "<b>&_" not in html
    assert "no &lt;luck&gt;" in html
    assert "1 ± 0.25" in html
    assert "plug-in" in html
    assert "Kendall" in folds_of([(1.0, 0.1), (2.0, 0.3)])._repr_html_()


def test_latex_escapes(told):
    latex = told.to_latex()
    assert r"<b>\&\_ & peeling & certified & trained & 2 of 3 & 1 $\pm$ 0.25 &" in latex
    assert r"param\_name" in latex
    assert r"\toprule" in latex
    assert "±" not in latex


def test_without_pandas_and_jinja2(told, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for method in ("to_frame", "summary", "rank_correlation", "to_latex"):
        with pytest.raises(ImportError, match=rf"{method} needs pandas.*\[tables\]"):
            getattr(told, method)()
    assert told._repr_html_() is None
    assert "peeling" in str(told)


def test_a_report_without_bounds(small):
    report = CrossValidatedBoundReport((fold_of(BoundReport((), 0.0, 0.5, 0.05)),))
    assert "no bound applies" in str(report)
    assert "confidence 0.95" in str(report)
    assert len(report.to_frame()) == len(report.summary()) == len(report.rank_correlation()) == 0
    assert "tabular" in report.to_latex()


def test_progress_is_shown_when_asked_for(small, capsys):
    options = {"param_grid": {"beta_w": [0.5, 1.0]}, "cv": 2, "methods": "peeling"}
    cross_validate_bounds(constrained(), *small, **options)
    assert capsys.readouterr().err == ""
    cross_validate_bounds(constrained(), *small, verbose=1, **options)
    shown = capsys.readouterr().err
    assert "fits: 100%" in shown
    assert "4/4" in shown


def test_plot_draws_the_means_over_folds(small):
    grid = {"noise_std": [0.0, 0.1, 0.2]}
    report = cross_validate_bounds(
        make_classifier(max_iter=2, min_eigenvalue=0.0),
        *small,
        cv=2,
        param_grid=grid,
        methods=["trivial"],
    )
    means = [
        np.mean([fold.report["trivial"].value for fold in report.folds if fold.params == params])
        for params in ({"noise_std": value} for value in grid["noise_std"])
    ]
    lines = [line for ax in np.ravel(report.plot().ax_) for line in ax.get_lines()]
    drawn = [line.get_ydata() for line in lines if len(line.get_ydata()) == 3]
    assert any(np.allclose(line, means) for line in drawn)
