"""What a bound costs, in forward passes.

One forward pass gives the scores of all sequences. Against it stand the scores together with
eta(theta)c, and everything of a full report that depends on the weights: all sums over the sample,
and every bound that needs no further data. The smallest eigenvalue of the second moment depends on
the data alone; here it is known. After training with noise a report speaks of two samples, the
clean one and one under a fresh draw: its ratio is told without a claim. The claims are against the
forward pass of this package; that of nn.RNN, in blocks of 1,024 rows, stands beside it.
"""

from dataclasses import replace
from functools import partial

import torch
from measuring import Claim, PlainNetwork, Tables, classifier, interleaved, main, sequences, worst

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.evidence.sample import sample_statistics
from sklearn_rnnbound.training.net import network_scores
from sklearn_rnnbound.training.noise import input_chunks

EIGENVALUE = 0.5


def forward_plainly(network: PlainNetwork, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([network(x) for x in inputs.split(1024)])


def scores_and_eta(clf: RNNBoundClassifier, inputs: torch.Tensor) -> None:
    network = clf.net_.module_
    for chunk in input_chunks(inputs):
        network.cell.theta_derivative(network.weights, chunk)


def report(clf: RNNBoundClassifier, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    """What follows from the weights, once again."""
    fitted, network = clf._certifier, clf.net_.module_
    statistics = sample_statistics(
        network.cell,
        network.weights,
        inputs,
        targets,
        fitted.setting,
        seed=fitted.evaluation_seed,
        min_eigenvalue=EIGENVALUE,
    )
    replace(fitted, statistics=statistics).report(None, None, "all", fitted.setting)


def compare(m: int, n_steps: int, d: int, *, n: int, repetitions: int) -> dict:
    """Milliseconds of process time for n sequences."""
    X, y = sequences(n, n_steps, d)
    parameters = {"hidden_size": m, "max_iter": 1, "beta_w": 1.0, "min_eigenvalue": EIGENVALUE}
    clf = classifier(**parameters).fit(X, y)
    noisy = classifier(**parameters, noise_std=0.1).fit(X, y)
    inputs = torch.from_numpy(X)
    targets = torch.from_numpy(clf.classes_.searchsorted(y))
    network = clf.net_.module_
    plain = PlainNetwork(network.weights)
    seconds = interleaved(
        {
            "forward": partial(network_scores, network.cell, network.weights, inputs),
            "nn.RNN": partial(forward_plainly, plain, inputs),
            "scores and eta": partial(scores_and_eta, clf, inputs),
            "report": partial(report, clf, inputs, targets),
            "noisy report": partial(report, noisy, inputs, targets),
            "of it bounds": noisy.bound_report_,
        },
        repetitions,
    )
    row = {"m": m, "L": n_steps, "d": d}
    row |= {f"{name} (ms)": 1e3 * value for name, value in seconds.items()}
    for name in ("scores and eta", "report", "noisy report"):
        row[f"{name} ÷ forward"] = seconds[name] / seconds["forward"]
    return row


def measure(quick: bool) -> tuple[Tables, list[Claim]]:
    shapes = [(32, 28, 1), (32, 28, 28), (64, 8, 50), (128, 100, 8)]
    n, repetitions = (300, 2) if quick else (10_000, 7)
    rows = [
        compare(*shape, n=n, repetitions=repetitions) for shape in (shapes[:1] if quick else shapes)
    ]

    def claim(what: str, column: str, at_most: float) -> Claim:
        ratios = {f"m {row['m']}, L {row['L']}, d {row['d']}": row[column] for row in rows}
        return worst(f"{what} ÷ one forward pass", ratios, at_most)

    claims = [
        claim("scores and eta(theta)c", "scores and eta ÷ forward", 2.6),
        claim("report but for the second moment", "report ÷ forward", 4),
    ]
    return {f"{n} sequences": rows}, claims


if __name__ == "__main__":
    main(__file__, __doc__, measure)
