"""
Quickstart
==========

A recurrent network for handwritten digits that says, after ``fit``, how wrong it can be on new
ones: fit it, score it, and read its bounds.
"""

# %%
# Sequences
# ---------
# An image of 8 x 8 pixels is read row by row: 8 steps of 8 features. The classifier takes arrays of
# shape (samples, steps, features).

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.datasets import load_digit_sequences
from sklearn_rnnbound.plotting import BoundDecompositionDisplay

X, y = load_digit_sequences()
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
print(f"{len(X_train)} sequences for training, {X.shape[1]} steps of {X.shape[2]} features")

# %%
# Fit and score
# -------------
# It is a classifier as any other of scikit-learn. Three of its parameters are the regularisers that
# the bounds speak of: noise on the input, a constraint on the recurrent weights, gradient clipping.

clf = RNNBoundClassifier(
    hidden_size=32,
    noise_std=0.1,
    beta_w=1.0,
    gradient_clip_norm=1.0,
    learning_rate=0.01,
    tol=1e-2,
    random_state=0,
)
clf.fit(X_train, y_train)
print(f"{clf.n_iter_} epochs, test accuracy {clf.score(X_test, y_test):.3f}")

# %%
# One number for the network, one for its promise
# -----------------------------------------------
# The Fisher-Rao norm measures the network as the function that it is, not weight by weight. The
# paper's bound grows with it. That bound is above 1, as it is for every network: its use is to say
# what would make it smaller.

print(f"Fisher-Rao norm      {clf.fisher_rao_norm_():.4g}")
print(f"the paper's bound    {clf.generalization_bound_():.4g}")

# %%
# Every bound, term by term
# -------------------------
# The report sets all bounds side by side. *Certified* rows hold with probability 95 %; *plug-in*
# rows contain an estimate in place of something that only the unknown law knows. Below the table
# stands what each row assumes. With the test data there is one row more, ``holdout``: the plain
# binomial bound that any classifier could have.

report = clf.bound_report_(X_test, y_test)
print(report)

# %%
# The picture shows the terms on a logarithmic scale. A margin fixed beforehand, here 1, saves what
# the search for a good one costs.

display = BoundDecompositionDisplay.from_estimator(clf, X_test, y_test, margin=1.0)
display.ax_.set_title("Bounds on digits, margin 1")
plt.show()
