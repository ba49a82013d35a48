"""Film reviews of the Large Movie Review Dataset."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params
from tqdm import tqdm

from sklearn_rnnbound.datasets._files import open_within
from sklearn_rnnbound.paths import as_path

__all__ = ["load_imdb"]

# Desktops leave hidden files, whose names begin with a dot.
_IN_A_CLASS = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/([^./][^/]*)", re.DOTALL)
_REVIEW = re.compile(r"([0-9]{1,6})_([0-9]{1,2})\.txt")
_SENTIMENTS = ["neg", "pos"]
_MAX_REVIEW = 2**20
_MAX_MEMBERS = 1_000_000
_MAX_TOTAL = 2**30
_MAX_HEADER = 2**16
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz", b"\x5d\0\0\x80": ".xz"}
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_ABOUT_THE_NEXT = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_PAX_KEYWORD = re.compile(rb"([0-9]{1,5}) ([^=]+)=")
_SOURCE = (
    "Download the Large Movie Review Dataset v1.0 from ai.stanford.edu/~amaas/data/sentiment; its "
    "archive aclImdb_v1.tar.gz can be read as it is, and unpacks to the folder aclImdb with files "
    "such as train/neg/0_3.txt, 12,500 in each of train/neg, train/pos, test/neg and test/pos"
)


@validate_params(
    {
        "path": [str, os.PathLike],
        "subset": [StrOptions({"train", "test"})],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def load_imdb(
    path: str | os.PathLike[str], *, subset: str = "train", verbose: bool | int = False
) -> Bunch:
    """Film reviews of the Large Movie Review Dataset, from a copy that the user has.

    Parameters
    ----------
    path : str or path-like
        The folder ``aclImdb``, the folder that holds it, or a tar file of it, compressed or not.
        An archive is read in one pass and not unpacked; nothing is written to disk.
    subset : {"train", "test"}, default="train"
        Which half of the original split to read.
    verbose : bool or int, default=False
        Whether to show a progress bar.

    Returns
    -------
    bunch : Bunch
        A dictionary with attributes:

        data : list of str
            The reviews, negative ones first, within a class by the number in the file name.
        target : ndarray of shape (n,)
            1 for a positive review, 0 for a negative one.
        target_names : list of str
            ``["neg", "pos"]``.

    Raises
    ------
    FileNotFoundError
        When there is nothing at `path`, or the folder is not laid out as the data set is.
    ValueError
        For an unknown `subset`, a file that is no tar file or a damaged one, text that is not
        UTF-8, or when reviews are missing: their numbers in a folder must run from 0 without
        gaps, and both classes must have equally many. For what the data set does not hold, as
        below.

    Notes
    -----
    A copy from an unknown place can be read: what could do harm raises ValueError. In an archive
    these are absolute names, names with ``..``, links, devices and other special members, and
    names that occur twice; in a folder, links and special files below `path`; in both, files in
    a folder of reviews that are not called ``<number>_<rating>.txt``, hidden files aside. A
    review may have 1 MiB, an archive 1,000,000 files, and either 1 GiB in all. An archive may have
    100 times its compressed size, or 16 MiB where that is more.

    References
    ----------
    .. [1] A. L. Maas, R. E. Daly, P. T. Pham, D. Huang, A. Y. Ng, C. Potts. Learning Word
       Vectors for Sentiment Analysis. ACL 2011.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_rnnbound.datasets import load_imdb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, text in [("neg/0_2.txt", "Dull."), ("pos/0_9.txt", "A joy!")]:
    ...         file = Path(folder, "aclImdb", "train", name)
    ...         file.parent.mkdir(parents=True)
    ...         _ = file.write_text(text)
    ...     reviews = load_imdb(folder)
    >>> reviews.data, reviews.target
    (['Dull.', 'A joy!'], array([0, 1]))
    """
    path = Path(as_path(path, "path"))
    if path.is_dir():
        files = _folder_files(path, subset)
    elif path.is_file():
        files = _tar_files(path, subset)
    elif path.exists():
        raise ValueError(f"{path} is neither a folder nor a regular file. {_SOURCE}")
    else:
        raise FileNotFoundError(
            f"nothing is at {path}; expected the folder aclImdb, the folder that holds it, or a "
            f"tar file of it. {_SOURCE}"
        )
    reviews = []
    n_left = _MAX_TOTAL
    for sentiment, name, content in tqdm(
        files, desc=f"IMDB {subset}", unit=" reviews", disable=not verbose, mininterval=0.5
    ):
        place = f"{path}: {subset}/{sentiment}/{name[:200]}"
        match = _REVIEW.fullmatch(name)
        if not match:
            raise ValueError(f"{place!r} is no name of a review such as 0_3.txt. {_SOURCE}")
        if len(content) > _MAX_REVIEW:
            raise ValueError(f"{place} is longer than {_MAX_REVIEW:,} bytes. {_SOURCE}")
        n_left -= len(content)
        if n_left < 0:
            raise ValueError(f"{path} holds more than {_MAX_TOTAL:,} bytes of reviews. {_SOURCE}")
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{place} is not UTF-8 text: {error}") from error
        reviews.append((_SENTIMENTS.index(sentiment), int(match[1]), int(match[2]), text))
    reviews.sort()
    target = np.array([review[0] for review in reviews], dtype=np.int64)
    numbers = np.array([review[1] for review in reviews], dtype=np.int64)
    _check_complete(target, numbers, f"{path}: aclImdb/{subset}")
    return Bunch(
        data=[review[3] for review in reviews], target=target, target_names=list(_SENTIMENTS)
    )


def _check_complete(target: np.ndarray, numbers: np.ndarray, place: str) -> None:
    """Raise ValueError unless each class is numbered from 0 and both are of one size."""
    counts = np.bincount(target, minlength=2)
    for label, sentiment in enumerate(_SENTIMENTS):
        if not counts[label]:
            raise ValueError(f"{place}/{sentiment} holds no review. {_SOURCE}")
        found = numbers[target == label]
        n_expected = int(found.max()) + 1
        if not np.array_equal(found, np.arange(n_expected)):
            raise ValueError(
                f"{place}/{sentiment} holds {len(found)} reviews, and the numbers in their names "
                f"call for {n_expected}, each from 0 to {n_expected - 1} once. {_SOURCE}"
            )
    if counts[0] != counts[1]:
        raise ValueError(
            f"{place} holds {counts[0]} negative and {counts[1]} positive reviews; the data set "
            f"has equally many. {_SOURCE}"
        )


def _folder_files(path: Path, subset: str) -> Iterator[tuple[str, str, bytes]]:
    """Reviews of a folder: the sentiment, the name of the file and the content."""
    root = path if (path / subset).is_dir() else path / "aclImdb"
    folders = [root / subset / sentiment for sentiment in _SENTIMENTS]
    if not all(folder.is_dir() for folder in folders):
        raise FileNotFoundError(
            f"{path} is not laid out as aclImdb: expected the folders {subset}/neg and "
            f"{subset}/pos in it, or in a folder aclImdb in it. {_SOURCE}"
        )
    for folder in (root, root / subset, *folders):
        if folder != path and folder.is_symlink():
            raise ValueError(f"{folder} is a link, which is not followed; give where it leads to")
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _IN_A_CLASS.fullmatch(f"{subset}/{folder.name}/{entry.name}"):
                    continue
                # To open a FIFO would wait for a writer.
                if not entry.is_file(follow_symlinks=False):
                    raise ValueError(f"{entry.path!r} is no regular file. {_SOURCE}")
                with open(entry.path, "rb") as file:
                    yield folder.name, entry.name, file.read(_MAX_REVIEW + 1)


def _tar_files(path: Path, subset: str) -> Iterator[tuple[str, str, bytes]]:
    """Reviews of a tar file in its order: the sentiment, the name of the file and the content."""
    with path.open("rb") as start:
        magic = start.read(10)
    if magic.startswith(b"PK"):
        raise ValueError(
            f"{path} is a zip file, which is not read: give the archive aclImdb_v1.tar.gz or the "
            f"folder aclImdb that it unpacks to. {_SOURCE}"
        )
    compression = next((end for begin, end in _MAGIC.items() if magic.startswith(begin)), "")
    names = set()
    with open_within(
        path, compression=compression, kind="tar file", source=_SOURCE, limit=_MAX_TOTAL
    ) as file:
        while member := _next_member(file, path):
            name = member.name
            place = f"{path}: the member {name[:200]!r}"
            match = _IN_A_CLASS.fullmatch(name)
            if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                raise ValueError(f"{place} has a name that leads out of the archive. {_SOURCE}")
            if member.isdir() and not match:
                continue
            if member.type not in _REGULAR:
                raise ValueError(f"{place} is no regular file. {_SOURCE}")
            if name in names:
                raise ValueError(f"{place} occurs twice. {_SOURCE}")
            names.add(name)
            if len(names) > _MAX_MEMBERS:
                raise ValueError(f"{path} has more than {_MAX_MEMBERS:,} members. {_SOURCE}")
            if match and match[1] != subset:
                match = None
            if member.size < 0 or (match and member.size > _MAX_REVIEW):
                raise ValueError(
                    f"{place} has {member.size:,} bytes; a review has at most {_MAX_REVIEW:,}. "
                    f"{_SOURCE}"
                )
            # A review is one piece; other members may have many, and are passed over.
            content = b""
            for begin in range(0, member.size, _MAX_REVIEW):
                content = _take(file, min(_MAX_REVIEW, member.size - begin))
            if match:
                yield match[2], match[3], content
        # A compressed file has its checksum at the end.
        while file.read(_MAX_REVIEW):
            pass


def _next_member(file: IO[bytes], path: Path) -> tarfile.TarInfo | None:
    """Header of the next member under its long name, if it has one; None at the end."""
    long_name = b""
    # Not read by tarfile itself: it believes the sizes of headers, follows them recursively and
    # takes a missing end for the end.
    while (block := _take(file, tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ValueError(f"{path} is not a whole tar file: {error}. {_SOURCE}") from error
        if member.type not in _ABOUT_THE_NEXT:
            if long_name:
                member.name = long_name.decode("utf-8", "surrogateescape")
            return member
        if not 0 <= member.size <= _MAX_HEADER:
            raise ValueError(
                f"{path}: a header has {member.size:,} bytes; at most {_MAX_HEADER:,} are read. "
                f"{_SOURCE}"
            )
        content = _take(file, member.size)
        if member.type == tarfile.GNUTYPE_LONGNAME:
            long_name = content.rstrip(b"\0")
        elif member.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            records = _pax_records(content, path)
            if any(key == b"size" or key.startswith(b"GNU.sparse.") for key in records):
                raise ValueError(
                    f"{path}: a pax header announces a sparse file or one of 8 GiB. {_SOURCE}"
                )
            long_name = records.get(b"path", long_name)
    return None


def _pax_records(content: bytes, path: Path) -> dict[bytes, bytes]:
    """Keywords and values of a pax header: "<length> <keyword>=<value>" in each of its lines."""
    records = {}
    begin = 0
    while begin < len(content):
        match = _PAX_KEYWORD.match(content, begin)
        end = begin + int(match[1]) if match else 0
        if not match or content[match.end() : end][-1:] != b"\n":
            raise ValueError(f"{path} is not a whole tar file: damaged pax header. {_SOURCE}")
        records[match[2]] = content[match.end() : end - 1]
        begin = end
    return records


def _take(file: IO[bytes], size: int) -> bytes:
    """The next bytes of an archive; those that fill up the last block are dropped."""
    whole = size + -size % tarfile.BLOCKSIZE
    content = file.read(whole)
    if len(content) < whole:
        raise EOFError("it ends too early")
    return content[:size]
