"""The failure tests run over the transports of the contract suite, and over links through a network that fails.

With ``GRPC_ADDR=host:port`` those run that need no hub of their own, against the one at that address.
"""

from pathlib import Path

import pytest

from failure_modes.invariants import GRPC_ADDR
from failure_modes.links import over_link as over_link  # noqa: PLC0414 - a fixture is found by its name here
from failure_modes.workers import make_crew as make_crew  # noqa: PLC0414 - likewise
from integration.conftest import connect as connect  # noqa: PLC0414 - likewise
from integration.conftest import pytest_generate_tests as pytest_generate_tests  # noqa: PLC0414 - likewise
from integration.conftest import remote_bridge as remote_bridge  # noqa: PLC0414 - likewise

ELSEWHERE = "test_toxics.py"


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
