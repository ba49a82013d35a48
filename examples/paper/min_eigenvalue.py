"""Smallest eigenvalue of the second moment of the IMDB sequences, beside what the paper prints.

At L = 300 steps of 50 features the Gram matrix has 15,000 rows: 1.8 GB in float64, beside 1.5 GB
of sequences.

Run it as ``python examples/paper/min_eigenvalue.py --data aclImdb --vectors glove.6B.50d.txt
--output results``.
"""

import time
from pathlib import Path

import numpy as np
from common import Reviews, Table, arguments, load_reviews
from matplotlib.figure import Figure

from sklearn_rnnbound.evidence.spectrum import min_eigenvalue

PAPER = {100: 4e-4, 200: 1e-4, 300: 2.5e-5}


def eigenvalues(output: Path, reviews: Reviews) -> Table:
    """Table of what is known so far, a row per number of steps."""
    return Table(output / "min_eigenvalue.csv", reviews.settings, key=("length",))


def known_eigenvalue(output: Path, reviews: Reviews, X: np.ndarray) -> float:
    """Smallest eigenvalue for the encoded reviews X, from the table or computed into it."""
    table = eigenvalues(output, reviews)

    def measure(length: int) -> dict:
        begin = time.perf_counter()
        value = min_eigenvalue(X)
        return {
            "min_eigenvalue": value,
            "paper": PAPER.get(length, ""),
            "seconds": round(time.perf_counter() - begin, 1),
        }

    table.fill([{"length": X.shape[1]}], measure)
    return float(table.values("min_eigenvalue", length=X.shape[1])[0])


def draw(table: Table, path: Path) -> None:
    """Eigenvalues against the number of steps."""
    rows = sorted(table.rows, key=lambda row: int(row["length"]))
    lengths = [int(row["length"]) for row in rows]
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    ax = figure.subplots()
    ax.semilogy(lengths, [float(row["min_eigenvalue"]) for row in rows], "ko-", label="measured")
    printed = [(int(row["length"]), float(row["paper"])) for row in rows if row["paper"]]
    if printed:
        ax.semilogy(*zip(*printed, strict=True), "k^--", mfc="white", label="printed in the paper")
    ax.set_xlabel("number of steps L")
    ax.set_ylabel("smallest eigenvalue of E[x x^T]")
    ax.set_xticks(lengths)
    ax.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = arguments(__doc__, reviews=True)
    parser.add_argument("--lengths", type=int, nargs="+", help="default: 100 200 300")
    options = parser.parse_args()
    output = Path(options.output)
    lengths = options.lengths or ([10, 20, 40] if options.quick else [100, 200, 300])
    n_samples = 2500 if options.quick else None
    reviews = load_reviews(options.data, options.vectors, n_samples=n_samples)
    for length in lengths:
        X = reviews.encoded(reviews.train, length)
        value = known_eigenvalue(output, reviews, X)
        printed = PAPER.get(length)
        print(
            f"L = {length}: lambda_min = {value:.4g}"
            + (f", in the paper {printed:g}" if printed else "")
        )
        draw(eigenvalues(output, reviews), output / "min_eigenvalue.png")


if __name__ == "__main__":
    main()
