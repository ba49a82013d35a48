# Another interpreter:    make test PYTHON=python3.12
# Another torch build:    make test PIP_ARGS="--extra-index-url ..."
PYTHON ?= python3
PIP_ARGS ?=

BIN := .venv/bin

.PHONY: demo test test-all test-min lint bench bench-scale clean

demo: .venv/.stamp
	$(BIN)/python examples/demo.py

# scikit-learn's array API checks need SciPy's; plots need no screen.
test test-all test-min: export SCIPY_ARRAY_API = 1
test test-all test-min: export MPLBACKEND = Agg

test: .venv/.stamp
	$(BIN)/python -m pytest

test-all: .venv/.stamp
	$(BIN)/python -m pytest -m ""

test-min: .venv-min/.stamp
	.venv-min/bin/python -m pytest

lint: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy sklearn_rnnbound
	$(BIN)/numpydoc lint $$(find sklearn_rnnbound -name "*.py")

# Every claim about speed, one table; the data of bench-scale take minutes and 3.2 GB of disk.
bench: .venv/.stamp
	$(BIN)/python benchmarks/run.py

bench-scale: .venv/.stamp
	$(BIN)/python benchmarks/run.py --scale

clean:
	rm -rf .venv .venv-min build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.stamp: requirements/test.txt
.venv/.stamp: PYTHON_OK = sys.version_info >= (3, 11)
.venv/.stamp: PYTHON_NEEDED = 3.11 or newer

.venv-min/.stamp: requirements/min.txt
.venv-min/.stamp: PYTHON_OK = (3, 11) <= sys.version_info < (3, 13)
.venv-min/.stamp: PYTHON_NEEDED = 3.11 or 3.12

.venv/.stamp .venv-min/.stamp: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not ($(PYTHON_OK)))" || { echo >&2 \
	  "$(PYTHON) is not Python $(PYTHON_NEEDED). Install one and name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(@D), once: PyTorch and the other pinned packages, a few minutes."
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install $(PIP_ARGS) -r $(filter requirements/%,$^)
	$(@D)/bin/python -m pip install $(PIP_ARGS) --no-deps -e .
	@touch $@
