"""The example on film reviews, on made-up reviews: who sees what, and what the table rests on."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.datasets import WordVectors
from sklearn_rnnbound.preprocessing import WordVectorEncoder

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


@dataclass
class Watched:
    """A report that was asked for, and the numbers of the reviews that stand behind it.

    `learned` are those of the features and of the prior, `trained` those of the network itself.
    """

    encoder: WordVectorEncoder
    classifier: RNNBoundClassifier
    learned: set
    trained: set
    certified: set
    tested: set
    delta: float


@pytest.fixture(scope="module")
def run(reviews, vectors):
    """Result of two seeds, and every report in it."""
    numbers = {text: n for n, text in enumerate([*reviews.train, *reviews.test])}
    labels = [*reviews.y_train, *reviews.y_test]
    assert len(numbers) == 800
    # By encoder or classifier, and by sequence.
    fitted, encoded, reports = {}, {}, []

    def spy(cls, name, record):
        original = getattr(cls, name)

        def wrapped(self, *arguments, **options):
            outcome = original(self, *arguments, **options)
            record(self, outcome, *arguments, **options)
            return outcome

        patch.setattr(cls, name, wrapped)

    def read(X, y):
        """Reviews behind sequences, and their one encoder."""
        rows = [encoded[x.tobytes()] for x in X]
        assert [labels[row] for row, _ in rows] == list(y)
        (encoder,) = {encoder for _, encoder in rows}
        return {row for row, _ in rows}, encoder

    def encoder_fit(self, _, documents, y=None):
        fitted[self] = {numbers[text] for text in documents}

    def encoder_transform(self, X, documents):
        for x, text in zip(X, documents, strict=True):
            sequence = x.tobytes()
            assert encoded.get(sequence, (numbers[text],))[0] == numbers[text]
            encoded[sequence] = numbers[text], self

    def classifier_fit(self, _, X, y):
        rows, encoder = read(X, y)
        known, *_ = fitted.get(self, (set(),))
        fitted[self] = known | rows, fitted[encoder]

    def classifier_report(self, _, X_test, y_test, *, X_train, y_train, delta=None, **options):
        certified, encoder = read(X_train, y_train)
        trained, _ = fitted[self]
        learned = fitted[encoder].union(
            *(() if self.prior is None else fitted[self.prior.estimator])
        )
        tested, _ = read(X_test, y_test)
        delta = self.delta if delta is None else delta
        reports.append(Watched(encoder, self, learned, trained, certified, tested, delta))

    with pytest.MonkeyPatch.context() as patch:
        spy(WordVectorEncoder, "fit", encoder_fit)
        spy(WordVectorEncoder, "transform", encoder_transform)
        spy(RNNBoundClassifier, "fit", classifier_fit)
        spy(RNNBoundClassifier, "bound_report_", classifier_report)
        return example.run(reviews, vectors, n_seeds=2, verbose=False), reports


@pytest.fixture(scope="module")
def result(run):
    return run[0]


@pytest.mark.parametrize("n", [25, 500, 25_000])
def test_every_row_has_one_use(n):
    split = example.parts(n, seed=3)
    everything = np.concatenate([split.scores, split.start, split.rest])
    np.testing.assert_array_equal(np.sort(everything), np.arange(n))
    np.testing.assert_array_equal(split.norms, np.setdiff1d(np.arange(n), split.scores))
    split = example.Parts(np.arange(3), np.arange(3, 5), np.array([4, 5]))
    with pytest.raises(ValueError, match="learning and for certification"):
        split.check()


ROUTES = ["norms", "start", "plain"]


def test_what_is_learned_on_a_part_is_not_certified_on_it(run):
    _, reports = run
    for report in reports:
        assert report.learned.isdisjoint(report.certified)
        # The bounds count what the network was trained on, all of it.
        assert report.trained == report.certified
        assert report.tested == set(range(500, 800))
        assert report.tested.isdisjoint(report.learned | report.trained)
    sizes = [(len(report.learned), len(report.certified)) for report in reports]
    # 8, 5 and 12 of 25 parts of 500 reviews.
    assert sizes == 2 * [(160, 340), (160 + 100, 240), (0, 500)]
    norms, start, *_ = reports
    assert norms.learned < start.learned
    assert norms.certified > start.certified
    # Another seed, other parts.
    assert norms.learned != reports[3].learned


def test_every_route_shares_delta_among_all_its_settings(run):
    result, reports = run
    scores = 2 * 7 * 4 * 7 * 5 * 8 * 3
    counts = [scores * 5, scores * 5 * 5 * 3 * 3**3, 5 * 3 * 5 * 4]
    assert [example.n_settings(route) for route in ROUTES] == counts
    deltas = [report.delta for report in reports]
    assert deltas == pytest.approx(2 * [0.05 / count for count in counts], rel=1e-12)
    first = result["report"]
    assert first.delta == 0.05
    assert "at confidence 0.95 for each bound" in str(first)
    for bound in first:
        if bound.kind != "order_only":
            assert bound.delta == pytest.approx(0.05, rel=1e-12)
            assert any("among 235200 candidates" in line for line in bound.assumptions)


def test_the_settings_are_among_those_that_share_delta(run):
    _, reports = run
    names = {"hidden_size": "hidden units", "margin": "margin", "noise_std": "noise"}
    names |= {"beta_u": "radius of U", "box_width": "width of the box"}
    encoding = {"supervised": "kind of word scores", "C": "C of the regression", "clip": "clip"}
    encoding |= {"n_segments": "segments"}
    n_checked = []
    for route, report in zip(2 * ROUTES, reports, strict=True):
        choices = {name.split(",")[0]: options for name, options in example.CHOICES[route].items()}
        checked = [
            getattr(estimator, name) in choices[choice]
            for estimator, known in ((report.classifier, names), (report.encoder, encoding))
            for name, choice in known.items()
            if choice in choices
        ]
        assert all(checked)
        n_checked.append(len(checked))
    assert n_checked == 2 * [7, 8, 3]


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
    report = result["report"]
    assert report["peeling"].kind == "certified"
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
