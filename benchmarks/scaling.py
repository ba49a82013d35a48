"""How time and memory of a fit with its report grow with n, L, d and m.

Every point is a fresh process on one thread. Time is process time; memory is the peak of the
process above what it had before the data were made, so that it holds them. Slopes are fitted in
logarithms of both: 1 is linear. Below 1, a part does not grow with the size. Time may grow with the
square of m (the product with W) and nothing else by more than its size.
"""

import numpy as np
from fresh_process import fit_and_report, measured
from measuring import Claim, Tables, main

BASE = {"n": 4000, "n_steps": 28, "d": 8, "m": 32, "batch_size": 200, "epochs": 3}
SIZES = {
    "n": (8000, 16_000, 32_000, 64_000),
    "n_steps": (25, 50, 100, 200),
    "d": (16, 32, 64, 128),
    "m": (64, 128, 256, 512),
}
#: Above the slope that should be, for what varies from run to run.
TOLERANCE = 0.1


def grow(name: str, sizes: tuple[int, ...], base: dict[str, int]) -> list[dict]:
    """Time and memory for sizes of one kind."""
    return [
        {"grows": name} | (point := base | {name: size}) | measured(fit_and_report, **point)
        for size in sizes
    ]


def slope(name: str, quantity: str, rows: list[dict]) -> dict:
    """The slope in logarithms, and whether it is what it should be at most."""
    # Memory below that of a page is none.
    values = np.maximum([row[quantity] for row in rows], 4e-3)
    fitted = np.polyfit(np.log([row[name] for row in rows]), np.log(values), 1)[0]
    limit = 2 if (name, quantity) == ("m", "seconds") else 1
    holds = bool(fitted <= limit + TOLERANCE)
    return {"size": name, "quantity": quantity, "slope": fitted, "at most": limit, "holds": holds}


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    base = BASE | ({"n": 100, "n_steps": 5, "batch_size": 50, "epochs": 1} if quick else {})
    sizes = {"n": (100, 4000)} if quick else SIZES
    points = {name: grow(name, values, base) for name, values in sizes.items()}
    slopes = [
        slope(name, quantity, rows)
        for quantity in ("seconds", "memory (MB)")
        for name, rows in points.items()
    ]
    return {"points": [row for rows in points.values() for row in rows], "slopes": slopes}, []


if __name__ == "__main__":
    main(__file__, __doc__, measure)
