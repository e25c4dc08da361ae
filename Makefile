# make demo    fine-tune and evaluate a small model, and show the result
# make new     DATA=my.csv MODEL=folder: drafts an experiment for your data in config/experiments/
#              (NAME=its name, JUDGE=a model that judges, for safety)
# make test    all tests but those below
# make test-slurm  the SLURM profile against a SLURM of one node, which it installs (root, apt)
# make test-stale  what runs again after every kind of edit: dry runs and starts (half an hour)
# make test-faults  a kill in every rule and 25 ends at random moments, then the same command (half
#              an hour)
# make test-own  each of the files that users came with, in REAL_DATA_DIR's neighbour cases/own-data,
#              from make new to the report (a quarter of an hour)
# make test-families  tiny models of today's families, each step held against plain transformers;
#              FAMILIES_TABLE=write writes the table in docs/models.md anew (some minutes)
# make test-templates  the demo's verifier trained and asked under five kinds of chat template (20 minutes)
# make test-docs  the commands of README.md and docs/, the tutorial's for real (ten minutes)
# make test-real  what takes a pretrained model, those in REAL_MODEL_DIR and REAL_BASE_MODEL_DIR, and
#              all rows of the data in REAL_DATA_DIR through whole recipes
# make test-gguf  exports for llama.cpp held against transformers, in an environment of its own, .venv-gguf,
#              where llama.cpp is built (some minutes, once); with REAL_MODEL_DIR a real model's run too
# make lint    style and types of code and workflow
# make steps   which steps' code changed; SAME="train judge" (or all) says that results stay,
#              NEW="train" that they change
# make docs    config/README.md, config/schema.json and docs/formats.md, from the code
# make dependencies  envs/licences.md and envs/sbom.json, of the pinned packages
# make audit   whether faults are known of the pinned packages, in an environment of its own
# make bench   speed and memory beside other tools, in an environment of its own (half an hour);
#              fails at the end where a script failed or a bar was missed
# make clean   remove results and caches; `make distclean` the virtual environment too

# The first of these that is there and new enough; PYTHON=… names another.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name $(NEW_ENOUGH) 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
GGUF := .venv-gguf
AUDIT := .venv-audit
BENCHMARKS := train_vs_trl options_vs_lm_eval accuracy_vs_lm_eval generate_vs_plain load_nf4 overlap_vs_peers plan_scale
REQUIREMENTS := $(wildcard envs/*.txt)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo new test test-slurm test-stale test-faults test-own test-families test-gguf test-templates test-docs test-real lint steps docs dependencies audit bench clean distclean

# On the CPU, where models this small are fastest with a core for each job.
demo: $(VENV)/.installed
	CUDA_VISIBLE_DEVICES= $(BIN)/snakemake --cores all --resources gpu=4 --max-threads 1

new: $(VENV)/.installed
	@PYTHONPATH=workflow/scripts $(BIN)/python -m snaketune.config.new --data "$(DATA)" \
		--model "$(MODEL)" --name "$(NAME)" --judge "$(JUDGE)"

# Files side by side, as many as there are cores, up to four: a model or two are in memory for each.
# The long ones first, so that all are done at about the same time.
test: $(VENV)/.installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder -m "not long" tests/workflow tests/real tests/unit

test-slurm: $(VENV)/.installed-slurm
	$(BIN)/python -m pytest tests/slurm -rs

test-stale: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/stale

test-families: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/families

test-gguf: $(GGUF)/.installed
	OMP_NUM_THREADS=1 $(GGUF)/bin/python -m pytest tests/gguf -rs

test-faults: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/workflow/test_interruption.py -m long

test-templates: $(VENV)/.installed
	$(BIN)/python -m pytest tests/workflow/test_templates.py -m long

# Two files at a time, each on a core.
test-own: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/workflow/test_own_data.py -m long -rs

test-docs: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/workflow/test_docs_commands.py -m long

test-real: $(VENV)/.installed
	$(BIN)/python -m pytest tests/real -rs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/workflow/test_recipes.py -m long -rs

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules workflow/Snakefile
	$(BIN)/snakemake --lint

steps: $(VENV)/.installed
	@PYTHONPATH=workflow/scripts $(BIN)/python -m snaketune.steps.versions \
		$(if $(SAME),--same $(SAME)) $(if $(NEW),--new $(NEW))

docs: $(VENV)/.installed
	PYTHONPATH=workflow/scripts $(BIN)/python -m snaketune.config.document

dependencies: $(VENV)/.installed
	$(BIN)/python envs/dependencies.py

audit: $(AUDIT)/.installed
	@$(AUDIT)/bin/python envs/dependencies.py audit

# Some compare on real data, from the folder in REAL_DATA_DIR: without it they say that they skip.
bench: $(BENCH)/.installed
	failed=; for name in $(BENCHMARKS); do \
		$(BENCH)/bin/python tests/benchmarks/$$name.py || failed="$$failed $$name"; done; \
	$(BENCH)/bin/python tests/benchmarks/page_table.py || failed="$$failed page_table"; \
	$(BENCH)/bin/python tests/benchmarks/summary.py || failed="$$failed bars"; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

clean:
	rm -rf results .snakemake .pytest_cache .ruff_cache .mypy_cache

distclean: clean
	rm -rf $(VENV) $(BENCH) $(GGUF) $(AUDIT)

define require_python
	@$(or $(PYTHON),false) $(NEW_ENOUGH) 2>/dev/null || { echo "found $(or $(PYTHON),none on the \
	PATH), expected Python 3.11 or newer: install one, or name it: make demo PYTHON=python3.12" >&2; \
	exit 1; }
endef

# Stamped last, so that an installation that broke off starts over.
$(VENV)/.installed: $(REQUIREMENTS)
	$(require_python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c envs/constraints.txt -r envs/requirements-dev.txt
	touch $@

$(VENV)/.installed-slurm: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c envs/constraints.txt -r envs/requirements-slurm.txt
	touch $@

$(GGUF)/.installed: $(REQUIREMENTS)
	$(require_python)
	$(PYTHON) -m venv $(GGUF)
	$(GGUF)/bin/python -m pip install --quiet -c envs/constraints.txt -r envs/requirements-gguf.txt
	touch $@

$(BENCH)/.installed: $(REQUIREMENTS)
	$(require_python)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet -c envs/constraints.txt -r envs/requirements-bench.txt
	touch $@

$(AUDIT)/.installed: envs/requirements-audit.txt
	$(require_python)
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet -r envs/requirements-audit.txt
	touch $@
