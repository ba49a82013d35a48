"""
Series of different lengths
===========================

Nine men say two Japanese vowels in a row; twelve numbers describe the sound of every moment, and an
utterance takes 7 to 29 of them. Lists of such series go straight into a pipeline.

The data set JapaneseVowels (Kudo, Toyama & Shimbo 1999) comes with aeon, which the extra ``series``
brings. Files of your own are read with ``--data FOLDER``, which holds ``JapaneseVowels_TRAIN.ts``
and ``JapaneseVowels_TEST.ts``.
"""

# %%
# Ragged lists
# ------------
# A series is an array of shape (steps, features), and a data set a list of them.

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.pipeline import make_pipeline

from sklearn_rnnbound import RNNBoundClassifier, certify
from sklearn_rnnbound.datasets import load_ts
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler

parser = argparse.ArgumentParser(description="Series of different lengths.")
parser.add_argument("--data", type=Path, help="folder of the files JapaneseVowels_*.ts")
arguments = parser.parse_args()


def load(split):
    """Series with time first, and their labels."""
    if arguments.data:
        bunch = load_ts(arguments.data / f"JapaneseVowels_{split}.ts")
        return bunch.data, bunch.target
    from aeon.datasets import load_japanese_vowels

    series, labels = load_japanese_vowels(split=split)
    return [values.T for values in series], labels


(X_train, y_train), (X_test, y_test) = load("TRAIN"), load("TEST")
lengths = [len(series) for series in X_train + X_test]
print(f"{len(X_train)} utterances for training, {len(X_test)} for testing")
print(f"{min(lengths)} to {max(lengths)} steps of {X_train[0].shape[1]} features")

# %%
# Pad, scale, fit
# ---------------
# The padder writes zeros in front of short series. The network has no biases, so its state stays
# zero until a series begins: padding changes nothing. The scaler leaves the zeros alone.

clf = RNNBoundClassifier(
    hidden_size=32,
    noise_std=0.1,
    beta_w=1.0,
    min_eigenvalue=0.0,
    learning_rate=0.01,
    tol=1e-2,
    random_state=0,
)
pipeline = make_pipeline(SequencePadder(29), SequenceScaler(), clf).fit(X_train, y_train)
print(f"test accuracy {pipeline.score(X_test, y_test):.3f} over {len(pipeline.classes_)} speakers")

# %%
# Certified, or an estimate
# -------------------------
# The scaler took its means from the very series that a bound would speak of. So the bound is an
# estimate, ``plug_in``, whatever its formula. The padder learned nothing: its length was given. A
# scaler that was fitted on other series and frozen makes it a certificate of those that are left.

print(f"scaler fitted on the same series: {certify(pipeline).kind}")

aside, rest = X_train[::3], [series for i, series in enumerate(X_train) if i % 3]
scaler = SequenceScaler().fit(SequencePadder(29).fit_transform(aside))
certified = make_pipeline(SequencePadder(29), FrozenEstimator(scaler), clone(clf))
certified.fit(rest, y_train[np.arange(len(X_train)) % 3 > 0])
print(f"scaler fitted on series set aside: {certify(certified).kind}", end=", ")
print(f"test accuracy {certified.score(X_test, y_test):.3f}")

# %%
# Who is taken for whom
# ---------------------
# With 270 series of nine speakers the certificate itself is above 1. The confusion matrix of the
# first pipeline says more.

display = ConfusionMatrixDisplay.from_estimator(
    pipeline, X_test, y_test, cmap="Greys", colorbar=False
)
display.ax_.set(xlabel="predicted speaker", ylabel="true speaker", title="JapaneseVowels")
plt.show()
