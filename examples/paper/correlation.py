"""Section 3.4.1: the correlation between features against lambda_min, the bound and the gap.

The sequences are Gaussian with one correlation rho between any two of their entries, so that
lambda_min = 1 - rho is known, and the true risk is the error on a large fresh sample. Every
network lives in the same constraint set, so that the bounds differ by lambda_min, r and sigma only.
Training is without noise and with it: Remark 5 says that noise helps where lambda_min is small.

Run it as ``python examples/paper/correlation.py --output results``. It needs no data.
"""

from functools import partial
from pathlib import Path

from common import (
    Table,
    arguments,
    draw_means,
    draw_medians,
    fit_and_measure,
    mean_and_error,
    rank_correlations,
)
from matplotlib.figure import Figure

from sklearn_rnnbound.datasets import make_gaussian_sequences

SEQUENCES = {"n_steps": 5, "n_features": 4, "flip_y": 0.1}
TRAINING = {
    "hidden_size": 64,
    "beta_u": 4.0,
    "beta_w": 1.0,
    "beta_v": 4.0,
    "margin": 1.0,
    "learning_rate": 0.003,
    "batch_size": 100,
    "max_iter": 100,
    "delta": 0.05,
}
BOUNDS = ("refined", "peeling")


def measure(*, correlation: float, noise_std: float, seed: int, n_train: int, n_test: int, **rest):
    """One fit on fresh sequences, with lambda_min known."""
    law = {"correlation": correlation, **{name: rest.pop(name) for name in SEQUENCES}}
    train = make_gaussian_sequences(n_train, random_state=seed, **law)
    fresh = make_gaussian_sequences(n_test, random_state=10_000 + seed, **law)
    row = fit_and_measure(
        train.data,
        train.target,
        fresh.data,
        fresh.target,
        bounds=BOUNDS,
        min_eigenvalue=train.min_eigenvalue,
        noise_std=noise_std,
        seed=seed,
        **rest,
    )
    return {"min_eigenvalue": train.min_eigenvalue, **row}


def measured(
    output: Path, *, correlations: list[float], noise_stds: list[float], n_seeds: int, **settings
) -> Table:
    """Table with a row per correlation, noise and seed."""
    table = Table(output / "correlation.csv", settings, key=("correlation", "noise_std", "seed"))
    points = [
        {"correlation": correlation, "noise_std": noise_std, "seed": seed}
        for seed in range(n_seeds)
        for correlation in correlations
        for noise_std in noise_stds
    ]
    table.fill(points, partial(measure, **settings))
    return table


def summary(table: Table) -> str:
    """Means over the seeds, and rank correlations with the gap."""
    columns = ("gap", "test_error", "r", "paper_linear", "paper", "refined", "peeling")
    lines = [f"{'rho':>5}{'sigma':>6}" + "".join(f"{name:>22}" for name in columns)]
    for rho in table.distinct("correlation"):
        for sigma in table.distinct("noise_std"):
            where = {"correlation": rho, "noise_std": sigma}
            pairs = [mean_and_error(table.values(name, **where)) for name in columns]
            cells = [f"{mean:.4g} +- {error:.2g}" for mean, error in pairs]
            lines.append(f"{rho:5.2f}{sigma:6.2f}" + "".join(f"{cell:>22}" for cell in cells))
    lines.append(rank_correlations(table, ("min_eigenvalue", "paper_linear", "paper", "peeling")))
    return "\n".join(lines)


def draw(table: Table, path: Path) -> None:
    """Gap, linear part and bound against lambda_min."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    gap, linear, bound = figure.subplots(1, 3)
    sigmas = table.distinct("noise_std")
    for sigma, style in zip(sigmas, ("ko-", "ks--"), strict=False):
        label = f"noise {sigma:g}"
        x, where = "min_eigenvalue", {"noise_std": sigma}
        draw_means(gap, table, x, "gap", style, label, **where)
        draw_medians(linear, table, x, "paper_linear", style, label, **where)
        draw_medians(bound, table, x, "paper", style, f"paper, {label}", **where)
        style = style.replace("o", "^").replace("s", "v")
        draw_medians(bound, table, x, "peeling", style, f"peeling, {label}", **where)
    for ax, title in ((gap, "gap"), (linear, "linear part of the bound"), (bound, "bound")):
        ax.set(xscale="log", xlabel="smallest eigenvalue, 1 - rho", ylabel=title)
        ax.legend(fontsize="small")
    linear.set_yscale("log")
    bound.set_yscale("log")
    figure.savefig(path, dpi=90)


def main() -> None:
    options = arguments(__doc__).parse_args()
    grid = {
        "correlations": [0.0, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999],
        "noise_stds": [0.0, 0.3],
        "n_seeds": 10,
        "n_train": 1000,
        "n_test": 100_000,
    }
    if options.quick:
        grid |= {"correlations": [0.0, 0.9, 0.99], "n_seeds": 3, "n_train": 500, "n_test": 20_000}
    output = Path(options.output)
    table = measured(output, **grid, **SEQUENCES, **TRAINING)
    print(summary(table))
    draw(table, output / "correlation.png")


if __name__ == "__main__":
    main()
