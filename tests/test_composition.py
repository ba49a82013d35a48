"""What surrounds a classifier, and what it does to its bounds."""

import numpy as np
import pytest
from conftest import make_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_rnnbound.composition import Composition, count_candidates
from sklearn_rnnbound.preprocessing import SequenceScaler

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
    bound = Composition.of(pipeline).bound("peeling")
    alone = clf().fit(pipeline[:-1].transform(X), y).bound_report_(methods="peeling").bounds[0]
    assert bound.kind == kind
    assert bound.value == alone.value
    assert any(line.startswith(LEARNED) for line in bound.assumptions) == (kind == "plug_in")


def test_a_frozen_step_was_fitted_elsewhere(flat):
    X, y = flat
    scaler = StandardScaler().fit(X[:20])
    pipeline = make_pipeline(FrozenEstimator(scaler), clf()).fit(X[20:], y[20:])
    bound = Composition.of(pipeline).bound("peeling")
    assert bound.kind == "certified"
    assert "frozen preprocessing was fitted on other data, or not at all" in bound.assumptions


def test_the_report_sees_the_data_after_the_steps(flat):
    X, y = flat
    train, test = slice(0, None, 2), slice(1, None, 2)
    pipeline = make_pipeline(StandardScaler(), clf()).fit(X[train], y[train])
    data = {"X_train": X[train], "y_train": y[train]}
    methods = ["peeling", "zhang2018", "holdout", "occam"]
    report = Composition.of(pipeline).bound_report(X[test], y[test], methods=methods, **data)
    assert report.test_error == np.mean(pipeline.predict(X[test]) != y[test])
    # Test data took no part in fitting the scaler; an order was never certified.
    assert [b.kind for b in report] == ["plug_in", "order_only", "certified", "plug_in"]
    assert not any(LEARNED in line for line in report["zhang2018"].assumptions)


def test_a_search_shares_delta_in_every_row(flat):
    X, y = flat
    search = GridSearchCV(clf(), {"beta_w": [0.25, 0.5, 1.0]}, cv=2).fit(X[::2], y[::2])
    report = Composition.of(search).bound_report(X[1::2], y[1::2], methods=["peeling", "holdout"])
    alone = search.best_estimator_.bound_report_(
        X[1::2], y[1::2], methods=["peeling", "holdout"], delta=0.05 / 3
    )
    assert [b.value for b in report] == [b.value for b in alone]
    assert report.delta == 0.05
    assert [b.delta for b in report] == pytest.approx([0.05, 0.05])


def test_rows_that_hold_together_share_delta_once_more(flat):
    X, y = flat
    search = GridSearchCV(clf(), {"beta_w": [0.25, 0.5]}, cv=2).fit(X, y)
    report = Composition.of(search).bound_report(methods=["peeling", "trivial"], simultaneous=True)
    assert [b.delta for b in report] == pytest.approx([0.025, 0.025])
    assert report["peeling"].value == search.best_estimator_.generalization_bound_(
        method="peeling", delta=0.05 / 4
    )


@pytest.mark.parametrize(
    ("grid", "count"),
    [
        ([{}], 1),
        ([{"max_iter": 3}, {"max_iter": 4}, {"optimizer": "sgd"}, {"delta": 0.1}], 1),
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


def doubled(X):
    """What one transformer of its class does, in place of its own method."""
    return 2 * X


def test_a_transformer_whose_method_was_replaced_is_another(flat):
    X = flat[0][:, :, None]
    plain, patched = (SequenceScaler(with_mean=False, with_std=False).fit(X) for _ in range(2))
    patched.transform = doubled
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


def test_counting_leaves_the_values_of_the_grid_alone():
    clf = make_classifier(beta_w=0.5)
    grid = [{"step": clf, "step__beta_w": 2.0}, {"step": clf}]
    assert count_candidates(Pipeline([("step", clf)]), grid) == 2
    assert clf.beta_w == 0.5


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
    report = Composition.of(search).bound_report(
        X_train=X, y_train=y, methods=["pac_bayes", "peeling"]
    )
    assert [bound.kind for bound in report] == [kind, "certified"]
    assert ("one of 2 draws" in " ".join(report["pac_bayes"].assumptions)) == (kind == "plug_in")
