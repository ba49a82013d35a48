"""Time of `fit` against loops that train the same network without this package.

First against a loop written by hand around nn.RNN that takes the same steps from the same initial
weights: noise, clipping of the gradient, Adam, projection of the rows that violate. The constraints
are active (radius 1) or never violated (radius 1e6); the claims are on the worse of the two. Then
against skorch with its DataLoader, both without noise, clipping and constraints.

What `fit` does once, at its end and beyond what the loops do (the sums for the bounds), is inside
its time; the number of epochs keeps it a small part (`breakdown.py` says how small), as it is in
practice, where 200 epochs are the default.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from measuring import (
    Claim,
    PlainNetwork,
    Tables,
    Weights,
    classifier,
    first_weights,
    interleaved,
    main,
    project_by_sort_,
    sequences,
    worst,
)
from skorch import NeuralNetClassifier

from sklearn_rnnbound import RNNBoundClassifier

RADII = {"active": 1.0, "never violated": 1e6}


def with_everything(
    m: int, batch_size: int, epochs: int, radius: float, device: str = "cpu"
) -> RNNBoundClassifier:
    """A classifier with noise, clipping and constraints."""
    return classifier(
        hidden_size=m,
        noise_std=0.1,
        gradient_clip_norm=1.0,
        beta_u=radius,
        beta_w=radius,
        beta_v=radius,
        batch_size=batch_size,
        max_iter=epochs,
        device=device,
    )


def train_by_hand(
    clf: RNNBoundClassifier, weights: Weights, X: np.ndarray, y: np.ndarray
) -> list[float]:
    """Take the steps of `fit`; the mean loss of every epoch."""
    network = PlainNetwork(weights).to(clf.device)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=clf.learning_rate)
    inputs, targets = torch.from_numpy(X).to(clf.device), torch.from_numpy(y).to(clf.device)
    curve = []
    for _ in range(clf.max_iter):
        total = 0.0
        order = torch.randperm(len(X), device=clf.device)
        for rows in order.split(clf.batch_size):
            x = inputs[rows]
            scores = network(x + clf.noise_std * torch.randn_like(x))
            loss = torch.nn.functional.cross_entropy(scores, targets[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, clf.gradient_clip_norm)
            optimizer.step()
            radii = clf.beta_u, clf.beta_w, clf.beta_v
            for parameter, radius in zip(parameters, radii, strict=True):
                project_by_sort_(parameter.data, radius)
            total += loss.detach() * len(rows)
        curve.append(float(total) / len(X))
    return curve


def compare(
    m: int, n_steps: int, d: int, batch_size: int, *, n: int, epochs: int, repetitions: int
) -> list[dict]:
    """`fit` and the loop by hand, in milliseconds of process time per minibatch."""
    X, y = sequences(n, n_steps, d)
    n_batches = epochs * -(-n // batch_size)
    rows = []
    for constraints, radius in RADII.items():
        clf = with_everything(m, batch_size, epochs, radius)
        weights = first_weights(clf, X, y)
        seconds = interleaved(
            {
                "fit": partial(clf.fit, X, y),
                "by hand": partial(train_by_hand, clf, weights, X, y),
            },
            repetitions,
        )
        rows.append(
            {"m": m, "L": n_steps, "d": d, "batch": batch_size, "constraints": constraints}
            | {f"{name} (ms)": 1e3 * value / n_batches for name, value in seconds.items()}
            | {"ratio": seconds["fit"] / seconds["by hand"]}
        )
    return rows


def compare_with_skorch(
    m: int, n_steps: int, d: int, batch_size: int, *, n: int, epochs: int, repetitions: int
) -> dict:
    """`fit` and skorch's, in seconds of process time per epoch."""
    X, y = sequences(n, n_steps, d)
    clf = classifier(hidden_size=m, batch_size=batch_size, max_iter=epochs)
    net = NeuralNetClassifier(
        PlainNetwork,
        module__weights=first_weights(clf, X, y),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=clf.learning_rate,
        max_epochs=epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    seconds = interleaved(
        {"fit": partial(clf.fit, X, y), "skorch": partial(net.fit, X, y)}, repetitions
    )
    return (
        {"m": m, "L": n_steps, "d": d, "batch": batch_size}
        | {f"{name} (s)": value / epochs for name, value in seconds.items()}
        | {"ratio": seconds["fit"] / seconds["skorch"]}
    )


def compare_on_gpu(what: str, *, n: int, epochs: int, repetitions: int) -> Claim:
    """`fit` and the loop by hand on a GPU, by wall time."""
    if not torch.cuda.is_available():
        return Claim(what, None, 1.0, "no CUDA device")
    X, y = sequences(n, 100, 8)

    def synchronised(function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)
        torch.cuda.synchronize()

    ratios = {}
    for constraints, radius in RADII.items():
        clf = with_everything(128, 256, epochs, radius, device="cuda")
        weights = first_weights(clf, X, y)
        seconds = interleaved(
            {
                "fit": partial(synchronised, clf.fit, X, y),
                "by hand": partial(synchronised, train_by_hand, clf, weights, X, y),
            },
            repetitions,
            clock=time.perf_counter,
        )
        ratios[f"constraints {constraints}"] = seconds["fit"] / seconds["by hand"]
    return worst(what, ratios, 1.0)


def claim(what: str, rows: list[dict], at_most: float) -> Claim:
    """The claim on the largest ratio of some rows."""
    names = ("m", "L", "d", "batch", "constraints")
    ratios = {
        ", ".join(f"{name} {row[name]}" for name in names if name in row): row["ratio"]
        for row in rows
    }
    return worst(what, ratios, at_most)


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    few: dict[str, int] = {"epochs": 2 if quick else 20, "repetitions": 2 if quick else 7}
    small = [
        row
        for d in ((1,) if quick else (1, 28))
        for batch_size in ((64,) if quick else (64, 200))
        for row in compare(32, 28, d, batch_size, n=128 if quick else 1000, **few)
    ]
    large = compare(*((16, 30, 8, 64) if quick else (128, 100, 8, 64)), n=256, **few)
    fewer = few | {"epochs": 2 if quick else 10}
    plain = [
        compare_with_skorch(m, 8, 50, 256, n=512 if quick else 10_000, **fewer)
        for m in ((8,) if quick else (32, 64))
    ]
    by_hand = "fit ÷ hand-written nn.RNN loop"
    claims = [
        claim(f"{by_hand}, m = 32, L = 28", small, 0.85),
        claim(f"{by_hand}, m = 128, L = 100", large, 0.85),
        claim("fit ÷ plain skorch, L = 8, d = 50", plain, 0.70),
        compare_on_gpu(f"GPU: {by_hand} by cuDNN, m = 128, L = 100", n=10_000, **few),
    ]
    titles = ("a minibatch against a loop by hand", "an epoch against plain skorch")
    return dict(zip(titles, (small + large, plain), strict=True)), claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
