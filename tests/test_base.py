"""What every fit shares: priors, boxes, losses, constraints, warm starts, seeds, saved state."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import make_classifier
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback

from sklearn_rnnbound.training.loop import Training
from sklearn_rnnbound.training.net import RampLoss

STILL = {"optimizer": "sgd", "learning_rate": 1e-300, "max_iter": 1}


def weights_of(clf):
    return clf.U_, clf.W_, clf.V_


def fitted_names(clf):
    return sorted(name for name in vars(clf) if name.endswith("_") or name.startswith("_"))


@pytest.fixture
def untrained(monkeypatch):
    """Fits fail when they come to training."""
    monkeypatch.setattr(Training, "run", lambda self: 1 / 0)


# The ramp loss


def test_ramp_loss_needs_a_margin_fixed_beforehand(small):
    clf = make_classifier(loss="ramp", margin="auto")
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


@pytest.mark.parametrize("loss", ["cross_entropy", "ramp"])
def test_pickle_restores_the_loss_of_the_net(small, prior, loss):
    X, y = small
    clf = make_classifier(prior=prior, loss=loss, margin=0.7, max_iter=2).fit(X, y)
    restored = pickle.loads(pickle.dumps(clf))
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 3)))
    targets = torch.arange(9) % 3
    expected, result = (net.criterion_(scores, targets) for net in (clf.net_, restored.net_))
    assert isinstance(restored.net_.criterion_, RampLoss) == (loss == "ramp")
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    np.testing.assert_array_equal(restored.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(restored.fit(X, y).W_, clf.W_)
    # Parameters may have changed since the fit.
    pickle.loads(pickle.dumps(restored.set_params(loss="ramp", margin="auto")))


# Priors


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"prior": make_classifier()}, ValueError, r"prior is not fitted.*FrozenEstimator"),
        ({"prior": FrozenEstimator(make_classifier())}, ValueError, "prior is not fitted"),
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


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        ({}, lambda X, y: (X[:, :, :1], y), r"features per step.* 1, 6, 3, .* 2, 6, 3, "),
        ({"hidden_size": 7}, lambda X, y: (X, y), r"hidden_size.* 2, 7, 3, .* 2, 6, 3, "),
        ({"activation": "tanh"}, lambda X, y: (X, y), r"same cell.*'tanh'.*'relu'"),
        ({"unit_types": 2}, lambda X, y: (X, y), r"unit_types.* 2\).* 1\)"),
        ({}, lambda X, y: (X, y % 2), r"number of classes.* 6, 2, .* 6, 3, "),
        ({}, lambda X, y: (X, y + 1), r"classes of y, \[1, 2, 3\].*\[0, 1, 2\]"),
        ({"box_width": 0.1, "fisher_rao_max": 1.0}, lambda X, y: (X, y), "fisher_rao_max"),
        ({"box_width": 2.1}, lambda X, y: (X, y), "'box_width' parameter"),
    ],
    # The text of a function holds its address, which differs from process to process.
    ids=lambda value: None if callable(value) else str(value),
)
def test_prior_of_another_shape(small, prior, params, change, message):
    clf = make_classifier(prior=prior, **params)
    with pytest.raises(ValueError, match=message):
        clf.fit(*change(*small))
    assert not fitted_names(clf)


def test_a_prior_fitted_on_these_very_data_is_refused(small):
    X, y = small
    start = make_classifier().fit(X, y)
    for same in (start, FrozenEstimator(pickle.loads(pickle.dumps(start)))):
        clf = make_classifier(prior=same, box_width=0.0)
        for dtype in (np.float64, np.float32):
            with pytest.raises(ValueError, match="prior was fitted on these very data"):
                clf.fit(X.astype(dtype), y)
        assert not hasattr(clf, "U_")
    clf.fit(X[:-1], y[:-1])


def test_the_classifier_is_not_its_own_prior(small):
    clf = make_classifier().fit(*small)
    with pytest.raises(ValueError, match="prior must be another classifier"):
        clf.set_params(prior=clf).fit(*small)


def test_training_starts_from_a_copy_of_the_prior(small, prior):
    before = [weight.copy() for weight in weights_of(prior)]
    clf = make_classifier(prior=prior, **STILL).fit(*small)
    for weight, start in zip(weights_of(clf), before, strict=True):
        np.testing.assert_allclose(weight, start, rtol=0, atol=1e-290)
    # The constraints hold from the start.
    assert clf.set_params(beta_w=0.5).fit(*small).beta_w_ <= 0.5
    clf = make_classifier(prior=prior, box_width=0.3, learning_rate=0.1).fit(*small)
    for weight, start, kept in zip(weights_of(clf), weights_of(prior), before, strict=True):
        np.testing.assert_array_equal(start, kept)
        assert not np.shares_memory(weight, start)
        assert not np.array_equal(weight, start)


def test_prior_with_read_only_weights(small, prior):
    # As joblib hands large arrays to its workers.
    frozen = pickle.loads(pickle.dumps(prior))
    for weight in frozen._certifier.weights.values():
        weight.flags.writeable = False
    clf = make_classifier(prior=FrozenEstimator(frozen), box_width=0.1).fit(*small)
    expected = make_classifier(prior=FrozenEstimator(prior), box_width=0.1).fit(*small)
    np.testing.assert_array_equal(clf.W_, expected.W_)


def test_clone_keeps_the_fit_of_a_frozen_prior_and_loses_that_of_a_bare_one(small, prior):
    frozen = make_classifier(prior=FrozenEstimator(prior), box_width=0.1)
    first, second = frozen.fit(*small), clone(frozen).fit(*small)
    np.testing.assert_array_equal(first.W_, second.W_)
    assert first.bound_report_()["localized"] == second.bound_report_()["localized"]
    with pytest.raises(ValueError, match=r"if it was cloned, wrap .*FrozenEstimator"):
        clone(make_classifier(prior=prior)).fit(*small)


def test_samples_of_priors_and_warm_starts_are_counted(small, other, prior):
    second = make_classifier(prior=FrozenEstimator(prior)).fit(small[0][::2], small[1][::2])
    third = make_classifier(prior=pickle.loads(pickle.dumps(second)), box_width=0.1)
    X, y = small[0][1::2], small[1][1::2]
    text = " ".join(str(third.fit(X, y).bound_report_(X_train=X, y_train=y)).split())
    for words in ("weights w learned", "around weights learned", "from weights learned"):
        assert f"{words} on up to 75 samples, assumed disjoint" in text
    assert third._certifier.n_learned == 75 + 30
    warm = make_classifier(warm_start=True).fit(*small).fit(*other)
    assert warm._certifier.n_learned == 60 + 45


# Boxes


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", ["beta_u", "beta_w", "beta_v"])
def test_radius_that_the_box_can_leave(small, prior, name):
    A = getattr(prior, name[-1].upper() + "_")
    reached = np.abs(A).sum(1).max()
    budgets = np.maximum(A, 0).sum(1).max(), np.maximum(-A, 0).sum(1).max()
    clf = make_classifier(prior=prior, box_width=0.1)
    for enough in (1.0501 * reached, tuple(1.0501 * budget for budget in budgets)):
        with pytest.raises(ZeroDivisionError):
            clf.set_params(**{name: enough}).fit(*small)
    for short in (1.0499 * reached, (1.0501 * budgets[0], 1.0499 * budgets[1])):
        with pytest.raises(ValueError, match=rf"box_width=0\.1 lets weights leave {name}="):
            clf.set_params(**{name: short}).fit(*small)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"noise_std": 0.3}], ids=str)
def test_weights_stay_in_the_box(small, prior, dtype, width, params):
    X, y = small
    clf = make_classifier(prior=prior, box_width=width, learning_rate=0.5, **params)
    clf.fit(X.astype(dtype), y)
    box = clf._certifier.statistics.box
    assert (box.width, box.n_reference) == (width, 45)
    moved = 0
    for name in "UWV":
        weight, start = getattr(clf, f"{name}_"), getattr(prior, f"{name}_")
        low, high = box.lower[name], box.upper[name]
        assert weight.dtype == low.dtype == high.dtype == dtype
        # In the ends that the bound uses, without tolerance.
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


# Constraints

BETAS = [
    {"beta_u": 0.7, "beta_w": 0.9, "beta_v": 1.3},
    {"beta_u": (0.5, 0.2), "beta_w": (0.9, 0.1), "beta_v": (0.3, 0.6)},
    {"beta_u": 0.7, "beta_w": 1.0, "beta_v": 0.5, "unit_types": 2},
    {"beta_w": 0.0},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("betas", BETAS, ids=str)
def test_returned_weights_are_in_the_constraint_set(small, dtype, betas):
    X, y = small
    clf = make_classifier(**betas, learning_rate=0.1).fit(X.astype(dtype), y)
    for name, weight in zip("uwv", weights_of(clf), strict=True):
        beta, reached = betas.get(f"beta_{name}"), getattr(clf, f"beta_{name}_")
        if isinstance(beta, tuple):
            assert (np.maximum(weight, 0).sum(1) <= beta[0]).all()
            assert (np.maximum(-weight, 0).sum(1) <= beta[1]).all()
            assert isinstance(reached, tuple)
        else:
            assert reached == pytest.approx(np.abs(weight).astype(float).sum(1).max())
            if beta is not None:
                assert (np.abs(weight).sum(1) <= beta).all()
                assert reached <= beta
    if "unit_types" in betas:
        signs = np.array([1, 1, 1, -1, -1, -1])
        assert (clf.U_ * signs[:, None] >= 0).all()
        assert (clf.V_ * signs >= 0).all()
        assert (clf.W_ >= 0).all()
        assert not clf.W_[signs[:, None] != signs].any()
        assert clf.W_.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params", [{}, {"noise_std": 0.3}, {"early_stopping": True, "noise_std": 0.1}], ids=str
)
def test_fisher_rao_norm_is_within_its_radius(small, dtype, params):
    X, y = small
    free = make_classifier(**params).fit(X.astype(dtype), y).fisher_rao_norm_()
    radius = free / 3
    clf = make_classifier(fisher_rao_max=radius, **params).fit(X.astype(dtype), y)
    assert 0.9 * radius < clf.fisher_rao_norm_() <= radius


# Warm starts


def test_warm_start_goes_on_and_checks_what_it_goes_on_from(small):
    X, y = small
    clf = make_classifier(warm_start=True, **STILL)
    first = clf.fit(X, y).W_
    np.testing.assert_allclose(clf.fit(X, y).W_, first, atol=1e-290)
    afresh = clf.set_params(warm_start=False, random_state=1).fit(X, y).W_
    assert not np.allclose(afresh, first)
    clf.set_params(warm_start=True)
    before, copy = clf.W_, clf.W_.copy()
    clf.set_params(beta_w=0.1).fit(X, y)
    np.testing.assert_array_equal(before, copy)
    assert clf.beta_w_ <= 0.1
    with pytest.raises(ValueError, match="classes of the previous fit"):
        clf.fit(X, y + 1)
    with pytest.raises(ValueError, match=r"warm_start needs .* hidden_size"):
        clf.set_params(hidden_size=7).fit(X, y)


def test_a_fit_of_another_cell_leaves_no_weights_behind(small, toy_cell):
    clf = make_classifier(warm_start=True).fit(*small)
    with pytest.raises(ValueError, match=r"same cell.*'toy'.*'elman'"):
        clf.set_params(cell="toy").fit(*small)
    assert clf.W_.shape == (6, 6)
    clf.set_params(warm_start=False).fit(*small)
    assert clf.R_.shape == (6, 6)
    clf.set_params(cell="elman").fit(*small)
    assert not hasattr(clf, "R_")


def test_fisher_rao_radius_needs_a_cell_that_has_the_norm(small, toy_cell):
    clf = make_classifier(cell="toy", fisher_rao_max=1.0)
    with pytest.raises(ValueError, match=r"fisher_rao_max .*cell='toy'"):
        clf.fit(*small)
    assert not fitted_names(clf)


# Parameters


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"beta_u": -1.0}, ValueError, "beta_u"),
        ({"beta_w": (1.0,)}, ValueError, r"beta_w.*pair"),
        ({"beta_w": (1.0, -1.0)}, ValueError, r"beta_w.*pair"),
        ({"beta_v": (np.nan, 1.0)}, ValueError, r"beta_v.*pair"),
        ({"unit_types": 2, "hidden_size": 1}, ValueError, "hidden_size >= 2"),
        ({"input_bound": 0.1}, ValueError, "input_bound=0.1 does not hold"),
        ({"device": "cuda:99"}, ValueError, r"device='cuda:99' is not there.*'cpu'"),
        ({"callbacks": [("three", 3)]}, TypeError, r"callbacks must hold skorch callbacks.*3"),
    ],
    ids=str,
)
def test_parameters_that_contradict_the_data_or_the_machine(small, params, error, message):
    clf = make_classifier(**params)
    with pytest.raises(error, match=message):
        clf.fit(*small)
    assert not fitted_names(clf)


def test_validation_part_needs_two_samples_of_each_class(small):
    X, _ = small
    with pytest.raises(ValueError, match=r"early_stopping.*validation_fraction=0\.1"):
        make_classifier(early_stopping=True).fit(X, np.arange(60) == 0)


def test_batch_larger_than_the_sample_is_clipped_with_a_warning(small):
    with pytest.warns(UserWarning, match=r"batch_size=100 .* 60") as caught:
        clf = make_classifier(batch_size=100).fit(*small)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(clf.W_, make_classifier(batch_size=60).fit(*small).W_)


def test_an_impossible_smallest_eigenvalue_is_named(small):
    X, y = small
    with pytest.warns(UserWarning, match=r"min_eigenvalue=1e\+06 .* mean squared entry") as caught:
        make_classifier(min_eigenvalue=1e6).fit(X, y)
    assert caught[0].filename == __file__
    # A true one may lie above a sample's mean square.
    make_classifier(min_eigenvalue=1.1 * float(np.square(X).mean())).fit(X, y)


def test_second_moment_is_computed_once_per_data_set(small, tmp_path, monkeypatch):
    X, y = small
    first = make_classifier(memory=str(tmp_path)).fit(X, y)._certifier.statistics
    spectrum = "sklearn_rnnbound.evidence.spectrum.scipy.linalg"
    monkeypatch.setattr(f"{spectrum}.svdvals", lambda *_, **__: 1 / 0)
    second = make_classifier(memory=str(tmp_path), beta_w=1.0).fit(X, y)._certifier.statistics
    assert second.min_eigenvalue == first.min_eigenvalue > 0
    with pytest.raises(ZeroDivisionError):
        make_classifier(memory=str(tmp_path)).fit(X + 1, y)


# Reproducibility, failure and global state

FRESH = """
import numpy as np, warnings
warnings.simplefilter("ignore")
from sklearn_rnnbound import RNNBoundClassifier
X = np.random.default_rng(0).normal(size=(40, 6, 3)).astype(np.float32)
y = np.arange(40) % 3
clf = RNNBoundClassifier(8, noise_std=0.1, beta_w=1.0, batch_size=16, max_iter=5, random_state=3)
print(clf.fit(X, y).W_.tobytes().hex(), clf.generalization_bound_().hex())
"""


def test_same_seed_gives_the_same_bits_in_a_fresh_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(small):
    fits = [make_classifier(noise_std=0.2, random_state=s).fit(*small) for s in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0].W_, fits[1].W_)
    assert fits[0].generalization_bound_() == fits[1].generalization_bound_()
    assert not np.array_equal(fits[0].W_, fits[2].W_)


class Interrupt(Callback):
    """Ctrl-C in the second epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("params", "error"),
    [({"callbacks": [Interrupt]}, KeyboardInterrupt), ({"learning_rate": 1e300}, ValueError)],
    ids=["interrupted", "diverged"],
)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(small, other, params, error):
    fresh, fitted = make_classifier(**params), make_classifier().fit(*small)
    state = dict(vars(fitted.set_params(**params)))
    for clf in (fresh, fitted):
        with pytest.raises(error):
            clf.fit(*other)
    assert not fitted_names(fresh)
    assert vars(fitted).keys() == state.keys()
    assert all(vars(fitted)[name] is value for name, value in state.items())


# Saved state


@pytest.mark.parametrize("params", [{}, {"noise_std": 0.1, "beta_w": (0.5, 0.4)}], ids=str)
def test_pickle_is_small_and_keeps_every_bound(params):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3000, 20, 4)), rng.integers(0, 2, 3000)
    clf = make_classifier(max_iter=1, callbacks=[Callback], **params).fit(X, y)
    data = pickle.dumps(clf)
    assert len(data) <= sum(weight.nbytes for weight in weights_of(clf)) + 16 * len(X) + 2**16
    restored = pickle.loads(data)
    assert restored.callbacks is None
    assert restored.bound_report_() == clf.bound_report_()
    np.testing.assert_array_equal(restored.predict(X), clf.predict(X))
    np.testing.assert_array_equal(restored.certified_radius_(X), clf.certified_radius_(X))
    assert vars(restored).keys() == vars(clf).keys()


def test_warm_start_goes_on_under_another_activation_and_other_types(small):
    clf = make_classifier(warm_start=True, max_iter=2).fit(*small)
    for params in ({"activation": "tanh"}, {"activation": "relu", "unit_types": 2}):
        assert clf.set_params(**params).fit(*small).n_iter_ == 2


def test_weights_of_any_size_train(small):
    """Their sums stay in range, and powers of two round nothing."""
    weight = {0: 1.0, 1: 1.5, 2: 0.5}
    expected = make_classifier(class_weight=weight).fit(*small).W_
    huge = {label: 2.0**1022 * value for label, value in weight.items()}
    np.testing.assert_array_equal(make_classifier(class_weight=huge).fit(*small).W_, expected)
