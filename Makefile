# `make chat` is the whole of getting started; everything else is for those who look inside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests wait more than they work: several at once take half the time, also on two cores. A file's tests stay together.
WORKERS ?= 4
TESTS ?= tests
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# For the load generator, the only part that is compiled.
COMPILE = mkdir -p $(@D) && command -v $(CC) >/dev/null || { echo "the bench needs a C compiler: install one (on Debian and Ubuntu: apt install gcc libc6-dev)" >&2; exit 1; }; \
	$(CC) -std=gnu11 -O2 -flto -Wall -Wextra -o $@

.PHONY: chat up down test lint docs bench bench-peers clean

chat: up
	@$(BIN)/parlour chat

up: $(VENV)/.run
	@$(BIN)/parlour up --detach

down: $(VENV)/.run
	@$(BIN)/parlour down

test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

# The tables of threads and locks in docs/architecture.md come from the source.
docs: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m support.tables

bench: $(VENV)/.dev bench/build/load
	@$(BIN)/python -m bench alone

bench-peers: $(VENV)/.dev bench/build/load bench/build/floor
	@$(BIN)/python -m bench peers
	@$(BIN)/python -m bench scale

clean:
	rm -rf $(VENV) bench/build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The environment's own interpreter, which a half-made environment lacks or cannot run.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "parlour needs Python 3.11 or later: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "parlour needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V 2>&1): say make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "cannot make a virtual environment: install Python's venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }

bench/build/load: $(wildcard bench/load/*.[ch])
	@$(COMPILE) $(filter-out bench/load/floor.c,$(filter %.c,$^))

bench/build/floor: bench/load/floor.c
	@$(COMPILE) $<

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "installing parlour into $(VENV) …" >&2
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what tests and checks need into $(VENV) …" >&2
	@$(PIP) install --editable '.[dev]'
	@touch $@
