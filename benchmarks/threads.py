"""What more torch threads bring to `fit` and `predict`, by wall time.

One thread, two, four, and so on up to the number of cores, and `n_threads=None`, by which the
classifier chooses from the shapes; for a small network and a large one.
"""

import time
from functools import partial

import joblib
from measuring import Claim, Tables, classifier, interleaved, main, sequences

from sklearn_rnnbound.network import torch_threads


def compare(
    m: int, n_steps: int, d: int, batch_size: int, *, n: int, epochs: int, repetitions: int
) -> list[dict]:
    """Wall seconds, and speed relative to one thread."""
    X, y = sequences(n, n_steps, d)
    cores = joblib.cpu_count()
    counts: list[int | None] = [2**power for power in range(cores.bit_length())]
    functions = {}
    for count in [*counts, None]:
        clf = classifier(
            hidden_size=m, batch_size=batch_size, max_iter=epochs, noise_std=0.1, n_threads=count
        ).fit(X, y)
        functions["fit", count] = partial(clf.fit, X, y)
        functions["predict", count] = partial(clf.predict, X)
    with torch_threads(cores):
        seconds = interleaved(functions, repetitions, time.perf_counter)
    return [
        {"m": m, "L": n_steps, "d": d, "batch": batch_size, "n_threads": str(count)}
        | {f"{what} (s)": seconds[what, count] for what in ("fit", "predict")}
        | {
            f"{what}, speed-up": seconds[what, 1] / seconds[what, count]
            for what in ("fit", "predict")
        }
        for count in [*counts, None]
    ]


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    networks = [(32, 28, 8, 64, 256), (512, 28, 64, 512, 1024)]
    rows = [
        row
        for *shape, n in ([(8, 2, 2, 32, 32)] if quick else networks)
        for row in compare(*shape, n=n, epochs=1, repetitions=2 if quick else 7)
    ]
    return {f"{joblib.cpu_count()} cores": rows}, []


if __name__ == "__main__":
    main(__file__, __doc__, measure)
