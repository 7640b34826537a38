# brokerkit from a checkout, with nothing but Python 3.11 or later and make:
#
#   make demo                      see it work: no broker, no account, a few seconds; leaves brokerkit-demo.db
#   make test                      everything the tests need, then all of them, against real brokers
#   make test T=tests/brokers      one folder, file or test
#   make test ARGS='-x -k redis'   any other words for pytest
#   make test WORKERS=0            in one process; three share the work otherwise, each with brokers of its own
#   make test RABBITMQ=4.3 REDIS=8.2 KAFKA=4.4.0   other versions of the brokers; also VALKEY, SQS, SNS: see tests/brokers/versions.py
#   make matrix                    the adapters' tests on every version of their broker; writes docs/brokers.md
#   make matrix M='rabbitmq-4.3 redis-8.2'   some versions
#   make brokers                   keep the brokers up in this shell: the tests of the others then start at once
#   make endurance                 what must hold for long, in full; some minutes for each broker; prints its figures
#   make conformance               the whole conformance suite on every broker; writes docs/conformance.md
#   make lint                      ruff: rules and layout
#   make chaos N=100000            the full form of tests/chaos: so many messages for each broker while everything dies
#   make simulate SEEDS=100000      the core against simulated brokers, on all cores: see docs/simulation.md
#   make mutations                 put faults into the core, and see how soon the simulation finds them; writes docs/simulation.md
#   make collector                 build OpenTelemetry's Collector with Go, some minutes, and send traces and metrics to it
#   make types                     mypy and pyright, both strict
#   make bench                     brokerkit beside the raw clients and other frameworks; writes docs/; a quarter of an hour
#   make bench B='kafka --rounds 5'  some brokers, and any other words for python -m benchmarks
#   make bench B=curves            how it grows with names, topics, keys, messages, workers and waiting handlers
#   make bench-gateway             the gateway with 2,500 clients and 5,000 events a second
#   make docs                      write what in docs/ and README.md follows from the code
#   make site                      build the documentation as a site, with the API reference, into site/
#   make sbom                      what `brokerkit-sdk[all]` consists of, as CycloneDX, in dist/sbom.cdx.json
#   make audit                     known vulnerabilities of what is in .venv, where the package index serves advisories
#   make lock                      write the locks after a change of pyproject.toml: requirements/, and tests/brokers/locks/
#   make lock L=--upgrade          the same, with the newest versions that pyproject.toml allows
#   make test-lowest               the tests of LOWEST, with the lowest versions that pyproject.toml allows
#   make clean                     back to a fresh checkout
#
# All of it lives in .venv/, .venv-lowest/, .brokers/ and tests/asyncapi/node_modules/. What is in place is not installed again; a change of
# pyproject.toml, of a lock or of the brokers' versions brings it up to date. PYTHON=python3.13 chooses the interpreter for a new .venv.
# Python packages come from the locks in requirements/, and pip compares the hashes. Where a lock has no files for an interpreter or a platform,
# LOCKED=no installs what pyproject.toml allows. `make demo` installs as a user does, and `make bench` the packages that it compares with.
# On Debian and Ubuntu `make test` installs rabbitmq-server, Chromium, Java and Maven through apt where they are
# missing; elsewhere it says what to install. Brokers that run already, from docker-compose.yml for one, are used instead
# where the variables in tests/brokers/__init__.py name them.

PYTHON ?= python3
BIN := .venv/bin
T ?=
L ?=
LOCKED ?= yes
WORKERS ?= 3
B ?=
M ?=
LOWEST ?= tests/adapters tests/conformance tests/test_every_broker.py tests/config tests/dedupe tests/formats tests/specifications \
  tests/handlers tests/cli tests/gateway tests/events tests/messages tests/metrics tests/test_outbox.py

# The versions of brokers that the tests run against; what is not named has its default. Only words of the command line count:
# somebody's environment may have a REDIS that is something else.
given = $(if $(filter command,$(firstword $(origin $1))),$2-$($1))
export BROKERKIT_TEST_VERSIONS := $(strip $(BROKERKIT_TEST_VERSIONS) \
  $(call given,RABBITMQ,rabbitmq) $(call given,REDIS,redis) $(call given,VALKEY,valkey) \
  $(call given,KAFKA,kafka) $(call given,SQS,sqs) $(call given,SNS,sns))

.PHONY: demo test brokers endurance conformance matrix lint types bench bench-gateway docs site sbom audit lock test-lowest clean

demo: .venv/.demo
	$(BIN)/brokerkit demo

test: .venv/.dev
	@bash tests/brokers/install.sh
	@$(BIN)/python tests/asyncapi/install.py
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope $(T) $(ARGS)

brokers: .venv/.dev
	@bash tests/brokers/install.sh
	@$(BIN)/python -m tests.brokers

endurance: .venv/.dev
	@bash tests/brokers/install.sh
	BROKERKIT_ENDURANCE=full $(BIN)/pytest -s tests/endurance tests/bridge/test_killed.py tests/killed/test_replay_killed.py --timeout 3600 $(ARGS)

conformance: .venv/.dev
	@bash tests/brokers/install.sh
	BROKERKIT_CONFORMANCE=full $(BIN)/pytest tests/conformance --conformance docs/conformance.md $(ARGS)

matrix: .venv/.dev
	$(BIN)/python -m tests.brokers.matrix $(M); status=$$?; $(BIN)/python scripts/generate_docs.py; exit $$status

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: chaos
chaos: N ?= 100000
chaos: .venv/.dev
	@bash tests/brokers/install.sh
	BROKERKIT_CHAOS=$(N) $(BIN)/pytest tests/chaos -s --timeout 7200 $(ARGS)

.PHONY: collector
collector: .venv/.dev
	cd tests/tracing/collector && go build -o $(CURDIR)/.brokers/otelcol .
	BROKERKIT_COLLECTOR=$(CURDIR)/.brokers/otelcol $(BIN)/pytest tests/tracing/test_otlp.py $(ARGS)

.PHONY: simulate
simulate: SEEDS ?= 100000
simulate: .venv/.dev
	$(BIN)/python -m tests.simulation $(SEEDS) $(ARGS)

.PHONY: mutations
mutations: .venv/.dev
	$(BIN)/python -m tests.simulation.mutations $(ARGS)

types: .venv/.dev
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: .venv/.dev
	@bash tests/brokers/install.sh
	$(call unlocked,$(BIN),--group bench)
	$(BIN)/python -m benchmarks $(B)

.PHONY: bench-against
bench-against: REV ?= HEAD~1
bench-against: .venv/.dev
	@bash tests/brokers/install.sh
	$(BIN)/python -m benchmarks.against $(REV) $(B)

bench-gateway: .venv/.dev
	@bash tests/brokers/install.sh
	$(BIN)/python -m benchmarks.gateway $(ARGS)

docs: .venv/.dev
	$(BIN)/python scripts/generate_docs.py

site: .venv/.dev
	$(BIN)/mkdocs build

.venv/.release: requirements/release.txt .venv/.dev
	$(call install,$(BIN),release,--group release)
	@touch $@

sbom: .venv/.release
	$(BIN)/python scripts/sbom.py dist/sbom.cdx.json

# Strict: an index that serves no advisories is an error, not a clean result.
audit: .venv/.release
	$(BIN)/pip-audit --strict --skip-editable

lock: .venv/.release
	$(BIN)/python scripts/lock.py $(L)

test-lowest: .venv/.dev .venv-lowest/.made
	@bash tests/brokers/install.sh
	.venv-lowest/bin/pytest --numprocesses $(WORKERS) --dist loadscope $(or $(T),$(LOWEST)) $(ARGS)

clean:
	rm -rf .venv .venv-lowest .brokers site tests/asyncapi/node_modules

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "brokerkit needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: pyproject.toml .venv/.made
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	@touch $@

# 25.1 is the first pip that knows --group.
unlocked = $1/python -m pip install --quiet --upgrade 'pip>=25.1' && $1/python -m pip install --quiet $2

# Arguments: folder of programs, name of the lock, what is installed without it.
ifeq ($(LOCKED),no)
install = $(call unlocked,$1,$3)
else
install = @$1/python -m pip install --quiet --require-hashes --requirement requirements/$2.txt || { \
  echo 'pip could not install requirements/$2.txt; its error is above. If the lock has no files for this interpreter or this platform, say' \
  'LOCKED=no: that installs what pyproject.toml allows, without comparing hashes.' >&2; exit 1; }
endif

.venv/.dev: pyproject.toml requirements/dev.txt .venv/.made
	$(call install,$(BIN),dev,'.[all]' --group dev)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ .venv/.demo

.venv-lowest/.made: pyproject.toml requirements/lowest.txt .venv/.made
	.venv/bin/python -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --require-hashes --requirement requirements/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
