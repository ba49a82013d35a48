"""Data sets as sequences, and readers of files that users have."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from tqdm import tqdm

__all__ = [
    "WordVectors",
    "load_digit_sequences",
    "load_imdb",
    "load_word_vectors",
    "make_gaussian_sequences",
]

_REVIEW = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/(\d+)_(\d+)\.txt", re.DOTALL)
_SENTIMENTS = ["neg", "pos"]
_DECOMPRESS: dict[str, Any] = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}
_LINES_AT_ONCE = 8192


def load_digit_sequences() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits, each image read row by row from the top.

    Returns
    -------
    X : ndarray of shape (1797, 8, 8)
        8 steps of 8 pixels, float64, scaled from 0..16 to 0..1 by the known range of a pixel
        and not by the data.
    y : ndarray of shape (1797,)
        The digits 0 to 9.

    Examples
    --------
    >>> X, y = load_digit_sequences()
    >>> X.shape, float(X.max())
    ((1797, 8, 8), 1.0)
    """
    digits = load_digits()
    return digits.images / 16.0, digits.target


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "correlation": [Interval(Real, -1, 1, closed="neither")],
        "flip_y": [Interval(Real, 0, 0.5, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_gaussian_sequences(
    n_samples: int = 1000,
    n_steps: int = 5,
    n_features: int = 2,
    *,
    correlation: float = 0.0,
    flip_y: float = 0.1,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Gaussian sequences of which everything that enters a bound is known.

    The p = n_steps * n_features entries of a sequence are jointly normal with mean 0, variance 1
    and the same correlation between any two. The label says whether their sum is positive, and
    is flipped with probability `flip_y`, independently of everything else.

    Parameters
    ----------
    n_samples : int, default=1000
        Number n of sequences.
    n_steps : int, default=5
        Number L of steps.
    n_features : int, default=2
        Number d of features per step.
    correlation : float, default=0.0
        Correlation rho between any two entries of a sequence, in the open interval
        (-1 / (p - 1), 1); 0 when p = 1.
    flip_y : float, default=0.1
        Probability with which a label is flipped, in [0, 0.5].
    random_state : int, RandomState instance or None, default=None
        Seed of the draw. None: a fresh seed from the operating system; NumPy's global generator
        is neither read nor moved.

    Returns
    -------
    bunch : Bunch
        A dictionary with attributes:

        data : ndarray of shape (n, L, d)
            Sequences, float64.
        target : ndarray of shape (n,)
            Labels 0 and 1.
        second_moment : ndarray of shape (p, p)
            The population's E[x x^T] of the flattened sequences.
        min_eigenvalue : float
            Its smallest eigenvalue: 1 - rho for rho >= 0 and 1 + (p - 1) rho for rho < 0.
        bayes_risk : float
            The smallest probability of error of any classifier, which is `flip_y`.
        weights : ndarray of shape (L, d)
            Weights of the linear functional whose sign is the label before flips: all equal, and
            such that it has variance 1.

    Raises
    ------
    ValueError
        For a parameter out of its range.

    Notes
    -----
    The true risk of a classifier is its error on a large fresh sample. A ReLU network of two
    units without biases comes close to the label before flips: one unit gathers the positive
    part of the running sum, the other the negative part.

    Examples
    --------
    >>> from sklearn_rnnbound.datasets import make_gaussian_sequences
    >>> sequences = make_gaussian_sequences(200, correlation=0.5, random_state=0)
    >>> sequences.data.shape, sequences.min_eigenvalue, sequences.bayes_risk
    ((200, 5, 2), 0.5, 0.1)
    """
    p = n_steps * n_features
    if (p == 1 and correlation != 0) or (p > 1 and 1 + (p - 1) * correlation <= 0):
        expected = "0 for sequences of one entry" if p == 1 else f"above {-1 / (p - 1):g}"
        raise ValueError(f"correlation must be {expected}, got {correlation!r}")
    # check_random_state would hand out the global generator.
    rng = np.random.RandomState() if random_state is None else check_random_state(random_state)
    # The two eigenvalues of the second moment: of sums over all entries, and of the rest.
    of_sums, of_rest = 1 + (p - 1) * correlation, 1 - correlation
    normal = rng.standard_normal((n_samples, p))
    mean = normal.mean(1, keepdims=True)
    data = np.sqrt(of_rest) * (normal - mean) + np.sqrt(of_sums) * mean
    weights = np.full((n_steps, n_features), 1 / np.sqrt(p * of_sums))
    second_moment = np.full((p, p), float(correlation))
    np.fill_diagonal(second_moment, 1.0)
    flipped = rng.uniform(size=n_samples) < flip_y
    return Bunch(
        data=data.reshape(n_samples, n_steps, n_features),
        target=((data.sum(1) > 0) ^ flipped).astype(np.int64),
        second_moment=second_moment,
        min_eigenvalue=float(min(of_sums, of_rest)),
        bayes_risk=float(flip_y),
        weights=weights,
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
        An archive is read in one pass and not unpacked.
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
        For an unknown `subset`, a file that is no tar file or a truncated one, text that is not
        UTF-8, or a class without reviews.

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
    if path.is_dir():
        files = _folder_files(path, subset)
    elif path.exists():
        files = _tar_files(path, subset)
    else:
        raise FileNotFoundError(
            f"nothing is at {path}; expected the folder aclImdb, the folder that holds it, or a "
            "tar file of it"
        )
    reviews = []
    for match, content in tqdm(
        files, desc=f"IMDB {subset}", unit=" reviews", disable=not verbose, mininterval=0.5
    ):
        _, sentiment, number, rating = match.groups()
        text = _decode(content, f"{path}: {match[0]}")
        reviews.append((_SENTIMENTS.index(sentiment), int(number), int(rating), text))
    reviews.sort()
    target = np.array([review[0] for review in reviews], dtype=np.int64)
    for label, sentiment in enumerate(_SENTIMENTS):
        if label not in target:
            raise ValueError(
                f"{path} holds no review of aclImdb/{subset}/{sentiment}: expected files named "
                "such as 0_9.txt there"
            )
    return Bunch(
        data=[review[3] for review in reviews], target=target, target_names=list(_SENTIMENTS)
    )


def _folder_files(path: Path, subset: str) -> Iterator[tuple[re.Match[str], bytes]]:
    """Reviews of a folder: the match of each name and the content."""
    root = path if (path / subset).is_dir() else path / "aclImdb"
    folders = [root / subset / sentiment for sentiment in _SENTIMENTS]
    if not all(folder.is_dir() for folder in folders):
        raise FileNotFoundError(
            f"{path} is not laid out as aclImdb: expected the folders {subset}/neg and "
            f"{subset}/pos in it, or in a folder aclImdb in it"
        )
    # A generator of its own: the check above runs at once.
    return (
        (match, file.read_bytes())
        for folder in folders
        for file in folder.iterdir()
        if (match := _REVIEW.fullmatch(f"{subset}/{folder.name}/{file.name}"))
    )


class _TarInfo(tarfile.TarInfo):
    """Member of an archive that does not take a truncated header for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.TruncatedHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError("unexpected end of data") from error


def _tar_files(path: Path, subset: str) -> Iterator[tuple[re.Match[str], bytes]]:
    """Reviews of a tar file in its order: the match of each name and the content."""
    try:
        # As a stream: going back in a compressed file would decompress it anew.
        with tarfile.open(path, "r|*", tarinfo=_TarInfo) as archive:
            for member in archive:
                match = _REVIEW.fullmatch(member.name)
                content = archive.extractfile(member) if match else None
                if match and content and match[1] == subset:
                    yield match, content.read()
    except tarfile.ReadError as error:
        raise ValueError(f"{path} is not a whole tar file: {error}") from error


def _decode(content: bytes, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is not UTF-8 text: {error}") from error


@dataclass(frozen=True, eq=False, repr=False)
class WordVectors:
    """Words and their vectors.

    It has `key_to_index` and `vectors` as gensim's ``KeyedVectors`` do, and reads like a
    dictionary from words to vectors.

    Parameters
    ----------
    words : list of str
        The words, each once.
    vectors : array-like of shape (n_words, d)
        Their vectors, kept as read-only float32.

    Attributes
    ----------
    key_to_index : dict
        Row of every word.

    Raises
    ------
    ValueError
        When the words are not as many as the vectors, one occurs twice, or a number is not
        finite.

    Examples
    --------
    >>> from sklearn_rnnbound.datasets import WordVectors
    >>> vectors = WordVectors(["good", "bad"], [[1.0, 0.5], [-1.0, 0.5]])
    >>> vectors
    WordVectors(2 words, 2 dimensions)
    >>> vectors["bad"].tolist(), "ugly" in vectors
    ([-1.0, 0.5], False)
    """

    words: list[str]
    vectors: np.ndarray
    key_to_index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors, dtype=np.float32).view()
        vectors.flags.writeable = False
        words = list(self.words)
        index = {word: row for row, word in enumerate(words)}
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ValueError(f"{len(words)} words do not go with vectors of shape {vectors.shape}")
        if len(index) < len(words):
            twice = next(word for row, word in enumerate(words) if index[word] != row)
            raise ValueError(f"the word {twice!r} occurs twice")
        if not np.isfinite(vectors).all():
            word = words[int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])]
            raise ValueError(f"the vector of {word!r} is not finite")
        for name, value in (("words", words), ("vectors", vectors), ("key_to_index", index)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.key_to_index

    def __getitem__(self, word: str) -> np.ndarray:
        return self.vectors[self.key_to_index[word]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} words, {self.vectors.shape[1]} dimensions)"

    def __deepcopy__(self, memo: dict[int, Any]) -> WordVectors:
        # Frozen: scikit-learn's clone need not copy what may be a gigabyte.
        return self


def load_word_vectors(path: str | os.PathLike[str]) -> WordVectors:
    r"""Word vectors from a text file of GloVe or word2vec.

    Parameters
    ----------
    path : str or path-like
        A line holds a word and its numbers with single spaces between them. A first line of two
        integers is a header: how many words, how many dimensions. Names that end in ``.gz``,
        ``.bz2`` or ``.xz`` are decompressed.

    Returns
    -------
    vectors : WordVectors
        The words in the order of the file, and their vectors. Of a word that occurs twice the
        first, more frequent, entry counts.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For an empty file, a malformed line (the message names it), or a file that does not hold
        as many words as its header says.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_rnnbound.datasets import load_word_vectors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "vectors.txt")
    ...     _ = path.write_text("good 1.0 0.5\nbad -1.0 0.5\n")
    ...     vectors = load_word_vectors(path)
    >>> vectors.words, vectors["bad"].tolist()
    (['good', 'bad'], [-1.0, 0.5])
    """
    path = Path(path)
    with _DECOMPRESS.get(path.suffix, open)(path, "rb") as file:
        return _read_vectors(file, str(path))


def _read_vectors(file: Iterable[bytes], name: str) -> WordVectors:
    index: dict[str, int] = {}
    blocks: list[np.ndarray] = []
    lines: list[tuple[int, str]] = []
    n_numbers = n_announced = None
    n_words = 0
    for number, raw in enumerate(file, start=1):
        line = _decode(raw, f"{name}, line {number}").rstrip(" \r\n")
        word, _, numbers = line.partition(" ")
        if number == 1 and word.isdecimal() and numbers.isdecimal():
            n_announced, n_numbers = int(word), int(numbers)
            continue
        n_numbers = n_numbers or numbers.count(" ") + 1
        if numbers.count(" ") >= n_numbers:
            # Files of GloVe have a few words with spaces in them.
            word, *rest = line.rsplit(" ", n_numbers)
            before = word.rpartition(" ")[2]
            if before and _finite_rows([before]) is None:
                numbers = " ".join(rest)
        if not (word and numbers and numbers.count(" ") + 1 == n_numbers):
            raise ValueError(
                f"{name}, line {number}: expected a word and {n_numbers} numbers with single "
                f"spaces between them, got {line[:60]!r}"
            )
        n_words += 1
        if word in index:
            continue
        index[word] = len(index)
        lines.append((number, numbers))
        if len(lines) == _LINES_AT_ONCE:
            blocks.append(_parse(lines, name))
            lines = []
    if lines:
        blocks.append(_parse(lines, name))
    if not index:
        raise ValueError(f"{name} holds no word vectors")
    if n_announced is not None and n_announced != n_words:
        raise ValueError(f"{name} announces {n_announced} words in line 1 and holds {n_words}")
    return WordVectors(list(index), np.concatenate(blocks))


def _parse(lines: list[tuple[int, str]], name: str) -> np.ndarray:
    """Rows of numbers from pairs of line number and text."""
    rows = _finite_rows([numbers for _, numbers in lines])
    if rows is None:
        place = next(number for number, numbers in lines if _finite_rows([numbers]) is None)
        raise ValueError(f"{name}, line {place}: a vector must hold finite numbers only")
    return rows


def _finite_rows(lines: Sequence[str]) -> np.ndarray | None:
    """Lines of finite float32 numbers as an array; None where they are none."""
    try:
        with np.errstate(over="ignore"):
            rows = np.loadtxt(lines, dtype=np.float32, delimiter=" ", comments=None, ndmin=2)
    except ValueError:
        return None
    return rows if np.isfinite(rows).all() else None
