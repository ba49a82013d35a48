"""Arithmetic per second of the passes through the network, as a share of that of a matrix product.

The peak is the faster of float32 products of square matrices of 1,024 and of 2,048 rows, in the
same run. Counted are the matrix products alone: a pass back takes two more of each product with W
(errors, gradient) and one with U (gradient; nothing asks for that of the input).
"""

from functools import partial

import torch
from measuring import Claim, Tables, interleaved, main

from sklearn_rnnbound.network import RecurrentNetwork, Unrolled, initial_weights, network_scores

N_STEPS, D, K = 28, 28, 10


def network_of(m: int) -> RecurrentNetwork:
    weights = initial_weights(D, m, K, torch.Generator().manual_seed(0))
    U, W, V = (weight.float() for weight in weights)
    return RecurrentNetwork(U, W, V)


def training_pass(run: Unrolled, weights: tuple, score_gradient: torch.Tensor, out: tuple) -> None:
    run.forward(weights)
    run.backward(weights, score_gradient, out)


def passes(m: int, batch_size: int, n_inference: int) -> dict:
    """Functions, each with the number of its floating-point operations."""
    network = network_of(m)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n_inference, N_STEPS, D, generator=generator)
    forward = 2 * m * (N_STEPS * (D + m) + K)
    back = 2 * m * (N_STEPS * (D + 2 * m) + 2 * K)
    functions = {"inference": (partial(network_scores, network, X), n_inference * forward)}
    for name, n_networks in (("training", 1), ("training, stack of 20", 20)):
        run = Unrolled(network.shape, network.activation, network.theta.data)
        run.resize(n_networks, N_STEPS, batch_size)
        run.inputs.normal_(generator=generator)
        weights = tuple(weight.repeat(n_networks, 1, 1) for weight in network.weights)
        gradients = tuple(torch.empty_like(weight) for weight in weights)
        score_gradient = torch.randn(n_networks, batch_size, K, generator=generator) / batch_size
        function = partial(training_pass, run, weights, score_gradient, gradients)
        functions[name] = function, n_networks * batch_size * (forward + back)
    return functions


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
