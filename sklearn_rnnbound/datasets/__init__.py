"""Data sets as sequences, and readers of files that users have."""

from sklearn_rnnbound.datasets.imdb import load_imdb
from sklearn_rnnbound.datasets.toy import load_digit_sequences, make_gaussian_sequences
from sklearn_rnnbound.datasets.ts import load_ts
from sklearn_rnnbound.datasets.word_vectors import WordVectors, load_word_vectors

__all__ = [
    "WordVectors",
    "load_digit_sequences",
    "load_imdb",
    "load_ts",
    "load_word_vectors",
    "make_gaussian_sequences",
]
