"""Documents to sequences."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags, check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from sklearn_rnnbound._validation import restored_on_failure
from sklearn_rnnbound.datasets import load_word_vectors

__all__ = ["WordVectorEncoder"]

_MARKER = "<br />"
_DOCUMENTS_AT_ONCE = 64


class WordVectorEncoder(TransformerMixin, BaseEstimator):
    """Documents to sequences of word vectors or of learned word scores.

    A document is lower-cased, the marker ``<br />`` becomes a space, and its words are the runs
    of ``a`` to ``z``, ``0`` to ``9`` and the apostrophe. The first `max_words` of them are kept,
    and a word outside the vocabulary is the zero vector. Short documents are padded by zero
    vectors at the front, which is exact for a recurrent network without biases.

    Parameters
    ----------
    vectors : path, WordVectors, mapping, KeyedVectors or None, default=None
        The word vectors: a text file for :func:`~sklearn_rnnbound.datasets.load_word_vectors`,
        what that function returns (so that the file is read once and not in every `fit`), a
        mapping from words to vectors of one length d, or an object with `key_to_index` and
        `vectors` such as gensim's ``KeyedVectors``. Used only when `supervised` is None; else
        the steps are the learned scores alone, and what is given here is ignored. Cloning copies
        a mapping or ``KeyedVectors``, and shares WordVectors.
    max_words : int or None, default=100
        Number of words kept of a document. None: all.
    keep : {"first", "last"}, default="first"
        Which words to keep of a longer document.
    unknown : {"zero", "skip"}, default="zero"
        What a word outside the vocabulary is. "zero": the zero vector, in its place. "skip":
        nothing, as if the document had been written without it; the next word that is known is
        kept in its stead.
    lowercase : bool, default=True
        Whether to turn a document to lower case before it is split.
    tokenizer : callable or None, default=None
        Function from a document to its words, an iterable of str in their order, in place of
        `token_pattern`, which is then not used.
    token_pattern : str, default="[a-zA-Z0-9']+"
        Regular expression of a word. With one group in it, the word is the group.
    n_segments : int or None, default=None
        None: a step is a word, so L is `max_words`, or the length of the longest document of the
        call when that is None. An int T: the kept words are cut into T consecutive segments,
        equal in number as far as possible and the longer ones first, and a step is the mean over
        a segment. A document of fewer words has empty segments at the front, which are zero.
    supervised : {"log_odds", "logistic"} or None, default=None
        None: nothing is learned. Else a step is one number (d = 1), a score that `fit` learns
        for every word; words of positive score speak for the second class.

        "log_odds": from the whole documents, the smoothed difference of the logarithms of the
        word's document frequencies in the two classes, ``log((a + s) / (A + 2 s)) - log((b + s) /
        (B + 2 s))`` for a of the A documents of the second class and b of the B of the first.

        "logistic": the coefficients of a logistic regression on the tf-idf weights of the words
        kept, times their inverse document frequencies, over a constant such that the steps that
        hold words have root mean square 1 on the documents of `fit`. It has no intercept: the
        scores are balanced around 0.
    smoothing : float, default=1.0
        The s of "log_odds"; larger values shrink the scores, most of all those of rare words.
    C : float, default=10.0
        Inverse strength of the l2 penalty of "logistic".
    min_count : int, default=2
        Words in fewer documents than this have no score. Used only when `supervised` is set.
    clip : float or None, default=None
        The entries of every step are clipped to [-clip, clip], after scaling and averaging. It is a
        valid `input_bound` of the classifier, rounding included.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Type of the sequences.
    memmap_folder : path or None, default=None
        Folder in which every call of `transform` writes its sequences to a new ``.npy`` file,
        that it returns as a memory map; its attribute `filename` tells which. The files belong to
        the caller, who deletes them. None: the sequences are kept in memory.
    verbose : bool or int, default=False
        Whether to show progress bars.

    Attributes
    ----------
    vocabulary_ : dict
        Row in `vectors_` of every word that has a vector or a score.
    vectors_ : ndarray of shape (n_words, d)
        The word vectors; the scores, with d = 1, when they were learned.
    n_samples_fit_ : int
        Number of documents that the encoding depends on: those that scores and vocabulary were
        learned from, or that decide the number of steps; 0 when nothing was learned and
        `max_words` or `n_segments` fixes the steps.

    See Also
    --------
    sklearn_rnnbound.datasets.load_word_vectors : Reads word vectors.
    sklearn.feature_extraction.text.TfidfVectorizer : Documents as vectors, not as sequences.

    Notes
    -----
    **A certificate may only use documents that were not in this fit.** When scores are learned,
    split the documents, fit the encoder on one part, and train and certify the classifier on the
    other: n is then the size of that other part alone. Fitted on the same documents, as in a
    pipeline, the encoder makes the bounds of the classifier estimates, and the classifier cannot
    see it. Without `supervised` nothing is learned and every document may be used.

    The output has three dimensions and no columns, hence neither `set_output` nor
    `get_feature_names_out` is there.

    Examples
    --------
    >>> from sklearn_rnnbound.preprocessing import WordVectorEncoder
    >>> vectors = {"good": [1.0, 0.5], "bad": [-1.0, 0.5]}
    >>> encoder = WordVectorEncoder(vectors, max_words=3).fit([])
    >>> encoder.transform(["Not bad!"])
    array([[[ 0. , 0. ],
            [ 0. , 0. ],
            [-1. , 0.5]]], dtype=float32)

    Scores learned on one half of the documents, for use on the other:

    >>> learn, labels = ["a good film", "a bad film", "so good", "so bad"], [1, 0, 1, 0]
    >>> encoder = WordVectorEncoder(supervised="log_odds", max_words=3).fit(learn, labels)
    >>> print(encoder.transform(["good, not bad"])[0, :, 0].round(2))
    [ 1.1  0.  -1.1]
    >>> encoder.n_samples_fit_
    4
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "vectors": "no_validation",
        "max_words": [Interval(Integral, 1, None, closed="left"), None],
        "keep": [StrOptions({"first", "last"})],
        "unknown": [StrOptions({"zero", "skip"})],
        "lowercase": ["boolean"],
        "tokenizer": [callable, None],
        "token_pattern": [str],
        "n_segments": [Interval(Integral, 1, None, closed="left"), None],
        "supervised": [StrOptions({"log_odds", "logistic"}), None],
        "smoothing": [Interval(Real, 0, None, closed="neither")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "min_count": [Interval(Integral, 1, None, closed="left")],
        "clip": [Interval(Real, 0, None, closed="neither"), None],
        "dtype": "no_validation",
        "memmap_folder": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        vectors: Any = None,
        *,
        max_words: int | None = 100,
        keep: str = "first",
        unknown: str = "zero",
        lowercase: bool = True,
        tokenizer: Callable[[str], Iterable[str]] | None = None,
        token_pattern: str = "[a-zA-Z0-9']+",
        n_segments: int | None = None,
        supervised: str | None = None,
        smoothing: float = 1.0,
        C: float = 10.0,
        min_count: int = 2,
        clip: float | None = None,
        dtype: Any = np.float32,
        memmap_folder: str | os.PathLike[str] | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.vectors = vectors
        self.max_words = max_words
        self.keep = keep
        self.unknown = unknown
        self.lowercase = lowercase
        self.tokenizer = tokenizer
        self.token_pattern = token_pattern
        self.n_segments = n_segments
        self.supervised = supervised
        self.smoothing = smoothing
        self.C = C
        self.min_count = min_count
        self.clip = clip
        self.dtype = dtype
        self.memmap_folder = memmap_folder
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, documents: Any, y: Any = None) -> WordVectorEncoder:
        """Read the word vectors, or learn the word scores.

        Parameters
        ----------
        documents : sequence of str
            Documents; without `supervised` nothing is learned from them.
        y : array-like of shape (n,), default=None
            Labels of two classes, which `supervised` needs. Not used when that is None.

        Returns
        -------
        self : WordVectorEncoder
            The fitted encoder.

        Raises
        ------
        TypeError
            When `documents` is no sequence of str, `vectors` is of no known kind or holds words
            that are not str, or `tokenizer` does not return words.
        FileNotFoundError
            When a file of vectors is not there.
        ValueError
            For an invalid parameter, labels that are missing or not of two classes, or when no
            word is left.
        """
        documents = _check_documents(documents)
        dtype = self._dtype()
        self._splitter()
        if self.supervised is None:
            vocabulary, vectors = _known_vectors(self.vectors, dtype)
        else:
            second = self._is_second_class(y, documents)
            vocabulary, vectors = self._learn(documents, second, dtype)
        # Without a fixed number of steps the data decide it.
        fixed = self.supervised is None and (self.max_words or self.n_segments) is not None
        with restored_on_failure(self):
            self.vocabulary_, self.vectors_ = vocabulary, vectors
            self.n_samples_fit_ = 0 if fixed else len(documents)
        return self

    def transform(self, documents: Any) -> np.ndarray:
        """Encode documents as sequences.

        Parameters
        ----------
        documents : sequence of str
            Documents.

        Returns
        -------
        X : ndarray of shape (n, L, d)
            Sequences, padded at the front; a memmap with `memmap_folder`, unless n is 0.

        Raises
        ------
        TypeError
            When `documents` is no sequence of str, or `tokenizer` does not return words.
        FileNotFoundError
            When `memmap_folder` is not there.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        documents = _check_documents(documents)
        n_steps = self._n_steps(documents, self.vocabulary_)
        parts = self._encode(documents, self.vocabulary_, self.vectors_, n_steps)
        shape = (len(documents), n_steps, self.vectors_.shape[1])
        return _joined(map(self._clipped, parts), shape, self.vectors_.dtype, self.memmap_folder)

    def _dtype(self) -> np.dtype[Any]:
        dtype = np.dtype(self.dtype)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype must be numpy.float32 or numpy.float64, got {self.dtype!r}")
        return dtype

    def _is_second_class(self, y: Any, documents: list[str]) -> np.ndarray:
        """Which documents are of the second class, in sorted order."""
        if y is None:
            raise ValueError(f"supervised={self.supervised!r} needs the labels y of the documents")
        y = column_or_1d(y)
        check_consistent_length(documents, y)
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) != 2:
            raise ValueError(
                f"supervised={self.supervised!r} needs labels y of two classes, and y has "
                f"{len(classes)}"
            )
        return y == classes[1]

    def _learn(
        self, documents: Sequence[str], second: np.ndarray, dtype: np.dtype[Any]
    ) -> tuple[dict[str, int], np.ndarray]:
        """Words and their scores."""
        skip = self.unknown == "skip"
        # What is skipped is known after counting only.
        whole = skip or self.supervised == "log_odds"
        counter = CountVectorizer(analyzer=self._splitter() if whole else self._kept_words())
        counts = counter.fit_transform(self._progress(documents, "learning words"))
        n_words = counts.sum(1)
        frequent = np.asarray((counts > 0).sum(0)).ravel() >= self.min_count
        words = counter.get_feature_names_out()[frequent].tolist()
        if not words:
            raise ValueError(f"no word is in min_count={self.min_count} documents")
        vocabulary = {word: row for row, word in enumerate(words)}
        counts = counts[:, frequent]
        if self.supervised == "log_odds":
            scores = _log_odds_scores(counts, second, self.smoothing)
        else:
            if skip:
                analyzer = self._kept_words(vocabulary)
                counts = CountVectorizer(vocabulary=vocabulary, analyzer=analyzer).transform(
                    self._progress(documents, "counting kept words")
                )
                n_words = counts.sum(1)
            scores = _logistic_scores(counts, second, self.C)
            n_steps = self._n_steps(documents, vocabulary)
            parts = self._encode(documents, vocabulary, scores[:, None], n_steps)
            squares = sum(np.square(part).sum() for part in parts)
            scores /= np.sqrt(squares / np.minimum(n_words, n_steps).sum()) or 1.0
        return vocabulary, scores[:, None].astype(dtype)

    def _splitter(self) -> Callable[[str], list[str]]:
        """Function from a document to all its words."""
        counter = CountVectorizer(tokenizer=self.tokenizer, token_pattern=self.token_pattern)
        tokenize = counter.build_tokenizer()

        def split(document: str) -> list[str]:
            if self.lowercase:
                document = document.lower()
            words = list(tokenize(document.replace(_MARKER, " ")))
            # Tokens of another type would all be unknown words.
            if self.tokenizer and not all(isinstance(word, str) for word in words):
                raise TypeError(f"tokenizer must return words of type str, got {words!r:.60}")
            return words

        return split

    def _kept_words(
        self, vocabulary: Mapping[str, int] | None = None
    ) -> Callable[[str], list[str]]:
        """Function from a document to its words that become steps."""
        split, limit = self._splitter(), self.max_words
        kept = slice(limit) if self.keep == "first" or limit is None else slice(-limit, None)
        if vocabulary is None or self.unknown == "zero":
            return lambda document: split(document)[kept]
        return lambda document: [word for word in split(document) if word in vocabulary][kept]

    def _n_steps(self, documents: Sequence[str], vocabulary: Mapping[str, int]) -> int:
        n_steps = self.n_segments or self.max_words
        if n_steps is None:
            kept_words = self._kept_words(vocabulary)
            n_steps = max([1, *(len(kept_words(document)) for document in documents)])
        return n_steps

    def _encode(
        self,
        documents: Sequence[str],
        vocabulary: Mapping[str, int],
        vectors: np.ndarray,
        n_steps: int,
    ) -> Iterator[np.ndarray]:
        """Sequences of the rows of `vectors`, of a part of the documents at a time."""
        find, missing = vocabulary.get, len(vectors)
        kept_words = self._kept_words(vocabulary)
        fill = _fill_words if self.n_segments is None else _fill_segments
        starts = range(0, len(documents), _DOCUMENTS_AT_ONCE)
        for start in self._progress(starts, f"encoding, {_DOCUMENTS_AT_ONCE} documents each"):
            rows: list[int] = []
            lengths = []
            for document in documents[start : start + _DOCUMENTS_AT_ONCE]:
                words = kept_words(document)
                rows.extend(find(word, missing) for word in words)
                lengths.append(len(words))
            X = np.zeros((len(lengths), n_steps, vectors.shape[1]), vectors.dtype)
            fill(X, np.array(rows, dtype=np.intp), np.array(lengths), vectors)
            yield X

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        """Steps, clipped in place."""
        if self.clip is None:
            return values
        clip = float(self.clip)
        with np.errstate(over="ignore"):
            bound = values.dtype.type(clip)
        if float(bound) > clip:
            bound = np.nextafter(bound, bound.dtype.type(0))
        return np.clip(values, -bound, bound, out=values)

    def _progress(self, items: Any, what: str) -> Iterable[Any]:
        return tqdm(items, desc=what, mininterval=0.5) if self.verbose else items

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = self.supervised is not None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "vocabulary_" in state:
            # One text for all words: skops takes half a kilobyte for each text in a dictionary.
            state = {**state, "vocabulary_": json.dumps(state["vocabulary_"])}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "vocabulary_" in state:
            state = {**state, "vocabulary_": json.loads(state["vocabulary_"])}
        super().__setstate__(state)


def _check_documents(documents: Any) -> list[str]:
    """Documents as a list."""
    is_list = hasattr(documents, "__len__") and getattr(documents, "ndim", 1) == 1
    if isinstance(documents, str | Mapping) or not is_list:
        raise TypeError(
            "documents must be a list or another one-dimensional sequence of str, got "
            f"{type(documents).__name__}"
        )
    documents = list(documents)
    for position, document in enumerate(documents):
        if not isinstance(document, str):
            raise TypeError(
                f"documents must hold str, and number {position} is of type "
                f"{type(document).__name__}: decode bytes, and give missing documents a text"
            )
    return documents


def _known_vectors(vectors: Any, dtype: np.dtype[Any]) -> tuple[dict[str, int], np.ndarray]:
    """Rows of the words, and vectors, from any of the forms that users have."""
    if isinstance(vectors, str | os.PathLike):
        vectors = load_word_vectors(vectors)
    if isinstance(vectors, Mapping):
        vocabulary = {word: row for row, word in enumerate(vectors)}
        given = list(vectors.values())
    elif hasattr(vectors, "key_to_index") and hasattr(vectors, "vectors"):
        vocabulary = {word: int(row) for word, row in vectors.key_to_index.items()}
        given = vectors.vectors
    elif vectors is None:
        raise ValueError("vectors must be given when supervised is None")
    else:
        raise TypeError(
            "vectors must be a path, WordVectors, a mapping from words to vectors or an object "
            f"with key_to_index and vectors, got {type(vectors).__name__}"
        )
    for word in vocabulary:
        if not isinstance(word, str):
            raise TypeError(f"vectors must have words of type str, and has {word!r:.60}")
    return vocabulary, check_array(given, dtype=dtype, input_name="vectors")


def _log_odds_scores(counts: Any, second: np.ndarray, smoothing: float) -> np.ndarray:
    """Smoothed difference of the logarithms of document frequencies."""
    present = counts > 0

    def log_frequency(chosen: np.ndarray) -> np.ndarray:
        documents = np.asarray(present[chosen].sum(0)).ravel()
        # Twice the share: the factor cancels, and smoothing of any size stays in range.
        return np.log(documents + smoothing) - np.log(chosen.sum() / 2 + smoothing)

    return log_frequency(second) - log_frequency(~second)


def _logistic_scores(counts: Any, second: np.ndarray, C: float) -> np.ndarray:
    """Coefficients of a logistic regression on tf-idf weights, per occurrence of a word."""
    tfidf = TfidfTransformer(sublinear_tf=True)
    weights = tfidf.fit_transform(counts)
    # Without an intercept, the sign of a document's sum of scores is the regression's decision.
    regression = LogisticRegression(C=C, fit_intercept=False, max_iter=1000)
    return regression.fit(weights, second).coef_[0] * tfidf.idf_


def _joined(
    parts: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    folder: str | os.PathLike[str] | None,
) -> np.ndarray:
    """Array of the parts, one after the other, in memory or in a new file of the folder."""
    if folder is None or 0 in shape:
        joined, start = np.empty(shape, dtype), 0
        for part in parts:
            joined[start : start + len(part)] = part
            start += len(part)
        return joined
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    with ExitStack() as on_failure:
        # A new file under a name that nothing has, links included.
        with tempfile.NamedTemporaryFile(
            prefix="sequences_", suffix=".npy", dir=folder, delete=False
        ) as file:
            on_failure.callback(os.unlink, file.name)
            # NumPy's stubs leave this function untyped.
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            # Written and not mapped: pages of a map would fill the memory that it is to save.
            for part in parts:
                file.write(part.data)
        joined = np.load(file.name, mmap_mode="r+")
        on_failure.pop_all()
    return joined


def _fill_words(X: np.ndarray, rows: np.ndarray, lengths: np.ndarray, vectors: np.ndarray) -> None:
    """Write one vector per word into X, which is zero; rows beyond the vectors are unknown."""
    filled = np.arange(X.shape[1]) >= X.shape[1] - lengths[:, None]
    known = rows < len(vectors)
    filled[filled] = known
    X[filled] = vectors[rows[known]]


def _fill_segments(
    X: np.ndarray, rows: np.ndarray, lengths: np.ndarray, vectors: np.ndarray
) -> None:
    """Write the mean vector of every segment into X; rows beyond the vectors are unknown."""
    n_steps = X.shape[1]
    size, remainder = (part[:, None] for part in np.divmod(lengths, n_steps))
    steps = np.arange(n_steps)
    # As numpy.array_split cuts, but with the empty segments at the front.
    longer = np.where(size > 0, steps < remainder, steps >= n_steps - remainder)
    sizes = (size + longer).ravel()
    known = rows < len(vectors)
    segments = np.repeat(np.arange(len(sizes)), sizes)[known]
    present, columns = np.unique(rows[known], return_inverse=True)
    means = scipy.sparse.csr_array(
        (1 / sizes[segments], (segments, columns)), shape=(len(sizes), len(present))
    )
    X[:] = (means @ vectors[present].astype(np.float64)).reshape(X.shape)
