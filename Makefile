# Two commands after a clone: `make demo` and `make test`. Each makes .venv when it is missing.
PYTHON ?= python3
SOAK ?= 500
SPREAD_KILLS ?= 100
SOAK_MINUTES ?= 30
LAB ?= chain:2
SEEDS ?= 1000
NODES ?=
YANG ?=
JOBS ?= 2
PY = .venv/bin/python
LONG = $(PY) -m pytest -m soak -s -o faulthandler_timeout=0 -o timeout=0

.PHONY: help demo test test-all sim rates soak kills yang check format wheel clean

help:
	@echo "make demo       three nodes on loopback, keys fetched at both ends, compared"
	@echo "make test       the fast tests"
	@echo "make test-all   the slow ones too: real sockets, processes, kill -9"
	@echo "make sim        SEEDS=$(SEEDS) simulated networks under seeded faults, every promise checked"
	@echo "                NODES=5-30 makes them random ones, of so many nodes"
	@echo "make rates      keys at 300 to 10,000 bit/s over 1 to 5 hops: the tables of docs/range.md"
	@echo "make soak       SOAK_MINUTES=$(SOAK_MINUTES) of load and all kinds of faults on LAB=$(LAB)"
	@echo "                then a partition of hosts for 30 s, and an upgrade from 0.1.0 under load"
	@echo "make kills      SOAK=$(SOAK) times kill -9 under load, then SPREAD_KILLS=$(SPREAD_KILLS) times"
	@echo "                of the processes of one node in turn"
	@echo "make yang       YANG=DIR, the modules of ETSI 015: libyang and yangson judge what is told"
	@echo "make check      format, lint, types, import contracts"

# Without ensurepip a .venv is made that has no pip: that is no reason to believe in it next time.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "venv is missing: install the package python3-venv (Debian, Ubuntu), then make again" >&2; exit 1; }
	@echo "making .venv, and installing what is needed: about a minute"
	@$(PYTHON) -m venv --clear .venv

.venv/.run: setup.cfg pyproject.toml | .venv/bin/pip
	@$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.test: setup.cfg pyproject.toml | .venv/bin/pip
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ .venv/.run

.venv/.dev: setup.cfg pyproject.toml | .venv/bin/pip
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/.run .venv/.test

.venv/.deploy: setup.cfg pyproject.toml | .venv/bin/pip
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test,deploy]'
	@touch $@ .venv/.run .venv/.test

demo: .venv/.run
	@.venv/bin/protokms demo

test: .venv/.test
	@$(PY) -m pytest

test-all: .venv/.deploy
	@$(PY) -m pytest -m "not soak" -n $(JOBS) --dist loadgroup

sim: .venv/.run
	@$(PY) -m protokms.testing.sim --seeds $(SEEDS) --jobs $(JOBS) $(if $(NODES),--nodes $(NODES))

rates: .venv/.test
	@$(PY) -m pytest -m "" -rP -o timeout=0 -o faulthandler_timeout=0 -n $(JOBS) tests/networks/test_slow_links.py

soak: .venv/.test
	SOAK_MINUTES=$(SOAK_MINUTES) LAB=$(LAB) $(LONG) tests/processes/test_real_soak.py
	$(LONG) tests/processes/test_real_netns.py tests/processes/test_real_upgrade.py

kills: .venv/.test
	SOAK=$(SOAK) $(LONG) tests/processes/test_real_crashes.py
	SPREAD_KILLS=$(SPREAD_KILLS) $(LONG) tests/processes/test_real_spread_kills.py

yang: .venv/.test
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test,yang]'
	@$(PY) -m tests.yang $(YANG)

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
