"""A bridge with a session, for the tests of one adapter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc_tool_bridge import LocalToolBridge


@asynccontextmanager
async def bridge_of(*tools: Any) -> AsyncIterator[LocalToolBridge]:
    """Opens a session of a hub with these tools, in this process."""
    async with LocalToolBridge(tools) as bridge:
        await bridge.initialize()
        yield bridge
