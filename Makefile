# One file of targets for people and for CI. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV ?= $(BIN)/uv
COMPILE := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"
# Two processes and more share the tests: they wait for brokers most of the time. Each has brokers of its own.
# One that ended because a test hung is replaced, and the test tried again, which must not go on for ever.
TEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --max-worker-restart=2
BENCH ?= $(sort $(filter-out %/__init__.py,$(wildcard tests/bench/[a-z]*.py)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format monitoring bench chaos chaos-short lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

$(STAMP): requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

setup: $(STAMP) ## create .venv and install the pinned dependencies (again only when they changed)

demo: setup ## watch simulated telecom events become segment changes, on an embedded broker
	$(BIN)/segmenter demo

test: setup ## run the tests (a real Apache Kafka from Docker, or from Java and Maven)
	$(TEST)

check: setup ## formatting, lint, types and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST)

format: setup ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

monitoring: setup ## make the alert rules, boards and the reference of metrics from their code and thresholds
	$(BIN)/python -m deploy.monitoring

bench: setup ## run the benchmarks, one after the other; BENCH=tests/bench/latency.py for one of them
	@set -e; for file in $(BENCH); do \
		module=$$(echo "$${file%.py}" | tr / .); echo "== $$module"; $(BIN)/python -m $$module; done

chaos: setup ## kill it 200 times and more on a real Kafka, and see that nothing is lost; CHAOS=--resume goes on
	$(BIN)/python -m tests.chaos $(CHAOS)

chaos-short: setup ## a few minutes of the same
	$(BIN)/python -m tests.chaos --short $(CHAOS)

lock: setup ## pin the newest allowed versions (maintainers; needs uv)
	$(COMPILE) --upgrade --extra build --extra registry --output-file requirements.lock
	$(COMPILE) --upgrade --extra dev --output-file requirements-dev.lock

clean: ## remove everything that the targets above made
	rm -rf $(VENV) .kafka out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .noida-db
	find schemas online_model consumer tests -name __pycache__ -type d -prune -exec rm -rf {} +
