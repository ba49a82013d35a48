"""The second moment and its smallest eigenvalue: time against LAPACK and BLAS, and accuracy.

The Gram matrix stands against one float64 symmetric rank-k update of the same size, on data in
float64, so that the update has nothing to convert; ours also takes float32. The smallest eigenvalue
with its certificate, from the Gram matrix on, stands against `eigvalsh` of that matrix.

Accuracy is measured on data of known spectrum: singular values between reflections, from 1 down to
the root of the inverse condition. A constant or a dependent column must give 0.
"""

from functools import partial
from unittest import mock

import numpy as np
import scipy.linalg
from measuring import Claim, Tables, interleaved, main, worst

from sklearn_rnnbound.evidence import spectrum

D = 5
CONDITIONS = {"1e2": 1e2, "1e5": 1e5, "1e8": 1e8}


def reflected(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows of a matrix under two Householder reflections: an orthogonal map for O(n w)."""
    for _ in range(2):
        normal = rng.normal(size=len(matrix))
        normal /= np.linalg.norm(normal)
        matrix = matrix - np.outer(2 * normal, normal @ matrix)
    return matrix


def prescribed(n: int, width: int, condition: float) -> tuple[np.ndarray, float]:
    """Sequences (n, L, d) whose second moment has a known condition; its smallest eigenvalue."""
    rng = np.random.default_rng(0)
    values = np.geomspace(1.0, condition**-0.5, width)
    X = np.zeros((n, width))
    np.fill_diagonal(X, values)
    X = reflected(reflected(X, rng).T, rng).T
    return np.ascontiguousarray(X).reshape(n, -1, D), values[-1] ** 2 / n


def compare_gram(width: int, n: int, repetitions: int) -> dict:
    """Seconds of process time of the Gram matrix."""
    X = np.random.default_rng(0).normal(size=(n, width // D, D))
    flat = X.reshape(n, width)
    single = X.astype(np.float32)
    seconds = interleaved(
        {
            "rank-k update": partial(scipy.linalg.blas.dsyrk, 1.0, flat.T),
            "Gram": partial(spectrum._gram_matrix, X, 1.0),
            "Gram, float32": partial(spectrum._gram_matrix, single, 1.0),
        },
        repetitions,
    )
    update, *ours = seconds.values()
    return (
        {"L d": width, "n": n}
        | {f"{name} (s)": value for name, value in seconds.items()}
        | {"ratio": max(ours) / update}
    )


def compare_eigenvalue(width: int, n: int, repetitions: int) -> dict:
    """Seconds of process time from the Gram matrix to its smallest eigenvalue."""
    X, _ = prescribed(n, width, 1e2)
    gram = spectrum._gram_matrix(X, 1.0)
    full = np.triu(gram) + np.triu(gram, 1).T
    diagonal = np.diag(gram).copy()

    def same_gram(*_: object) -> np.ndarray:
        # All that was overwritten and is not written first.
        np.fill_diagonal(gram, diagonal)
        return gram

    with mock.patch.object(spectrum, "_gram_matrix", same_gram):
        seconds = interleaved(
            {
                "eigenvalue": partial(spectrum._gram_eigenvalue, X, 1.0),
                "eigvalsh": partial(scipy.linalg.eigvalsh, full, check_finite=False),
            },
            repetitions,
        )
    return (
        {"L d": width}
        | {f"{name} (s)": value for name, value in seconds.items()}
        | {"repetitions": repetitions, "ratio": seconds["eigenvalue"] / seconds["eigvalsh"]}
    )


def accuracy(width: int, condition: float) -> dict:
    """Relative error of the smallest eigenvalue, which must not exceed the truth."""
    X, truth = prescribed(width + width // 5, width, condition)
    found = spectrum.min_eigenvalue(X)
    error = 1 - found / truth
    # Above it by no more than what the rounding of the data moves it.
    assert -1e-9 < error < 1e-6, (width, condition, error)
    return {"L d": width, "condition": condition, "truth": truth, "relative error": abs(error)}


def degenerate(width: int) -> dict:
    """What singular second moments give."""
    X = np.random.default_rng(0).normal(size=(2 * width, width // D, D))
    zero, dependent = X.copy(), X.copy()
    zero[:, 1, 1] = 0.0
    dependent[:, -1, 0] = X[:, 0, 0] + X[:, 0, 1]
    found = {
        "zero column": spectrum.min_eigenvalue(zero),
        "dependent column": spectrum.min_eigenvalue(dependent),
        "n < L d": spectrum.min_eigenvalue(X[: width - 1]),
    }
    assert not any(found.values()), (width, found)
    return {"L d": width} | found


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    sizes = [(300, 2)] if quick else [(2000, 7), (5000, 7)]
    gram = [compare_gram(width, width + width // 5, repetitions) for width, repetitions in sizes]
    eigenvalue = [
        compare_eigenvalue(width, width + width // 5, repetitions) for width, repetitions in sizes
    ]
    errors = [
        accuracy(width, condition)
        for width in ((200, 300) if quick else (200, 500, 2000))
        for condition in CONDITIONS.values()
    ]
    if not quick:
        # At condition 1e8 the QR factorisation takes over, for a minute at this width.
        errors.append(accuracy(5000, CONDITIONS["1e2"]))
    singular = [degenerate(width) for width in (200, 300)]
    what = f"smallest eigenvalue, L d = {sizes[-1][0]}"
    claims = [
        Claim(f"{what}, from the Gram matrix ÷ eigvalsh", eigenvalue[-1]["ratio"], 0.5),
        *(
            worst(
                f"its relative error at condition {name}",
                {
                    f"L d {row['L d']}": row["relative error"]
                    for row in errors
                    if row["condition"] == condition
                },
                1e-6,
            )
            for name, condition in CONDITIONS.items()
        ),
        worst(
            "Gram matrix ÷ one symmetric rank-k update",
            {f"L d {row['L d']}": row["ratio"] for row in gram},
            1.3,
        ),
    ]
    titles = ("Gram matrix", "from the Gram matrix on", "accuracy", "singular second moments")
    return dict(zip(titles, (gram, eigenvalue, errors, singular), strict=True)), claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
