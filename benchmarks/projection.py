"""The projection of the weights on l1 balls: its share of a training step, and its time.

A step is one minibatch of the training loop without noise, clipping and constraints. The projection
of all three weight matrices when no row violates stands against it. When all rows violate, and for
wide rows, it stands against the projection by sorting that textbooks give; both copy the weights
first, so that there is something to project.
"""

from functools import partial

import torch
from measuring import (
    Claim,
    Tables,
    classifier,
    interleaved,
    main,
    project_by_sort_,
    sequences,
    worst,
)

from sklearn_rnnbound.cells import CELLS
from sklearn_rnnbound.training.constraints import WeightConstraints
from sklearn_rnnbound.training.data import Sequences
from sklearn_rnnbound.training.loop import Training


def share_of_step(
    m: int, n_steps: int, d: int, batch_size: int, *, n_batches: int, repetitions: int
) -> dict:
    """Microseconds of process time of a step, and of a projection that has nothing to do."""
    X, y = sequences(n_batches * batch_size, n_steps, d)
    net = classifier(hidden_size=m, batch_size=batch_size, max_iter=1).fit(X, y).net_
    module = net.module_
    module.theta.grad = torch.zeros_like(module.theta)
    training = Training(
        net=net,
        data=Sequences(torch.from_numpy(X), torch.from_numpy(y)),
        validation=None,
        max_iter=1,
        tol=0.0,
        n_iter_no_change=1,
        constraints=WeightConstraints(module.cell),
        fisher_rao_max=None,
        noise=None,
        evaluation_seed=0,
        generators={"shuffle": torch.Generator().manual_seed(0)},
    )
    weights = {name: weight.clone() for name, weight in module.weights.items()}
    constraints = WeightConstraints(module.cell, 1e6, 1e6, 1e6)
    seconds = interleaved(
        {"epoch": training._run_epoch, "projection": partial(constraints.project_, weights)},
        repetitions,
    )
    step = seconds["epoch"] / n_batches
    return {
        "m": m,
        "L": n_steps,
        "d": d,
        "batch": batch_size,
        "step (us)": 1e6 * step,
        "projection (us)": 1e6 * seconds["projection"],
        "share (%)": 100 * seconds["projection"] / step,
    }


def compare_violating(m: int, d: int, *, repetitions: int) -> dict:
    """Microseconds of process time when every row of U, W and V is at ten times the radius."""
    generator = torch.Generator().manual_seed(0)
    cell = CELLS["elman"](d, m, 10)
    weights = {}
    for name, form in cell.weights.items():
        A = torch.randn(form.rows, form.columns, generator=generator)
        weights[name] = A * (10 / A.abs().sum(1, keepdim=True))
    copies = {name: torch.empty_like(A) for name, A in weights.items()}
    constraints = WeightConstraints(cell, 1.0, 1.0, 1.0)

    def ours() -> None:
        constraints.project_({name: copies[name].copy_(A) for name, A in weights.items()})

    def by_sort() -> None:
        for name, A in weights.items():
            project_by_sort_(copies[name].copy_(A), 1.0)

    seconds = interleaved({"ours": ours, "sort": by_sort}, repetitions)
    return (
        {"m": m, "d": d}
        | {f"{name} (us)": 1e6 * value for name, value in seconds.items()}
        | {"ratio": seconds["ours"] / seconds["sort"]}
    )


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    networks = [(32, 28, 1, 64), (32, 28, 28, 64), (32, 28, 28, 200), (128, 100, 8, 64)]
    rows = [
        share_of_step(*shape, n_batches=2 if quick else 10, repetitions=2 if quick else 7)
        for shape in (networks[:1] if quick else networks)
    ]
    sizes = [(32, 28), (128, 8), (64, 5000), (16, 100_000)]
    violating = [
        compare_violating(*size, repetitions=2 if quick else 7)
        for size in (sizes[:1] if quick else sizes)
    ]
    shares = {
        f"m {row['m']}, L {row['L']}, d {row['d']}, batch {row['batch']}": row["share (%)"] / 100
        for row in rows
    }
    claims = [worst("projection without violation ÷ a training step", shares, 0.04)]
    return {"no row violates": rows, "all rows violate": violating}, claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
