# `make run` and `make test` need only Python 3.11+ and make; they do the rest themselves.
# Everything they write lives under build/.

PYTHON ?= python3
VENV := build/venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Stamps: the environment exists; `make run` can run in it; `make docs` can; `make test` can.
CREATED := $(VENV)/.created
RUNTIME := $(VENV)/.runtime
DOCUMENTED := $(VENV)/.docs
TESTED := $(VENV)/.test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run real docs test lint format constraints clean

# A real flood, as the Python package hydro-smash ships its data: the wheel is unpacked, not installed.
REAL := build/real
CANCE := hydro-smash==1.3.0
WHEEL_TAGS := --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64

help: ## say what there is
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: $(RUNTIME) ## train Dom-ST on the embedded sample (ARGS="..." goes to python -m model.train)
	$(PY) -m model.train $(ARGS)

real: export DOMST_DATA = $(CURDIR)/$(REAL)
real: $(REAL)/.unpacked ## a real flood, the Cance in France: download it, train on one flood, test on another
	$(PY) -m pipeline run catalogs/cance.yaml --store $(REAL)/cance.zarr
	$(PY) -m pipeline check $(REAL)/cance.zarr
	$(PY) -m model.train $(REAL)/cance.zarr --run build/runs/cance_november \
		--train 2014-09-15/2014-10-31 --validation 2014-12-01/.. --test 2014-11
	$(PY) -m model.train $(REAL)/cance.zarr --run build/runs/cance_october \
		--train 2014-11 --validation 2014-12-01/.. --test 2014-09-15/2014-10-31
	$(PY) -m benchmarks.cance build/runs/cance_november build/runs/cance_october --store $(REAL)/cance.zarr
	@echo "reports: build/runs/cance_november/report.html, build/runs/cance_october/report.html"

docs: $(DOCUMENTED) ## the documentation site, build/site/index.html; no warning is let through
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet -c docs/site -d build/cache/site . build/site
	@echo "documentation: build/site/index.html"

test: lint ## lint, types and the whole test suite on all cores (ARGS="-n 0 ..." goes to pytest)
	OMP_NUM_THREADS=1 HYPOTHESIS_STORAGE_DIRECTORY=build/cache/hypothesis \
		$(PY) -m pytest -n auto --dist worksteal $(ARGS)

lint: $(TESTED) ## ruff, mypy and the rules of import
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --cache-dir build/cache/imports

format: $(TESTED) ## let ruff mend what it can
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Dom-ST needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUNTIME): pyproject.toml constraints.txt $(CREATED)
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(DOCUMENTED): $(RUNTIME)
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

$(TESTED): $(RUNTIME)
	$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@

$(REAL)/.unpacked: $(RUNTIME)
	@rm -rf $(REAL)
	$(PIP) download $(CANCE) --no-deps --only-binary=:all: $(WHEEL_TAGS) --dest $(REAL)
	$(PY) -m zipfile -e $(REAL)/*.whl $(REAL)
	@touch $@

# Keeps every pin that still fits and adds what is missing. To move one or all:
# make constraints UPGRADE="--upgrade-package torch", make constraints UPGRADE=--upgrade
constraints: build/uv/.created ## resolve constraints.txt anew from pyproject.toml
	build/uv/bin/uv pip compile pyproject.toml --all-extras --python-version 3.11 --python-platform linux \
		--custom-compile-command 'make constraints' --no-annotate --quiet $(UPGRADE) -o constraints.txt

build/uv/.created:
	@rm -rf build/uv
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip --disable-pip-version-check install 'uv>=0.9'
	@touch $@

clean: ## remove everything generated
	rm -rf build
