"""The import graph is as the contracts of pyproject.toml draw it, and the contracts bite."""

import ast
import re
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
        ("classifier", "from sklearn_rnnbound.selection.search import certify"),
        ("certification/report", "from sklearn_rnnbound.plotting import SpectrumDisplay"),
        ("cells/elman", "from sklearn_rnnbound.training.data import as_tensor"),
        ("cells/elman", "from sklearn_rnnbound.bounds import Setting"),
        ("cells/elman", "import skorch"),
        ("evidence/sample", "from sklearn_rnnbound.certification.certifier import Certifier"),
        ("bounds/peeling", "from sklearn_rnnbound.cells import Weights"),
        ("bounds/peeling", "import torch"),
        ("bounds/margin", "from sklearn import clone"),
        ("bounds/union", "from sklearn_rnnbound.bounds.paper import Theorem2"),
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


def test_no_contract_has_an_exception():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert not [one["name"] for one in contracts["contracts"] if "ignore_imports" in one]


def imports(node):
    """Names of the modules that a piece of code imports."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom):
            yield inner.module
        elif isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)


def test_imports_inside_functions_are_of_optional_packages():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = {
        re.match(r"[\w-]+", text)[0]
        for extra in ("plots", "save", "tables", "series", "text")
        for text in extras["optional-dependencies"][extra]
    }
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert {name.partition(".")[0] for name in imports(node)} <= optional, path


def test_the_package_is_imported_without_optional_packages():
    code = """
import sys
for name in ("aeon", "distributed", "gensim", "jinja2", "matplotlib", "pandas", "skops"):
    sys.modules[name] = None
import sklearn_rnnbound
from sklearn_rnnbound import datasets, plotting, preprocessing
"""
    subprocess.run([sys.executable, "-c", code], check=True)
