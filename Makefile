# make demo    fine-tune and evaluate a small model, and show the result
# make test    all tests
# make lint    style of code and workflow
# make clean   remove results and caches; `make distclean` the virtual environment too

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := $(wildcard envs/*.txt)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test lint docs clean distclean

demo: $(VENV)/.installed
	$(BIN)/snakemake --cores all --resources gpu=1

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules workflow/Snakefile
	$(BIN)/snakemake --lint

docs: $(VENV)/.installed
	PYTHONPATH=workflow/scripts $(BIN)/python -m snaketune.config.document

clean:
	rm -rf results .snakemake .pytest_cache .ruff_cache

distclean: clean
	rm -rf $(VENV)

# Stamped last, so that an installation that broke off starts over.
$(VENV)/.installed: $(REQUIREMENTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c envs/constraints.txt -r envs/requirements-dev.txt
	touch $@
