"""Word vectors and the text files that hold them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sklearn_rnnbound.datasets._files import lines_within, open_within
from sklearn_rnnbound.paths import as_path

__all__ = ["WordVectors", "load_word_vectors"]

_MAX_LINE = 2**20
_MAX_DIMENSIONS = 10_000
_MAX_WORDS = 20_000_000
_CHARACTERS_AT_ONCE = 2**18
_SOURCE = (
    "Download GloVe from nlp.stanford.edu/projects/glove and unpack a text file such as "
    "glove.6B.50d.txt out of its zip file; each of its lines holds a word and its numbers, with "
    "single spaces between them"
)
_BINARY = (
    "Unpack a zip file first; read a binary file of word2vec by gensim's "
    "KeyedVectors.load_word2vec_format(path, binary=True), which gives vectors for "
    "WordVectorEncoder as this function does"
)


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
    TypeError
        When a word is not a str.
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
        vectors = _as_float32(self.vectors).view()
        vectors.flags.writeable = False
        words = list(self.words)
        for word in words:
            if not isinstance(word, str):
                raise TypeError(f"words must be of type str, and {word!r:.60} is not")
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


def _as_float32(vectors: Any) -> np.ndarray:
    """Vectors as an array of float32, infinite where they are out of its range."""
    try:
        given = np.asarray(vectors)
        if given.dtype.kind not in "biufO":
            raise TypeError(f"they have dtype {given.dtype}")
        with np.errstate(over="ignore"):
            return given.astype(np.float32, copy=False)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"vectors must be numbers of shape (n_words, d): {error}") from error


def load_word_vectors(path: str | os.PathLike[str]) -> WordVectors:
    r"""Word vectors from a text file of GloVe or word2vec.

    Parameters
    ----------
    path : str or path-like
        A line holds a word and its numbers with single spaces between them. A first line of two
        integers is a header: how many words, how many dimensions. Names that end in ``.gz``,
        ``.bz2`` or ``.xz`` are decompressed. Binary files of word2vec are read by gensim, whose
        ``KeyedVectors`` serve as well.

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
        For an empty file, a malformed line (the message names it, and says when the file is cut
        off in it), a compressed file that is damaged or cut off, a file that does not hold as
        many words as its header says, or one beyond the limits below.

    Notes
    -----
    A line may have 1 MiB, a vector 10,000 dimensions, a file 20,000,000 words, and a compressed
    file 100 times its size, or 16 MiB where that is more. A longer line or file is refused when
    the limit is reached, without reading the rest.

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
    path = Path(as_path(path, "path"))
    if not path.is_file():
        raise FileNotFoundError(f"no file is at {path}. {_SOURCE}")
    kind = f"{path.suffix} file"
    with open_within(path, compression=path.suffix, kind=kind, source=_SOURCE) as file:
        return _read_vectors(file, str(path))


def _read_vectors(file: IO[bytes], name: str) -> WordVectors:
    index: dict[str, int] = {}
    blocks: list[np.ndarray] = []
    lines: list[tuple[int, str]] = []
    n_numbers = n_announced = None
    n_words = n_characters = 0
    raw = b"\n"
    for number, raw in enumerate(lines_within(file, _MAX_LINE, name), start=1):
        try:
            # Editors of Windows begin a file with a mark of the order of bytes.
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \r\n")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}, line {number} is not UTF-8 text: {error}{_hint(raw)}. {_BINARY}"
            ) from error
        if "\0" in line:
            raise ValueError(
                f"{name}, line {number} holds a NUL character, as no text does. {_BINARY}"
            )
        word, _, numbers = line.partition(" ")
        if number == 1 and word.isdecimal() and numbers.isdecimal():
            # Of longer numbers the first twenty digits are too large already.
            n_announced, n_numbers = int(word[:20]), int(numbers[:20])
            if n_announced > _MAX_WORDS or not 1 <= n_numbers <= _MAX_DIMENSIONS:
                raise ValueError(
                    f"{name} announces {n_announced} words of {n_numbers} dimensions in line 1; "
                    f"at most {_MAX_WORDS:,} words and 1 to {_MAX_DIMENSIONS:,} dimensions are read"
                )
            continue
        n_numbers = n_numbers or numbers.count(" ") + 1
        if n_numbers > _MAX_DIMENSIONS:
            raise ValueError(
                f"{name}, line {number} holds a vector of {n_numbers:,} dimensions; at most "
                f"{_MAX_DIMENSIONS:,} are read"
            )
        if numbers.count(" ") >= n_numbers:
            # Files of GloVe have a few words with spaces in them.
            word, *rest = line.rsplit(" ", n_numbers)
            before = word.rpartition(" ")[2]
            if before and _finite_rows([before]) is None:
                numbers = " ".join(rest)
        if not (word and numbers and numbers.count(" ") + 1 == n_numbers):
            raise ValueError(
                f"{name}, line {number}: expected a word and {n_numbers} numbers with single "
                f"spaces between them, got {line[:60]!r}{_hint(raw)}"
            )
        n_words += 1
        if n_words > _MAX_WORDS:
            raise ValueError(f"{name} holds more than {_MAX_WORDS:,} words, which is the limit")
        if word in index:
            continue
        index[word] = len(index)
        lines.append((number, numbers))
        n_characters += len(numbers)
        if n_characters >= _CHARACTERS_AT_ONCE:
            blocks.append(_parse(lines, name))
            lines, n_characters = [], 0
    if lines:
        blocks.append(_parse(lines, name, _hint(raw)))
    if not index:
        raise ValueError(f"{name} holds no word vectors. {_SOURCE}")
    if n_announced is not None and n_announced != n_words:
        raise ValueError(f"{name} announces {n_announced} words in line 1 and holds {n_words}")
    return WordVectors(list(index), np.concatenate(blocks))


def _hint(raw: bytes) -> str:
    """What to add to the error of a malformed line when the file ends in it."""
    return "" if raw.endswith(b"\n") else f"; the file ends in this line, cut off. {_SOURCE}"


def _parse(lines: list[tuple[int, str]], name: str, hint: str = "") -> np.ndarray:
    """Rows of numbers from pairs of line number and text; the hint is for the last."""
    rows = _finite_rows([numbers for _, numbers in lines])
    if rows is None:
        place = next(number for number, numbers in lines if _finite_rows([numbers]) is None)
        hint = hint if place == lines[-1][0] else ""
        raise ValueError(f"{name}, line {place}: a vector must hold finite numbers only{hint}")
    return rows


def _finite_rows(lines: Sequence[str]) -> np.ndarray | None:
    """Lines of finite float32 numbers as an array; None where they are none."""
    text = "".join(lines)
    # NumPy takes control characters, and spaces that are not ASCII, for spaces.
    if not text.isascii() or np.frombuffer(text.encode(), np.uint8).min() < ord(" "):
        return None
    try:
        with np.errstate(over="ignore"):
            rows = np.loadtxt(lines, dtype=np.float32, delimiter=" ", comments=None, ndmin=2)
    except ValueError:
        return None
    return rows if np.isfinite(rows).all() else None
