"""The module and the net that skorch knows, and the ramp loss."""

import numpy as np
import pytest
import torch
from conftest import make_classifier
from networks import D, K, L, M, flat, make_inputs, make_weights, plain_scores

from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.training import noise
from sklearn_rnnbound.training.net import RampLoss, RecurrentNetwork, network_scores


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_scores_and_derivatives_by_weights_and_inputs_are_those_of_a_plain_loop(activation):
    network, X = RecurrentNetwork(Elman(D, M, K, activation), make_weights()), make_inputs()
    theta, results = flat(make_weights()).requires_grad_(), []
    for scores_of, parameter in (
        (network, network.theta),
        (lambda X: plain_scores(network.cell.split(theta), X, activation), theta),
    ):
        inputs = X.clone().requires_grad_()
        scores = scores_of(inputs)
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(X)) % K)
        results.append([scores.detach(), *torch.autograd.grad(loss, [parameter, inputs])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        torch.testing.assert_close(network(X), results[1][0], rtol=1e-11, atol=1e-11)


def test_weights_are_copies_and_views_of_the_parameter():
    weights = make_weights()
    network = RecurrentNetwork(Elman(D, M, K), weights)
    weights["U"].zero_()
    assert network.weights["U"].all()
    network.weights["W"].zero_()
    assert not network.theta[M * D : M * D + M * M].any()
    assert not network.weights["W"].requires_grad


def test_scores_in_blocks_of_rows_are_the_scores(monkeypatch):
    weights, X, seen = make_weights(), make_inputs(), []

    cell = Elman(D, M, K)
    infer = cell.infer
    cell.infer = lambda weights, X: seen.append(len(X)) or infer(weights, X)
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 2 * L * D)
    scores = network_scores(cell, weights, X)
    torch.testing.assert_close(scores, plain_scores(weights, X, "relu"), rtol=1e-12, atol=1e-12)
    assert seen == [2, 2, 2, 1]


def test_the_fitted_net_predicts_on_its_own(small):
    X, y = small
    clf = make_classifier().fit(X, y)
    np.testing.assert_array_equal(clf.classes_[clf.net_.predict(X)], clf.predict(X))
    np.testing.assert_allclose(clf.net_.predict_proba(X), clf.predict_proba(X))


def transcribed_ramp(scores, label, alpha):
    """Phi_alpha of the margin of one sample."""
    margin = scores[label] - max(score for c, score in enumerate(scores) if c != label)
    if margin <= 0:
        return 1.0
    return 0.0 if margin >= alpha else 1.0 - margin / alpha


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("alpha", [0.1, 7.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ramp_loss_is_the_transcribed_ramp_of_every_sample(n_classes, alpha, dtype):
    rng = np.random.default_rng(0)
    # Coarse scores tie and meet both kinks of the ramp.
    scores = np.concatenate(
        [rng.normal(size=(150, n_classes)), rng.integers(-3, 4, size=(50, n_classes)) * alpha]
    )
    scores = torch.from_numpy(scores).to(dtype)
    targets = rng.integers(n_classes, size=200)
    losses = RampLoss(alpha)(scores, torch.from_numpy(targets))
    expected = [transcribed_ramp(row, y, alpha) for row, y in zip(scores, targets, strict=True)]
    assert {0.0, 1.0} < set(np.round(expected, 6))
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, expected, atol=4 * torch.finfo(dtype).eps / min(alpha, 1))


def test_ramp_loss_pulls_between_its_kinks_alone():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (60,), generator=generator)
    margins = [
        row[y] - np.delete(row, y).max() for row, y in zip(scores.numpy(), targets, strict=True)
    ]
    variable = scores.clone().requires_grad_(True)
    RampLoss(0.8)(variable, targets).sum().backward()
    # At the label up and at the largest other score down, by 1 / alpha.
    inside = np.array([0 < margin < 0.8 for margin in margins])
    own = variable.grad[torch.arange(60), targets].numpy()
    np.testing.assert_allclose(own, np.where(inside, -1 / 0.8, 0.0))
    np.testing.assert_allclose(variable.grad.sum(1), 0, atol=1e-15)
    np.testing.assert_allclose(variable.grad.abs().sum(1), np.where(inside, 2 / 0.8, 0.0))
