# Two commands: `make demo` and `make test`. Each sets up a virtual environment first; on Windows see README.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
# a connection that breaks off is tried again, and pip itself where a file came only in part
INSTALL := $(BIN)/python -m pip install --quiet --retries 10 --timeout 60

.PHONY: demo test test-host lint registry clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) "$(TORCH)" || $(INSTALL) "$(TORCH)"
	$(INSTALL) -e ".[demo,train,test]" || $(INSTALL) -e ".[demo,train,test]"
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m dva_core demo -o demo_output

# tests/host needs a ComfyUI: $COMFYUI_DIR, the one this folder is installed in, or ~/comfy/ComfyUI*; without one it is skipped
test: $(VENV)/.ready
	$(BIN)/python -m pytest -rs

# on every ComfyUI in $COMFYUI_DIRS (a colon between), or in ~/comfy; prints a table of hosts and tests; TESTS="-k panel" for some of them
test-host: $(VENV)/.ready
	PYTHONPATH=tests $(BIN)/python -m host.all_hosts $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# what the registry and its tools say of the pack, without a network: they are installed first, and need a ComfyUI
registry: $(VENV)/.ready
	$(INSTALL) -e ".[registry]"
	$(BIN)/comfy --skip-prompt --no-enable-telemetry node validate
	$(BIN)/comfy-test lint --check javascript
	PYTHONPATH=tests $(BIN)/python -m host.import_guard

clean:
	rm -rf $(VENV) demo_output .pytest_cache .ruff_cache
