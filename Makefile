# Everything a contributor needs: `make demo` runs the main job, `make test` every test.
PYTHON ?= python3
LOCK := requirements.lock
BIN := .venv/bin

.PHONY: install demo test lint format bench proto lock clean

install: .venv/.ready

.venv/.ready: $(LOCK) pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r scripts/bootstrap.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: install
	$(BIN)/python examples/demo.py

test: install
	@# Coverage starts before pytest, which loads the package's own plugin.
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --fail-under=90

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/check_proto.sh

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# `make bench PICTURE=docs/images/benchmark.svg` draws it too.
bench: install
	$(BIN)/python -m benchmarks --json benchmarks/results/latest.json $(if $(PICTURE),--picture $(PICTURE))

proto: install
	scripts/generate_proto.sh

# Resolves every dependency anew, for all platforms and Python versions that the package supports.
lock: install
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
	  --extra data --extra dspy --extra langchain --extra pydantic-ai --group dev --output-file $(LOCK) pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade \
	  --python-version 3.11 --output-file scripts/proto-requirements.lock scripts/proto-requirements.in
	grep '^uv==' $(LOCK) | cut -d' ' -f1 | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header \
	  --no-annotate --output-file scripts/bootstrap.lock -

clean:
	rm -rf .venv .venv-proto .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
