"""Word vectors and the text files that hold them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._param_validation import validate_params

__all__ = ["WordVectors", "load_word_vectors"]

_OPEN: dict[str, Any] = {".bz2": bz2.open, ".gz": gzip.open, ".xz": lzma.open}
_CHARACTERS_AT_ONCE = 2**18
_SOURCE = (
    "Download GloVe from nlp.stanford.edu/projects/glove and unpack a text file such as "
    "glove.6B.50d.txt out of its zip file; each of its lines holds a word and its numbers, with "
    "single spaces between them. A binary file of word2vec is read by gensim's "
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
        vectors = check_array(self.vectors, dtype=np.float32, input_name="vectors").view()
        vectors.flags.writeable = False
        words = list(self.words)
        for word in words:
            if not isinstance(word, str):
                raise TypeError(f"words must be of type str, and {word!r:.60} is not")
        index = {word: row for row, word in enumerate(words)}
        if len(vectors) != len(words):
            raise ValueError(f"{len(words)} words do not go with vectors of shape {vectors.shape}")
        if len(index) < len(words):
            twice = next(word for row, word in enumerate(words) if index[word] != row)
            raise ValueError(f"the word {twice!r} occurs twice")
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

    def __getstate__(self) -> dict[str, Any]:
        # One text for all words: skops takes half a kilobyte for each text in a list.
        return {"words": json.dumps(self.words), "vectors": self.vectors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        WordVectors.__init__(self, json.loads(state["words"]), state["vectors"])

    def __deepcopy__(self, memo: dict[int, Any]) -> WordVectors:
        # Frozen: scikit-learn's clone need not copy what may be a gigabyte.
        return self


@validate_params({"path": [str, os.PathLike]}, prefer_skip_nested_validation=True)
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
        For an empty file, a malformed line (the message names it), a compressed file that is
        damaged or cut off, or a file that does not hold as many words as its header says.

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
    with _OPEN.get(path.suffix, open)(path, "rb") as file:
        try:
            return _read_vectors(file, str(path))
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(
                f"{path} is not a whole {path.suffix} file: {error}. {_SOURCE}"
            ) from error


def _read_vectors(file: IO[bytes], name: str) -> WordVectors:
    index: dict[str, int] = {}
    blocks: list[np.ndarray] = []
    lines: list[tuple[int, str]] = []
    n_numbers = n_announced = None
    n_words = n_characters = 0
    for number, raw in enumerate(file, start=1):
        try:
            # Editors of Windows begin a file with a mark of the order of bytes.
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}, line {number} is not UTF-8 text. {_SOURCE}") from error
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
                f"spaces between them, got {line[:60]!r}. {_SOURCE}"
            )
        n_words += 1
        if word in index:
            continue
        index[word] = len(index)
        lines.append((number, numbers))
        n_characters += len(numbers)
        if n_characters >= _CHARACTERS_AT_ONCE:
            blocks.append(_parse(lines, name))
            lines, n_characters = [], 0
    if lines:
        blocks.append(_parse(lines, name))
    if not index:
        raise ValueError(f"{name} holds no word vectors. {_SOURCE}")
    if n_announced is not None and n_announced != n_words:
        raise ValueError(
            f"{name} announces {n_announced} words in line 1 and holds {n_words}. {_SOURCE}"
        )
    return WordVectors(list(index), np.concatenate(blocks))


def _parse(lines: list[tuple[int, str]], name: str) -> np.ndarray:
    """Rows of numbers from pairs of line number and text."""
    rows = _finite_rows([numbers for _, numbers in lines])
    if rows is None:
        place = next(number for number, numbers in lines if _finite_rows([numbers]) is None)
        raise ValueError(f"{name}, line {place}: a vector must hold finite numbers only. {_SOURCE}")
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
