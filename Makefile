# `make demo` and `make test` need Python 3.11 or newer and nothing else: they build .venv themselves.
PYTHON ?= python3
JOBS ?= 2

BIN := .venv/bin
STAMP := .venv/.installed
SOURCES := $(wildcard lens_transformers training tests benchmarks)
DEMO_OPTIONS := $(if $(BUDGET),--budget $(BUDGET)) $(if $(DATA),--data "$(DATA)")

.PHONY: help demo test style quality conformance bench clean
.DEFAULT_GOAL := help

help: ## Say what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 20

demo: $(STAMP) ## Simulate, pretrain, fine-tune, evaluate and report; BUDGET=60 takes an hour, DATA=folder evaluates on it
	$(BIN)/python training/demo.py $(DEMO_OPTIONS)

test: $(STAMP) ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

style: $(STAMP) ## Put the code into the house's form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

quality: $(STAMP) ## Check form, types, spelling and the structure of the model folder
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/mlinter --no-progress lens_transformers/models/lens_mae

conformance: $(STAMP) ## Run transformers' own common tests on our classes
	OMP_NUM_THREADS=1 $(BIN)/python tests/conformance/run.py -n $(JOBS)

bench: $(STAMP) ## Measure speed and memory beside what one would use instead, in 20 minutes; with a GPU its rows too
	$(BIN)/python -m pip install --constraint constraints.txt --requirement benchmarks/requirements.txt
	$(BIN)/python -m benchmarks

clean: ## Remove .venv, caches and build outputs
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "lens-transformers needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@
