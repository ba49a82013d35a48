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

from sklearn_rnnbound.constraints import project_rows_
from sklearn_rnnbound.network import initial_weights

pytest.importorskip("pandas", reason="needs the extra: tables")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODULES = [path.stem for path in BENCHMARKS.glob("*.py")]
BY_HAND = "fit ÷ hand-written nn.RNN loop"
# Beginnings of the claims of a script, with what each must reach and aims at.
CLAIMS = {
    "fit_epoch": {
        f"{BY_HAND}, m = 32, L = 28": (0.85, 0.65),
        f"{BY_HAND}, m = 128, L = 100": (0.85, 0.75),
        "fit ÷ plain skorch": (0.70, 0.50),
        f"GPU: {BY_HAND}": (1.0, 0.7),
    },
    "predict": {"predict ÷ nn.RNN": (0.80, 0.65)},
    "bound": {
        "scores and eta(theta)c": (2.6, 2.3),
        "report but for the second moment": (4, 3),
    },
    "moment": {
        "smallest eigenvalue, L d": (0.5, 0.25),
        "its relative error at condition 1e2": (1e-6, 1e-8),
        "its relative error at condition 1e5": (1e-6, 1e-8),
        "its relative error at condition 1e8": (1e-6, 1e-8),
        "Gram matrix ÷ one symmetric rank-k update": (1.3, 1.1),
    },
    "projection": {"projection without violation ÷ a training step": (0.04, 0.02)},
    "grid": {
        "StackedGridSearchCV of 20 fits ÷ one fit": (15, 9),
        "GPU: StackedGridSearchCV of 20 fits": (3, 1.5),
    },
    "kernel": {},
    "threads": {},
    "breakdown": {},
    "scaling": {},
    "scale": {"peak memory ÷ 4 GB": (1, 1), "peak memory ÷ 6 GB": (1, 1)},
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
    for claim, (start, limits) in zip(claims, CLAIMS[script].items(), strict=True):
        assert claim["what"].startswith(start)
        assert claim["what"] in output
        assert (claim["must"], claim["aim"]) == limits
        if claim["what"].startswith("GPU") and not torch.cuda.is_available():
            assert claim["ratio"] is None
            assert "not measured: no CUDA device" in output
        else:
            assert 0 < claim["ratio"] < math.inf


def test_every_script_is_run_and_tested(benchmark):
    runner = benchmark("run")
    assert {*runner.SCRIPTS, runner.LARGE} == set(CLAIMS)
    assert set(MODULES) == {*CLAIMS, "run", "measuring", "fresh_process"}


def test_breakdown_is_of_the_whole_fit(run):
    results, _ = run("breakdown")
    (rows,) = results["results"].values()
    names = list(rows[0])[1:]
    for name in names:
        shares = [row[name] for row in rows if row["part"] not in ("fit (s)", "timed ÷ untimed")]
        assert sum(shares) == pytest.approx(100)
        assert min(shares[:-1]) > 0


# Clocks and claims


def test_claims_say_what_they_reached(benchmark):
    claim = benchmark("measuring").Claim
    reached = [claim("x", ratio, 0.8, 0.6).reached for ratio in (0.5, 0.6, 0.7, 0.8, 0.81)]
    assert reached == ["aim", "aim", "must", "must", "MISSED"]
    assert claim("x", None, 0.8, 0.6, "no disk").reached == "not measured: no disk"


def test_worst_case_is_the_claim(benchmark):
    claim = benchmark("measuring").worst("x", {"a": 0.3, "b": 0.7, "c": 0.5}, 0.8, 0.6)
    assert (claim.ratio, claim.case, claim.reached) == (0.7, "b", "must")


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


def test_short_functions_are_called_again_within_a_timing(benchmark):
    now, n_calls = 0.0, 0

    def function():
        nonlocal now, n_calls
        now += 2**-10
        n_calls += 1

    measuring = benchmark("measuring")
    seconds = measuring.interleaved({"x": function}, repetitions=3, clock=lambda: now)
    assert seconds["x"] == 2**-10
    # One to warm up, one to see how long it takes.
    assert n_calls == 2 + 3 * math.ceil(measuring.SHORTEST * 2**10)


def test_stopwatch_leaves_out_what_is_timed_within(benchmark, monkeypatch):
    breakdown = benchmark("breakdown")
    now = 0.0
    monkeypatch.setattr(breakdown, "time", types.SimpleNamespace(process_time=lambda: now))

    def work(seconds):
        nonlocal now
        now += seconds

    watch = breakdown.Stopwatch()
    inner = watch.timed("inner", lambda: work(3))

    def outer():
        work(1)
        inner()
        work(2)

    work(10)
    watch.timed("outer", outer)()
    inner()
    watch.timed(breakdown.STATISTICS, outer)()
    assert watch.seconds == {"outer": 3, "inner": 6, breakdown.STATISTICS: 6}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peaks_see_what_was_held_for_a_while(benchmark):
    fresh_process = benchmark("fresh_process")
    peaks = fresh_process.Peaks()
    before = fresh_process._memory("VmRSS"), fresh_process._memory("RssAnon")
    with peaks.watched():
        held = np.ones(2**25)
    after = peaks.total, peaks.anonymous
    for start, peak in zip(before, after, strict=True):
        assert 0.9 < (peak - start) * 1e6 / held.nbytes < 1.5
    del held
    with peaks.watched():
        pass
    assert peaks.total < after[0] - 200


# What is compared with


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 7)])
def test_projection_by_sort_is_the_projection(benchmark, shape):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
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


def test_first_weights_are_those_of_random_state(benchmark):
    measuring = benchmark("measuring")
    X, y = measuring.sequences(40, 6, 3, k=4)
    weights = measuring.first_weights(measuring.classifier(hidden_size=8, random_state=5), X, y)
    seed = int(np.random.RandomState(5).randint(np.iinfo(np.int32).max, size=5)[0])
    drawn = initial_weights(3, 8, 4, torch.Generator().manual_seed(seed))
    for weight, value in zip(weights, drawn, strict=True):
        torch.testing.assert_close(weight, value.float(), rtol=0, atol=0)


def test_spectrum_is_the_prescribed_one(benchmark):
    X, smallest = benchmark("moment").prescribed(60, 40, 1e4)
    values = np.linalg.svd(X.reshape(60, 40), compute_uv=False) ** 2 / 60
    assert values[-1] == pytest.approx(smallest, rel=1e-9)
    assert values[0] / values[-1] == pytest.approx(1e4, rel=1e-9)
    # No coordinate is left alone by the reflections.
    assert np.count_nonzero(X) == X.size


def test_slopes_are_judged_by_what_they_should_be(benchmark):
    scaling = benchmark("scaling")
    rows = [{"n": n, "m": n, "seconds": 3 * n**1.5} for n in (10, 100, 1000)]
    in_n, in_m = (scaling.slope(name, "seconds", rows) for name in ("n", "m"))
    assert in_n["slope"] == in_m["slope"] == pytest.approx(1.5)
    assert (in_n["at most"], in_n["holds"]) == (1, False)
    assert (in_m["at most"], in_m["holds"]) == (2, True)


def test_large_files_hold_what_was_asked_for(benchmark, monkeypatch, tmp_path):
    scale = benchmark("scale")
    monkeypatch.setattr(scale, "BLOCK", 64)
    scale.write(tmp_path / "x", (10, 5, 3))
    X = np.fromfile(tmp_path / "x", np.float32)
    assert X.shape == (150,)
    assert len(np.unique(X)) == 150
    assert 0.7 < X.std() < 1.3


def test_a_full_disk_is_named(benchmark, monkeypatch):
    scale = benchmark("scale")
    usage = types.SimpleNamespace(free=10)
    monkeypatch.setattr(scale.shutil, "disk_usage", lambda folder: usage)
    row, claim = scale.measure_file(scale.from_file, (10, 5, 3), 4e9, "fit")
    assert claim.ratio is None
    assert claim.reached.endswith("has no 0.0 GB left")
    assert row["shape"] == "10 x 5 x 3"


# The summary


def results_file(folder, script, *claims, date="2026-01-02T03:04+00:00", quick=False):
    """What a script would have written."""
    names = ("what", "ratio", "must", "aim", "case")
    contents = {"name": script, "date": date, "quick": quick, "machine": {"cpu": "abacus"}}
    contents["claims"] = [dict(zip(names, claim, strict=True)) for claim in claims]
    contents["results"] = {}
    (folder / f"{script}.json").write_text(json.dumps(contents))


def test_summary_puts_all_claims_in_one_table(benchmark, tmp_path, capsys):
    results_file(tmp_path, "scale", ("peak", 0.5, 1.0, 1.0, ""), date="2026-01-01T00:00+00:00")
    results_file(tmp_path, "predict", ("predict", 0.7, 0.8, 0.65, "m 32"))
    results_file(
        tmp_path,
        "fit_epoch",
        ("fit", 0.9123, 0.85, 0.65, "m 128"),
        ("GPU: fit", None, 1.0, 0.7, "no CUDA device"),
    )
    results_file(tmp_path, "unknown", ("other", 0.5, 1.0, 1.0, ""))
    benchmark("run").summarise(tmp_path)
    output = capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(row["what"], row["reached"]) for row in summary["claims"]] == [
        ("fit", "MISSED"),
        ("GPU: fit", "not measured: no CUDA device"),
        ("predict", "must"),
        ("peak", "aim"),
    ]
    for row in summary["claims"]:
        assert any(row["what"] in line and row["reached"] in line for line in output.splitlines())
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[2] == "| fit | 0.912 | 0.85 | 0.65 | MISSED | m 128 |"
    assert lines[3] == ("| GPU: fit |  | 1 | 0.7 | not measured: no CUDA device | no CUDA device |")
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert lines[-2:] == ["Measured 2026-01-01 to 2026-01-02.", "On cpu abacus."]


def test_summary_of_a_quick_run_says_so(benchmark, tmp_path, capsys):
    results_file(tmp_path, "predict", ("predict", 0.7, 0.8, 0.65, ""), quick=True)
    benchmark("run").summarise(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert "Measured 2026-01-02." in text
    assert "quick run" in text


@pytest.mark.parametrize("scale", [False, True])
def test_scripts_run_one_by_one_and_failures_are_named(
    benchmark, monkeypatch, tmp_path, capsys, scale
):
    runner = benchmark("run")
    commands = []

    def failing(command, env):
        commands.append(command)
        assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "1"
        assert not (tmp_path / f"{Path(command[1]).stem}.json").exists()
        return types.SimpleNamespace(returncode=int("grid" in command[1]))

    monkeypatch.setattr(runner.subprocess, "run", failing)
    monkeypatch.setattr(sys, "argv", ["run.py", "--output", str(tmp_path), *["--scale"] * scale])
    results_file(tmp_path, "grid", ("grid", 8.0, 15, 9, ""))
    results_file(tmp_path, "scale", ("peak", 0.5, 1.0, 1.0, ""))
    if scale:
        runner.main()
        left = ["grid"]
    else:
        with pytest.raises(SystemExit, match=r"failed: grid$"):
            runner.main()
        left = ["peak"]
    names = [Path(command[1]).stem for command in commands]
    assert names == (["scale"] if scale else list(runner.SCRIPTS))
    assert all(command[2:] == ["--output", str(tmp_path)] for command in commands)
    claims = json.loads((tmp_path / "summary.json").read_text())["claims"]
    assert [row["what"] for row in claims] == left
