"""A hub and a bridge that do not depend on a test's event loop."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from grpc_tool_bridge.client.bridge import GRPCToolBridge
from grpc_tool_bridge.client.tools import Tools
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import Recorder
from grpc_tool_bridge.core.registered_tool import ToolSource
from grpc_tool_bridge.server import BridgeServer
from grpc_tool_bridge.tools.toolset import Toolset


@contextmanager
def running_hub(
    tools: Iterable[ToolSource | Toolset],
    settings: Settings,
    *,
    agents: Any = None,
    recorder: Recorder | None = None,
    lifespan: Any = None,
) -> Iterator[BridgeServer]:
    """Runs a hub in its own thread and event loop; arguments as for ``BridgeServer``."""
    server = BridgeServer(tools=tools, settings=settings, agents=agents, recorder=recorder, lifespan=lifespan)
    with start_blocking_portal() as portal:
        portal.call(server.start)
        try:
            yield server
        finally:
            portal.call(server.stop, 0)


@contextmanager
def background_bridge(address: str, settings: Settings) -> Iterator[GRPCToolBridge]:
    """Creates a bridge, and closes it whichever loop it was used in."""
    token = settings.bearer_token()
    bridge = _FixtureBridge(address, token=token, max_message_bytes=settings.max_message_bytes)
    try:
        yield bridge
    finally:
        bridge.close_from_outside()


class _FixtureBridge(GRPCToolBridge):
    """A bridge that can be closed while its event loop is not running."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def initialize(self, *args: Any, **options: Any) -> Tools:
        """Opens the session and remembers the loop of its heartbeat."""
        self._loop = asyncio.get_running_loop()
        return await super().initialize(*args, **options)

    def close_from_outside(self) -> None:
        """Closes the bridge, in its own loop if that still exists."""
        loop = self._loop
        if self._portal is not None:
            self.sync.close()
        elif loop is not None and not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(self.close())
        else:
            # The heartbeat ended with the loop; the session ends with its hub.
            _run_elsewhere(self.client.close())


def _run_elsewhere(coroutine: Any) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()
