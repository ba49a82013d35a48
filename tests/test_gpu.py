"""The same results on a CUDA device."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make_classifier
from skorch.callbacks import Callback
from test_stack import NETWORKS, assert_same_fit, fit_together, make_member

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.mark.parametrize("params", [{}, {"beta_u": 1.0, "beta_w": (0.5, 0.4), "unit_types": 2}])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_agrees_with_the_cpu(small, params, early_stopping):
    X, y = small
    fits = [
        make_classifier(device=device, early_stopping=early_stopping, **params).fit(X, y)
        for device in ("cpu", "cuda")
    ]
    for name in ("U_", "W_", "V_"):
        np.testing.assert_allclose(*(getattr(clf, name) for clf in fits), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(*(clf.decision_function(X) for clf in fits), rtol=1e-8)
    bounds = [clf.generalization_bound_(margin=1.0) for clf in fits]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-8)


@pytest.mark.parametrize("noise", ["gaussian", "uniform", "laplace"])
def test_noise_and_fisher_rao_radius(small, noise):
    X, y = small
    clf = make_classifier(device="cuda", noise=noise, noise_std=0.1, fisher_rao_max=0.5)
    clf.fit(X.astype(np.float32), y)
    assert clf.fisher_rao_norm_() <= 0.5
    assert clf.bound_report_()["theorem3"].value >= 1
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X))


@pytest.mark.parametrize("common", [{}, {"optimizer": "sgd", "activation": "tanh"}])
def test_a_stacked_fit_is_the_separate_fit(small, common):
    options = {"device": "cuda", **common}
    stacked = [make_member(small, name, **options) for name in NETWORKS]
    assert fit_together(stacked) == [None] * len(NETWORKS)
    for name, (clf, *_) in zip(NETWORKS, stacked, strict=True):
        for callbacks in (None, [Callback()]):
            alone, *data = make_member(small, name, callbacks=callbacks, **options)
            assert_same_fit(clf, alone.fit(*data), 1e-10)


def test_a_stacked_fit_in_single_precision_after_one_epoch(small):
    options = {"device": "cuda", "max_iter": 1, "dtype": np.float32}
    stacked = [make_member(small, name, **options) for name in NETWORKS]
    assert fit_together(stacked) == [None] * len(NETWORKS)
    for name, (clf, *_) in zip(NETWORKS, stacked, strict=True):
        alone, *data = make_member(small, name, **options)
        assert_same_fit(clf, alone.fit(*data), 1e-5)


def test_a_stack_agrees_with_the_cpu_where_no_noise_is_drawn(small):
    # The noise of two devices differs.
    fits = []
    for device in ("cpu", "cuda"):
        stacked = [make_member(small, name, device=device, noise_std=0.0) for name in NETWORKS]
        fit_together(stacked)
        fits.append([clf for clf, *_ in stacked])
    for ours, theirs in zip(*fits, strict=True):
        assert_same_fit(ours, theirs, 1e-8)


@pytest.mark.parametrize("callbacks", [None, [Callback()]])
@pytest.mark.parametrize("name", ["laplace", "early stopping", "weights", "Fisher-Rao"])
def test_data_without_room_on_the_device_stay_on_the_host(small, name, callbacks, monkeypatch):
    fits = []
    for room in (True, False):
        monkeypatch.setattr("sklearn_rnnbound.fitting._has_room", lambda *_, room=room: room)
        clf, *data = make_member(small, name, device="cuda", callbacks=callbacks)
        fit = clf._prepare(*data)
        assert fit.training.data.X.is_cuda == room
        fits.append(clf.fit(*data))
    assert_same_fit(*fits, 1e-12)
    # The bounds draw their noise where the data lie.
    if fits[0].noise_std == 0:
        bounds = [clf.generalization_bound_(margin=1.0) for clf in fits]
        assert bounds[0] == pytest.approx(bounds[1], rel=1e-10)
