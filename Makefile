# `make demo` and `make test` need only this folder, Python and network access. Both create .venv on first
# use, and again when the dependencies change.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format manual clean

BIN := .venv/bin
SET_UP := .venv/.set-up
MANUAL := api/manual.zip
MANUAL_SOURCES := $(shell find docs manual benchmarks api cli jobs slimgpt *.md -name '*.md' -o -name '*.svg' \
	-o -name '*.png' -o -name '*.css' -o -name '*.html' -o -name '*.toml' -o -name '*.py')

# Small matrices are slower on several threads than on one, especially with parallel tests.
QUIET_MACHINE := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(SET_UP) $(MANUAL)  ## Create the virtual environment, build the manual (as other targets do)

$(SET_UP): pyproject.toml constraints.txt .ci/set-up
	@.ci/set-up
	@touch $@

demo: $(SET_UP) $(MANUAL)  ## Prune the bundled small model and compare it; MODEL=smollm2: a real one, 15 minutes
ifdef MODEL
	@TOKENIZERS_PARALLELISM=false $(BIN)/python -m examples.demo --model $(MODEL)
else
	@$(QUIET_MACHINE) $(BIN)/python -m examples.demo
endif

# Hundreds of processes start, each from bytecode.
test: check  ## Everything that CI runs: linters, types, import rules, tests
	@env -u PYTHONDONTWRITEBYTECODE $(QUIET_MACHINE) \
		$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: $(SET_UP)  ## Linters, types and import rules only
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(SET_UP)  ## Format all files
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

manual: $(SET_UP)  ## Build the manual, which the service shows at /help, without network
	@$(BIN)/python -m manual

$(MANUAL): $(MANUAL_SOURCES) | $(SET_UP)
	@$(MAKE) manual

clean:  ## Remove all generated files
	@rm -rf .venv build dist demo-output api/manual.zip .*_cache .hypothesis
