PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types clean

# The environment is made anew whenever the list of dependencies changes.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[all]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m examples.demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type checkers do not follow the mapping of folders into the package: they read this tree of links.
types: $(VENV)/installed
	rm -rf build/types && mkdir -p build/types/graphwright
	cp -rs $(CURDIR)/graphwright/. build/types/graphwright/
	for folder in frontend ir passes backends runtime; do cp -rs $(CURDIR)/$$folder build/types/graphwright/; done
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build
