# PYTHON is any Python >= 3.11; everything is installed into .venv beside this file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECORDS ?=
FORMAT ?= record
LIMIT ?= 500

.DEFAULT_GOAL := help
.PHONY: help demo test lint checkpoints clean

help:
	@echo "make demo [RECORDS=FILE] [FORMAT=record|xlam|bfcl|toolalpaca] [LIMIT=500]   search, with the embedded models"
	@echo "make test          run the tests"
	@echo "make lint          ruff and pyright"
	@echo "make checkpoints   train the embedded models again"
	@echo "make clean         remove .venv, runs and caches"

# A stamp is newer than setup.cfg exactly when what setup.cfg asks for is installed.
$(VENV)/.installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m search.demo --limit $(LIMIT) $(if $(RECORDS),--records "$(RECORDS)" --format "$(FORMAT)")

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

checkpoints: $(VENV)/.installed
	toolprm_jax/toolworld/checkpoints.sh $(BIN)/python

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
