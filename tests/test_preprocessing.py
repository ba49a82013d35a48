"""Documents as sequences: words, padding, segments, learned scores."""

import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_classifier
from data import data_folder
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from sklearn_rnnbound.datasets import WordVectors, load_imdb, load_word_vectors
from sklearn_rnnbound.preprocessing import WordVectorEncoder
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
        ({"a": 1.0}, ValueError, "one length"),
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
        (None, "got NoneType"),
        (np.array([["a"], ["b"]]), "one-dimensional"),
        (["a", None], "number 1 is of type NoneType"),
        ([b"a"], "number 0 is of type bytes"),
    ],
)
def test_wrong_documents(documents, message):
    with pytest.raises(TypeError, match=message):
        WordVectorEncoder(VECTORS).fit(documents)
    with pytest.raises(TypeError, match=message):
        WordVectorEncoder(VECTORS).fit([]).transform(documents)


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
