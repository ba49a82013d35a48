"""
Choosing by certificate
=======================

Structural risk minimisation (Vapnik) needs no validation data: of several classes of networks it
takes the one whose *certificate* is smallest, a bound that holds with probability 95 % whatever was
chosen. Here that certificate is well below 1, and no test sample is touched on the way.
"""

# %%
# Readings of a sensor
# --------------------
# Made data: eight readings in a row, all of them raised or lowered by a common cause that is to be
# told from them. One label in twenty is wrong, so no classifier errs less than 5 %. The readings
# are in units of their own, around 20. A thousand sequences are set aside for the scaling.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklearn_rnnbound import BoundSearch, RNNBoundClassifier, certify
from sklearn_rnnbound.datasets import make_gaussian_sequences
from sklearn_rnnbound.plotting import MarginDistributionDisplay
from sklearn_rnnbound.preprocessing import SequenceScaler

made = make_gaussian_sequences(9000, 8, 1, correlation=0.5, flip_y=0.05, random_state=1)
readings, y = 20 + 5 * made.data, made.target
X_aside, X_train, X_test = np.split(readings, [1000, 5000])
_, y_train, y_test = np.split(y, [1000, 5000])

# %%
# A network that can be certified
# -------------------------------
# Two types of units without cross connections, one for each class, and radii for all rows of
# weights: for such networks the bound ``peeling`` is small; the theory pages say why.

clf = RNNBoundClassifier(
    hidden_size=4,
    unit_types=2,
    beta_u=1.0,
    beta_w=1.0,
    beta_v=(0.5, 0.5),
    margin=1.0,
    min_eigenvalue=0.0,
    learning_rate=0.01,
    tol=1e-3,
    random_state=0,
)

# %%
# Certified or estimated
# ----------------------
# The same pipeline twice. In the first one the scaler is fitted on the sample that the bound speaks
# of: what the classifier sees of one sequence then depends on all the others, and the theorem does
# not cover that. In the second one the scaler was fitted on what was set aside, and frozen.

scaler = FrozenEstimator(SequenceScaler().fit(X_aside))
for name, step in {"fitted here": SequenceScaler(), "frozen": scaler}.items():
    pipeline = make_pipeline(step, clf).fit(X_train, y_train)
    bound = certify(pipeline)
    print(f"scaler {name:12} bound {bound.value:.3f}  kind {bound.kind}")

# %%
# The numbers are nearly the same, the statements are not. A search by certificate takes only the
# second kind, and says so.

try:
    BoundSearch(make_pipeline(SequenceScaler(), clf), {}).fit(X_train, y_train)
except ValueError as error:
    print(error)

# %%
# The search
# ----------
# ``beta_w`` bounds the memory of the network: a class with a larger radius contains all classes
# with a smaller one. Every candidate is fitted once, on all training data. Each bound gets its
# share of delta, so that all of them hold together and the smallest may be taken.

param_grid = {
    "rnnboundclassifier__beta_w": [0.25, 0.5, 0.75, 1.0, 1.25, 1.5],
    "rnnboundclassifier__margin": [0.5, 1.0],
}
search = BoundSearch(make_pipeline(scaler, clf), param_grid).fit(X_train, y_train)
print(f"{search.n_candidates_} candidates, chosen: {search.best_params_}")
print(f"certificate  {search.best_bound_.value:.3f} with probability {1 - clf.delta:.0%}")
print(f"test error   {1 - search.score(X_test, y_test):.3f}, looked at now for the first time")

# %%
# Why the smallest bound is not at either end
# -------------------------------------------
# A class that is too small cannot keep the first readings in mind: its risk on the sample is high.
# A class that is too large could have fitted much else: its complexity is high. The certificate is
# their sum.

results = search.cv_results_
betas, margins = (np.array(results[f"param_{name}"], dtype=float) for name in param_grid)
rows = margins == search.best_bound_.margin
bounds, risks = results["bound"][rows], results["empirical_risk"][rows]

figure, ax = plt.subplots(figsize=(8.4, 4.4), layout="constrained")
ax.plot(betas[rows], bounds, "o-", color="black", label="certificate: the sum")
ax.plot(
    betas[rows], risks, "s--", label=f"risk on the sample at margin {search.best_bound_.margin:g}"
)
ax.plot(betas[rows], bounds - risks, "^:", label="complexity and confidence")
ax.plot(
    betas[search.best_index_],
    search.best_bound_.value,
    "ko",
    markersize=16,
    fillstyle="none",
    label="chosen",
)
ax.axhline(1.0, color="black", linewidth=0.8)
ax.text(betas.min(), 0.98, "above this line a bound excludes nothing", va="top")
ax.set(
    xlabel="radius beta_w of the recurrent weights",
    ylabel="probability of error",
    ylim=(0, None),
    title="Structural risk minimisation",
)
ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

# %%
# The margins behind it
# ---------------------
# A sample counts as safe when its score beats the others by the margin. A larger margin divides the
# complexity and leaves fewer samples safe; the picture shows what the margin of the winner costs.

winner = search.best_estimator_[-1]
MarginDistributionDisplay.from_estimator(winner, scaler.transform(X_train), y_train)
plt.show()
