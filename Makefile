# `make demo` needs Python 3.11 or newer and make, nothing else; tests also Node.js and chromium, for the annotator's page.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= demo-home
# Ray writes an auth token into HOME; tests get one of their own.
TEST_HOME := $(CURDIR)/.test-home
# OpenMP threads that spin stand in the way of everything else on a small machine.
PYTEST = HOME="$(TEST_HOME)" OMP_WAIT_POLICY=PASSIVE "$(BIN)/python" -m pytest --durations=25

WEB := dataengine/annotator/web
WEB_SOURCES := $(shell find $(WEB)/src $(WEB)/public -type f) $(WEB)/index.html $(WEB)/vite.config.ts

.PHONY: setup demo web test test-all check format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	"$(PYTHON)" -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --upgrade pip
	"$(BIN)/python" -m pip install --quiet -c constraints.txt -e ".[dev]"
	# Without their dependencies: face-recognition would compile dlib (dlib-bin is here), platedet pins old libraries.
	"$(BIN)/python" -m pip install --quiet --no-deps face-recognition platedet
	touch "$(STAMP)"

# The annotator's page. Only building it needs Node; the wheel brings it built.
web: $(WEB)/dist/index.html

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB_SOURCES)
	cd $(WEB) && npm run --silent build
	touch $@

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@command -v npm >/dev/null || { \
	  echo "The annotator's page is not built: it needs Node.js 20.19 or newer with npm, which is not here." >&2; \
	  echo "Install it from your system or nodejs.org and run 'make web'; a released wheel has the page built." >&2; \
	  exit 1; }
	cd $(WEB) && npm ci --no-audit --no-fund
	touch $@

demo: $(STAMP)
	"$(BIN)/dataengine" demo "$(DEMO)"

test: $(STAMP) web
	cd $(WEB) && npm run --silent test
	mkdir -p "$(TEST_HOME)"
	$(PYTEST) -m "not slow"

test-all: $(STAMP) web
	cd $(WEB) && npm run --silent test
	mkdir -p "$(TEST_HOME)"
	$(PYTEST)

check: $(STAMP) $(WEB)/node_modules/.package-lock.json
	cd $(WEB) && npm run --silent check
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

format: $(STAMP) $(WEB)/node_modules/.package-lock.json
	"$(BIN)/ruff" format .
	"$(BIN)/ruff" check --fix .
	cd $(WEB) && npm run --silent format

clean:
	rm -rf "$(VENV)" "$(TEST_HOME)" build *.egg-info $(WEB)/dist $(WEB)/node_modules
