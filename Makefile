# Everything runs in .venv, which `setup` makes on a machine that has only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.howdah-ready
# uv is used where it is there because it is fast; pip does the same.
ifneq ($(shell command -v uv 2>/dev/null),)
MAKE_VENV := uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
PIP := uv pip install --quiet --python $(BIN)/python
else
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
MAKE_VENV := $(PYTHON) -m venv $(VENV) && $(PIP) --upgrade 'pip>=25.1'
endif
# Tests wait more than they compute.
JOBS ?= 4

.PHONY: help setup demo test check bench peers soak format clean

help:            ## what there is
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ \t/'

setup: $(STAMP)  ## .venv with howdah, all extras and the development tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "howdah needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(MAKE_VENV)
	@$(PIP) -e '.[all]' --group dev
	@touch $@

demo: setup      ## the main job, on real files, on the embedded server
	@$(BIN)/howdah demo

test: setup      ## the tests, on every PostgreSQL of this machine
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: setup     ## format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: setup     ## all that is measured, beside the bare loop and other task queues: into benchmarks/RESULTS.md
	@$(PIP) --group bench
	@$(BIN)/python benchmarks/run.py
	@$(BIN)/python benchmarks/compare.py
	@$(BIN)/python benchmarks/report.py

peers: setup     ## only the comparison with other task queues
	@$(BIN)/python benchmarks/compare.py

soak: setup      ## ten minutes of mixed work
	@$(BIN)/python benchmarks/run.py --soak 10

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
