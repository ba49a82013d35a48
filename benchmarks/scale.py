"""Peak memory where data are large: a million sequences in a file, and 15,000 columns.

The data are float32 memory maps, written in blocks to a temporary folder (TMPDIR chooses where) and
removed afterwards; each is worked on in a fresh process on one thread. First 1,000,000 sequences of
100 steps with 8 features: one epoch of `fit`, `predict`, the bounds, in 4 GB. Then the smallest
eigenvalue of the second moment of 25,000 sequences with L d = 15,000, in 6 GB. The peak counts all
that the process has in memory, its libraries and those pages of the file that are there; what the
system could not take back without swapping is told with it.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fresh_process import from_file, measured, smallest_eigenvalue
from measuring import Claim, Tables, main

BLOCK = 2**24
GB = 1e9


def write(path: Path, shape: tuple[int, ...]) -> None:
    """Gaussian sequences, in blocks of rows."""
    rng = np.random.default_rng(0)
    rows = max(1, BLOCK // (shape[1] * shape[2]))
    with path.open("wb") as file:
        for start in range(0, shape[0], rows):
            n = min(rows, shape[0] - start)
            file.write(rng.standard_normal((n, *shape[1:]), dtype=np.float32))


def measure_file(
    task: Callable[..., dict], shape: tuple[int, ...], limit: float, what: str
) -> tuple[dict, Claim]:
    """Times and peaks, and the claim on the peak."""
    size = 4 * float(np.prod(shape))
    row = {"task": what, "shape": " x ".join(map(str, shape)), "file (MB)": size / 1e6}
    what = f"peak memory ÷ {limit / GB:g} GB, {what}, n = {shape[0]:,}"
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < 1.1 * size:
            return row, Claim(what, None, 1.0, f"{folder} has no {size / GB:.1f} GB left")
        path = Path(folder) / "sequences"
        write(path, shape)
        row |= measured(task, path=str(path), shape=shape)
    return row, Claim(what, row["peak (MB)"] * 1e6 / limit, 1.0)


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    long, wide = (1_000_000, 100, 8), (25_000, 100, 150)
    if quick:
        long, wide = (1000, 10, 8), (400, 30, 10)
    results = [
        measure_file(from_file, long, 4 * GB, "fit, predict, report"),
        measure_file(smallest_eigenvalue, wide, 6 * GB, "smallest eigenvalue"),
    ]
    rows, claims = zip(*results, strict=True)
    return {row["task"]: [row] for row in rows}, list(claims)


if __name__ == "__main__":
    main(__file__, __doc__, measure)
