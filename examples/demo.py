"""Digits read row by row: choose sigma and beta_w by cross-validation, then report the bound.

Usage: python examples/demo.py [--output PICTURE.png] [--jobs N]
"""

import argparse
import time
from pathlib import Path

from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_rnnbound import RNNBoundClassifier, bound_report
from sklearn_rnnbound.datasets import load_digit_sequences
from sklearn_rnnbound.plotting import BoundDecompositionDisplay

PARAM_GRID = {"rnn__noise_std": [0.0, 0.1, 0.3], "rnn__beta_w": [None, 1.0]}


def centred(X):
    """Pixels in [-1, 1]: a scaling known beforehand, which no bound has to pay for."""
    return 2 * X - 1


def main():
    """Search, report, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo_bound.png"))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    start = time.perf_counter()

    X, y = load_digit_sequences()
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
    print(f"digits as sequences: {len(X_train)} for training, {len(X_test)} for testing, ", end="")
    print(f"{X.shape[1]} steps x {X.shape[2]} pixels")

    pipeline = Pipeline(
        [
            ("centre", FunctionTransformer(centred)),
            ("rnn", RNNBoundClassifier(gradient_clip_norm=1.0, tol=1e-3, random_state=0)),
        ]
    )
    search = GridSearchCV(pipeline, PARAM_GRID, cv=3, n_jobs=arguments.jobs, verbose=2)
    search.fit(X_train, y_train)
    print("\nmean accuracy over 3 folds")
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        sigma, beta_w = params["rnn__noise_std"], params["rnn__beta_w"]
        mark = "  <- chosen" if params == search.best_params_ else ""
        print(f"  sigma = {sigma:<4}  beta_w = {beta_w!s:<5}  {score:.4f}{mark}")

    best = search.best_estimator_
    clf = best.named_steps["rnn"]
    print(f"\ntest accuracy       {best.score(X_test, y_test):.4f}")
    print(f"Fisher-Rao norm     {clf.fisher_rao_norm_():.4g}\n")
    # The network was chosen on the sample that the bounds speak of: its candidates share delta.
    print(bound_report(search, X_test, y_test, X_train=X_train, y_train=y_train))

    report = bound_report(search, X_test, y_test, margin=1.0)
    display = BoundDecompositionDisplay.from_report(report)
    display.ax_.set_title("Bounds on digits, margin 1")
    display.figure_.savefig(arguments.output, dpi=150)
    print(f"\npicture of the decomposition at margin 1: {arguments.output}")
    print(f"{time.perf_counter() - start:.0f} seconds")


if __name__ == "__main__":
    main()
