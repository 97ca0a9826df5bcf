# PYTHON makes the environment, PY is the Python inside it.
PYTHON ?= python3
PY     := .venv/bin/python
STAMP  := .venv/.installed
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --build-constraint constraints.txt

# Most tests wait for processes most of the time, so two files at a time take little
# more than half of it. One test alone: .venv/bin/python -m pytest tests/...
JOBS ?= 2
PYTEST := -m pytest -n $(JOBS) --dist loadfile

OLD := pymule needs Python 3.11 or newer with its venv module (on Debian: \
	apt install python3-venv). To choose another: make PYTHON=python3.12

# Debian's packages, beside Python: nothing is installed and no service starts. Root may
# bring the lists of packages up to date; others use those that are here. The last two
# are libraries of Redis.
UNPACK := { test "$$(id -u)" != 0 || apt-get -qq update; } && cd .venv \
	&& apt-get -qq download beanstalkd redis-server redis-tools libjemalloc2 liblzf1 \
	&& dpkg -x beanstalkd_*.deb beanstalkd && for package in redis-*.deb lib*.deb; \
	do dpkg -x $$package redis; done

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

.PHONY: install
install: $(STAMP)  ## Make .venv with everything pinned (the others do it by themselves)

# pip first: the pip of a new environment may be too old for dependency groups.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(OLD)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(PIP) --group dev --editable '.[demo]'
	@touch $@

.PHONY: run
run: $(STAMP)  ## Run the demonstration in the foreground; Ctrl-C stops it
	@.venv/bin/pymuled -c configs/demo.toml

.PHONY: test
test: $(STAMP)  ## Run all tests, on both event loops
	$(PY) $(PYTEST)

.PHONY: slow
slow: $(STAMP)  ## Run only the tests that start a real pymuled
	$(PY) $(PYTEST) -m slow

.PHONY: fmt
fmt: $(STAMP)  ## Format the code and repair what ruff can repair
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.PHONY: lint
lint: $(STAMP)  ## Check format, rules and floors
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	.venv/bin/lint-imports

.PHONY: types
types: $(STAMP)  ## Check the types of code and tests
	$(PY) -m mypy

.PHONY: cover
cover: $(STAMP)  ## Run all tests and count what they reach, in the mules too
	$(PY) -m coverage erase
	$(PY) -m coverage run $(PYTEST)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report
	$(PY) -m coverage report --include='pymule/sansio/*' --fail-under=100

# RENEW=1 writes what is measured now to benchmarks/guard.json.
.PHONY: guard
guard: $(STAMP)  ## See that a message costs what it did (RENEW=1: that is the new cost)
	$(PY) -m benchmarks.guard $(if $(RENEW),--renew,--prove)

.PHONY: check
check: lint types cover guard  ## What CI runs: lint, types, tests and what a message costs

.PHONY: bench
bench: $(STAMP)  ## Measure against the peers, 20 minutes (ONLY=throughput, QUICK=1)
	$(PIP) --editable '.[bench]'
	@test -e .venv/arq || $(PY) -m pip install --quiet --target .venv/arq --requirement benchmarks/peers/arq.txt
	@{ command -v beanstalkd && command -v redis-server; } >/dev/null || test -e .venv/redis || ( $(UNPACK) ) || echo "no beanstalkd or no Redis: its rows say so"
	@# Else a machine that writes no bytecode compiles all of it at each start.
	@$(PY) -m compileall -q pymule benchmarks
	$(PY) -m benchmarks

.PHONY: report
report: $(STAMP)  ## Render docs/performance.md and its plots from the results
	$(PIP) --editable '.[bench]'
	$(PY) -m benchmarks.page

.PHONY: soak
soak: $(STAMP)  ## Torment it for an hour: kills, power cuts, chaos, 20,000 examples
	$(PY) -m tests.chaos.soak

.PHONY: clean
clean:  ## Remove .venv and everything that can be made again
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
