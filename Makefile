# `make help` lists the targets. Everything runs in .venv, which `make setup` makes.

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup sweep test first-lane second-lane fast fast-files fast-rooms servers slow long docs docs-serve notebooks stack stack-stop style checks format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Make .venv and install everything into it (about 6 minutes, 3.5 GB)

$(INSTALLED): pyproject.toml
	@echo "1/3 making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --upgrade pip
	@echo "2/3 installing $(TORCH): a minute or two"
	@$(BIN)/pip install --quiet "$(TORCH)"
	@echo "3/3 installing the rest, about 200 packages: three minutes or four"
	@$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@
	@echo "done: source $(VENV)/bin/activate, then crystalsweep --help"

sweep: $(INSTALLED)  ## The main job: a GAN noise sweep on the bundled crystals (10 minutes on 2 cores)
	$(BIN)/python sweeps/gan_noise.py --preset demo

test: $(INSTALLED)  ## Tests, also those that start Ray clusters (25 to 35 minutes on 2 cores)
	@$(MAKE) --no-print-directory --jobs 2 first-lane second-lane

first-lane: fast-files  # one after the other, beside the second
	@$(MAKE) --no-print-directory servers

second-lane: slow
	@$(MAKE) --no-print-directory fast-rooms

FAST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow and not server and not long"

fast: $(INSTALLED)  ## The tests that start nothing (15 minutes on one core)
	$(FAST)

fast-files: $(INSTALLED)
	$(FAST) $(wildcard tests/test_*.py)

fast-rooms: $(INSTALLED)
	$(FAST) $(wildcard tests/*/)

servers: $(INSTALLED)  ## Those that start servers but no Ray, and kill them (10 minutes on one core)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -m "server and not long"

slow: $(INSTALLED)  ## Those that start Ray clusters, and kill them (15 minutes on one core)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -m "slow and not server and not long"

long: $(INSTALLED)  ## The tests that `make test` leaves out: more ways for workers to die, and the search for passwords (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

DOCS := $(VENV)/.docs

$(DOCS): $(INSTALLED)
	$(BIN)/pip install --quiet --editable ".[dev,docs]"
	@touch $@

docs: $(DOCS)  ## The documentation as a site in site/; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

docs-serve: $(DOCS)  ## Show it at http://127.0.0.1:8000, on this machine alone
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8000

notebooks: $(DOCS)  ## The tutorials in docs/notebooks/ as Jupyter notebooks
	$(BIN)/jupytext --to ipynb docs/notebooks/*.py

stack: $(INSTALLED)  ## MLflow with accounts, PostgreSQL, an S3 store and two Ray nodes, on this machine
	$(BIN)/python infra/local/stack.py start

stack-stop: $(INSTALLED)  ## Stop them; data stays
	$(BIN)/python infra/local/stack.py stop

style: $(INSTALLED)  ## Style, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

checks: style fast  ## Style, types, and the fast tests

format: $(INSTALLED)  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
