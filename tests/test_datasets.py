"""Data sets, embedded, drawn and read from files."""

import bz2
import copy
import gzip
import io
import lzma
import pickle
import tarfile

import numpy as np
import pytest
from data import data_folder
from sklearn.datasets import load_digits

from sklearn_rnnbound.datasets import (
    WordVectors,
    load_digit_sequences,
    load_imdb,
    load_word_vectors,
    make_gaussian_sequences,
)

REVIEWS = {
    "train/neg/2_1.txt": "Awful.",
    "train/neg/10_3.txt": "Dull<br />and long.",
    "train/pos/0_9.txt": "Très bon",
    "train/unsup/0_0.txt": "no label",
    "train/urls_pos.txt": "http://",
    "test/neg/0_2.txt": "no",
    "test/pos/3_10.txt": "yes",
}


def test_digit_sequences_are_the_rows_of_the_images():
    X, y = load_digit_sequences()
    digits = load_digits()
    np.testing.assert_array_equal(X.reshape(1797, 64) * 16, digits.data)
    np.testing.assert_array_equal(y, digits.target)


# Gaussian sequences


@pytest.mark.parametrize("correlation", [0.0, 0.7, -0.15])
def test_gaussian_sequences_have_the_announced_second_moment(correlation):
    sequences = make_gaussian_sequences(
        200_000, 3, 2, correlation=correlation, flip_y=0.2, random_state=0
    )
    flat = sequences.data.reshape(len(sequences.data), -1)
    moment = sequences.second_moment
    np.testing.assert_array_equal(np.diag(moment), 1)
    np.testing.assert_array_equal(moment[~np.eye(6, dtype=bool)], correlation)
    # Each entry of the empirical moment has a standard deviation below sqrt(2 / n).
    np.testing.assert_allclose(flat.T @ flat / len(flat), moment, atol=5 * np.sqrt(2 / 200_000))
    np.testing.assert_allclose(flat.mean(0), 0, atol=5 / np.sqrt(200_000))
    np.testing.assert_allclose(sequences.min_eigenvalue, np.linalg.eigvalsh(moment)[0], rtol=1e-12)
    closed_form = 1 - correlation if correlation >= 0 else 1 + 5 * correlation
    np.testing.assert_allclose(sequences.min_eigenvalue, closed_form)


def test_gaussian_labels_follow_the_weights_but_for_the_flips():
    sequences = make_gaussian_sequences(100_000, 4, 3, correlation=0.3, random_state=1)
    weights = sequences.weights
    assert weights.shape == (4, 3)
    assert np.ptp(weights) == 0
    np.testing.assert_allclose(weights.ravel() @ sequences.second_moment @ weights.ravel(), 1)
    projected = np.einsum("ntj,tj->n", sequences.data, weights)
    error = np.mean((projected > 0) != sequences.target)
    assert sequences.bayes_risk == 0.1
    assert abs(error - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 100_000)
    # A flip does not depend on the sequence.
    far = np.abs(projected) > 1
    assert abs(np.mean((projected > 0)[far] != sequences.target[far]) - 0.1) < 0.01


def test_gaussian_labels_without_flips():
    sequences = make_gaussian_sequences(500, flip_y=0, random_state=0)
    np.testing.assert_array_equal(sequences.target, sequences.data.sum((1, 2)) > 0)
    assert sequences.bayes_risk == 0.0


def test_gaussian_sequences_repeat_and_leave_the_global_generator_alone():
    state = np.random.get_state()  # noqa: NPY002
    first = make_gaussian_sequences(5, random_state=3)
    second = make_gaussian_sequences(5, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.target, second.target)
    assert not np.array_equal(make_gaussian_sequences(5).data, make_gaussian_sequences(5).data)
    for before, after in zip(state, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(before, after)


def test_gaussian_sequence_of_one_entry():
    sequences = make_gaussian_sequences(10, 1, 1, random_state=0)
    assert sequences.data.shape == (10, 1, 1)
    assert sequences.min_eigenvalue == 1.0
    with pytest.raises(ValueError, match="correlation must be 0"):
        make_gaussian_sequences(10, 1, 1, correlation=0.5)


@pytest.mark.parametrize("correlation", [-1 / 9, -0.5, 1.0])
def test_correlation_outside_its_range(correlation):
    with pytest.raises(ValueError, match="correlation"):
        make_gaussian_sequences(10, 5, 2, correlation=correlation)


@pytest.mark.parametrize("params", [{"flip_y": 0.6}, {"n_steps": 0}, {"n_samples": 2.5}])
def test_gaussian_parameters_are_checked(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        make_gaussian_sequences(**params)


# IMDB


def write_folder(root, reviews=REVIEWS):
    for name, text in reviews.items():
        path = root / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "aclImdb"


def write_tar(path, mode, prefix="aclImdb/", reviews=REVIEWS):
    with tarfile.open(path, mode) as archive:
        # An archive lists its members in any order.
        for name, text in reversed(reviews.items()):
            content = text.encode()
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(params=["folder", "parent", "tar", "tar.gz", "tar.xz", "tar.bz2", "bare tar"])
def imdb_path(request, tmp_path):
    if request.param in ("folder", "parent"):
        folder = write_folder(tmp_path)
        return folder if request.param == "folder" else tmp_path
    if request.param == "bare tar":
        return write_tar(tmp_path / "reviews", "w", prefix="./")
    mode = "w:" + request.param.removeprefix("tar").removeprefix(".")
    return write_tar(tmp_path / f"aclImdb.{request.param}", mode)


def test_imdb_reads_every_form_in_one_order(imdb_path):
    reviews = load_imdb(imdb_path)
    # By number: 2 before 10.
    assert reviews.data == ["Awful.", "Dull<br />and long.", "Très bon"]
    np.testing.assert_array_equal(reviews.target, [0, 0, 1])
    assert reviews.target_names == ["neg", "pos"]
    test = load_imdb(str(imdb_path), subset="test")
    assert test.data == ["no", "yes"]
    np.testing.assert_array_equal(test.target, [0, 1])


def test_imdb_shows_progress_only_when_asked(tmp_path, capsys):
    write_folder(tmp_path)
    load_imdb(tmp_path)
    assert capsys.readouterr() == ("", "")
    load_imdb(tmp_path, verbose=True)
    assert "IMDB train" in capsys.readouterr().err


def test_imdb_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folder aclImdb"):
        load_imdb(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="train/neg and train/pos"):
        load_imdb(tmp_path)


def test_imdb_with_an_empty_class(tmp_path):
    (tmp_path / "train" / "neg").mkdir(parents=True)
    (tmp_path / "train" / "pos").mkdir()
    (tmp_path / "train" / "neg" / "0_1.txt").write_text("bad")
    with pytest.raises(ValueError, match="no review of aclImdb/train/pos"):
        load_imdb(tmp_path)
    path = write_tar(tmp_path / "a.tar", "w", reviews={"train/neg/0_1.txt": "bad"})
    with pytest.raises(ValueError, match="no review of aclImdb/test/neg"):
        load_imdb(path, subset="test")


@pytest.mark.parametrize("kind", ["text", "empty", "text cut", "header cut", "cut gz"])
def test_imdb_from_a_file_that_is_no_whole_tar(kind, tmp_path):
    whole = write_tar(tmp_path / "whole.tar", "w").read_bytes()
    compressed = gzip.compress(whole)
    content = {
        "text": b"Not a tar file. " * 100,
        "empty": b"",
        "text cut": whole[: 512 + 2],
        "header cut": whole[: 1024 + 200],
        "cut gz": compressed[: len(compressed) // 2],
    }[kind]
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a whole tar file"):
        load_imdb(path)


def test_imdb_subset_is_checked(tmp_path):
    with pytest.raises(ValueError, match="subset"):
        load_imdb(write_folder(tmp_path), subset="unsup")


def test_imdb_names_the_review_that_is_not_utf8(tmp_path):
    (write_folder(tmp_path) / "train" / "pos" / "7_8.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"7_8\.txt is not UTF-8"):
        load_imdb(tmp_path)


def test_imdb_itself():
    reviews = load_imdb(data_folder() / "aclImdb.tar.xz")
    assert len(reviews.data) == 25_000
    np.testing.assert_array_equal(np.bincount(reviews.target), [12_500, 12_500])
    assert (np.diff(reviews.target) >= 0).all()
    assert reviews.data[0].startswith("Story of a man who has unnatural feelings for a pig.")


# Word vectors

LINES = ["good 1.0 -0.5 1e-3", "bad -1 0.25 7", ", 0 0 0", "café 3 2 1"]
MATRIX = np.array([[1, -0.5, 1e-3], [-1, 0.25, 7], [0, 0, 0], [3, 2, 1]], dtype=np.float32)


@pytest.mark.parametrize("header", [[], ["4 3"]])
@pytest.mark.parametrize("ending", ["\n", " \n", "\r\n"])
@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
    ],
)
def test_word_vectors_of_every_form(suffix, compress, header, ending, tmp_path):
    path = tmp_path / f"vectors.txt{suffix}"
    path.write_bytes(compress("".join(line + ending for line in header + LINES).encode()))
    vectors = load_word_vectors(path)
    assert vectors.words == ["good", "bad", ",", "café"]
    assert vectors.vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors.vectors, MATRIX)
    assert len(vectors) == 4
    assert list(vectors) == vectors.words
    assert "bad" in vectors
    assert "Bad" not in vectors
    np.testing.assert_array_equal(vectors["bad"], MATRIX[1])
    with pytest.raises(KeyError):
        vectors["Bad"]


def write_lines(folder, *lines):
    path = folder / "vectors.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_word_vectors_in_many_blocks(tmp_path):
    expected = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    lines = [f"w{i} {a!r} {b!r}" for i, (a, b) in enumerate(expected.tolist())]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    np.testing.assert_array_equal(vectors.vectors, expected)
    lines[15_000] = "w15000 1 x"
    with pytest.raises(ValueError, match="line 15001"):
        load_word_vectors(write_lines(tmp_path, *lines))


def test_word_vectors_keep_the_first_of_equal_words_and_words_with_spaces(tmp_path):
    lines = ["a 1 2", "at name@domain 3 4", ". . . 5 6", "a 7 8"]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    assert vectors.words == ["a", "at name@domain", ". . ."]
    np.testing.assert_array_equal(vectors.vectors, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    "line",
    [
        "b 1",
        "b 1 2 3",
        "b",
        "",
        " 1 2",
        "b  1 2",
        "b 1 \t",
        "b 1 2\r3 4",
        "b 1 x",
        "b 1 nan",
        "b 1e300 2",
        "b 1,2 3",
    ],
)
def test_malformed_line_of_word_vectors_is_named(line, tmp_path):
    with pytest.raises(ValueError, match="line 2"):
        load_word_vectors(write_lines(tmp_path, "a 1 2", line, "c 3 4"))


def test_word_vectors_that_are_not_utf8(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"a 1\ncaf\xe9 2\n")
    with pytest.raises(ValueError, match="line 2 is not UTF-8"):
        load_word_vectors(path)


def test_word_vectors_that_are_not_there_or_not_whole(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_word_vectors(tmp_path / "nowhere.txt")
    for lines in ([], ["0 3"]):
        with pytest.raises(ValueError, match="no word vectors"):
            load_word_vectors(write_lines(tmp_path, *lines))
    with pytest.raises(ValueError, match="announces 3 words in line 1 and holds 2"):
        load_word_vectors(write_lines(tmp_path, "3 2", "a 1 2", "b 3 4"))


def test_word_vectors_are_frozen():
    values = np.ones((2, 3))
    vectors = WordVectors(["a", "b"], values)
    with pytest.raises(ValueError, match="read-only"):
        vectors.vectors[0] = 0
    with pytest.raises(AttributeError):
        vectors.words = []
    values[0] = 0
    np.testing.assert_array_equal(vectors["a"], 1)
    assert copy.deepcopy(vectors) is vectors
    again = pickle.loads(pickle.dumps(vectors))
    assert again.key_to_index == {"a": 0, "b": 1}
    np.testing.assert_array_equal(again.vectors, vectors.vectors)


@pytest.mark.parametrize(
    ("words", "values", "message"),
    [
        (["a"], [[1.0], [2.0]], "1 words do not go"),
        (["a"], [1.0], "do not go"),
        (["a", "a"], [[1.0], [2.0]], "'a' occurs twice"),
        (["a", "b"], [[1.0], [np.inf]], "'b' is not finite"),
    ],
)
def test_word_vectors_are_checked(words, values, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, values)


def test_glove_itself():
    vectors = load_word_vectors(data_folder() / "glove.6B.50d.subset.txt.xz")
    assert vectors.vectors.shape == (50_892, 50)
    assert vectors.words[0] == "the"
    np.testing.assert_array_equal(vectors["the"][:2], np.float32([0.418, 0.24968]))
