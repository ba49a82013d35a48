"""The same results on a CUDA device."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make_classifier

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
