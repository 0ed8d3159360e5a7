# Everything runs from .venv: Python, uv, Node. `make help` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
DONE := $(VENV)/.done
UV_VERSION := $(shell sed -n 's/^ *"uv==\(.*\)",$$/\1/p' pyproject.toml)

# Node's scripts find the locked node first, never the machine's.
export PATH := $(abspath $(BIN)):$(PATH)
export VIRTUAL_ENV := $(abspath $(VENV))
export UV_PROJECT_ENVIRONMENT := $(abspath $(VENV))
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE CONDA_PREFIX NODE_PATH

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup bundle demo lab test check bench bench-browser soak notebooks docs screenshots looks clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(DONE)/project bundle ## .venv with the locked dependencies, the front end built

demo: setup ## run notebooks/01_quickstart.ipynb, show the answer and its cost, then open it in JupyterLab (LAB=0: do not)
	@$(PY) scripts/demo.py

lab: setup ## JupyterLab on notebooks/
	@$(BIN)/jupyter lab notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

test: setup $(DONE)/browser ## everything: front end, Python, kernels, notebooks, browser (at most 25 minutes on two cores)
	@$(PY) scripts/suites.py widgets python kernel notebooks browser

check: setup ## the inner loop, under a minute: ruff, pyright, unit tests
	@$(PY) scripts/suites.py lint types unit

bench: setup ## ratios to the SDK's own loop and to the floors (needs ../shared/bench, or MESH_BENCH)
	@$(PY) scripts/bench.py

bench-browser: setup $(DONE)/browser ## the live view in JupyterLab at 2,000 tokens/s: paint, long tasks, bytes, Stop (QUICK=1: not the 100,000 tokens)
	@$(PY) scripts/bench_browser.py

soak: setup ## long runs: tests/soak
	@$(PY) scripts/suites.py soak

notebooks: setup ## execute notebooks/ in place, after a change of what they show
	@$(PY) scripts/notebooks.py

docs: setup ## the notebooks as pages in build/docs, nothing executed
	@$(PY) scripts/docs.py

screenshots: setup $(DONE)/browser ## docs/images, from a real JupyterLab in light and dark
	@$(PY) scripts/screenshots.py

looks: setup $(DONE)/browser ## build/looks: every state of a cell, live above static, in light and dark, at three widths
	@$(PY) scripts/looks.py

clean: ## remove what was built; keep .venv
	@rm -rf build dist mesh_nb/static .ruff_cache
	@find . -path ./$(VENV) -prune -o -path ./widgets/node_modules -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf

distclean: clean ## remove .venv and widgets/node_modules too
	@rm -rf $(VENV) widgets/node_modules

# --- the steps of setup; each leaves a stamp and runs again only when what it depends on changed ---

$(BIN)/uv: pyproject.toml
	@if ! test -x $(PY); then \
	  echo "creating $(VENV)"; \
	  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mesh_nb needs Python 3.11 or newer as python3" >&2; exit 1; }; \
	  python3 -m venv $(VENV); \
	fi
	@if test "$$($@ --version 2>/dev/null | cut -d' ' -f2)" != "$(UV_VERSION)"; then \
	  echo "installing uv $(UV_VERSION)"; \
	  $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null; \
	  $(PY) -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"; \
	fi
	@touch $@

$(DONE)/packages: $(BIN)/uv uv.lock
	@echo "installing the locked packages"
	@$(BIN)/uv sync --quiet --frozen --inexact --no-install-project
	@mkdir -p $(DONE) && touch $@

bundle: $(DONE)/packages ## build the front end when its sources changed
	@$(PY) scripts/bundle.py

# The bundle is built above; the build hook of an editable install would build it again.
$(DONE)/project: $(DONE)/packages | bundle
	@HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(BIN)/uv sync --quiet --frozen
	@touch $@

$(DONE)/browser: $(DONE)/packages scripts/find_browser.py
	@$(PY) scripts/find_browser.py --install > $@
