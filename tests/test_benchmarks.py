"""The benchmarks: scripts run at tiny sizes, and what they compare with does the same work."""

import importlib
import json
import math
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_rnnbound.training.constraints import project_rows_

pytest.importorskip("pandas", reason="needs the extra: tables")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODULES = [path.stem for path in BENCHMARKS.glob("*.py")]
BY_HAND = "fit ÷ hand-written nn.RNN loop"
# Beginnings of the claims of a script, with the most that each may reach.
CLAIMS = {
    "fit_epoch": {
        f"{BY_HAND}, m = 32, L = 28": 0.85,
        f"{BY_HAND}, m = 128, L = 100": 0.85,
        "fit ÷ plain skorch": 0.70,
        f"GPU: {BY_HAND}": 1.0,
    },
    "predict": {"predict ÷ nn.RNN": 0.80},
    "bound": {"scores and eta(theta)c": 2.6, "report but for the second moment": 4},
    "moment": {
        "smallest eigenvalue, L d": 0.5,
        "its relative error at condition 1e2": 1e-6,
        "its relative error at condition 1e5": 1e-6,
        "its relative error at condition 1e8": 1e-6,
        "Gram matrix ÷ one symmetric rank-k update": 1.3,
    },
    "projection": {"projection without violation ÷ a training step": 0.04},
    "kernel": {},
    "threads": {},
    "breakdown": {},
    "scaling": {},
    "scale": {"peak memory ÷ 4 GB": 1, "peak memory ÷ 6 GB": 1},
}


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    """The scripts import each other by name, each time anew."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def benchmark():
    """Import a script by its name."""
    return importlib.import_module


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a script at tiny sizes; its results, and what it printed."""

    def run(script):
        arguments = ["--quick", "--output", str(tmp_path / "results")]
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
        (written,) = (tmp_path / "results").iterdir()
        assert written.name == f"{script}.json"
        return json.loads(written.read_text()), capsys.readouterr().out

    return run


def numbers(contents):
    """All numbers of nested lists and dicts."""
    if isinstance(contents, dict):
        return [number for value in contents.values() for number in numbers(value)]
    if isinstance(contents, list):
        return [number for value in contents for number in numbers(value)]
    return [contents] if isinstance(contents, int | float) else []


# Every script


@pytest.mark.parametrize("script", CLAIMS)
def test_script_prints_tables_and_writes_them_with_its_claims(run, script):
    threads = torch.get_num_threads()
    results, output = run(script)
    assert torch.get_num_threads() == threads
    assert results["name"] == script
    assert results["quick"]
    machine = results["machine"]
    assert machine["threads"] == 1
    assert machine["cores"] >= 1
    assert machine["torch"] == torch.__version__
    assert machine["numpy"] == np.__version__
    assert results["results"]
    assert np.isfinite(numbers(results["results"])).all()
    for title, rows in results["results"].items():
        assert title in output
        assert all(name in output for row in rows for name in row)
        for row in rows:
            assert all(
                value > 0
                for name, value in row.items()
                if "ratio" in name or "÷" in name or "(ms)" in name or "(us)" in name
            )
    claims = results["claims"]
    assert len(claims) == len(CLAIMS[script])
    for claim, (start, at_most) in zip(claims, CLAIMS[script].items(), strict=True):
        assert claim["what"].startswith(start)
        assert claim["what"] in output
        assert claim["at_most"] == at_most
        if claim["what"].startswith("GPU") and not torch.cuda.is_available():
            assert claim["ratio"] is None
            assert "not measured: no CUDA device" in output
        else:
            assert 0 < claim["ratio"] < math.inf
    if script == "breakdown":
        (rows,) = results["results"].values()
        names = list(rows[0])[1:]
        for name in names:
            shares = [row[name] for row in rows if "fit (s)" != row["part"] != "timed ÷ untimed"]
            assert sum(shares) == pytest.approx(100)
            assert min(shares[:-1]) > 0


def test_every_script_is_run_and_tested(benchmark):
    runner = benchmark("run")
    assert {*runner.SCRIPTS, runner.LARGE} == set(CLAIMS)
    assert set(MODULES) == {*CLAIMS, "run", "measuring", "fresh_process"}


# Clocks and claims


def test_the_largest_ratio_decides_whether_a_claim_holds(benchmark):
    measuring = benchmark("measuring")
    for at_most, holds in ((0.7, "yes"), (0.69, "NO")):
        claim = measuring.worst("x", {"a": 0.3, "b": 0.7, "c": 0.5}, at_most)
        assert (claim.ratio, claim.case, claim.holds) == (0.7, "b", holds)
    assert measuring.Claim("x", None, 0.8, "no disk").holds == "not measured: no disk"


def test_functions_take_turns_and_the_median_counts(benchmark):
    now, calls = 0.0, []
    durations = {"a": iter([9, 1, 5, 2, 3, 100]), "b": iter([9, 20, 20, 40, 40, 40])}

    def function(name):
        nonlocal now
        calls.append(name)
        now += next(durations[name])

    functions = {name: lambda name=name: function(name) for name in "ab"}
    seconds = benchmark("measuring").interleaved(functions, repetitions=5, clock=lambda: now)
    assert calls == ["a", "b"] * 6
    assert seconds == {"a": 3, "b": 40}


# What is compared with


def test_projection_by_sort_is_the_projection(benchmark):
    A = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A[0] *= 0.01
    by_sort, ours = A.clone(), A.clone()
    benchmark("measuring").project_by_sort_(by_sort, 1.0)
    project_rows_(ours, 1.0)
    assert torch.equal(by_sort[0], A[0])
    assert not torch.equal(by_sort, A)
    torch.testing.assert_close(by_sort, ours, rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [1.0, 1e6])
def test_loop_by_hand_takes_the_steps_of_fit(benchmark, radius):
    measuring, fit_epoch = benchmark("measuring"), benchmark("fit_epoch")
    X, y = measuring.sequences(40, 6, 3, k=4)
    # With all rows in a minibatch their order does not matter.
    clf = fit_epoch.with_everything(8, 40, 12, radius).set_params(noise_std=0.0)
    by_hand = fit_epoch.train_by_hand(clf, measuring.first_weights(clf, X, y), X, y)
    np.testing.assert_allclose(by_hand, clf.fit(X, y).loss_curve_, rtol=1e-4)
    assert by_hand[-1] < by_hand[0]


def test_plain_network_gives_the_scores_of_the_classifier(benchmark):
    measuring, predict = benchmark("measuring"), benchmark("predict")
    X, y = measuring.sequences(50, 6, 3, k=4)
    clf = measuring.classifier(hidden_size=8, max_iter=2).fit(X, y)
    network = measuring.PlainNetwork(clf.net_.module_.weights)
    for block in (50, 7):
        winners = predict.predict_plainly(network, X, block)
        np.testing.assert_array_equal(clf.classes_[winners], clf.predict(X))


def test_spectrum_is_the_prescribed_one(benchmark):
    X, smallest = benchmark("moment").prescribed(60, 40, 1e4)
    values = np.linalg.svd(X.reshape(60, 40), compute_uv=False) ** 2 / 60
    assert values[-1] == pytest.approx(smallest, rel=1e-9)
    assert values[0] / values[-1] == pytest.approx(1e4, rel=1e-9)
    # No coordinate is left alone by the reflections.
    assert np.count_nonzero(X) == X.size


# The summary


def results_file(folder, script, *claims, date="2026-01-02T03:04+00:00", quick=False):
    """What a script would have written."""
    names = ("what", "ratio", "at_most", "case")
    contents = {"name": script, "date": date, "quick": quick, "machine": {"cpu": "abacus"}}
    contents["claims"] = [dict(zip(names, claim, strict=True)) for claim in claims]
    contents["results"] = {}
    (folder / f"{script}.json").write_text(json.dumps(contents))


def test_summary_puts_all_claims_in_one_table(benchmark, tmp_path, capsys):
    results_file(tmp_path, "scale", ("peak", 0.5, 1.0, ""), date="2026-01-01T00:00+00:00")
    results_file(tmp_path, "predict", ("predict", 0.7, 0.8, "m 32"))
    claims = ("fit", 0.9123, 0.85, "m 128"), ("GPU: fit", None, 1.0, "no CUDA device")
    results_file(tmp_path, "fit_epoch", *claims)
    results_file(tmp_path, "unknown", ("other", 0.5, 1.0, ""))
    runner = benchmark("run")
    runner.summarise(tmp_path)
    output = capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(row["what"], row["holds"]) for row in summary["claims"]] == [
        ("fit", "NO"),
        ("GPU: fit", "not measured: no CUDA device"),
        ("predict", "yes"),
        ("peak", "yes"),
    ]
    for row in summary["claims"]:
        assert any(row["what"] in line and row["holds"] in line for line in output.splitlines())
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[2] == "| fit | 0.912 | 0.85 | NO | m 128 |"
    assert lines[3] == "| GPU: fit |  | 1 | not measured: no CUDA device | no CUDA device |"
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert lines[-2:] == ["Measured 2026-01-01 to 2026-01-02.", "On cpu abacus."]

    results_file(tmp_path, "predict", ("predict", 0.7, 0.8, ""), quick=True)
    runner.summarise(tmp_path)
    assert "quick run" in (tmp_path / "summary.md").read_text()


def test_scripts_run_one_by_one_and_failures_are_named(benchmark, monkeypatch, tmp_path):
    runner = benchmark("run")
    commands = []

    def failing(command, env):
        commands.append(command)
        assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "1"
        assert not (tmp_path / f"{Path(command[1]).stem}.json").exists()
        return types.SimpleNamespace(returncode=int("predict" in command[1]))

    monkeypatch.setattr(runner.subprocess, "run", failing)
    monkeypatch.setattr(sys, "argv", ["run.py", "--output", str(tmp_path)])
    results_file(tmp_path, "predict", ("predict", 0.7, 0.8, ""))
    results_file(tmp_path, "scale", ("peak", 0.5, 1.0, ""))
    with pytest.raises(SystemExit, match=r"failed: predict$"):
        runner.main()
    names = [Path(command[1]).stem for command in commands]
    assert names == list(runner.SCRIPTS)
    assert all(command[2:] == ["--output", str(tmp_path)] for command in commands)
    claims = json.loads((tmp_path / "summary.json").read_text())["claims"]
    assert [row["what"] for row in claims] == ["peak"]
