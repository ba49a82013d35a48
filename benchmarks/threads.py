"""What more torch threads bring to `fit` and `predict`, by wall time.

One thread, two, four, and so on up to the number of cores, and what the classifier chooses from the
shapes when it may have all; for a small network and a large one.
"""

import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import joblib
from measuring import Claim, Tables, classifier, interleaved, main, sequences

from sklearn_rnnbound import _threads

RULE = "chosen"


def with_threads(count: int | str, function: Callable[..., object], *data: object) -> None:
    """Call a function with so many threads, or by the rule of the package."""
    if count == RULE:
        with _threads.torch_threads(joblib.cpu_count()):
            function(*data)
    else:
        with mock.patch.object(_threads, "_WORK_FOR_THREADS", 0), _threads.torch_threads(count):
            function(*data)


def compare(
    m: int, n_steps: int, d: int, batch_size: int, *, n: int, epochs: int, repetitions: int
) -> list[dict]:
    """Wall seconds, and speed relative to one thread."""
    X, y = sequences(n, n_steps, d)
    powers = range(joblib.cpu_count().bit_length())
    counts: list[int | str] = [*(2**power for power in powers), RULE]
    clf = classifier(hidden_size=m, batch_size=batch_size, max_iter=epochs, noise_std=0.1)
    clf.fit(X, y)
    functions = {}
    for count in counts:
        functions["fit", count] = partial(with_threads, count, clf.fit, X, y)
        functions["predict", count] = partial(with_threads, count, clf.predict, X)
    seconds = interleaved(functions, repetitions, time.perf_counter)
    return [
        {"m": m, "L": n_steps, "d": d, "batch": batch_size, "threads": str(count)}
        | {f"{what} (s)": seconds[what, count] for what in ("fit", "predict")}
        | {
            f"{what}, speed-up": seconds[what, 1] / seconds[what, count]
            for what in ("fit", "predict")
        }
        for count in counts
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
