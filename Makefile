# make build              the virtual environment, the native core and .venv/bin/onhand
# make test               everything that is not slow;  make test-all adds the slow tests
# make demo               a retailer's year of sales replayed, with the store front on it
# make bench              benchmarks, timed;  make bench-smoke runs the small ones once
# make bench-report       docs/benchmarks.md and its pictures anew, from what was measured last
# make soak               an hour's mixed load, checked and judged; ARGS="--minutes 5" for less
# make lint               style, types and spelling
# make MODE=debug ...     checks and assertions in native code;  MODE=sanitize adds ASan and UBSan
# make fuzz               fuzzes what reads bytes, with clang;  make fuzz-http the API: docs/testing.md
# make ARGS="-k name" test    passes arguments on to pytest;  JOBS=0 runs tests in one process
# make wheel              the archives that would be published, checked
# make lock               pins the newest dependencies that pyproject.toml allows
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

MODE ?= $(or $(ONHAND_BUILD),release)
ifeq ($(filter $(MODE),release debug sanitize fuzz),)
$(error MODE must be release, debug, sanitize or fuzz, not '$(MODE)')
endif
export ONHAND_BUILD := $(MODE)
ifeq ($(MODE),fuzz)
export CC := clang
endif

# A virtual environment is kept with the Python it was made from; PYTHON=... chooses for a new one.
RIGHT_PYTHON := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
ifndef PYTHON
PYTHON := $(shell for python in python3.12 python3.11 python3; do \
	$$python -c '$(RIGHT_PYTHON)' 2>/dev/null && echo $$python && break; done)
endif

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv
PYTEST := $(BIN)/python -m pytest
NATIVE := build/native-$(MODE).stamp
# Directories count as well: their time tells that a file was added or removed.
NATIVE_SOURCES := $(shell find native \( -type d -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) 2>/dev/null)
ARGS ?=
# Tests of one file share their servers, so a file stays with one of so many processes.
JOBS ?= $(shell nproc)
PARALLEL := -n $(JOBS) --dist loadfile
# What failed is said once more at the very end, where one looks.
REPORT := --junitxml=build/tests.xml
FAILURES := $(BIN)/python ci/failures.py build/tests.xml

# The sanitizers' library must be the first that a process loads; Python itself leaks on purpose.
ifeq ($(MODE),sanitize)
RUN := env LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
else
RUN :=
endif

.PHONY: build dev test test-slow test-all demo bench bench-smoke bench-report soak fuzz fuzz-http lint wheel format lock clean

build: $(NATIVE)

dev: $(VENV)/dev.stamp build

test: dev
	$(RUN) $(PYTEST) -m "not slow" $(PARALLEL) $(REPORT) $(ARGS) || $(FAILURES)

# Slow tests, and those whose broker a run may replace by a real one (ONHAND_TEST_KAFKA=HOST:PORT).
test-slow: dev
	$(RUN) $(PYTEST) tests -m "slow or kafka" -o timeout=900 $(PARALLEL) $(REPORT) $(ARGS) || $(FAILURES)

test-all: dev
	$(RUN) $(PYTEST) -o timeout=900 $(PARALLEL) $(REPORT) $(ARGS) || $(FAILURES)

demo: build
	$(BIN)/onhand demo $(ARGS)

bench: dev
	@mkdir -p build
	@status=0; $(PYTEST) benchmarks -p no:randomly -o timeout=0 --benchmark-enable \
		--benchmark-only --benchmark-json build/benchmarks.json $(ARGS) || status=$$?; \
		$(BIN)/python -m benchmarks.report build/benchmarks.json; exit $$status

bench-smoke: dev
	$(PYTEST) benchmarks -m "not slow" $(ARGS)

bench-report: dev
	$(BIN)/python -m benchmarks.report

soak: dev
	$(BIN)/python -m benchmarks.soak $(ARGS)

# ARGS: names of targets, --seconds of each (60), --merge to keep what is new.
fuzz:
	@command -v clang >/dev/null || { echo "no clang; on Debian install clang and libclang-rt-14-dev" >&2; exit 1; }
	$(MAKE) MODE=fuzz fuzz-bytes

# The sanitizers' library holds libFuzzer too, and comes with atheris.
.PHONY: fuzz-bytes
fuzz-bytes: dev
	LD_PRELOAD="$$($(BIN)/python -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
		$(BIN)/python -m tests.fuzz $(ARGS)

# ARGS: --seconds (60), --seed.
fuzz-http: dev
	$(BIN)/python -m tests.fuzz.http_api $(ARGS)

lint: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy src
	PATH="$$PWD/$(BIN):$$PATH" cython-lint native
	$(BIN)/codespell
	$(BIN)/yamllint --strict deploy
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml
	$(PIP) check

# What would be published: built by way of the source archive, and compared with the tree.
wheel: dev
	rm -rf build/dist
	$(BIN)/python setup.py --quiet sdist --dist-dir build/dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir build/dist build/dist/*.tar.gz
	$(BIN)/python ci/check_wheel.py build/dist/*.whl

format: dev
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lock: $(VENV)/dev.stamp
	$(BIN)/python ci/lock.py

clean:
	rm -rf build dist .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	rm -f src/onhand/_native/*.so
	find src dataflows tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(RIGHT_PYTHON)'; then \
		echo "onhand needs Python 3.11 or 3.12; name one with PYTHON=..." >&2; exit 1; fi
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module; on Debian install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || { \
		echo "$(PYTHON) has no headers to build against; on Debian install python3-dev" >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "no C compiler: install gcc or clang" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements/run.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# Metadata and the console script only: the extensions are built below, in place and by what changed.
$(VENV)/install.stamp: pyproject.toml $(VENV)/run.stamp
	ONHAND_SKIP_NATIVE=1 $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(NATIVE): setup.py $(NATIVE_SOURCES) $(VENV)/install.stamp
	@mkdir -p build
	@rm -f build/native-*.stamp
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@
