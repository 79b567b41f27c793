# The first of these that is a Python this project runs on.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Where to take torch from first; https://download.pytorch.org/whl/cpu has the small build for machines without a GPU.
TORCH_INDEX ?=

.PHONY: demo test test-fast test-full test-emulated lint types format clean

# The environment is made anew whenever the list of dependencies changes. What setuptools says of folders in the working
# directory that have the name of a package is about nothing that could be changed here.
$(VENV)/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; name it with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) 'torch>=2.11$(comma)<2.14')
	PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install --quiet -e '.[all]'
	touch $@

comma := ,

demo: $(VENV)/installed
	$(BIN)/python -m examples.demo

# Two processes: more of them contend for the cores that the tests' own sessions use. A file is one process's, so that
# what its tests share is made once. Files go by name: by their number of tests, which is pytest-xdist's own order, the
# dearest, with few tests, would be last and one process would wait for the other. A process that dies ends the run with
# its test named: with another in its place, pytest-xdist waits without end for the tests that the first had left.
PROCESSES := -n 2 --dist loadfile --max-worker-restart=0
test: $(VENV)/installed
	$(BIN)/python -m pytest $(PROCESSES) --no-loadscope-reorder

# While working: the folders of which little needs a captured model, without what is marked to take long.
NOT_SLOW := not slow and not full and not emulated_full
FAST := tests/ir tests/passes tests/runtime tests/test_architecture.py tests/test_docs.py
test-fast: $(VENV)/installed
	$(BIN)/python -m pytest $(PROCESSES) -m "$(NOT_SLOW)" --ignore tests/runtime/engines $(FAST)

# The cases beside those that `make test` has of what is tested alike.
test-full: $(VENV)/installed
	$(BIN)/python -m pytest $(PROCESSES) -m full tests

# The full matrix of what runs on GPUs, on the emulator: minutes that are not part of `make test`.
test-emulated: $(VENV)/installed
	$(BIN)/python -m pytest $(PROCESSES) -m emulated_full tests

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build out
