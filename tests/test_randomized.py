"""The randomised classifier against draws of single networks, one after the other."""

import numpy as np
import pytest
import torch

from sklearn_rnnbound import randomized
from sklearn_rnnbound.network import RecurrentNetwork, network_scores, score_margins
from sklearn_rnnbound.randomized import count_weights, posterior_error, rows_per_draw

ACTIVATIONS = ["relu", "tanh"]


def make_case(n=40, n_steps=4, d=2, m=5, k=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    weights = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((m, d), (m, m), (k, m))
    )
    X = torch.randn(n, n_steps, d, generator=generator, dtype=torch.float64).to(dtype)
    return weights, X, torch.randint(k, (n,), generator=generator)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def errors(weights, X, targets, activation="relu"):
    """Which samples are errors of one network; a tie is one."""
    return score_margins(network_scores(RecurrentNetwork(*weights, activation), X), targets) <= 0


def sharing(monkeypatch, weights, rows):
    """Let so many rows share a draw of these weights."""
    monkeypatch.setattr(randomized, "_NORMALS_PER_ROW", count_weights(weights) / rows)
    assert rows_per_draw(weights) == rows


def test_number_of_weights_and_of_rows_that_share_a_draw():
    assert count_weights(make_case()[0]) == 5 * 2 + 5 * 5 + 3 * 5
    assert rows_per_draw(make_case()[0]) == 1
    m = 100
    weights = torch.zeros(m, 2), torch.zeros(m, m), torch.zeros(2, m)
    assert rows_per_draw(weights) == round((2 * m + m * m + 2 * m) / 1024) == 10


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 3, 7, 40, 1000])
def test_no_spread_gives_the_error_of_the_network_itself(monkeypatch, activation, dtype, rows):
    weights, X, targets = make_case(dtype=dtype)
    sharing(monkeypatch, weights, rows)
    expected = float(errors(weights, X, targets, activation).double().mean())
    assert 0 < expected < 1
    assert posterior_error(weights, 1e-12, X, targets, activation, generator()) == expected


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("entries", [1, 150, 10_000])
def test_batches_of_every_size_cover_every_row_once(monkeypatch, rows, entries):
    weights, X, targets = make_case(n=41)
    sharing(monkeypatch, weights, rows)
    monkeypatch.setattr(randomized, "_BATCH_ENTRIES", entries)
    counts = []
    error = posterior_error(weights, 1e-12, X, targets, "relu", generator(), counts.append)
    assert sum(counts) == 41
    # A group never falls into two batches.
    assert all(count % rows == 0 for count in counts[:-1])
    assert (len(counts) > 1) == (entries < 10_000)
    assert error == float(errors(weights, X, targets).double().mean())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 4])
def test_mean_is_that_of_networks_drawn_one_by_one(monkeypatch, activation, rows):
    weights, X, targets = make_case(n=30)
    sharing(monkeypatch, weights, rows)
    std, n_draws = 0.4, 1200
    rng = np.random.default_rng(0)
    slow = []
    for _ in range(n_draws):
        drawn = tuple(w + std * torch.from_numpy(rng.normal(size=w.shape)) for w in weights)
        slow.append(float(errors(drawn, X, targets, activation).double().mean()))
    source = generator(1)
    fast = [posterior_error(weights, std, X, targets, activation, source) for _ in range(n_draws)]
    spread = np.hypot(np.std(slow) / np.sqrt(len(slow)), np.std(fast) / np.sqrt(len(fast)))
    assert abs(np.mean(fast) - np.mean(slow)) < 4.5 * spread < 0.03
    # The draws matter: the network itself has another error.
    assert (
        abs(np.mean(slow) - float(errors(weights, X, targets, activation).double().mean())) > 0.02
    )


def rate_of_agreement(weights, n_rounds=200):
    """How often a sample and its copy are both right or both wrong."""
    X, targets = make_case(n=2, k=2)[1:]
    pair = X[:1].repeat(2, 1, 1), targets[:1].repeat(2)
    source = generator(3)
    outcomes = [posterior_error(weights, 2.0, *pair, "relu", source) for _ in range(n_rounds)]
    return np.mean([outcome in (0.0, 1.0) for outcome in outcomes])


def test_rows_of_a_group_share_a_draw_and_others_do_not(monkeypatch):
    weights = make_case(k=2)[0]
    sharing(monkeypatch, weights, 2)
    assert rate_of_agreement(weights) == 1.0
    sharing(monkeypatch, weights, 1)
    assert rate_of_agreement(weights) < 0.9


@pytest.mark.parametrize("m", [1, 6])
def test_draws_have_the_mean_and_the_spread_of_the_posterior(m):
    weight = torch.arange(2.0 * m, dtype=torch.float64).view(2, m)
    draws = randomized._draws(weight, 0.5, 20_000, generator())
    assert draws.shape == (20_000, m, 2)
    torch.testing.assert_close(draws.mean(0), weight.T, rtol=0, atol=5 * 0.5 / 20_000**0.5)
    torch.testing.assert_close(draws.std(0), torch.full_like(weight.T, 0.5), rtol=0.03, atol=0)
    flat = (draws - weight.T).flatten(1)
    correlation = torch.corrcoef(flat.T) - torch.eye(2 * m)
    assert correlation.abs().max() < 5 / 20_000**0.5


def test_ties_are_errors():
    weights, X, targets = make_case(k=2)
    U, W, V = weights
    same = U, W, torch.ones_like(V)
    assert posterior_error(same, 0.0, X, targets, "relu", generator()) == 1.0
    # Steps of zeros have scores of zero, whatever the weights.
    assert posterior_error(weights, 1.0, torch.zeros_like(X), targets, "relu", generator()) == 1.0


def test_the_same_generator_gives_the_same_errors_and_the_global_one_is_untouched():
    weights, X, targets = make_case()
    before = torch.get_rng_state()
    first, again, other = (
        [posterior_error(weights, 0.7, X, targets, "relu", source) for _ in range(5)]
        for source in (generator(0), generator(0), generator(1))
    )
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())


def test_data_and_weights_stay_as_they_are(monkeypatch):
    weights, X, targets = make_case(n=10)
    sharing(monkeypatch, weights, 4)
    before = [value.clone() for value in (*weights, X, targets)]
    posterior_error(weights, 1.0, X, targets, "tanh", generator())
    for old, new in zip(before, (*weights, X, targets), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("scale", [1e20, 1e38])
def test_scores_that_overflow_are_errors(scale):
    # Infinite states with weights of both signs have no score at all: nan.
    weights, X, targets = make_case(n_steps=6, dtype=torch.float32)
    U, W, V = weights
    large = U, scale * W, V
    scores = network_scores(RecurrentNetwork(*large), X)
    assert not scores.isfinite().any(1).all()
    with torch.no_grad():
        right = ~scores.isnan().any(1) & (score_margins(scores, targets) > 0)
    error = posterior_error(large, 1e-12, X, targets, "relu", generator())
    assert error >= 1 - float(right.double().mean())
