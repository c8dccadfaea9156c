"""``/mcp``: streamable HTTP."""

import asyncio

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.hub_calls import BODY_FACTOR
from grpc_tool_bridge.gateway.mcp.server import make_server
from grpc_tool_bridge.gateway.mcp.sessions import MCP_SESSION_HEADER, SHARED_SESSION, SessionClients, SessionKey

# Who may connect is decided before a request comes here.
_NO_CHECKS = TransportSecuritySettings(enable_dns_rebinding_protection=False)


class McpEndpoint:
    """Serves a hub to MCP clients over HTTP, as an ASGI application.

    Args:
        hub: The hub.
        version: The package's.
    """

    def __init__(self, hub: Hub, version: str) -> None:
        settings = hub.settings
        options = CallOptions(
            max_message_bytes=settings.max_message_bytes, max_message_nodes=settings.max_message_nodes
        )
        self._sessions = SessionClients(
            lambda: ToolBridgeClient(LocalTransport(hub), options=options),
            SessionKey(SHARED_SESSION),
            idle_timeout=settings.session_idle_timeout,
            most=settings.max_sessions,
        )
        self._manager = StreamableHTTPSessionManager(
            make_server(self._sessions, version),
            security_settings=_NO_CHECKS,
            max_request_body_size=BODY_FACTOR * settings.max_message_bytes,
            session_idle_timeout=settings.session_idle_timeout,
            max_sessions=settings.max_sessions,
        )
        self._tasks = TaskSet()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begins to serve."""
        started = asyncio.Event()
        self._tasks.spawn(self._run(started), "MCP over HTTP")
        await started.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        await self._manager.handle_request(scope, receive, send)
        if scope["method"] == "DELETE":
            ended = Request(scope).headers.get(MCP_SESSION_HEADER, "")
            await self._sessions.end(SessionKey(f"mcp-{ended}", is_own=True))

    async def aclose(self) -> None:
        """Ends what still runs."""
        self._stopping.set()
        await self._sessions.aclose()
        await self._tasks.aclose()

    async def _run(self, started: asyncio.Event) -> None:
        async with self._manager.run():
            started.set()
            await self._stopping.wait()
