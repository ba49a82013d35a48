"""Real data for the tests, read from a folder beside the checkout where there is one."""

import os
from pathlib import Path

import numpy as np
import pytest

DEFAULT = Path(__file__).parents[2] / "shared" / "data"


def data_folder() -> Path:
    """Folder of the real data sets; skips the test where it is absent."""
    folder = Path(os.environ.get("RNNBOUND_DATA", DEFAULT))
    if not folder.is_dir():
        pytest.skip("real data absent: set RNNBOUND_DATA to the folder that holds uea/")
    return folder


def read_ts(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of a .ts file, front-padded with zeros to (n, L, d), and their labels."""
    lines = path.read_text().splitlines()
    records = lines[lines.index("@data") + 1 :]
    series, labels = [], []
    for record in records:
        *channels, label = record.split(":")
        series.append(np.array([channel.split(",") for channel in channels], dtype=float).T)
        labels.append(label)
    length = max(map(len, series))
    X = np.zeros((len(series), length, series[0].shape[1]))
    for padded, values in zip(X, series, strict=True):
        padded[length - len(values) :] = values
    return X, np.array(labels)


def japanese_vowels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """JapaneseVowels in its own split, each channel centred and scaled, padding left at zero."""
    folder = data_folder() / "uea" / "JapaneseVowels"
    X_train, y_train = read_ts(folder / "JapaneseVowels_TRAIN.ts")
    X_test, y_test = read_ts(folder / "JapaneseVowels_TEST.ts")
    length = max(X_train.shape[1], X_test.shape[1])
    observed = X_train[X_train.any(2)]
    scaled = []
    for X in (X_train, X_test):
        values = np.where(X.any(2)[..., None], (X - observed.mean(0)) / observed.std(0), 0.0)
        scaled.append(np.pad(values, [(0, 0), (length - X.shape[1], 0), (0, 0)]))
    return scaled[0], y_train, scaled[1], y_test
