"""
Bounds under cross-validation
=============================

Does a bound follow what it bounds? Cross-validation sets every bound of every fold beside the error
that came true, and measures how well both agree on which amount of noise is better.
"""

# %%
# Candidates and folds
# --------------------
# Each amount of noise is tried on three folds. The margin is fixed beforehand, so that the bounds
# compare like with like.

import matplotlib.pyplot as plt

from sklearn_rnnbound import RNNBoundClassifier, cross_validate_bounds
from sklearn_rnnbound.datasets import load_digit_sequences
from sklearn_rnnbound.plotting import BoundCurveDisplay

X, y = load_digit_sequences()
clf = RNNBoundClassifier(
    hidden_size=16, beta_w=1.0, margin=1.0, learning_rate=0.02, tol=2e-2, random_state=0
)
report = cross_validate_bounds(
    clf,
    X[:800],
    y[:800],
    param_grid={"noise_std": [0.1, 0.2, 0.3, 0.4, 0.6]},
    cv=3,
    methods=["theorem3", "refined", "peeling", "holdout"],
)

# %%
# The report
# ----------
# Printed, or shown in a notebook, it gives means and standard errors, the rank correlations, and
# how to read them. A fold that failed would be listed, and would not end the run.

print(report)

# %%
# Numbers to go on with
# ---------------------
# ``to_frame`` has one row per fit and bound, ``summary`` one per candidate and bound, with every
# term.

summary = report.summary()
columns = ["param_noise_std", "mean_value", "mean_train_error", "mean_test_error", "mean_gap"]
print(summary.loc[summary["bound"] == "refined", columns].round(3).to_string(index=False))

# %%
# Do bound and gap agree?
# -----------------------
# Kendall's tau is 1 when a smaller bound always goes with a smaller gap. Five candidates are few:
# the interval says how little they prove. The bounds hold for every fold in any case; whether they
# *rank* well is a matter of experience. The binomial bound ``holdout`` follows the test error, not
# the gap.

print(report.rank_correlation().round(2))

# %%
# The picture
# -----------
# Bounds above, errors and their gap below, as means over the folds with bands of one standard
# error.

display = BoundCurveDisplay.from_cross_validation(report)
display.ax_.set_title("Bounds and errors over the input noise")
plt.show()
