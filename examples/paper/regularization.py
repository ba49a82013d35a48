"""Section 3.4.2: weight decay and gradient clipping against the norms, r, the bound and the gap.

The paper argues that both keep the norms of the weights, and so the bound, from growing. They are
varied one at a time on Gaussian sequences whose labels are flipped with probability 0.1, so that
training on them overfits, and whose true risk is the error on a large fresh sample. The optimizer
is SGD with momentum: Adam's steps do not depend on the scale of the gradient, and clipping it would
change next to nothing.

Run it as ``python examples/paper/regularization.py --output results``. It needs no data.
"""

import math
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

SEQUENCES = {"n_steps": 10, "n_features": 4, "correlation": 0.5, "flip_y": 0.1}
TRAINING = {
    "hidden_size": 64,
    "optimizer": "sgd",
    "learning_rate": 0.003,
    "batch_size": 100,
    "max_iter": 200,
    "margin": 1.0,
    "delta": 0.05,
}
BOUNDS = ("refined", "peeling")
SIZES = ("beta_u_", "beta_w_", "beta_v_", "r")
GROWTH = ("theorem1_linear", "theorem1_log10_difference", "paper")


def measure(
    *, weight_decay: float, clip_norm: float, seed: int, n_train: int, n_test: int, **rest
) -> dict:
    """One fit on fresh sequences; inf stands for no clipping."""
    law = {name: rest.pop(name) for name in SEQUENCES}
    train = make_gaussian_sequences(n_train, random_state=seed, **law)
    fresh = make_gaussian_sequences(n_test, random_state=10_000 + seed, **law)
    return fit_and_measure(
        train.data,
        train.target,
        fresh.data,
        fresh.target,
        bounds=BOUNDS,
        min_eigenvalue=train.min_eigenvalue,
        seed=seed,
        weight_decay=weight_decay,
        gradient_clip_norm=None if math.isinf(clip_norm) else clip_norm,
        **rest,
    )


def measured(
    output: Path, *, weight_decays: list[float], clip_norms: list[float], n_seeds: int, **settings
) -> Table:
    """Table with a row per weight decay without clipping, clipping without decay, and seed."""
    key = ("weight_decay", "clip_norm", "seed")
    table = Table(output / "regularization.csv", settings, key=key)
    pairs = [(0.0, math.inf)]
    pairs += [(decay, math.inf) for decay in weight_decays] + [(0.0, norm) for norm in clip_norms]
    points = [
        dict(zip(key, (*pair, seed), strict=True)) for seed in range(n_seeds) for pair in pairs
    ]
    table.fill(points, partial(measure, **settings))
    return table


def summary(table: Table) -> str:
    """Means over the seeds, and rank correlations with the gap."""
    columns = ("gap", "test_error", "train_error", *SIZES, *GROWTH)
    lines = [f"{'decay':>8}{'clip':>8}" + "".join(f"{name[-20:]:>22}" for name in columns)]
    pairs = {(float(row["weight_decay"]), float(row["clip_norm"])) for row in table.rows}
    for decay, norm in sorted(pairs):
        where = {"weight_decay": decay, "clip_norm": norm}
        means = [mean_and_error(table.values(name, **where)) for name in columns]
        cells = [f"{mean:.4g} +- {error:.2g}" for mean, error in means]
        lines.append(f"{decay:8g}{norm:8g}" + "".join(f"{cell:>22}" for cell in cells))
    lines.append(rank_correlations(table, (*SIZES, *GROWTH, "peeling")))
    return "\n".join(lines)


def draw(table: Table, path: Path) -> None:
    """Norms, r and the bound, and the gap; weight decay on the left, clipping on the right."""
    figure = Figure(figsize=(9, 9), layout="constrained")
    grid = figure.subplots(3, 2, sharex="col", sharey="row")
    sides = (("weight_decay", {"clip_norm": math.inf}), ("clip_norm", {"weight_decay": 0.0}))
    for (norms, growth, errors), (x, where) in zip(grid.T, sides, strict=True):
        for name, style in zip(SIZES, ("ko-", "ks--", "k^:", "kv-."), strict=True):
            draw_medians(norms, table, x, name, style, name, **where)
        label = "log10 of the difference part"
        draw_medians(growth, table, x, "theorem1_log10_difference", "ko-", label, **where)
        draw_means(errors, table, x, "gap", "ko-", "gap", **where)
        draw_means(errors, table, x, "test_error", "ks--", "true risk", **where)
        draw_means(errors, table, x, "train_error", "k^:", "training error", **where)
        norms.set_yscale("log")
        errors.set_xlabel(x.replace("_", " "))
        if x == "weight_decay":
            # 0 stands at the left end of a logarithmic axis.
            smallest = min(filter(None, table.distinct(x, **where)))
            errors.set_xscale("symlog", linthresh=smallest)
            errors.set_xlim(left=-smallest / 2)
    labels = ("norm", "Theorem 1 at the norms", "error")
    for ax, label, place in zip(
        grid[:, 0], labels, ("lower left", "lower left", "best"), strict=True
    ):
        ax.set_ylabel(label)
        ax.legend(fontsize="small", loc=place)
    figure.savefig(path, dpi=90)


def main() -> None:
    options = arguments(__doc__).parse_args()
    grid = {
        "weight_decays": [0.0001, 0.001, 0.003, 0.01, 0.03, 0.1],
        "clip_norms": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
        "n_seeds": 5,
        "n_train": 1000,
        "n_test": 100_000,
    }
    if options.quick:
        grid |= {"weight_decays": [0.01, 0.1], "clip_norms": [0.03, 0.3], "n_seeds": 2}
        grid |= {"n_train": 500, "n_test": 20_000}
    output = Path(options.output)
    table = measured(output, **grid, **SEQUENCES, **TRAINING)
    print(summary(table))
    draw(table, output / "regularization.png")


if __name__ == "__main__":
    main()
