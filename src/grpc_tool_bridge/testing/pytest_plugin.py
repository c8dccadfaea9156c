"""Fixtures for projects that offer or use tools: a real hub, and a bridge to it.

pytest loads this plugin if the package is installed, so nothing large is imported before a fixture is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings
    from grpc_tool_bridge.core.registered_tool import ToolSource


@pytest.fixture
def bridge_tools() -> "list[ToolSource]":
    """The tools of ``bridge_server``: none. Override this fixture to set them."""
    return []


@pytest.fixture
def bridge_settings() -> "Settings":
    """The settings of ``bridge_server``: the defaults. Override this fixture to change them."""
    from grpc_tool_bridge import Settings  # noqa: PLC0415 - costs nothing to those who do not use it

    return Settings()


@pytest.fixture
def bridge_server(bridge_tools: "list[ToolSource]", bridge_settings: "Settings") -> "Iterator[BridgeServer]":
    """A hub in its own thread, at ``bridge_server.address``.

    Calls that a test leaves running are cancelled at its end.
    """
    from grpc_tool_bridge.testing.background import running_hub  # noqa: PLC0415 - as above

    with running_hub(bridge_tools, bridge_settings) as server:
        yield server


@pytest.fixture
def bridge(bridge_server: "BridgeServer", bridge_settings: "Settings") -> "Iterator[GRPCToolBridge]":
    """A bridge to ``bridge_server``, not yet initialized.

    An async test awaits ``bridge.initialize()``, a plain one calls ``bridge.sync.initialize()``. It is closed after the
    test.
    """
    from grpc_tool_bridge.testing.background import background_bridge  # noqa: PLC0415 - as above

    with background_bridge(bridge_server.address, bridge_settings) as made:
        yield made
