PYTHON ?= python3
BIN := .venv/bin

DATA ?= ../shared/data

.PHONY: help install pnao test test-min test-max bench bench-quick bench-ci evidence docs docs-check lint soak format clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: .venv/installed  ## make .venv with the exact versions of constraints.txt, development tools included

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null || true  # on all cores, which pip does not
	@touch $@

pnao: install  ## the main job on the embedded (synthetic) data set
	$(BIN)/python -m mer_lightning +experiment=pnao

test: install  ## the tests
	$(BIN)/python -m pytest

test-min:  ## the tests with the oldest versions that pyproject.toml admits, in .venv-min (gigabytes)
	$(call tested_in,.venv-min,lowest-direct)

test-max:  ## the tests with the newest versions that pyproject.toml admits, in .venv-max (gigabytes)
	$(call tested_in,.venv-max,highest)

define tested_in
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet uv
	$(1)/bin/uv pip install --python $(1)/bin/python --quiet --upgrade --resolution $(2) --editable '.[dev]'
	$(1)/bin/python -m pytest
endef

soak: install  ## the long checks: damaged inputs, kills, a store of 12 GB (an hour or more)
	$(BIN)/python -m pytest -m soak -n 1

bench-ci: install  ## the ratios of bench-quick that guard the design, in a minute
	$(BIN)/python -m experiments.bench --quick --check $(addprefix --only ,$(GUARDED))

GUARDED := lightning_over_plain fold_parallel_speedup prune_share loader store

bench: install  ## how fast it is, as ratios; outputs/bench.json (25 minutes)
	$(BIN)/python -m experiments.bench

bench-quick: install  ## bench with fewer repeats, in three minutes; fails if half as good as recorded
	$(BIN)/python -m experiments.bench --quick --check

evidence: install  ## every experiment, table and figure (hours; goes on after a kill); EVIDENCE=quick: minutes
	DATA=$(DATA) EVIDENCE=$(EVIDENCE) $(BIN)/python -m experiments.evidence $(if $(WRITE),--write)

docs: outputs/gallery/done docs-check  ## the documentation as a site, site/, with the figures of small runs (minutes, once)

docs-check: .venv/docs  ## the same with the figures that are there; fails on a broken link, in CI
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict --config-file docs/web/mkdocs.yml

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

outputs/gallery/done: docs/web/gallery.py | .venv/installed
	$(BIN)/python -m docs.web.gallery
	@touch $@

lint: install  ## format, style, types and security, as CI checks them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml mer_lightning

format: install  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove .venv and caches; outputs stay
	rm -rf .venv .venv-min .venv-max .mypy_cache .ruff_cache .pytest_cache build dist site
