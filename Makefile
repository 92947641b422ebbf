# One line a task. `make study` from an empty machine: environment, database, workers, report.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SCALE ?= full
WORKERS ?= 2
TEST_PROCESSES ?= auto
TEST_ARGS ?= -m "not containers and not slow"

.PHONY: setup study test test-containers check bench docs format lock clean

setup: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rigl-study needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

study: setup  ## train the first study and write its report (SCALE=smoke for a quick look)
	$(BIN)/rigl-study run fashion-lenet-$(SCALE) --workers $(WORKERS) --fallback-dataset digits --out reports/fashion-lenet-$(SCALE)

test: setup
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(TEST_ARGS)

test-containers: setup  ## docker-compose.yml from build to down, on the engine of this machine
	$(BIN)/python -m pytest -n 0 -m containers tests/acceptance

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps sparsimony  # else: numpy 1
	$(BIN)/python -W ignore -m benchmarks

lock:  ## what the images install, with hashes: deploy/locks (TORCH_INDEX_URL=... for a PyTorch of another index, too)
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	build/lock/bin/python deploy/locks/make_locks.py --uv build/lock/bin/uv $(if $(TORCH_INDEX_URL),--torch-index $(TORCH_INDEX_URL))

docs: setup
	$(BIN)/python -m docs.generate

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
