"""Film reviews of the Large Movie Review Dataset."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params
from tqdm import tqdm

__all__ = ["load_imdb"]

_REVIEW = re.compile(r"(?:.*/)?((train|test)/(neg|pos)/([0-9]{1,6})_([0-9]+)\.txt)", re.DOTALL)
_SENTIMENTS = ["neg", "pos"]
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
        gaps, and both classes must have equally many. For an archive with absolute names, names
        or links that lead out of it, or devices.

    Notes
    -----
    Files that are not called ``<number>_<rating>.txt`` are passed over.

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
    path = Path(path)
    files = _folder_files(path, subset) if path.is_dir() else _tar_files(path, subset)
    reviews = []
    for match, content in tqdm(
        files, desc=f"IMDB {subset}", unit=" reviews", disable=not verbose, mininterval=0.5
    ):
        name, _, sentiment, number, rating = match.groups()
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {name} is not UTF-8 text: {error}") from error
        reviews.append((_SENTIMENTS.index(sentiment), int(number), int(rating), text))
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
        n_expected = found.max() + 1
        if len(found) != n_expected or (found != np.arange(n_expected)).any():
            raise ValueError(
                f"{place}/{sentiment} holds {len(found)} reviews, and the numbers in their names "
                f"call for {n_expected}, each from 0 to {n_expected - 1} once. {_SOURCE}"
            )
    if counts[0] != counts[1]:
        raise ValueError(
            f"{place} holds {counts[0]} negative and {counts[1]} positive reviews; the data set "
            f"has equally many. {_SOURCE}"
        )


def _folder_files(path: Path, subset: str) -> Iterator[tuple[re.Match[str], bytes]]:
    """Reviews of a folder: the parts of the name, and the content."""
    root = path if (path / subset).is_dir() else path / "aclImdb"
    folders = [root / subset / sentiment for sentiment in _SENTIMENTS]
    if not all(folder.is_dir() for folder in folders):
        raise FileNotFoundError(
            f"{path} is not laid out as aclImdb: expected the folders {subset}/neg and "
            f"{subset}/pos in it, or in a folder aclImdb in it. {_SOURCE}"
        )
    for folder in folders:
        for file in folder.iterdir():
            if match := _REVIEW.fullmatch(file.as_posix()):
                yield match, file.read_bytes()


def _tar_files(path: Path, subset: str) -> Iterator[tuple[re.Match[str], bytes]]:
    """Reviews of a tar file in its order: the parts of the name, and the content."""
    with path.open("rb") as file:
        try:
            with tarfile.open(fileobj=file) as archive:
                for member in archive:
                    # The filter judges where the member would be unpacked to; below the archive
                    # itself, which is no folder, no link of this machine misleads it.
                    if tarfile.data_filter(member, str(path)).name != member.name:
                        raise tarfile.AbsolutePathError(member)
                    match = _REVIEW.fullmatch(member.name)
                    if match and match[2] == subset and member.isreg():
                        yield match, cast("IO[bytes]", archive.extractfile(member)).read()
                # A compressed file has its checksum at the end.
                while cast("IO[bytes]", archive.fileobj).read(2**20):
                    pass
        except (EOFError, OSError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"{path} is not a sound tar file: {error}. {_SOURCE}") from error
