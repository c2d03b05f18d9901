# Everything starts from a Python and make. GNU make 3.81 (macOS) and a POSIX shell are enough; on Windows use
# pip as docs/install.md shows.

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Each stamp stands for a finished step; `made` holds the folder it was made in, because an environment that
# was moved or copied runs the code of the old place.
MADE := $(VENV)/made
INSTALLED := $(VENV)/installed
TESTABLE := $(VENV)/installed-test
CHECKABLE := $(VENV)/installed-check

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo test check docs clean again

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1:\2/p' Makefile | awk -F: '{ printf "%-16s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## set up .venv with headstart and all its users need

demo: install ## set up, then the main job on photos that come along, offline
	$(BIN)/headstart demo

test: $(TESTABLE) ## set up, then the tests that take no more than a few seconds each
	$(BIN)/python -m pytest -m "not slow"

check: $(CHECKABLE) ## set up, then format, lint, types, import order and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

docs: $(TESTABLE) ## set up, then the documentation site, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "built: docs/_build/html/index.html"

clean: ## remove .venv and what the tools above have left
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache docs/_build docs/generated
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The venv. A folder `.venv` that somebody made by hand is used as it is; one that was moved, or whose making
# was interrupted, is made anew.

NO_PYTHON = headstart needs Python 3.11 or later, and $(PYTHON) is not one; neither are python3.11 to \
	python3.14 on the PATH.
NO_PYTHON_ADVICE = Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python), or \
	name it: make PYTHON=/path/to/python3
NO_VENV_ADVICE = On Debian and Ubuntu: apt install python3-venv (for a Python beside the system's own: \
	python3.12-venv, say).

ifneq ($(wildcard $(MADE)),)
ifneq ($(shell $(BIN)/python -c "" 2>/dev/null && cat $(MADE)),$(CURDIR))
$(MADE): again
endif
endif

$(MADE):
	@if test -e $(MADE) || test -e $(VENV)/unfinished; then rm -rf $(VENV); fi
	@if test ! -e $(BIN)/python; then \
		found=; lacks=; \
		for python in "$(PYTHON)" $(filter-out $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
			"$$python" -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || continue; \
			if "$$python" -c "import venv, ensurepip" 2>/dev/null; then found=$$python; break; fi; \
			lacks="$$lacks $$python"; \
		done; \
		if test -z "$$found" && test -n "$$lacks"; then \
			echo "This Python comes without the modules venv and ensurepip:$$lacks." >&2; \
			echo "$(NO_VENV_ADVICE)" >&2; exit 2; \
		elif test -z "$$found"; then \
			echo "$(NO_PYTHON)" >&2; echo "$(NO_PYTHON_ADVICE)" >&2; exit 2; \
		fi; \
		test "$$found" = "$(PYTHON)" || echo "Using $$found: $(PYTHON) is no complete Python 3.11 or later."; \
		mkdir -p $(VENV) && touch $(VENV)/unfinished && "$$found" -m venv $(VENV) && rm $(VENV)/unfinished; \
	fi
	@# The test and check groups of pyproject.toml are read by pip itself since 25.1.
	$(PIP) install "pip>=25.1"
	@echo "$(CURDIR)" > $@

# pip writes INSTALLER last. A package without it was interrupted, looks installed and is not: forget it, so
# that pip brings it again.
forget_halves = for info in $(VENV)/lib/python3*/site-packages/*.dist-info; do \
	test -e "$$info/INSTALLER" || rm -rf "$$info"; done

$(INSTALLED): $(MADE) pyproject.toml
	@$(forget_halves)
	$(PIP) install --editable ".[demo]"
	@touch $@

# headstart is named again so that pip finds versions that suit all of it together.
$(TESTABLE): $(INSTALLED)
	@$(forget_halves)
	$(PIP) install --editable ".[demo]" --group test
	@touch $@

$(CHECKABLE): $(TESTABLE)
	@$(forget_halves)
	$(PIP) install --editable ".[demo]" --group check
	@touch $@
