"""Files that are damaged, or made to harm: a loader gives the right result or a named error."""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import tarfile
import tempfile
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound.datasets import (
    _files,
    imdb,
    load_imdb,
    load_ts,
    load_word_vectors,
    word_vectors,
)
from sklearn_rnnbound.datasets import ts as ts_module
from sklearn_rnnbound.preprocessing import WordVectorEncoder

FUZZ = settings(derandomize=True, deadline=None, max_examples=100, database=None)
REVIEWS = {
    "train/neg/0_3.txt": "Bad.",
    "train/neg/1_1.txt": "",
    "train/pos/0_9.txt": "Très bon.",
    "train/pos/1_10.txt": "Good.",
    "train/unsup/0_0.txt": "no label",
    "README": "about",
}
TEXTS = ["Bad.", "", "Très bon.", "Good."]


@contextmanager
def peak_below(n_bytes):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


def refused(load, path, message="", **params):
    """Check that the error names the path and what is wrong, and that no file is written."""
    before = sorted(Path(path).parent.rglob("*"))
    with pytest.raises(ValueError, match=message) as caught:
        load(path, **params)
    assert str(path) in str(caught.value)
    assert str(caught.value).encode(), "an error is text that can be printed"
    assert sorted(Path(path).parent.rglob("*")) == before
    return str(caught.value)


# Archives of reviews


def member(name, content=b"", size=None, **fields):
    """Header and content of one member; the size may lie."""
    info = tarfile.TarInfo("aclImdb/" + name if not name.startswith(("/", "..")) else name)
    info.size = len(content) if size is None else size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(records, kind=tarfile.XHDTYPE):
    info = tarfile.TarInfo("pax")
    return info._create_pax_generic_header(records, kind, "utf-8")


GOOD = {name: member(name, text.encode()) for name, text in REVIEWS.items()}


def write_archive(folder, *members, end=bytes(1024), compress=bytes):
    path = folder / "archive"
    path.write_bytes(compress(b"".join(members) + end))
    return path


SPECIAL = [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"Z",
]
PAX_NAME = "aclImdb/train/neg/2_1.txt"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (member("/aclImdb/train/neg/2_1.txt"), "'/aclImdb/train/neg/2_1.txt' .* leads out"),
        (member("/etc/passwd", b"root"), "'/etc/passwd' .* leads out"),
        (member("../train/neg/2_1.txt"), r"'\.\./train/neg/2_1\.txt' .* leads out"),
        (member("train/../train/neg/2_1.txt"), "leads out"),
        (member("train/..", type=tarfile.DIRTYPE), "leads out"),
        (pax({"path": "train/neg\0/2_1.txt"}) + member("a"), "leads out"),
        (GOOD["train/neg/0_3.txt"], "'aclImdb/train/neg/0_3.txt' occurs twice"),
        (GOOD["README"], "'aclImdb/README' occurs twice"),
        (member("train/neg/2_1.txt", type=tarfile.DIRTYPE), "2_1.txt' is no regular file"),
        *((member("train/neg/2_1.txt", type=kind), "2_1.txt' is no") for kind in SPECIAL),
        *((member("other", type=kind, linkname="/etc/passwd"), "no reg") for kind in SPECIAL),
        (member("train/neg/2_1.txt", b"a" * (2**20 + 1)), "2_1.txt' has 1,048,577 bytes"),
        (member("train/neg/2_1.txt", size=2**43), "has 8,796,093,022,208 bytes"),
        (member("train/neg/2_1.txt", size=-512), "has -512 bytes"),
        (member("other", size=-1024), "has -1,024 bytes"),
        (member("other", size=2**43), "not a whole tar file: it ends too early"),
        (member("other", size=2**80), "not a whole tar file: it ends too early"),
        (member("train/neg/2_1.txt", b"caf\xe9"), "train/neg/2_1.txt is not UTF-8"),
        (pax({"size": str(2**43)}) + member("other"), "pax header announces"),
        (pax({"GNU.sparse.map": "0,1", "GNU.sparse.size": str(2**43)}) + member("a"), "sparse"),
        (pax({"GNU.sparse.major": "1", "GNU.sparse.realsize": "9"}) + member("a"), "sparse"),
        (member("x", b"9" * 5000 + b" path=a\n", type=tarfile.XHDTYPE), "damaged pax header"),
        (member("x", b"8 path=a", type=tarfile.XHDTYPE), "damaged pax header"),
        (member("x", b"0 path=a\n", type=tarfile.XHDTYPE), "damaged pax header"),
        (member("x", b"garbage\n", type=tarfile.XHDTYPE), "damaged pax header"),
        (member("x", b"a" * 70_000, type=tarfile.XHDTYPE), "a header has 70,000 bytes"),
        (member("x", size=2**43, type=tarfile.XGLTYPE), "a header has 8,796,093,022,208 bytes"),
        (member("x", size=2**43, type=tarfile.GNUTYPE_LONGNAME), "a header has 8,796"),
        (member("x", size=-512, type=tarfile.GNUTYPE_LONGLINK), "a header has -512"),
        (b"\xff" * 512, "not a whole tar file"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_archive_with_one_bad_member(extra, message, first, tmp_path):
    members = [extra, *GOOD.values()] if first else [*GOOD.values(), extra]
    refused(load_imdb, write_archive(tmp_path, *members), message)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "2_1.txt.bak",
        "2_1.TXT",
        "2_1",
        "-2_1.txt",
        "2_1.txt\n",
        "+2_1.txt",
        "2_100.txt",
        "1000000_1.txt",
        "\u0663_1.txt",
        "caf\udce9.txt",
        "9" * 5000 + "_1.txt",
    ],
)
def test_names_that_are_not_those_of_reviews(name, tmp_path):
    extra = pax({"path": f"aclImdb/train/neg/{name}"}) + member("short")
    path = write_archive(tmp_path, *GOOD.values(), extra)
    refused(load_imdb, path, "train/neg/.* is no name of a review such as 0_3.txt")
    if len(name) < 100:
        folder = write_folder(tmp_path / "folder")
        (folder / "train" / "neg" / name).write_text("a")
        refused(load_imdb, folder, "train/neg/.* is no name of a review such as 0_3.txt")


def test_a_large_number_in_a_name_costs_no_memory(tmp_path):
    path = write_archive(tmp_path, *GOOD.values(), member("train/neg/999999_1.txt"))
    with peak_below(2**25):
        refused(load_imdb, path, "holds 3 reviews, .* call for 1000000")


@pytest.mark.parametrize("n_bytes", [0, 1, 511, 512, 513, 600, 1024, 1024 + 511])
def test_archive_that_ends_too_early(n_bytes, tmp_path):
    whole = b"".join(GOOD.values())
    refused(load_imdb, write_archive(tmp_path, whole[:n_bytes], end=b""), "not a whole tar file")


def test_archive_without_its_end_mark(tmp_path):
    refused(load_imdb, write_archive(tmp_path, *GOOD.values(), end=b""), "ends too early")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_checksum_of_a_compressed_archive_is_read(compress, tmp_path):
    # Behind its end mark an archive is padded; a reader that stops there sees no checksum.
    path = write_archive(tmp_path, *GOOD.values(), end=bytes(200_000), compress=compress)
    assert load_imdb(path).data == TEXTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(load_imdb, path, "not a whole tar file")
    if compress is gzip.compress:
        path.write_bytes(whole[:-8] + bytes(8))
        refused(load_imdb, path, "not a whole tar file: CRC check failed")


def xz(content):
    return lzma.compress(content, preset=0)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, xz])
@pytest.mark.parametrize("name", ["train/unsup/1_0.txt", "train/neg/2_1.txt"])
def test_archive_that_is_a_bomb(name, compress, tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "_NEVER_TOO_LARGE", 2**22)
    bomb = member(name, bytes(2**24))
    path = write_archive(tmp_path, *GOOD.values(), bomb, compress=compress)
    assert path.stat().st_size < 2**24 / 900
    with peak_below(2**23):
        message = "more than 4,194,304 bytes" if "unsup" in name else "has 16,777,216 bytes"
        refused(load_imdb, path, message)


def test_archive_expands_to_sixteen_mebibytes_and_no_more(tmp_path):
    n_bytes = 2**24 - len(b"".join([*GOOD.values(), member("filling"), bytes(1024)]))
    for surplus in (0, 512):
        filling = member("filling", bytes(n_bytes + surplus))
        path = write_archive(tmp_path, *GOOD.values(), filling, compress=gzip.compress)
        if surplus:
            refused(load_imdb, path, "more than 16,777,216 bytes")
        else:
            assert load_imdb(path).data == TEXTS


def test_archive_of_too_many_members(tmp_path, monkeypatch):
    path = write_archive(tmp_path, *GOOD.values())
    monkeypatch.setattr(imdb, "_MAX_MEMBERS", len(GOOD))
    assert load_imdb(path).data == TEXTS
    monkeypatch.setattr(imdb, "_MAX_MEMBERS", len(GOOD) - 1)
    refused(load_imdb, path, "more than 5 members")


def test_reviews_of_too_many_bytes(tmp_path, monkeypatch):
    folder = write_folder(tmp_path)
    monkeypatch.setattr(imdb, "_MAX_TOTAL", sum(len(text.encode()) for text in TEXTS))
    assert load_imdb(folder).data == TEXTS
    monkeypatch.setattr(imdb, "_MAX_TOTAL", imdb._MAX_TOTAL - 1)
    refused(load_imdb, folder, "holds more than 18 bytes of reviews")
    refused(load_imdb, write_archive(tmp_path, *GOOD.values()), "more than 18 bytes")


def test_many_headers_before_a_member(tmp_path):
    # tarfile follows them by recursion.
    chain = pax({"comment": "a"}) * 3000 + pax({"path": "b"}, tarfile.XGLTYPE)
    path = write_archive(tmp_path, chain, *GOOD.values())
    assert load_imdb(path).data == TEXTS


@pytest.mark.parametrize(
    ("form", "prefix"),
    [
        (tarfile.USTAR_FORMAT, ""),
        (tarfile.USTAR_FORMAT, "/".join("b" * 60)),
        (tarfile.GNU_FORMAT, ""),
        (tarfile.GNU_FORMAT, "\u00e9" * 120),
        (tarfile.PAX_FORMAT, ""),
        (tarfile.PAX_FORMAT, "\u00e9" * 120),
    ],
)
def test_archives_of_every_form_with_long_names(form, prefix, tmp_path):
    folder = write_folder(tmp_path / "folder")
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w", format=form) as archive:
        # Times of a fraction of a second make headers of pax.
        archive.add(folder, arcname=f"{prefix}/aclImdb".lstrip("/"))
    assert load_imdb(path).data == TEXTS


def test_hidden_files_of_an_archive_are_passed_over(tmp_path):
    # Those of macOS hold attributes of the file without the dot.
    hidden = member("train/neg/._0_3.txt", b"\xff"), member("train/neg/._2_1.txt")
    assert load_imdb(write_archive(tmp_path, *hidden, *GOOD.values())).data == TEXTS


# Folders of reviews


def write_folder(root):
    for name, text in REVIEWS.items():
        path = root / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "aclImdb"


def test_links_in_a_folder_are_not_followed(tmp_path):
    folder = write_folder(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    link = folder / "train" / "neg" / "2_1.txt"
    link.symlink_to(secret)
    refused(load_imdb, folder, "2_1.txt' is no regular file")
    link.unlink()
    for moved in (folder / "train" / "pos", folder / "train", folder):
        moved.rename(tmp_path / "elsewhere")
        moved.symlink_to(tmp_path / "elsewhere")
        message = refused(load_imdb, tmp_path, "is a link, which is not followed")
        assert str(moved) in message
        moved.unlink()
        (tmp_path / "elsewhere").rename(moved)
    # What the user gives may be a link.
    (tmp_path / "link").symlink_to(folder)
    assert load_imdb(tmp_path / "link").data == TEXTS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFO")
def test_nothing_waits_for_a_fifo(tmp_path):
    folder = write_folder(tmp_path / "folder")
    os.mkfifo(folder / "train" / "neg" / "2_1.txt")
    refused(load_imdb, folder, "2_1.txt' is no regular file")
    os.mkfifo(tmp_path / "fifo.ts")
    refused(load_imdb, tmp_path / "fifo.ts", "neither a folder nor a regular file")
    for load in (load_word_vectors, load_ts):
        with pytest.raises(FileNotFoundError, match=r"no file is at .*fifo\.ts"):
            load(tmp_path / "fifo.ts")


def test_odd_entries_of_a_folder(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "train" / "neg" / ".DS_Store").write_bytes(b"\xff")
    (folder / "train" / "neg" / ".hidden").mkdir()
    assert load_imdb(folder).data == TEXTS
    (folder / "train" / "neg" / "2_1.txt").mkdir()
    refused(load_imdb, folder, "2_1.txt' is no regular file")


def test_long_review_of_a_folder_is_not_read_whole(tmp_path):
    folder = write_folder(tmp_path)
    with open(folder / "train" / "neg" / "2_1.txt", "wb") as file:
        file.truncate(2**33)
    with peak_below(2**23):
        refused(load_imdb, folder, "train/neg/2_1.txt is longer than 1,048,576 bytes")


# Reviews, mutated


def mutations(whole):
    """Copies of `whole` with a few bytes changed, removed, doubled or cut off."""
    places = st.integers(0, len(whole) - 1)

    def apply(edits):
        content = bytearray(whole)
        for kind, place, value, length in edits:
            if kind == "set":
                content[place : place + 1] = bytes([value])
            elif kind == "drop":
                del content[place : place + length]
            elif kind == "double":
                content[place:place] = content[place : place + length]
            else:
                del content[place:]
        return bytes(content)

    edit = st.tuples(
        st.sampled_from(["set", "set", "drop", "double", "cut"]),
        places,
        st.integers(0, 255),
        st.sampled_from([1, 2, 7, 512]),
    )
    return st.lists(edit, min_size=1, max_size=3).map(apply)


def load_or_refuse(load, content, suffix=""):
    """What a loader gives for a file of that content, or None after an error that names it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{suffix}")
        path.write_bytes(content)
        try:
            return load(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right
            return None
        finally:
            assert os.listdir(folder) == [path.name]


ARCHIVE = b"".join(GOOD.values()) + bytes(1024)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_mutated_compressed_archive_is_right_or_refused(compress):
    @FUZZ
    @given(mutations(compress(ARCHIVE)))
    def check(content):
        reviews = load_or_refuse(load_imdb, content)
        assert reviews is None or reviews.data == TEXTS

    check()


@FUZZ
@given(mutations(ARCHIVE))
def test_mutated_archive_reads_as_tarfile_reads_it_or_is_refused(content):
    reviews = load_or_refuse(load_imdb, content)
    if reviews is None:
        return
    pattern = re.compile(r"(?:.*/)?train/(neg|pos)/([0-9]+)_([0-9]+)\.txt", re.DOTALL)
    expected = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for info in archive:
            match = pattern.fullmatch(info.name)
            if match and info.isreg():
                text = archive.extractfile(info).read().decode()
                expected.append((match[1] == "pos", int(match[2]), text))
    expected.sort()
    assert reviews.data == [text for *_, text in expected]
    assert reviews.target.tolist() == [positive for positive, *_ in expected]


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train/neg/{}_1.txt", "./train/pos/{}_9.txt", "test/neg/{}_1.txt"]),
            st.integers(0, 3),
            st.sampled_from([tarfile.REGTYPE] * 9 + [tarfile.SYMTYPE, tarfile.DIRTYPE]),
            st.sampled_from(["a", "b", ""]),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda entry: entry[:2],
    )
)
def test_archive_is_read_just_when_it_is_as_the_data_set_is(entries):
    members = [
        member(name.format(number), text.encode() if kind == tarfile.REGTYPE else b"", type=kind)
        for name, number, kind, text in entries
    ]
    reviews = load_or_refuse(load_imdb, b"".join(members) + bytes(1024))
    numbers = [
        sorted(number for name, number, *_ in entries if sentiment in name)
        for sentiment in ("train/neg", "train/pos")
    ]
    whole = numbers[0] == numbers[1] == list(range(len(numbers[0]))) != []
    plain = all(kind == tarfile.REGTYPE for _, _, kind, _ in entries)
    assert (reviews is not None) == (whole and plain)
    if reviews is not None:
        texts = {name.format(number): text for name, number, _, text in entries}
        in_order = [f"train/neg/{i}_1.txt" for i in numbers[0]]
        in_order += [f"./train/pos/{i}_9.txt" for i in numbers[0]]
        assert reviews.data == [texts[name] for name in in_order]


# Word vectors

VECTORS = "3 2\ngood 1.5 -0.5\nbad 1e-3 7\ncaf\u00e9 0 3\n".encode()


def read_naively(content):
    """Words and vectors, a number at a time."""
    lines = [line.rstrip(" \r\n") for line in content.decode("utf-8-sig").split("\n")]
    if lines[-1] == "":
        del lines[-1]
    header = lines[0].split(" ")
    if len(header) == 2 and all(part.isdecimal() for part in header):
        assert int(header[0]) == len(lines) - 1
        lines, n_numbers = lines[1:], int(header[1])
    else:
        n_numbers = lines[0].count(" ")
    vectors = {}
    for line in lines:
        word, *numbers = line.rsplit(" ", n_numbers)
        assert word
        assert len(numbers) == n_numbers
        if word not in vectors:
            vectors[word] = np.array([float(number) for number in numbers], dtype=np.float32)
    return vectors


@pytest.mark.parametrize("whole", [VECTORS, VECTORS[4:]])
def test_mutated_word_vectors_are_those_of_a_naive_reader_or_refused(whole):
    @FUZZ
    @given(mutations(whole))
    def check(content):
        vectors = load_or_refuse(load_word_vectors, content, ".txt")
        if vectors is not None:
            expected = read_naively(content)
            assert vectors.words == list(expected)
            np.testing.assert_array_equal(vectors.vectors, list(expected.values()))
            assert np.isfinite(vectors.vectors).all()

    check()


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_mutated_compressed_word_vectors_are_right_or_refused(suffix, compress):
    @FUZZ
    @given(mutations(compress(VECTORS)))
    def check(content):
        vectors = load_or_refuse(load_word_vectors, content, suffix)
        if vectors is not None:
            assert vectors.words == ["good", "bad", "caf\u00e9"]
            np.testing.assert_array_equal(vectors.vectors[1], np.float32([1e-3, 7]))

    check()


@FUZZ
@given(st.binary(max_size=300))
def test_binary_files_are_no_word_vectors(content):
    vectors = load_or_refuse(load_word_vectors, content, ".txt")
    assert vectors is None or vectors.words == list(read_naively(content))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("1000000000000 2", "announces 1000000000000 words of 2 dimensions in line 1"),
        ("20000001 2", "announces 20000001 words"),
        ("1 10001", "of 10001 dimensions in line 1"),
        ("1 1000000000000", "of 1000000000000 dimensions"),
        ("1 0", "of 0 dimensions"),
        ("9" * 5000 + " 2", "announces 9{20} words"),
        ("1 " + "9" * 5000, "of 9{20} dimensions"),
        ("20000000 2", "announces 20000000 words in line 1 and holds 1"),
        ("1 3", "line 2: expected a word and 3 numbers"),
        # "1.0 1" is no word: its last part is a number.
        ("1 1", "line 2: expected a word and 1 numbers"),
    ],
)
def test_header_that_lies(header, message, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(f"{header}\n1.0 1 2\n")
    refused(load_word_vectors, path, message)


def test_binary_word2vec_is_refused(tmp_path):
    path = tmp_path / "vectors.bin"
    values = np.random.default_rng(0).normal(size=(2, 3)).astype("<f4")
    path.write_bytes(b"2 3\na " + values[0].tobytes() + b"b " + values[1].tobytes())
    refused(load_word_vectors, path, r"line 2 .*KeyedVectors.load_word2vec_format\(path, binary=")


def test_zip_files_are_refused(tmp_path):
    path = tmp_path / "aclImdb_v1.tar.gz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("aclImdb/train/neg/0_3.txt", "Bad.")
        archive.writestr("vectors.txt", VECTORS * 100)
    refused(load_imdb, path, "is a zip file, .*give the archive aclImdb_v1.tar.gz or the folder")
    refused(load_word_vectors, path.rename(tmp_path / "vectors.zip"), "line 1 .* Unpack a zip file")


@pytest.mark.parametrize("content", [b"a 1\nb\0c 2\n", b"2 3\na " + bytes(12)])
def test_nul_characters_are_no_words(content, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    refused(load_word_vectors, path, "line 2 holds a NUL .* read a binary file of word2vec")


def test_limits_of_word_vectors(tmp_path, monkeypatch):
    path = tmp_path / "vectors.txt"
    numbers = " 1" * 10_000
    path.write_text(f"a{numbers}\n")
    assert load_word_vectors(path).vectors.shape == (1, 10_000)
    path.write_text(f"a{numbers} 1\n")
    refused(load_word_vectors, path, "line 1 holds a vector of 10,001 dimensions")
    word = "a" * (2**20 - 3)
    path.write_text(f"{word} 1\n")
    assert load_word_vectors(path).words == [word]
    path.write_text(f"a 1\na{word} 1\n")
    refused(load_word_vectors, path, "line 2 is longer than 1,048,576")
    monkeypatch.setattr(word_vectors, "_MAX_WORDS", 3)
    path.write_text("a 1\nb 2\na 3\n")
    assert load_word_vectors(path).words == ["a", "b"]
    path.write_text("a 1\nb 2\na 3\na 4\n")
    refused(load_word_vectors, path, "more than 3 words")


def test_line_without_end_is_not_read_whole(tmp_path):
    path = tmp_path / "vectors.txt"
    with open(path, "wb") as file:
        file.truncate(2**33)
    with peak_below(2**23):
        refused(load_word_vectors, path, "line 1 is longer than 1,048,576")


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", xz)]
)
def test_word_vectors_that_are_a_bomb(suffix, compress, tmp_path, monkeypatch):
    path = tmp_path / f"vectors.txt{suffix}"
    path.write_bytes(compress(bytes(2**24)))
    with peak_below(2**23):
        refused(load_word_vectors, path, "line 1 is longer than 1,048,576")
    monkeypatch.setattr(_files, "_NEVER_TOO_LARGE", 2**20)
    path.write_bytes(compress((b"a" + b" 1" * 1000 + b"\n") * 1000))
    with peak_below(2**23):
        refused(load_word_vectors, path, "more than 1,048,576 bytes")


def test_compression_that_no_bomb_has_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "_NEVER_TOO_LARGE", 0)
    content = "".join(f"w{i}" + " 0.5" * 50 + "\n" for i in range(1000)).encode()
    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(content, 1))
    assert 20 < len(content) / path.stat().st_size < 100
    assert len(load_word_vectors(path)) == 1000


def test_errors_of_the_system_stay_as_they_are(tmp_path, monkeypatch):
    def broken(path, mode):
        raise OSError(errno.EIO, "the disk is broken", str(path))

    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(VECTORS))
    monkeypatch.setitem(_files._OPEN, ".gz", broken)
    with pytest.raises(OSError, match="the disk is broken"):
        load_word_vectors(path)


# Series

TS = """@problemName Two
@timeStamps false
@univariate false
@dimensions 2
@equalLength {equal}
@seriesLength 3
@classLabel true Up down
@data
"""
ROWS = ["1,2,?:4,5,6:Up", "-1,2,3:NaN,NaN,6:down"]


@pytest.fixture
def aeon():
    pytest.importorskip("aeon", reason="the extra series is not installed")


def write_ts(folder, *rows, header=TS, equal="true"):
    path = folder / "Two_TRAIN.ts"
    path.write_text(header.format(equal=equal) + "".join(row + "\n" for row in rows))
    return path


def without(text, tag, replacement=""):
    return re.sub(rf"@{tag}.*\n", replacement, text)


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize(
    ("header", "message"),
    [
        (without(TS, "dimensions", "@dimensions 3\n"), "announces dimensions '3' .* holds 2"),
        (without(TS, "dimensions", "@dimensions\n"), "announces dimensions ''"),
        (without(TS, "series", "@seriesLength -3\n"), "announces serieslength '-3' .* holds 3"),
        (without(TS, "series", f"@seriesLength {10**30}\n"), "announces serieslength '1000000"),
        (without(TS, "classLabel", "@classLabel\n"), "without class labels"),
        (without(TS, "classLabel", "@classLabel true\n"), "not a whole"),
        (without(TS, "classLabel", "@classLabel maybe a b\n"), "without class labels"),
        (without(TS, "classLabel", "@classLabel true Up up down\n"), "differ in case alone"),
        (TS.replace("@data", "@targetLabel true\n@data"), "without class labels"),
        (TS.replace("@data", "@timeStamps\n@data"), "holds the tag '@timeStamps' twice"),
        (without(TS, "timeStamps", "@timeStamps\n"), "not a whole"),
        # aeon does not look at the first character.
        (without(TS, "timeStamps", "!timeStamps true\n"), "time stamps, which are not read"),
        (without(TS, "data", "@data 3\n"), "not a whole"),
        ("\0\1\2\n" + "garbage " * 1000 + "\n", "no line @data"),
        ("@data\n", "without class labels"),
    ],
)
def test_headers_that_lie_or_are_garbage(header, message, tmp_path):
    refused(load_ts, write_ts(tmp_path, *ROWS, header=header), message)


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,2,3:4,5,6", "1,2,3:4,5,6"], "dimensions '2' .* holds 1"),
        (["1,2,3:4,5,6:sideways", ROWS[0]], "label of series 1, 'sideways', is cut off or missing"),
        (["1,2,3:4,5,6:sideways", "1,2,3:4,5,6:back"], "label of series 1, 'sideways'"),
        ([ROWS[0], "1,2,3:4,5,6:"], "the last label, ''"),
        (["Up", "down"], "holds no series"),
        ([":Up"], "not a whole"),
        (["1,2,inf:4,5,6:Up"], "infinite values"),
        (["1,2,1e999:4,5,6:Up"], "infinite values"),
        (["1,2,3:4,5,\0:Up"], "not a whole"),
        (["1,2,3:4,5,6" + ":7" * 10_000 + ":Up"], "more than .* 10,000 channels"),
    ],
)
def test_rows_that_are_no_series(rows, message, tmp_path):
    refused(load_ts, write_ts(tmp_path, *rows), message)


@pytest.mark.usefixtures("aeon")
def test_labels_between_spaces_and_files_that_end_between_two_series(tmp_path):
    whole = load_ts(write_ts(tmp_path, "1,2,3:4,5,6: UP ", ROWS[1]))
    assert whole.target.tolist() == ["Up", "down"]
    # Nothing in the header tells that the second series is missing.
    cut = load_ts(write_ts(tmp_path, "1,2,3:4,5,6: UP "))
    np.testing.assert_array_equal(cut.data, whole.data[:1])


@pytest.mark.usefixtures("aeon")
def test_limits_of_series(tmp_path, monkeypatch):
    path = write_ts(tmp_path, *ROWS)
    monkeypatch.setattr(ts_module, "_MAX_SERIES", 2)
    assert len(load_ts(path).data) == 2
    monkeypatch.setattr(ts_module, "_MAX_SERIES", 1)
    refused(load_ts, path, "more than 1 series")
    monkeypatch.undo()
    for content in (b"", path.read_bytes()):
        path.write_bytes(content)
        with open(path, "ab") as file:
            file.truncate(2**33)
        with peak_below(2**28):
            refused(load_ts, path, f"line {content.count(10) + 1} is longer than 33,554,432")


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize("equal", ["true", "false"])
def test_mutated_series_are_those_of_a_naive_reader_or_refused(equal):
    whole = (TS.format(equal=equal) + "\n".join(ROWS)).encode()

    @FUZZ
    @given(mutations(whole))
    def check(content):
        series = load_or_refuse(load_ts, content, ".ts")
        if series is None:
            return
        text = re.sub("\r\n?", "\n", content.decode()).removesuffix("\n")
        lines = [line.strip() for line in text.split("\n")]
        lines = [line for line in lines if line and not line.startswith("#")]
        labels = next(line for line in lines if line[1:].lower().startswith("classlabel")).split()
        rows = lines[[line.lower() for line in lines].index("@data") + 1 :]
        assert len(series.data) == len(rows)
        for values, label, row in zip(series.data, series.target, rows, strict=True):
            *channels, last = re.sub(r"\?|nan", "nan", row, flags=re.IGNORECASE).split(":")
            expected = np.array([list(map(float, channel.split(","))) for channel in channels]).T
            np.testing.assert_array_equal(values, expected[: len(values)])
            assert np.isnan(expected[len(values) :]).all()
            assert label in labels[2:]
            assert label.lower() == last.strip().lower()

    check()


# Documents

WORDS = {"good": [1.0, 2.0], "bad": [-1.0, 0.5]}


@pytest.mark.parametrize("supervised", [None, "log_odds"])
def test_long_documents_are_refused_before_any_work(supervised):
    encoder = WordVectorEncoder(WORDS, supervised=supervised, min_count=1)
    long = ["good", "a" * 10**8]
    with peak_below(2**20), pytest.raises(ValueError, match="number 1 has 100,000,000; cut it"):
        encoder.fit(long, [0, 1])
    encoder.fit(["good", "bad"], [0, 1])
    with pytest.raises(ValueError, match="documents may have 10,000,000 characters each"):
        encoder.transform(long)
    assert encoder.transform(["!" * 10**7]).shape[0] == 1


@pytest.mark.parametrize("document", [None, 3, 2.5, b"good", ["good"], np.float64(1)])
def test_documents_of_other_types(document):
    encoder = WordVectorEncoder(WORDS).fit([])
    for call in (encoder.fit, encoder.transform):
        with pytest.raises(TypeError, match="documents must hold str, and number 1 is of type"):
            call(["good", document])


@pytest.mark.parametrize("params", [{}, {"tokenizer": str.split}, {"token_pattern": r"\S+"}])
def test_lone_surrogates_and_control_characters_are_no_harm(params):
    odd = "good \ud800 \udfff\0 \x85\u2028 \U0010ffff bad"
    X = WordVectorEncoder(WORDS, unknown="skip", max_words=2, **params).fit_transform([odd])
    np.testing.assert_array_equal(X, [[WORDS["good"], WORDS["bad"]]])
    learned = WordVectorEncoder(supervised="log_odds", min_count=1, **params)
    scores = learned.fit([odd, "good"], [0, 1])
    assert np.isfinite(scores.vectors_).all()
    assert {"good", "bad"} <= set(scores.vocabulary_)


@settings(FUZZ, max_examples=60)
@given(st.lists(st.text(st.characters(), max_size=30), min_size=1, max_size=5))
def test_any_text_becomes_finite_sequences(documents):
    encoder = WordVectorEncoder(WORDS, max_words=4, token_pattern=r"\S+").fit(documents)
    X = encoder.transform(documents)
    assert X.shape == (len(documents), 4, 2)
    assert {tuple(step) for step in X.reshape(-1, 2).tolist()} <= {
        (0.0, 0.0),
        *map(tuple, WORDS.values()),
    }


def test_memory_maps_overwrite_nothing(tmp_path, monkeypatch):
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("mine")
    folder.mkdir()
    (folder / "sequences_taken.npy").symlink_to(victim)
    (folder / "sequences_there.npy").write_text("mine, too")
    names = iter(["taken", "there", "free"])
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
    X = WordVectorEncoder(WORDS, max_words=1, memmap_folder=folder).fit_transform(["good"])
    assert Path(X.filename).name == "sequences_free.npy"
    assert victim.read_text() == "mine"
    assert (folder / "sequences_there.npy").read_text() == "mine, too"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
@pytest.mark.parametrize("at", ["document", "map"])
def test_failure_leaves_no_memory_map(error, at, tmp_path, monkeypatch):
    calls = iter(range(1000))

    def split(document):
        # In the second part of the documents, when the first is written.
        if at == "document" and next(calls) == 100:
            assert len(os.listdir(tmp_path)) == 1
            raise error
        return document.split()

    def load(*args, **kwargs):
        raise error

    encoder = WordVectorEncoder(WORDS, max_words=1, tokenizer=split, memmap_folder=tmp_path).fit([])
    if at == "map":
        monkeypatch.setattr(np, "load", load)
    with pytest.raises(error):
        encoder.transform(["good"] * 200)
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    assert encoder.transform(["good"] * 200).shape == (200, 1, 2)
