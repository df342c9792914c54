# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# torch first and pinned: a plain requirement pulls gigabytes of CUDA packages.
TORCH ?= torch==2.13.0
SCENARIO ?= lr-bug
PYTEST_WORKERS ?= 2

.PHONY: help demo compiled check-compiled test check format serve secrets dashboards bench-hook bench-server bench-recovery bench-detection clean system

help:
	@echo "make demo    train a small GPT that goes wrong and is recovered (SCENARIO=lr-bug or bad-data)"
	@echo "make test    the whole test suite, with real servers"
	@echo "make check   formatting, lint, types, import direction"
	@echo "make serve   the service on SQLite at http://127.0.0.1:8321"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "trainguard needs Python 3.10 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(BIN)/python
	$(PIP) install --quiet $(TORCH) -c constraints.txt
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --quiet -e '.[demo]' -c constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --quiet -e '.[dev]' -c constraints.txt
	@touch $@ $(VENV)/.demo

# Threads that wait without spinning: on a machine that has other work too, spinning makes a step four times slower.
demo: $(VENV)/.demo
	@OMP_WAIT_POLICY=PASSIVE SCENARIO=$(SCENARIO) $(BIN)/python -m examples.char_gpt.demo

test: $(VENV)/.dev system
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(VENV)/.demo
	$(BIN)/trainguard serve

# One file per secret of docker-compose.yml, each made once. The containers' users must be able to read them, so the
# folder keeps others out and not the files.
secrets:
	@mkdir -p -m 700 secrets
	@for name in database_password database_reader_password grafana_password webhook_secret; do \
	  [ -s secrets/$$name ] || $(PYTHON) -c 'import secrets; print(secrets.token_hex(24), end="")' > secrets/$$name; done
	@[ -s secrets/database_url ] || printf 'postgresql+psycopg://trainguard:%s@postgres:5432/trainguard' \
	  "$$(cat secrets/database_password)" > secrets/database_url
	@chmod 444 secrets/*
	@echo "secrets/ is ready; Grafana's password for the user admin is in secrets/grafana_password"

dashboards: $(VENV)/.dev
	$(BIN)/python -m dashboards.grafana.generate

# Needs Node and its registry, so it is no part of the tests.
.PHONY: check-dashboards
check-dashboards: $(VENV)/.dev
	@mkdir -p $(VENV)/grafana-types
	npm install --prefix $(VENV)/grafana-types --no-audit --no-fund --silent typescript@5.9.3 @grafana/schema@13.2.3
	$(BIN)/python -m dashboards.grafana.check_types $(VENV)/grafana-types

# The peers have an environment of their own, which sees the project's; their versions are nobody else's business.
$(VENV)/bench/.done: $(VENV)/.dev
	$(BIN)/python -m venv $(VENV)/bench
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$($(VENV)/bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(VENV)/bench/bin/python -m pip --disable-pip-version-check install --quiet -e '.[bench]'
	@touch $@

# About ten minutes; a busy machine spoils the numbers.
bench-hook: $(VENV)/bench/.done
	$(VENV)/bench/bin/python -m benchmarks.hook

$(VENV)/.bench-recovery: $(VENV)/.demo
	$(PIP) install --quiet -e '.[bench-recovery]' -c constraints.txt
	@touch $@

# A quarter of an hour on two quiet cores; QUICK=1 takes a third of the scenarios, one seed, and writes nothing.
bench-recovery: $(VENV)/.bench-recovery
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.recovery --workers 2 $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

# The same detectors compiled to C by mypyc: findings and snapshots are the same. Built from
# a copy, because compiled modules beside their sources would hide every later change to them.
$(VENV)/compiled/.done: $(VENV)/.dev $(wildcard trainguard/detectors/*.py) pyproject.toml
	rm -rf $(VENV)/compiled $(VENV)/compiled-source $(VENV)/compiled-wheel
	mkdir -p $(VENV)/compiled-source
	cp -r pyproject.toml README.md LICENSE client_hook monitor_server trainguard migrations $(VENV)/compiled-source
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(PIP) wheel --quiet --no-deps --wheel-dir $(VENV)/compiled-wheel $(VENV)/compiled-source
	$(PIP) install --quiet --no-deps --target $(VENV)/compiled $(VENV)/compiled-wheel/*.whl
	@touch $@

compiled: $(VENV)/compiled/.done
	@ls $(VENV)/compiled-wheel/*.whl

# The detectors' own tests on the compiled ones; the programs of a virtual environment do not put the checkout first.
check-compiled: $(VENV)/compiled/.done
	PYTHONPATH=$(CURDIR)/$(VENV)/compiled OMP_NUM_THREADS=1 $(BIN)/pytest tests/detectors tests/contract/test_detectors.py

# Twenty minutes, every core busy; QUICK=1: two or three, for a look, and no results are written.
bench-server: $(VENV)/bench/.done $(VENV)/compiled/.done system
	$(BIN)/python -m benchmarks.server $(if $(QUICK),--quick)

# Labelled curves of real runs are no part of the repository: CURVES names their folder. Some ten minutes.
bench-detection: $(VENV)/.dev
	@test -n "$(CURVES)" || { echo "name the folder of labelled curves: make bench-detection CURVES=../shared/curves"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection --curves $(CURVES)

# The servers that the tests run for real. Where root and apt are missing, their tests are skipped with a reason.
system:
	@sh tests/install_servers.sh

clean:
	rm -rf $(VENV) demo-output demo-report.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
