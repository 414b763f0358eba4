PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install pnao test lint format clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/installed  ## make .venv with the exact versions of constraints.txt, development tools included

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

pnao: install  ## the main job on the embedded (synthetic) data set
	$(BIN)/python -m mer_lightning +experiment=pnao

test: install  ## the tests
	$(BIN)/python -m pytest

lint: install  ## format, style and types, as CI checks them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove .venv and caches; outputs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build dist
