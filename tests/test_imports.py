"""The import graph is as the contracts of pyproject.toml draw it, and the contracts bite."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sklearn_rnnbound

pytest.importorskip("importlinter")

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sklearn_rnnbound.__file__).parent


def lint(folder):
    """Exit status and output of lint-imports on the package in the folder."""
    process = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.fixture
def copied(tmp_path):
    """A folder with a copy of the package and of its contracts."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_are_kept(copied):
    status, output = lint(copied)
    assert status == 0, output
    assert "0 broken" in output


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("classifier", "from sklearn_rnnbound.model_selection import certify"),
        ("classifier", "from sklearn_rnnbound.plotting import SpectrumDisplay"),
        ("network", "from sklearn_rnnbound.training import train"),
        ("statistics", "from sklearn_rnnbound.training import as_tensor"),
        ("bounds/peeling", "from sklearn_rnnbound.network import Weights"),
        ("bounds/peeling", "import torch"),
        ("bounds/margin", "from sklearn import clone"),
        ("bounds/union", "from sklearn_rnnbound.bounds.paper import theorem2"),
    ],
)
def test_imports_against_the_direction_are_found(copied, module, line):
    path = copied / PACKAGE.name / f"{module}.py"
    path.write_text(f"{path.read_text()}\n{line}\n")
    status, output = lint(copied)
    assert status == 1, output
    name = f"{PACKAGE.name}.{module.replace('/', '.')}"
    assert f"{name} -> {line.split()[1]}" in output


def test_new_modules_need_a_place(copied):
    (copied / PACKAGE.name / "helpers.py").touch()
    status, output = lint(copied)
    assert status == 1
    assert "helpers" in output


def test_excepted_imports_stand_inside_functions():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    excepted = [line for one in contracts["contracts"] for line in one.get("ignore_imports", [])]
    assert excepted
    for importer, imported in (line.split(" -> ") for line in excepted):
        path = PACKAGE.joinpath(*importer.split(".")[1:]).with_suffix(".py")
        module = ast.parse(path.read_text())
        at_top = [node.module for node in module.body if isinstance(node, ast.ImportFrom)]
        assert imported not in at_top
        assert imported in [n.module for n in ast.walk(module) if isinstance(n, ast.ImportFrom)]


def private_names(path):
    """Private attributes that a module uses."""
    nodes = ast.walk(ast.parse(path.read_text()))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return {name for name in names if name.startswith("_") and not name.endswith("__")}


def test_fitting_knows_a_classifier_by_its_parameters():
    # A type is all that it imports of the classifier, which the contracts do not look at.
    assert private_names(PACKAGE / "fitting.py") == set()
    assert "_prepare" in private_names(PACKAGE / "classifier.py")
