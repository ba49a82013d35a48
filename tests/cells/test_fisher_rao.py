"""The Fisher-Rao norms against powers of W and the gradient of every sample."""

import numpy as np
import pytest
import torch
import transcription
from networks import D, K, L, M, N, Toy, make_inputs, make_weights, plain_gradient, plain_scores

from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.cells import fisher_rao as module
from sklearn_rnnbound.cells.fisher_rao import (
    FisherRaoSums,
    double_blocks,
    fisher_rao_norm,
    gradient_norm,
)

TARGETS = torch.tensor([0, 1, 2, 3, 0, 1, 2])


def doubled(weights):
    return {name: weight.double() for name, weight in weights.items()}


def test_linearized_norm_is_the_root_mean_square_of_the_largest_tau():
    cell, weights, X = Elman(D, M, K), make_weights(), make_inputs()
    expected = transcription.fisher_rao(*(A.numpy() for A in weights.values()), X.numpy())
    assert fisher_rao_norm(cell, weights, [X[:4], X[4:]]) == pytest.approx(expected, rel=1e-12)
    larger = weights | {"V": 3 * weights["V"]}
    assert fisher_rao_norm(cell, larger, [X]) == pytest.approx(3 * expected, rel=1e-12)


def test_linearized_norm_runs_in_double_precision():
    weights, X = make_weights(dtype=torch.float32), make_inputs(dtype=torch.float32)
    expected = fisher_rao_norm(Elman(D, M, K), doubled(weights), [X.double()])
    assert fisher_rao_norm(Elman(D, M, K), weights, [X]) == expected


def test_two_classes_have_the_norm_of_the_scalar_score_too():
    weights, X = make_weights(), make_inputs()
    weights["V"] = weights["V"][:2]
    sums = FisherRaoSums(Elman(D, M, 2), weights, L)
    for block in X.split(3):
        sums.add(block)
    U, W, V = (A.numpy() for A in weights.values())
    expected = [transcription.fisher_rao(U, W, rows, X.numpy()) for rows in (V, V[1:] - V[:1])]
    assert sums.norms(N) == pytest.approx(expected, rel=1e-12)


def test_norm_of_more_classes_has_no_scalar_and_one_that_overflows_is_infinite():
    weights, X = make_weights(), make_inputs()
    sums = FisherRaoSums(Elman(D, M, K), weights, L)
    sums.add(X)
    assert sums.norms(N)[1] is None
    assert fisher_rao_norm(Elman(D, M, K), weights, [1e300 * X]) == np.inf
    huge = {name: 1e200 * weight for name, weight in weights.items()}
    assert gradient_norm(Elman(D, M, K, "tanh"), huge, [1e300 * X], TARGETS) == np.inf


def test_a_cell_without_a_linearised_form_has_no_such_norm():
    sums = FisherRaoSums(Toy(D, M, K), make_weights(names="URWV"), L)
    sums.add(make_inputs())
    norm, scalar = sums.norms(N)
    assert np.isnan(norm)
    assert scalar is None


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("kind", [Elman, Toy])
def test_gradient_norm_against_the_gradient_of_every_sample(kind, activation):
    names = "UWV" if kind is Elman else "URWV"
    weights, X = make_weights(names=names), make_inputs()
    theta = torch.cat([weights[name].flatten() for name in names])
    products = []
    for x, y in zip(X, TARGETS, strict=True):
        scores = plain_scores(weights, x[None], activation)
        loss_gradient = scores.softmax(1)
        loss_gradient[0, y] -= 1
        _, gradient = plain_gradient(weights, x[None], loss_gradient, activation)
        products.append(float(theta @ gradient) ** 2)
    cell, chunks = kind(D, M, K, activation), X.split(3)
    expected = np.sqrt(np.mean(products))
    assert gradient_norm(cell, weights, chunks, TARGETS) == pytest.approx(expected, rel=1e-10)
    single = {name: weight.float() for name, weight in weights.items()}
    blocks = [chunk.float() for chunk in chunks]
    assert gradient_norm(cell, single, blocks, TARGETS) == pytest.approx(expected, rel=1e-4)


def test_blocks_in_double_precision_are_the_chunk(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 2 * L * D)
    X = make_inputs(dtype=torch.float32)
    blocks = list(double_blocks(X))
    assert [len(block) for block in blocks] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(blocks), X.double())
