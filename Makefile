# make demo and make test are the whole set-up: each first installs what is missing, and only that.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

bin := .venv/bin
typed := $(wildcard src tests bench)
sources := $(typed) $(wildcard examples)

# $(call quietly,NAME,COMMAND): one line when it passes, everything it said when it does not.
quietly = @if said=$$({ $(2); } 2>&1); then echo "check  $(1)"; \
	else echo "$$said"; echo "check  $(1) failed"; exit 1; fi

.PHONY: help setup demo down test check tests sim soak fuzz bench format lock docs clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## install what is missing, build what changed
	@bash setup/run.sh

demo: setup ## start a grid on this machine and run the main job on it
	@$(bin)/tfgrid demo

down: ## stop the grid that demo left running; DIR and data stay (tfgrid down --purge removes them)
	@if [[ -x $(bin)/tfgrid ]]; then $(bin)/tfgrid down; else echo "nothing is set up here"; fi

test: setup check ## run every check and every test
	@$(bin)/pytest -n 2 --dist loadgroup -q

tests: setup ## run the tests alone
	@$(bin)/pytest -n 2 --dist loadgroup -q

# Each check is a target of its own, so that make -k check shows the findings of all of them.
checks := format lint types imports stub rust clippy rustfmt
.PHONY: $(addprefix check-,$(checks))

check: setup $(addprefix check-,$(checks)) ## format, lint, types, import contracts, native stub, Rust

check-format:
	$(call quietly,format,$(bin)/ruff format --check --quiet $(sources))

check-lint:
	$(call quietly,lint,$(bin)/ruff check --quiet --output-format concise $(sources))

check-types:
	$(call quietly,types,$(bin)/mypy $(typed))

check-imports:
	$(call quietly,imports,$(bin)/lint-imports --no-cache)

check-stub:
	$(call quietly,stub,MYPYPATH=src $(bin)/python -m mypy.stubtest tfgrid._native)

check-rust:
	$(call quietly,rust,cd rust && cargo test --quiet --locked --workspace --exclude tfgrid-binding \
		--features tfgrid-zdb/canaries)

# Debian's Rust may come without clippy and rustfmt; where they are missing there is nothing to run.
check-clippy:
	$(call quietly,clippy,cd rust; if ! cargo clippy --version; then exit 0; fi; \
		PYO3_PYTHON=$(CURDIR)/$(bin)/python cargo clippy --quiet --locked --workspace --all-targets \
		--features tfgrid-zdb/canaries -- -D warnings)

check-rustfmt:
	$(call quietly,rustfmt,cd rust; if ! cargo fmt --version; then exit 0; fi; cargo fmt --all --check)

sim: setup ## simulate many more grids than the tests do: make sim SEEDS=10000
	@TFGRID_SIM_SEEDS=$${SEEDS:-10000} $(bin)/pytest -n 2 --dist loadgroup -q tests/sim

soak: setup ## crash Zero-DB's engine 10,000 times and simulate 1,000 grids: make soak ZDB_SEEDS=n SEEDS=n
	@cd rust && cargo test --locked -p tfgrid-zdb --test simulation -- --ignored --nocapture soak
	@TFGRID_SIM_SEEDS=$${SEEDS:-1000} $(bin)/pytest -n 2 --dist loadgroup -q tests/sim

fuzz: setup ## give every parser of Zero-DB hostile bytes; needs cargo-fuzz: make fuzz SECONDS_EACH=n
	@SECONDS_EACH=$${SECONDS_EACH:-60} bash setup/fuzz.sh

bench: ## measure beside the peers, as ratios
	@bash setup/run.sh bench
	@$(bin)/python -m bench

format: setup ## format everything
	@$(bin)/ruff format --quiet $(sources)
	@$(bin)/ruff check --quiet --fix $(sources)
	@if cargo fmt --version >/dev/null 2>&1; then cd rust && cargo fmt --all; fi

docs: setup ## render docs/errors.md from the catalogue
	@$(bin)/python -c 'from tfgrid.core import catalogue; print(catalogue.markdown(), end="")' >docs/errors.md

lock: ## renew the lock files after a dependency changed
	@bash setup/lock.sh

clean: down ## remove everything that was built; the sources and a grid's data stay
	@rm -rf .venv build dist rust/target .hypothesis .mypy_cache .ruff_cache .pytest_cache
	@find src tests -name __pycache__ -prune -exec rm -rf {} +
	@rm -f src/tfgrid/_native*.so
