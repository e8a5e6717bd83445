# make repro   build everything from real scores to reports/index.html
# make test    set up and run every test
# make reference   compare the encoders with the reference packages, at full size too
# Both work on a fresh machine with Python >= 3.11 and git; no root, no GPU.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REFERENCE := .venv-reference
PINS := tests/encoders/reference
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: repro test reference setup assets lint format clean

repro: assets
	dvc repro
	@echo "open reports/index.html"

test: assets lint
	pytest

# The packages that encoders are compared with do not fit beside pianoeval's dependencies.
reference: assets $(REFERENCE)/.ready
	PIANOEVAL_REFERENCE_PYTHON=$(CURDIR)/$(REFERENCE)/bin/python pytest -m reference

setup: $(READY)

# tinysoundfont declares pyaudio, which needs a compiler and a sound card and is not used here:
# hence --no-deps, which pyproject.toml cannot say.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps tinysoundfont
	@touch $(READY)

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
	rm -rf $(VENV) $(REFERENCE) build *.egg-info
