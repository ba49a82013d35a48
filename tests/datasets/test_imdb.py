"""Film reviews, from folders and archives."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile

import numpy as np
import pytest
from data import data_folder

from sklearn_rnnbound.datasets import load_imdb

REVIEWS = {
    **{f"train/neg/{number}_3.txt": f"Bad {number}" for number in range(11)},
    "train/neg/2_3.txt": "Dull<br />and long.",
    **{f"train/pos/{number}_9.txt": f"Très bon {number}" for number in range(11)},
    "train/neg/._0_3.txt": "what macOS leaves",
    "train/unsup/0_0.txt": "no label",
    "train/urls_pos.txt": "http://",
    "test/neg/0_2.txt": "no",
    "test/pos/0_10.txt": "yes",
}


def write_folder(root, reviews=REVIEWS):
    for name, text in reviews.items():
        path = root / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "aclImdb"


def write_tar(path, mode="w", prefix="aclImdb/", reviews=REVIEWS, extra=()):
    with tarfile.open(path, mode) as archive:
        for member in extra:
            archive.addfile(member)
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
        return write_tar(tmp_path / "reviews", prefix="./")
    mode = "w:" + request.param.removeprefix("tar").removeprefix(".")
    return write_tar(tmp_path / f"aclImdb.{request.param}", mode)


def test_every_form_is_read_in_one_order(imdb_path):
    reviews = load_imdb(imdb_path)
    # By number: 2 before 10.
    assert reviews.data[:3] == ["Bad 0", "Bad 1", "Dull<br />and long."]
    assert reviews.data[10:] == ["Bad 10", *(f"Très bon {number}" for number in range(11))]
    np.testing.assert_array_equal(reviews.target, np.repeat([0, 1], 11))
    assert reviews.target_names == ["neg", "pos"]
    test = load_imdb(str(imdb_path), subset="test")
    assert test.data == ["no", "yes"]
    np.testing.assert_array_equal(test.target, [0, 1])


def test_progress_is_shown_only_when_asked(tmp_path, capsys):
    write_folder(tmp_path)
    load_imdb(tmp_path)
    assert capsys.readouterr() == ("", "")
    load_imdb(tmp_path, verbose=True)
    assert "IMDB train" in capsys.readouterr().err


MAAS = r"Large Movie Review Dataset v1\.0 from ai\.stanford\.edu/~amaas/data/sentiment"


def test_data_set_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_imdb(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"train/neg and train/pos.*{MAAS}"):
        load_imdb(tmp_path)


@pytest.mark.parametrize("missing", ["train", "train/pos"])
def test_folder_without_a_part(missing, tmp_path):
    folder = write_folder(tmp_path)
    shutil.rmtree(folder / missing)
    with pytest.raises(FileNotFoundError, match=f"train/neg and train/pos.*{MAAS}"):
        load_imdb(folder)
    assert len(load_imdb(folder, subset="test").data) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train/pos/4_9.txt": None}, "train/pos holds 10 reviews, .* call for 11"),
        ({"train/neg/0_3.txt": None}, "train/neg holds 10 reviews, .* call for 11"),
        # One number twice, for two ratings: 12 files in place of 11.
        ({"train/neg/7_1.txt": "again"}, "train/neg holds 12 reviews, .* call for 11"),
        ({"train/neg/10_3.txt": None}, "10 negative and 11 positive"),
        ({"train/neg/999999_1.txt": "far"}, "holds 12 reviews, .* call for 1000000"),
        (dict.fromkeys([f"train/pos/{i}_9.txt" for i in range(11)]), "train/pos holds no review"),
    ],
)
@pytest.mark.parametrize("write", [write_folder, lambda root, r: write_tar(root / "a", reviews=r)])
def test_missing_reviews(write, changes, message, tmp_path):
    (tmp_path / "aclImdb" / "train" / "pos").mkdir(parents=True)
    reviews = {name: text for name, text in {**REVIEWS, **changes}.items() if text is not None}
    path = write(tmp_path, reviews)
    with pytest.raises(ValueError, match=f"{message}.*{MAAS}"):
        load_imdb(path)
    assert load_imdb(path, subset="test").data == ["no", "yes"]


def test_review_that_is_not_utf8_is_named(tmp_path):
    (write_folder(tmp_path) / "train" / "pos" / "7_9.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"train/pos/7_9\.txt is not UTF-8"):
        load_imdb(tmp_path)


def test_subset_is_checked(tmp_path):
    with pytest.raises(ValueError, match="subset"):
        load_imdb(write_folder(tmp_path), subset="unsup")


def refused(path):
    """Check that the file is refused by its name, and that no file is written."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ValueError, match=f"(?s)not a sound tar file.*{MAAS}") as caught:
        load_imdb(path)
    assert str(path) in str(caught.value)
    assert sorted(path.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("/aclImdb/train/neg/11_1.txt", {}),
        ("../aclImdb/train/neg/11_1.txt", {}),
        ("aclImdb/../../secret", {}),
        ("aclImdb/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("aclImdb/link", {"type": tarfile.LNKTYPE, "linkname": "../../secret"}),
        ("aclImdb/train/neg/11_1.txt", {"type": tarfile.CHRTYPE}),
        ("aclImdb/train/neg/11_1.txt", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_members_that_lead_out_of_the_archive(name, fields, tmp_path):
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    refused(write_tar(tmp_path / "archive", extra=[member]))


def test_a_link_is_no_review(tmp_path):
    member = tarfile.TarInfo("aclImdb/train/neg/11_1.txt")
    member.type, member.linkname = tarfile.SYMTYPE, "0_3.txt"
    assert len(load_imdb(write_tar(tmp_path / "archive", extra=[member])).data) == 22


def half(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"Not a tar file. " * 100,
        lambda whole: b"",
        lambda whole: whole[: 512 + 2],
        lambda whole: whole[:100],
        lambda whole: half(gzip.compress(whole)),
        lambda whole: half(bz2.compress(whole)),
        lambda whole: half(lzma.compress(whole)),
        # The checksum alone is damaged.
        lambda whole: gzip.compress(whole)[:-8] + bytes(8),
    ],
)
def test_file_that_is_no_whole_archive(damage, tmp_path):
    path = write_tar(tmp_path / "archive")
    path.write_bytes(damage(path.read_bytes()))
    refused(path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_flipped_bits_are_found(compress, tmp_path):
    path = write_tar(tmp_path / "archive")
    expected = load_imdb(path).data
    whole = compress(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(whole), size=40):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            assert load_imdb(path).data == expected
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - either outcome is right


def test_imdb_itself():
    reviews = load_imdb(data_folder() / "aclImdb.tar.xz")
    assert len(reviews.data) == 25_000
    np.testing.assert_array_equal(np.bincount(reviews.target), [12_500, 12_500])
    assert (np.diff(reviews.target) >= 0).all()
    assert reviews.data[0].startswith("Story of a man who has unnatural feelings for a pig.")
