"""A hub and a bridge whose lifetime is no event loop's of the test."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from grpc_tool_bridge.client.bridge import GRPCToolBridge
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import ToolSource
from grpc_tool_bridge.server import BridgeServer


@contextmanager
def running_hub(tools: Iterable[ToolSource], settings: Settings) -> Iterator[BridgeServer]:
    """Runs a hub in the event loop of a thread of its own."""
    server = BridgeServer(tools=tools, settings=settings)
    with start_blocking_portal() as portal:
        portal.call(server.start)
        try:
            yield server
        finally:
            portal.call(server.stop, 0)


@contextmanager
def background_bridge(address: str, settings: Settings) -> Iterator[GRPCToolBridge]:
    """Makes a bridge and closes it, whichever loop it was used in."""
    token = settings.bearer_token()
    bridge = _FixtureBridge(address, token=token, max_message_bytes=settings.max_message_bytes)
    try:
        yield bridge
    finally:
        bridge.close_from_outside()


class _FixtureBridge(GRPCToolBridge):
    """A bridge that can be closed from where its event loop is not running."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def initialize(self, *args: Any, **options: Any) -> dict[str, AsyncGRPCProxyTool]:
        """Opens the session and keeps in mind which loop its heartbeat runs in."""
        self._loop = asyncio.get_running_loop()
        return await super().initialize(*args, **options)

    def close_from_outside(self) -> None:
        """Closes the bridge, in its own loop where that still exists."""
        loop = self._loop
        if self._portal is not None:
            self.sync.close()
        elif loop is not None and not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(self.close())
        else:
            # The loop took the heartbeat with it; the session goes with its hub.
            _run_elsewhere(self.client.close())


def _run_elsewhere(coroutine: Any) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()
