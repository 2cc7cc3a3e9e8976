# make demo    train the tabular VAE on the diamonds table
# make test    lint, type checks, examples-as-tests and laws
# make lint    ruff, mypy --strict and pyright only
# make bench   the benchmarks
# make clean   remove everything that make made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

# Compiled kernels stay inside the project, so that a second run finds them and `clean` removes them.
export TORCHINDUCTOR_CACHE_DIR := $(CURDIR)/build/inductor

.PHONY: demo test lint bench clean install

demo: $(INSTALLED)
	$(BIN)/python examples/tabular_vae.py $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy functorch_artifact tests/typing/accepts.py
	$(BIN)/pyright functorch_artifact tests/typing/accepts.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

install: $(INSTALLED)

$(INSTALLED): requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
