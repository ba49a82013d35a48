"""Life among scikit-learn's tools: searches, pipelines, calibration, saving and loading."""

import pickle

import numpy as np
import pytest
import sklearn
from conftest import make_classifier
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it makes the name below
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import EpochTimer

from sklearn_rnnbound import RNNBoundClassifier


def test_clone_and_parameters_round_trip():
    clf = make_classifier(beta_w=(0.5, 0.5), callbacks=[], memory="cache")
    params = clf.get_params()
    assert clone(clf).get_params() == params
    assert RNNBoundClassifier().set_params(**params).get_params() == params


def test_grid_search_in_a_pipeline_in_two_processes(small):
    X, y = small
    pipeline = make_pipeline(StandardScaler(), make_classifier(step_size=2))
    grid = {
        "rnnboundclassifier__noise_std": [0.0, 0.2],
        "rnnboundclassifier__beta_w": [None, (0.5, 0.5), 1.0],
    }
    tables = []
    for n_jobs in (1, 2):
        search = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs).fit(X.reshape(60, 10), y)
        tables.append(search.cv_results_["mean_test_score"])
        assert search.best_estimator_[-1].generalization_bound_() >= 1
    np.testing.assert_array_equal(*tables)


def test_callbacks_travel_to_the_workers_of_a_search(small):
    search = GridSearchCV(
        make_classifier(callbacks=[("clock", EpochTimer())]), {"beta_w": [0.5, 1.0]}, cv=2, n_jobs=2
    )
    search.fit(*small)
    assert "clock" in dict(search.best_estimator_.net_.callbacks_)


def test_halving_search_over_epochs(small):
    search = HalvingGridSearchCV(
        make_classifier(),
        {"noise_std": [0.0, 0.1, 0.2, 0.3]},
        resource="max_iter",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=2,
        random_state=0,
        n_jobs=2,
    ).fit(*small)
    assert search.n_resources_ == [2, 4, 8]


def test_cross_validation_with_weights_that_are_routed(small):
    X, y = small
    sample_weight = np.random.default_rng(0).integers(1, 4, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        clf = make_classifier(early_stopping=True).set_fit_request(sample_weight=True)
        results = cross_validate(
            make_pipeline(FunctionTransformer(), clf),
            X,
            y,
            cv=2,
            scoring=make_scorer(accuracy_score).set_score_request(sample_weight=True),
            params={"sample_weight": sample_weight},
            return_estimator=True,
        )
    assert np.isfinite(results["test_score"]).all()
    for estimator in results["estimator"]:
        assert "unweighted" in str(estimator[-1].bound_report_())


def test_calibration(small):
    X, y = small
    calibrated = CalibratedClassifierCV(make_classifier(), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1.0)


def test_callbacks_are_saved_before_fit_only(small):
    clf = make_classifier(callbacks=[EpochTimer()])
    assert len(pickle.loads(pickle.dumps(clf)).callbacks) == 1
    assert pickle.loads(pickle.dumps(clf.fit(*small))).callbacks is None
    assert len(clf.callbacks) == 1


def test_loading_leaves_the_saved_state_alone(small):
    clf = make_classifier().fit(*small)
    state = clf.__getstate__()
    keys = set(state)
    RNNBoundClassifier().__setstate__(state)
    assert set(state) == keys
    assert "net_" in vars(clf)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pickle_holds_no_data(dtype):
    n, hidden_size = 4000, 32
    X = np.random.default_rng(0).normal(size=(n, 20, 10)).astype(dtype)
    clf = RNNBoundClassifier(hidden_size, noise_std=0.1, max_iter=1, random_state=0)
    clf.fit(X, np.arange(n) % 2)
    n_weights = sum(w.nbytes for w in (clf.U_, clf.W_, clf.V_))
    assert len(pickle.dumps(clf)) <= n_weights + 16 * n + 64 * 1024
    assert X.nbytes > 40 * len(pickle.dumps(clf))
