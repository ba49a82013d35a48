"""The code on the pages of the documentation runs as written and prints what stands below it."""

import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from sklearn_rnnbound import BOUNDS
from sklearn_rnnbound.cells import CELLS

DOCS = Path(__file__).parents[1] / "docs"
# A block of Python and, if what follows is a block of text, that.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
# Extras of pages.
NEEDED = {"user_guide/saving.md": "skops"}
# Starts worker processes, which import the script that started them.
CLUSTER = "many_machines.md"
# Adds to the package.
CONTRIBUTING = "contributing.md"


def blocks(page):
    """Code, text and number of the first line of every block of Python."""
    text = (DOCS / page).read_text()
    return [
        (match[1], match[2] or "", text.count("\n", 0, match.start(1)))
        for match in BLOCK.finditer(text)
    ]


def run(code, page, line, names):
    exec(compile("\n" * line + code, page, "exec"), names)


PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
WITH_CODE = [page for page in PAGES if page not in (CLUSTER, CONTRIBUTING) and blocks(page)]


@pytest.mark.parametrize("page", WITH_CODE)
def test_code_prints_the_text_below_it(page, tmp_path, monkeypatch, capsys):
    if page in NEEDED:
        pytest.importorskip(NEEDED[page])
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for code, shown, line in blocks(page):
        run(code, page, line, names)
        printed = capsys.readouterr().out
        if shown:
            # Words as they stand, whatever the width of a number; another processor may round
            # otherwise, and training magnifies that.
            assert words(printed) == words(shown)
            assert numbers(printed) == pytest.approx(numbers(shown), rel=0.1, abs=0.02)


def words(text):
    return NUMBER.sub("0", re.sub("-{4,}", "", text)).split()


def numbers(text):
    return [float(number) for number in NUMBER.findall(text)]


@pytest.mark.slow
def test_the_cluster_runs_as_a_script(tmp_path):
    pytest.importorskip("distributed", reason="needs the extra: distributed")
    script = tmp_path / "script.py"
    script.write_text("".join(code for code, *_ in blocks(CLUSTER)))
    process = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "peeling" in process.stdout


def test_the_bound_and_the_cell_that_contributing_adds_pass_their_tests(small):
    names = {}
    # What a page registers is known here alone.
    with mock.patch.dict(BOUNDS), mock.patch.dict(CELLS):
        for code, _, line in blocks(CONTRIBUTING):
            run(code, CONTRIBUTING, line, names)
        tests = [test for name, test in names.items() if name.startswith("test_")]
        assert tests
        for test in tests:
            test(small)
