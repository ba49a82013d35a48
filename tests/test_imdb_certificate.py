"""The example on film reviews, on made-up reviews: who sees what, and what the table rests on."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sklearn_rnnbound.datasets import WordVectors

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import imdb_certificate as example

WORDS = [f"w{number}" for number in range(60)]


def made_up(n, seed):
    """Reviews of 30 words, of which the first 20 speak for and the last 20 against."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    lean = np.linspace(0.5, -0.5, 60)
    texts = []
    for label in y:
        p = 1 + (2 * label - 1) * lean
        texts.append(" ".join(rng.choice(WORDS, size=30, p=p / p.sum())))
    return np.array(texts, dtype=object), y


@pytest.fixture(scope="module")
def reviews():
    return example.Reviews(*made_up(500, 0), *made_up(300, 1))


@pytest.fixture(scope="module")
def vectors():
    values = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32)
    values[:, 0] += np.linspace(1, -1, 60)
    return WordVectors(list(WORDS), values)


@pytest.fixture(scope="module")
def result(reviews, vectors):
    return example.run(reviews, vectors, n_seeds=2, verbose=False)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [25, 500, 25_000])
def test_every_row_has_one_use(n, seed):
    split = example.parts(n, seed)
    everything = np.concatenate([split.scores, split.start, split.rest])
    np.testing.assert_array_equal(np.sort(everything), np.arange(n))
    np.testing.assert_array_equal(split.norms, np.setdiff1d(np.arange(n), split.scores))


def test_a_row_of_two_uses_is_noticed():
    split = example.Parts(np.arange(3), np.arange(3, 5), np.array([4, 5]))
    with pytest.raises(ValueError, match="learning and for certification"):
        split.check()


def test_what_is_learned_on_a_part_is_not_certified_on_it(reviews, vectors, monkeypatch):
    learned, fitted = [], []

    def spy(function, log, rows):
        def wrapped(*arguments):
            log.append([set(map(int, part)) for part in rows(*arguments)])
            return function(*arguments)

        return wrapped

    encoder = spy(example.score_encoder, learned, lambda reviews, rows: [rows])
    start = spy(example.started, fitted, lambda X, y, start, rest, seed: [start, rest])
    monkeypatch.setattr(example, "score_encoder", encoder)
    monkeypatch.setattr(example, "started", start)
    example.run(reviews, vectors, n_seeds=2, verbose=False)
    assert len(learned) == len(fitted) == 2
    for (scores,), (begun, rest) in zip(learned, fitted, strict=True):
        assert scores.isdisjoint(begun)
        assert scores.isdisjoint(rest)
        assert begun.isdisjoint(rest)
        assert len(scores | begun | rest) == 500
    assert learned[0] != learned[1]


def test_test_reviews_decide_nothing(reviews, vectors, result):
    other = example.Reviews(
        reviews.train, reviews.y_train, reviews.test[::-1].copy(), 1 - reviews.y_test
    )
    again = example.run(other, vectors, n_seeds=2, verbose=False)
    for label, pairs in result["figures"].items():
        certificates = [value for value, _ in pairs]
        assert [value for value, _ in again["figures"][label]] == certificates
    first, second = result["report"], again["report"]
    assert [b.value for b in first if b.name != "holdout"] == [
        b.value for b in second if b.name != "holdout"
    ]
    assert second["holdout"].value != first["holdout"].value


def test_certificates_hold_on_the_test_reviews(result):
    for pairs in result["figures"].values():
        for certificate, error in pairs:
            assert error < certificate


def test_the_certificates_are_those_of_the_deterministic_constrained_network(result):
    report = result["report"]
    assert report["peeling"].kind == "certified"
    # 2 * 7 * 4 * 7 * 5 * 8 * 3 settings share delta.
    assert report["peeling"].delta == pytest.approx(0.05 / 47_040)
    assert report["theorem2"].value > 1 < report["theorem3"].value
    assert report["theorem2"].kind == report["theorem3"].kind == "plug_in"


def test_table(result):
    lines = example.table(result["figures"]).splitlines()
    assert len(lines) == 1 + len(result["figures"]) == 8
    assert len({len(line) for line in lines}) == 1
    values = [value for value, _ in result["figures"]["1 norms: peeling"]]
    assert f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})" in lines[1]


def test_vectors_are_weighted_by_the_file_alone(vectors):
    weighted = example.weighted_vectors(vectors)
    p = 1 / (np.arange(60) + 3.7)
    weight = 1e-4 / (1e-4 + p / p.sum())
    share = weight * p / (weight * p).sum()
    # What was taken off, over the weights, has mean 0 and variance 1 under Zipf's law.
    centred = weighted.vectors / weight[:, None]
    np.testing.assert_allclose(share @ centred, 0, atol=1e-5)
    np.testing.assert_allclose(share @ centred**2, 1, rtol=1e-5)
