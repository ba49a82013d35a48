"""The gallery: every script runs on its default data, and its numbers hold on a second road."""

import os
import re
import runpy
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from data import data_folder

from sklearn_rnnbound.datasets import load_ts

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: plots")
pytest.importorskip("pandas", reason="needs the extra: tables")

EXAMPLES = Path(__file__).parents[1] / "examples"
GALLERY = sorted(path.name for path in EXAMPLES.glob("plot_*.py"))

pytestmark = [
    # Readers should not see it, either.
    pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning"),
    # From plt.show() where there is a screen.
    pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive"),
]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a script as a user would; what it defined and what it printed."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return names, capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNBOUND_DATA", raising=False)
    plt.close("all")
    yield run
    plt.close("all")
    # Nothing but pictures on the screen.
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def accuracy_by_hand(clf, X, y):
    """Accuracy of ReLU recurrence written out, over the weights of a classifier."""
    state = np.zeros((len(X), len(clf.W_)))
    for t in range(X.shape[1]):
        state = np.maximum(X[:, t] @ clf.U_.T + state @ clf.W_.T, 0.0)
    return np.mean(clf.classes_[(state @ clf.V_.T).argmax(1)] == y)


def printed(pattern, output):
    """The number after a text."""
    return float(re.search(pattern + r"\s*([-\d.e+]+)", output)[1])


def check_accuracy(output, clf, X, y, *, above, text="test accuracy"):
    """Compare the accuracy that was printed with the one by hand."""
    accuracy = accuracy_by_hand(clf, X, y)
    assert printed(text, output) == pytest.approx(accuracy, abs=5e-4)
    assert accuracy > above
    return accuracy


def n_pictures():
    return len(plt.get_fignums())


def test_every_gallery_script_has_a_test():
    tested = set(re.findall(r'run\("(plot_\w+\.py)"', Path(__file__).read_text()))
    assert tested == set(GALLERY)


def test_quickstart(run):
    names, output = run("plot_quickstart.py")
    accuracy = check_accuracy(output, names["clf"], names["X_test"], names["y_test"], above=0.9)
    errors = round((1 - accuracy) * len(names["y_test"]))
    assert f"{errors} errors on {len(names['y_test'])} held-out samples" in output
    assert printed("paper's bound", output) >= 1
    assert n_pictures() == 1


def test_headline(run):
    names, output = run("plot_headline.py")
    rows = [line.split() for line in output.splitlines()]
    assert [int(row[1]) for row in rows] == names["sizes"]
    accuracy = accuracy_by_hand(names["clf"], names["X_test"], names["y_test"])
    assert float(rows[-1][-1]) == pytest.approx(1 - accuracy, abs=5e-4)
    values = np.array([[float(value) for value in row[3:8:2]] for row in rows])
    theorem2, *certificates = values.T
    assert (theorem2 > 200).all()
    for certificate in certificates:
        assert (np.diff(certificate) < 0).all()
        assert (certificate < 1).all()
        assert (certificate > names["errors"]).all()
    kinds = {bound.name: bound.kind for bound in names["reports"][-1]}
    assert kinds == {"theorem2": "plug_in", "peeling": "certified", "occam": "certified"}
    assert n_pictures() == 1


def test_grid(run):
    names, output = run("plot_grid.py")
    accuracies, bounds = names["accuracies"], names["bounds"]
    # The rule in plain words, candidate by candidate.
    chosen = [line for line in output.splitlines() if line.endswith("<- chosen")]
    rows = [line.split()[2:4] for line in output.splitlines()[1 : 1 + len(bounds)]]
    assert [(float(a), float(b)) for a, b in rows] == [
        (round(a, 3), round(b)) for a, b in zip(accuracies, bounds, strict=True)
    ]
    near = [b for a, b in zip(accuracies, bounds, strict=True) if a >= max(accuracies) - 0.03]
    assert len(chosen) == 1
    assert float(chosen[0].split()[3]) == round(min(near))

    clf = names["search"].best_estimator_[-1]
    check_accuracy(output, clf, 2 * names["X_test"] - 1, names["y_test"], above=0.85)
    alone = clf.generalization_bound_(method="peeling", delta=0.05 / 6)
    assert names["bound"].value == pytest.approx(alone)
    assert names["bound"].kind == "certified"
    assert "among 6 candidates" in output
    assert n_pictures() == 1


def test_cross_validation(run):
    names, output = run("plot_cross_validation.py")
    report, summary = names["report"], names["summary"]
    assert len(report.folds) == 15
    assert str(report) in output
    correlations = report.rank_correlation()
    for name, rows in summary.groupby("bound"):
        pairs = rows[["mean_value", "mean_gap"]].to_numpy()
        signs = [np.prod(np.sign(a - b)) for a, b in combinations(pairs, 2)]
        assert correlations.loc[name, "tau"] == pytest.approx(np.mean(signs))
    # No bound is broken in any fold.
    frame = report.to_frame()
    assert (frame["value"] > frame["test_error"]).all()
    assert summary["mean_test_error"].max() < 0.4
    assert n_pictures() == 1


def test_choose_by_certificate(run):
    names, output = run("plot_choose_by_certificate.py")
    search = names["search"]
    assert re.search(r"scaler fitted here .* plug_in\n", output)
    assert re.search(r"scaler frozen .* certified\n", output)
    assert "no candidate has a finite certificate" in output

    certificate = printed("certificate", output)
    assert certificate == pytest.approx(search.cv_results_["bound"].min(), abs=5e-4)
    mean, std = names["X_aside"].mean(), names["X_aside"].std()
    scaled = (names["X_test"] - mean) / std
    accuracy = accuracy_by_hand(search.best_estimator_[-1], scaled, names["y_test"])
    error = printed("test error", output)
    assert error == pytest.approx(1 - accuracy, abs=5e-4)
    # One label in twenty is wrong; the certificate says something, and holds.
    assert 0.04 < error < certificate < 0.5

    # The smallest bound is inside the range of radii: the sum of a falling and a rising part.
    risks, bounds = names["risks"], names["bounds"]
    assert risks[0] > 2 * risks[-1]
    assert (np.diff(bounds - risks) > 0).all()
    assert 0 < bounds.argmin() < len(bounds) - 1
    assert n_pictures() == 2


def test_decomposition(run):
    names, output = run("plot_decomposition.py")
    X_test, y_test = names["X_test"], names["y_test"]
    for name in ("plain", "noisy"):
        text = f"{name}: test accuracy"
        check_accuracy(output, names[name], X_test, y_test, above=0.8, text=text)
    for block in output.split("\n\n")[1:3]:
        heading, *terms = block.splitlines()
        values = [float(line.split()[1]) for line in terms]
        assert sum(values) == pytest.approx(float(heading.split()[1]), rel=1e-3)

    # The rates that the text speaks of.
    by_name = names["curve"].to_frame().loc
    n = np.array(names["curve"].n_samples)
    complexity = by_name["peeling"]["complexity"].to_numpy() * np.sqrt(n)
    np.testing.assert_allclose(complexity, complexity[-1], rtol=0.05)
    difference = by_name["theorem3"]["difference"].to_numpy()
    np.testing.assert_allclose(difference, difference[-1], rtol=0.05)
    X = names["X_train"].reshape(len(names["X_train"]), -1)
    empty = (X == 0).all(0).sum()
    assert empty > 0
    assert (names["display"].eigenvalues == 0).sum() >= empty
    assert n_pictures() == 3


def test_invented_reviews(run):
    names, output = run("plot_imdb.py")
    assert "3000 INVENTED reviews" in output
    encoder, clf = names["pipeline"]
    X = encoder.transform(names["test"])
    check_accuracy(output, clf, X, names["y_test"], above=0.75)
    assert names["report"]["occam"].value < 1
    assert n_pictures() == 1


def test_reviews_from_files(run, tmp_path):
    praise, blame = "a good film", "a bad film"
    for label, text in (("pos", praise), ("neg", blame)):
        folder = tmp_path / "data" / "aclImdb" / "train" / label
        folder.mkdir(parents=True)
        for number in range(40):
            (folder / f"{number}_5.txt").write_text(text * (1 + number % 3))
    vectors = tmp_path / "data" / "vectors.txt"
    vectors.write_text("good 1.0 0.5\nbad -1.0 0.5\nfilm 0.0 1.0\n")
    options = ("--data", tmp_path / "data", "--vectors", vectors, "--reviews", 60)
    names, output = run("plot_imdb.py", *options)
    assert "60 reviews of the Large Movie Review Dataset, 3 word vectors" in output
    assert "INVENTED" not in output
    assert names["pipeline"].score([praise, blame], [1, 0]) == 1.0


@pytest.mark.slow
def test_real_reviews(run, monkeypatch):
    monkeypatch.setenv("RNNBOUND_DATA", str(data_folder()))
    _, output = run("plot_imdb.py")
    assert "3000 reviews of the Large Movie Review Dataset" in output
    assert printed("test accuracy", output) > 0.65


def test_variable_length(run):
    pytest.importorskip("aeon", reason="needs the extra: series")
    names, output = run("plot_variable_length.py")
    pipeline, X_test = names["pipeline"], names["X_test"]
    steps = np.concatenate(names["X_train"])
    X = np.zeros((len(X_test), 29, 12))
    for padded, series in zip(X, X_test, strict=True):
        padded[29 - len(series) :] = (series - steps.mean(0)) / steps.std(0)
    check_accuracy(output, pipeline[-1], X, names["y_test"], above=0.9)
    assert "scaler fitted on the same series: plug_in" in output
    assert "scaler fitted on series set aside: certified" in output
    assert n_pictures() == 1


def test_variable_length_from_files(run):
    pytest.importorskip("aeon", reason="needs the extra: series")
    folder = data_folder() / "uea" / "JapaneseVowels"
    names, output = run("plot_variable_length.py", "--data", folder)
    ours = load_ts(folder / "JapaneseVowels_TEST.ts")
    assert len(names["X_test"]) == len(ours.data) == 370
    assert "7 to 29 steps of 12 features" in output
    assert printed("test accuracy", output) > 0.9


def test_dask_grid(tmp_path):
    pytest.importorskip("distributed", reason="needs the extra: distributed")
    script = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "dask_grid.py")],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    assert "on 2 workers of Dask" in script.stdout
    assert script.stdout.count("the same numbers as in this process") == 3
    assert "OTHER" not in script.stdout
    assert printed("{.*}:", script.stdout) > 0.5
