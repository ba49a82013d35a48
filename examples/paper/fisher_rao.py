"""Section 3.4.3: the Fisher-Rao norm of trained networks against what Remark 6 puts in its place.

Without a constraint on the Fisher-Rao norm the paper replaces its radius r by a number that follows
from the norms of the weights and from the largest entry B of the input. Here the two are compared
for networks trained on scikit-learn's digits, whose pixels are within B = 1, for several radii
beta_W of the recurrence, with and without noise. Under noise r is measured on the noisy input, and
B becomes B plus the root mean square of the noise's largest entry.

Run it as ``python examples/paper/fisher_rao.py --output results``. It needs no data.
"""

import math
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from common import Table, arguments, draw_medians, mean_and_error
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.bounds.paper import remark6_radius, rms_max_noise
from sklearn_rnnbound.datasets import load_digit_sequences

INPUT_BOUND = 1.0
TRAINING = {"hidden_size": 64, "learning_rate": 0.003, "batch_size": 200, "max_iter": 60}


def measure(*, beta_w: float, noise_std: float, seed: int, **training) -> dict:
    """One fit: r as measured, and by Remark 6 at the norms reached; inf stands for no radius."""
    X, y = load_digit_sequences()
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=seed)
    clf = RNNBoundClassifier(
        beta_w=None if math.isinf(beta_w) else beta_w,
        noise_std=noise_std,
        tol=0.0,
        n_iter_no_change=training["max_iter"],
        min_eigenvalue=0.0,
        random_state=seed,
        device="cpu",
        **training,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X_train, y_train)
    r = clf.fisher_rao_norm_()
    remark6 = remark6_radius(
        n_steps=X.shape[1],
        beta_u=clf.beta_u_,
        beta_w=clf.beta_w_,
        beta_v=clf.beta_v_,
        max_input=INPUT_BOUND + rms_max_noise("gaussian", noise_std, X.shape[2]),
    )
    return {
        "train_error": 1 - clf.score(X_train, y_train),
        "test_error": 1 - clf.score(X_test, y_test),
        "beta_u_": clf.beta_u_,
        "beta_w_": clf.beta_w_,
        "beta_v_": clf.beta_v_,
        "r": r,
        "r_gradient": clf.fisher_rao_norm_(form="gradient"),
        "remark6": remark6,
        "ratio": remark6 / r,
    }


def measured(
    output: Path, *, radii: list[float], noise_stds: list[float], n_seeds: int, **training
) -> Table:
    """Table with a row per radius, noise and seed."""
    table = Table(output / "fisher_rao.csv", training, key=("beta_w", "noise_std", "seed"))
    points = [
        {"beta_w": radius, "noise_std": noise_std, "seed": seed}
        for seed in range(n_seeds)
        for radius in radii
        for noise_std in noise_stds
    ]
    table.fill(points, partial(measure, **training))
    return table


def summary(table: Table) -> str:
    """Medians of the norms over the seeds, and mean errors."""
    columns = ("beta_w_", "r", "remark6", "ratio")
    lines = [f"{'beta_W':>7}{'sigma':>7}" + "".join(f"{name:>16}" for name in columns)]
    lines[0] += f"{'test error':>20}"
    for radius in table.distinct("beta_w"):
        for sigma in table.distinct("noise_std"):
            where = {"beta_w": radius, "noise_std": sigma}
            medians = [np.median(table.values(name, **where)) for name in columns]
            mean, error = mean_and_error(table.values("test_error", **where))
            cells = "".join(f"{median:16.4g}" for median in medians)
            lines.append(f"{radius:7g}{sigma:7g}{cells}{f'{mean:.4f} +- {error:.4f}':>20}")
    return "\n".join(lines)


def draw(table: Table, path: Path) -> None:
    """r and its replacement against the radius of the recurrence."""
    sigmas = table.distinct("noise_std")
    figure = Figure(figsize=(4.5 * len(sigmas), 4), layout="constrained")
    for ax, sigma in zip(figure.subplots(1, len(sigmas), sharey=True), sigmas, strict=True):
        draw_medians(ax, table, "beta_w", "r", "ko-", "measured r", noise_std=sigma)
        draw_medians(ax, table, "beta_w", "remark6", "ks--", "Remark 6", noise_std=sigma)
        ax.set(title=f"digits, noise {sigma:g}", xlabel="radius of the rows of W", yscale="log")
        ax.set_ylabel("Fisher-Rao norm (medians, ranges)")
        ax.legend()
    figure.savefig(path, dpi=90)


def main() -> None:
    options = arguments(__doc__).parse_args()
    grid = {"radii": [0.25, 0.5, 1.0, 2.0, 4.0, math.inf], "noise_stds": [0.0, 0.2], "n_seeds": 5}
    if options.quick:
        grid |= {"radii": [0.5, 1.0, math.inf], "n_seeds": 3}
    output = Path(options.output)
    table = measured(output, **grid, **TRAINING)
    print(summary(table))
    draw(table, output / "fisher_rao.png")


if __name__ == "__main__":
    main()
