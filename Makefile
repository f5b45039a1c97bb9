# Each target makes `.venv` from the pinned versions if it is not there or out of date.
# A fresh clone needs nothing but Python 3.11 or newer as `python3` (or PYTHON=...), with venv.

PYTHON ?= python3
WORKERS ?= logical
ONLY ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt --build-constraint constraints.txt
# One thread per process: libraries that spin on shared cores only burn time.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: demo test check bench peers docs

demo: .venv/core.stamp
	$(BIN)/clg demo demo

test: .venv/test.stamp
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal

check: .venv/check.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/test.stamp
	$(ONE_THREAD) $(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

# The programs that some benchmarks measure themselves against, each set in an environment of its own.
peers: $(patsubst benchmarks/peers/%.txt,.venv-peers/%.stamp,$(wildcard benchmarks/peers/*.txt))

.venv-peers/%.stamp: benchmarks/peers/%.txt
	@$(PYTHON) -m venv .venv-peers/$*
	@.venv-peers/$*/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

docs: .venv/docs.stamp
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

.venv/core.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("clgkit needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@echo "Installing the pinned versions into .venv (once, about a minute)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --constraint constraints.txt --upgrade pip
	@$(INSTALL) --editable .
	@touch $@

.venv/test.stamp .venv/check.stamp .venv/docs.stamp: .venv/%.stamp: .venv/core.stamp
	@echo "Installing what \`make $*\` needs"
	@$(INSTALL) --group $*
	@touch $@
