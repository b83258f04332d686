# `make chat` is the whole of getting started; everything else is for those who look inside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := wire runtime broker node client monitor cli

.PHONY: chat up down test lint bench clean

chat: $(VENV)/.run
	@$(BIN)/parlour up -d
	@$(BIN)/parlour chat

up: $(VENV)/.run
	@$(BIN)/parlour up -d

down: $(VENV)/.run
	@$(BIN)/parlour down

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(VENV)/.dev
	$(BIN)/python bench/fanout.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing parlour into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
