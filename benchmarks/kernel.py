"""Arithmetic per second of the passes through the network, as a share of that of a matrix product.

The peak is the faster of float32 products of square matrices of 1,024 and of 2,048 rows, in the
same run. Counted are the matrix products alone: a pass back takes two more of each product with W
(errors, gradient) and one with U (gradient; nothing asks for that of the input).
"""

from functools import partial

import torch
from measuring import Claim, Tables, interleaved, main

from sklearn_rnnbound.cells import CELLS, Cell, Unrolled, Weights
from sklearn_rnnbound.training.net import network_scores

N_STEPS, D, K = 28, 28, 10


def network_of(m: int) -> tuple[Cell, Weights]:
    cell = CELLS["elman"](D, m, K)
    weights = cell.initial_weights(torch.Generator().manual_seed(0))
    return cell, {name: weight.float() for name, weight in weights.items()}


def training_pass(
    run: Unrolled, theta: torch.Tensor, score_gradient: torch.Tensor, gradient: torch.Tensor
) -> None:
    run.forward(theta)
    run.backward(theta, score_gradient, gradient)


def passes(m: int, batch_size: int, n_inference: int) -> dict:
    """Functions, each with the number of its floating-point operations."""
    cell, weights = network_of(m)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n_inference, N_STEPS, D, generator=generator)
    forward = 2 * m * (N_STEPS * (D + m) + K)
    back = 2 * m * (N_STEPS * (D + 2 * m) + 2 * K)
    theta = torch.cat([weight.flatten() for weight in weights.values()])
    run = cell.unrolled(theta)
    run.resize(N_STEPS, batch_size)
    run.inputs.normal_(generator=generator)
    score_gradient = torch.randn(batch_size, K, generator=generator) / batch_size
    training = partial(training_pass, run, theta, score_gradient, torch.empty_like(theta))
    return {
        "inference": (partial(network_scores, cell, weights, X), n_inference * forward),
        "training": (training, batch_size * (forward + back)),
    }


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    sizes = (64, 128) if quick else (1024, 2048)
    squares = {size: torch.randn(size, size) for size in sizes}
    rows = []
    for m in (8, 16) if quick else (32, 64, 128):
        for batch_size in (32,) if quick else (64, 200):
            counted = passes(m, batch_size, 300 if quick else 8192)
            for size, square in squares.items():
                counted[f"product {size}"] = partial(torch.mm, square, square), 2 * size**3
            seconds = interleaved(
                {name: function for name, (function, _) in counted.items()}, 2 if quick else 7
            )
            speed = {name: n / seconds[name] / 1e9 for name, (_, n) in counted.items()}
            peak = max(speed.pop(f"product {size}") for size in sizes)
            row = {"m": m, "batch": batch_size, "peak (GFLOP/s)": peak}
            for name, value in speed.items():
                row |= {f"{name} (GFLOP/s)": value, f"{name} (% of peak)": 100 * value / peak}
            rows.append(row)
    return {f"L {N_STEPS}, d {D}": rows}, []


if __name__ == "__main__":
    main(__file__, __doc__, measure)
