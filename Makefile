# Another interpreter:    make test PYTHON=python3.12
# Another torch build:    make test PIP_ARGS="--extra-index-url ..."
PYTHON ?= python3
PIP_ARGS ?=

BIN := .venv/bin

.PHONY: demo test test-all test-shuffled test-min test-pre coverage mutation dist lint docs docs-check bench bench-scale clean

demo: .venv/.stamp
	$(BIN)/python examples/demo.py

# scikit-learn's array API checks need SciPy's; plots need no screen.
TESTING := test test-all test-shuffled test-min test-pre coverage mutation dist
$(TESTING): export SCIPY_ARRAY_API = 1
$(TESTING): export MPLBACKEND = Agg

test: .venv/.stamp
	$(BIN)/python -m pytest -n 2

test-all: .venv/.stamp
	$(BIN)/python -m pytest -n 2 -m ""

# What one test leaves behind must not matter to another: in two processes, any order, two times.
test-shuffled: .venv/.stamp
	$(BIN)/python -m pytest -n 2 --random-order
	$(BIN)/python -m pytest -n 2 --random-order

test-min: .venv-min/.stamp
	.venv-min/bin/python -m pytest

# The newest releases, also those that are not out yet.
test-pre:
	$(PYTHON) -m venv --clear .venv-pre
	.venv-pre/bin/python -m pip install $(PIP_ARGS) --pre -U -e ".[plots,tables]" hypothesis pytest skops
	.venv-pre/bin/python -m pip freeze
	.venv-pre/bin/python -m pytest

# Lines and branches; fails below the share that pyproject.toml sets.
coverage: .venv/.stamp
	$(BIN)/python -m pytest -n 2 --cov

# Small changes to what bounds are made of must fail a test: what survives is printed. All modules
# take half an hour; a few:  make mutation MODULES="bounds/paper training/constraints"
mutation: .venv-mutation/.stamp
	.venv-mutation/bin/python tests/mutation.py $(MODULES)

# What a release uploads, tried as users get it: the wheel in an empty environment, and the tests
# of the source archive.
dist: .venv/.stamp
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/archives.py dist
	$(PYTHON) -m venv build/venv
	build/venv/bin/python -m pip install $(PIP_ARGS) dist/*.whl
	cd build && venv/bin/python -W error ../tests/smoke.py
	build/venv/bin/python -m pip install $(PIP_ARGS) "$$(ls dist/*.whl)[save]"
	cd build && venv/bin/python -W error ../tests/smoke.py
	tar -xf dist/*.tar.gz -C build
	cd build/sklearn_rnnbound-* && ../../$(BIN)/python -m pytest -n 2

lint: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy sklearn_rnnbound
	$(BIN)/numpydoc lint $$(find sklearn_rnnbound -name "*.py")
	$(BIN)/lint-imports --no-cache

# Built anew each time, so that the gallery shows what the package does now.
docs: .venv/.docs-stamp
	rm -rf docs/_build docs/api docs/gallery
	$(BIN)/python -m sphinx -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo "Open $(CURDIR)/docs/_build/html/index.html"

docs-check: docs
	$(BIN)/python docs/check_pages.py

# Every claim about speed, one table; the data of bench-scale take minutes and 3.2 GB of disk.
bench: .venv/.stamp
	$(BIN)/python benchmarks/run.py

bench-scale: .venv/.stamp
	$(BIN)/python benchmarks/run.py --scale

clean:
	rm -rf .venv .venv-min .venv-mutation .venv-pre build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	rm -rf docs/_build docs/api docs/gallery
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.docs-stamp: requirements/docs.txt .venv/.stamp
	$(BIN)/python -m pip install $(PIP_ARGS) -r $<
	@touch $@

.venv/.stamp: requirements/test.txt
.venv-mutation/.stamp: requirements/mutation.txt requirements/test.txt
.venv/.stamp .venv-mutation/.stamp: PYTHON_OK = sys.version_info >= (3, 11, 4)
.venv/.stamp .venv-mutation/.stamp: PYTHON_NEEDED = 3.11.4 or newer

.venv-min/.stamp: requirements/min.txt
.venv-min/.stamp: PYTHON_OK = (3, 11, 4) <= sys.version_info < (3, 13)
.venv-min/.stamp: PYTHON_NEEDED = 3.11 or 3.12

.venv/.stamp .venv-min/.stamp .venv-mutation/.stamp: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not ($(PYTHON_OK)))" || { echo >&2 \
	  "$(PYTHON) is not Python $(PYTHON_NEEDED). Install one and name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(@D), once: PyTorch and the other pinned packages, a few minutes."
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PIP_ARGS) -r $(firstword $(filter requirements/%,$^))
	$(@D)/bin/python -m pip install $(PIP_ARGS) --no-deps -e .
	@touch $@
