"""The hub's connection to a node of NATS, without a hub."""

import secrets
from typing import Any

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.urls import parse


async def open_bus(url: str, cluster: str | None = None, **settings: Any) -> Bus:
    """Opens a bus.

    Args:
        url: Of NATS, without a cluster's name.
        cluster: The cluster's; None: one that nobody else has.
        settings: Of the hub.
    """
    bus = Bus(parse(f"{url}/{cluster or f't{secrets.token_hex(6)}'}"), Settings(**settings))
    await bus.open()
    return bus
