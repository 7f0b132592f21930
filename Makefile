# Everything a newcomer types. Each goal makes .venv and finds (on Debian, as root: installs) what it needs by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
PATHS := $(wildcard ci_plugin tests benchmarks)
ARGS ?=

.PHONY: help demo test lint format bench clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: .venv/.runtime  ## the hazards without and with stagepin, on a real engine, registry and git repository
	scripts/prerequisites demo
	.venv/bin/stagepin demo $(ARGS)

test: .venv/.dev  ## every test, engine included (ARGS="tests/unit -q" for fewer)
	scripts/prerequisites test
	scripts/wheelhouse
	scripts/prepare-debootstrap
	.venv/bin/pytest $(ARGS)

lint: .venv/.dev  ## format, lint, types, import contracts
	.venv/bin/ruff format --check $(PATHS)
	.venv/bin/ruff check $(PATHS)
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev  ## rewrite the sources as `make lint` wants them
	.venv/bin/ruff format $(PATHS)
	.venv/bin/ruff check --fix $(PATHS)

bench: .venv/.dev  ## the figures, as ratios
	scripts/prerequisites demo
	$(PY) -m benchmarks $(ARGS)

clean:  ## remove what these goals made
	rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp per set of packages, older than pyproject.toml as soon as a dependency changes.
.venv/.runtime .venv/.dev: pyproject.toml scripts/venv
	scripts/prerequisites venv
	scripts/venv $(@F:.%=%)
