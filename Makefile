# `make help` lists the targets. No target deletes what it did not make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.leukemia-installed

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow lint bench campaign docs pytest

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) ## Create .venv and install the package under exact tested versions

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no '$(PYTHON)': install Python 3.11 to 3.13, or name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

train: $(STAMP) ## Train ResNet18: on LEUKEMIA_DATA where set, else on painted smears
	@if [ -n "$$LEUKEMIA_DATA" ]; then \
	  $(BIN)/python -m leukemia.train model=resnet18 $(ARGS); \
	else \
	  echo "LEUKEMIA_DATA is unset: training on painted smears."; \
	  $(BIN)/python -m leukemia.train model=resnet18 experiment=painted $(ARGS); \
	fi

test: $(STAMP) ## What CI runs: lint, types and all tests but the slow ones
	@$(MAKE) --no-print-directory -j 2 lint pytest

pytest: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## The tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## Speed and memory against bare loops, in minutes: a table, and runs/bench.json
	$(BIN)/python -m benchmarks $(ARGS)

campaign: $(STAMP) ## Kill, damage and fuzz, in half an hour: tables in runs/campaign (ARGS='--seed=3')
	$(BIN)/python -m campaign $(ARGS)

docs: $(STAMP) ## Build the pages of docs/ and experiments/ into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
