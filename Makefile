# Every target does its own set-up: a virtual environment in .venv, from requirements.lock, once.
# Needed: make and Python 3.11 or newer (another one than python3: make PYTHON=python3.12 …).

PYTHON ?= python3
# More than the cores: some of the tests wait for a broker.
WORKERS ?= 3
BIN := .venv/bin
STAMP := .venv/.installed
RUN := $(BIN)/python -m
KINDS := inference conversion time_saved reversal score

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo kafka kafka-stop test check soak bench schemas lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMP) ## the virtual environment only

# The stamp is written last, so a set-up that was cut short is taken up again. It names the folder: a virtual
# environment that was moved still points to its old place, and is made anew.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'Python 3.11 or newer is needed, and "$(PYTHON)" is not that. Hint: make PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo '"$(PYTHON)" comes without its venv module. Hint: apt-get install python3-venv' >&2; exit 2; }
	@echo 'Setting up .venv from requirements.lock (once, a minute or so) …' >&2
	@$(PYTHON) -m venv $(if $(MOVED),--clear) .venv
	@$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN) pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@echo '$(CURDIR)' > $@

STAMPED := $(shell cat $(STAMP) 2>/dev/null)
MOVED := $(if $(STAMPED),$(filter-out $(CURDIR),$(STAMPED)))
ifneq ($(MOVED),)
.PHONY: $(STAMP)
endif

demo: $(STAMP) ## the whole way on real traffic: events, ledgers, the ratio
	@$(BIN)/attribution demo --dir .

kafka: $(STAMP) ## start Apache Kafka in .kafka, print its address (PORT=9092: there, if new); needs Java, Maven
	@$(RUN) tests.broker start $(if $(PORT),--port $(PORT))

kafka-stop: $(STAMP) ## stop it; what it holds stays
	@$(RUN) tests.broker stop

test: $(STAMP) ## all tests but the long ones
	@$(RUN) pytest -n $(WORKERS) --dist loadfile

check: $(STAMP) ## what CI runs: format, lint, types, layers, tests
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

soak: $(STAMP) ## everything, long: more examples, the soak tests too
	@HYPOTHESIS_PROFILE=soak $(RUN) pytest -n $(WORKERS) --dist loadfile -m ''

bench: $(STAMP) ## the side-by-side runs of benchmarks/
	@$(RUN) benchmarks

schemas: $(STAMP) ## write schemas/json anew from the code
	@for kind in $(KINDS); do $(RUN) schemas.json_schema $$kind > schemas/json/$$kind.schema.json || exit 1; done

lock: $(STAMP) ## resolve requirements.lock anew (UPGRADE=--upgrade: newest versions)
	@$(RUN) pip install --quiet --disable-pip-version-check uv
	@UV_CUSTOM_COMPILE_COMMAND='make lock' $(RUN) uv pip compile --quiet pyproject.toml --extra dev --generate-hashes \
		--no-emit-index-url --universal --python-version 3.11 $(UPGRADE) --output-file requirements.lock
	@UV_CUSTOM_COMPILE_COMMAND='make lock' $(RUN) uv pip compile --quiet pyproject.toml --constraints requirements.lock \
		--generate-hashes --no-emit-index-url --universal --python-version 3.11 --output-file deploy/requirements.lock

clean: ## remove what the targets above have made
	@[ ! -d .kafka/run ] || $(PYTHON) -m tests.broker stop
	rm -rf .kafka .venv build dist demo kafka-demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
