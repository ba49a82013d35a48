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

from sklearn_rnnbound.constraints import WeightConstraints
from sklearn_rnnbound.training import Stack


def share_of_step(
    m: int, n_steps: int, d: int, batch_size: int, *, n_batches: int, repetitions: int
) -> dict:
    """Microseconds of process time of a step, and of a projection that has nothing to do."""
    X, y = sequences(n_batches * batch_size, n_steps, d)
    clf = classifier(hidden_size=m, batch_size=batch_size)
    stack = Stack([clf._prepare(X, y, None).training])
    weights = tuple(weight.clone() for weight in stack.trainings[0].net.module_.weights)
    constraints = WeightConstraints(1e6, 1e6, 1e6)
    seconds = interleaved(
        {"epoch": stack.run_epoch, "projection": partial(constraints.project_, *weights)},
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


def compare_violating(m: int, d: int, n_networks: int, *, repetitions: int) -> dict:
    """Microseconds of process time when every row of U, W and V is at ten times the radius."""
    generator = torch.Generator().manual_seed(0)
    weights = []
    for shape in ((m, d), (m, m), (10, m)):
        A = torch.randn(n_networks, *shape, generator=generator)
        weights.append(A * (10 / A.abs().sum(-1, keepdim=True)))
    copies = [torch.empty_like(A) for A in weights]
    constraints = WeightConstraints(1.0, 1.0, 1.0)

    def ours() -> None:
        constraints.project_(*(c.copy_(A) for c, A in zip(copies, weights, strict=True)))

    def by_sort() -> None:
        for copied, A in zip(copies, weights, strict=True):
            project_by_sort_(copied.copy_(A), 1.0)

    seconds = interleaved({"ours": ours, "sort": by_sort}, repetitions)
    return (
        {"networks": n_networks, "m": m, "d": d}
        | {f"{name} (us)": 1e6 * value for name, value in seconds.items()}
        | {"ratio": seconds["ours"] / seconds["sort"]}
    )


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    networks = [(32, 28, 1, 64), (32, 28, 28, 64), (32, 28, 28, 200), (128, 100, 8, 64)]
    rows = [
        share_of_step(*shape, n_batches=2 if quick else 10, repetitions=2 if quick else 7)
        for shape in (networks[:1] if quick else networks)
    ]
    sizes = [(32, 28, 1), (128, 8, 1), (32, 28, 20), (64, 5000, 1), (16, 100_000, 1)]
    violating = [
        compare_violating(*size, repetitions=2 if quick else 7)
        for size in (sizes[:1] if quick else sizes)
    ]
    shares = {
        f"m {row['m']}, L {row['L']}, d {row['d']}, batch {row['batch']}": row["share (%)"] / 100
        for row in rows
    }
    claims = [worst("projection without violation ÷ a training step", shares, 0.04, 0.02)]
    return {"no row violates": rows, "all rows violate": violating}, claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
