"""StackedGridSearchCV against GridSearchCV, which fits candidates and folds one by one."""

import gc
import inspect
import pickle
import weakref
from copy import deepcopy
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from conftest import make_classifier
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.exceptions import FitFailedWarning, NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from skorch.callbacks import Callback, EpochTimer

from sklearn_rnnbound import (
    RNNBoundClassifier,
    StackedGridSearchCV,
    certify,
    classifier,
    cross_validate_bounds,
    make_bound_scorer,
    neg_bound_scorer,
    parallel,
    stacked_search,
)
from sklearn_rnnbound.preprocessing import SequenceScaler

SCORING = ["accuracy", "neg_log_loss"]
TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


@pytest.fixture
def stacks(monkeypatch):
    """Sizes of the stacks that are trained from now on, in this process."""
    sizes = []
    train = stacked_search.train

    def recorded(trainings, **options):
        sizes.append(len(trainings))
        return train(trainings, **options)

    monkeypatch.setattr(stacked_search, "train", recorded)
    return sizes


def search_both(estimator, grid, X, y, fit_params=None, **options):
    """A plain and a stacked search, after their results have been found the same."""
    options = {"cv": 3, "scoring": SCORING, "refit": "accuracy", **options}
    plain, stacked = (
        kind(estimator, grid, **options).fit(X, y, **(fit_params or {}))
        for kind in (GridSearchCV, StackedGridSearchCV)
    )
    assert_same_results(plain, stacked)
    return plain, stacked


def public(estimator):
    return {name for name in vars(estimator) if not name.startswith("_")}


def assert_same_results(plain, stacked):
    assert public(stacked) == public(plain)
    expected, results = plain.cv_results_, stacked.cv_results_
    assert list(results) == list(expected)
    for name, values in expected.items():
        if name.startswith("param_"):
            # None stands for what is masked.
            assert repr(results[name].tolist()) == repr(values.tolist())
            assert results[name].dtype == values.dtype
        elif name == "params":
            assert list(map(repr, results[name])) == list(map(repr, values))
        elif name not in TIMES:
            np.testing.assert_allclose(results[name], values, rtol=0, atol=1e-12, err_msg=name)
    for name in ("best_index_", "n_splits_", "multimetric_"):
        assert getattr(stacked, name, None) == getattr(plain, name, None)
    assert repr(getattr(stacked, "best_params_", None)) == repr(
        getattr(plain, "best_params_", None)
    )


GRIDS = {
    "noise": ({"noise_std": [0.0, 0.1], "noise": ["gaussian", "laplace"]}, [12]),
    "radii": ({"beta_w": [None, 0.5, (0.5, 0.2)], "beta_u": [None, 0.7]}, [18]),
    "types": ({"unit_types": [1, 2], "beta_v": [None, 1.0]}, [12]),
    "steps": ({"learning_rate": [0.003, 0.03], "weight_decay": [0.0, 0.01]}, [12]),
    "epochs": ({"max_iter": [1, 5, 9], "tol": [0.0, 1.0], "n_iter_no_change": [1, 3]}, [36]),
    "clipping": ({"gradient_clip_norm": [None, 0.1], "gradient_clip_value": [None, 0.01]}, [12]),
    "seeds": ({"random_state": [0, np.int64(1)], "shuffle": [True, False]}, [12]),
    "weights": ({"class_weight": [None, "balanced", {0: 2.0, 1: 1.0, 2: 0.5}]}, [9]),
    "norm": ({"fisher_rao_max": [None, 0.5]}, [6]),
    # Rows of the folds: 40, and 36 of them with a validation part.
    "validation": ({"early_stopping": [False, True], "batch_size": [20]}, [6]),
    "minibatches": ({"batch_size": [7, 20, "auto"]}, [3, 3, 3]),
    "shapes": ([{"hidden_size": [4, 6]}, {"activation": ["tanh"], "noise_std": [0.1]}], [3, 3, 3]),
    "losses": ([{"loss": ["ramp"], "margin": [0.5, 1.0]}, {"optimizer": ["sgd"]}], [3, 3, 3]),
    "default": ({}, [3]),
}


@pytest.mark.parametrize("name", GRIDS)
def test_results_are_those_of_a_plain_search(name, small, stacks):
    X, y = small
    grid, sizes = GRIDS[name]
    clf = make_classifier(batch_size=16, min_eigenvalue=0.0)
    plain, stacked = search_both(clf, grid, X, y, return_train_score=True)
    assert sorted(stacks) == sizes
    for weight in ("U_", "W_", "V_"):
        np.testing.assert_array_equal(
            getattr(stacked.best_estimator_, weight), getattr(plain.best_estimator_, weight)
        )
    np.testing.assert_array_equal(stacked.predict_proba(X), plain.predict_proba(X))
    assert stacked.score(X, y) == plain.score(X, y)


def test_priors_and_boxes(small, stacks):
    X, y = small
    prior = FrozenEstimator(make_classifier(random_state=1).fit(X[::2], y[::2]))
    grid = [{"prior": [None, prior]}, {"prior": [prior], "box_width": [0.1, 1.0]}]
    search_both(make_classifier(), grid, X[1::2], y[1::2])
    assert stacks == [12]


@pytest.mark.parametrize(
    ("cv", "n_folds"),
    [
        (4, 4),
        (KFold(7, shuffle=True, random_state=0), 7),
        (ShuffleSplit(3, test_size=0.3, random_state=0), 3),
        ([([*range(0, 59, 2)], [*range(1, 59, 2)]), (np.arange(59) % 3 > 0, [0, 21, 42])], 2),
    ],
)
def test_folds_of_all_kinds(cv, n_folds, small, stacks):
    # 59 rows: folds, and last minibatches, differ in size.
    X, y = (part[:59] for part in small)
    search_both(make_classifier(batch_size=10), {"noise_std": [0.0, 0.1]}, X, y, cv=cv)
    assert sum(stacks) == 2 * n_folds


def test_groups(small):
    X, y = small
    groups = np.arange(60) % 7
    search_both(
        make_classifier(), {"beta_w": [0.5, 1.0]}, X, y, {"groups": groups}, cv=GroupKFold()
    )
    with sklearn.config_context(enable_metadata_routing=True):
        search_both(
            make_classifier(), {"beta_w": [0.5, 1.0]}, X, y, {"groups": groups}, cv=GroupKFold(3)
        )


class Resplit:
    """Two splits that are others at every call."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def get_n_splits(self, X=None, y=None, groups=None):
        return 2

    def split(self, X, y=None, groups=None):
        for _ in range(2):
            train = np.sort(self.rng.permutation(len(X))[:40])
            yield train, np.setdiff1d(np.arange(len(X)), train)


def test_an_estimator_is_scored_on_the_rows_that_it_has_not_seen(small):
    X, y = small
    n_scored = 0

    def rows_are_the_others(estimator, X_test, y_test):
        nonlocal n_scored
        n_scored += 1
        seen = ~(X[:, None] == X_test).all((2, 3)).any(1)
        again = clone(estimator).fit(X[seen], y[seen])
        np.testing.assert_allclose(estimator.W_, again.W_, rtol=0, atol=1e-12)
        return estimator.noise_std

    search = StackedGridSearchCV(
        make_classifier(),
        {"noise_std": [0.0, 0.2, 0.1]},
        cv=Resplit(),
        scoring=rows_are_the_others,
        error_score="raise",
    ).fit(X, y)
    assert n_scored == 6
    # The scores tell the candidates apart: each is in its own row.
    assert search.cv_results_["mean_test_score"].tolist() == [0.0, 0.2, 0.1]
    assert search.best_params_ == {"noise_std": 0.2}


@pytest.mark.parametrize("convert", [np.ndarray.tolist, lambda X: (10 * X).astype(int)])
def test_other_types_of_data(convert, small, stacks):
    X, y = small
    names = np.array(["a", "b", "c"])[y].tolist()
    search_both(make_classifier(), {"noise_std": [0.0, 0.1]}, convert(X), names)
    assert stacks == [6]


def test_data_frames_keep_their_names(small):
    X, y = small
    frame = pd.DataFrame(X.reshape(60, 10), columns=list("abcdefghij"))
    grid = {"step_size": [2, 5], "beta_w": [0.5, 1.0]}
    _, search = search_both(make_classifier(), grid, frame, y)
    assert list(search.feature_names_in_) == list(frame.columns)


def test_scores_in_float32_agree_within_a_standard_error(digits):
    X, y = digits[0][:400].astype(np.float32), digits[2][:400]
    clf = make_classifier(hidden_size=16, max_iter=15, batch_size=50, learning_rate=0.01)
    plain, stacked = (
        kind(clf, {"noise_std": [0.0, 0.5, 2.0]}, cv=4, refit=False).fit(X, y).cv_results_
        for kind in (GridSearchCV, StackedGridSearchCV)
    )
    error = plain["std_test_score"] / 3**0.5
    assert (abs(stacked["mean_test_score"] - plain["mean_test_score"]) <= error).all()
    assert plain["mean_test_score"].max() > 0.5


# Pipelines


class Shift(TransformerMixin, BaseEstimator):
    """Centres X, and counts its fits."""

    n_fits = 0

    def __init__(self, by=0.0):
        self.by = by

    def fit(self, X, y):
        Shift.n_fits += 1
        assert len(X) == len(y)
        self.mean_ = X.mean((0, 1)) + self.by
        return self

    def transform(self, X):
        return X - self.mean_


def test_scalers_in_a_pipeline(small, stacks):
    grid = {
        "sequencescaler__with_mean": [True, False],
        "rnnboundclassifier__noise_std": [0.0, 0.3],
    }
    search_both(make_pipeline(SequenceScaler(), make_classifier()), grid, *small)
    assert stacks == [12]


def test_earlier_steps_are_fitted_once_for_a_fold_and_their_parameters(small):
    pipeline = make_pipeline("passthrough", Shift(), None, make_classifier())
    grid = {"shift__by": [0.0, 1.0], "rnnboundclassifier__beta_w": [0.5, 0.8, 1.0]}
    search_both(pipeline, grid, *small)
    Shift.n_fits = 0
    StackedGridSearchCV(pipeline, grid, cv=3, refit=False).fit(*small)
    assert Shift.n_fits == 6


def test_steps_that_no_hash_tells_apart_are_shared_all_the_same(small):
    pipeline = make_pipeline(FunctionTransformer(lambda X: X / 2), Shift(), make_classifier())
    grid = {"rnnboundclassifier__beta_w": [0.5, 0.8]}
    Shift.n_fits = 0
    StackedGridSearchCV(pipeline, grid, cv=3, refit=False).fit(*small)
    assert Shift.n_fits == 3


def test_steps_may_be_exchanged(small, stacks):
    pipeline = Pipeline([("scale", Shift()), ("net", make_classifier())])
    grid = [
        {"scale": [SequenceScaler(), Shift(1.0), "passthrough"]},
        {"net": [make_classifier(hidden_size=3), make_classifier(beta_w=0.5)]},
        {"scale": [FunctionTransformer(np.tanh)], "net__noise_std": [0.1, 0.2]},
    ]
    _, search = search_both(pipeline, grid, *small)
    assert sorted(stacks) == [3, 18]
    # The values of the grid are no one's: they stay unfitted.
    assert not hasattr(grid[0]["scale"][1], "mean_")
    assert not hasattr(grid[1]["net"][0], "classes_")
    assert search.best_estimator_["net"].n_iter_ == 8


def test_a_pipeline_with_memory_fills_and_uses_its_cache(small, tmp_path):
    pipeline = make_pipeline(Shift(), make_classifier(), memory=str(tmp_path))
    grid = {"rnnboundclassifier__beta_w": [0.5, 1.0]}
    search_both(pipeline, grid, *small)
    Shift.n_fits = 0
    StackedGridSearchCV(pipeline, grid, cv=3, refit=False).fit(*small)
    assert Shift.n_fits == 0


def test_pipelines_in_pipelines_and_unions(small, stacks):
    X, y = small
    union = FeatureUnion([("same", StandardScaler()), ("half", FunctionTransformer(np.sqrt))])
    search_both(
        make_pipeline(FunctionTransformer(), make_pipeline(Shift(), make_classifier())),
        {"pipeline__rnnboundclassifier__beta_w": [0.5, 1.0]},
        X,
        y,
    )
    assert stacks == []
    search_both(
        make_pipeline(union, make_classifier(step_size=4)),
        {"rnnboundclassifier__beta_w": [0.5, 1.0]},
        abs(X.reshape(60, 10)),
        y,
    )
    assert stacks == [6]


# Parameters of fit


@pytest.fixture
def weights():
    """Weights with zeros, whose rows a fit leaves out."""
    return np.random.default_rng(0).integers(0, 4, 60).astype(float)


GRID = {"noise_std": [0.0, 0.1], "early_stopping": [False, True]}


def test_weights_of_the_samples(small, weights, stacks):
    X, y = small
    plain, _ = search_both(make_classifier(), GRID, X, y, {"sample_weight": weights})
    assert sum(stacks) == 12
    unweighted = GridSearchCV(make_classifier(), GRID, cv=3, scoring="neg_log_loss").fit(X, y)
    scores = plain.cv_results_["mean_test_neg_log_loss"]
    assert (abs(scores - unweighted.cv_results_["mean_test_score"]) > 1e-6).all()


def test_weights_for_the_last_step_of_a_pipeline(small, weights, stacks):
    grid = {f"net__{name}": values for name, values in GRID.items()}
    pipeline = Pipeline([("scale", SequenceScaler()), ("net", make_classifier())])
    search_both(pipeline, grid, *small, {"net__sample_weight": weights})
    assert sum(stacks) == 12


class WeightedShift(Shift):
    def fit(self, X, y, sample_weight=None):
        self.mean_ = np.average(X, axis=0, weights=sample_weight)
        return self


def test_weights_for_earlier_steps_are_passed_on(small, weights, stacks):
    pipeline = Pipeline([("shift", WeightedShift()), ("net", make_classifier())])
    grid = {"net__noise_std": [0.0, 0.1]}
    search_both(pipeline, grid, *small, {"shift__sample_weight": weights})
    with sklearn.config_context(enable_metadata_routing=True):
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        options = {"scoring": scoring, "refit": True}
        pipeline["shift"].set_fit_request(sample_weight=True)
        pipeline["net"].set_fit_request(sample_weight=True)
        search_both(pipeline, grid, *small, {"sample_weight": weights}, **options)
        assert stacks == []
        pipeline["shift"].set_fit_request(sample_weight=False)
        search_both(pipeline, grid, *small, {"sample_weight": weights}, **options)
        assert stacks == [6]


def test_routed_weights_under_another_name_and_in_the_scores(small, weights):
    scorer = make_scorer(accuracy_score)
    with sklearn.config_context(enable_metadata_routing=True):
        search_both(
            make_classifier().set_fit_request(sample_weight="importance"),
            GRID,
            *small,
            {"importance": weights, "test_weight": weights + 1},
            scoring={"acc": scorer.set_score_request(sample_weight="test_weight")},
            refit="acc",
        )
        with pytest.raises(ValueError, match=r"is used within StackedGridSearchCV\.fit"):
            StackedGridSearchCV(make_classifier(), GRID).fit(*small, sample_weight=weights)


def test_parameters_that_fit_does_not_know_fail(small):
    with pytest.raises(ValueError, match="unexpected keyword argument 'speed'"):
        StackedGridSearchCV(make_classifier(), GRID).fit(*small, speed=3)


# Scores and the best candidate


def fastest(results):
    return int(np.argmin(results["mean_fit_time"]))


def first(results):
    assert {"mean_test_accuracy", "mean_fit_time", "params"} <= results.keys()
    return 1


def two_scores(estimator, X, y):
    return {"accuracy": estimator.score(X, y), "size": float(estimator.hidden_size)}


@pytest.mark.parametrize(
    "options",
    [
        {"scoring": None, "refit": True},
        {"scoring": None, "refit": False},
        {"scoring": "accuracy", "refit": True},
        {"scoring": {"a": "accuracy", "b": None, "c": neg_bound_scorer}, "refit": "c"},
        {"scoring": ["accuracy", "f1_macro"], "refit": first},
        {"scoring": ["accuracy", "f1_macro"], "refit": False},
        {"scoring": two_scores, "refit": "size"},
        {"scoring": neg_bound_scorer, "refit": True},
    ],
)
def test_scores_and_refit(options, small):
    clf = make_classifier(beta_u=1.0, beta_v=1.0)
    plain, stacked = search_both(clf, {"beta_w": [0.5, 0.9, 0.1]}, *small, **options)
    assert repr(stacked.scorer_) == repr(plain.scorer_)


def test_the_function_that_chooses_sees_the_times_of_the_stacks(small):
    search = StackedGridSearchCV(make_classifier(), {"max_iter": [20, 1]}, cv=2, refit=fastest)
    # They are in one stack, whose time they share.
    results = search.fit(*small).cv_results_
    assert results["mean_fit_time"][0] == results["mean_fit_time"][1] > 0
    assert results["std_fit_time"].tolist() == [0.0, 0.0]
    grid = [{"hidden_size": [2, 3]}, {"callbacks": [[("clock", EpochTimer())]]}]
    results = StackedGridSearchCV(make_classifier(), grid, cv=3).fit(*small).cv_results_
    assert len(set(results["mean_fit_time"])) == 3
    assert (results["mean_fit_time"] > 0).all()
    assert (results["std_fit_time"] > 0).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "speed"}, "'scoring' parameter of StackedGridSearchCV"),
        ({"scoring": ["accuracy", "f1_macro"]}, "parameter refit must be set to a scorer key"),
        ({"n_jobs": "many"}, "'n_jobs' parameter of StackedGridSearchCV"),
        ({"cv": 1}, "'cv' parameter of StackedGridSearchCV"),
        ({"cv": []}, "No fits were performed"),
        ({"param_grid": {"depth": [3]}}, "Invalid parameter 'depth'"),
        ({"param_grid": {"beta_w": 0.5}}, "needs to be a list or a numpy array"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(options, message, small, stacks):
    options = {"param_grid": {"beta_w": [0.5]}, **options}
    search = StackedGridSearchCV(make_classifier(), **options)
    before = dict(vars(search))
    with pytest.raises((ValueError, TypeError), match=message):
        search.fit(*small)
    assert stacks == []
    assert vars(search) == before


# Failures


BAD = {"noise_std": -1.0, "hidden_size": 1.5, "beta_w": (1.0, -1.0), "device": "cuda:99"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_candidate_among_good_ones(name, small, stacks):
    grid = [{"batch_size": [15, 16]}, {name: [BAD[name]]}]
    search_both(make_classifier(), grid, *small, error_score=-7.0)
    assert sum(stacks) == 6


def test_a_candidate_that_diverges_leaves_the_others_as_they_are(small, stacks):
    X, y = small
    clf = make_classifier(optimizer="sgd", noise_std=0.1)
    seen = {}

    def keep(estimator, X, y):
        seen.setdefault(estimator.learning_rate, []).append(estimator.W_)
        return estimator.score(X, y)

    def search(rates):
        seen.clear()
        search = StackedGridSearchCV(clf, {"learning_rate": rates}, cv=3, scoring=keep)
        return search.fit(X, y).cv_results_["mean_test_score"], dict(seen)

    scores, weights = search([0.01, 0.02])
    with (
        pytest.warns(FitFailedWarning, match=r"(?s)3 fits failed.*Training diverged: the loss"),
        pytest.warns(UserWarning, match="test scores are non-finite"),
    ):
        more_scores, more_weights = search([0.01, 1e9, 0.02])
    assert stacks == [6, 9]
    np.testing.assert_array_equal(more_scores, np.insert(scores, 1, np.nan))
    assert weights.keys() == more_weights.keys() == {0.01, 0.02}
    for rate in weights:
        np.testing.assert_array_equal(more_weights[rate], weights[rate])


def test_steps_that_fail(small):
    class Failing(Shift):
        def fit(self, X, y):
            raise ArithmeticError(f"by {self.by}")

    grid = {"scale": [Failing(1.0), Shift()]}
    pipeline = Pipeline([("scale", None), ("net", make_classifier())])
    with (
        pytest.warns(FitFailedWarning, match=r"(?s)3 fits failed.*in fit\n.*ArithmeticError: by 1"),
        pytest.warns(UserWarning, match="test scores are non-finite"),
    ):
        search = StackedGridSearchCV(pipeline, grid, cv=3).fit(*small)
    assert search.best_index_ == 1
    with pytest.raises(ArithmeticError, match=r"by 1\.0"):
        StackedGridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(*small)


class OddError(Exception):
    def __init__(self, what, why):
        super().__init__(f"{what}, {why}")


def test_errors_that_cannot_be_pickled(small):
    def fail(X):
        raise OddError("a", "b")

    grid = {"functiontransformer__func": [None, fail]}
    pipeline = make_pipeline(FunctionTransformer(), make_classifier())
    with (
        pytest.warns(FitFailedWarning, match=r"(?s)3 fits failed.*OddError: a, b"),
        pytest.warns(UserWarning, match="test scores are non-finite"),
        joblib.parallel_config(backend="threading", n_jobs=2),
    ):
        search = StackedGridSearchCV(pipeline, grid, cv=3).fit(*small)
    assert search.best_index_ == 0


@pytest.mark.parametrize("bad", [{"noise_std": [-1.0]}, {"learning_rate": [1e200]}])
def test_errors_are_raised_where_that_is_asked_for(bad, small):
    search = StackedGridSearchCV(make_classifier(optimizer="sgd"), bad, error_score="raise")
    with pytest.raises(ValueError, match=r"noise_std|diverged"):
        search.fit(*small)
    with pytest.raises(ValueError, match=r"(?s)All the 5 fits failed.*(noise_std|diverged)"):
        clone(search).set_params(error_score=0.0).fit(*small)


@pytest.mark.parametrize("when", ["training", "scoring", "refit"])
def test_ctrl_c_leaves_the_search_as_it_was(when, small, monkeypatch):
    X, y = small
    search = StackedGridSearchCV(make_classifier(), {"beta_w": [0.5, 1.0]}, cv=2).fit(X, y)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    if when == "training":
        monkeypatch.setattr("sklearn_rnnbound.training.Stack.run_epoch", interrupt)
    elif when == "scoring":
        monkeypatch.setattr(RNNBoundClassifier, "score", interrupt)
    else:
        monkeypatch.setattr(RNNBoundClassifier, "fit", interrupt)
    unfitted = clone(search)
    for one, before in ((unfitted, dict(vars(unfitted))), (search, dict(vars(search)))):
        with pytest.raises(KeyboardInterrupt):
            one.fit(X, y)
        assert vars(one).keys() == before.keys()
        assert all(vars(one)[name] is value for name, value in before.items())


# What is stacked


def flatten(X):
    return X.reshape(len(X), -1)


class Subclass(RNNBoundClassifier):
    pass


class Once(Callback):
    def on_train_end(self, net, **kwargs):
        net.module_.weights[2].mul_(2.0)


def test_callbacks_and_subclasses_are_fitted_as_usual(small, stacks):
    search_both(make_classifier(), {"callbacks": [[Once()], [EpochTimer()]]}, *small)
    subclass = Subclass(hidden_size=4, max_iter=3, random_state=0)
    search_both(subclass, {"beta_w": [0.5, 1.0]}, *small)
    search_both(make_pipeline(Shift(), subclass), {"shift__by": [0, 1]}, *small)
    assert stacks == []


def test_other_estimators_are_fitted_as_usual(small):
    X, y = small
    search_both(LogisticRegression(), {"C": [0.1, 1.0]}, X.reshape(60, 10), y)
    search_both(
        make_pipeline(FunctionTransformer(flatten), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        X,
        y,
    )
    search_both(
        make_pipeline(FunctionTransformer(flatten), KMeans(n_init=1, random_state=0)),
        {"kmeans__n_clusters": [2, 3]},
        X,
        None,
        scoring=None,
        refit=True,
    )


def test_stacks_and_other_fits_in_one_search(small, stacks):
    grid = [
        {"beta_w": [0.5, 1.0]},
        {"callbacks": [[EpochTimer()]], "beta_w": [0.7]},
        {"hidden_size": [7], "beta_w": [1.0]},
    ]
    search_both(make_classifier(), grid, *small)
    assert stacks == [6, 3]


@pytest.mark.parametrize(
    ("hidden_size", "batch_size", "n_rows", "expected"),
    [
        (32, 256, 10_000, True),
        (32, 257, 10_000, False),
        (32, 257, 256, True),
        (40, "auto", 10_000, True),
        (41, "auto", 10_000, False),
        (10_000, 1, 10_000, False),
    ],
)
def test_on_a_cpu_only_small_networks_are_stacked(
    hidden_size, batch_size, n_rows, expected, monkeypatch
):
    clf = RNNBoundClassifier(hidden_size, batch_size=batch_size, device="cpu")
    assert stacked_search._pays(clf, n_rows) is expected
    monkeypatch.setattr(stacked_search, "resolve_device", lambda name: torch.device("cuda"))
    assert stacked_search._pays(clf, n_rows)


def test_larger_networks_have_the_same_results(small, stacks, monkeypatch):
    monkeypatch.setattr(stacked_search, "_LARGEST_STEP", 150)
    search_both(make_classifier(batch_size=25), {"hidden_size": [6, 7]}, *small)
    assert stacks == [3]


def test_a_stack_is_split_where_it_needs_too_much_memory(small, stacks, monkeypatch):
    X, y = small
    grid = {"noise_std": [0.0, 0.1, 0.2], "hidden_size": [5, 6]}
    clf = make_classifier(batch_size=10, max_iter=2)
    plain = GridSearchCV(clf, grid, cv=3).fit(X, y)
    # Per fold 40 rows, per fit 10 rows; 5 steps of 2 features and twice the states, in float64.
    data, fits = 40 * 10 * 8, {m: 10 * 5 * (2 + 2 * m) * 8 for m in (5, 6)}
    for limit, expected in [
        (3 * data + 9 * fits[5] + 9 * fits[6], [9, 9]),
        # The last fit, of 6 units, waits for another turn.
        (3 * data + 9 * fits[5] + 9 * fits[6] - 1, [9, 8, 1]),
        (data + 3 * fits[5] + 3 * fits[6], [3, 3] * 3),
        # Of a single fold the data are shared, however large they are.
        (3 * fits[5] + 3 * fits[6], [3, 3] * 3),
        (1, [1] * 18),
    ]:
        stacks.clear()
        monkeypatch.setitem(stacked_search._MEMORY, "cpu", limit)
        assert_same_results(plain, StackedGridSearchCV(clf, grid, cv=3).fit(X, y))
        assert stacks == expected


def test_what_a_stack_cannot_do_is_tried_one_by_one(small, monkeypatch):
    X, y = small
    plain = GridSearchCV(make_classifier(), GRID, cv=3).fit(X, y)

    def fail(trainings, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(stacked_search, "train", fail)
    assert_same_results(plain, StackedGridSearchCV(make_classifier(), GRID, cv=3).fit(X, y))
    pipeline = make_pipeline(Shift(), make_classifier())
    grid = {f"rnnboundclassifier__{name}": values for name, values in GRID.items()}
    weights = {"rnnboundclassifier__sample_weight": 1.0 + np.arange(60) % 3}
    plain = GridSearchCV(pipeline, grid, cv=3).fit(X, y, **weights)
    assert_same_results(plain, StackedGridSearchCV(pipeline, grid, cv=3).fit(X, y, **weights))
    with pytest.raises(RuntimeError, match="out of memory"):
        StackedGridSearchCV(make_classifier(), GRID, cv=3, error_score="raise").fit(X, y)


def test_an_estimator_that_is_a_class_is_named(small):
    with pytest.raises(TypeError, match="estimator must be an instance"):
        StackedGridSearchCV(RNNBoundClassifier, GRID).fit(*small)


def test_networks_of_a_stack_print_no_lines(small, capsys):
    StackedGridSearchCV(make_classifier(verbose=True), GRID, cv=2, refit=False).fit(*small)
    assert "epoch" not in capsys.readouterr().out


def test_a_search_in_inference_mode(small):
    with torch.inference_mode():
        search = StackedGridSearchCV(make_classifier(), GRID, cv=2).fit(*small)
    assert search.best_score_ == GridSearchCV(make_classifier(), GRID, cv=2).fit(*small).best_score_


def test_candidates_of_a_fold_share_its_data(small, monkeypatch):
    places = []
    train = stacked_search.train

    def recorded(trainings, **options):
        places.extend(training.data.X.data_ptr() for training in trainings)
        places.extend(t.validation.X.data_ptr() for t in trainings if t.validation is not None)
        return train(trainings, **options)

    monkeypatch.setattr(stacked_search, "train", recorded)
    X, y = small
    # Every candidate converts lists for itself.
    StackedGridSearchCV(make_classifier(), GRID, cv=3, refit=False).fit(X.tolist(), y)
    assert len(places) == 3 * 6
    assert len(set(places)) == 3


def test_the_smallest_eigenvalue_is_computed_once_for_a_fold(small, monkeypatch):
    calls = []
    compute = classifier.min_eigenvalue

    def counted(X):
        calls.append(len(X))
        return compute(X)

    monkeypatch.setattr(classifier, "min_eigenvalue", counted)
    scoring = make_bound_scorer("theorem3")
    clf = make_classifier(activation="relu")
    grid = {"noise_std": [0.1, 0.2], "beta_w": [0.5, 1.0], "step_size": [1]}
    plain, _ = search_both(clf, grid, *small, scoring=scoring, refit=False)
    assert calls == [40] * (12 + 3)
    assert np.isfinite(plain.cv_results_["mean_test_score"]).all()


# Many processes


@pytest.mark.slow
def test_results_from_two_processes(small, weights):
    grid = [
        {"net__noise_std": [0.0, 0.1]},
        {"net__callbacks": [[EpochTimer()]], "net__max_iter": [3]},
        {"net__learning_rate": [-1.0, 0.01]},
    ]
    pipeline = Pipeline([("scale", SequenceScaler()), ("net", make_classifier())])
    searches = [
        StackedGridSearchCV(pipeline, grid, cv=3, scoring=SCORING, refit="accuracy", n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    for search in searches:
        with (
            pytest.warns(FitFailedWarning, match="(?s)3 fits failed.*'learning_rate' parameter"),
            pytest.warns(UserWarning, match="test scores are non-finite"),
        ):
            search.fit(*small, net__sample_weight=weights)
    assert_same_results(*searches)
    with (
        sklearn.config_context(enable_metadata_routing=True),
        joblib.parallel_config(backend="loky", n_jobs=2),
    ):
        pipeline["net"].set_fit_request(sample_weight=True)
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        options = {"scoring": scoring, "refit": True}
        search_both(pipeline, grid[0], *small, {"sample_weight": weights}, **options)


def test_stacks_are_split_among_the_workers(small, stacks):
    with joblib.parallel_config(backend="threading", n_jobs=3):
        search_both(make_classifier(n_threads=1), {"noise_std": [0.0, 0.1, 0.2]}, *small, cv=4)
    assert stacks == [4, 4, 4]


# Manners


def test_progress_counts_fits(small, capsys, monkeypatch):
    shown = partial(parallel.Progress, mininterval=0, miniters=1)
    monkeypatch.setattr(parallel, "Progress", shown)
    grid = [{"beta_w": [0.5, 1.0]}, {"callbacks": [[EpochTimer()]]}]
    search = StackedGridSearchCV(make_classifier(), grid, cv=3, verbose=1).fit(*small)
    out, err = capsys.readouterr()
    # The stack of 6 first, then one by one.
    assert [done for done in range(10) if f"{done}/9" in err] == [0, 6, 7, 8, 9]
    assert "fits: 100%" in err
    assert not out
    search.set_params(verbose=0).fit(*small)
    assert capsys.readouterr() == ("", "")


def test_certificates_of_the_winner(small):
    clf = make_classifier(beta_u=1.0, beta_v=1.0)
    grid = {"beta_w": [0.5, 1.0], "max_iter": [3, 5]}
    plain, stacked = search_both(clf, grid, *small)
    assert certify(stacked) == certify(plain)
    # Four candidates of two classes of networks.
    assert float(certify(stacked)) == stacked.best_estimator_.generalization_bound_(
        method="peeling", delta=0.05 / 2
    )
    with pytest.raises(NotFittedError, match="StackedGridSearchCV is not fitted"):
        certify(clone(stacked))
    report = cross_validate_bounds(stacked, *small, cv=2, methods=["peeling"])
    assert report.folds[0].report["peeling"].assumptions[-1].endswith("among 2 candidates")


def test_a_search_in_a_cross_validation(small):
    grid = {"noise_std": [0.0, 0.5]}
    plain, stacked = (
        cross_validate(kind(make_classifier(), grid, cv=2), *small, cv=3, return_estimator=True)
        for kind in (GridSearchCV, StackedGridSearchCV)
    )
    np.testing.assert_array_equal(stacked["test_score"], plain["test_score"])
    for pair in zip(plain["estimator"], stacked["estimator"], strict=True):
        assert_same_results(*pair)


def test_the_constructor_is_that_of_a_plain_search(small):
    own, plain = (str(inspect.signature(kind)) for kind in (StackedGridSearchCV, GridSearchCV))
    assert own == plain
    search = StackedGridSearchCV(make_classifier(), {"beta_w": [0.5, 1.0]}, cv=2)
    again = clone(search)
    assert again.get_params().keys() == search.get_params().keys()
    assert again.set_params(estimator__hidden_size=3).estimator.hidden_size == 3
    for _ in range(2):
        assert repr(search).startswith("StackedGridSearchCV(cv=2,")
        assert "StackedGridSearchCV" in search._repr_html_()
        loaded = pickle.loads(pickle.dumps(search))
        assert vars(loaded).keys() == vars(search).keys()
        search.fit(*small)
    np.testing.assert_array_equal(loaded.fit(*small).predict(small[0]), search.predict(small[0]))
    # Neither it nor its estimator remembers how it was trained.
    assert public(search) == public(GridSearchCV(**search.get_params(deep=False)).fit(*small))
    assert vars(search.estimator).keys() == vars(make_classifier()).keys()


def test_scorers_see_plain_fitted_estimators_that_nobody_keeps(small):
    seen, kept = [], []

    def look(estimator, X, y):
        seen.append((type(estimator), {*vars(estimator), *vars(estimator[-1])}))
        kept.append(weakref.ref(estimator[-1]))
        assert estimator[-1].memory is None
        return 0.0

    pipeline = make_pipeline(Shift(), make_classifier())
    grid = {"rnnboundclassifier__beta_w": [0.5, 1.0]}
    own, fitted = vars(pipeline), vars(pipeline[-1]) | vars(make_classifier().fit(*small))
    search = StackedGridSearchCV(pipeline, grid, cv=3, scoring=look).fit(*small)
    assert seen == [(Pipeline, {*own, *fitted})] * 6
    gc.collect()
    assert [ref() for ref in kept] == [None] * 6
    assert vars(search.best_estimator_).keys() == own.keys()


def test_fits_in_another_order_are_not_mixed_up(small):
    X, y = small
    fits = [
        stacked_search._Plan({"noise_std": std}, {}, classifier_params={}, rows=np.arange(60))
        for std in (0.1, 0.2)
    ]
    outcomes = stacked_search._run_task(X, y, make_classifier(), fits, True, False)
    trained = stacked_search._Trained(make_classifier(), fits, outcomes)
    base = clone(trained.template)
    with pytest.raises(RuntimeError, match="in another order"):
        clone(base).set_params(noise_std=0.2)
    with pytest.raises(RuntimeError, match="in another order"):
        clone(base).set_params(noise_std=0.2, beta_w=1.0)
    # What metadata are routed to may be copied together with its owner.
    assert deepcopy(trained.template) is trained.template
    # Two of them were taken, and not fitted.
    with pytest.raises(RuntimeError, match="in another order"):
        trained.close()
    assert clone(base).set_params(noise_std=0.3).fit(X, y).noise_std == 0.3
    assert type(pickle.loads(pickle.dumps(trained.template))) is RNNBoundClassifier


def test_errors_of_routing_are_those_of_a_plain_search(small):
    X, y = small
    search = StackedGridSearchCV(make_classifier(), {"beta_w": [0.5]}, cv=2)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match=r"^\[sample_weight\] are passed"):
            search.fit(X, y, sample_weight=np.ones(60))
        with pytest.raises(TypeError, match=r"^StackedGridSearchCV.fit got unexpected"):
            search.fit(X, y, foo=1)


@pytest.mark.slow
def test_common_checks_end_as_those_of_a_plain_search():
    clf = RNNBoundClassifier(32, max_iter=40, learning_rate=0.01, random_state=0)
    clf.set_params(min_eigenvalue=0.0)
    plain, stacked = (
        {
            result["check_name"]: result["status"]
            for result in check_estimator(
                kind(clf, {"beta_w": [1.0]}, cv=2, error_score="raise"), on_skip=None, on_fail=None
            )
        }
        for kind in (GridSearchCV, StackedGridSearchCV)
    )
    # The plain one warns when y has NaN.
    assert plain.pop("check_supervised_y_no_nan") == "failed"
    assert stacked.pop("check_supervised_y_no_nan") == "passed"
    assert stacked == plain
    assert list(plain.values()).count("passed") > 40
