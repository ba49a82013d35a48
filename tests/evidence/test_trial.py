"""The randomised classifier against draws of single networks, and trials of other weights."""

import numpy as np
import pytest
import torch

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.cells import Elman, score_margins
from sklearn_rnnbound.evidence import trial
from sklearn_rnnbound.evidence.trial import (
    Reference,
    Trial,
    count_errors,
    random_error,
    rows_per_draw,
)
from sklearn_rnnbound.training.net import network_scores

ACTIVATIONS = ["relu", "tanh"]


def make_case(n=40, n_steps=4, d=2, m=5, k=3, activation="relu", dtype=torch.float64):
    source = generator()
    weights = {
        name: torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)
        for name, shape in {"U": (m, d), "W": (m, m), "V": (k, m)}.items()
    }
    X = torch.randn(n, n_steps, d, generator=source, dtype=torch.float64).to(dtype)
    return Elman(d, m, k, activation), weights, X, torch.randint(k, (n,), generator=source)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def error_of(cell, weights, X, targets):
    """Share of errors of one network; a tie is one."""
    return float((score_margins(network_scores(cell, weights, X), targets) <= 0).double().mean())


def random_error_of(case, std, source=None):
    cell, weights, X, targets = case
    return random_error(cell, weights, std, X, targets, source or generator())


def sharing(monkeypatch, cell, rows):
    """Let so many rows share a draw of the weights of this cell."""
    monkeypatch.setattr(trial, "_NORMALS_PER_ROW", cell.n_weights / rows)
    assert rows_per_draw(cell) == rows


def test_number_of_rows_that_share_a_draw():
    assert rows_per_draw(Elman(2, 5, 3)) == 1
    assert rows_per_draw(Elman(2, 100, 2)) == round((200 + 100 * 100 + 200) / 1024) == 10


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 3, 7, 40, 1000])
def test_no_spread_gives_the_error_of_the_network_itself(monkeypatch, activation, dtype, rows):
    case = make_case(activation=activation, dtype=dtype)
    sharing(monkeypatch, case[0], rows)
    expected = error_of(*case)
    assert 0 < expected < 1
    assert random_error_of(case, 1e-12) == expected


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("entries", [1, 150, 10_000])
def test_batches_of_every_size_cover_every_row_once(monkeypatch, rows, entries):
    case = make_case(n=41)
    sharing(monkeypatch, case[0], rows)
    monkeypatch.setattr(trial, "_BATCH_ENTRIES", entries)
    assert random_error_of(case, 1e-12) == error_of(*case)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 4])
def test_mean_is_that_of_networks_drawn_one_by_one(monkeypatch, activation, rows):
    case = cell, weights, X, targets = make_case(n=30, activation=activation)
    sharing(monkeypatch, cell, rows)
    std, n_draws = 0.4, 1200
    rng = np.random.default_rng(0)
    slow = []
    for _ in range(n_draws):
        drawn = {
            name: weight + std * torch.from_numpy(rng.normal(size=weight.shape))
            for name, weight in weights.items()
        }
        slow.append(error_of(cell, drawn, X, targets))
    source = generator(1)
    fast = [random_error_of(case, std, source) for _ in range(n_draws)]
    spread = np.hypot(np.std(slow) / np.sqrt(len(slow)), np.std(fast) / np.sqrt(len(fast)))
    assert abs(np.mean(fast) - np.mean(slow)) < 4.5 * spread < 0.03
    # The draws matter: the network itself has another error.
    assert abs(np.mean(slow) - error_of(*case)) > 0.02


def rate_of_agreement(cell, weights, n_rounds=200):
    """How often a sample and its copy are both right or both wrong."""
    _, _, X, targets = make_case(n=2, k=2)
    pair = cell, weights, X[:1].repeat(2, 1, 1), targets[:1].repeat(2)
    source = generator(3)
    outcomes = [random_error_of(pair, 2.0, source) for _ in range(n_rounds)]
    return np.mean([outcome in (0.0, 1.0) for outcome in outcomes])


def test_rows_of_a_group_share_a_draw_and_others_do_not(monkeypatch):
    cell, weights, *_ = make_case(k=2)
    sharing(monkeypatch, cell, 2)
    assert rate_of_agreement(cell, weights) == 1.0
    sharing(monkeypatch, cell, 1)
    assert rate_of_agreement(cell, weights) < 0.9


def test_ties_and_unknown_labels_are_errors():
    cell, weights, X, targets = make_case(k=2)
    same = weights | {"V": torch.ones_like(weights["V"])}
    assert random_error_of((cell, same, X, targets), 0.0) == 1.0
    assert count_errors(cell, same, X, targets) == len(X)
    # Steps of zeros have scores of zero, whatever the weights.
    assert random_error_of((cell, weights, torch.zeros_like(X), targets), 1.0) == 1.0
    unknown = torch.full_like(targets, -1)
    assert random_error_of((cell, weights, X, unknown), 1e-12) == 1.0
    assert count_errors(cell, weights, X, unknown) == len(X)


def test_the_same_generator_gives_the_same_errors_and_the_global_one_is_untouched():
    case = make_case()
    before = torch.get_rng_state()
    first, again, other = (
        [random_error_of(case, 0.7, source) for _ in range(5)]
        for source in (generator(0), generator(0), generator(1))
    )
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())


def test_data_and_weights_stay_as_they_are(monkeypatch):
    cell, weights, X, targets = case = make_case(n=10, activation="tanh")
    sharing(monkeypatch, cell, 4)
    values = *weights.values(), X, targets
    before = [value.clone() for value in values]
    random_error_of(case, 1.0)
    for old, new in zip(before, values, strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("scale", [1e20, 1e38])
def test_scores_that_overflow_are_errors(scale):
    # Infinite states with weights of both signs have no score at all: nan.
    cell, weights, X, targets = make_case(n_steps=6, dtype=torch.float32)
    large = weights | {"W": scale * weights["W"]}
    scores = network_scores(cell, large, X)
    assert not scores.isfinite().any(1).all()
    right = ~scores.isnan().any(1) & (score_margins(scores, targets) > 0)
    wrong = 1 - float(right.double().mean())
    assert random_error_of((cell, large, X, targets), 1e-12) >= wrong
    assert count_errors(cell, large, X, targets) / len(X) == pytest.approx(wrong)


# Trials


def make_trial(train=True, test=True, prior=True, **options):
    cell, weights, X, targets = make_case()
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    other = {name: 2 * weight for name, weight in arrays.items()}
    return Trial(
        cell=cell,
        weights=arrays,
        setting=Setting(),
        train=(X[:30], targets[:30]) if train else None,
        test=(X[30:], targets[30:]) if test else None,
        prior=Reference(other, 17) if prior else None,
        initial_weights=lambda: {name: 0 * weight for name, weight in arrays.items()},
        seed=5,
        **options,
    )


def test_a_trial_counts_errors_of_any_weights_on_its_data():
    one = make_trial()
    cell, weights, X, targets = make_case()
    assert (one.n_train, one.n_test, one.n_reference) == (30, 10, 17)
    assert one.rows_per_draw == 1
    assert one.train_errors(one.weights) == 30 * error_of(cell, weights, X[:30], targets[:30])
    assert one.test_errors(one.weights) == 10 * error_of(cell, weights, X[30:], targets[30:])
    # Ties everywhere.
    assert one.train_errors(make_trial(prior=False).prior_mean) == 30
    assert one.prior_mean is one.reference
    bare = make_trial(train=False, test=False, prior=False)
    assert (bare.n_train, bare.n_test, bare.n_reference, bare.reference) == (0, 0, 0, None)
    assert not any(weight.any() for weight in bare.prior_mean.values())


def test_no_draw_of_a_trial_serves_twice():
    one, again = make_trial(), make_trial()
    errors = [one.random_error(1.0) for _ in range(6)]
    assert len(set(errors)) > 1
    assert errors == [again.random_error(1.0) for _ in range(6)]
    assert one.random_error(1e-12, test=True) == one.test_errors(one.weights) / 10
    assert make_trial(train=False).random_error(1.0, test=True) > 0


@pytest.mark.parametrize("verbose", [False, True])
def test_progress_is_shown_when_asked_for(capsys, verbose):
    with make_trial(verbose=verbose).progress("draws", 2) as done:
        done(2)
    assert ("draws: 100%" in capsys.readouterr().err) == verbose
