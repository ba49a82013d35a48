"""What the pages say of the public face; the check of the built pages finds what is broken."""

import ast
import importlib
import re
import runpy
import shutil
from inspect import signature
from pathlib import Path

import pytest

from sklearn_rnnbound import BOUNDS, RNNBoundClassifier

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
MODULES = ("", ".preprocessing", ".datasets", ".plotting")
PAGE = '<!DOCTYPE html><html><body><h1 id="{anchor}">A page</h1>{body}</body></html>'


def named_on_api_page():
    """Public names of docs/api.rst, by module."""
    module, named = None, {}
    for line in (DOCS / "api.rst").read_text().splitlines():
        if match := re.match(r"\.\. (?:currentmodule|module):: (\S+)", line):
            module = match[1]
        elif match := re.match(r" {3}(\w+)$|\.\. data:: (\w+)", line):
            named.setdefault(module, []).append(match[1] or match[2])
    return named


def test_api_page_is_complete():
    for name, named in named_on_api_page().items():
        module = importlib.import_module(name)
        assert set(named) <= set(module.__all__), name
        if name.removeprefix("sklearn_rnnbound") in MODULES:
            assert sorted(named) == sorted(module.__all__)


def test_api_page_lists_the_bounds_in_their_order():
    text = (DOCS / "api.rst").read_text()
    listed = re.findall(r"``(\w+)``", text.split(".. data:: BOUNDS")[1])
    assert listed[: len(BOUNDS)] == list(BOUNDS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_import_public_names_only(path):
    public = named_on_api_page()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sklearn_rnnbound"):
            assert {name.name for name in node.names} <= set(public[node.module])
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("sklearn_rnnbound") for name in node.names)


def test_every_parameter_is_used_on_a_page_or_in_an_example():
    pages = [path for path in DOCS.rglob("*.md") if path.name != "contributing.md"]
    text = "\n".join(path.read_text() for path in [*pages, *EXAMPLES])
    for name in signature(RNNBoundClassifier).parameters:
        assert re.search(rf"\b{name}=|`{name}`|\"{name}\":", text), name


def test_every_page_is_in_the_contents():
    """Of the pages that are written by hand; Sphinx checks those that it makes."""
    entries = set()
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), flags=re.DOTALL):
            names = re.findall(r"(?:<|^)([\w/.]+)>?$", block, flags=re.MULTILINE)
            entries |= {(page.parent / name).resolve() for name in names}
    pages = {page.with_suffix("") for page in DOCS.rglob("*.md")}
    assert pages - entries == {DOCS / "index"}


def check(folder, capsys):
    """Lines of the check."""
    main = runpy.run_path(str(DOCS / "check_pages.py"))["main"]
    n_wrong = main(folder)
    lines = capsys.readouterr().out.splitlines()
    return n_wrong, lines


@pytest.fixture
def site(tmp_path):
    """Two pages that are in order."""
    (tmp_path / "part").mkdir()
    body = '<a href="part/two.html#there">two</a><a href="https://example.org/none">elsewhere</a>'
    (tmp_path / "one.html").write_text(PAGE.format(anchor="here", body=body))
    body = '<a href="../one.html">one</a><a href="#there">up</a>'
    (tmp_path / "part" / "two.html").write_text(PAGE.format(anchor="there", body=body))
    return tmp_path


def test_links(site, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    n_wrong, lines = check(site, capsys)
    assert n_wrong == 0
    assert lines == ["widths and formulas not checked: there is no chromium", "nothing is wrong"]

    links = ["three.html", "one.html#there", "#nowhere"]
    body = "".join(f'<a href="{link}">broken</a>' for link in links)
    body += '<img src="picture.png">'
    (site / "one.html").write_text(PAGE.format(anchor="here", body=body))
    n_wrong, lines = check(site, capsys)
    assert n_wrong == 4
    found = [f"broken link in one.html: {link}" for link in [*links, "picture.png"]]
    assert lines[1:] == found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_widths_and_formulas(site, capsys):
    n_wrong, lines = check(site, capsys)
    assert n_wrong == 0, lines
    body = '<div style="width: 700px">wide</div><span class="math">\\(x\\)</span>'
    (site / "one.html").write_text(PAGE.format(anchor="there", body=body))
    n_wrong, lines = check(site, capsys)
    assert n_wrong == 3
    assert [line.rpartition("/")[2] for line in lines[1:]] == [
        "one.html at 390 px: 318 px too wide",
        "one.html at 390 px: 1 formulas not typeset",
        "one.html at 1400 px: 1 formulas not typeset",
    ]
