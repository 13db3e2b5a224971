# The only task runner. Every target sets up what it needs; nothing but Python 3.11 and make is assumed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
SEED   ?= 20261123
RUN    := X3FLEET_TEST_SEED=$(SEED) $(BIN)/python -m pytest -p randomly -p "no:cacheprovider" --randomly-seed=$(SEED)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check unit contract bench deep format lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: $(PYTHON) was not found (set PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m cli "$$@"\n' > $(BIN)/x3fleet && chmod +x $(BIN)/x3fleet
	pwd > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/x3fleet.pth
	touch $@

setup: $(VENV)/.ready ## install the pinned requirements into .venv

demo: setup ## three simulated panels, the main job, damage by hand, healing (ARGS="--once --output json")
	$(BIN)/x3fleet demo $(ARGS)
