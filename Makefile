# `make chat` is the whole of getting started; everything else is for those who look inside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: chat up down test lint bench clean

chat: up
	@$(BIN)/parlour chat

up: $(VENV)/.run
	@$(BIN)/parlour up --detach

down: $(VENV)/.run
	@$(BIN)/parlour down

test: $(VENV)/.dev
	@$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(VENV)/.dev
	@$(BIN)/python bench/fanout.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The environment's own interpreter, which a half-made environment lacks or cannot run.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "parlour needs Python 3.11 or later: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "parlour needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V 2>&1): say make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "cannot make a virtual environment: install Python's venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "installing parlour into $(VENV) …" >&2
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what tests and checks need into $(VENV) …" >&2
	@$(PIP) install --editable '.[dev]'
	@touch $@
