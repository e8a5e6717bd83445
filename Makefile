# make repro   build everything from real scores to reports/index.html
# make test    set up and run every test
# make faults    kill, fill, flip and mislead for an hour or more; then the table of service levels
# make reference   compare the encoders with the reference packages, at full size too
# make lock    choose the versions anew that the others install
# Both work on a fresh machine with Python >= 3.11 and git; no root, no GPU.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REFERENCE := .venv-reference
PINS := tests/encoders/reference
FAULTS := $(addprefix tests/,faults sharing lab ablation losses platforms cluster)
FIGURES := build/faults.jsonl
LOCK := requirements
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: repro test faults reference setup lock assets lint format clean

repro: assets
	dvc repro
	@echo "open reports/index.html"

test: assets lint
	pytest

# What holds when things go wrong, tried thoroughly; the short version is part of make test.
faults: assets
	python benchmarks/service_levels.py begin $(FIGURES)
	PIANOEVAL_FAULTS=full PIANOEVAL_FAULTS_OUT=$(CURDIR)/$(FIGURES) pytest --timeout 7200 $(FAULTS)
	python benchmarks/service_levels.py write $(FIGURES)

# The packages that encoders are compared with do not fit beside pianoeval's dependencies.
reference: assets $(REFERENCE)/.ready
	PIANOEVAL_REFERENCE_PYTHON=$(CURDIR)/$(REFERENCE)/bin/python pytest -m reference

setup: $(READY)

# The lock is complete, so nothing is resolved; every file must have one of its hashes. PyTorch alone
# is chosen by version ($(LOCK)/torch.txt says why): other wheels of it may stand in pip's configuration.
$(READY): pyproject.toml $(LOCK)/locked.txt $(LOCK)/torch.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --no-deps -r $(LOCK)/locked.txt
	$(BIN)/pip install --quiet -r $(LOCK)/torch.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

# Versions that still fit stay as they are; make lock UPGRADE=--upgrade takes the newest.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 $(UPGRADE) \
	  --generate-hashes --annotation-style line --custom-compile-command 'make lock' --extra test \
	  --constraints $(LOCK)/torch.txt --no-emit-package torch --excludes $(LOCK)/left-out.txt \
	  --output-file $(LOCK)/locked.txt pyproject.toml $(LOCK)/also.in

# torchaudio's compiled part wants another build of PyTorch; what is compared is plain PyTorch, and
# torchaudio runs without that part where its files are absent.
$(REFERENCE)/.ready: $(PINS)/requirements.txt $(PINS)/requirements-no-deps.txt
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/pip install --quiet -r $(PINS)/requirements.txt
	$(REFERENCE)/bin/pip install --quiet --no-deps -r $(PINS)/requirements-no-deps.txt
	rm -f $(REFERENCE)/lib/python*/site-packages/torchaudio/lib/*.so
	@touch $@

# Weights and sound fonts: pinned by hash, downloaded once.
assets: $(READY)
	pianoeval fetch

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	lint-imports

format: $(READY)
	ruff check --fix .
	ruff format .

clean:
	rm -rf $(VENV) $(REFERENCE) .venv-lock build *.egg-info
