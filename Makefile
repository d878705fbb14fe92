# Everything a person types starts here: `make help`.
SHELL := /bin/bash
PYTHON ?= python3
TORCH ?= auto
BIN := .venv/bin
STACK ?= examples/quickstart/lamina.toml
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # hundreds of processes are started, which would each compile the package anew

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev up corpus test test-all check lint types house docs web bench bench-setup clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:  ## make .venv with what `make up` needs (TORCH=auto|cpu|cuda chooses the torch build)
	@$(PYTHON) scripts/setup.py base --torch $(TORCH)

setup-dev: setup  ## add what tests and checks need: the dev extra, system packages where root allows, test material
	@$(PYTHON) scripts/setup.py dev

up: setup  ## build the example stack (documents -> model -> API and web page) and serve it
	@$(BIN)/lamina up --stack $(STACK)

corpus: setup  ## build the example corpus (books, articles, posts, letters) and its page with pictures
	@$(BIN)/lamina data build --stack examples/corpus/lamina.toml
	@$(BIN)/lamina data report --stack examples/corpus/lamina.toml

test: setup-dev  ## run the tests in two processes, without the three slow ones (see test-all)
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow"

test-all: setup-dev  ## run all tests, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

lint: setup-dev  ## style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup-dev  ## mypy, strict
	@$(BIN)/mypy

house: setup-dev  ## import rules
	@$(BIN)/lint-imports --no-cache

web: setup-dev  ## type-check the web page and build it
	@$(BIN)/python hatch_build.py --check

docs: setup-dev  ## build the documentation into site/
	@$(BIN)/mkdocs build --strict --quiet

check: lint types house web docs test-all  ## all of it: what must pass before a change lands

bench-setup:  ## install the peers that benchmarks compare with, each into an environment of its own
	@$(PYTHON) scripts/setup.py bench

bench: setup-dev  ## run the benchmarks and write benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/run.py

clean:  ## remove what was built (not .lamina, which holds your models)
	@rm -rf .venv .cache build dist site .pytest_cache .mypy_cache .ruff_cache src/lamina/interface/static src/lamina/deployment/engine/native/liblamina.so
