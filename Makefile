# Needs Python ≥ 3.11, make and a network to the package indexes. Everything goes into .venv and .callsheet.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo up down test check docs bench images lock clean

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/runtime ## Three real clips through a real Airflow; leaves the UI up
	@$(BIN)/callsheet demo

up: $(VENV)/runtime ## Start the local stack
	@$(BIN)/callsheet up

down: ## Stop every process of the local stack
	@if [ -x $(BIN)/callsheet ]; then $(BIN)/callsheet down; fi

test: $(VENV)/dev ## Run every test
	@$(BIN)/python -m tests.run

check: $(VENV)/dev ## Lint, types, layers, house rules, generated docs, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m include.cli.docs --check
	$(BIN)/python -m tests.house
	$(BIN)/python -m tests.audit

docs: $(VENV)/runtime ## Write the generated docs
	$(BIN)/python -m include.cli.docs

bench: $(VENV)/dev ## Run the benchmarks; results under benchmarks/results/
	@$(BIN)/python -m benchmarks

images: $(VENV)/dev ## Build both images with buildah and run their self-checks (root, Debian 12, minutes)
	@CALLSHEET_TEST_IMAGES=1 $(BIN)/python -m pytest -q tests/deploy/test_builds.py

# With the hashes of every file of every version, so that an index can hand out no other; uv knows which files there are.
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate
lock: ## Compile every requirements file (needs uv)
	$(LOCK) requirements.in -o requirements.txt
	$(LOCK) requirements-dev.in -o requirements-dev.txt
	$(LOCK) docker/worker-requirements.in -o docker/worker-requirements.txt
	$(LOCK) docker/airflow-requirements.in -o docker/airflow-requirements.txt

clean: down ## Remove .venv and everything the local stack kept
	rm -rf $(VENV) .callsheet node_modules build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Callsheet needs Python 3.11 or newer; this is $$($(PYTHON) --version): make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Requirements are fully pinned, so pip has nothing to resolve: --no-deps saves it the attempt.
$(VENV)/runtime: requirements.txt pyproject.toml package.json | $(VENV)/bin/python
	@echo "installing Callsheet into $(VENV) (a few minutes the first time)" >&2
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m include.adapters.players || echo "the preview page will use the browser's own player" >&2
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.txt
	@echo "installing what the tests need" >&2
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-dev.txt
	@touch $@
