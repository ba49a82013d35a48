"""What the benchmarks share: threads, clocks, claims, tables, files, and what to compare with."""

import argparse
import json
import math
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound._threads import torch_threads

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "skorch", "scikit-learn", "sklearn-rnnbound")
#: Seconds that a timing takes at least: shorter calls are repeated within it.
SHORTEST = 5e-3

Rows = list[dict[str, object]]
Tables = dict[str, Rows]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Claim:
    """The claim that a ratio is at most `at_most`; None: it was not measured.

    `case` says where a ratio was the largest, or why there is none.
    """

    what: str
    ratio: float | None
    at_most: float
    case: str = ""

    @property
    def holds(self) -> str:
        """Whether the claim holds, in words."""
        if self.ratio is None:
            return f"not measured: {self.case}"
        return "yes" if self.ratio <= self.at_most else "NO"


def worst(what: str, ratios: Mapping[str, float], at_most: float) -> Claim:
    """The claim on the largest of several ratios."""
    case = max(ratios, key=ratios.__getitem__)
    return Claim(what, ratios[case], at_most, case)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the linear algebra of NumPy and SciPy."""
    with threadpool_limits(1), torch_threads(1):
        yield


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    repetitions: int = 7,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median seconds of a call of every function, after a call to warm up.

    The functions take turns: what slows the machine down for a while slows all of them.
    """
    n_calls = {}
    for name, function in functions.items():
        seconds = _seconds(function, 1, clock)
        if seconds < 20 * SHORTEST:
            seconds = _seconds(function, 1, clock)
        n_calls[name] = math.ceil(SHORTEST / max(seconds, 1e-6))
    timings: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            timings[name].append(_seconds(function, n_calls[name], clock))
    return {name: median(seconds) for name, seconds in timings.items()}


def _seconds(function: Callable[[], object], n_calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(n_calls):
        function()
    return (clock() - start) / n_calls


def arguments(description: str) -> argparse.ArgumentParser:
    """Arguments that all scripts share."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON file")
    return parser


def main(
    script: str, description: str, measure: Callable[[bool], tuple[Tables, list[Claim]]]
) -> None:
    """Measure on one thread, print tables and claims, write ``<name of the script>.json``."""
    options = arguments(description).parse_args()
    with one_thread(), warnings.catch_warnings():
        # Every fit trains for a number of epochs that was chosen for its time.
        warnings.simplefilter("ignore", ConvergenceWarning)
        tables, claims = measure(options.quick)
        about = {
            "name": Path(script).stem,
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "quick": options.quick,
            "machine": machine(),
        }
    for title, rows in tables.items():
        print(f"\n{title}\n{table(rows)}")
    if claims:
        print(f"\nclaims\n{table(claim_rows(claims))}")
    contents = {**about, "claims": [asdict(claim) for claim in claims], "results": tables}
    write_json(options.output / f"{about['name']}.json", contents)


def machine() -> dict[str, object]:
    """What the numbers depend on besides the code."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{package: version(package) for package in PACKAGES},
        "cpu": _cpu_name(),
        "cores": joblib.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _cpu_name() -> str:
    """Model of the processor: Python knows it on few systems."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def claim_rows(claims: list[Claim]) -> Rows:
    """Claims as rows of a table."""
    return [{**asdict(claim), "holds": claim.holds} for claim in claims]


def table(rows: Rows) -> str:
    """Rows, aligned."""
    # Here, so that processes whose memory is measured do without.
    import pandas as pd

    return pd.DataFrame(rows).to_string(index=False, na_rep="-", float_format="{:.4g}".format)


def write_json(path: Path, contents: dict[str, object]) -> None:
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n")


# What is trained, and by what it would be done without this package


def sequences(n: int, n_steps: int, d: int, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian sequences in float32, with labels that a network can learn."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, n_steps, d), dtype=np.float32)
    readout = rng.standard_normal((n_steps * d, k), dtype=np.float32)
    return X, (X.reshape(n, -1) @ readout).argmax(1)


def classifier(**parameters: object) -> RNNBoundClassifier:
    """Classifier that trains for exactly `max_iter` epochs and leaves the second moment alone."""
    fixed = {"tol": 0.0, "n_iter_no_change": 10**6, "random_state": 0}
    return RNNBoundClassifier(**{"min_eigenvalue": 0.0, "device": "cpu", **fixed, **parameters})


class FirstWeights(Callback):
    """Keeps the weights that training starts from."""

    def on_train_begin(self, net: object, **kwargs: object) -> None:
        self.weights_ = {name: A.cpu().clone() for name, A in net.module_.weights.items()}


def first_weights(clf: RNNBoundClassifier, X: np.ndarray, y: np.ndarray) -> Weights:
    """The weights that `fit` starts from."""
    first = FirstWeights()
    clone(clf).set_params(max_iter=1, callbacks=[first]).fit(X, y)
    return first.weights_


class PlainNetwork(torch.nn.Module):
    """The network of this package from torch's own parts."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        (m, d), k = weights["U"].shape, len(weights["V"])
        self.rnn = torch.nn.RNN(d, m, nonlinearity="relu", bias=False, batch_first=True)
        self.readout = torch.nn.Linear(m, k, bias=False)
        with torch.no_grad():
            for parameter, name in zip(self.parameters(), "UWV", strict=True):
                parameter.copy_(weights[name])

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.readout(self.rnn(X)[1][0])


@torch.no_grad()
def project_by_sort_(A: torch.Tensor, radius: float) -> None:
    """Project the rows of A on l1 balls, in place, by the sort that textbooks give."""
    violators = A.abs().sum(1) > radius
    if violators.any():
        rows = A[violators]
        ordered = rows.abs().sort(1, descending=True).values
        counts = torch.arange(1, rows.shape[1] + 1, device=A.device)
        thresholds = (ordered.cumsum(1) - radius) / counts
        last = (ordered > thresholds).sum(1, keepdim=True) - 1
        sizes = (rows.abs() - thresholds.gather(1, last)).clamp(min=0)
        A[violators] = sizes.copysign(rows)
