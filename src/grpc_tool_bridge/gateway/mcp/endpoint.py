"""``/mcp``: streamable HTTP."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope, Send

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.gateway.errors import HttpError, error_response
from grpc_tool_bridge.gateway.hub_calls import BODY_FACTOR, HubCalls
from grpc_tool_bridge.gateway.mcp.agents import AgentTools
from grpc_tool_bridge.gateway.mcp.connections import Connections
from grpc_tool_bridge.gateway.mcp.direct import CLIENT_LEFT, DirectCalls
from grpc_tool_bridge.gateway.mcp.event_store import EventStores, SessionEvents, opening_events
from grpc_tool_bridge.gateway.mcp.hub_sessions import sessions_of
from grpc_tool_bridge.gateway.mcp.sdk_internals import end_stream_watcher
from grpc_tool_bridge.gateway.mcp.server import make_server
from grpc_tool_bridge.gateway.mcp.session_calls import SessionCalls
from grpc_tool_bridge.gateway.mcp.sessions import (
    SESSION_PARAMETER,
    SessionKey,
    http_key,
)
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers
from grpc_tool_bridge.rpc.budgets import SMALL_BYTES

# When a client whose connection broke connects again, in milliseconds.
RETRY_MILLISECONDS = 1_000

# Who may connect is decided before a request comes here.
_NO_CHECKS = TransportSecuritySettings(enable_dns_rebinding_protection=False)
_HANDSHAKE = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)
_CALL = b"tools/call"
# The SDK tells of every session at INFO.
_LOUD = "mcp.server"

# The session of the request that is being answered.
_key_of_request: ContextVar[SessionKey | None] = ContextVar("session of a request over MCP", default=None)


class McpEndpoint:
    """Serves a hub to MCP clients over HTTP, as an ASGI application.

    Args:
        hub: The hub.
        version: The package's.
        agents: Agents that every session sees as tools: signatures by name.
    """

    def __init__(self, hub: Hub, version: str, agents: Mapping[str, str] | None = None) -> None:
        self._calls = HubCalls(hub)
        self._sessions = sessions_of(hub)
        chosen = ",".join(hub.settings.mcp_tools)
        self._handlers = ToolHandlers(self._sessions, chosen, AgentTools(agents or {}, hub.agents))
        server = make_server(self._sessions, version, self._handlers, memory=hub.memory, find_schema=self._schema_of)
        self._stores = EventStores(hub.memory, asyncio.get_running_loop().time)
        self._manager = _Manager(server, self._stores, hub.settings)
        (self._connections,) = (item for item in server.middleware if isinstance(item, Connections))
        self._direct: DirectCalls | None = None
        self._in_session: SessionCalls | None = None
        if len(server.middleware) == 1:
            # Else calls are traced, which the SDK does.
            self._direct = DirectCalls(self._calls, self._sessions, self._handlers, server.server_info_stamp)
            self._in_session = SessionCalls(self._handlers, RETRY_MILLISECONDS)
        self._idle_timeout = hub.settings.session_idle_timeout
        self._tasks = TaskSet()
        self._is_stopping = False
        _quiet(_LOUD)

    @property
    def sessions(self) -> int:
        """Sessions that its clients have open."""
        return self._sessions.count

    async def start(self) -> None:
        """Begins to serve."""
        started = asyncio.Event()
        self._tasks.spawn(self._run(started), "MCP over HTTP")
        await started.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if self._is_stopping:
            refusal = UnavailableError("the hub is shutting down and takes no new requests")
            await error_response(refusal)(scope, receive, send)
            return
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            _charge(scope, headers)
        except ResourceExhaustedError as error:
            await error_response(error)(scope, receive, send)
            return
        version = headers.get(b"mcp-protocol-version")
        if version is None or version in _HANDSHAKE:
            await self._answer_in_session(headers.get(b"mcp-session-id", b"").decode("latin-1"), scope, receive, send)
        elif headers.get(b"mcp-method") != _CALL:
            await self._manager.handle_request(scope, receive, send)
        else:
            await self._call(scope, receive, send)

    async def aclose(self) -> None:
        """Ends what still runs, open streams too."""
        self._is_stopping = True
        await self._tasks.aclose()
        if self._in_session is not None:
            await self._in_session.aclose()
        await self._sessions.aclose()
        await self._calls.aclose()
        self._stores.close()
        end_stream_watcher()

    async def _answer_in_session(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request of the handshake protocol."""
        found = self._connections.find(session_id)
        if found is None:
            if session_id:
                await self._manager.handle_request(scope, receive, send)
            else:
                await self._open_session(scope, receive, send)
            return
        found.requests += 1
        try:
            if self._in_session is not None and scope["method"] == "POST":
                first = await receive()
                call = self._in_session.read(scope, first, found)
                if call is not None:
                    await self._in_session.answer(call, scope, receive, send)
                    return
                receive = _again(first, receive)
            await self._manager.handle_request(scope, receive, send)
        finally:
            found.requests -= 1
            found.used_at = asyncio.get_running_loop().time()

    async def _open_session(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request without a session, for which the SDK opens one; it stays if this is a handshake."""
        opened: list[str] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                opened.extend(value.decode("latin-1") for key, value in message["headers"] if key == b"mcp-session-id")
            await send(message)

        try:
            await self._manager.handle_request(scope, receive, answer)
        finally:
            for session_id in opened:
                found = self._connections.find(session_id)
                if found is None or not found.connection.initialize_accepted:
                    # The handshake has failed; its client would not end it.
                    await self._end_session(session_id)

    async def _end_session(self, session_id: str) -> None:
        """Ends a session of the handshake protocol, as its client would."""
        headers = [(b"mcp-session-id", session_id.encode())]
        scope = {"type": "http", "method": "DELETE", "path": "/mcp", "query_string": b"", "headers": headers}

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Message) -> None:
            """Nobody waits for it."""

        await self._manager.handle_request(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a call of the latest protocol."""
        query = QueryParams(scope.get("query_string", b""))
        key = self._sessions.key_for(http_key(query.get(SESSION_PARAMETER, "")), scope.get("principal"))
        # What a call may have in its headers is known of an open session only. The handler tells of what it fails with.
        with contextlib.suppress(ToolBridgeError):
            await self._sessions.opened(key)
        _key_of_request.set(key)
        if self._direct is None:
            await self._manager.handle_request(scope, receive, send)
            return
        first = await receive()
        call = self._direct.read(scope, first, key)
        if call is None:
            await self._manager.handle_request(scope, _again(first, receive), send)
            return
        try:
            await self._direct.answer(call, scope, receive, send)
        except HttpError as error:
            if error.status != CLIENT_LEFT:
                raise

    def _schema_of(self, name: str) -> Mapping[str, Any] | None:
        key = _key_of_request.get()
        return None if key is None else self._handlers.header_schema(self._sessions.find(key), name)

    async def _run(self, started: asyncio.Event) -> None:
        async with self._manager.run():
            started.set()
            await self._connections.end_idle(self._idle_timeout, self._end_session)


class _Manager(StreamableHTTPSessionManager):
    """The SDK's, with a store of events for each client: its ids of streams are the same for all.

    Args:
        server: Answers.
        stores: The stores of events.
        settings: The hub's.
    """

    def __init__(self, server: Server[Any], stores: EventStores, settings: Settings) -> None:
        self._stores = stores
        super().__init__(
            server,
            security_settings=_NO_CHECKS,
            retry_interval=RETRY_MILLISECONDS,
            max_request_body_size=BODY_FACTOR * settings.max_message_bytes,
            # It knows nothing of calls that take the short way.
            session_idle_timeout=None,
            max_sessions=settings.max_sessions,
        )

    @property
    def event_store(self) -> EventStore | None:
        """Returns a store for the client that connects with the request that is being answered."""
        events: SessionEvents = self._stores.open()
        opening_events.set(events)
        return events

    @event_store.setter
    def event_store(self, store: EventStore | None) -> None:
        """Takes none: each client has its own."""


def _charge(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Charges a large body to the request, which holds it until it is answered.

    Raises:
        ResourceExhaustedError: There is no room for it.
    """
    size = headers.get(b"content-length", b"")
    held = scope.get("held")
    if held is not None and size.isdigit() and int(size) > SMALL_BYTES:
        held.resize(held.size + int(size))


def _again(first: Message, receive: Receive) -> Receive:
    """Returns what gives a message that was read already, and then all others."""
    waiting = [first]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _quiet(name: str) -> None:
    """Lets a logger tell of warnings only, unless the program has chosen otherwise."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
