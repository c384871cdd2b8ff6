# `make demo` and `make test` need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= demo-home
# Ray writes an auth token into HOME; tests get one of their own.
TEST_HOME := $(CURDIR)/.test-home
# OpenMP threads that spin stand in the way of everything else on a small machine.
PYTEST = HOME="$(TEST_HOME)" OMP_WAIT_POLICY=PASSIVE "$(BIN)/python" -m pytest

.PHONY: setup demo test test-all check format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	"$(PYTHON)" -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --upgrade pip
	"$(BIN)/python" -m pip install --quiet -c constraints.txt -e ".[dev]"
	# Without their dependencies: face-recognition would compile dlib (dlib-bin is here), platedet pins old libraries.
	"$(BIN)/python" -m pip install --quiet --no-deps face-recognition platedet
	touch "$(STAMP)"

demo: $(STAMP)
	"$(BIN)/dataengine" demo "$(DEMO)"

test: $(STAMP)
	mkdir -p "$(TEST_HOME)"
	$(PYTEST) -m "not slow"

test-all: $(STAMP)
	mkdir -p "$(TEST_HOME)"
	$(PYTEST)

check: $(STAMP)
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

format: $(STAMP)
	"$(BIN)/ruff" format .
	"$(BIN)/ruff" check --fix .

clean:
	rm -rf "$(VENV)" "$(TEST_HOME)" build *.egg-info
