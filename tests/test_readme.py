"""The README's code runs as it stands, and its table of bounds is complete."""

import re
from pathlib import Path

from sklearn_rnnbound import BOUNDS

README = Path(__file__).parents[1] / "README.md"


def test_quickstart_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    output = capsys.readouterr().out
    accuracy, fisher_rao, bound = map(float, output.splitlines()[:3])
    assert accuracy > 0.9
    assert fisher_rao > 0
    assert bound >= 1
    assert "theorem3" in output


def test_the_table_has_the_bounds_in_their_order():
    table = re.findall(r"^\| `(\w+)` \|", README.read_text(), flags=re.MULTILINE)
    assert "theorem3" in table
    assert table == [name for name in BOUNDS if name in table]
