# Every target needs Python 3.11 or newer, and installs the rest first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS   ?=
SECONDS ?= 60
EVENTS ?= 1000000

# The tests start hundreds of processes. With PYTHONDONTWRITEBYTECODE set, each would compile all modules again.
test browser bench soak chaos siege: export PYTHONDONTWRITEBYTECODE =

.PHONY: help run test browser install lint types bench soak chaos siege fuzz api audit schemas shipped clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: $(VENV)/.runtime  ## start everything on embedded defaults and play sample events (ARGS=--once ends after them)
	@$(BIN)/python -m router dev $(ARGS)

test: $(VENV)/.development lint types  ## lint, types and the whole test suite, against a real embedded server
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

browser: $(VENV)/.browser  ## test the console in Chromium, which must be installed (ARGS=--screens writes the pictures of docs)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/browser $(ARGS)

install: $(VENV)/.runtime  ## create .venv and install the locked runtime packages

lint: $(VENV)/.development  ## check rules and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.development  ## check types with mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.development  ## run the benchmarks, as ratios within one run
	$(BIN)/python -m tests.benchmarks $(ARGS)

soak: $(VENV)/.development  ## check that no process grows over EVENTS=1000000 events (takes long)
	$(BIN)/python -m tests.benchmarks.soak --events $(EVENTS) $(ARGS)

chaos: $(VENV)/.development  ## kill everything at random under load and account for every event (ROUNDS=n SEED=n repeat a schedule)
	$(BIN)/python -m tests.chaos $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

siege: $(VENV)/.development  ## keep something broken and show that others are served (ARGS='--quick NAME ...' for some)
	$(BIN)/python -m tests.siege $(ARGS)

fuzz: $(VENV)/.fuzz  ## fuzz every parser, guided by coverage, SECONDS=60 each (ARGS='TARGET ...' for some)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

api: $(VENV)/.development $(VENV)-api/.api  ## compare the console's JSON with its OpenAPI document, by generated requests
	$(BIN)/python -m tests.console.generated_requests $(VENV)-api/bin/st $(ARGS)

audit: $(VENV)-audit/.audit  ## look for known vulnerabilities in the locked packages (status 2: the service did not answer)
	@$(VENV)-audit/bin/python -m tests.audit

schemas: $(VENV)/.runtime  ## write the JSON Schemas of all entries
	$(BIN)/python -m router schemas config/schemas

shipped:  ## copy config and Procfile to tests/shipped, which the tests read: after a change of what ships
	rm -rf tests/shipped
	mkdir -p tests/shipped/voice
	cp config/*.toml Procfile tests/shipped
	cp config/voice/*.xml tests/shipped/voice

clean:  ## remove the virtual environment and the state of `make run`
	rm -rf $(VENV) $(VENV)-api $(VENV)-audit .state

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

$(VENV)/.browser: $(VENV)/.development requirements-browser.lock
	@echo "installing from requirements-browser.lock (once)"
	@$(PIP) install --require-hashes -r requirements-browser.lock
	@touch $@

$(VENV)-api/.api: requirements-api.lock
	@echo "installing from requirements-api.lock into $(VENV)-api (once)"
	@$(PYTHON) -m venv $(VENV)-api
	@$(VENV)-api/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-api.lock
	@touch $@

$(VENV)-audit/.audit: requirements-audit.lock
	@echo "installing from requirements-audit.lock into $(VENV)-audit (once)"
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-audit.lock
	@touch $@
