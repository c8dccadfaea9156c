"""Tools for the agents of each framework, and a bridge whose hub has gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pandas as pd

from grpc_tool_bridge import GRPCToolBridge, Settings, tool
from grpc_tool_bridge.testing.background import running_hub


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
async def count(to: int) -> AsyncIterator[int]:
    """Counts from 1."""
    for number in range(1, to + 1):
        yield number


@tool
def refuse(reason: str) -> None:
    """Refuses."""
    raise ValueError(reason)


@tool
def rows() -> pd.DataFrame:
    """Gives rows."""
    return pd.DataFrame({"a": [1, 2]})


@tool(name="files.erase", metadata={"mcp.destructiveHint": "true", "mcp.title": "Erase a file"})
def erase(path: str) -> str:
    """Erases a file."""
    return f"erased {path}"


class Hanging:
    """A tool that waits until it is cancelled.

    Attributes:
        began, ended: Set when it has.
    """

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

        @tool
        async def hang() -> None:
            """Hangs."""
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        self.tool = hang


@asynccontextmanager
async def lost_bridge() -> AsyncIterator[GRPCToolBridge]:
    """Opens a session with ``add`` at a hub, and ends the hub."""
    with running_hub([add], Settings()) as hub:
        bridge = GRPCToolBridge(hub.address, timeout=1)
        await bridge.initialize()
    try:
        yield bridge
    finally:
        await bridge.close()
