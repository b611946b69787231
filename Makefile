# Two commands: `make family` (the main job) and `make test`. Each sets up everything it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := $(VENV)/.bench-installed
LOCKING := $(VENV)/.lock-installed
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# dvc.yaml says `scalenet`; it should be this environment's
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: family test bench-smoke wheel lock audit ui clean

family: $(STAMP) ## search, retrain and publish the family S0…S5
	$(BIN)/scalenet run
	$(BIN)/scalenet family

test: $(STAMP) ## lint and run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

bench-smoke: $(STAMP) $(BENCH) ## run every benchmark on toy sizes
	$(BIN)/python -m bench.smoke

wheel: $(STAMP) ## one wheel in dist/, for a machine that has PyTorch: pip install --no-deps dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

lock: $(LOCKING) ## pin every package by its content: requirements.lock
	$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --extra pipeline --extra export --extra servers --extra dask \
	  --constraint constraints.txt \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

audit: $(LOCKING) ## ask api.osv.dev whether a package of requirements.lock is known to be vulnerable
	$(BIN)/pip-audit --requirement requirements.lock --disable-pip --vulnerability-service osv

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

$(LOCKING): pyproject.toml constraints.txt | $(STAMP)
	$(INSTALL) --editable '.[test,lock]'
	touch $@
