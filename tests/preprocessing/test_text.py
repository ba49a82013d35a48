"""Documents as sequences: words, segments, learned scores."""

import math
import os
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_classifier
from data import data_folder
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from sklearn_rnnbound.datasets import WordVectors, load_imdb, load_word_vectors
from sklearn_rnnbound.evidence.spectrum import min_eigenvalue
from sklearn_rnnbound.preprocessing import WordVectorEncoder

VECTORS = {"good": [1.0, 0.5], "bad": [-1.0, 0.5], "film": [0.25, 3.0], "don't": [0.0, -2.0]}
GOOD, BAD, FILM, DONT = map(VECTORS.get, VECTORS)
ZERO = [0.0, 0.0]

LEARN = ["good film", "good good plot", "a bad film", "bad plot and bad cast", "Good<br />BAD"]
LABELS = np.array(["yes", "yes", "no", "no", "yes"])


def encode(*documents, **params):
    return WordVectorEncoder(VECTORS, **params).fit_transform(list(documents))


# Words


def test_words_are_looked_up_in_their_places_and_padded_in_front():
    X = encode("A GOOD<br />film... don't!", "bad", "", "?!", max_words=5)
    expected = [
        [ZERO, ZERO, GOOD, FILM, DONT],
        [ZERO, ZERO, ZERO, ZERO, BAD],
        [ZERO] * 5,
        [ZERO] * 5,
    ]
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, np.float32(expected))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_words": 2}, [BAD, ZERO]),
        ({"max_words": 2, "keep": "last"}, [FILM, ZERO]),
        ({"max_words": None, "keep": "last"}, [BAD, ZERO, GOOD, FILM, ZERO]),
        # The mean of the last four words.
        ({"max_words": 4, "keep": "last", "n_segments": 1}, [np.mean([ZERO, GOOD, FILM, ZERO], 0)]),
        ({"max_words": 2, "unknown": "skip"}, [BAD, GOOD]),
        ({"max_words": 2, "unknown": "skip", "keep": "last"}, [GOOD, FILM]),
        ({"max_words": 4, "unknown": "skip"}, [ZERO, BAD, GOOD, FILM]),
        ({"max_words": None, "unknown": "skip"}, [BAD, GOOD, FILM]),
    ],
)
def test_first_or_last_words_are_kept_after_unknown_ones_are_skipped(params, expected):
    X = encode("bad what good film x", **params)
    np.testing.assert_allclose(X, [expected], rtol=1e-6)


def words_of(document, **params):
    """Words that an encoder sees, as the vocabulary that it learns."""
    encoder = WordVectorEncoder(supervised="log_odds", min_count=1, **params)
    return set(encoder.fit([document, document], [0, 1]).vocabulary_)


ODD = "It's GOOD, na\u00efve \u212a\u0130ng! caf\u00e9<br />x_y 3.5 B-52<BR />\u017fo"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"lowercase": False},
        {"token_pattern": r"(?u)\b\w\w+\b"},
        {"token_pattern": r"(\w)\w*", "lowercase": False},
        {"tokenizer": str.split},
        {"tokenizer": str.split, "lowercase": False},
        {"tokenizer": lambda document: (word.strip(",") for word in document.split())},
    ],
)
def test_words_are_those_of_count_vectorizer(params):
    reference = CountVectorizer(**{"token_pattern": "[a-zA-Z0-9']+", **params})
    expected = set(reference.build_analyzer()(re.sub("(?i)<br />", " ", ODD)))
    assert words_of(ODD.replace("<BR />", "<br />"), **params) == expected
    assert len(expected) > 5


def test_all_words_give_the_length_of_the_longest_document():
    X = encode("bad " * 150, "good film", max_words=None)
    assert X.shape == (2, 150, 2)
    np.testing.assert_array_equal(X[1, -3:], np.float32([ZERO, GOOD, FILM]))
    assert encode("", max_words=None).shape == (1, 1, 2)


def test_more_documents_than_are_encoded_at_once():
    documents = [f"{'x ' * (i % 3)}good" if i % 2 else "bad" for i in range(2500)]
    for params in ({"max_words": 3}, {"n_segments": 2}):
        X = encode(*documents, **params)
        parts = [encode(*documents[i : i + 500], **params) for i in range(0, 2500, 500)]
        np.testing.assert_array_equal(X, np.concatenate(parts))


# Segments


def test_short_documents_have_their_empty_segments_in_front():
    X = encode("good film", "", "what", n_segments=4)
    expected = [[ZERO, ZERO, GOOD, FILM], [ZERO] * 4, [ZERO] * 4]
    np.testing.assert_array_equal(X, np.float32(expected))


@pytest.mark.parametrize("n_segments", [1, 3, 7])
def test_segments_cut_as_array_split_does(n_segments):
    rng = np.random.default_rng(0)
    words = np.array([*VECTORS, "unknown"])
    values = np.array([*VECTORS.values(), ZERO])
    drawn = [rng.integers(5, size=length) for length in range(n_segments, 30)]
    X = encode(*(" ".join(words[rows]) for rows in drawn), n_segments=n_segments, dtype=np.float64)
    for sequence, rows in zip(X, drawn, strict=True):
        means = [part.mean(0) for part in np.array_split(values[rows], n_segments)]
        np.testing.assert_allclose(sequence, means, atol=1e-15)


# Forms of the vectors


def test_every_form_of_vectors_gives_the_same(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {a} {b}\n" for word, (a, b) in VECTORS.items()))
    words, matrix = list(VECTORS), np.array(list(VECTORS.values()))
    # What gensim's KeyedVectors have.
    keyed = SimpleNamespace(
        key_to_index={word: row for row, word in enumerate(words)}, vectors=matrix
    )
    expected = encode("bad film", max_words=3)
    for vectors in (path, str(path), WordVectors(words, matrix), keyed, load_word_vectors(path)):
        encoder = WordVectorEncoder(vectors, max_words=3).fit(["anything"])
        np.testing.assert_array_equal(encoder.transform(["bad film"]), expected)
        assert encoder.vocabulary_["don't"] == 3
        assert encoder.vectors_.shape == (4, 2)
        assert encoder.n_samples_fit_ == 0


def test_vectors_of_gensim(tmp_path):
    models = pytest.importorskip("gensim.models", reason="the extra text is not installed")
    keyed = models.KeyedVectors(vector_size=2)
    keyed.add_vectors(list(VECTORS), np.float32(list(VECTORS.values())))
    expected = encode("bad film", "x good", max_words=3)
    path = tmp_path / "vectors.txt"
    keyed.save_word2vec_format(path)
    for vectors in (keyed, path, models.KeyedVectors.load_word2vec_format(path)):
        encoder = clone(WordVectorEncoder(vectors, max_words=3)).fit([])
        np.testing.assert_array_equal(encoder.transform(["bad film", "x good"]), expected)
        assert pickle.loads(pickle.dumps(encoder)).vocabulary_ == encoder.vocabulary_


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (None, ValueError, "vectors must be given"),
        ({}, ValueError, "2D array"),
        ({"a": [1, 2], "b": [1]}, ValueError, "inhomogeneous"),
        ({"a": ["x"]}, ValueError, "'x'"),
        ({"a": [np.nan]}, ValueError, "vectors contains NaN"),
        ({1: [1.0]}, TypeError, "vectors must have words of type str, and has 1"),
        ([[1.0]], TypeError, "vectors must be a path"),
        ("no/such/file.txt", FileNotFoundError, "no/such/file"),
    ],
)
def test_wrong_vectors(vectors, error, message):
    with pytest.raises(error, match=message):
        WordVectorEncoder(vectors).fit(["a"])


# Scores


def scores(**params):
    encoder = WordVectorEncoder(min_count=1, dtype=np.float64, **params).fit(LEARN, LABELS)
    assert encoder.n_samples_fit_ == 5
    assert encoder.vectors_.shape == (len(encoder.vocabulary_), 1)
    return {word: encoder.vectors_[row, 0] for word, row in encoder.vocabulary_.items()}


def test_log_odds_by_hand():
    learned = scores(supervised="log_odds", smoothing=0.5)
    # Three documents of "yes", the second class in sorted order, and two of "no".
    assert set(learned) == {"good", "film", "plot", "a", "bad", "and", "cast"}
    np.testing.assert_allclose(learned["good"], np.log(3.5 / 4) - np.log(0.5 / 3))
    np.testing.assert_allclose(learned["bad"], np.log(1.5 / 4) - np.log(2.5 / 3))
    np.testing.assert_allclose(learned["cast"], np.log(0.5 / 4) - np.log(1.5 / 3))
    np.testing.assert_allclose(learned["film"], np.log(1.5 / 4) - np.log(1.5 / 3))


def test_log_odds_reads_whole_documents_and_smoothing_shrinks():
    weak = scores(supervised="log_odds", smoothing=20, max_words=1)
    strong = scores(supervised="log_odds", smoothing=0.1, max_words=1)
    assert weak["good"] == pytest.approx(np.log(23 / 43) - np.log(20 / 42))
    assert 0 < weak["good"] < strong["good"]
    # "cast" is the last of five words.
    assert set(weak) == {"good", "film", "plot", "a", "bad", "and", "cast"}


def test_rare_words_have_no_score():
    encoder = WordVectorEncoder(supervised="log_odds", min_count=2, max_words=3)
    X = encoder.fit(LEARN, LABELS).transform(["good cast"])
    assert set(encoder.vocabulary_) == {"good", "film", "plot", "bad"}
    assert X[0, -1, 0] == 0
    assert X[0, -2, 0] > 0


def test_logistic_scores_are_a_regression_on_tf_idf():
    learned = scores(supervised="logistic", C=0.01)
    words = sorted(learned)
    split = [text.lower().replace("<br />", " ").split() for text in LEARN]
    n = len(split)
    idf = {
        word: math.log((1 + n) / (1 + sum(word in text for text in split))) + 1 for word in words
    }
    rows = []
    for text in split:
        counts = [text.count(word) for word in words]
        row = [
            (1 + math.log(c)) * idf[word] if c else 0.0
            for c, word in zip(counts, words, strict=True)
        ]
        length = math.sqrt(sum(value**2 for value in row))
        rows.append([value / length for value in row])
    regression = LogisticRegression(C=0.01, fit_intercept=False, max_iter=1000)
    coefficients = regression.fit(rows, LABELS == "yes").coef_[0]
    values = {w: c * idf[w] for w, c in zip(words, coefficients, strict=True)}
    rms = np.sqrt(np.mean([values[word] ** 2 for text in split for word in text]))
    for word in words:
        np.testing.assert_allclose(learned[word], values[word] / rms, rtol=1e-5)


@pytest.mark.parametrize("n_segments", [None, 1, 3])
@pytest.mark.parametrize(
    ("unknown", "n_words"), [("zero", [2, 3, 3, 5, 2]), ("skip", [2, 3, 2, 3, 2])]
)
def test_logistic_steps_have_root_mean_square_one(n_segments, unknown, n_words):
    params = {"supervised": "logistic", "n_segments": n_segments, "dtype": np.float64}
    # Words of two documents at least: good film, good good plot, bad film, bad plot bad, good bad.
    X = WordVectorEncoder(unknown=unknown, **params).fit_transform(LEARN, LABELS)
    filled = np.minimum(n_words, n_segments or 100).sum()
    np.testing.assert_allclose(np.square(X).sum() / filled, 1)
    assert ((X.sum((1, 2)) > 0) == (LABELS == "yes")).all()


def test_logistic_sees_the_kept_words_only():
    documents = ["x film good", "x film bad", "y film good", "y film bad"]
    params = {"supervised": "logistic", "min_count": 1, "max_words": 2}
    encoder = WordVectorEncoder(**params).fit(documents, [1, 1, 0, 0])
    assert set(encoder.vocabulary_) == {"x", "y", "film"}


def test_skipped_words_make_room_when_scores_are_learned():
    documents = ["r1 x film", "r2 x film", "r3 y film", "r4 y film"]
    params = {"supervised": "logistic", "min_count": 2, "max_words": 1, "dtype": np.float64}
    with pytest.raises(ValueError, match="min_count=2"):
        WordVectorEncoder(**params).fit(documents, [1, 1, 0, 0])
    encoder = WordVectorEncoder(**params, unknown="skip")
    X = encoder.fit_transform(documents, [1, 1, 0, 0])
    assert set(encoder.vocabulary_) == {"x", "y", "film"}
    # Only "x" and "y" are kept: two scores of one size, of root mean square 1.
    np.testing.assert_allclose(X.ravel(), [1, 1, -1, -1])
    assert encoder.vectors_[encoder.vocabulary_["film"], 0] == 0


def test_logistic_of_documents_that_tell_nothing():
    encoder = WordVectorEncoder(supervised="logistic").fit(["same"] * 4, [0, 1, 0, 1])
    np.testing.assert_allclose(encoder.transform(["same"]), 0, atol=1e-6)


@pytest.mark.parametrize("supervised", ["log_odds", "logistic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clip", [0.1, 0.7, 1 / 3])
def test_clip_is_a_valid_input_bound(supervised, dtype, clip):
    for n_segments in (None, 1, 3):
        encoder = WordVectorEncoder(
            supervised=supervised, clip=clip, n_segments=n_segments, min_count=1, dtype=dtype
        )
        X = encoder.fit(LEARN, LABELS).transform(["good " * n for n in range(1, 60)])
        largest = float(np.abs(X).max())
        assert largest <= clip
        assert largest == pytest.approx(clip)


# Wrong input


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("one document", "one-dimensional sequence of str, got str"),
        ((text for text in ["a"]), "got generator"),
        ({"a": 1}, "got dict"),
        (np.array([["a"], ["b"]]), "got ndarray"),
        (["a", None], "number 1 is of type NoneType"),
        ([b"a"], "number 0 is of type bytes: decode bytes"),
        (["a", "b", math.nan], "number 2 is of type float"),
    ],
)
def test_wrong_documents(documents, message):
    with pytest.raises(TypeError, match=message):
        WordVectorEncoder(VECTORS).fit(documents)
    with pytest.raises(TypeError, match=message):
        WordVectorEncoder(VECTORS).fit([]).transform(documents)


def test_tokenizer_that_returns_no_words():
    encoder = WordVectorEncoder(VECTORS, tokenizer=lambda text: [text.split()]).fit([])
    with pytest.raises(TypeError, match="tokenizer must return words of type str, got"):
        encoder.transform(["a"])


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"dtype": np.int64}, ValueError, "dtype must be numpy.float32"),
        ({"token_pattern": "(a)(b)"}, ValueError, "capturing group in token pattern"),
        ({"token_pattern": "(a"}, re.error, "unterminated subpattern"),
    ],
)
def test_wrong_parameters(params, error, message):
    with pytest.raises(error, match=message):
        WordVectorEncoder(VECTORS, **params).fit([])


@pytest.mark.parametrize("supervised", ["log_odds", "logistic"])
@pytest.mark.parametrize(
    ("documents", "y", "message"),
    [
        (LEARN, None, "needs the labels y"),
        (LEARN, [1] * 5, "has 1"),
        (LEARN, [0, 1, 2, 0, 1], "has 3"),
        (LEARN, [0.5, 0.1, 0.3, 0.2, 0.9], "continuous"),
        (LEARN, [0, 1], "inconsistent numbers of samples"),
        (["", "..."], [0, 1], "empty vocabulary"),
        (["a", "b"], [0, 1], "min_count=2"),
    ],
)
def test_wrong_supervision(supervised, documents, y, message):
    with pytest.raises(ValueError, match=message):
        WordVectorEncoder(supervised=supervised).fit(documents, y)


# On disk


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{"max_words": 3}, {"n_segments": 2, "clip": 0.3}])
def test_every_call_maps_a_file_of_its_own(dtype, params, tmp_path):
    documents = [f"{'x ' * (i % 3)}good bad" for i in range(200)]
    X = encode(*documents, dtype=dtype, memmap_folder=tmp_path, **params)
    other = encode("bad", dtype=dtype, memmap_folder=str(tmp_path), **params)
    assert {Path(mapped.filename) for mapped in (X, other)} == set(tmp_path.iterdir())
    assert len(set(tmp_path.iterdir())) == 2
    for mapped, expected in (
        (X, encode(*documents, dtype=dtype, **params)),
        (other, encode("bad", dtype=dtype, **params)),
    ):
        assert mapped.dtype == dtype
        np.testing.assert_array_equal(mapped, expected)
        np.testing.assert_array_equal(np.load(mapped.filename), expected)
    assert encode(memmap_folder=tmp_path, max_words=1).shape == (0, 1, 2)


def test_memory_map_in_no_folder(tmp_path):
    encoder = WordVectorEncoder(VECTORS, memmap_folder=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        encoder.fit_transform(["a"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_failure_leaves_no_memory_map(error, tmp_path):
    calls = iter(range(1000))

    def split(document):
        # In the second part of the documents, when the first is written.
        if next(calls) == 100:
            assert len(os.listdir(tmp_path)) == 1
            raise error
        return document.split()

    encoder = WordVectorEncoder(VECTORS, max_words=1, tokenizer=split, memmap_folder=tmp_path)
    with pytest.raises(error):
        encoder.fit_transform(["good"] * 200)
    assert os.listdir(tmp_path) == []
    assert encoder.transform(["good"] * 200).shape == (200, 1, 2)


# In scikit-learn's company


def test_clone_shares_vectors_and_tags_tell_of_labels():
    vectors = WordVectors(["a"], [[1.0]])
    encoder = WordVectorEncoder(vectors, supervised="log_odds")
    assert clone(encoder).vectors is vectors
    assert not hasattr(pickle.loads(pickle.dumps(encoder)), "vocabulary_")
    assert get_tags(encoder).target_tags.required
    assert not get_tags(WordVectorEncoder(vectors)).target_tags.required
    assert get_tags(encoder).input_tags.string


def test_every_container_of_documents():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": LEARN})
    encoder = WordVectorEncoder(VECTORS, max_words=2)
    for documents in (tuple(LEARN), np.array(LEARN), np.array(LEARN, object), frame["text"]):
        np.testing.assert_array_equal(encoder.fit_transform(documents), encode(*LEARN, max_words=2))
    with pytest.raises(TypeError, match="one-dimensional"):
        encoder.fit(frame)


@pytest.mark.parametrize("params", [{"vectors": VECTORS}, {"supervised": "log_odds"}])
def test_pipeline_with_the_classifier(params):
    documents = ["good film", "so good", "bad film", "so bad"] * 10
    y = np.array(["yes", "yes", "no", "no"] * 10)
    pipeline = make_pipeline(
        WordVectorEncoder(**params, max_words=3), make_classifier(max_iter=60, learning_rate=0.02)
    )
    assert pipeline.fit(documents, y).score(documents, y) == 1.0
    assert list(pipeline.predict(["what a good one", "bad"])) == ["yes", "no"]
    assert pipeline[-1].generalization_bound_() > 0
    assert cross_val_score(pipeline, documents, y, cv=2).min() == 1.0


def test_progress_only_when_asked(capsys):
    WordVectorEncoder(supervised="logistic").fit_transform(LEARN, LABELS)
    assert capsys.readouterr() == ("", "")
    WordVectorEncoder(supervised="logistic", verbose=1).fit_transform(LEARN, LABELS)
    shown = capsys.readouterr().err
    assert "learning words" in shown
    assert "encoding" in shown


# Real data


@pytest.mark.slow
def test_smallest_eigenvalue_of_imdb():
    folder = data_folder()
    encoder = WordVectorEncoder(folder / "glove.6B.50d.subset.txt.xz", max_words=100)
    X = encoder.fit_transform(load_imdb(folder / "aclImdb.tar.xz").data)
    assert X.shape == (25_000, 100, 50)
    assert X.dtype == np.float32
    assert min_eigenvalue(X) == pytest.approx(4.569e-4, abs=5e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "largest_error"),
    [
        ({"supervised": "log_odds"}, 0.21),
        ({"supervised": "logistic"}, 0.22),
        ({"supervised": "logistic", "max_words": None, "n_segments": 10}, 0.155),
    ],
)
def test_scores_learned_on_imdb_tell_the_classes_apart(params, largest_error):
    reviews = load_imdb(data_folder() / "aclImdb.tar.xz")
    order = np.random.default_rng(0).permutation(25_000)
    documents, y = np.array(reviews.data, dtype=object)[order], reviews.target[order]
    encoder = WordVectorEncoder(**params).fit(documents[:5000], y[:5000])
    X = encoder.transform(documents[5000:])
    # A network of W = I adds the steps up.
    assert np.mean((X.sum((1, 2)) > 0) != y[5000:]) < largest_error
