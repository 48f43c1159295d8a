# Two commands after a clone: `make demo` and `make test`. Each makes .venv when it is missing.
PYTHON ?= python3
SOAK ?= 500
SOAK_MINUTES ?= 30
LAB ?= chain:2
SEEDS ?= 1000
NODES ?=
JOBS ?= 2
PY = .venv/bin/python
LONG = $(PY) -m pytest -m soak -s -o faulthandler_timeout=0 -o timeout=0

.PHONY: help demo test test-all sim soak kills check format wheel clean

help:
	@echo "make demo       three nodes on loopback, keys fetched at both ends, compared"
	@echo "make test       the fast tests"
	@echo "make test-all   the slow ones too: real sockets, processes, kill -9"
	@echo "make sim        SEEDS=$(SEEDS) simulated networks under seeded faults, every promise checked"
	@echo "                NODES=5-30 makes them random ones, of so many nodes"
	@echo "make soak       SOAK_MINUTES=$(SOAK_MINUTES) of load and all kinds of faults on LAB=$(LAB)"
	@echo "make kills      SOAK=$(SOAK) times kill -9 under load"
	@echo "make check      format, lint, types, import contracts"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv .venv

.venv/.run: setup.cfg pyproject.toml | .venv/bin/python
	@$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.test: setup.cfg pyproject.toml | .venv/bin/python
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ .venv/.run

.venv/.dev: setup.cfg pyproject.toml | .venv/bin/python
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/.run .venv/.test

demo: .venv/.run
	@.venv/bin/protokms demo

test: .venv/.test
	@$(PY) -m pytest

test-all: .venv/.test
	@$(PY) -m pytest -m "not soak" -n $(JOBS) --dist loadgroup

sim: .venv/.run
	@$(PY) -m protokms.testing.sim --seeds $(SEEDS) --jobs $(JOBS) $(if $(NODES),--nodes $(NODES))

soak: .venv/.test
	SOAK_MINUTES=$(SOAK_MINUTES) LAB=$(LAB) $(LONG) tests/system/test_real_soak.py

kills: .venv/.test
	SOAK=$(SOAK) $(LONG) tests/system/test_real_crashes.py

check: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

wheel: .venv/.dev
	$(PY) -m build --wheel --outdir dist

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
