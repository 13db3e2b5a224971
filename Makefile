# The only task runner. Every target sets up what it needs; nothing but Python 3.11 and make is assumed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# One seed for the order of tests, for their randomness and for hypothesis; printed by every run.
SEED   ?= 20261123
# Worker processes of pytest; servers and fleets of processes run in a run of their own, `e2e`.
JOBS   ?= 4
PYTEST := X3FLEET_TEST_SEED=$(SEED) $(BIN)/python -m pytest -p randomly --randomly-seed=$(SEED) --hypothesis-seed=$(SEED)
# Where the pytest runs of one target add up what they counted.
TOTALS := $(CURDIR)/$(VENV)/test-totals.json
SUITES := tests --ignore=tests/e2e --ignore=tests/architecture
E2E    := $(wildcard tests/e2e/test_*.py)

# Some machines forbid it; hundreds of processes would compile all they load, each for itself.
unexport PYTHONDONTWRITEBYTECODE

# A panel of your own for `make contract` and `make bench`: PANEL_URL=... with PANEL_TOKEN=..., or
# with PANEL_USERNAME=... PANEL_PASSWORD=... (and PANEL_TOTP_SECRET=..., PANEL_LOGIN_SECRET=...).
define pass-panel
$(if $(PANEL_$(1)),$(eval export X3FLEET_TEST_PANEL_$(1) := $(PANEL_$(1))))
endef
$(foreach name,URL USERNAME PASSWORD TOKEN TOTP_SECRET LOGIN_SECRET,$(call pass-panel,$(name)))

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-fleet test check contract bench deep format lock clean rules style types loads suites e2e

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or newer is needed; '$(PYTHON)' is none (set PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# Not compiled here: most modules are never loaded, and whoever loads one first compiles it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-compile -r requirements/dev.txt
	printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m cli "$$@"\n' > $(BIN)/x3fleet && chmod +x $(BIN)/x3fleet
	pwd > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/x3fleet.pth
	touch $@

setup: $(VENV)/.ready ## install the pinned requirements into .venv

demo: setup ## three simulated panels, the main job, damage by hand, healing (ARGS="--once --output json")
	$(BIN)/x3fleet demo $(ARGS)

demo-fleet: setup ## twenty simulated panels under the service: death, wipe, drain, growth, quotas (ARGS="--output json")
	$(BIN)/x3fleet demo-fleet $(ARGS)

# The audit of hard-coded addresses is part of tests/architecture.
check: rules ## format, rules, types, import contracts, Dockerfile, architecture, hard-code audit
	$(PYTEST) -q -n $(JOBS) --dist worksteal tests/architecture

rules: setup
	@$(MAKE) --no-print-directory -j 2 style types loads

style:
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint Dockerfile

types:
	$(BIN)/mypy --no-error-summary

# One process loads every test: a name that is not there ends the run now, and the workers, which load
# all of them too, find everything compiled.
loads:
	X3FLEET_TEST_TOTALS= $(PYTEST) -q --collect-only tests >$(VENV)/collected.txt || { cat $(VENV)/collected.txt; exit 1; }

test: export X3FLEET_TEST_TOTALS := $(TOTALS)
test: setup ## make check, then every test but the slow ones; prints how many, and the fault plans
	@rm -f $(TOTALS)
	$(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory suites
	$(MAKE) --no-print-directory e2e

suites: setup
	$(PYTEST) -q -n $(JOBS) --dist worksteal $(SUITES)

e2e: setup
ifeq ($(E2E),)
	@echo "tests/e2e: holds no test yet"
else
	$(PYTEST) -q -n $(JOBS) --dist worksteal tests/e2e
endif

contract: setup ## the contract suite; PANEL_URL=... with PANEL_TOKEN=... or PANEL_USERNAME=... PANEL_PASSWORD=... adds a real panel
	$(PYTEST) -q -rs tests/contract
ifneq ($(X3FLEET_TEST_PANEL_URL),)
	$(PYTEST) -q -rs -m live tests --ignore=tests/contract || test $$? -eq 5 # 5: none elsewhere
endif

bench: setup ## ratios, as one table (PANEL_URL=... adds a real panel); SERVICE=wake|dead|fleet|failover: a running service
	$(BIN)/python -m benchmarks$(if $(SERVICE),.service $(SERVICE)) $(ARGS)

deep: export X3FLEET_TEST_DEEP := 1
deep: setup ## hours: every test, the slow ones included, a million fault plans, long hypothesis profile
	X3FLEET_TEST_TOTALS= $(PYTEST) -q -n $(JOBS) --dist worksteal tests

format: setup ## format, and mend what ruff can mend by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# uv writes no address of an index into its output; `tests/architecture` looks for one.
LOCK := $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(ARGS)
lock: setup ## compile requirements/*.txt anew from pyproject.toml (ARGS="--upgrade" for newer versions)
	test -x $(VENV)/lock/bin/uv || { $(BIN)/python -m venv $(VENV)/lock && $(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt

clean: ## remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache .demo build mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
