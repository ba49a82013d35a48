"""What a release says in several places is the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest
import smoke
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from sklearn_rnnbound import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def pins(name):
    """The pinned versions of a file of requirements."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def requirements(*extras):
    """What the package and some of its extras ask for."""
    texts = [*PROJECT["dependencies"]]
    texts += [text for extra in extras for text in PROJECT["optional-dependencies"][extra]]
    return [one for one in map(Requirement, texts) if one.name != PROJECT["name"]]


def test_the_version_is_written_once_more_for_citations_and_in_the_changelog():
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert str(Version(__version__)) == __version__
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == __version__
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest[1] == __version__


def test_the_lowest_tested_versions_are_the_lower_bounds():
    tested = pins("min.txt")
    for requirement in requirements("plots", "save", "tables"):
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert tested[requirement.name] == Version(bound.version), requirement.name
    # The other extras bring packages that need newer releases than these.
    for requirement in requirements(*PROJECT["optional-dependencies"]):
        version = tested.get(canonicalize_name(requirement.name))
        assert version is None or version in requirement.specifier, requirement.name


@pytest.mark.parametrize("extra", sorted({*PROJECT["optional-dependencies"]} - {"docs"}))
def test_the_tested_environment_meets_every_requirement(extra):
    tested = pins("test.txt")
    for requirement in requirements(extra):
        assert tested[canonicalize_name(requirement.name)] in requirement.specifier


def test_tools_check_for_the_oldest_python():
    allowed = SpecifierSet(PROJECT["requires-python"])
    oldest = PYPROJECT["tool"]["mypy"]["python_version"]
    minor = int(oldest.split(".")[1])
    assert f"{oldest}.99" in allowed
    assert f"3.{minor - 1}.99" not in allowed
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{minor}"


def test_documented_commands_exist():
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    documented = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        documented |= set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert documented
    assert documented <= set(targets[1].split())


def test_smoke(capsys):
    smoke.main()
    assert "works" in capsys.readouterr().out
