"""The same results on a CUDA device."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make_classifier
from skorch.callbacks import Callback

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


def assert_alike(one, other, rtol):
    for name in ("U_", "W_", "V_"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=rtol, atol=rtol / 1e4
        )


@pytest.mark.parametrize("params", [{}, {"beta_u": 1.0, "beta_w": (0.5, 0.4), "unit_types": 2}])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_agrees_with_the_cpu(small, params, early_stopping):
    X, y = small
    host, device = (
        make_classifier(device=name, early_stopping=early_stopping, **params).fit(X, y)
        for name in ("cpu", "cuda")
    )
    assert_alike(host, device, 1e-8)
    np.testing.assert_allclose(host.decision_function(X), device.decision_function(X), rtol=1e-8)
    bounds = [clf.generalization_bound_(margin=1.0) for clf in (host, device)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-8)


@pytest.mark.parametrize("noise", ["gaussian", "uniform", "laplace"])
def test_noise_and_fisher_rao_radius(small, noise):
    X, y = small
    clf = make_classifier(device="cuda", noise=noise, noise_std=0.1, fisher_rao_max=0.5)
    clf.fit(X.astype(np.float32), y)
    assert clf.fisher_rao_norm_() <= 0.5
    assert clf.bound_report_()["theorem3"].value >= 1
    loaded = pickle.loads(pickle.dumps(clf))
    assert loaded.device_ == clf.device_
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X))


def test_reports_and_curves_on_the_device(small, other, prior, toy_cell):
    X, y = small
    for params in ({"prior": prior, "box_width": 0.2, "noise_std": 0.1}, {"cell": "toy"}):
        clf = make_classifier(device="cuda", **params).fit(X, y)
        report = clf.bound_report_(*other, X_train=X, y_train=y)
        assert report.test_error == pytest.approx(1 - clf.score(*other))
        assert "pac_bayes" in report
        last = clf.bound_curve_(X, y, fractions=(0.5, 1)).reports[-1]
        for bound in last:
            assert bound.value == pytest.approx(report[bound.name].value, rel=1e-6)
        with pytest.raises(ValueError, match="nothing is held out"):
            clf.bound_report_(X, y)
    with pytest.raises(ValueError, match="prior was fitted on these very data"):
        make_classifier(prior=clf, cell="toy").fit(X, y)


@pytest.mark.parametrize("callbacks", [None, [Callback()]])
@pytest.mark.parametrize(
    "params",
    [{"early_stopping": True}, {"class_weight": "balanced"}, {"fisher_rao_max": 0.5}],
    ids=lambda params: next(iter(params)),
)
def test_data_without_room_on_the_device_stay_on_the_host(small, params, callbacks, monkeypatch):
    fits = []
    for room in (True, False):
        monkeypatch.setattr("sklearn_rnnbound._base.has_room", lambda *_, room=room: room)
        fits.append(make_classifier(device="cuda", callbacks=callbacks, **params).fit(*small))
    assert_alike(*fits, 1e-12)
    bounds = [clf.generalization_bound_(margin=1.0) for clf in fits]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-10)
