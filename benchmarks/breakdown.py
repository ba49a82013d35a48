"""Where the time of a fit goes, in percent of its process time.

Functions of the package are timed during a fit, each without those inside it that are timed as
well; clipping has no function of its own and is the main part of the rest of a step. The statistics
at the end count whole. How much the timing itself slows the fit down is told with it.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from unittest import mock

import torch
from measuring import Claim, Tables, classifier, interleaved, main, sequences

from sklearn_rnnbound import _base
from sklearn_rnnbound.cells.elman import _ElmanUnrolled
from sklearn_rnnbound.training.constraints import WeightConstraints
from sklearn_rnnbound.training.data import Sequences
from sklearn_rnnbound.training.loop import Training
from sklearn_rnnbound.training.noise import InputNoise

STATISTICS = "statistics at the end"
PARTS = {
    "rows of the minibatch": (Sequences, "__getitem__"),
    "noise": (InputNoise, "sample_"),
    "layout of the minibatch": (Training, "_forward"),
    "pass forward": (_ElmanUnrolled, "forward"),
    "loss": (torch.nn.CrossEntropyLoss, "forward"),
    "gradient of the loss": (torch.autograd, "grad"),
    "pass back": (_ElmanUnrolled, "backward"),
    "optimizer": (torch.optim.Adam, "step"),
    "projection": (WeightConstraints, "project_"),
    "clipping, rest of a step": (Training, "_step"),
    STATISTICS: (_base, "sample_statistics"),
}


class Stopwatch:
    """Process time of functions, each without the timed functions that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._last = 0.0

    def _lap(self) -> None:
        now = time.process_time()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._last
        self._last = now

    def timed(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        """The function, with its time taken."""

        def wrapper(*arguments: object, **options: object) -> object:
            if STATISTICS in self._inside:
                return function(*arguments, **options)
            self._lap()
            self._inside.append(name)
            try:
                return function(*arguments, **options)
            finally:
                self._lap()
                self._inside.pop()

        return wrapper

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time every part."""
        with ExitStack() as patches:
            for name, (owner, attribute) in PARTS.items():
                function = self.timed(name, getattr(owner, attribute))
                # The optimizer would wrap its step once more.
                function.hooked = True
                patches.enter_context(mock.patch.object(owner, attribute, function))
            yield


def break_down(
    m: int, n_steps: int, d: int, batch_size: int, *, n: int, epochs: int, repetitions: int
) -> dict:
    """Medians of the shares."""
    X, y = sequences(n, n_steps, d)
    clf = classifier(
        hidden_size=m,
        batch_size=batch_size,
        max_iter=epochs,
        noise_std=0.1,
        gradient_clip_norm=1.0,
        beta_u=1.0,
        beta_w=1.0,
        beta_v=1.0,
    )
    stopwatches: list[Stopwatch] = []

    def fit() -> None:
        clf.fit(X, y)

    def timed_fit() -> None:
        stopwatches.append(Stopwatch())
        with stopwatches[-1].running():
            start = time.process_time()
            fit()
            stopwatches[-1].seconds["fit"] = time.process_time() - start

    seconds = interleaved({"fit": fit, "timed fit": timed_fit}, repetitions)
    shares = {
        name: median(100 * watch.seconds[name] / watch.seconds["fit"] for watch in stopwatches[1:])
        for name in PARTS
    }
    return (
        {"m": m, "L": n_steps, "d": d, "batch": batch_size}
        | shares
        | {"outside of all": 100 - sum(shares.values())}
        | {"fit (s)": seconds["fit"]}
        | {"timed ÷ untimed": seconds["timed fit"] / seconds["fit"]}
    )


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    networks = [(32, 28, 1, 64), (32, 28, 28, 64), (32, 28, 28, 200), (128, 100, 8, 64)]
    epochs, repetitions = (2, 2) if quick else (20, 7)
    columns = [
        break_down(*shape, n=n, epochs=epochs, repetitions=repetitions)
        for shape, n in zip(
            networks[:1] if quick else networks,
            (128,) if quick else (1000, 1000, 1000, 256),
            strict=True,
        )
    ]
    return {f"percent of a fit of {epochs} epochs": transposed(columns)}, []


def transposed(columns: list[dict]) -> list[dict]:
    """One row per part, one column per network."""
    shape = ("m", "L", "d", "batch")
    names = [", ".join(f"{name} {column[name]}" for name in shape) for column in columns]
    return [
        {"part": part} | {name: column[part] for name, column in zip(names, columns, strict=True)}
        for part in columns[0]
        if part not in shape
    ]


if __name__ == "__main__":
    main(__file__, __doc__, measure)
