"""What the five scripts share: a table that survives interruptions, the reviews, the figures."""

import argparse
import csv
import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from matplotlib.axes import Axes
from scipy.stats import kendalltau
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from sklearn_rnnbound import RNNBoundClassifier
from sklearn_rnnbound.bounds.paper import theorem1
from sklearn_rnnbound.datasets import WordVectors, load_imdb, load_word_vectors
from sklearn_rnnbound.preprocessing import WordVectorEncoder


class Table:
    """Rows of a CSV file that is written as they come and read again after an interruption.

    Every row holds the settings, which all rows share, the point that was asked for, and what was
    measured there.
    """

    def __init__(self, path: Path, settings: dict, key: tuple[str, ...]) -> None:
        self.path, self.settings, self.key = Path(path), settings, key
        self.columns: list[str] = []
        self.rows: list[dict[str, str]] = []
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        lines = list(csv.reader(whole.decode(errors="replace").split("\n")[:-1]))
        start = [*self.key, *self.settings]
        known = ",".join(start).encode()
        if not lines and content[: len(known)] != known[: len(content)]:
            raise self._refusal(f"was not made by this script: it does not begin with {start}")
        if lines and lines[0][: len(start)] != start:
            raise self._refusal(f"was not made by this script: it does not begin with {start}")
        for number, row in enumerate(lines[1:], start=2):
            if len(row) != len(lines[0]):
                raise self._refusal(f"is damaged: line {number} has {len(row)} columns")
            self.rows.append(dict(zip(lines[0], row, strict=True)))
            for name, value in self.settings.items():
                found = self.rows[-1][name]
                if found != str(value):
                    raise self._refusal(f"was made with {name} = {found}; this run has {value}")
        self.columns = lines[0] if lines else []
        if whole != content:
            # The last line was being written when the run ended.
            self.path.write_bytes(whole)

    def _refusal(self, what: str) -> ValueError:
        return ValueError(f"{self.path} {what}. Choose another --output, or move the file away")

    def __contains__(self, point: dict) -> bool:
        wanted = [str(point[name]) for name in self.key]
        return any([row[name] for name in self.key] == wanted for row in self.rows)

    def append(self, point: dict, measured: dict) -> None:
        """Write one row, so that it is in the file when this returns."""
        row = {name: str(value) for name, value in {**point, **self.settings, **measured}.items()}
        if self.columns and list(row) != self.columns:
            raise self._refusal(f"has the columns {self.columns}, and a row has {list(row)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not self.columns:
                self.columns = list(row)
                writer.writerow(self.columns)
            writer.writerow(row.values())
        self.rows.append(row)

    def fill(self, points: Iterable[dict], measure: Callable[..., dict], *, jobs: int = 1) -> None:
        """Measure what is missing, in parallel processes, and write every row at once."""
        missing = [point for point in points if point not in self]
        results = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(_measured)(measure, point) for point in missing
        )
        for point, measured in tqdm(results, total=len(missing), desc=self.path.name):
            self.append(point, measured)

    def select(self, **where: object) -> list[dict[str, str]]:
        """Rows with these values."""
        wanted = {name: str(value) for name, value in where.items()}
        return [row for row in self.rows if all(row[n] == v for n, v in wanted.items())]

    def distinct(self, column: str, **where: object) -> list[float]:
        """Different numbers of a column, in their order."""
        return sorted(set(self.values(column, **where).tolist()))

    def values(self, column: str, **where: object) -> np.ndarray:
        """Numbers of a column, of the rows with these values."""
        return np.array([float(row[column]) for row in self.select(**where)])


def _measured(measure: Callable[..., dict], point: dict) -> tuple[dict, dict]:
    return point, measure(**point)


@dataclass(frozen=True)
class Reviews:
    """Texts and labels of the reviews, and the word vectors that encode them."""

    train: list[str]
    y_train: np.ndarray
    test: list[str]
    y_test: np.ndarray
    vectors: WordVectors

    def encoded(self, texts: list[str], length: int) -> np.ndarray:
        """First `length` words of every text; padded in front, unknown words are zero."""
        return WordVectorEncoder(self.vectors, max_words=length).fit([]).transform(texts)

    @property
    def settings(self) -> dict:
        """What a table must not mix: numbers of reviews, and a checksum of all data."""
        checksum = 0
        for part in ("\n".join([*self.train, *self.test, *self.vectors]), self.vectors.vectors):
            checksum = zlib.crc32(part.encode() if isinstance(part, str) else part, checksum)
        sizes = {"n_train": len(self.train), "n_test": len(self.test)}
        return sizes | {"data": f"crc32 {checksum:08x}"}


def load_reviews(data: str, vectors: str, *, n_samples: int | None = None) -> Reviews:
    """All reviews, or of each half the first `n_samples` of a fixed shuffle."""
    words = load_word_vectors(vectors)
    parts: list = []
    for subset in ("train", "test"):
        bunch = load_imdb(data, subset=subset, verbose=True)
        rows = np.arange(len(bunch.target))
        if n_samples is not None:
            rows = np.random.default_rng(0).permutation(rows)[:n_samples]
        parts += [[bunch.data[row] for row in rows], bunch.target[rows]]
    return Reviews(*parts, vectors=words)


def fit_and_measure(
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    *,
    bounds: tuple[str, ...],
    min_eigenvalue: float,
    seed: int,
    noise_std: float = 0.0,
    **parameters: object,
) -> dict:
    """Train one network on one core; errors, gap, norms reached and bounds.

    The gap is the error on the test data without noise minus that on the training data under a
    fresh draw of the noise of the training.
    """
    clf = RNNBoundClassifier(
        noise_std=noise_std,
        min_eigenvalue=min_eigenvalue,
        random_state=seed,
        device="cpu",
        **parameters,
    )
    # Every network trains for all its epochs, whatever its loss does.
    clf.set_params(tol=0.0, n_iter_no_change=clf.max_iter)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The eigenvalue of a law may well exceed the mean square of its sample.
        warnings.filterwarnings("ignore", "min_eigenvalue=", UserWarning)
        clf.fit(X, y)
    seconds = time.perf_counter() - begin
    test_error = float(np.mean(clf.predict(X_test) != y_test))
    noisy = under_noise(clf, X, y, noise_std=noise_std, seed=seed)
    return {
        "test_error": test_error,
        "noisy_train_error": noisy.error,
        "gap": test_error - noisy.error,
        "train_error": float(np.mean(clf.predict(X) != y)),
        "loss": clf.loss_curve_[-1],
        "epochs": clf.n_iter_,
        "seconds": round(seconds, 1),
        "beta_u_": clf.beta_u_,
        "beta_w_": clf.beta_w_,
        "beta_v_": clf.beta_v_,
        "r": clf.fisher_rao_norm_(),
        **_bound_columns(clf, bounds),
        **_theorem1_columns(clf, noisy, X.shape[:2], min_eigenvalue + noise_std**2),
    }


@dataclass(frozen=True)
class UnderNoise:
    """Error on noisy sequences, and their ||X||_F and ||X^T||_1."""

    error: float
    frobenius: float
    abs_sum: float


def under_noise(
    clf: RNNBoundClassifier, X: np.ndarray, y: np.ndarray, *, noise_std: float, seed: int
) -> UnderNoise:
    """Judge a network under one fresh draw of Gaussian noise."""
    rng = np.random.default_rng([seed, 1])
    predicted, squares, sums = [], 0.0, np.zeros(X.shape[1:])
    # In blocks of rows: noise for all would be another copy of X.
    for chunk in np.array_split(X, X.size // 2**22 + 1):
        noisy = chunk + noise_std * rng.standard_normal(chunk.shape, dtype=chunk.dtype)
        predicted.append(clf.predict(noisy))
        squares += float(np.sum(noisy**2, dtype=np.float64))
        sums += np.abs(noisy).sum(0, dtype=np.float64)
    error = float(np.mean(np.concatenate(predicted) != y))
    return UnderNoise(error, squares**0.5, float(sums.max()))


def _bound_columns(clf: RNNBoundClassifier, bounds: tuple[str, ...]) -> dict:
    """The paper's theorem term by term, and the values and kinds of other bounds."""
    theorem = "theorem3" if clf.noise_std else "theorem2"
    report = clf.bound_report_(methods=[theorem, *bounds])
    terms = {term.name: term.value for term in report[theorem].terms}
    columns = {"paper": report[theorem].value, "paper_kind": report[theorem].kind}
    for name in ("empirical_risk", "linear", "difference", "noise", "confidence"):
        columns[f"paper_{name}"] = terms.get(name, 0.0)
    for name in bounds:
        columns |= {name: report[name].value, f"{name}_kind": report[name].kind}
    return columns


def _theorem1_columns(
    clf: RNNBoundClassifier, noisy: UnderNoise, shape: tuple[int, int], floor: float
) -> dict:
    """Parts of Theorem 1 at the very norms of the network, as if they had been fixed beforehand.

    The bounds of the classifier round norms that were not up to powers of 2. To the power of L that
    hides how the norms of two networks differ.
    """
    n, n_steps = shape
    norms = {"beta_u": clf.beta_u_, "beta_w": clf.beta_w_, "beta_v": clf.beta_v_}
    linear, _ = theorem1(
        n=n,
        n_steps=n_steps,
        frobenius=noisy.frobenius,
        abs_sum=noisy.abs_sum,
        r=clf.fisher_rao_norm_(),
        min_eigenvalue=floor,
        **norms,
    )
    # The difference part in logarithms: beta_w^L leaves the range of floating-point numbers.
    steps = np.arange(n_steps)
    log_sum = np.logaddexp.reduce(np.log(steps + 1) + steps * np.log(clf.beta_w_))
    log_difference = np.log(clf.beta_u_ * clf.beta_v_ * noisy.abs_sum / n) + log_sum
    return {
        "theorem1_linear": linear,
        "theorem1_log10_difference": float(log_difference / np.log(10)),
    }


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error, nan for a single value."""
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def draw_means(ax: Axes, table: Table, x: str, y: str, style: str, label: str, **where) -> None:
    """Means of a column with their standard errors, against another."""
    points = table.distinct(x, **where)
    pairs = [mean_and_error(table.values(y, **where, **{x: point})) for point in points]
    means, errors = np.array(pairs).T
    ax.errorbar(_places(points), means, errors, fmt=style, mfc="white", capsize=3, label=label)


def draw_medians(ax: Axes, table: Table, x: str, y: str, style: str, label: str, **where) -> None:
    """Medians of a column that spans orders of magnitude, with ranges, against another."""
    points = table.distinct(x, **where)
    values = [table.values(y, **where, **{x: point}) for point in points]
    middle = np.array([np.median(v) for v in values])
    ends = [middle - [v.min() for v in values], [v.max() for v in values] - middle]
    ax.errorbar(_places(points), middle, ends, fmt=style, mfc="white", capsize=3, label=label)


def _places(points: list[float]) -> list[float] | list[str]:
    """Points as they are, or evenly spaced by name where inf stands for no limit."""
    if np.isfinite(points).all():
        return points
    return [f"{point:g}" if np.isfinite(point) else "none" for point in points]


def rank_correlations(table: Table, columns: Iterable[str]) -> str:
    """Kendall's tau of every column with the gap, over all fits."""
    gaps = table.values("gap")
    cells = [f"{name} {kendalltau(table.values(name), gaps).statistic:.2f}" for name in columns]
    return "Kendall's tau with the gap, over all fits: " + ", ".join(cells)


def arguments(description: str, *, reviews: bool = False) -> argparse.ArgumentParser:
    """Arguments that all scripts share."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    if reviews:
        parser.add_argument("--data", required=True, help="folder aclImdb, or its tar archive")
        parser.add_argument("--vectors", required=True, help="GloVe text file, 50-d")
    parser.add_argument("--output", required=True, help="folder for the table and the figure")
    parser.add_argument("--quick", action="store_true", help="a small version, in a minute or two")
    return parser
