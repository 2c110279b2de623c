# SPDX-License-Identifier: Apache-2.0
# Every target works in a fresh clone that has Python 3.11; the first one called makes the virtual environment.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FOREIGN := .venv-foreign
FOREIGN_STAMP := $(FOREIGN)/.installed
CWT := .venv-cwt
CWT_STAMP := $(CWT)/.installed
NPM_STAMPS := $(foreach name,sigstore axe,tests/foreign/$(name)/node_modules/.package-lock.json)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal -q
CODE := attestation gateway enclave sealbid proto/sealbid_oip proto/generate.py benchmarks tests

# The unit tests run without a network where the kernel allows it: a test that opens a socket must say so (marker `net`).
NO_NETWORK := $(shell unshare --user --map-root-user --net true 2>/dev/null && echo unshare --user --map-root-user --net)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow check bench bench-attestation pictures protos lock vectors test-wheel mutants clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

venv: $(STAMP) ## The locked environment every other target uses

$(STAMP): requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	touch $@

# tritonclient lives apart, as a client nobody here wrote would.
$(FOREIGN_STAMP): requirements/foreign.lock
	test -x $(FOREIGN)/bin/python || $(PYTHON) -m venv $(FOREIGN)
	$(FOREIGN)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/foreign.lock
	touch $@

# cwt reads the attestation results that are handed out; it needs an older cbor2 than the product would take.
$(CWT_STAMP): requirements/cwt.lock
	test -x $(CWT)/bin/python || $(PYTHON) -m venv $(CWT)
	$(CWT)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/cwt.lock
	touch $@

# @sigstore/verify reads our checkpoints and proofs, axe-core the audit page; their tests say so where there is no npm.
tests/foreign/%/node_modules/.package-lock.json: tests/foreign/%/package-lock.json
	{ cd $(<D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json; } \
		|| echo "sealbid: warning: npm could not set up $(<D)" >&2

demo: $(STAMP) $(FOREIGN_STAMP) ## Registry, gateway and four workers on this machine, driven by tritonclient
	$(BIN)/sealbid demo

test: $(STAMP) $(FOREIGN_STAMP) $(CWT_STAMP) $(NPM_STAMPS) ## All tests but the slow ones
	$(NO_NETWORK) $(PYTEST) -m "not net and not slow"
	$(PYTEST) -m "net and not slow"

test-slow: $(STAMP) $(FOREIGN_STAMP) ## The tests that take minutes
	$(BIN)/python -m pytest -q -m slow

check: $(STAMP) ## Format, lint, types, import contracts, packaging
	$(BIN)/ruff format --check $(wildcard $(CODE))
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/mypy $(wildcard attestation gateway enclave sealbid proto/sealbid_oip proto/generate.py benchmarks tests)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not slow" tests/packaging

bench: $(STAMP) $(FOREIGN_STAMP) ## Latency and throughput against a plain server; takes the machine for itself
	$(BIN)/python -m benchmarks

bench-attestation: $(STAMP) ## What verifying each kind of evidence costs, cold, warm and bare
	$(BIN)/python -m benchmarks.attestation
	$(BIN)/python -m benchmarks.attestation.hostile

pictures: $(STAMP) ## Take the pictures of the audit page in docs/ again; needs Chromium
	$(BIN)/python -m tests.support.pictures

protos: $(STAMP) ## Generate Python from the .proto files
	$(BIN)/python proto/generate.py

vectors: $(STAMP) ## Write tests/vectors again
	$(BIN)/python -m tests.vectors.generate

mutants: $(STAMP) ## Each patch in tests/mutants must make a test fail
	$(BIN)/python -m tests.mutants.run
	$(BIN)/python -m tests.mutants.rulings

test-wheel: $(STAMP) ## Build the wheel and test it without the source tree
	$(BIN)/python -m pytest -q -m slow tests/packaging

LOCK := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links
RUNTIME_EXTRAS := --extra registry --extra gateway --extra worker --extra audit --extra proxy --extra models --extra postgres

lock: $(STAMP) ## Solve the lock files again; takes what the configured index offers
	$(LOCK) $(RUNTIME_EXTRAS) --output-file requirements/runtime.lock pyproject.toml
	$(LOCK) $(RUNTIME_EXTRAS) --extra dev --constraint requirements/runtime.lock --output-file requirements/dev.lock pyproject.toml
	if [ -f requirements/foreign.in ]; then $(LOCK) --output-file requirements/foreign.lock requirements/foreign.in; fi
	$(LOCK) --output-file requirements/cwt.lock requirements/cwt.in

clean: ## Remove what was built, keep the environments
	rm -rf build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
