"""Networks trained together: each ends as it would alone."""

import numpy as np
import pytest
import torch
from conftest import make_classifier
from skorch.callbacks import Callback

from sklearn_rnnbound import training
from sklearn_rnnbound.network import Unrolled, torch_threads
from sklearn_rnnbound.training import train

#: Settings that may differ within a stack; the number of rows is the last entry.
NETWORKS = {
    "plain": ({}, 60),
    "gaussian": ({"noise_std": 0.3, "beta_w": 0.9, "random_state": 1}, 57),
    "laplace": ({"noise_std": 0.2, "noise": "laplace", "gradient_clip_norm": 0.3}, 60),
    "uniform": (
        {
            "noise_std": 0.4,
            "noise": "uniform",
            "beta_u": 1.0,
            "beta_w": (0.6, 0.3),
            "beta_v": (1.0, 2.0),
            "gradient_clip_value": 0.01,
            "learning_rate": 0.01,
        },
        50,
    ),
    "two types": ({"unit_types": 2, "beta_w": 0.9, "weight_decay": 0.1, "max_iter": 5}, 60),
    "two types again": (
        {"unit_types": 2, "beta_w": 0.9, "learning_rate": 0.01, "random_state": 7},
        64,
    ),
    "stalls": ({"tol": 10.0, "n_iter_no_change": 2, "gradient_clip_norm": 1.0}, 60),
    "one epoch": ({"max_iter": 1, "shuffle": False, "gradient_clip_value": 0.1}, 49),
    "Fisher-Rao": ({"fisher_rao_max": 0.5, "random_state": 3, "noise_std": 0.1}, 60),
    "early stopping": ({"early_stopping": True, "learning_rate": 0.03, "noise_std": 1.0}, 60),
    "weights": ({"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}, "weight_decay": 0.01}, 60),
}
NAMES = list(NETWORKS)


def make_member(small, name, dtype=np.float64, **common):
    """A classifier of the stack with its X, y and sample weights."""
    params, n_rows = NETWORKS[name]
    defaults = {"batch_size": 16, "max_iter": 10, "min_eigenvalue": 0.0, "tol": 0.0}
    # More rows than there are: the first ones once more.
    rows = np.random.default_rng(NAMES.index(name)).permutation(64)[:n_rows] % 60
    X, y = small[0][rows].astype(dtype), small[1][rows]
    weights = 1.0 + np.arange(n_rows) % 3 if name in ("weights", "one epoch") else None
    return make_classifier(**{**defaults, **params, **common}), X, y, weights


def fit_together(members):
    """Fit classifiers as one stack; what went wrong with each."""
    fits = [clf._prepare(X, y, weights) for clf, X, y, weights in members]
    with torch_threads(1):
        errors = train([fit.training for fit in fits], raises=False)
    for (clf, *_), fit, error in zip(members, fits, errors, strict=True):
        if error is None:
            clf._conclude(fit)
    return errors


def fitted_weights(clf):
    return np.concatenate([weight.ravel() for weight in (clf.U_, clf.W_, clf.V_)])


def assert_same_fit(clf, other, rtol):
    weights, expected = fitted_weights(clf), fitted_weights(other)
    assert weights.dtype == expected.dtype
    np.testing.assert_allclose(weights, expected, rtol=0, atol=rtol * np.abs(expected).max())
    assert clf.n_iter_ == other.n_iter_
    np.testing.assert_allclose(clf.loss_curve_, other.loss_curve_, rtol=max(rtol, 1e-12))
    if other.validation_scores_ is None:
        assert clf.validation_scores_ is None
    else:
        np.testing.assert_allclose(clf.validation_scores_, other.validation_scores_, rtol=rtol)


COMMON = {
    "adam": {},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.005},
    "tanh": {"activation": "tanh"},
    "ramp": {"loss": "ramp", "margin": 0.8},
}


@pytest.mark.parametrize("common", COMMON.values(), ids=COMMON)
def test_a_stacked_fit_is_the_separate_fit(small, common):
    stacked = [make_member(small, name, **common) for name in NETWORKS]
    assert fit_together(stacked) == [None] * len(NETWORKS)
    for name, (clf, *_) in zip(NETWORKS, stacked, strict=True):
        alone, *data = make_member(small, name, **common)
        assert_same_fit(clf, alone.fit(*data), 1e-12)
    ends = dict(zip(NETWORKS, (clf.n_iter_ for clf, *_ in stacked), strict=True))
    assert ends["one epoch"] == 1
    assert len(set(ends.values())) > 3


@pytest.mark.parametrize("common", COMMON.values(), ids=COMMON)
def test_a_stacked_fit_in_single_precision_after_one_epoch(small, common):
    options = {"max_iter": 1, "dtype": np.float32, **common}
    stacked = [make_member(small, name, **options) for name in NETWORKS]
    assert fit_together(stacked) == [None] * len(NETWORKS)
    for name, (clf, *_) in zip(NETWORKS, stacked, strict=True):
        alone, *data = make_member(small, name, **options)
        alone.fit(*data)
        assert alone.U_.dtype == np.float32
        assert_same_fit(clf, alone, 1e-5)


def test_a_stacked_fit_is_the_fit_by_skorch(small):
    stacked = [make_member(small, name) for name in NETWORKS]
    fit_together(stacked)
    for name, (clf, *_) in zip(NETWORKS, stacked, strict=True):
        alone, *data = make_member(small, name, callbacks=[Callback()])
        assert_same_fit(clf, alone.fit(*data), 1e-12)


def test_the_order_of_the_stack_does_not_matter(small):
    expected = None
    for order in (NAMES, NAMES[::-1], sorted(NAMES, key=len)):
        stacked = {name: make_member(small, name) for name in order}
        assert fit_together(list(stacked.values())) == [None] * len(NAMES)
        fits = {name: member[0] for name, member in stacked.items()}
        expected = expected or fits
        for name, clf in fits.items():
            assert_same_fit(clf, expected[name], 1e-12)


def test_what_was_in_memory_before_does_not_matter(small, monkeypatch):
    resize = Unrolled.resize

    def resize_and_spoil(self, *sizes):
        resize(self, *sizes)
        self.inputs.fill_(torch.nan)

    fits = []
    for method in (resize, resize_and_spoil):
        monkeypatch.setattr(Unrolled, "resize", method)
        # Their last minibatches differ.
        members = [make_member(small, name) for name in ("plain", "gaussian", "two types again")]
        assert fit_together(members) == [None] * 3
        fits.append([clf for clf, *_ in members])
    for clean, spoiled in zip(*fits, strict=True):
        assert_same_fit(spoiled, clean, 1e-12)


def test_equal_members_end_equal(small):
    stacked = [make_member(small, "gaussian") for _ in range(3)]
    fit_together(stacked)
    first, *others = (clf for clf, *_ in stacked)
    for clf in others:
        assert_same_fit(clf, first, 1e-12)


def test_every_network_ends_with_memory_of_its_own(small):
    members = [make_member(small, name) for name in NAMES]
    fits = [clf._prepare(X, y, weights) for clf, X, y, weights in members]
    ends = {}

    def watch(index, record):
        # The weights at the end of every epoch, until there are no more.
        ends[index] = fits[index].training.net.module_.theta.detach().clone()

    for index, fit in enumerate(fits):
        fit.training.after_epoch = lambda record, index=index: watch(index, record)
    train([fit.training for fit in fits])
    thetas = [fit.training.net.module_.theta for fit in fits]
    for index, (theta, fit) in enumerate(zip(thetas, fits, strict=True)):
        assert theta.untyped_storage().nbytes() == theta.numel() * theta.element_size()
        if fit.training.validation is None:
            assert torch.equal(theta.detach(), ends[index])
    assert len({theta.data_ptr() for theta in thetas}) == len(thetas)


def test_the_best_epoch_of_a_network_that_ends_early_is_restored(small):
    member = make_member(small, "early stopping", max_iter=9)
    neighbour = make_member(small, "gaussian", max_iter=20)
    fit_together([neighbour, member])
    clf = member[0]
    assert clf.n_iter_ == 9
    best = int(np.argmax(clf.validation_scores_)) + 1
    again, *data = make_member(small, "early stopping", max_iter=best)
    np.testing.assert_allclose(fitted_weights(clf), fitted_weights(again.fit(*data)), rtol=1e-11)


DIVERGING = {
    "at once": {},
    "clipped": {"gradient_clip_norm": 0.5},
    "in a ball": {"beta_w": 0.9},
    "two types": {"unit_types": 2, "beta_w": 0.9},
    "later": {"weight_decay": 1e4, "learning_rate": 0.1, "max_iter": 50},
}


@pytest.mark.parametrize("params", DIVERGING.values(), ids=DIVERGING)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_is_an_error_of_one_network(small, params, optimizer, dtype):
    options = {"optimizer": optimizer, "dtype": dtype}
    if dtype == np.float32:
        options["max_iter"] = 1
    names = ["two types", "gaussian", "laplace", "uniform"]
    with_it = [make_member(small, name, **options) for name in names]
    too_large = {"learning_rate": 1e30 if dtype == np.float32 else 1e300}
    bad, *data = make_member(small, "plain", **{**options, **too_large, **params})
    error = fit_together([*with_it[:2], (bad, *data), *with_it[2:]])[2]
    alone = None
    try:
        bad.fit(*data)
    except ValueError as exception:
        alone = exception
    assert str(error) == str(alone)
    # Adam's steps are no longer than the learning rate.
    assert ("diverged" in str(error)) == ("weight_decay" not in params or optimizer == "sgd")
    without = [make_member(small, name, **options) for name in names]
    fit_together(without)
    for (clf, *_), (other, *_) in zip(with_it, without, strict=True):
        assert_same_fit(clf, other, 1e-5 if dtype == np.float32 else 1e-12)


def test_each_diverging_network_has_its_own_error(small):
    # The loss of the second epoch, and a weight after the first.
    members = [
        make_member(small, "plain", optimizer="sgd", learning_rate=1e300, batch_size=60),
        make_member(small, "stalls", optimizer="sgd", batch_size=60),
        make_member(small, "plain", optimizer="sgd", learning_rate=1e300, batch_size=60),
    ]
    members[2][1][:] *= 1e50
    loss, nothing, weight = fit_together(members)
    assert "diverged: the loss is not finite" in str(loss)
    assert nothing is None
    assert "diverged: a weight is not finite" in str(weight)
    alone, *data = make_member(small, "stalls", optimizer="sgd", batch_size=60)
    assert_same_fit(members[1][0], alone.fit(*data), 1e-12)
    assert [hasattr(clf, "U_") for clf, *_ in members] == [False, True, False]


def test_a_stack_in_which_all_networks_diverge_ends(small):
    members = [make_member(small, "plain", learning_rate=lr) for lr in (1e300, 1e280)]
    assert all("diverged" in str(error) for error in fit_together(members))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_gradients_whose_norm_overflows_are_clipped_where_it_was_asked_for(small, optimizer):
    X, y = small[0].astype(np.float32), small[1]
    options = {"optimizer": optimizer, "learning_rate": 1e-30, "max_iter": 2, "batch_size": 16}
    options["min_eigenvalue"] = 0.0
    for limit in (None, 1.0):
        large = make_classifier(**options, gradient_clip_norm=limit)
        clipped = make_classifier(**options, gradient_clip_norm=0.5)
        members = [(large, X * np.float32(1e20), y, None), (clipped, X, y, None)]
        assert fit_together(members) == [None, None]
        alone = make_classifier(**options, gradient_clip_norm=limit)
        assert_same_fit(large, alone.fit(X * np.float32(1e20), y), 1e-5)


@pytest.mark.parametrize("name", ["norm", "value"])
@pytest.mark.parametrize("n_networks", [1, 3])
def test_clipping_by_a_limit_of_each_network(small, name, n_networks):
    # Plain gradient steps of length limit, but for rounding: the limits are not exact in float32.
    X, y = small
    limits = [1e-3, None, 1e-50][:n_networks]
    moves = []
    for learning_rate in (1.0, 1e-300):
        members = [
            (
                make_classifier(
                    **{f"gradient_clip_{name}": limit, "random_state": place},
                    optimizer="sgd",
                    learning_rate=learning_rate,
                    max_iter=1,
                    min_eigenvalue=0.0,
                ),
                X,
                y,
                None,
            )
            for place, limit in enumerate(limits)
        ]
        assert fit_together(members) == [None] * n_networks
        moves.append([fitted_weights(clf) for clf, *_ in members])
    for after, before, limit in zip(*moves, limits, strict=True):
        # The first step of Nesterov's momentum 0.9 is 1.9 gradients.
        step = (after - before) / 1.9
        size = np.linalg.norm(step) if name == "norm" else np.abs(step).max()
        if limit is None:
            assert size > 0.01
        elif limit == 1e-3:
            # torch clips to limit / (norm + 1e-6) of the norm.
            assert limit * (1 - 1e-4) < size <= limit * (1 + 1e-12)
        else:
            assert 0 < size <= limit * (1 + 1e-12)


def test_training_a_stack_touches_no_global_state(small):
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    fit_together([make_member(small, name) for name in NAMES])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before[1:]


def test_data_of_a_stack_stay_as_they_are(small):
    members = [make_member(small, name) for name in NAMES]
    before = [(X.copy(), y.copy()) for _, X, y, _ in members]
    fit_together(members)
    for (_, X, y, _), (X_before, y_before) in zip(members, before, strict=True):
        np.testing.assert_array_equal(X, X_before)
        np.testing.assert_array_equal(y, y_before)


def test_ctrl_c_leaves_the_training_of_a_stack(small):
    fits = [clf._prepare(*data) for clf, *data in (make_member(small, n) for n in NAMES)]

    def interrupt(record):
        if len(record.loss_curve) == 2:
            raise KeyboardInterrupt

    fits[3].training.after_epoch = interrupt
    with pytest.raises(KeyboardInterrupt):
        train([fit.training for fit in fits])


def test_minibatches_of_other_numbers_are_refused(small):
    X, y = small
    options = {"batch_size": 16, "max_iter": 2}
    members = [(make_classifier(**options), X[:n], y[:n], None) for n in (60, 45)]
    with pytest.raises(ValueError, match="zip"):
        fit_together(members)


def test_the_first_divergence_ends_it_all_where_that_is_asked_for(small):
    X, y = small
    steps = {"optimizer": "sgd", "max_iter": 50, "batch_size": 20}
    members = [make_classifier(learning_rate=rate, **steps) for rate in (0.01, 1e30)]
    trainings = [clf._prepare(X, y, None).training for clf in members]
    with pytest.raises(ValueError, match="diverged"):
        train(trainings)
    assert len(trainings[0].record.loss_curve) < 5


def test_ends_are_told_as_they_come(small):
    X, y = small
    members = [make_classifier(max_iter=n, tol=0.0) for n in (3, 1, 3, 5)]
    ends = []
    train([clf._prepare(X, y, None).training for clf in members], on_end=ends.append)
    assert ends == [1, 2, 1]


def test_networks_under_constraints_of_one_form_are_projected_together(small, monkeypatch):
    shapes = []
    project = training.WeightConstraints.project_

    def watch(self, U, W, V):
        if U.ndim == 3:
            shapes.append(len(U))
        project(self, U, W, V)

    monkeypatch.setattr(training.WeightConstraints, "project_", watch)
    names = ["two types", "gaussian", "two types again", "plain", "laplace", "two types"]
    fit_together([make_member(small, name, max_iter=1) for name in names])
    # Four minibatches: radii may differ or be absent, the unit types may not.
    assert shapes == [3] * 8


@pytest.mark.slow
def test_mean_accuracy_in_single_precision_is_that_of_separate_fits(digits):
    X, X_test, y, y_test = digits
    X, X_test = X.astype(np.float32), X_test.astype(np.float32)
    options = {"hidden_size": 32, "max_iter": 15, "noise_std": 0.1, "min_eigenvalue": 0.0}
    stacked = [make_classifier(**options, random_state=seed) for seed in range(8)]
    fit_together([(clf, X, y, None) for clf in stacked])
    alone = [make_classifier(**options, random_state=seed).fit(X, y) for seed in range(8)]
    scores = [[clf.score(X_test, y_test) for clf in fits] for fits in (stacked, alone)]
    differences = np.subtract(*scores)
    error = np.std(scores[1], ddof=1) / np.sqrt(8)
    assert np.mean(scores[1]) > 0.85
    assert abs(differences.mean()) <= error
