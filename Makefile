# Works with nothing but Python (3.7 to 3.13) and make; PYTHON=python3.9 make demo takes another Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/constraints.txt --editable

.PHONY: demo test lint coverage bench docs release clean

demo: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh build/demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0

coverage: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 --cov --cov-report=term

lint: $(VENV)/.linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/vermin --quiet --no-tips -t=3.7- --violations ckpt2saved tools setup.py

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks

docs: $(VENV)/.documenting
	NO_MKDOCS_2_WARNING=1 PYTHONPATH="$(CURDIR)" $(BIN)/python -m mkdocs build --quiet --strict

release: $(VENV)/.releasing
	$(BIN)/python tools/release.py

clean:
	rm -rf $(VENV) build dist .coverage .coverage.*

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) ".[cpu,test]"
	sh tests/install_serving_api.sh $(BIN)/python
	touch $@

$(VENV)/.linters: $(VENV)/.installed
	$(INSTALL) ".[cpu,test,lint]"
	touch $@

$(VENV)/.documenting: $(VENV)/.installed
	$(INSTALL) ".[cpu,test,docs]"
	touch $@

$(VENV)/.releasing: $(VENV)/.installed
	$(INSTALL) ".[cpu,test,release]"
	touch $@

# All of the above by one run of pip, for .ci/run.
$(VENV)/.complete: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) ".[cpu,test,lint,docs,release]"
	sh tests/install_serving_api.sh $(BIN)/python
	touch $(addprefix $(VENV)/.,installed linters documenting releasing complete)
