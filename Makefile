# Every workflow is one command here. It needs Python >= 3.11 and make; the rest is installed into .venv.

PYTHON_IN := .venv/bin/python
# uv brings certificates, but behind a company's proxy only the machine's own ones do.
CERTIFICATES := $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
	/etc/ssl/cert.pem),--system-certs)
INSTALL := .venv/bin/uv pip install --quiet $(CERTIFICATES) --compile-bytecode --python $(PYTHON_IN)
COMPILE := .venv/bin/uv pip compile --quiet $(CERTIFICATES) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

# Each requirements file has all of the one before: runtime.txt is for images, local.txt for `make run`.
# Stamps, each younger than what it installed: a finished step is not repeated, an interrupted one is.
BOOTSTRAP := .venv/.bootstrap
LOCAL := .venv/.local
DEV := .venv/.dev

.DEFAULT_GOAL := help
.PHONY: run test check lint format types secrets hooks protos client docs drift proto-lint proto-breaking \
	coverage races interruptions kills faults bench bench-exchange bench-migration bench-events bench-watch \
	bench-claims migrate migration lock clean help

run: $(LOCAL) ## Start PostgreSQL and both services in the foreground; Ctrl-C stops them
	@exec .venv/bin/tandem up

# Tests wait as much as they compute: four processes keep two cores busy. To measure coverage takes
# about a quarter of the time of the tests themselves; CI does it.
test: $(DEV) ## Run every test, in parallel and in random order (COVERAGE=yes: measured)
	@$(PYTHON_IN) -m pytest -n 4 $(if $(COVERAGE),--cov --cov-report=)

check: lint types secrets proto-lint proto-breaking drift ## Run everything that CI runs
	@$(MAKE) --no-print-directory test coverage COVERAGE=yes

lint: $(DEV) ## Check style, format and the import contracts
	@$(PYTHON_IN) -m ruff check
	@$(PYTHON_IN) -m ruff format --check
	@.venv/bin/lint-imports importlinter.toml --no-logo --no-cache

format: $(DEV) ## Fix style and format where a program can
	@$(PYTHON_IN) -m ruff check --fix
	@$(PYTHON_IN) -m ruff format

types: $(DEV) ## Check types
	@$(PYTHON_IN) -m mypy

secrets: $(DEV) ## Look for secrets in all tracked files (ARGS=--staged: in the next commit)
	@$(PYTHON_IN) -m scripts.check_secrets $(ARGS)

hooks: $(DEV) ## Check style, types, protos and secrets at every commit
	@.venv/bin/pre-commit install

protos: $(DEV) ## Generate the Python of tandem/ from protos/
	@$(PYTHON_IN) -m scripts.generate_protos

client: $(BOOTSTRAP) ## Build tandem-client, the package for programs that call Tandem, in clients/python/dist
	@cd clients/python && ../../.venv/bin/hatchling build --target sdist --target wheel

docs: $(DEV) ## Generate the parts of docs/ that follow from protos and code
	@$(PYTHON_IN) -m scripts.generate_docs

drift: $(DEV) ## Check that the generated Python and docs/ are current
	@$(PYTHON_IN) -m scripts.generate_protos --check
	@$(PYTHON_IN) -m scripts.generate_docs --check

proto-lint: $(DEV) ## Check the style of the protos
	@$(PYTHON_IN) -m scripts.check_protos lint

proto-breaking: $(DEV) ## Check that the protos break no client of the commit before
	@$(PYTHON_IN) -m scripts.check_protos breaking

coverage: $(DEV) ## Report the coverage of the last `make test COVERAGE=yes`, and fail if it is too low
	@$(PYTHON_IN) -m scripts.check_coverage

races: $(DEV) ## Run every test of concurrent calls 50 times
	@$(PYTHON_IN) -m pytest -q -n logical --times 50 \
		tests/agent_service/test_races.py tests/agent_service/rooms/test_races.py \
		tests/task_service/tasks/test_races.py

interruptions: $(DEV) ## Kill a migration at every statement (`make test`: at every third)
	@TANDEM_TEST_EVERY=1 $(PYTHON_IN) -m pytest -q -n logical tests/migrations/test_interrupted.py

kills: $(DEV) ## Kill services, backends and PostgreSQL KILLS times (200) under writers and watchers
	@TANDEM_TEST_KILLS=$(or $(KILLS),200) $(PYTHON_IN) -m pytest -q -s -p no:randomly \
		tests/e2e/test_kills_under_watches.py tests/client/test_exactly_once.py

faults: $(DEV) ## Kill everything KILLS times (500) under claims, and compare 10,000 calls with a model of leases
	@TANDEM_TEST_KILLS=$(or $(KILLS),500) TANDEM_TEST_STEPS=10000 $(PYTHON_IN) -m pytest -q -s -p no:randomly \
		tests/e2e/test_kills_under_claims.py tests/coordination/test_model.py

bench: $(DEV) ## Compare GetAgent with a bare handler (needs h2load)
	@$(PYTHON_IN) -m benchmarks.get_agent

bench-exchange: $(DEV) ## Compare how long it takes to reject each kind of invalid API key
	@$(PYTHON_IN) -m benchmarks.exchange

bench-migration: $(DEV) ## Migrate a legacy database with 1,000,000 rows, and measure time and memory
	@$(PYTHON_IN) -m benchmarks.legacy_migration

bench-events: $(DEV) ## Compare writes with those of a checkout from before the log (BEFORE=folder, with its .venv)
	@$(PYTHON_IN) -m benchmarks.event_cost $(BEFORE)

bench-watch: $(DEV) ## Let 1,000 watchers of one project wait for 200 changes a second
	@$(PYTHON_IN) -m benchmarks.watchers

bench-claims: $(DEV) ## Compare claims with a bare handler, and count what one reads among 1,000,000 tasks
	@$(PYTHON_IN) -m benchmarks.claims

migrate: $(LOCAL) ## Upgrade the database to the newest schema
	@.venv/bin/tandem db upgrade

migration: $(DEV) ## Create the next migration: make migration NAME=add_something
	@$(PYTHON_IN) -m scripts.new_migration $(NAME)

lock: $(BOOTSTRAP) ## Pin dependencies after a change in pyproject.toml (UPGRADE=--upgrade: update all)
	@$(COMPILE) --group bootstrap --output-file requirements/bootstrap.txt
	@$(COMPILE) pyproject.toml --output-file requirements/runtime.txt
	@$(COMPILE) pyproject.toml --extra local --constraint requirements/runtime.txt \
		--output-file requirements/local.txt
	@$(COMPILE) pyproject.toml --extra local --group dev --constraint requirements/local.txt \
		--output-file requirements/dev.txt

clean: ## Remove .venv and everything else that can be generated; your data in .data stays
	@rm -rf .venv .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist clients/python/dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

$(BOOTSTRAP): requirements/bootstrap.txt
	@PYTHON="$(PYTHON)" scripts/make_venv.sh
	@touch $@

$(LOCAL): $(BOOTSTRAP) requirements/local.txt pyproject.toml clients/python/pyproject.toml
	@$(INSTALL) --require-hashes --only-binary :all: --requirement requirements/local.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable . --editable clients/python
	@touch $@

$(DEV): $(LOCAL) requirements/dev.txt
	@$(INSTALL) --require-hashes --only-binary :all: --requirement requirements/dev.txt
	@touch $@
