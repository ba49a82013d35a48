"""Guarantees tested as guarantees: the experiment is repeated and violations are counted.

A law is the uniform distribution on a fixed pool of sequences. Samples are drawn from it with
replacement, so they are independent, and the true risk of a network is its error on the pool,
without any error of estimation. A bound that holds with probability 1 - delta is violated more
often than a binomial test allows only if it is wrong: the level of a test is such that all tests
of this file together raise a false alarm with probability 1e-6 (for the choice of the seeds; with
seeds fixed there is no chance left).
"""

import math
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.frozen import FrozenEstimator

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.bounds import BOUNDS, Setting
from sklearn_rnnbound.bounds._numeric import kl_inverse
from sklearn_rnnbound.bounds.holdout import HoldoutCounts, binomial_tail_inverse
from sklearn_rnnbound.bounds.occam import occam_kl, quantized
from sklearn_rnnbound.bounds.peeling import population_square
from sklearn_rnnbound.bounds.union import divided
from sklearn_rnnbound.cells import Elman
from sklearn_rnnbound.datasets import make_gaussian_sequences
from sklearn_rnnbound.evidence.trial import random_error

DELTA = 0.3
POOL = 20_000
N_TEST = 400
# At most so many binomial tests are made in this file, slow ones included.
LEVEL = 1e-6 / 200
# The fewest repetitions with which a bound that always fails is noticed: 0.3^16 < LEVEL.
FEW, MANY = 16, 200


def too_many(violations, repetitions, delta=DELTA):
    """Whether so many violations refute a bound that fails with probability delta at most."""
    return binom.sf(violations - 1, repetitions, delta) < LEVEL


def too_few(violations, repetitions, rate):
    """Whether so few violations refute a rate of violations of at least `rate`."""
    return binom.cdf(violations, repetitions, rate) < LEVEL


# ---- laws ----


@dataclass(frozen=True, eq=False)
class Law:
    """The uniform distribution on a pool of sequences X with classes y."""

    X: np.ndarray
    y: np.ndarray

    @cached_property
    def input_bound(self):
        return float(np.abs(self.X).max())

    @cached_property
    def min_eigenvalue(self):
        """Smallest eigenvalue of E[x x^T], lowered by what rounding may have added."""
        flat = self.X.reshape(len(self.X), -1)
        return float(np.linalg.eigvalsh(flat.T @ flat / len(flat))[0]) * (1 - 1e-9)

    def sample(self, n, rng):
        rows = rng.integers(len(self.X), size=n)
        return self.X[rows], self.y[rows]

    def risk(self, scores):
        """P[M <= 0] of scores (pool, k): a tie is an error."""
        own = scores[np.arange(len(scores)), self.y]
        others = scores.copy()
        others[np.arange(len(scores)), self.y] = -np.inf
        return float(np.mean(own <= others.max(1)))


def gaussian_law(n_steps, n_features, correlation, flip_y):
    """Gaussian sequences, clipped to [-2, 2]; the label is the sign of the sum, or flipped."""
    pool = make_gaussian_sequences(
        POOL, n_steps, n_features, correlation=correlation, flip_y=flip_y, random_state=0
    )
    return Law(np.clip(pool.data, -2, 2), pool.target)


def margin_law():
    """Three classes by a linear rule, without the sequences that lie close to its boundaries."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, size=(3 * POOL, 4, 2))
    angles = 2 * np.pi * np.arange(3) / 3
    scores = X.mean(1) @ np.array([np.cos(angles), np.sin(angles)])
    first, second = np.sort(scores, 1)[:, :-3:-1].T
    kept = np.flatnonzero(first - second >= 0.1)[:POOL]
    return Law(X[kept], scores[kept].argmax(1))


@cache
def make_law(name):
    return {
        "line": lambda: gaussian_law(4, 1, correlation=0.0, flip_y=0.1),
        "plane": lambda: gaussian_law(3, 2, correlation=0.3, flip_y=0.2),
        "coin": lambda: gaussian_law(4, 5, correlation=0.0, flip_y=0.5),
        "three": margin_law,
    }[name]()


# ---- experiments ----


@dataclass(frozen=True)
class Experiment:
    """What is repeated: a law, the size of the sample, a classifier and its bounds."""

    law: str
    n: int
    params: dict
    methods: tuple
    known: bool = True
    n_prior: int = 0


ALWAYS = ("trivial", "peeling", "holdout")
RELU = ("golowich2018", *ALWAYS)
BITS = ("occam", "pac_bayes")
PAPER = ("theorem2", "refined")
NOISY = ("theorem3", "refined")
BALLS = {"beta_u": 1.0, "beta_w": 0.8, "beta_v": 2.0}
BUDGETS = {"beta_u": 1.0, "beta_w": (0.7, 0.1), "beta_v": 2.0}
HALVES = {"unit_types": 2, "beta_u": 1.0, "beta_w": 1.0, "beta_v": 0.5}
NOISE = {"noise_std": 0.3, "min_eigenvalue": 0.0, "margin": 1.0}
LAPLACE = {"noise_std": 0.1, "noise": "laplace"}
LEARNED_BY_HEART = {"hidden_size": 10, "max_iter": 40}
RAMP = {"box_width": 0.1, "loss": "ramp", "margin": 0.5}

EXPERIMENTS = {
    "population form": Experiment("line", 200, BUDGETS, (*RELU, *BITS, *PAPER)),
    "two types": Experiment("line", 1000, HALVES, (*RELU, *PAPER)),
    "two types of three classes": Experiment(
        "three", 200, {**HALVES, "class_weight": "balanced"}, RELU
    ),
    "open norms": Experiment("plane", 50, LEARNED_BY_HEART, (*RELU, *BITS, *PAPER)),
    "one open norm": Experiment(
        "line", 200, {"beta_w": (0.9, 0.0), "beta_v": (1.0, 1.0), "early_stopping": True}, RELU
    ),
    "tanh": Experiment("plane", 200, {"activation": "tanh", **BALLS}, (*ALWAYS, *BITS)),
    "gaussian noise": Experiment("plane", 200, {**BALLS, **NOISE}, (*RELU, *NOISY)),
    "laplace noise": Experiment("three", 200, {**BALLS, **LAPLACE}, (*RELU, *BITS, *NOISY)),
    "three classes": Experiment("three", 200, {**BALLS, "margin": 0.5}, (*RELU, *BITS, *PAPER)),
    "narrow box": Experiment(
        "line", 400, {"box_width": 0.2}, (*RELU, *BITS, "localized"), known=False, n_prior=400
    ),
    "wide box": Experiment(
        "plane",
        50,
        {"box_width": 2.0, **LEARNED_BY_HEART},
        (*BITS, "localized", "holdout"),
        known=False,
        n_prior=50,
    ),
    "box of three classes": Experiment(
        "three", 400, RAMP, (*BITS, "localized", "holdout"), known=False, n_prior=400
    ),
}


def classifier(**params):
    defaults = {
        "hidden_size": 4,
        "max_iter": 6,
        "learning_rate": 0.05,
        "device": "cpu",
    }
    return RNNBoundClassifier(**{**defaults, **params})


def own_risks(law, clf, bounds, prior, seed):
    """True risk of what every bound speaks of: the network, its rounded or randomised form."""
    pool, targets = torch.from_numpy(law.X), torch.from_numpy(law.y)
    matrices = {"U": clf.U_, "W": clf.W_, "V": clf.V_}
    cell = Elman(law.X.shape[2], *reversed(clf.V_.shape), clf.activation)

    def risk_of(matrices):
        weights = {name: torch.from_numpy(A) for name, A in matrices.items()}
        return law.risk(cell.scores(weights, pool).numpy())

    risks = dict.fromkeys(bounds, risk_of(matrices))
    if "occam" in bounds:
        described = "; ".join(bounds["occam"].assumptions)
        bits = int(re.search(r"rounded \D*(\d+) bits", described)[1])
        centers = {name: 0 if prior is None else getattr(prior, f"{name}_") for name in matrices}
        risks["occam"] = risk_of(
            {
                name: center + quantized(matrices[name] - center, bits)[0]
                for name, center in centers.items()
            }
        )
    if "pac_bayes" in bounds:
        described = "; ".join(bounds["pac_bayes"].assumptions)
        std = 2.0 ** round(math.log2(float(re.search(r"posterior \D*([\d.e-]+)", described)[1])))
        weights = {name: torch.from_numpy(A) for name, A in matrices.items()}
        generator = torch.Generator().manual_seed(seed)
        risk = random_error(cell, weights, std, pool, targets, generator)
        # This risk alone is estimated; four standard errors are granted.
        risks["pac_bayes"] = risk - 4 * math.sqrt(risk * (1 - risk) / POOL)
    return risks


def repeat(experiment, repetitions):
    """Violations of every bound, and its smallest distance from the risk."""
    law, params = make_law(experiment.law), experiment.params
    if experiment.known:
        known = {"input_bound": law.input_bound, "min_eigenvalue": law.min_eigenvalue}
        params = {**known, **params}
    violations = dict.fromkeys(experiment.methods, 0)
    gaps = dict.fromkeys(experiment.methods, np.inf)
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        prior = None
        if experiment.n_prior:
            size = params.get("hidden_size", 4)
            prior = classifier(hidden_size=size, random_state=seed)
            prior.fit(*law.sample(experiment.n_prior, rng))
            params = {**params, "prior": FrozenEstimator(prior)}
        X, y = law.sample(experiment.n, rng)
        clf = classifier(random_state=seed, **params).fit(X, y)
        report = clf.bound_report_(
            *law.sample(N_TEST, rng),
            X_train=X,
            y_train=y,
            methods=list(experiment.methods),
            delta=DELTA,
        )
        bounds = {bound.name: bound for bound in report.bounds}
        assert {bound.kind for bound in bounds.values()} == {"certified"}
        for name, risk in own_risks(law, clf, bounds, prior, seed).items():
            assert bounds[name].delta == DELTA
            violations[name] += int(risk > bounds[name].value)
            gaps[name] = min(gaps[name], float(bounds[name].value - risk))
    return violations, gaps


def check(name, repetitions):
    violations, gaps = repeat(EXPERIMENTS[name], repetitions)
    print(repetitions, {method: (violations[method], round(gaps[method], 3)) for method in gaps})
    wrong = {method: count for method, count in violations.items() if too_many(count, repetitions)}
    assert not wrong
    # The instrument counts: the one sharp bound fails about as often as it may.
    assert not too_few(violations["holdout"], repetitions, 0.7 * DELTA)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_bounds_hold(name):
    check(name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_bounds_hold_over_many_samples(name):
    check(name, MANY)


@pytest.mark.slow
def test_price_left_out_is_seen(monkeypatch):
    # Planted fault: the empirical risk in place of what kl makes of it.
    for name in ("occam", "pac_bayes"):
        module = import_module(f"sklearn_rnnbound.bounds.{name}")
        monkeypatch.setattr(module, "kl_inverse", lambda risk, budget: risk)
    violations, _ = repeat(EXPERIMENTS["wide box"], FEW)
    assert {name for name, count in violations.items() if too_many(count, FEW)} == set(BITS)


# ---- the sharp instruments: their probability of failure without sampling ----


@pytest.mark.parametrize("delta", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("n", [50, 400])
def test_bounds_on_a_binomial_risk_fail_as_often_as_they_may(n, delta):
    counts = np.arange(n + 1)
    bounds = {
        "holdout": [binomial_tail_inverse(int(k), n, delta) for k in counts],
        "occam": [occam_kl(k / n, 0.0, n, delta) for k in counts],
        "monte_carlo": [kl_inverse(k / n, math.log(1 / delta) / n) for k in counts],
    }
    rates = np.linspace(0.01, 0.99, 197)
    law = binom.pmf(counts, n, rates[:, None])
    failures = {
        name: (law * (np.array(bound) < rates[:, None])).sum(1) for name, bound in bounds.items()
    }
    for failure in failures.values():
        assert failure.max() <= delta * (1 + 1e-9)
    assert failures["holdout"].max() > 0.95 * delta
    assert failures["monte_carlo"].max() > 0.15 * delta


def test_empirical_bernstein_bound_on_a_mean():
    rng = np.random.default_rng(0)
    n, repetitions, mean = 40, 1000, 1 / 3
    values = rng.random((repetitions, n)) ** 2
    sums = values.mean(1), values.var(1, ddof=1)
    bounds = [population_square(m, v, 1.0, n, math.log(DELTA)) for m, v in zip(*sums, strict=True)]
    assert not too_many(int((np.array(bounds) < mean).sum()), repetitions)
    # Planted fault: the mean of the sample itself.
    assert too_many(int((sums[0] < mean).sum()), repetitions)


# ---- planted faults ----


@pytest.fixture(scope="module")
def candidates():
    """Errors (20, pool) of 20 networks on labels that nobody can predict."""
    law = make_law("coin")
    errors = []
    for seed in range(20):
        X, y = law.sample(50, np.random.default_rng(seed))
        clf = classifier(random_state=seed, max_iter=1).fit(X, y)
        errors.append(clf.predict(law.X) != law.y)
    return np.array(errors)


def held_out(n_errors, setting, n_samples=N_TEST):
    """The hold-out bound for so many errors."""
    return BOUNDS["holdout"](None, HoldoutCounts(int(n_errors), n_samples), setting).value


def smallest_of_candidates(errors, setting, repetitions):
    """How often the smallest hold-out bound of all candidates is below the risk of its network."""
    rng = np.random.default_rng(1)
    risks = errors.mean(1)
    violations = 0
    for _ in range(repetitions):
        counts = errors[:, rng.integers(errors.shape[1], size=N_TEST)].sum(1)
        best = int(counts.argmin())
        violations += held_out(counts[best], setting) < risks[best]
    return violations


def test_best_of_twenty_candidates_must_share_delta(candidates):
    setting, repetitions = Setting(delta=DELTA), 400
    assert too_many(smallest_of_candidates(candidates, setting, repetitions), repetitions)
    shared = divided(setting, len(candidates), "candidates")
    violations = smallest_of_candidates(candidates, shared, repetitions)
    assert not too_many(violations, repetitions)
    # Networks that are all but independent use up what they share.
    assert not too_few(violations, repetitions, 0.4 * DELTA)


def test_delta_and_its_complement_are_told_apart(candidates):
    rng = np.random.default_rng(2)
    repetitions, errors = 2000, candidates[0]
    counts = [errors[rng.integers(len(errors), size=N_TEST)].sum() for _ in range(repetitions)]

    def violations(delta):
        bounds = [held_out(count, Setting(delta=delta)) for count in counts]
        return int((np.array(bounds) < errors.mean()).sum())

    assert not too_many(violations(DELTA), repetitions)
    assert not too_few(violations(DELTA), repetitions, 0.8 * DELTA)
    assert too_many(violations(1 - DELTA), repetitions)
    # The count also tells a bound that is too careful.
    assert too_few(violations(DELTA / 2), repetitions, 0.8 * DELTA)


@pytest.fixture(scope="module")
def memorised():
    """What is promised of networks that have learned labels without pattern."""
    promises = []
    for seed in range(FEW):
        # The labels are coins that were thrown apart from the sequences.
        pool = make_gaussian_sequences(160, 4, 25, flip_y=0.5, random_state=seed)
        own, fresh = ((pool.data[i::2], pool.target[i::2]) for i in range(2))
        common = {"hidden_size": 8, "random_state": seed, "margin": 1.0, "delta": DELTA}
        clf = classifier(beta_u=20.0, beta_w=2.0, beta_v=4.0, max_iter=40, **common).fit(*own)
        assert clf.score(*own) > 0.95
        (bound,) = clf.bound_report_(methods="peeling").bounds
        promise = {
            "complexity": bound.value,
            "no complexity": bound.value - bound.term("complexity"),
        }
        box = {"prior": FrozenEstimator(clf), "box_width": 0.0, "max_iter": 1}
        for words, (X, y) in {"own": own, "fresh": fresh}.items():
            # In another order: the data of the prior themselves are refused.
            X, y = X[::-1], y[::-1]
            certified = classifier(**common, **box).fit(X, y)
            assert np.array_equal(certified.W_, clf.W_)
            report = certified.bound_report_(
                X_train=X, y_train=y, methods=["localized", "occam", "pac_bayes"]
            )
            promise |= {f"{bound.name}, {words}": bound.value for bound in report.bounds}
        promises.append(promise)
    return {key: np.array([promise[key] for promise in promises]) for key in promises[0]}


def below_one_half(promised):
    """Number of bounds below 1/2, the risk of every classifier where labels are coins."""
    return int((promised < 0.5).sum())


def test_complexity_cannot_be_left_out(memorised):
    assert too_many(below_one_half(memorised["no complexity"]), FEW)
    assert not too_many(below_one_half(memorised["complexity"]), FEW)


@pytest.mark.parametrize("name", ["localized", "occam", "pac_bayes"])
def test_prior_must_come_from_other_data(memorised, name):
    assert too_many(below_one_half(memorised[f"{name}, own"]), FEW)
    assert not too_many(below_one_half(memorised[f"{name}, fresh"]), FEW)
