# make demo          back up and restore a real tree here, and see how fast it is (SRC=/path for your own)
# make test          everything that is tested
# make lint          style, types, layers
# make bench         measure it, beside restic and borg where they are (PEERS=/folder, WORK=/big/disk, SMALL=/a/tree)
# make agent-windows  the standalone agent for Windows, by PyInstaller under wine
# make clean         remove the virtual environment, the demo and all caches

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SRC ?=
WORK ?= bench/work
PEERS ?=
SMALL ?=
# What runs on Windows alone; the other checker run leaves it out.
WINDOWS = $(wildcard src/backstay/*/nt_api.py src/backstay/*/engine_path.py src/backstay/*/windows_open.py \
    src/backstay/*/windows_calls.py src/backstay/*/*_windows.py)

.PHONY: agent-windows setup demo test lint bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml hatch_build.py src/backstay/server/web/assets.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Backstay needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/backstay demo $(if $(SRC),--source '$(SRC)')

test: setup
	$(BIN)/python -m pytest -n 4

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --follow-imports silent --exclude "" $(WINDOWS)
	$(BIN)/lint-imports

bench: setup
	@mkdir -p '$(WORK)'
	$(BIN)/python bench/side_by_side.py --work '$(WORK)' $(if $(PEERS),--peers '$(PEERS)') $(if $(SMALL),--small '$(SMALL)') --results bench/RESULTS.md
	$(BIN)/python bench/growth.py --work '$(WORK)' --results bench/RESULTS.md
	$(BIN)/python bench/index_scale.py --work '$(WORK)' --results bench/RESULTS.md

agent-windows: setup
	$(BIN)/python packaging/agent_windows.py .wine dist

clean:
	rm -rf $(VENV) .wine demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
