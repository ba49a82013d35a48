"""Data sets, embedded, drawn and read from files."""

import bz2
import copy
import gzip
import io
import lzma
import pickle
import shutil
import sys
import tarfile

import numpy as np
import pytest
from data import data_folder, read_ts
from sklearn.datasets import load_digits

from sklearn_rnnbound.datasets import (
    WordVectors,
    load_digit_sequences,
    load_imdb,
    load_ts,
    load_word_vectors,
    make_gaussian_sequences,
)

REVIEWS = {
    **{f"train/neg/{number}_3.txt": f"Bad {number}" for number in range(11)},
    "train/neg/2_3.txt": "Dull<br />and long.",
    **{f"train/pos/{number}_9.txt": f"Très bon {number}" for number in range(11)},
    "train/unsup/0_0.txt": "no label",
    "train/urls_pos.txt": "http://",
    "test/neg/0_2.txt": "no",
    "test/pos/0_10.txt": "yes",
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
    state = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
    first = make_gaussian_sequences(5, random_state=3)
    second = make_gaussian_sequences(5, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.target, second.target)
    assert not np.array_equal(make_gaussian_sequences(5).data, make_gaussian_sequences(5).data)
    for before, after in zip(state, np.random.get_state(), strict=True):  # noqa: NPY002 - the legacy state is watched
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
    assert reviews.data[:3] == ["Bad 0", "Bad 1", "Dull<br />and long."]
    assert reviews.data[10:] == ["Bad 10", *(f"Très bon {number}" for number in range(11))]
    np.testing.assert_array_equal(reviews.target, np.repeat([0, 1], 11))
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


MAAS = r"Large Movie Review Dataset v1\.0 from ai\.stanford\.edu/~amaas/data/sentiment"


def test_imdb_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"expected the folder aclImdb.*{MAAS}"):
        load_imdb(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"train/neg and train/pos.*{MAAS}"):
        load_imdb(tmp_path)


@pytest.mark.parametrize("missing", ["train", "train/neg", "train/pos"])
def test_imdb_without_a_folder(missing, tmp_path):
    folder = write_folder(tmp_path)
    shutil.rmtree(folder / missing)
    with pytest.raises(FileNotFoundError, match=f"train/neg and train/pos.*{MAAS}"):
        load_imdb(folder)
    assert len(load_imdb(folder, subset="test").data) == 2


def test_imdb_with_an_empty_class(tmp_path):
    (tmp_path / "train" / "neg").mkdir(parents=True)
    (tmp_path / "train" / "pos").mkdir()
    (tmp_path / "train" / "neg" / "0_1.txt").write_text("bad")
    with pytest.raises(ValueError, match="aclImdb/train/pos holds no review"):
        load_imdb(tmp_path)
    path = write_tar(tmp_path / "a.tar", "w", reviews={"train/neg/0_1.txt": "bad"})
    with pytest.raises(ValueError, match=f"aclImdb/test/neg holds no review.*{MAAS}"):
        load_imdb(path, subset="test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train/pos/4_9.txt": None}, "train/pos holds 10 reviews, .* call for 11"),
        ({"train/neg/0_3.txt": None}, "train/neg holds 10 reviews, .* call for 11"),
        # One number twice, for two ratings: 12 files in place of 11.
        ({"train/neg/7_1.txt": "again"}, "train/neg holds 12 reviews, .* call for 11"),
        ({"train/neg/10_3.txt": None}, "10 negative and 11 positive"),
    ],
)
@pytest.mark.parametrize(
    "write", [write_folder, lambda root, r: write_tar(root / "a", "w:gz", reviews=r)]
)
def test_imdb_with_missing_reviews(write, changes, message, tmp_path):
    reviews = {name: text for name, text in {**REVIEWS, **changes}.items() if text is not None}
    path = write(tmp_path, reviews)
    with pytest.raises(ValueError, match=f"{message}.*{MAAS}"):
        load_imdb(path)
    assert load_imdb(path, subset="test").data == ["no", "yes"]


@pytest.mark.parametrize(
    "kind", ["text", "empty", "text cut", "header cut", "cut gz", "cut bz2", "cut xz"]
)
def test_imdb_from_a_file_that_is_no_whole_tar(kind, tmp_path):
    whole = write_tar(tmp_path / "whole.tar", "w").read_bytes()
    content = {
        "text": b"Not a tar file. " * 100,
        "empty": b"",
        "text cut": whole[: 512 + 2],
        "header cut": whole[: 1024 + 200],
        "cut gz": half(gzip.compress(whole)),
        "cut bz2": half(bz2.compress(whole)),
        "cut xz": half(lzma.compress(whole)),
    }[kind]
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"not a whole tar file.*{MAAS}"):
        load_imdb(path)


def half(content):
    return content[: len(content) // 2]


def test_imdb_subset_is_checked(tmp_path):
    with pytest.raises(ValueError, match="subset"):
        load_imdb(write_folder(tmp_path), subset="unsup")


def test_imdb_names_the_review_that_is_not_utf8(tmp_path):
    (write_folder(tmp_path) / "train" / "pos" / "7_9.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"7_9\.txt is not UTF-8"):
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
    lines = ["a 1 2", "at name@domain 3 4", ". . . 5 6", "a 7 8", ".  . 9 0", ". . 1 1"]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    assert vectors.words == ["a", "at name@domain", ". . .", ".  .", ". ."]
    np.testing.assert_array_equal(vectors.vectors, [[1, 2], [3, 4], [5, 6], [9, 0], [1, 1]])


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
def test_malformed_line_of_word_vectors_is_named(line, tmp_path):
    with pytest.raises(ValueError, match="line 2"):
        load_word_vectors(write_lines(tmp_path, "a 1 2", line, "c 3 4"))


@pytest.mark.parametrize("header", ["", "2 3\n"])
def test_a_byte_order_mark_is_no_part_of_a_word(header, tmp_path):
    lines = [f"\ufeff{header}good 1 -2 3", "bad 4 5 6 "]
    vectors = load_word_vectors(write_lines(tmp_path, *lines))
    assert vectors.words == ["good", "bad"]
    np.testing.assert_array_equal(vectors.vectors, [[1, -2, 3], [4, 5, 6]])


def test_word_vectors_that_are_not_utf8(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"a 1\ncaf\xe9 2\n")
    with pytest.raises(ValueError, match="line 2 is not UTF-8"):
        load_word_vectors(path)


GLOVE = r"GloVe from nlp\.stanford\.edu/projects/glove"


def test_word_vectors_that_are_not_there_or_not_whole(tmp_path):
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file is at .*{GLOVE}"):
            load_word_vectors(path)
    for lines in ([], ["0 3"]):
        with pytest.raises(ValueError, match=f"no word vectors.*{GLOVE}"):
            load_word_vectors(write_lines(tmp_path, *lines))
    with pytest.raises(ValueError, match="announces 3 words in line 1 and holds 2"):
        load_word_vectors(write_lines(tmp_path, "3 2", "a 1 2", "b 3 4"))


@pytest.mark.parametrize("cut", [b"c", b"c ", b"c 5", b"c 5 ", b"c 5 -", b"caf\xc3"])
def test_word_vectors_cut_off_in_the_last_line(cut, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"a 1 2\nb 3 4\n" + cut)
    with pytest.raises(ValueError, match=f"line 3.*ends in this line, cut off.*{GLOVE}"):
        load_word_vectors(path)
    # With a line after it, or with its end, the same line is wrong for another reason.
    for ending in (b"\n", b"\nd 7 8"):
        path.write_bytes(b"a 1 2\nb 3 4\n" + cut + ending)
        with pytest.raises(ValueError, match="line 3") as error:
            load_word_vectors(path)
        assert "cut off" not in str(error.value)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_compressed_word_vectors_that_are_not_whole(suffix, compress, tmp_path):
    path = tmp_path / f"vectors.txt{suffix}"
    content = compress("".join(f"w{i} {i} {i}\n" for i in range(100)).encode())
    for broken in (half(content), b"good 1.0 2.0\n", content[:-7] + bytes(7)):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"not a whole \{suffix} file.*{GLOVE}"):
            load_word_vectors(path)


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


def test_words_are_text():
    with pytest.raises(TypeError, match="words must be of type str, and 1 is not"):
        WordVectors(["a", 1], np.ones((2, 3)))


def test_glove_itself():
    vectors = load_word_vectors(data_folder() / "glove.6B.50d.subset.txt.xz")
    assert vectors.vectors.shape == (50_892, 50)
    assert vectors.words[0] == "the"
    np.testing.assert_array_equal(vectors["the"][:2], np.float32([0.418, 0.24968]))


# Series

TS = """# A comment
@problemName Three
@timeStamps false
@missing {missing}
@univariate false
@equalLength {equal}
@classLabel true Up down UPPER
@data
"""


def write_ts(folder, *lines, equal="false", missing="false", header=TS):
    path = folder / "Three_TRAIN.ts"
    text = header.format(equal=equal, missing=missing) + "".join(line + "\n" for line in lines)
    path.write_text(text.removesuffix("\n") if lines else text, encoding="utf-8")
    return path


@pytest.fixture
def aeon():
    pytest.importorskip("aeon", reason="the extra series is not installed")


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", ["JapaneseVowels", "BasicMotions", "ItalyPowerDemand", "GunPoint"])
def test_series_are_those_of_another_reader(name, part):
    path = data_folder() / "uea" / name / f"{name}_{part}.ts"
    series, (X, y) = load_ts(path), read_ts(path)
    np.testing.assert_array_equal(series.target, y)
    assert len(series.data) == len(X)
    for values, padded in zip(series.data, X, strict=True):
        assert values.dtype == np.float64
        assert values.flags.c_contiguous
        np.testing.assert_array_equal(values, padded[len(padded) - len(values) :])
        assert not padded[: len(padded) - len(values)].any()


@pytest.mark.usefixtures("aeon")
def test_series_by_hand(tmp_path):
    path = write_ts(tmp_path, "1,2,3:-4,5e1,.5:Up", "7:8:down", "0,1:1,0:UPPER")
    series = load_ts(str(path))
    expected = [[[1, -4], [2, 50], [3, 0.5]], [[7, 8]], [[0, 1], [1, 0]]]
    for values, other in zip(series.data, expected, strict=True):
        np.testing.assert_array_equal(values, other)
    assert series.target.tolist() == ["Up", "down", "UPPER"]


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize("comment", ["", " \t", "# 1,2", " #1:2:Up"])
@pytest.mark.parametrize("equal", ["true", "false"])
def test_comments_and_blank_lines_are_skipped_wherever_they_are(comment, equal, tmp_path):
    rows = ["1,2:3,4:Up", "5,6:7,8:down"]
    header = TS.replace("\n", f"\n{comment}\n")
    lines = [rows[0], comment, comment, rows[1], comment, ""]
    path = write_ts(tmp_path, comment, *lines, equal=equal, header=header)
    series = load_ts(path)
    np.testing.assert_array_equal(series.data, [[[1, 3], [2, 4]], [[5, 7], [6, 8]]])
    assert series.target.tolist() == ["Up", "down"]
    path.write_bytes(path.read_bytes() + b"\n\xff")
    with pytest.raises(ValueError, match=r"Three_TRAIN\.ts is not a whole .ts file: .*utf-8"):
        load_ts(path)


@pytest.mark.usefixtures("aeon")
def test_missing_values_stay_but_for_steps_at_the_end(tmp_path):
    lines = ["1,?,3,?:4,?,?,NaN:Up", "?,2,3,4:1,2,3,?:down", "?,?,?,?:?,?,?,?:Up"]
    for equal in ("true", "false"):
        data = load_ts(write_ts(tmp_path, *lines, equal=equal, missing="true")).data
        np.testing.assert_array_equal(data[0], [[1, 4], [np.nan, np.nan], [3, np.nan]])
        np.testing.assert_array_equal(data[1], [[np.nan, 1], [2, 2], [3, 3], [4, np.nan]])
        assert data[2].shape == (0, 2)


UEA = r"UEA or UCR archive from timeseriesclassification\.com"


def test_series_that_are_not_there(tmp_path):
    for path in (tmp_path / "Three_TRAIN.ts", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file is at .*{UEA}"):
            load_ts(path)
    path = tmp_path / "Three_TRAIN.zip"
    path.write_text("a")
    with pytest.raises(ValueError, match=f"the ending .ts.*{UEA}"):
        load_ts(path)


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no series"),
        (["1,2:3,4:Up", "1,2:3"], "not a whole"),
        (["1,2:3,4:Up", "1,2:3,4"], "not a whole"),
        (["1,2:3,4:Up", "1,2:3,4:"], "the last label, '', is cut off"),
        (["1,2:3,4:Up", "1,2:3,4:dow"], "the last label, 'dow', is cut off"),
        (["1,2:3,4:Up", "1,"], "not a whole"),
        (["1,2:3,4:Up", "1,2:3:Up"], "not a whole"),
        (["1,2:3,x:Up"], "not a whole"),
    ],
)
@pytest.mark.parametrize("equal", ["true", "false"])
def test_series_cut_off_or_malformed(lines, message, equal, tmp_path):
    with pytest.raises(ValueError, match=f"{message}.*{UEA}"):
        load_ts(write_ts(tmp_path, *lines, equal=equal))


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("@problemName A\n", f"no line @data.*{UEA}"),
        ("@timeStamps TRUE\n@classLabel true Up\n@data\n", "time stamps, which are not read"),
        ("@classLabel false\n@data\n", "without class labels"),
        ("@problemName A\n@data\n", "without class labels"),
        ("@problemName\n@classLabel true Up\n@data\n", f"not a whole.*{UEA}"),
    ],
)
def test_headers_that_are_not_read(header, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_ts(write_ts(tmp_path, "1,2:Up", header=header))


def test_series_without_aeon(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-rnnbound\[series\]'"):
        load_ts(write_ts(tmp_path, "1:2:Up"))
