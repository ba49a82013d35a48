"""What steps and searches around a classifier do to its bounds."""

import numpy as np
import pytest
from conftest import make_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_rnnbound import BoundSearch, bound_report, certify, neg_bound_scorer
from sklearn_rnnbound.preprocessing import SequenceScaler
from sklearn_rnnbound.selection.provenance import count_candidates

LEARNED = "preprocessing was fitted on the certification sample"


class Doubled(FunctionTransformer):
    """A step that says of how many samples it depends."""

    def __init__(self, n_samples=0):
        super().__init__(lambda X: 2 * X)
        self.n_samples = n_samples

    def fit(self, X, y=None):
        self.n_samples_fit_ = self.n_samples
        return super().fit(X, y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


@pytest.fixture(scope="module")
def flat(small):
    X, y = small
    return X.reshape(len(X), -1), y


def clf(**params):
    radii = {"beta_u": 1.0, "beta_w": 0.5, "beta_v": 1.0, "step_size": 2, "min_eigenvalue": 0.0}
    return make_classifier(**{**radii, **params})


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (FunctionTransformer(lambda X: 2 * X), "certified"),
        (Doubled(0), "certified"),
        (Doubled(60), "plug_in"),
        (StandardScaler(), "plug_in"),
        (make_pipeline(FunctionTransformer(), StandardScaler()), "plug_in"),
        (make_pipeline(FunctionTransformer(), "passthrough"), "certified"),
        (FeatureUnion([("scale", StandardScaler())]), "plug_in"),
    ],
)
def test_steps_that_learn_make_estimates(step, kind, flat):
    X, y = flat
    pipeline = make_pipeline(step, clf()).fit(X, y)
    bound = bound_report(pipeline, methods="peeling").bounds[0]
    alone = clf().fit(pipeline[:-1].transform(X), y).bound_report_(methods="peeling").bounds[0]
    assert bound.kind == kind
    assert bound.value == alone.value
    assert any(line.startswith(LEARNED) for line in bound.assumptions) == (kind == "plug_in")


def test_a_frozen_step_was_fitted_elsewhere(flat):
    X, y = flat
    scaler = StandardScaler().fit(X[:20])
    pipeline = make_pipeline(FrozenEstimator(scaler), clf()).fit(X[20:], y[20:])
    bound = bound_report(pipeline, methods="peeling").bounds[0]
    assert bound.kind == "certified"
    assert "frozen preprocessing was fitted on other data, or not at all" in bound.assumptions


def test_the_report_sees_the_data_after_the_steps(flat):
    X, y = flat
    train, test = slice(0, None, 2), slice(1, None, 2)
    pipeline = make_pipeline(StandardScaler(), clf()).fit(X[train], y[train])
    data = {"X_train": X[train], "y_train": y[train]}
    methods = ["peeling", "zhang2018", "holdout", "occam"]
    report = bound_report(pipeline, X[test], y[test], methods=methods, **data)
    assert report.test_error == np.mean(pipeline.predict(X[test]) != y[test])
    # Test data took no part in fitting the scaler; an order was never certified.
    assert [b.kind for b in report] == ["plug_in", "order_only", "certified", "plug_in"]
    assert not any(LEARNED in line for line in report["zhang2018"].assumptions)


def test_a_search_shares_delta_in_every_row(flat):
    X, y = flat
    search = GridSearchCV(clf(), {"beta_w": [0.25, 0.5, 1.0]}, cv=2).fit(X[::2], y[::2])
    report = bound_report(search, X[1::2], y[1::2], methods=["peeling", "holdout"])
    alone = search.best_estimator_.bound_report_(
        X[1::2], y[1::2], methods=["peeling", "holdout"], delta=0.05 / 3
    )
    assert [b.value for b in report] == [b.value for b in alone]
    assert report.delta == 0.05
    assert [b.delta for b in report] == pytest.approx([0.05, 0.05])


def test_rows_that_hold_together_share_delta_once_more(flat):
    X, y = flat
    search = GridSearchCV(clf(), {"beta_w": [0.25, 0.5]}, cv=2).fit(X, y)
    report = bound_report(search, methods=["peeling", "trivial"], simultaneous=True)
    assert [b.delta for b in report] == pytest.approx([0.025, 0.025])
    assert report["peeling"].value == search.best_estimator_.generalization_bound_(
        method="peeling", delta=0.05 / 4
    )


def test_candidates_outside_the_estimator_share_delta_as_well(flat):
    X, y = flat
    search = GridSearchCV(clf(), {"beta_w": [0.25, 0.5]}, cv=2).fit(X, y)
    report = bound_report(search, methods="peeling", delta=0.1, n_candidates=5)
    assert report["peeling"].value == search.best_estimator_.generalization_bound_(
        method="peeling", delta=0.1 / 10
    )
    assert report.delta == report["peeling"].delta == pytest.approx(0.1)
    assert report["peeling"].assumptions[-1].endswith("among 10 candidates")


def test_a_bound_search_has_a_delta_of_its_own(flat):
    X, y = flat
    search = BoundSearch(clf(), {"beta_w": [0.5, 1.0]}, delta=0.01).fit(X, y)
    for same in (search, FrozenEstimator(search), make_pipeline(search)):
        report = bound_report(same, methods="peeling")
        assert report.bounds == (search.best_bound_,)
        assert report.delta == 0.01
        assert certify(same) == search.best_bound_
        assert neg_bound_scorer(same) == -search.best_bound_.value
    assert certify(search, delta=0.2).delta == pytest.approx(0.2)


@pytest.mark.parametrize("options", [{"delta": 1.5}, {"delta": 0.0}, {"n_candidates": 0}])
def test_shares_of_delta_are_checked(options, fitted):
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' parameter of bound_report"):
        bound_report(fitted, **options)


# What is found where


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        LogisticRegressionCV(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        FrozenEstimator(GridSearchCV(LogisticRegression(), {})),
    ],
)
def test_a_missing_classifier_is_said(estimator):
    with pytest.raises(ValueError, match=r"found no RNNBoundClassifier in .* ended at Logistic"):
        bound_report(estimator)


def test_a_search_without_a_fitted_winner_is_said(flat):
    search = GridSearchCV(clf(), {"beta_w": [0.5]}, cv=2, refit=False)
    nested = GridSearchCV(GridSearchCV(clf(), {}, cv=2), {"cv": [2, 3]}, cv=2).fit(*flat)
    for estimator in (search, search.fit(*flat), make_pipeline(search), nested):
        with pytest.raises(NotFittedError, match="GridSearchCV keeps no fitted winner"):
            certify(estimator)


def test_data_do_not_choose_delta(flat):
    grid = {"delta": [0.01, 0.5], "beta_w": [0.5]}
    search = GridSearchCV(clf(), grid, scoring=neg_bound_scorer, cv=2).fit(*flat)
    message = "candidates differ in delta: data must not choose"
    for call in (bound_report, certify, neg_bound_scorer):
        with pytest.raises(ValueError, match=message):
            call(search)
    with pytest.raises(ValueError, match=message):
        BoundSearch(clf(), grid, delta=0.1).fit(*flat)


# What counts


@pytest.mark.parametrize(
    ("grid", "count"),
    [
        ([{}], 1),
        ([{"max_iter": 3}, {"max_iter": 4}, {"optimizer": "sgd"}], 1),
        ([{"beta_u": 1.0}, {"beta_u": 1.0}], 1),
        ([{"beta_u": 1.0}, {"beta_u": 2.0}, {"beta_u": None}, {"beta_u": (1.0, 1.0)}], 4),
        ([{"hidden_size": 4}, {"hidden_size": 8}], 2),
        ([{"margin": 0.5}, {"margin": "auto"}], 2),
        ([{"random_state": 1}, {"random_state": 2}], 1),
        ([{"random_state": 1, "noise_std": 0.1}, {"random_state": 2, "noise_std": 0.1}], 2),
        ([{"random_state": 1, "noise_std": 0.1}, {"random_state": 1, "noise_std": 0.1}], 1),
        ([{"random_state": None, "noise_std": 0.1}] * 2, 2),
    ],
)
def test_what_counts_as_a_candidate(grid, count):
    assert count_candidates(make_classifier(), grid) == count


def test_steps_count_as_well():
    pipeline = make_pipeline(StandardScaler(), make_classifier())
    grid = [{"standardscaler__with_std": value} for value in (True, False)]
    assert count_candidates(pipeline, grid) == 2
    assert count_candidates(pipeline, [{"standardscaler": "passthrough"}, *grid]) == 3


def test_a_transformer_whose_method_was_replaced_is_another(flat):
    X = flat[0][:, :, None]
    plain, patched = (SequenceScaler(with_mean=False, with_std=False).fit(X) for _ in range(2))
    patched.transform = np.negative
    pipeline = make_pipeline(FrozenEstimator(plain), make_classifier())
    grid = [{"frozenestimator": FrozenEstimator(step)} for step in (plain, patched)]
    assert count_candidates(pipeline, grid) == 2


def test_lambdas_equal_themselves():
    def pipeline(function):
        return make_pipeline(FunctionTransformer(function), make_classifier())

    grid = [{"rnnboundclassifier__beta_w": value} for value in (0.5, 1.0)]
    assert count_candidates(pipeline(lambda X: X), grid) == 2
    assert count_candidates(pipeline(lambda X: X), [{}, {}]) == 1
    functions = [{"functiontransformer__func": f} for f in (lambda X: X, lambda X: 2 * X)]
    assert count_candidates(pipeline(None), functions) == 2


def test_classes_of_one_name_are_two():
    other = type("Doubled", (StandardScaler,), {"__module__": "elsewhere"})
    pipeline = make_pipeline(Doubled(), make_classifier())
    grid = [{"doubled": Doubled()}, {"doubled": other()}]
    assert count_candidates(pipeline, grid) == 2


@pytest.mark.parametrize(
    ("seed", "grid", "kind"),
    [
        (0, {"learning_rate": [0.003, 0.03]}, "certified"),
        (0, {"random_state": [0, 1]}, "plug_in"),
        (None, {"learning_rate": [0.003, 0.03]}, "plug_in"),
    ],
)
def test_a_chosen_draw_of_initial_weights_is_no_prior(seed, grid, kind, flat):
    X, y = flat
    search = GridSearchCV(clf(random_state=seed), grid, cv=2).fit(X, y)
    report = bound_report(search, X_train=X, y_train=y, methods=["pac_bayes", "peeling"])
    assert [bound.kind for bound in report] == [kind, "certified"]
    assert ("one of 2 draws" in " ".join(report["pac_bayes"].assumptions)) == (kind == "plug_in")
