# `make run` and `make test` are all that is needed. Each sets up what it needs, from nothing.
PYTHON ?= python3
VENV := .venv
ARGS ?=

.DEFAULT_GOAL := help

help:            ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.ready      ## the whole method on the digits data set; ARGS='--preset fashion-mnist' for another
	$(VENV)/bin/fedsyn run $(ARGS)

serve: $(VENV)/.ready    ## Prefect's UI with all deployments and a worker on this machine, until Ctrl-C
	$(VENV)/bin/fedsyn up $(ARGS)

test: $(VENV)/.ready     ## the tests, the real Prefect flow included
	$(VENV)/bin/python -m pytest $(ARGS)

check: $(VENV)/.ready    ## lint, format, types, and the rule that fedsyn/ imports no Prefect
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# pip would compile 23,000 files one after the other; a few of them are written for other versions of Python.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	$(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

clean:           ## remove the environment and all stage results
	rm -rf $(VENV) artifacts/*/

.PHONY: help run serve test check clean
