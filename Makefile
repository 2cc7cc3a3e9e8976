# make demo    train a tabular VAE on the diamonds table; ARGS="--epochs 4 --rows 5000" is quick
# make demo-classifier, make demo-digits    train a classifier of two classes, of ten; a few seconds each
# make test    everything that must pass: lint, types, tests and laws; ARGS="-k folds" selects tests
# make conformance   the part of `test` that puts every tracking client to its backend
# make test-faults   the faults of docs/reliability.md, in full numbers
# make peers   the part of `test` that compares domains with artifact-core and SDMetrics, on pandas 2
# make test-laws   the laws with 10,000 examples each: hours; ARGS="-k stoppers" selects some
# make mutants     plant faults, one at a time, and count those that the laws find
# make lint    ruff, mypy --strict and pyright
# make bench   the benchmarks of steps, epochs and what surrounds them: some ten minutes of CPU; ARGS is of steps.py
# make bench-ensemble  32 members in one kernel, beside 32 loops written by hand
# make bench-gpu   steps on a CUDA device beside what is installed of PyTorch Lightning and JAX
# make bench-tracking  what each tracking client costs a run
# make bench-tables    what comparing tables costs, beside artifact-core
# make bench-classes   what judging predictions costs, beside artifact-core
# make clean   remove all that make has made
#
# The first target makes .venv with PYTHON; later ones reuse it until the requirements change.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
PACKAGES := import sysconfig; print(sysconfig.get_path('purelib'))
TYPED := functorch_artifact tests/typing/accepts.py

# Compiled kernels stay inside the project: a second run finds them, and `clean` removes them.
export TORCHINDUCTOR_CACHE_DIR := $(CURDIR)/build/inductor

.PHONY: demo demo-classifier demo-digits test test-faults test-laws mutants conformance peers lint bench bench-ensemble bench-gpu \
	bench-tracking bench-tables bench-classes clean

demo: $(INSTALLED)
	$(BIN)/python examples/tabular_vae.py $(ARGS)

demo-classifier: $(INSTALLED)
	$(BIN)/python examples/binary_classifier.py $(ARGS)

demo-digits: $(INSTALLED)
	$(BIN)/python examples/classifier.py $(ARGS)

test: lint $(if $(ARGS),,conformance peers)
	$(BIN)/python -m pytest $(ARGS)

test-faults: $(INSTALLED)
	FAULTS=full $(BIN)/python -m pytest tests/faults

conformance: build/envs/trackers/.installed
	build/envs/trackers/bin/python -m pytest tests/conformance

peers: build/envs/artifact-core/.installed
	build/envs/artifact-core/bin/python -m pytest tests/peers tests/test_table_comparison.py tests/test_table_comparison_scores.py \
	tests/test_table_comparison_plots.py tests/test_figures.py tests/test_binary_classification.py tests/test_classification.py

test-laws: $(INSTALLED)
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest property_tests $(ARGS)

mutants: $(INSTALLED)
	$(BIN)/python benchmarks/mutants.py $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/pyright --pythonpath $(BIN)/python $(TYPED)

bench: build/envs/peers/.installed build/envs/trackers/.installed
	build/envs/peers/bin/python benchmarks/steps.py $(ARGS)
	build/envs/peers/bin/python benchmarks/epochs.py --artifact-torch build/envs/trackers/bin/python
	$(BIN)/python benchmarks/costs.py
	$(BIN)/python benchmarks/reliability.py

bench-ensemble: $(INSTALLED)
	$(BIN)/python benchmarks/ensemble.py $(ARGS)

bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/gpu.py $(ARGS)

bench-tracking: build/envs/trackers/.installed
	PYTHONPATH=. build/envs/trackers/bin/python benchmarks/tracking.py $(ARGS)

bench-tables: build/envs/artifact-core/.installed
	build/envs/artifact-core/bin/python benchmarks/validation.py $(ARGS)

bench-classes: build/envs/artifact-core/.installed
	build/envs/artifact-core/bin/python benchmarks/validation_classes.py $(ARGS)

# pyproject.toml asks for what the package needs; requirements-dev.txt pins it, so no dependency is
# resolved a second time and the build runs with the pinned backend.
$(INSTALLED): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	touch $@

# An environment of its own for packages that fight with ours: what requirements-NAME.txt pins, laid
# over .venv, whose packages stay visible where it has none of its own.
build/envs/%/.installed: requirements-%.txt $(INSTALLED)
	$(PYTHON) -m venv $(@D)
	own=$$($(@D)/bin/python -c "$(PACKAGES)") && base=$$($(BIN)/python -c "$(PACKAGES)") && \
	echo "import site; site.addsitedir('$$base')" > $$own/base.pth
	$(@D)/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_OPTIONS) -r $<
	touch $@

# Some of these ask for versions of each other that cannot be had together, and work all the same.
build/envs/trackers/.installed: PIP_OPTIONS := --no-deps

clean:
	rm -rf .venv build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
