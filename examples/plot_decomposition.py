"""
Reading a decomposition
=======================

A bound is a sum, and its terms say what would make it smaller: more data, more noise, smaller
weights, or nothing at all.
"""

# %%
# Two networks
# ------------
# The same network trained without and with noise on its input, within the same constraints.

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.datasets import load_digit_sequences
from sklearn_rnnbound.plotting import (
    BoundCurveDisplay,
    BoundDecompositionDisplay,
    SpectrumDisplay,
)

SIGMA = 0.3

X, y = load_digit_sequences()
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
settings = {
    "hidden_size": 24,
    "beta_u": 2.0,
    "beta_w": 1.0,
    "beta_v": 4.0,
    "margin": 1.0,
    "learning_rate": 0.02,
    "tol": 2e-2,
    "random_state": 0,
}
plain = RNNBoundClassifier(**settings).fit(X_train, y_train)
noisy = RNNBoundClassifier(noise_std=SIGMA, **settings).fit(X_train, y_train)
for name, clf in {"plain": plain, "noisy": noisy}.items():
    print(f"{name}: test accuracy {clf.score(X_test, y_test):.3f}", end=", ")
    print(f"paper's bound {clf.generalization_bound_():.4g}")

# %%
# Where the noise enters
# ----------------------
# Theorem 2 divides by the root of the smallest eigenvalue of the input's second moment. Some pixels
# in the corners are always empty, so this eigenvalue is 0 and the bound infinite. Noise adds
# sigma^2 to every eigenvalue: it puts a floor under the spectrum, and Theorem 3 divides by its
# root.

display = SpectrumDisplay.from_data(X_train, noise_std=SIGMA)
display.ax_.set_title("Spectrum of the digits, and the floor that noise puts under it")

# %%
# The terms, stacked
# ------------------
# The axis is logarithmic: a term at the bottom that looks large may be small, and the top one
# weighs the most. For Theorem 3 that is ``difference``, the distance between the network and its
# linear stand-in: it does not shrink with more data. For ``peeling`` it is ``complexity``, which
# does.

BoundDecompositionDisplay.from_estimator(
    noisy, X_test, y_test, methods=["theorem3", "refined", "peeling", "trivial", "holdout"]
)
for name in ("theorem3", "peeling"):
    bound = noisy.bound_report_(methods=[name])[name]
    print(f"\n{name}: {bound.value:.4g}")
    for term in bound.terms:
        print(f"  {term.name:15} {term.value:10.4g}   changes like {term.rate}")

# %%
# What more data would mend
# -------------------------
# ``bound_curve_`` leaves the network as it is and counts on parts of the sample. A term like n^-1/2
# halves when the sample grows fourfold; a bound whose largest term is constant stays where it is.

curve = noisy.bound_curve_(X_train, y_train, methods=["theorem3", "peeling", "trivial"])
print(f"\n{curve}")
BoundCurveDisplay.from_curve(curve)
plt.show()
