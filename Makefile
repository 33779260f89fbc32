# Everything starts here. `make help` lists the targets; each sets up what it needs.

# The first interpreter that is new enough. A name may be on PATH and still not run, so each is tried.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
ARGS ?=
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help venv lint format test check demo bench bench-quick test-servers test-all contract docs docs-reference synapse \
	proof-platforms proof-postgres clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## install pillarbox and its tools into .venv

# Installed again when a dependency or a pin changes; the stamp is written last, so a broken install is redone.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "pillarbox needs Python 3.11 or newer: none was found on PATH" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) -e '.[dev]'
	@touch $@

lint: venv ## check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

test: venv ## run the tests on every core (ARGS="-k lease" runs some, JOBS=0 one after the other)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

check: lint test ## all that a change has to pass

synapse: ## install the Matrix server that some tests talk to, in an environment of its own
	$(PYTHON) -m venv --clear .venv-synapse
	timeout 180 .venv-synapse/bin/python -m pip install -qq --disable-pip-version-check matrix-synapse==1.163.2

proof-platforms: venv ## send thousands of messages to chat platforms, fake ones and Synapse, with killed workers
	PILLARBOX_TEST_PLATFORM_MESSAGES=2000 PILLARBOX_TEST_SYNAPSE_MESSAGES=200 $(BIN)/python -m pytest -s --timeout 900 \
		tests/simulation/test_platforms.py tests/channels/test_synapse.py $(ARGS)

proof-postgres: venv ## break connections to PostgreSQL forty times each way, kill its server and let standbys take over
	PILLARBOX_TEST_POSTGRES_FAULTS=40 $(BIN)/python -m pytest -s tests/acceptance/test_server_faults.py $(ARGS)

demo: venv ## see it deliver, be killed midway, and lose nothing
	$(BIN)/pillarbox demo $(ARGS)

bench: venv ## measure it beside its peers (ARGS names a question)
	$(PIP) -e '.[bench]'
	$(BIN)/python -m bench $(ARGS)

bench-quick: ## measure its main ratios in two minutes, roughly
	$(MAKE) --no-print-directory bench ARGS="--quick $(ARGS)"

test-servers: venv ## run the tests of PostgreSQL on its versions 14 to 18, or on some (VERSIONS="14 17")
	JOBS=$(JOBS) VERSIONS="$(VERSIONS)" bash .ci/test-servers $(ARGS)

test-all: venv ## run the tests on every newer Python, framework and PostgreSQL found here (ARGS and JOBS as for test)
	JOBS=$(JOBS) bash .ci/test-all $(ARGS)

contract: venv ## which test keeps which promise, and which promise has none
	$(BIN)/python -m tests.contract_table

docs: venv ## make a site of docs/ in site/; a link that leads nowhere is an error
	$(PIP) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

docs-reference: venv ## draw the generated parts of docs/reference/ from the code
	$(BIN)/python -m tools.reference

clean: ## remove what the other targets made
	rm -rf .venv .venv-* dist build site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
