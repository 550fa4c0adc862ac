# Two commands are enough for a newcomer: `make run` and `make test`. Each does its own set-up into .venv/.

PYTHON ?= python3
FOR ?=
BOARD ?=
DATA ?= data
JOBS ?= 4
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types bench torture sim build clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run FOR=30      stop by itself after 30 s; the data stays under data/ (DATA=folder)"
	@echo "  make test PYTHON=... name the interpreter (3.11 or later); JOBS=1 one test at a time"
	@echo "  MICROPYTHON=path     name another MicroPython for the virtual boards"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "meuse needs Python 3.11 or later; name one with PYTHON=python3.11")'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "this Python cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sim,dev]'
	@touch $@

setup: $(READY) ## make .venv with everything the other commands need

build: $(READY) ## compile the firmware into build/mpy
	@$(BIN)/python firmware/build.py

run: $(READY) ## three virtual boards and the host (BOARD=firmware/examples/stove: that one): readings flow into data/
	@$(BIN)/meuse run $(if $(BOARD),--board $(BOARD),--sim) --data $(DATA) $(if $(FOR),--for $(FOR))

sim: build ## virtual boards alone, for a host that runs already (`meuse run --data data`)
	@$(BIN)/meuse sim --data $(DATA)

lint: $(READY) ## ruff over everything
	@$(BIN)/ruff check .

types: $(READY) ## mypy --strict over host and protocol
	@$(BIN)/mypy

test: $(READY) lint types ## everything: lint, types, both runtimes, end to end
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

bench: $(READY) ## readings per second beside other ways, as ratios of one run
	@$(BIN)/python tests/bench/run.py && $(BIN)/python tests/bench/topics.py && $(BIN)/python tests/bench/commands.py

torture: build ## an hour of what `make test` does in minutes: power cuts, lossy lines, kills, links cut in turn
	@MEUSE_CUTS=200000 MEUSE_RECORDS=1000000 MEUSE_EXAMPLES=20 MEUSE_KILLS=500 $(BIN)/python -m pytest -q -s \
	  tests/firmware/test_supervisor.py tests/firmware/test_flash_log.py tests/protocol tests/end_to_end/test_kill.py
	@$(BIN)/python tests/turns_table.py

clean: ## remove what was built; keeps data/
	rm -rf build $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
