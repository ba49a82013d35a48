"""
From the paper's bound to a certificate
=======================================

One network, trained on more and more data: what the paper's theorem says about its error, what our
certificates say, and what the error is.
"""

# %%
# Data of which everything is known
# ---------------------------------
# Sequences of eight correlated numbers; the label says whether their sum is positive, and one label
# in twenty is wrong. The smallest eigenvalue of their second moment, by which Theorem 2 divides, is
# known. Up to 64,000 sequences train, and 20,000 more measure the error.

import matplotlib.pyplot as plt

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.datasets import make_gaussian_sequences
from sklearn_rnnbound.plotting import BoundCurveDisplay

sizes = [250, 1000, 4000, 16000, 64000]
made = make_gaussian_sequences(84000, 8, 1, correlation=0.5, flip_y=0.05, random_state=0)
X_test, y_test = made.data[64000:], made.target[64000:]

# %%
# The fits
# --------
# Radii for all rows of weights and two types of units, one for each class. The margin is fixed
# beforehand as well, so that nothing is left to be paid for.

clf = RNNBoundClassifier(
    hidden_size=4,
    unit_types=2,
    beta_u=1.0,
    beta_w=1.0,
    beta_v=(0.5, 0.5),
    margin=1.0,
    min_eigenvalue=made.min_eigenvalue,
    learning_rate=0.01,
    tol=1e-3,
    random_state=0,
)
reports = []
for n in sizes:
    X, y = made.data[:n], made.target[:n]
    report = clf.fit(X, y).bound_report_(
        X_test, y_test, X_train=X, y_train=y, methods=["theorem2", "peeling", "occam"]
    )
    reports.append(report)
    values = "  ".join(f"{bound.name} {bound.value:7.3f}" for bound in report)
    print(f"n {n:6}  {values}  test error {report.test_error:.3f}")

# %%
# The picture
# -----------
# Theorem 2 stays above 200: what its largest term measures is the distance between the network and
# a linear one, and no amount of data brings them together. ``peeling`` certifies the same network
# by its row norms, ``occam`` the network with its weights rounded to a few bits. Each holds with
# probability 95 %, and both shrink as data come in. The hollow markers say that Theorem 2 is an
# estimate here: its Fisher-Rao radius was measured on the sample.

figure, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
BoundCurveDisplay(sizes, [[report] for report in reports], xlabel="training samples n").plot(ax=ax)
errors = [report.test_error for report in reports]
ax.plot(sizes, errors, color="black", linestyle=":", linewidth=2, label="test error")
ax.set(ylabel="probability of error", title="What the bounds promise, and what comes true")
ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
plt.show()
