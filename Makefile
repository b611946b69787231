# Two commands: `make family` (the main job) and `make test`. Each sets up everything it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := $(VENV)/.bench-installed
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# dvc.yaml says `scalenet`; it should be this environment's
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: family test bench-smoke wheel ui clean

family: $(STAMP) ## search, retrain and publish the family S0…S5
	$(BIN)/scalenet run
	$(BIN)/scalenet family

test: $(STAMP) ## lint and run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

bench-smoke: $(STAMP) $(BENCH) ## run every benchmark on toy sizes
	$(BIN)/python -m bench.smoke

wheel: $(STAMP) ## one wheel in dist/, for a machine that has PyTorch: pip install --no-deps dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

ui: $(STAMP) ## open MLflow and Prefect on loopback over this folder's results
	$(BIN)/scalenet ui

clean: ## forget the environment (artifacts and tracking stay)
	rm -rf $(VENV)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[test]'
	touch $@

$(BENCH): pyproject.toml constraints.txt | $(STAMP)
	$(INSTALL) --editable '.[test,bench]'
	touch $@
