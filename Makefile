# Two commands need nothing but this folder, a Python and the network: `make demo`, `make test`.
# Both set themselves up in .venv, once, and again when the dependencies change.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format clean

BIN := .venv/bin
SET_UP := .venv/.set-up

# Small matrices run slower on several threads than on one, above all beside other tests.
QUIET_MACHINE := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(SET_UP)  ## Make the virtual environment (the others do it themselves)

$(SET_UP): pyproject.toml constraints.txt .ci/set-up
	@.ci/set-up
	@touch $@

demo: $(SET_UP)  ## Prune the small model that ships with the project and compare it
	@$(QUIET_MACHINE) $(BIN)/python -m examples.demo

test: check  ## Everything that CI runs: linters, types, import rules, tests
	@$(QUIET_MACHINE) $(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(SET_UP)  ## Linters, types and import rules alone
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(SET_UP)  ## Put every file into the house style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean:  ## Remove everything that was made here
	@rm -rf .venv build dist demo-output .*_cache .hypothesis
