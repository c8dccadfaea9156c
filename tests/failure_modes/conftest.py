"""The failure tests run over the transports of the contract suite, and over links through a network that fails.

Those that are about what a hub holds run a second time with hubs that have a durable store.

With ``GRPC_ADDR=host:port`` those run that need no hub of their own, against the one at that address.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest

from failure_modes.invariants import GRPC_ADDR
from failure_modes.links import over_link as over_link  # noqa: PLC0414 - a fixture is found by its name here
from failure_modes.workers import make_crew as make_crew  # noqa: PLC0414 - likewise
from grpc_tool_bridge import Settings, server
from integration.conftest import connect as connect  # noqa: PLC0414 - likewise
from integration.conftest import pytest_generate_tests as over_transports
from integration.conftest import remote_bridge as remote_bridge  # noqa: PLC0414 - likewise
from support.stores import STORES

ELSEWHERE = "test_toxics.py"

# The modules whose tests run over each store, or those of their tests whose names have one of the words.
OVER_STORES = {
    "test_bad_input": ("variable", "session"),
    "test_link_loss": (),
    "test_link_restart": (),
    "test_lost_agents": (),
    "test_lost_hub": (),
    "test_network_failures": ("variable", "watch", "effect"),
    "test_resource_limits": (),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test over every transport, and every store, that has what it is about."""
    over_transports(metafunc)
    module = metafunc.module.__name__.rpartition(".")[2]
    words = OVER_STORES.get(module)
    if words is not None and (not words or any(word in metafunc.function.__name__ for word in words)):
        metafunc.parametrize("kept_in", list(STORES), indirect=True)


@pytest.fixture(autouse=True)
def kept_in(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Gives each hub of the test's process that names no store a new one of this kind."""
    kind = getattr(request, "param", "memory")
    if kind != "memory":
        make_store, count = server._make_store, itertools.count()

        def made(store: Any, settings: Settings) -> Any:
            if store is None:
                directory = tmp_path / f"hub {next(count)}"
                directory.mkdir()
                store = STORES[kind].url(directory)
            return make_store(store, settings)

        monkeypatch.setattr(server, "_make_store", made)
    return kind


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what starts a hub of its own, where the tests are to run against another one."""
    if not GRPC_ADDR:
        return
    own = [item for item in items if item.path.parent == Path(__file__).parent and item.path.name != ELSEWHERE]
    items[:] = [item for item in items if item not in own]
    config.hook.pytest_deselected(items=own)


def pytest_report_collectionfinish() -> list[str]:
    """Says so."""
    return [f"GRPC_ADDR={GRPC_ADDR}: of the failure tests, only {ELSEWHERE} runs against it"] * bool(GRPC_ADDR)
