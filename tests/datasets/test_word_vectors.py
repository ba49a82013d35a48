"""Word vectors, and the text files that hold them."""

import bz2
import copy
import gzip
import lzma
import pickle

import numpy as np
import pytest
from data import data_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.datasets import WordVectors, load_word_vectors

LINES = ["good 1.0 -0.5 1e-3", "bad -1 0.25 7", ", 0 0 0", "café 3 2 1"]
MATRIX = np.array([[1, -0.5, 1e-3], [-1, 0.25, 7], [0, 0, 0], [3, 2, 1]], dtype=np.float32)
COMPRESSED = [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]


@pytest.mark.parametrize("header", [[], ["4 3"]])
@pytest.mark.parametrize("ending", ["\n", " \n", "\r\n"])
@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), *COMPRESSED])
def test_every_form_of_a_file(suffix, compress, header, ending, tmp_path):
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


def test_many_blocks_of_lines(tmp_path):
    expected = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    lines = [f"w{i} {a!r} {b!r}" for i, (a, b) in enumerate(expected.tolist())]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    np.testing.assert_array_equal(vectors.vectors, expected)
    lines[15_000] = "w15000 1 x"
    with pytest.raises(ValueError, match="line 15001"):
        load_word_vectors(write_lines(tmp_path, *lines))


def test_the_first_of_equal_words_and_words_with_spaces_are_kept(tmp_path):
    lines = ["a 1 2", "at name@domain 3 4", ". . . 5 6", "a 7 8", ".  . 9 0", ". . 1 1"]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    assert vectors.words == ["a", "at name@domain", ". . .", ".  .", ". ."]
    np.testing.assert_array_equal(vectors.vectors, [[1, 2], [3, 4], [5, 6], [9, 0], [1, 1]])


@pytest.mark.parametrize("header", ["", "2 3\n"])
def test_a_byte_order_mark_is_no_part_of_a_word(header, tmp_path):
    lines = [f"\ufeff{header}good 1 -2 3", "bad 4 5 6 "]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    assert vectors.words == ["good", "bad"]
    np.testing.assert_array_equal(vectors.vectors, [[1, -2, 3], [4, 5, 6]])


GLOVE = r"GloVe from nlp\.stanford\.edu/projects/glove"


@pytest.mark.parametrize(
    "line",
    [
        "b 1",
        "b 1 2 3",
        "b",
        "",
        " 1 2",
        "b 1 \t",
        "b 1 2\r3 4",
        "b 1 x",
        "b 1 nan",
        "b 1e300 2",
        "b 1,2 3",
        "b  1 2",
        "b\t1\t2",
    ],
)
def test_malformed_line_is_named(line, tmp_path):
    with pytest.raises(ValueError, match=f"line 2.*{GLOVE}"):
        load_word_vectors(write_lines(tmp_path, "a 1 2", line, "c 3 4"))


def test_files_that_are_not_there_or_not_whole(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_word_vectors(tmp_path / "nowhere.txt")
    for lines in ([], ["0 3"]):
        with pytest.raises(ValueError, match=f"no word vectors.*{GLOVE}"):
            load_word_vectors(write_lines(tmp_path, *lines))
    with pytest.raises(ValueError, match="announces 3 words in line 1 and holds 2"):
        load_word_vectors(write_lines(tmp_path, "3 2", "a 1 2", "b 3 4"))


def test_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"a 1\ncaf\xe9 2\n")
    with pytest.raises(ValueError, match=f"line 2 is not UTF-8.*{GLOVE}"):
        load_word_vectors(path)


def test_binary_word2vec_is_refused(tmp_path):
    path = tmp_path / "vectors.bin"
    values = np.random.default_rng(0).normal(size=(2, 3)).astype("<f4")
    path.write_bytes(b"2 3\na " + values[0].tobytes() + b"b " + values[1].tobytes())
    with pytest.raises(ValueError, match=r"line 2 .*KeyedVectors.load_word2vec_format\(path, bin"):
        load_word_vectors(path)


@pytest.mark.parametrize(("suffix", "compress"), COMPRESSED)
def test_compressed_files_that_are_not_whole(suffix, compress, tmp_path):
    path = tmp_path / f"vectors.txt{suffix}"
    content = compress("".join(f"w{i} {i} {i}\n" for i in range(100)).encode())
    for broken in (content[: len(content) // 2], b"good 1.0 2.0\n", content[:-7] + bytes(7)):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"not a whole \{suffix} file.*{GLOVE}"):
            load_word_vectors(path)


def read_naively(content):
    """Words and vectors, a number at a time."""
    lines = [line.rstrip(" \r\n") for line in content.decode("utf-8-sig").split("\n")]
    if lines[-1] == "":
        del lines[-1]
    n_numbers = lines[0].count(" ")
    vectors = {}
    for line in lines:
        word, *numbers = line.rsplit(" ", n_numbers)
        assert word
        vectors.setdefault(word, np.array(numbers, dtype=float).astype(np.float32))
    return vectors


@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(place=st.integers(0, 34), value=st.integers(0, 255))
def test_a_changed_byte_is_read_as_by_a_naive_reader_or_refused(place, value, tmp_path_factory):
    content = bytearray("good 1.5 -0.5\nbad 1e-3 7\ncaf\u00e9 0 3\n".encode())
    content[place] = value
    path = tmp_path_factory.getbasetemp() / "changed.txt"
    path.write_bytes(content)
    try:
        vectors = load_word_vectors(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
    else:
        expected = read_naively(bytes(content))
        assert vectors.words == list(expected)
        np.testing.assert_array_equal(vectors.vectors, list(expected.values()))


def test_word_vectors_are_frozen():
    values = np.ones((2, 3))
    vectors = WordVectors(["a", "\ud800"], values)
    values[0] = 0
    assert copy.deepcopy(vectors) is vectors
    for same in (vectors, pickle.loads(pickle.dumps(vectors))):
        assert same.key_to_index == {"a": 0, "\ud800": 1}
        np.testing.assert_array_equal(same.vectors, np.ones((2, 3)))
        with pytest.raises(ValueError, match="read-only"):
            same.vectors[0] = 0
        with pytest.raises(AttributeError):
            same.words = []


@pytest.mark.parametrize(
    ("words", "values", "message"),
    [
        (["a"], [[1.0], [2.0]], "1 words do not go"),
        (["a"], [1.0], "2D array"),
        (["a", "a"], [[1.0], [2.0]], "'a' occurs twice"),
        (["a", "b"], [[1.0], [np.inf]], "vectors contains infinity"),
    ],
)
def test_word_vectors_are_checked(words, values, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, values)


def test_words_are_text():
    with pytest.raises(TypeError, match="words must be of type str, and 1 is not"):
        WordVectors(["a", 1], np.ones((2, 3)))


def test_glove_itself():
    vectors = load_word_vectors(data_folder() / "glove.6B.50d.subset.txt.xz")
    assert vectors.vectors.shape == (50_892, 50)
    assert vectors.words[0] == "the"
    np.testing.assert_array_equal(vectors["the"][:2], np.float32([0.418, 0.24968]))
