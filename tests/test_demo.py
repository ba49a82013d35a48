"""The demo, on a grid of one candidate."""

import runpy
import sys
from pathlib import Path

import matplotlib.image

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


def test_demo_searches_noise_and_constraint_reports_and_draws(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "bound.png"
    demo = runpy.run_path(str(DEMO))
    assert set(demo["PARAM_GRID"]) == {"rnn__noise_std", "rnn__beta_w"}
    demo["PARAM_GRID"].update({"rnn__noise_std": [0.1], "rnn__beta_w": [1.0]})
    demo["PARAM_GRID"]["rnn__max_iter"] = [10]
    monkeypatch.setattr(sys, "argv", ["demo.py", "--output", str(picture), "--jobs", "1"])
    demo["main"]()
    output = capsys.readouterr().out
    for part in ("<- chosen", "test accuracy", "Fisher-Rao norm", "theorem3", "vacuous (>= 1)"):
        assert part in output
    assert matplotlib.image.imread(picture).shape[2] == 4
