# Every target works on a machine with Python 3.11+ and nothing else; what a target needs is installed first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS   ?=
SECONDS ?= 60
EVENTS ?= 1000000

# The tests start hundreds of processes, each of which would compile all modules where the shell forbids to keep them.
test bench soak chaos: export PYTHONDONTWRITEBYTECODE =

.PHONY: help run test install lint types bench soak chaos fuzz audit schemas clean

help:  ## what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: $(VENV)/.runtime  ## start everything on embedded defaults and play sample events through (ARGS=--once to end after them)
	@$(BIN)/python -m router dev $(ARGS)

test: $(VENV)/.development lint types  ## lint, types and the whole test suite against a real embedded server
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

install: $(VENV)/.runtime  ## create .venv and install what running needs, from the lock

lint: $(VENV)/.development  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.development  ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.development  ## measure, as ratios within one run
	$(BIN)/python -m tests.benchmarks $(ARGS)

soak: $(VENV)/.development  ## does the memory of any process grow over EVENTS=1000000 events? (a long run)
	$(BIN)/python -m tests.benchmarks.soak --events $(EVENTS) $(ARGS)

chaos: $(VENV)/.development  ## kill everything at random under load and account for every event (ROUNDS=n SEED=n repeat a schedule)
	$(BIN)/python -m tests.chaos $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: $(VENV)/.fuzz  ## fuzz every parser, guided by coverage, SECONDS=60 each (ARGS='TARGET ...' for some of them)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

audit: $(VENV)-audit/.audit  ## look for known vulnerabilities of what the locks pin (2: could not ask)
	@$(VENV)-audit/bin/python -m tests.audit

schemas: $(VENV)/.runtime  ## write the JSON Schemas of all entries again, from the models
	$(BIN)/python -m router schemas config/schemas

clean:  ## remove the virtual environment and the state of `make run`
	rm -rf $(VENV) $(VENV)-audit .state

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("participant-router needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python requirements.lock
	@echo "installing from requirements.lock (about half a minute, once)"
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.lock
	@echo "installing from requirements-dev.lock (once)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.fuzz: $(VENV)/.development requirements-fuzz.lock
	@echo "installing from requirements-fuzz.lock (once)"
	@$(PIP) install --require-hashes -r requirements-fuzz.lock
	@touch $@

$(VENV)-audit/.audit: requirements-audit.lock
	@echo "installing from requirements-audit.lock into $(VENV)-audit (once)"
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-audit.lock
	@touch $@
