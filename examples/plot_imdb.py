"""
Film reviews
============

Texts go into the estimator in one line: an encoder turns words into vectors, the network reads one
after the other.

Run as it is, the script invents its reviews. For real ones (the Large Movie Review Dataset and
GloVe vectors, from their authors' pages) name the files::

    python plot_imdb.py --data aclImdb --vectors glove.6B.50d.txt

or the folder that holds ``aclImdb.tar.xz`` and ``glove.6B.50d.subset.txt.xz`` in the environment
variable ``RNNBOUND_DATA``.
"""

# %%
# Which reviews
# -------------

import argparse
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_rnnbound import RNNBoundClassifier, bound_report
from sklearn_rnnbound.datasets import load_imdb, load_word_vectors
from sklearn_rnnbound.plotting import BoundDecompositionDisplay
from sklearn_rnnbound.preprocessing import WordVectorEncoder

parser = argparse.ArgumentParser(description="Film reviews, real or invented.")
parser.add_argument("--data", help="folder aclImdb, or its tar archive")
parser.add_argument("--vectors", help="text file of GloVe vectors")
parser.add_argument("--reviews", type=int, default=3000, help="number of reviews to use")
arguments = parser.parse_args()
data, vectors = arguments.data, arguments.vectors
if (data is None) != (vectors is None):
    parser.error("--data and --vectors go together: give both or none")
if data is None and "RNNBOUND_DATA" in os.environ:
    folder = Path(os.environ["RNNBOUND_DATA"])
    data, vectors = folder / "aclImdb.tar.xz", folder / "glove.6B.50d.subset.txt.xz"

# %%
# Invented reviews
# ----------------
# Sentences about parts of a film, by chance out of word lists. Four judgements in five agree with
# the label, and one in four is turned round by "not": adding up words is not enough. Each word gets
# a random vector; words of praise have a direction in common, words of blame the opposite one.

PARTS = ["plot", "cast", "music", "camera", "ending", "dialogue", "opening", "pace"]
PRAISE = ["clever", "moving", "funny", "honest", "gripping", "tender", "splendid", "lively"]
BLAME = ["dull", "clumsy", "cold", "tedious", "shallow", "noisy", "predictable", "lifeless"]
ADVERBS = ["truly", "rather", "quite", "very"]


def invented_review(positive, rng):
    """Three to six sentences."""
    sentences = []
    for _ in range(rng.integers(3, 7)):
        praises = positive == (rng.random() < 0.8)
        turned = rng.random() < 0.25
        judgement = rng.choice(PRAISE if praises != turned else BLAME)
        adverb = "not" if turned else rng.choice(ADVERBS)
        sentences.append(f"The {rng.choice(PARTS)} is {adverb} {judgement}.")
    return " ".join(sentences)


def invented_data(n, rng):
    """Reviews, labels and word vectors of 10 dimensions."""
    target = rng.integers(0, 2, n)
    texts = [invented_review(label == 1, rng) for label in target]
    words = [*PARTS, *PRAISE, *BLAME, *ADVERBS, "the", "is", "not"]
    table = 0.3 * rng.normal(size=(len(words), 10))
    table[:, 0] += np.isin(words, PRAISE).astype(float) - np.isin(words, BLAME)
    return texts, target, dict(zip(words, table, strict=True))


rng = np.random.default_rng(0)
if data is None:
    print(f"{arguments.reviews} INVENTED reviews and word vectors: no statement about real ones")
    texts, target, vectors = invented_data(arguments.reviews, rng)
else:
    bunch = load_imdb(data)
    rows = rng.permutation(len(bunch.data))[: arguments.reviews]
    texts, target = [bunch.data[row] for row in rows], bunch.target[rows]
    vectors = load_word_vectors(vectors)
    print(f"{len(texts)} reviews of the Large Movie Review Dataset, {len(vectors)} word vectors")
print(f"the first: {texts[0][:100]} ...")

# %%
# From documents to predictions
# -----------------------------
# A review of whatever length becomes five steps, each the mean of the word vectors of one fifth.
# With ``n_segments=None`` a step would be a word. The settings were found by trial on real reviews;
# a certificate to rely on has them fixed beforehand, or pays for the choice as ``certify`` does.

train, test, y_train, y_test = train_test_split(texts, target, test_size=1 / 3, random_state=0)
pipeline = make_pipeline(
    WordVectorEncoder(vectors, max_words=None, n_segments=5),
    RNNBoundClassifier(
        hidden_size=8,
        noise_std=0.1,
        beta_w=1.0,
        min_eigenvalue=0.0,
        learning_rate=0.01,
        tol=1e-2,
        random_state=0,
    ),
)
pipeline.fit(train, y_train)
print(f"test accuracy {pipeline.score(test, y_test):.3f}")

# %%
# What is guaranteed
# ------------------
# ``bound_report`` looks into the pipeline. The encoder learns nothing from the reviews, so the
# bounds of the network are those of the pipeline. The training data go in as well: they are needed
# for ``occam``, which speaks of the network with its weights rounded to a few bits.

report = bound_report(
    pipeline,
    test,
    y_test,
    X_train=train,
    y_train=y_train,
    methods=["theorem3", "peeling", "occam", "holdout"],
)
print(report)
display = BoundDecompositionDisplay.from_report(report)
display.ax_.set_title("Invented reviews" if data is None else "Film reviews")
plt.show()
