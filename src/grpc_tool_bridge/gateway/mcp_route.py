"""``/mcp``, which needs the official SDK of MCP: imported when the first client comes."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any

from starlette.types import Receive, Scope, Send

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import UnavailableError, UnimplementedError
from grpc_tool_bridge.gateway.errors import error_response
from grpc_tool_bridge.optional import missing


class McpRoute:
    """The route of MCP clients, as an ASGI application.

    Args:
        hub: The hub.
        agents: Agents that every client sees as tools: signatures by name.
    """

    def __init__(self, hub: Hub, agents: Mapping[str, str] | None = None) -> None:
        self._hub = hub
        self._agents = agents
        self._endpoint: Any = None
        self._starting = asyncio.Lock()
        self._is_closed = False

    @property
    def sessions(self) -> int:
        """Sessions that MCP clients have open."""
        return 0 if self._endpoint is None else int(self._endpoint.sessions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if self._endpoint is None:
            try:
                await self._start()
            except ImportError as error:
                text = str(missing(error, "mcp", extra="mcp"))
                await error_response(UnimplementedError(text))(scope, receive, send)
                return
            except UnavailableError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._endpoint(scope, receive, send)

    async def aclose(self) -> None:
        """Ends what still runs, streams too; later requests are refused."""
        async with self._starting:
            self._is_closed = True
            if self._endpoint is not None:
                await self._endpoint.aclose()

    async def _start(self) -> None:
        async with self._starting:
            if self._is_closed:
                raise UnavailableError("the hub is shutting down and takes no new requests")
            if self._endpoint is None:
                # It takes half a second, in which other requests are answered.
                module = await asyncio.to_thread(import_module, "grpc_tool_bridge.gateway.mcp.endpoint")
                endpoint = module.McpEndpoint(self._hub, version("grpc-tool-bridge"), self._agents)
                await endpoint.start()
                self._endpoint = endpoint
