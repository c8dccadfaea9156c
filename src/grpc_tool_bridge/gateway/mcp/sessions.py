"""Which session of the bridge serves a client."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mcp.server.context import ServerRequestContext

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.errors import ResourceExhaustedError

# The session of clients that name none and have none of their own.
SHARED_SESSION = "mcp"
# The header that a client of the handshake protocol is recognized by.
MCP_SESSION_HEADER = "mcp-session-id"

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session of the bridge.

    Attributes:
        session_id: Its id.
        is_own: Whether it belongs to one client, and ends with it.
    """

    session_id: str
    is_own: bool = False


def key_of(context: Context, default: SessionKey) -> SessionKey:
    """Returns the session that a request belongs to; ``default`` is that of a client without HTTP."""
    request = context.request
    if request is None:
        return default
    named = request.query_params.get("session", "")
    if named:
        return SessionKey(named)
    own = request.headers.get(MCP_SESSION_HEADER, "")
    return SessionKey(f"mcp-{own}", is_own=True) if own else SessionKey(SHARED_SESSION)


@dataclass(slots=True)
class OpenSession:
    """A session that is open.

    Attributes:
        key: Which one.
        client: Makes its calls.
        on_tools_changed: Called after each change of its tools.
        used_at: When it was used last, on the event loop's clock.
    """

    key: SessionKey
    client: ToolBridgeClient
    on_tools_changed: set[Callable[[], None]] = field(default_factory=set)
    used_at: float = 0.0
    following: "asyncio.Task[None] | None" = None

    def tools_changed(self, *_: object) -> None:
        """Tells of a change."""
        for function in tuple(self.on_tools_changed):
            function()


class SessionClients:
    """The open sessions, each with a client that is shared by all requests of the session.

    Args:
        make_client: Makes a client of the hub.
        default: The session of a client without HTTP.
        idle_timeout: Seconds after which a session that nobody uses is closed.
        most: Open sessions; further ones are refused.
        connect_timeout: Seconds to keep trying to reach the hub when a session is opened.
    """

    def __init__(
        self,
        make_client: Callable[[], ToolBridgeClient],
        default: SessionKey,
        *,
        idle_timeout: float,
        most: int,
        connect_timeout: float = 5.0,
    ) -> None:
        self._make_client = make_client
        self._default = default
        self._idle_timeout = idle_timeout
        self._most = most
        self._connect_timeout = connect_timeout
        self._open: dict[SessionKey, asyncio.Future[OpenSession]] = {}
        self._tasks = TaskSet()

    async def of(self, context: Context) -> OpenSession:
        """Returns the session of a request; opens it if it is not open.

        Raises:
            ToolBridgeError: It cannot be opened.
        """
        key = key_of(context, self._default)
        opening = self._open.get(key)
        if opening is None:
            if len(self._open) >= self._most:
                raise ResourceExhaustedError(
                    f"{len(self._open):,} sessions of MCP clients are open, which is the limit; end one first"
                )
            opening = self._open[key] = self._tasks.spawn(self._start(key), f"MCP session {key.session_id}")
            opening.add_done_callback(lambda done: self._forget_failed(key, done))
        session = await asyncio.shield(opening)
        session.used_at = asyncio.get_running_loop().time()
        return session

    async def end(self, key: SessionKey) -> None:
        """Closes a session, if it is open; one of a client's own ends at the hub as well."""
        opening = self._open.pop(key, None)
        if opening is None:
            return
        session = await opening
        if session.following is not None:
            session.following.cancel()
        if key.is_own:
            await session.client.cleanup_session(force=True)
        await session.client.close()

    async def aclose(self) -> None:
        """Closes all sessions."""
        for key in list(self._open):
            await self.end(key)
        await self._tasks.aclose()

    async def _start(self, key: SessionKey) -> OpenSession:
        client = self._make_client()
        await client.initialize_session(key.session_id, connect_timeout=self._connect_timeout)
        session = OpenSession(key, client)
        client.on_tools_changed = session.tools_changed
        session.following = self._tasks.spawn(client.follow_tools(), f"tools of MCP session {key.session_id}")
        return session

    def _forget_failed(self, key: SessionKey, opening: "asyncio.Future[OpenSession]") -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._open.pop(key, None)
