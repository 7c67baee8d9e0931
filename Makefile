# Henslowe's commands, the same by hand and in CI. `make setup` once; every other target does what is missing of it.
#
#   make up WORKSPACE=~/mcp     run a node on a workspace
#   make test                   the tests            make check    style, types, layers
#   make bench                  the figures          make docs     the documentation
#
# Python: any interpreter >= 3.11 on PATH, or PYTHON=/path/to/python3. uv is used when it is on PATH, pip otherwise;
# both install the same pinned, hashed files.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV      ?= .venv
BUILD     ?= build
WORKSPACE ?= ./workspace
ARGS      ?=
PYTHON    ?= $(shell sh tools/find-python)
PY        := $(VENV)/bin/python
STAMP     := $(VENV)/.henslowe-setup
PINS      := requirements-dev.txt

.PHONY: help setup up test e2e check format bench docs reference wheel pins \
        prove-kernel prove-storage prove-delivery prove-live prove-gateway conformance clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

# The stamp holds what was installed from: a checkout that only touches the files installs nothing again.
$(STAMP): $(PINS) pyproject.toml tools/setup
	@PYTHON="$(PYTHON)" sh tools/setup "$(VENV)" "$(PINS)" "$(STAMP)"

up: setup
	$(PY) -m henslowe up "$(WORKSPACE)" $(ARGS)

# In as many workers as there are cores: nodes and clients of the whole-system tests mostly wait.
test: setup
	$(PY) -m pytest -n auto --dist worksteal $(ARGS)

e2e: setup
	$(PY) -m pytest -m e2e $(ARGS)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	MYPYPATH=. $(VENV)/bin/mypy --explicit-package-bases $(TYPED_BENCH)
	$(VENV)/bin/lint-imports

# Scripts that mypy --strict has nothing to say about, with what they import.
TYPED_BENCH := $(addprefix bench/,abuse.py boot.py canary_sim.py edit_to_live.py flagger_rule.py fuzz_admin.py fuzz_mcp.py \
  gateway.py mutate_kernel.py probing.py prove_contracts.py prove_delivery.py prove_gateway.py prove_storage.py proxies.py \
  recover.py reloaders.py scaling.py storage.py traffic.py upstream.py)

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Each figure beside its rival in the same run; ARGS=--quick for a first look. The last one needs wrk.
bench: setup
	$(PY) bench/kernel.py $(ARGS)
	$(PY) bench/storage.py $(ARGS)
	$(PY) bench/boot.py $(ARGS)
	$(PY) bench/upstream.py $(filter-out --quick,$(ARGS))
	$(PY) bench/edit_to_live.py $(ARGS)
	if command -v wrk >/dev/null; then $(PY) bench/gateway.py $(ARGS); else echo "left out: bench/gateway.py needs wrk"; fi

docs: setup reference
	$(PY) -m sphinx -q -W -b html docs $(BUILD)/docs

# Pages that are made from the code; a test says when they are stale.
reference: setup
	$(PY) tools/reference.py

prove-storage: setup
	$(PY) -m bench.prove_storage --check $(ARGS)

prove-delivery: setup
	$(PY) -m bench.prove_delivery --check $(ARGS)

prove-live: setup
	$(PY) -m bench.prove_live --check $(ARGS)

prove-gateway: setup
	.ci/run npm
	$(PY) -m bench.prove_gateway --check $(ARGS)

prove-kernel: setup
	$(PY) bench/prove_kernel.py --check $(ARGS)

conformance: setup
	.ci/run npm
	$(PY) tools/conformance.py $(ARGS)
	$(PY) tools/conformance.py --client
	$(PY) tools/conformance_auth.py
	$(PY) -m bench.prove_gateway --check --only servers

wheel: setup
	$(PY) -m hatchling build -t wheel -d $(BUILD)/dist

# Renew the pins after a change of pyproject.toml. No registry address is written.
pins: setup
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --group dev --group docs --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file $(PINS)

clean:
	rm -rf $(BUILD) .pytest_cache .mypy_cache .ruff_cache .hypothesis
