"""Which session of the bridge serves a client."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from mcp.server.context import ServerRequestContext

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, UnavailableError, ValidationError
from grpc_tool_bridge.gateway.mcp.answerers import RequestAnswerers
from grpc_tool_bridge.gateway.mcp.sdk_internals import connection_of
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.budgets import Budget, Lease

# The session of clients that name none and have none of their own.
SHARED_SESSION = "mcp"
# The parameter of the address that names a session.
SESSION_PARAMETER = "session"

# The hub has ended the session, or does not know it; the call has not begun.
GONE = frozenset({"SessionNotFound", "SessionExpired"})

# What an open session takes besides its tools, and what each of them takes besides its spec: the proxy.
_SESSION_BYTES = 32 * 1024
_TOOL_BYTES = 2 * 1024

_log = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session of the bridge.

    Attributes:
        session_id: Its id.
        is_own: Whether it belongs to one client, and ends with it.
        who: The name and the groups of who uses it, where principals are told apart: each has an open session of its
            own, which knows the tools that this one sees.
        owner: The principal itself.
    """

    session_id: str
    is_own: bool = False
    who: tuple[str, frozenset[str]] | None = None
    owner: Principal | None = field(default=None, compare=False)

    def of(self, principal: Principal) -> "SessionKey":
        """Returns the session for one principal; nobody shares the session of those who name none."""
        session_id = self.session_id
        if session_id == SHARED_SESSION:
            session_id = f"{SHARED_SESSION}-{hashlib.sha256(principal.name.encode()).hexdigest()[:32]}"
        return SessionKey(session_id, self.is_own, (principal.name, principal.groups), principal)


def key_of(context: Context, default: SessionKey) -> SessionKey:
    """Returns the session that a request belongs to; ``default`` is that of a client without HTTP."""
    request = context.request
    if request is None:
        return default
    named = request.query_params.get(SESSION_PARAMETER, "")
    # Only a client of the handshake protocol has a connection that stays.
    return http_key(named, connection_of(context).session_id or "")


def http_key(named: str, mcp_session: str = "") -> SessionKey:
    """Returns the session of a request over HTTP: the one that its address names, else its client's own, if any."""
    if named:
        return SessionKey(named)
    return own_key(mcp_session) if mcp_session else SessionKey(SHARED_SESSION)


def own_key(mcp_session: str) -> SessionKey:
    """Returns the session of a client that has one of its own."""
    return SessionKey(f"mcp-{mcp_session}", is_own=True)


@dataclass(eq=False, slots=True)
class OpenSession:
    """A session that is open.

    Attributes:
        key: Which one.
        client: Makes its calls.
        users: Requests that use it now.
        used_at: When it was used last, on the event loop's clock.
        link_timeout: Seconds that a call waits for a link that was lost; None: as long as it may take itself.
    """

    key: SessionKey
    client: ToolBridgeClient
    link_timeout: float | None = None
    users: int = 0
    used_at: float = 0.0
    following: "asyncio.Task[None] | None" = None
    held: Lease | None = None
    has_news: bool = False

    @property
    def follows_tools(self) -> bool:
        """Whether its tools are kept up to date."""
        return self.following is not None and not self.following.done()

    async def await_link(self) -> None:
        """Waits for the link to the hub, if it was lost.

        Raises:
            ToolBridgeError: The hub cannot be reached.
        """
        if self.link_timeout is not None and not self.client.is_linked:
            await self.client.connect(self.link_timeout)


class SessionClients:
    """The open sessions, each with a client that is shared by all requests of the session.

    A session is opened by the first request that uses it, and again if the hub has ended it. One that nobody uses is
    closed here, and ends at the hub when it has been idle there for as long; a client's own ends with the client.

    Args:
        make_client: Makes a client of the hub, for one principal; None: it is told in whose name with each request.
        default: The session of a client without HTTP.
        idle_timeout: Seconds after which a session that nobody uses is closed.
        most: Open sessions; beyond them, idle ones are closed, else further ones are refused.
        connect_timeout: Seconds to keep trying to reach the hub when a session is opened.
        link_timeout: Seconds that a call waits for a link that was lost; None: as long as it may take itself.
        memory: Charged with what open sessions hold; None: nothing is.
        apart: Whether the hub tells principals apart, so that each has sessions of its own.
    """

    def __init__(
        self,
        make_client: Callable[[Principal | None], ToolBridgeClient],
        default: SessionKey,
        *,
        idle_timeout: float,
        most: int,
        connect_timeout: float = 5.0,
        link_timeout: float | None = None,
        memory: Budget | None = None,
        apart: bool = False,
    ) -> None:
        self._apart = apart
        self._make_client = make_client
        self._default = default
        self._idle_timeout = idle_timeout
        self._most = most
        self._connect_timeout = connect_timeout
        self._link_timeout = link_timeout
        self._memory = memory
        self._open: dict[SessionKey, OpenSession] = {}
        self._opening: dict[SessionKey, asyncio.Future[OpenSession]] = {}
        self._watchers: dict[SessionKey, set[Callable[[], None]]] = {}
        self._on_close: list[Callable[[], None]] = []
        self._on_end: list[Callable[[SessionKey], None]] = []
        self._tasks = TaskSet()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def tasks(self) -> TaskSet:
        """What goes on for the sessions, until all are closed."""
        return self._tasks

    def key_of(self, context: Context) -> SessionKey:
        """Returns the session that a request belongs to."""
        principal = None if context.request is None else context.request.scope.get("principal")
        return self.key_for(key_of(context, self._default), principal)

    def key_for(self, key: SessionKey, principal: Principal | None) -> SessionKey:
        """Returns the session of a key for who has sent a request."""
        return key if principal is None or not self._apart else key.of(principal)

    def use(self, context: Context) -> "SessionUse":
        """Uses the session of a request: ``async with sessions.use(context) as session``; opens it if needed.

        Raises (on entering):
            ToolBridgeError: It cannot be opened.
        """
        return SessionUse(self, self.key_of(context))

    def use_key(self, key: SessionKey) -> "SessionUse":
        """Uses a session, as ``use`` does."""
        return SessionUse(self, key)

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def find(self, key: SessionKey) -> OpenSession | None:
        """Returns a session if it is open."""
        return self._open.get(key)

    async def opened(self, key: SessionKey) -> OpenSession:
        """Returns a session; opens it if it is not open. Of requests at the same time, one opens it.

        Raises:
            ToolBridgeError: It cannot be opened; the next request tries again.
        """
        session = self._open.get(key)
        if session is None:
            opening = self._opening.get(key)
            if opening is None:
                if self._closed:
                    raise UnavailableError("the server is shutting down and takes no new calls")
                self._make_room()
                opening = self._opening[key] = asyncio.get_running_loop().create_future()
                self._tasks.spawn(self._start(key, opening), f"opening session {key.session_id} for MCP")
            session = await asyncio.shield(opening)
        session.used_at = asyncio.get_running_loop().time()
        return session

    def watch_tools(self, key: SessionKey, changed: Callable[[], None]) -> Callable[[], None]:
        """Calls ``changed`` after each change of a session's tools, and keeps the session open.

        Returns:
            A function that ends the watch.
        """
        watchers = self._watchers.setdefault(key, set())
        watchers.add(changed)
        if key not in self._open and key not in self._opening:
            self._open_for_watchers(key)

        def end() -> None:
            watchers.discard(changed)
            if not watchers and self._watchers.get(key) is watchers:
                del self._watchers[key]

        return end

    def lose(self, session: OpenSession) -> None:
        """Closes a session that the hub has ended; it is opened again when it is needed."""
        if self._open.get(session.key) is not session:
            return
        del self._open[session.key]
        self._tasks.spawn(self._close(session), f"closing session {session.key.session_id}")
        if session.key in self._watchers:
            # It may have had tools of its own.
            self._open_for_watchers(session.key, has_news=True)

    def end(self, key: SessionKey) -> None:
        """Closes a session, if it is open; one of a client's own ends at the hub as well, with its calls."""
        self._watchers.pop(key, None)
        if key in self._open or key in self._opening:
            self._tasks.spawn(self._end(key), f"ending session {key.session_id}")

    def on_end(self, function: Callable[[SessionKey], None]) -> None:
        """Calls a function with each session that a client ends."""
        self._on_end.append(function)

    def on_close(self, function: Callable[[], None]) -> None:
        """Calls a function when all sessions are being closed."""
        self._on_close.append(function)

    async def aclose(self) -> None:
        """Closes all sessions."""
        self._closed = True
        for function in self._on_close:
            function()
        self._watchers.clear()
        for key in [*self._open, *self._opening]:
            await self._end(key)
        await self._tasks.aclose()

    # ----------------------------------------------------------------------------------------------------- open

    def _make_room(self) -> None:
        if len(self._open) + len(self._opening) < self._most:
            return
        idle = [session for session in self._open.values() if self._is_unused(session)]
        if not idle:
            raise ResourceExhaustedError(
                f"{self._most:,} sessions of MCP clients are open, which is the limit; end one first",
                details={"retry_after": "1"},
            )
        oldest = min(idle, key=lambda session: session.used_at)
        del self._open[oldest.key]
        self._tasks.spawn(self._close(oldest), f"closing session {oldest.key.session_id}")

    async def _start(self, key: SessionKey, opening: "asyncio.Future[OpenSession]") -> None:
        """Opens a session; what it fails with is the request's to tell."""
        client: ToolBridgeClient | None = None
        try:
            client = self._make_client(key.owner)
            with contextlib.suppress(ValidationError):
                # Plain RPCs carry no questions; a tool that asks then gets the error that says so.
                client.caller.transport.answer_with(RequestAnswerers())
            await client.initialize_session(key.session_id, connect_timeout=self._connect_timeout)
            session = OpenSession(key, client, self._link_timeout, held=self._charged(client))
        except BaseException as error:
            self._opening.pop(key, None)
            _fail(opening, error)
            if client is not None:
                await client.close()
            if not isinstance(error, ToolBridgeError):
                raise
            return
        session.used_at = asyncio.get_running_loop().time()
        del self._opening[key]
        self._open[key] = session
        client.on_tools_changed = lambda *_: self._note_change(session)
        session.following = self._tasks.spawn(self._follow(session), f"tools of session {key.session_id}")
        if self._keeper is None or self._keeper.done():
            self._keeper = self._tasks.spawn(self._keep(), "idle sessions of MCP clients")
        if not opening.done():
            opening.set_result(session)

    def _charged(self, client: ToolBridgeClient) -> Lease | None:
        if self._memory is None:
            return None
        held = Lease(self._memory, "a session of an MCP client")
        held.resize(_size_of(client))
        return held

    def _open_for_watchers(self, key: SessionKey, *, has_news: bool = False) -> None:
        if not self._closed:
            self._tasks.spawn(self._keep_opening(key, has_news=has_news), f"opening session {key.session_id} for MCP")

    async def _keep_opening(self, key: SessionKey, *, has_news: bool) -> None:
        for wait in back_off():
            if key not in self._watchers or self._closed:
                return
            try:
                session = await self.opened(key)
            except ToolBridgeError as error:
                _log.debug("session %s of an MCP client is not open: %s", key.session_id, error)
                await asyncio.sleep(wait)
                continue
            if has_news:
                self._tools_changed(session)
            return

    # ---------------------------------------------------------------------------------------------- while it is open

    def _note_change(self, session: OpenSession) -> None:
        """Tells of changes once in a turn of the loop: tools come and go many at a time."""
        if not session.has_news:
            session.has_news = True
            asyncio.get_running_loop().call_soon(self._tools_changed, session)

    def _tools_changed(self, session: OpenSession) -> None:
        session.has_news = False
        if session.held is not None:
            session.held.set(_size_of(session.client))
        for function in tuple(self._watchers.get(session.key, ())):
            function()

    async def _follow(self, session: OpenSession) -> None:
        await session.client.follow_tools()
        # It ends where the session has ended, and also where the hub lets nobody follow.
        await self._check(session)

    async def _check(self, session: OpenSession) -> None:
        """Counts as activity of the session at the hub, and finds out whether it is still there."""
        try:
            is_there = await session.client.heartbeat()
        except ToolBridgeError as error:
            _log.debug("no heartbeat for session %s of an MCP client: %s", session.key.session_id, error)
            return
        if not is_there:
            self.lose(session)

    async def _keep(self) -> None:
        """Keeps sessions that are in use, and closes those that are not."""
        clock = asyncio.get_running_loop().time
        while self._open:
            beats = [session.client.heartbeat_interval for session in self._open.values()]
            await asyncio.sleep(min(self._idle_timeout / 3, *beats))
            for session in list(self._open.values()):
                if self._open.get(session.key) is not session:
                    continue
                if not self._is_unused(session):
                    await self._check(session)
                elif clock() - session.used_at > self._idle_timeout:
                    del self._open[session.key]
                    await self._close(session)

    def _is_unused(self, session: OpenSession) -> bool:
        return not (session.users or session.key.is_own or session.key in self._watchers)

    # ---------------------------------------------------------------------------------------------------- close

    async def _end(self, key: SessionKey) -> None:
        opening = self._opening.get(key)
        if opening is not None:
            await asyncio.wait({opening})
        session = self._open.pop(key, None)
        if session is None:
            return
        for function in self._on_end:
            function(key)
        if key.is_own:
            try:
                await session.client.cleanup_session(force=True)
            except ToolBridgeError as error:
                _log.debug("session %s of an MCP client was not ended: %s", key.session_id, error)
        await self._close(session)

    async def _close(self, session: OpenSession) -> None:
        session.client.on_tools_changed = None
        if session.following is not None and session.following is not asyncio.current_task():
            session.following.cancel()
        if session.held is not None:
            session.held.release()
            session.held = None
        await session.client.close()


class SessionUse:
    """The use of a session by one request; keeps it open meanwhile.

    Args:
        sessions: The sessions.
        key: Which one.
    """

    __slots__ = ("_key", "_session", "_sessions")

    def __init__(self, sessions: SessionClients, key: SessionKey) -> None:
        self._sessions = sessions
        self._key = key
        self._session: OpenSession | None = None

    async def __aenter__(self) -> OpenSession:
        session = self._session = await self._sessions.opened(self._key)
        session.users += 1
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        if session is not None:
            session.users -= 1
            session.used_at = asyncio.get_running_loop().time()


def _size_of(client: ToolBridgeClient) -> int:
    return _SESSION_BYTES + sum(_TOOL_BYTES + proxy.spec.ByteSize() for proxy in client.tools.values())


def _fail(opening: "asyncio.Future[OpenSession]", error: BaseException) -> None:
    if opening.done():
        return
    if isinstance(error, asyncio.CancelledError):
        opening.cancel()
        return
    opening.set_exception(error)
    # Nobody may wait for it any more.
    opening.exception()
