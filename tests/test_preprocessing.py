"""Documents and series as sequences: words, padding, segments, learned scores, scales."""

import copy
import math
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_classifier
from data import data_folder, japanese_vowels
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_rnnbound.datasets import WordVectors, load_imdb, load_ts, load_word_vectors
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder
from sklearn_rnnbound.spectrum import min_eigenvalue

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


def test_marker_separates_words():
    np.testing.assert_array_equal(encode("bad<br /><br />film", max_words=2), [[BAD, FILM]])


def test_only_the_first_words_are_kept():
    X = encode("bad what good film film film", max_words=3)
    np.testing.assert_array_equal(X, np.float32([[BAD, ZERO, GOOD]]))
    assert encode("bad").shape == (1, 100, 2)


def test_the_last_words_are_kept_on_request():
    X = encode("bad what good film", "film", max_words=3, keep="last")
    np.testing.assert_array_equal(X, np.float32([[ZERO, GOOD, FILM], [ZERO, ZERO, FILM]]))
    # Cutting ["bad", "what", "good"] into two, not ["what", "good"].
    X = encode("film bad what good", max_words=3, keep="last", n_segments=2)
    np.testing.assert_allclose(X, [[np.mean([BAD, ZERO], axis=0), GOOD]], rtol=1e-6)
    for keep in ("first", "last"):
        assert encode("bad good film", max_words=None, keep=keep).shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_words": 2}, [BAD, GOOD]),
        ({"max_words": 2, "keep": "last"}, [GOOD, FILM]),
        ({"max_words": 4}, [ZERO, BAD, GOOD, FILM]),
        ({"max_words": None}, [BAD, GOOD, FILM]),
        ({"max_words": 2, "n_segments": 1}, [np.mean([BAD, GOOD], axis=0)]),
    ],
)
def test_unknown_words_are_skipped_before_words_are_kept(params, expected):
    X = encode("x bad what x good film y", unknown="skip", **params)
    np.testing.assert_allclose(X, [expected], rtol=1e-6)


def test_skipping_all_words_leaves_padding():
    for max_words in (2, None):
        X = encode("x y z", unknown="skip", max_words=max_words)
        np.testing.assert_array_equal(X, np.zeros((1, max_words or 1, 2)))


def words_of(document, **params):
    """Words that an encoder sees, as the vocabulary that it learns."""
    encoder = WordVectorEncoder(supervised="log_odds", min_count=1, **params)
    return set(encoder.fit([document, document], [0, 1]).vocabulary_)


ODD = "It's GOOD, na\u00efve \u212a\u0130ng! caf\u00e9<br />x_y 3.5 B-52<BR />\u017fo"


def test_default_words_are_lower_case_letters_digits_and_apostrophes():
    expected = re.findall("[a-z0-9']+", ODD.lower().replace("<br />", " "))
    assert words_of(ODD) == set(expected)
    # The Kelvin sign is a k in lower case.
    assert {"it's", "na", "ve", "ki", "caf", "x", "y", "3", "52", "o"} <= set(expected)


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


def test_words_in_their_own_case():
    vectors = {"Good": [1.0], "good": [2.0]}
    for lowercase, expected in ((True, [2, 2]), (False, [1, 2])):
        encoder = WordVectorEncoder(vectors, max_words=2, lowercase=lowercase).fit([])
        np.testing.assert_array_equal(encoder.transform(["Good good"]).ravel(), expected)


@pytest.mark.parametrize("pattern", ["(a)(b)", "(a"])
def test_wrong_token_pattern(pattern):
    with pytest.raises(ValueError, match="token_pattern="):
        WordVectorEncoder(VECTORS, token_pattern=pattern).fit([])


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


def test_float64_is_kept():
    X = encode("film", max_words=1, dtype=np.float64)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, [[FILM]])


# Segments


def test_segments_are_means_of_consecutive_words():
    X = encode("good bad film unknown don't", max_words=None, n_segments=2)
    first = np.mean([GOOD, BAD, FILM], axis=0)
    np.testing.assert_allclose(X, [[first, np.mean([ZERO, DONT], axis=0)]], rtol=1e-6)


def test_segments_of_the_first_words_only():
    X = encode("good film bad bad bad bad", max_words=2, n_segments=1)
    np.testing.assert_allclose(X, [[np.mean([GOOD, FILM], axis=0)]], rtol=1e-6)


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


def test_vectors_of_the_right_type_are_not_copied():
    vectors = WordVectors(["good"], [[1.0]])
    encoder = clone(WordVectorEncoder(vectors)).fit([])
    assert np.shares_memory(encoder.vectors_, vectors.vectors)


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (None, ValueError, "vectors must be given"),
        ({}, ValueError, "no words"),
        ({"a": [1, 2], "b": [1]}, ValueError, "'b'"),
        ({"a": 1.0}, ValueError, "a one-dimensional vector of numbers .* that of 'a' is 1.0"),
        ({"b": [1.0], "a": "x"}, ValueError, "that of 'a' is 'x'"),
        ({"b": [1.0], "a": ["x"]}, ValueError, r"that of 'a' is \['x'\]"),
        ({"a": np.array(["x"], dtype=object)}, ValueError, "vectors must hold numbers: .*'x'"),
        ({"a": None}, ValueError, "that of 'a' is None"),
        ({1: [1.0]}, TypeError, "vectors must have words of type str, and has 1"),
        ({"a": [1.0], b"b": [1.0]}, TypeError, "and has b'b'"),
        (SimpleNamespace(key_to_index={1: 0}, vectors=np.ones((1, 1))), TypeError, "and has 1"),
        (SimpleNamespace(key_to_index={"a": 0}, vectors=np.ones(1)), ValueError, r"shape \(1,\)"),
        ({"a": [np.nan]}, ValueError, "finite"),
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
def test_logistic_steps_have_root_mean_square_one(n_segments):
    encoder = WordVectorEncoder(supervised="logistic", n_segments=n_segments, dtype=np.float64)
    X = encoder.set_params(min_count=1).fit_transform(LEARN, LABELS)
    lengths = np.array([2, 3, 3, 5, 2])
    filled = np.minimum(lengths, n_segments or 100).sum()
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


@pytest.mark.parametrize("n_segments", [None, 2])
def test_skipped_words_are_no_steps_of_the_root_mean_square(n_segments):
    params = {"supervised": "logistic", "unknown": "skip", "dtype": np.float64, "min_count": 2}
    X = WordVectorEncoder(**params, n_segments=n_segments).fit_transform(LEARN, LABELS)
    # Known are: good film, good good plot, bad film, bad plot bad, good bad.
    filled = np.minimum([2, 3, 2, 3, 2], n_segments or 100).sum()
    np.testing.assert_allclose(np.square(X).sum() / filled, 1)


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


def test_scores_depend_on_the_documents_of_fit_alone():
    encoder = WordVectorEncoder(supervised="log_odds", min_count=1).fit(LEARN, LABELS)
    before = encoder.vectors_.copy()
    encoder.transform(["other words", "good"])
    np.testing.assert_array_equal(encoder.vectors_, before)
    assert "other" not in encoder.vocabulary_
    # Vectors are not used, so nothing else can enter the vocabulary.
    other = WordVectorEncoder(VECTORS, supervised="log_odds", min_count=1).fit(LEARN, LABELS)
    assert other.vocabulary_ == encoder.vocabulary_


# Wrong input


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("one document", "got str"),
        (b"bytes", "got bytes"),
        ((text for text in ["a"]), "got generator"),
        ({"a": 1}, "got dict"),
        ({"a"}, "got set"),
        ({"a": 1}.keys(), "got dict_keys"),
        (None, "got NoneType"),
        (np.array([["a"], ["b"]]), "one-dimensional"),
        (["a", None], "number 1 is of type NoneType"),
        ([b"a"], "number 0 is of type bytes: decode bytes"),
        (["a", "b", math.nan], "number 2 is of type float"),
        (np.array(["a", 3], dtype=object), "number 1 is of type int"),
    ],
)
def test_wrong_documents(documents, message):
    with pytest.raises(TypeError, match=message):
        WordVectorEncoder(VECTORS).fit(documents)
    with pytest.raises(TypeError, match=message):
        WordVectorEncoder(VECTORS).fit([]).transform(documents)


@pytest.mark.parametrize(
    "tokenizer", [len, str.upper, set, dict.fromkeys, str.encode, lambda text: [*text.split(), 1]]
)
def test_wrong_tokenizer(tokenizer):
    learned = WordVectorEncoder(supervised="log_odds", tokenizer=tokenizer)
    given = WordVectorEncoder(VECTORS, tokenizer=tokenizer).fit([])
    for call in (lambda: learned.fit(["a", "b"], [0, 1]), lambda: given.transform(["a"])):
        with pytest.raises(TypeError, match="tokenizer must return an iterable of str, "):
            call()


@pytest.mark.parametrize("supervised", ["log_odds", "logistic"])
@pytest.mark.parametrize(
    ("documents", "y", "message"),
    [
        (LEARN, None, "needs the labels y"),
        (LEARN, [1] * 5, "has 1"),
        (LEARN, [0, 1, 2, 0, 1], "has 3"),
        (LEARN, [0.5, 0.1, 0.3, 0.2, 0.9], "continuous"),
        (LEARN, [0, 1], "y holds 2 labels for 5 documents"),
        (["", "..."], [0, 1], "no word at all"),
        (["a", "b"], [0, 1], "min_count=2"),
    ],
)
def test_wrong_supervision(supervised, documents, y, message):
    with pytest.raises(ValueError, match=message):
        WordVectorEncoder(supervised=supervised).fit(documents, y)


@pytest.mark.parametrize(
    "params",
    [
        {"max_words": 0},
        {"keep": "middle"},
        {"unknown": "error"},
        {"lowercase": "yes"},
        {"tokenizer": "split"},
        {"token_pattern": None},
        {"memmap_folder": 3},
        {"n_segments": 0},
        {"supervised": "tfidf"},
        {"smoothing": 0},
        {"C": 0},
        {"min_count": 0},
        {"clip": 0},
        {"dtype": np.int64},
        {"verbose": "yes"},
    ],
)
def test_wrong_parameters(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        WordVectorEncoder(VECTORS, **params).fit(["a"])


def test_transform_before_fit():
    with pytest.raises(NotFittedError):
        WordVectorEncoder(VECTORS).transform(["a"])


# On disk


def test_memory_map_holds_the_same(tmp_path):
    documents = [f"{'x ' * (i % 3)}good bad" for i in range(200)]
    for params in ({"max_words": 3}, {"max_words": None, "n_segments": 2, "clip": 0.3}):
        for dtype in (np.float32, np.float64):
            expected = encode(*documents, dtype=dtype, **params)
            X = encode(*documents, dtype=dtype, memmap_folder=tmp_path, **params)
            assert isinstance(X, np.memmap)
            assert X.dtype == dtype
            np.testing.assert_array_equal(X, expected)
            assert Path(X.filename).parent == tmp_path
            np.testing.assert_array_equal(np.load(X.filename), expected)


def test_every_call_writes_a_file_of_its_own(tmp_path):
    encoder = WordVectorEncoder(VECTORS, max_words=1, memmap_folder=str(tmp_path)).fit([])
    first, second = encoder.transform(["good"]), encoder.transform(["bad"])
    np.testing.assert_array_equal(first, np.float32([[GOOD]]))
    np.testing.assert_array_equal(second, np.float32([[BAD]]))
    assert {Path(X.filename) for X in (first, second)} == set(tmp_path.iterdir())
    assert len(set(tmp_path.iterdir())) == 2
    assert encoder.transform([]).shape == (0, 1, 2)


def test_learning_writes_no_file(tmp_path):
    WordVectorEncoder(supervised="logistic", memmap_folder=tmp_path).fit(LEARN, LABELS)
    assert not list(tmp_path.iterdir())


def test_memory_map_in_no_folder(tmp_path):
    encoder = WordVectorEncoder(VECTORS, memmap_folder=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"memmap_folder=.*nowhere"):
        encoder.fit(["a"])
    encoder.set_params(memmap_folder=tmp_path).fit(["a"]).set_params(memmap_folder=__file__)
    with pytest.raises(FileNotFoundError, match="memmap_folder"):
        encoder.transform(["a"])


# In scikit-learn's company


def test_clone_and_parameters():
    vectors = WordVectors(["a"], [[1.0]])
    encoder = WordVectorEncoder(vectors, max_words=7, supervised="log_odds")
    copied = clone(encoder)
    assert copied.get_params() == encoder.get_params()
    assert copied.vectors is vectors
    assert repr(encoder).startswith("WordVectorEncoder(max_words=7")
    assert set(encoder.get_params()) == set(WordVectorEncoder._parameter_constraints)
    assert get_tags(encoder).target_tags.required
    assert not get_tags(WordVectorEncoder(vectors)).target_tags.required
    assert get_tags(encoder).input_tags.string


def test_pickle_and_copy():
    fitted = WordVectorEncoder(supervised="logistic", min_count=1, n_segments=2)
    fitted.fit(LEARN, LABELS)
    for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(again.transform(LEARN), fitted.transform(LEARN))


@pytest.mark.parametrize("container", [list, tuple, np.array, lambda d: np.array(d, object)])
def test_containers(container):
    X = WordVectorEncoder(VECTORS, max_words=2).fit_transform(container(LEARN))
    np.testing.assert_array_equal(X, encode(*LEARN, max_words=2))


def test_data_frame_column():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": LEARN})
    X = WordVectorEncoder(VECTORS, max_words=2).fit_transform(frame["text"])
    np.testing.assert_array_equal(X, encode(*LEARN, max_words=2))
    with pytest.raises(TypeError, match="one-dimensional"):
        WordVectorEncoder(VECTORS).fit(frame)


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


def test_the_classifier_reads_a_memory_map(tmp_path):
    documents, y = ["good film", "so good", "bad film", "so bad"] * 10, [1, 1, 0, 0] * 10
    params = {"max_words": 3, "keep": "last", "unknown": "skip"}
    models = [
        make_pipeline(WordVectorEncoder(VECTORS, **params, memmap_folder=folder), make_classifier())
        for folder in (None, tmp_path)
    ]
    values = [model.fit(documents, y).predict_proba(documents) for model in models]
    np.testing.assert_array_equal(*values)


def test_scores_from_one_part_certify_on_the_other():
    documents, y = LEARN * 12, np.tile(LABELS, 12)
    encoder = WordVectorEncoder(supervised="log_odds", clip=0.5, max_words=4)
    encoder.fit(documents[:20], y[:20])
    clf = make_classifier(input_bound=0.5).fit(encoder.transform(documents[20:]), y[20:])
    assert encoder.n_samples_fit_ == 20
    assert clf.generalization_bound_() > 0


def test_progress_only_when_asked(capsys):
    WordVectorEncoder(supervised="logistic").fit_transform(LEARN, LABELS)
    assert capsys.readouterr() == ("", "")
    WordVectorEncoder(supervised="logistic", verbose=1).fit_transform(LEARN, LABELS)
    shown = capsys.readouterr().err
    assert "learning words" in shown
    assert "encoding" in shown


# Series of different lengths

RAGGED = [
    np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    np.array([[7.0, 8.0]]),
    np.array([[9.0, 1.0], [2.0, 3.0]]),
]
PADDED = np.array(
    [
        [[1, 2], [3, 4], [5, 6]],
        [[0, 0], [0, 0], [7, 8]],
        [[0, 0], [9, 1], [2, 3]],
    ],
    dtype=float,
)


def object_array(series):
    array = np.empty(len(series), dtype=object)
    array[:] = series
    return array


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        object_array,
        lambda series: [values.tolist() for values in series],
        lambda series: [torch.from_numpy(values) for values in series],
        lambda series: PADDED,
        lambda series: torch.from_numpy(PADDED),
        lambda series: PADDED.astype(object),
    ],
)
def test_series_are_padded_in_front(form):
    padder = SequencePadder().fit(form(RAGGED))
    X = padder.transform(form(RAGGED))
    assert isinstance(X, np.ndarray)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, PADDED)
    assert padder.length_ == 3
    assert padder.n_features_in_ == 2


@pytest.mark.parametrize(
    "series",
    [
        [[1, 2, 3], [4, 5]],
        [np.array([1, 2, 3]), np.array([[4], [5]])],
        [[[1], [2], [3]], [4, 5]],
        np.array([[1, 2, 3], [0, 4, 5]]),
        [[1.0, 2.0, 3.0], (4.0, 5.0)],
    ],
)
def test_series_of_one_feature(series):
    X = SequencePadder().fit_transform(series)
    np.testing.assert_array_equal(X, [[[1], [2], [3]], [[0], [4], [5]]])
    assert X.dtype == np.float64


def test_series_in_pandas():
    pandas = pytest.importorskip("pandas")
    X = SequencePadder().fit_transform(pandas.Series(RAGGED))
    np.testing.assert_array_equal(X, PADDED)
    X = SequencePadder().fit_transform(pandas.DataFrame({"a": [1, 0], "b": [2, 3]}))
    np.testing.assert_array_equal(X, [[[1], [2]], [[0], [3]]])


@pytest.mark.parametrize("as_array", [False, True])
def test_steps_kept_of_long_series(as_array):
    series = PADDED if as_array else RAGGED
    first = SequencePadder(2).fit_transform(series)
    np.testing.assert_array_equal(first[0], [[1, 2], [3, 4]])
    last = SequencePadder(2, keep="last").fit_transform(series)
    np.testing.assert_array_equal(last[0], [[3, 4], [5, 6]])
    # Padding goes first, whichever end is kept.
    for X in (first, last):
        np.testing.assert_array_equal(X[1:], [[[0, 0], [7, 8]], [[9, 1], [2, 3]]])


def test_only_surplus_zeros_are_dropped():
    series = [[0, 0, 1, 0, 2], [0, 0, 0, 0, 0], [1, 0, 0, 0, 3]]
    X = SequencePadder(4).fit_transform(series)[:, :, 0]
    np.testing.assert_array_equal(X, [[0, 1, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0]])
    X = SequencePadder(2).fit_transform(series)[:, :, 0]
    np.testing.assert_array_equal(X, [[1, 0], [0, 0], [1, 0]])


@pytest.mark.parametrize("keep", ["first", "last"])
def test_padding_in_two_goes_is_padding_in_one(keep):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(length, 3)) for length in rng.integers(1, 12, size=30)]
    once = SequencePadder(5, keep=keep).fit_transform(series)
    twice = SequencePadder(5, keep=keep).fit_transform(SequencePadder().fit_transform(series))
    np.testing.assert_array_equal(once, twice)
    for values, padded in zip(series, once, strict=True):
        kept = values[:5] if keep == "first" else values[-5:]
        np.testing.assert_array_equal(padded, np.vstack([np.zeros((5 - len(kept), 3)), kept]))


def test_length_and_sample_that_it_depends_on():
    learned = SequencePadder().fit(RAGGED)
    assert learned.transform([np.ones((9, 2))]).shape == (1, 3, 2)
    assert learned.transform([np.ones((1, 2))]).shape == (1, 3, 2)
    assert learned.n_samples_fit_ == 3
    given = SequencePadder(7).fit(RAGGED)
    assert given.transform(RAGGED).shape == (3, 7, 2)
    assert given.n_samples_fit_ == 0


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ("fff", np.float32),
        ("ffd", np.float64),
        ("ddd", np.float64),
        ("iii", np.float64),
        ("fif", np.float64),
    ],
)
def test_type_of_padded_series(dtypes, expected):
    series = [values.astype(dtype) for values, dtype in zip(RAGGED, dtypes, strict=True)]
    X = SequencePadder().fit_transform(series)
    assert X.dtype == expected
    np.testing.assert_array_equal(X, PADDED)
    assert SequencePadder().fit_transform(PADDED.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "no series"),
        ([[1, 2], []], "at least one step, and number 1 is empty"),
        ([np.ones((2, 3)), np.ones((0, 3))], "number 1 is empty"),
        ([np.ones((2, 0))], "number 0 of X is not a series of finite numbers .*0 feature"),
        ([np.ones((2, 3)), np.ones((2, 3)), np.ones((4, 2))], "number 0 has 3 and number 2 has 2"),
        ([[1, 2], [1, np.nan]], "number 1 of X is not a series of finite numbers .*NaN"),
        ([[1, np.inf]], "number 0 of X is not a series of finite numbers .*infinity"),
        ([[1, 2], 3], "number 1 of X is not a series of finite numbers"),
        ([1.0, 2.0], "number 0 of X is not a series of finite numbers"),
        ([np.ones((2, 2, 2))], "number 0 of X is not a series of finite numbers"),
        ([[[1, 2], [3]]], "number 0 of X is not a series of finite numbers"),
        ([["a", "b"]], "number 0 of X is not a series of finite numbers"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.ones((2, 0, 3)), r"shape \(2, 0, 3\)"),
        (np.ones((2, 3, 0)), r"shape \(2, 3, 0\)"),
        ([np.ones(2), None], r"number 1 of X .* \(L,\): it has no dimensions \(type NoneType\)"),
        ([[1, 2], "abc"], "number 1 of X .* no dimensions .type str"),
        # Arrays as well name the series.
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "number 1 of X .*NaN"),
        (np.array([[1, 2], [3, "x"]], dtype=object), "number 1 of X .*'x'"),
        (object_array([np.ones(2)] * 2).reshape(1, 2), "number 0 of X .*sequence"),
    ],
)
def test_wrong_series(series, message):
    with pytest.raises(ValueError, match=message):
        SequencePadder().fit(series)
    with pytest.raises(ValueError, match=message):
        SequencePadder().fit([[1]]).transform(series)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (None, "X must hold series in a list, or in an array .*, got NoneType"),
        (3.0, "got float"),
        (np.array(3.0), "got ndarray"),
        ("abc", "got str"),
        ({0: [1, 2]}, "got dict"),
        ({(1, 2)}, "got set"),
        ((values for values in RAGGED), "got generator"),
        ([[1, 2], [1, {}]], "number 1 of X .*'dict'"),
        (np.array([[1, 2], [1, {}]]), "number 1 of X .*'dict'"),
    ],
)
def test_series_of_wrong_types(series, message):
    with pytest.raises(TypeError, match=message):
        SequencePadder().fit(series)


def test_series_of_other_features_than_in_fit():
    padder = SequencePadder().fit(RAGGED)
    for series in ([np.ones((4, 3))], [[1, 2, 3]], np.ones((1, 4, 3))):
        with pytest.raises(ValueError, match=r"features per step, but SequencePadder .* with 2"):
            padder.transform(series)
    with pytest.raises(NotFittedError):
        SequencePadder().transform(RAGGED)


@pytest.mark.parametrize(
    "params", [{"length": 0}, {"length": 2.5}, {"keep": "middle"}, {"keep": None}]
)
def test_wrong_parameters_of_the_padder(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        SequencePadder(**params).fit(RAGGED)


def test_padding_has_no_columns_to_name():
    assert not hasattr(SequencePadder(), "set_output")
    assert not hasattr(WordVectorEncoder(), "set_output")
    with config_context(transform_output="pandas"):
        assert isinstance(SequencePadder().fit_transform(RAGGED), np.ndarray)


# Scales


def ragged(n, d, seed, dtype=np.float64):
    """Series of 1 to 11 steps, far from zero, each feature of its own scale."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.arange(d)
    return [
        ((rng.normal(size=(length, d)) + 5) * scale).astype(dtype)
        for length in rng.integers(1, 12, size=n)
    ]


@pytest.mark.parametrize(
    ("with_mean", "with_std"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_scale_is_that_of_all_steps_in_one_table(with_mean, with_std):
    series = ragged(40, 3, seed=0)
    reference = StandardScaler(with_mean=with_mean, with_std=with_std).fit(np.vstack(series))
    X = SequencePadder(14).fit_transform(series)
    scaler = SequenceScaler(with_mean=with_mean, with_std=with_std)
    scaled = scaler.fit_transform(X)
    assert scaled.shape == X.shape
    for values, sequence in zip(series, scaled, strict=True):
        np.testing.assert_allclose(sequence[14 - len(values) :], reference.transform(values))
        assert not sequence[: 14 - len(values)].any()
    np.testing.assert_allclose(scaler.mean_, reference.mean_ if with_mean else np.zeros(3))
    np.testing.assert_allclose(scaler.scale_, reference.scale_ if with_std else np.ones(3))
    assert scaler.n_samples_fit_ == (40 if with_mean or with_std else 0)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X, rtol=1e-12)


def test_padding_of_new_sequences_stays_zero():
    scaler = SequenceScaler().fit(SequencePadder().fit_transform(ragged(20, 2, seed=0)))
    series = ragged(20, 2, seed=1)
    short = SequencePadder().fit_transform(series)
    long = np.pad(short, [(0, 0), (30, 0), (0, 0)])
    np.testing.assert_array_equal(
        scaler.transform(long), np.pad(scaler.transform(short), [(0, 0), (30, 0), (0, 0)])
    )


def test_a_network_does_not_see_the_padding():
    series = ragged(60, 2, seed=0)
    y = [len(values) % 2 for values in series]
    X = SequenceScaler().fit_transform(SequencePadder(14).fit_transform(series))
    clf = make_classifier().fit(X, y)
    for sequence, values in zip(X, series, strict=True):
        np.testing.assert_allclose(
            clf.predict_proba(sequence[None, 14 - len(values) :]),
            clf.predict_proba(sequence[None]),
            rtol=1e-12,
        )


def test_zeros_inside_a_sequence_are_steps():
    X = np.array([[[0.0], [1.0], [0.0], [2.0]], [[0.0], [0.0], [3.0], [0.0]]])
    scaler = SequenceScaler().fit(X)
    assert scaler.mean_ == pytest.approx(6 / 5)
    assert scaler.scale_ == pytest.approx(math.sqrt(14 / 5 - 36 / 25))
    scaled = scaler.transform(X)
    np.testing.assert_allclose(scaled[0, 2], -scaler.mean_ / scaler.scale_)
    np.testing.assert_array_equal(scaled[:, 0], 0)
    # One feature that is not zero makes a step.
    scaler.fit([[[0.0, 0.0], [0.0, 2.0], [4.0, 4.0]]])
    np.testing.assert_array_equal(scaler.mean_, [2, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 1e30, -7.3e-30])
def test_constant_features_become_exact_zeros(value, dtype):
    X = np.full((7, 11, 2), value, dtype)
    X[:, :, 1] = np.arange(1, 12)
    scaler = SequenceScaler().fit(X)
    assert scaler.scale_[0] == 1
    scaled = scaler.transform(X)
    np.testing.assert_array_equal(scaled[:, :, 0], 0)
    np.testing.assert_allclose(scaled[:, :, 1].std(), 1, rtol=1e-6)
    np.testing.assert_array_equal(scaler.inverse_transform(scaled)[:, :, 0], X[:, :, 0])


def test_a_first_step_at_the_mean_comes_back_as_zero():
    X = np.array([[[2.0], [1.0], [3.0]]])
    scaler = SequenceScaler().fit(X)
    back = scaler.inverse_transform(scaler.transform(X))
    np.testing.assert_allclose(back[0, :, 0], [0, 1, 3])


def test_sequences_of_padding_alone():
    X = np.zeros((3, 4, 2))
    scaler = SequenceScaler().fit(X)
    np.testing.assert_array_equal(scaler.transform(X), X)
    np.testing.assert_array_equal(scaler.transform(X + 1), X + 1)


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e200, 5e307])
def test_squares_beyond_the_range_of_float64_do_not_matter(unit):
    X = unit * np.array([[[1.0], [3.0]], [[2.0], [2.0]]])
    scaler = SequenceScaler().fit(X)
    np.testing.assert_allclose([scaler.mean_[0] / unit, scaler.scale_[0] / unit], [2, 0.5**0.5])
    np.testing.assert_allclose(scaler.transform(X)[0, :, 0], [-(2**0.5), 2**0.5])


def test_what_leaves_the_range_when_it_is_scaled_is_named():
    scaler = SequenceScaler(with_std=False).fit(np.array([[[3e38], [2e38]]], dtype=np.float32))
    with pytest.raises(ValueError, match="X leaves the range of float32 when it is scaled:"):
        scaler.transform(np.full((1, 2, 1), -3e38, dtype=np.float32))


def test_float32_is_scaled_with_the_care_of_float64():
    X = np.random.default_rng(0).normal(1000, 1, size=(300, 40, 2)).astype(np.float32)
    scaler = SequenceScaler().fit(X)
    exact = X.astype(np.float64).reshape(-1, 2)
    np.testing.assert_allclose(scaler.mean_, exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(scaler.scale_, exact.std(0), rtol=1e-11)
    scaled = scaler.transform(X)
    assert scaled.dtype == np.float32
    expected = (X.astype(np.float64) - exact.mean(0)) / exact.std(0)
    np.testing.assert_allclose(scaled, expected, rtol=1e-7, atol=1e-7)
    assert scaler.inverse_transform(scaled).dtype == np.float32


def test_many_sequences_are_scaled_a_part_at_a_time(tmp_path):
    path = tmp_path / "X.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (3000, 100, 40))
    X[:] = np.random.default_rng(0).normal(3, 2, size=X.shape)
    X[::3, :50] = 0
    X = np.load(path, mmap_mode="r")
    tracemalloc.start()
    try:
        scaler = SequenceScaler().fit(X)
        fit_peak = tracemalloc.get_traced_memory()[1]
        scaled = scaler.transform(X)
        transform_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fit_peak < X.nbytes
    assert transform_peak < 2 * X.nbytes
    observed = np.vstack([X[np.arange(3000) % 3 > 0].reshape(-1, 40), X[::3, 50:].reshape(-1, 40)])
    np.testing.assert_allclose(scaler.mean_, observed.mean(0, dtype=float), rtol=1e-10)
    np.testing.assert_allclose(scaler.scale_, observed.std(0, dtype=float), rtol=1e-10)
    assert not scaled[::3, :50].any()
    assert abs(scaled[1::3].mean(dtype=float)) < 0.01


@pytest.mark.parametrize("step_size", [1, 2, 3, 6])
def test_tables_are_read_as_steps(step_size):
    X = np.random.default_rng(0).normal(2, 3, size=(10, 6))
    X[:4, :step_size] = 0
    scaler = SequenceScaler(step_size=step_size).fit(X)
    sequences = X.reshape(10, 6 // step_size, step_size)
    other = SequenceScaler().fit(sequences)
    np.testing.assert_array_equal(scaler.mean_, other.mean_)
    scaled = scaler.transform(X)
    np.testing.assert_array_equal(scaled.reshape(sequences.shape), other.transform(sequences))
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X)
    assert scaler.n_features_in_ == 6
    assert other.n_features_in_ == step_size
    # As in the classifier, 3-D sequences of any length go with a table of fit.
    np.testing.assert_array_equal(
        scaler.transform(sequences[:, -1:]), other.transform(sequences[:, -1:])
    )


def test_data_frames_keep_their_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"a": [1.0, 2.0], "b": [3.0, 5.0], "c": [0.0, 1.0], "d": [1.0, 2.0]}, index=[7, 9]
    )
    scaler = SequenceScaler(step_size=2).set_output(transform="pandas")
    scaled = scaler.fit_transform(frame)
    assert list(scaled.columns) == list("abcd")
    assert list(scaled.index) == [7, 9]
    assert list(scaler.get_feature_names_out()) == list("abcd")
    expected = SequenceScaler(step_size=2).fit_transform(frame.to_numpy())
    np.testing.assert_array_equal(scaled.to_numpy(), expected)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), frame)
    X = np.ones((2, 3, 2))
    scaler.fit(X)
    assert not hasattr(scaler, "feature_names_in_")
    assert list(scaler.get_feature_names_out()) == ["x0", "x1"]
    with pytest.raises(ValueError, match=r"three dimensions.*set_output\(transform='default'\)"):
        scaler.transform(X)
    scaler.set_output(transform="default").transform(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (RAGGED, "different lengths"),
        (np.full((2, 3, 4), np.nan), "NaN"),
        (np.ones((2, 0, 4)), "at least one step"),
        (np.ones((2, 3, 0)), "at least one step"),
        (np.ones((2, 3, 4, 5)), "4 dimensions"),
        (np.ones(3), "2D array"),
        (np.ones((2, 5)), "5 columns, which is not a multiple of step_size=2"),
        (np.ones((0, 3, 4)), "minimum of 1"),
    ],
)
def test_wrong_sequences(X, message):
    with pytest.raises(ValueError, match=message):
        SequenceScaler(step_size=2).fit(X)


def test_sequences_that_do_not_go_with_those_of_fit():
    scaler = SequenceScaler(step_size=2).fit(np.ones((2, 3, 4)))
    for method in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(ValueError, match=r"5 features per step, but SequenceScaler .* with 4"):
            method(np.ones((2, 3, 5)))
    with pytest.raises(ValueError, match="fitted on sequences of shape"):
        scaler.transform(np.ones((2, 4)))
    with pytest.raises(ValueError, match="4 features, but SequenceScaler is expecting 6"):
        scaler.fit(np.ones((2, 6))).transform(np.ones((2, 4)))
    with pytest.raises(NotFittedError):
        SequenceScaler().transform(np.ones((2, 3, 4)))


@pytest.mark.parametrize("params", [{"with_mean": 2}, {"with_std": "yes"}, {"step_size": 0}])
def test_wrong_parameters_of_the_scaler(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        SequenceScaler(**params).fit(np.ones((2, 3)))


def test_series_in_a_pipeline():
    series = ragged(60, 2, seed=0)
    y = np.array(["up" if len(values) > 6 else "down" for values in series])
    pipeline = make_pipeline(SequencePadder(12), SequenceScaler(), make_classifier(max_iter=30))
    pipeline.fit(series, y)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(series), pipeline.predict_proba(series))
    copied = clone(pipeline).fit(series, y)
    np.testing.assert_array_equal(copied.predict_proba(series), pipeline.predict_proba(series))
    assert cross_val_score(pipeline, series, y, cv=3).mean() > 0.5


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


def test_japanese_vowels_in_three_lines():
    pytest.importorskip("aeon", reason="the extra series is not installed")
    X, y, X_test, y_test = japanese_vowels()
    folder = data_folder() / "uea" / "JapaneseVowels"
    train, test = (load_ts(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    scaled = make_pipeline(SequencePadder(X.shape[1]), SequenceScaler()).fit(train.data)
    np.testing.assert_allclose(scaled.transform(train.data), X, atol=1e-12)
    np.testing.assert_allclose(scaled.transform(test.data), X_test, atol=1e-12)
    np.testing.assert_array_equal(train.target, y)
    np.testing.assert_array_equal(test.target, y_test)


MEASURE = """
import resource, sys
from sklearn_rnnbound.datasets import load_imdb, load_word_vectors
from sklearn_rnnbound.preprocessing import WordVectorEncoder
vectors = load_word_vectors(sys.argv[1] + "/glove.6B.50d.subset.txt.xz")
documents = load_imdb(sys.argv[1] + "/aclImdb.tar.xz").data
folder = sys.argv[2] if len(sys.argv) > 2 else None
X = WordVectorEncoder(vectors, max_words=300, memmap_folder=folder).fit_transform(documents)
assert X.shape == (25_000, 300, 50)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.slow
@pytest.mark.parametrize("on_disk", [False, True])
def test_imdb_in_two_gigabytes(on_disk, tmp_path):
    arguments = [data_folder(), *([tmp_path] if on_disk else [])]
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], check=True, capture_output=True, text=True
    ).stdout
    # Pages of a mapped file count as well, for as long as the system keeps them.
    assert float(printed) < 2e9
