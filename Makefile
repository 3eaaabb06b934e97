# AFLI Companion. `make help` lists the commands; each creates .venv on first use.
#   make book PYTHON=python3.12       another interpreter
#   make book TORCH_INDEX=<URL>       PyTorch's CPU index, which saves gigabytes on Linux without a GPU (see README.md)
#   make test JOBS=4                  processes that run tests or pages

PYTHON ?= python3
TORCH_INDEX ?=
JOBS ?= 2
TORCH := $(shell grep '^torch==' requirements.txt)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Two contended threads are far slower than one; what runs in parallel here are processes.
export OMP_NUM_THREADS := 1
# With these, asserts would not count, and tools would not find each other.
unexport PYTHONOPTIMIZE PYTHONSAFEPATH

.DEFAULT_GOAL := help
.PHONY: help book test test-all lint sync dist bench classroom slides student-kit clean distclean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'
	@echo "The command afli: source $(BIN)/activate, then: afli check lemma-3.3"

book: $(INSTALLED)  ## run every notebook and build the book into _build/html
	@$(BIN)/python tools/build.py --jobs $(JOBS)

test: $(INSTALLED)  ## run the tests that one wants at hand while working
	@$(BIN)/python -m pytest -n $(JOBS) -m "not (book or claims or cluster or course or slow)"

test-all: $(INSTALLED)  ## run all tests, and measure how much of the theory they cover
	@$(BIN)/python -m pytest -n $(JOBS) -m "" --cov

lint: $(INSTALLED)  ## ruff, mypy, and every notebook equal to its source
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python tools/pairs.py --check

sync: $(INSTALLED)  ## write notebooks/*.ipynb from their Markdown sources
	@$(BIN)/python tools/pairs.py

dist: $(INSTALLED)  ## build the sdist and the wheel into dist/, and check them
	@rm -rf dist
	@$(PIP) install --quiet --requirement requirements-dist.txt
	@$(BIN)/python -m build
	@$(BIN)/python -m twine check --strict dist/*

bench: $(INSTALLED)  ## time the numerics beside scipy (PEERS=1: and dks, neural-tangents; 3 GB) into benchmarks/results
	@$(BIN)/python benchmarks/theory.py $(if $(PEERS),--peers)

classroom: $(INSTALLED)  ## release the problem sets, grade the sample submissions, write feedback and grades.csv
	@$(BIN)/python classroom/make.py

slides: $(INSTALLED)  ## slides of the course with the figures of the book, into classroom/_build/slides.html
	@$(BIN)/python classroom/make.py slides

student-kit: $(INSTALLED)  ## what students need, without solutions, into classroom/_build/student-kit.zip
	@$(BIN)/python classroom/make.py kit

clean:  ## remove what the build made
	rm -rf _build classroom/_build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

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
