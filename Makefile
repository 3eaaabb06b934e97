# AFLI Companion. `make help` lists the commands; each creates .venv on first use.
#   make book PYTHON=python3.12       another interpreter
#   make book TORCH_INDEX=<URL>       PyTorch's CPU index, which saves gigabytes on Linux without a GPU (see README.md)

PYTHON ?= python3
TORCH_INDEX ?=
TORCH := torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Two contended threads are far slower than one; what runs in parallel here are processes.
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help book test lint sync bench classroom clean distclean

help:  ## list these commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'
	@echo "The command afli: source $(BIN)/activate, then: afli check lemma-3.3"

book: $(INSTALLED)  ## run every notebook and build the book into _build/html
	@$(BIN)/python tools/build.py

test: $(INSTALLED)  ## run the tests
	@$(BIN)/python -m pytest

lint: $(INSTALLED)  ## ruff, mypy, and every notebook equal to its source
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python tools/pairs.py --check

sync: $(INSTALLED)  ## write notebooks/*.ipynb from their Markdown sources
	@$(BIN)/python tools/pairs.py

bench: $(INSTALLED)  ## time the numerics beside scipy (PEERS=1: and dks, neural-tangents; 3 GB) into benchmarks/results
	@$(BIN)/python benchmarks/theory.py $(if $(PEERS),--peers)

classroom: $(INSTALLED)  ## release the problem sets, grade the sample submissions, write feedback and grades.csv
	@$(BIN)/python classroom/make.py

clean:  ## remove what the build made
	rm -rf _build classroom/_build build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

distclean: clean  ## and the environment
	rm -rf $(VENV)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) tools/check_python.py
	@test -x $(BIN)/python || { echo "[1/5] creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "[2/5] installing PyTorch"
	@$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL="$(TORCH_INDEX)") $(PIP) install $(TORCH) --constraint requirements.txt
	@echo "[3/5] installing requirements.txt"
	@$(PIP) install --requirement requirements.txt
	@echo "[4/5] installing afli"
	@$(PIP) install --no-deps --editable .
	@echo "[5/5] checking that everything fits together"
	@$(PIP) check
	@touch $@
