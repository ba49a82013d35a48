"""Time of `predict` against nn.RNN without gradients.

nn.RNN gets the whole data set in one call, as one would write it; this is what the claim is about.
Blocks of 1,024 rows, which stay in cache, make it faster: the ratio to that is told as well.
"""

from functools import partial

import numpy as np
import torch
from measuring import Claim, PlainNetwork, Tables, classifier, interleaved, main, sequences, worst


@torch.inference_mode()
def predict_plainly(network: PlainNetwork, X: np.ndarray, block: int) -> np.ndarray:
    """Class numbers by nn.RNN, in blocks of rows."""
    inputs = torch.from_numpy(X).split(block)
    return torch.cat([network(x).argmax(1) for x in inputs]).numpy()


def compare(m: int, n_steps: int, d: int, *, n: int, repetitions: int) -> dict:
    """Milliseconds of process time for n sequences."""
    X, y = sequences(n, n_steps, d)
    clf = classifier(hidden_size=m, max_iter=1).fit(X, y)
    network = PlainNetwork(clf.net_.module_.weights)
    seconds = interleaved(
        {
            "predict": partial(clf.predict, X),
            "nn.RNN": partial(predict_plainly, network, X, n),
            "nn.RNN in blocks": partial(predict_plainly, network, X, 1024),
        },
        repetitions,
    )
    whole, blocks = (seconds["predict"] / seconds[name] for name in list(seconds)[1:])
    return (
        {"m": m, "L": n_steps, "d": d}
        | {f"{name} (ms)": 1e3 * value for name, value in seconds.items()}
        | {"ratio": whole, "ratio, blocks": blocks}
    )


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    shapes = [(32, 28, 1), (32, 28, 28), (64, 8, 50), (128, 100, 8)]
    n, repetitions = (300, 2) if quick else (10_000, 7)
    rows = [
        compare(*shape, n=n, repetitions=repetitions) for shape in (shapes[:1] if quick else shapes)
    ]
    ratios = {f"m {row['m']}, L {row['L']}, d {row['d']}": row["ratio"] for row in rows}
    claims = [worst("predict ÷ nn.RNN without gradients", ratios, 0.80)]
    return {f"{n} sequences": rows}, claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
