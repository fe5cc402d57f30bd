# make demo | demo-grid | test | test-gpu | test-slow | lint | format | docs | wheel | hooks | bench | bench-peers      VENV=DIR shares one environment among clones
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(abspath $(VENV))/bin
# Installed once for each set of versions: the stamp is newer than what decides them.
STAMP := $(VENV)/.installed

.PHONY: demo demo-grid test test-gpu test-slow lint format docs wheel hooks bench bench-peers install clean

# Installed here, and the compiled warp no older than its source? An environment may be shared among clones.
install: $(STAMP)
	@$(BIN)/python -P -c 'import importlib.util as u, os, sys; s = u.find_spec("shards"); k = u.find_spec("pipeline.engines._affine"); \
	  sys.exit(s is None or k is None or os.path.realpath(os.path.dirname(s.origin)) != os.path.realpath("shards") \
	  or os.path.getmtime(k.origin) < os.path.getmtime("pipeline/engines/affine.c"))' \
	  2>/dev/null || $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV): about 6.5 GB, two to three minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: install
	PATH="$(BIN):$$PATH" ./demo.sh $(DEMO)

# A whole comparison grid on the demo's phantoms and run, and its report.
demo-grid: demo
	$(BIN)/python -m eval grid demo-grid.yaml --output $(DEMO)/grid
	$(BIN)/python -m eval report $(DEMO)/grid

# A file of tests stays in one process; two of them share whatever the machine has.
test: install
	$(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist loadfile

# On a machine with a GPU: the tests that need it, which all other runs leave out.
test-gpu: install
	$(BIN)/python -m pytest -m gpu

test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Strict: a link or a name that leads nowhere fails. The variable quietens an advertisement of mkdocs-material.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# A wheel of the source distribution, installed without extras into an environment of its own (5 GB): it packs and
# evaluates there.
wheel: install
	rm -rf dist
	$(BIN)/python -c "from setuptools import build_meta; build_meta.build_sdist('dist')"
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	mkdir dist/work && cd dist/work && $(CURDIR)/.ci/base $(CURDIR)/dist/venv/bin $(BIN)

hooks: install
	$(BIN)/pre-commit install

bench: install
	$(BIN)/python -m benchmarks all --quick

bench-peers: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench-peers]'

clean:
	rm -rf .venv $(DEMO) build dist site *.egg-info pipeline/engines/*.so .mypy_cache .ruff_cache .pytest_cache
