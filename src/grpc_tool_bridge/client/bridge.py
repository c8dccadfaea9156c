"""A session of a hub as a program uses it: tools as functions, variables, batches, retries."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.loops import has_ended
from grpc_tool_bridge.aio.portal import Portal, SyncView
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.admin import Admin
from grpc_tool_bridge.client.agents import AgentCalls
from grpc_tool_bridge.client.answering import OnAsk
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.frameworks import FrameworkTools
from grpc_tool_bridge.client.options import CallOptions, checked_metadata
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool, with_fresh_key
from grpc_tool_bridge.client.session import check_session
from grpc_tool_bridge.client.tools import Tools
from grpc_tool_bridge.client.variables import SessionContext
from grpc_tool_bridge.config import (
    BATCH_TIMEOUT,
    DEFAULT_ADDRESS,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_NODES,
)
from grpc_tool_bridge.config.argument_checks import (
    A_NAME,
    check_count,
    check_flag,
    check_named,
    check_plain_callable,
    check_positional,
    check_timeout,
    path_of,
    refuse_plain,
    refuse_type,
    token_of,
)
from grpc_tool_bridge.errors import (
    ProtocolError,
    ToolBridgeError,
    ToolExecutionError,
    ValidationError,
)
from grpc_tool_bridge.llm.tool_filter import ToolFilter
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig, ToolSpec
from grpc_tool_bridge.tools.middleware import Middleware
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.link_stub import LinkTransport
from grpc_tool_bridge.transport.stubs import RpcTransport
from grpc_tool_bridge.transport.tokens import TokenSource

# If the hub asks for a longer wait than this, the error is raised immediately.
RETRY_AFTER_LIMIT = 3_600.0

_opening_portal = threading.Lock()

_log = logging.getLogger(__name__)


class ToolBridge(AgentCalls, FrameworkTools):
    """The tools and variables of one session, over any transport.

    Args:
        client: Makes the calls.
        keep_session: Keep the session when the bridge is closed. By default, the bridge that created the session
            removes it.
        retry_if: Decides whether ``execute_with_retry`` tries a failed call again; default: ``is_retryable``.
        follow_tools: Keep ``tools`` up to date as tools come and go. If False, they stay as ``initialize`` read them.
        on_tools_changed: Called in the event loop with "added", "changed" or "removed" and the tool's name, after each
            change of ``tools`` except those made by ``initialize``.

    Attributes:
        client: As given.
        tools: The session's tools by name; empty before ``initialize``.
    """

    def __init__(
        self,
        client: ToolBridgeClient,
        *,
        keep_session: bool = False,
        retry_if: Callable[[ToolBridgeError], bool] | None = None,
        follow_tools: bool = True,
        on_tools_changed: Callable[[str, str], None] | None = None,
    ) -> None:
        refuse_plain("client", client, "a ToolBridgeClient; GRPCToolBridge makes one of an address")
        for name, flag in (("keep_session", keep_session), ("follow_tools", follow_tools)):
            check_flag(name, flag)
        check_plain_callable("retry_if", retry_if, "a function that decides whether to try again")
        check_plain_callable("on_tools_changed", on_tools_changed, "a function that is called with each change")
        super().__init__(client.caller)
        self.client = client
        self._keep_session = keep_session
        self._retry_if = retry_if or is_retryable
        self._follow_tools = follow_tools
        client.on_tools_changed = on_tools_changed
        client.on_moved = self._moved
        self._tasks = TaskSet()
        self._beating: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._portal: Portal | None = None

    def __repr__(self) -> str:
        where = self.client.caller.transport.where
        if self.session_id is None:
            return f"<{type(self).__name__} at {where}, not initialized>"
        return f"<{type(self).__name__} at {where}, session {self.session_id!r}, tools: {len(self.tools)}>"

    @property
    def tools(self) -> Tools:
        """The session's tools by name; empty before ``initialize``. A hidden one is found by its name only."""
        return self.client.tools

    @property
    def session_id(self) -> str | None:
        """The session's id; None before ``initialize``."""
        return self.client.session_id

    @property
    def session_context(self) -> SessionContext:
        """The session's variables."""
        return self.client.session_context

    @property
    def admin(self) -> Admin:
        """What happens in the hub, for its operators; needs no session."""
        return self.client.admin

    async def initialize(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        connect_timeout: float = 5.0,
    ) -> Tools:
        """Opens the session and returns its tools by name; arguments and errors as for ``initialize_session``.

        If called again with another id, it first leaves the current session, as ``close`` does.
        """
        # Before the current session is left.
        check_session(session_id, metadata, config, connect_timeout)
        if self.session_id and self.session_id != session_id:
            await self._leave_session()
        await self.client.initialize_session(
            session_id, metadata=metadata, config=config, connect_timeout=connect_timeout
        )
        if self._beating is None or self._beating.done():
            self._beating = self._tasks.spawn(self._heartbeat(), "heartbeat")
        if self._following is not None:
            # It may follow another session.
            self._following.cancel()
        self._follow()
        return self.tools

    def _follow(self) -> None:
        if self._follow_tools:
            self._following = self._tasks.spawn(self.client.follow_tools(), "follow tools")

    def _moved(self) -> None:
        """Restarts the background tasks in the running event loop; the previous one has ended."""
        self._tasks.abandon()
        if self._beating is not None:
            self._beating = self._tasks.spawn(self._heartbeat(), "heartbeat")
            self._follow()

    async def search_tools(
        self,
        query: str,
        *,
        limit: int = DEFAULT_LIMIT,
        prefix: str = "",
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
    ) -> list[AsyncGRPCProxyTool]:
        """Finds tools of the session by what they do, the best match first; see ``ToolBridgeClient.search_tools``."""
        return await self.client.search_tools(query, limit=limit, prefix=prefix, tool_filter=tool_filter, tags=tags)

    def _specs(self) -> list[ToolSpec]:
        return [proxy.spec for proxy in (*self.tools.values(), *self.tools.hidden.values())]

    async def call_tool(
        self,
        tool_id: str,
        *positional: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Any:
        """Calls a tool by id or name.

        ``call_tool("add", 1, 2)`` or ``call_tool("add", args=[1, 2], kwargs={})``. If the tool has an argument named
        ``tool_id``, ``args`` or ``kwargs``, pass it in ``kwargs={…}``.

        Raises:
            ToolExecutionError: The tool raised, or the hub refused the call.
            ToolCommunicationError: Nobody answered.
            ValidationError: ``tool_id``, ``args`` or ``kwargs`` is not valid.
            SerializationError, ProtocolError: As for a proxy.
        """
        if args is not None:
            check_positional("args", args)
            positional = (*positional, *args)
        if kwargs is not None:
            check_named("kwargs", kwargs)
            twice = sorted(named.keys() & kwargs.keys())
            if twice:
                raise ValidationError(f"{', '.join(twice)} was given twice: by name, and in kwargs")
            named = {**named, **kwargs}
        return await self.client.tool(tool_id)(*positional, **named)

    # What it was called first; the method of the wire is still called so.
    execute_tool = call_tool

    async def share_session(self, name: str, *, is_group: bool = False, rights: Iterable[str] = ()) -> None:
        """Lets another principal, or everybody in a group, use the session; see ``ToolBridgeClient.share_session``."""
        await self.client.share_session(name, is_group=is_group, rights=rights)

    async def unshare_session(self, name: str, *, is_group: bool = False) -> None:
        """Takes that back; see ``ToolBridgeClient.unshare_session``."""
        await self.client.unshare_session(name, is_group=is_group)

    def stream_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what a tool yields; errors as for ``call_tool``."""
        return self.client.stream_tool(tool_id, *args, **kwargs)

    async def execute_batch(
        self,
        requests: Sequence[Mapping[str, Any]],
        *,
        parallel: bool = True,
        stop_on_error: bool = False,
        max_parallel: int = 0,
        timeout: float = BATCH_TIMEOUT,
    ) -> list[Any]:
        """Makes many calls in one request; see ``ToolBridgeClient.execute_batch``."""
        return await self.client.execute_batch(
            requests, parallel=parallel, stop_on_error=stop_on_error, max_parallel=max_parallel, timeout=timeout
        )

    async def execute_with_retry(
        self, tool_id: str | AsyncGRPCProxyTool, *args: Any, max_retries: int = 3, **kwargs: Any
    ) -> Any:
        """Calls a tool, and retries it after UNAVAILABLE, DEADLINE_EXCEEDED or an error that is marked retryable.

        Before a retry it waits for ``retry_after`` if the error has it, else with exponential back-off and jitter. An
        error with a ``retry_after`` of more than an hour is not retried.

        All tries have the same idempotency key: if an answer was lost, the next try gets it, and the tool does not run
        twice. The key is generated unless ``with_options`` has set one. A stream does not take a key, and runs again.

        Args:
            tool_id: Id or name of the tool; or a tool, such as one that ``with_options`` returned.
            *args: Arguments of the tool, by position.
            max_retries: Further tries after the first.
            **kwargs: Arguments of the tool, by name.

        Returns:
            The tool's result.

        Raises:
            ToolBridgeError: The last error, if no try succeeded; the classes are as for ``call_tool``.
        """
        check_count("max_retries", max_retries, called="a whole number, 0 or more")
        if not isinstance(tool_id, str | AsyncGRPCProxyTool):
            refuse_type("tool_id", tool_id, f"{A_NAME}, or one of bridge.tools; its arguments follow it")
        tool = self.client.tool(tool_id) if isinstance(tool_id, str) else tool_id
        keyed = with_fresh_key(tool)
        waits, pause = back_off(), self.client.caller.pauses(tool.name)
        for left in range(max_retries, -1, -1):
            try:
                return await keyed(*args, **kwargs)
            except ToolBridgeError as error:
                if left == 0 or not self._retry_if(error) or (error.retry_after or 0) > RETRY_AFTER_LIMIT:
                    raise
                wait = next(waits) if error.retry_after is None else error.retry_after
                _log.info("%s; trying again in %.1f s, %d tries left", error, wait, left)
                if _is_of_the_tool(error):
                    # The hub may have stored this error as the answer for the key, so a retry needs a new key.
                    keyed = with_fresh_key(tool)
                await pause(wait)
        raise AssertionError("the last try returns or raises")

    @property
    def sync(self) -> "SyncBridge":
        """The same bridge for a caller without an event loop: each method blocks until it is done.

        Its event loop runs in its own thread from the first use until ``close()``. Use a bridge either this way or with
        ``await``, not both.

        Raises:
            ProtocolError: The bridge is already used with ``await``, in an event loop that still runs.
        """
        # Several threads may be the first at the same time.
        with _opening_portal:
            if self._portal is None:
                beating = self._beating
                if beating is not None and not beating.done() and not has_ended(beating.get_loop()):
                    raise ProtocolError(
                        "this bridge was opened with await, and belongs to that event loop; await its methods there, "
                        "or create another bridge for bridge.sync"
                    )
                self._portal = Portal()
            return SyncBridge(self, self._portal)

    async def close(self) -> None:
        """Ends the session if this bridge created it and ``keep_session`` is not set, and closes the connection.

        In another event loop than the one that used the bridge, it only frees what is left; the session expires at the
        hub.
        """
        await self._tasks.aclose()
        self._beating = self._following = None
        await self._leave_session()
        await self.client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _leave_session(self) -> None:
        client = self.client
        if not client.session_id or not client.created_session or self._keep_session:
            return
        client.created_session = False
        if client.resumes and not client.is_linked:
            # Not worth waiting for the hub: the session expires there.
            return
        try:
            await client.cleanup_session(force=True)
        except ToolBridgeError as error:
            # The session or the hub has already ended; there is nothing left to remove.
            _log.debug("session %s was not removed: %s", client.session_id, error)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.client.heartbeat_interval)
            if self.client.is_linked:
                continue
            try:
                if not await self.client.heartbeat():
                    _log.warning("session %s has ended at the hub; initialize() starts a new one", self.session_id)
                    return
            except ToolBridgeError as error:
                _log.warning("no heartbeat for session %s: %s", self.session_id, error)


def is_retryable(error: ToolBridgeError) -> bool:
    """Returns whether a retry may succeed: after UNAVAILABLE, DEADLINE_EXCEEDED, or an answer marked retryable."""
    return error.retryable


def _is_of_the_tool(error: ToolBridgeError) -> bool:
    """Returns whether the tool ran and raised this error, so that no answer was lost."""
    return isinstance(error, ToolExecutionError) and error.details.get("origin") == "tool"


class GRPCToolBridge(ToolBridge):
    """The tools and variables of one session of a hub, over gRPC.

    It connects at the first call, and can be created without an event loop. ``initialize`` opens the session; ``async
    with`` closes the bridge at the end.

    Args:
        address: ``host:port``, ``[ipv6]:port`` or ``unix:path``; or several with commas between them, such as
            ``"a:50051,b:50051"``: the first one that answers is used, and the next one when that is gone.
        token: Bearer token that the hub requires; or a function, async or not, that returns it and is asked for each
            dial and each RPC, so that a token can be replaced before it expires. It keeps what it had to fetch.
        token_file: File that holds the token.
        tls: Whether to use TLS.
        tls_ca: PEM file with the CA certificates to trust; None: those that gRPC ships. Implies TLS.
        tls_cert: PEM file with the certificate by which the hub knows this client, and its chain. Implies TLS.
        tls_key: PEM file with its private key.
        proxy: Proxy to connect through, ``http://[user:password@]host:port``, or ``env`` for the one that the
            environment names. None: connect directly and ignore ``http_proxy`` and similar variables.
        allow_insecure: Send the token beyond this machine without TLS, for a trusted network.
        timeout: Seconds for a call of a tool that sets no limit; None: the default of the session or the hub.
        stream_timeout: Seconds for a stream of a tool that sets no limit; None: the default of the hub.
        max_message_bytes: Maximum payload of one request or response.
        max_message_nodes: Maximum number of elements, keys, texts and numbers in one value, counted before it is
            decoded.
        transport: "link" sends all calls over one stream, many to a frame, and reconnects if it is lost; it falls back
            to plain RPCs if the hub does not support Link. The stream goes over ``link_address`` if that is given, else
            over the local socket of a hub at a loopback address, and over gRPC if neither gives a link. "socket" is the
            same without gRPC: an error if there is no such link. "rpc" makes one RPC for each call.
        link_address: ``host:port`` at which the hub takes links over TCP (its setting of the same name), with the same
            token and TLS; with several addresses, one for each of them, in the same order. None: none.
        keep_session: As for ``ToolBridge``.
        retry_if: As for ``ToolBridge``.
        follow_tools: As for ``ToolBridge``.
        on_tools_changed: As for ``ToolBridge``.
        on_ask: Answers the questions of tools (``ToolContext.ask``). It is called with a ``Question``, which has
            ``message``, ``schema`` and ``tool_id``, and returns a dict (accept, with this content), True (accept),
            False or None (decline), or an ``Answer``. It may be async; a plain function is called in a thread, so it
            may block. If it raises, or its content does not fit the schema, the call ends with that error. None: a tool
            that asks gets an error. Tools can only ask over a link.
        on_session_renewed: Called when the session has been created again at a restarted hub, over a link; its
            variables and its own tools are lost.
        metadata: Sent with every call; a tool finds it in ``ToolContext.metadata``, under what ``with_options`` says.
        middleware: Runs around each call of a tool: async functions that are called with ``(call, call_next)``, the
            first one outermost. See ``ToolCall``. With it, the items of a batch are sent as calls of their own.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: TokenSource | None = None,
        token_file: Path | None = None,
        tls: bool = False,
        tls_ca: Path | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        proxy: str | None = None,
        allow_insecure: bool = False,
        timeout: float | None = None,
        stream_timeout: float | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_message_nodes: int = MAX_MESSAGE_NODES,
        transport: Literal["link", "socket", "rpc"] = "link",
        link_address: str | None = None,
        keep_session: bool = False,
        retry_if: Callable[[ToolBridgeError], bool] | None = None,
        on_session_renewed: Callable[[], None] | None = None,
        follow_tools: bool = True,
        on_tools_changed: Callable[[str, str], None] | None = None,
        on_ask: OnAsk | None = None,
        metadata: Mapping[str, str] | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        check_count("max_message_nodes", max_message_nodes, least=1)
        _check_timeouts(timeout=timeout, stream_timeout=stream_timeout)
        check_plain_callable("on_session_renewed", on_session_renewed, "a function that is called without arguments")
        connection = Connection(
            address=address,
            token=token_of(token, token_file),
            tls=tls,
            **_paths(tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key),
            proxy=proxy,
            allow_insecure=allow_insecure,
            link_address=link_address,
            max_message_bytes=max_message_bytes,
        )
        options = CallOptions(
            call_timeout=timeout,
            stream_timeout=stream_timeout,
            max_message_bytes=max_message_bytes,
            max_message_nodes=max_message_nodes,
            default_metadata=checked_metadata(metadata),
        )
        if transport not in ("link", "socket", "rpc"):
            raise ValidationError(f"transport must be 'link', 'socket' or 'rpc', not {transport!r}")
        reached = RpcTransport(connection) if transport == "rpc" else LinkTransport(connection, kind=transport)
        client = ToolBridgeClient(reached, options=options, on_ask=on_ask, middleware=middleware)
        client.on_session_renewed = on_session_renewed
        super().__init__(
            client,
            keep_session=keep_session,
            retry_if=retry_if,
            follow_tools=follow_tools,
            on_tools_changed=on_tools_changed,
        )


def _check_timeouts(**given: float | None) -> None:
    for name, seconds in given.items():
        if seconds is not None:
            check_timeout(name, seconds)


def _paths(**given: object) -> dict[str, Any]:
    return {name: path_of(name, value) for name, value in given.items()}


class SyncBridge(SyncView[ToolBridge]):
    """A bridge for a caller without an event loop: a blocking view of a ``ToolBridge``.

    It has the attributes and methods of the bridge, which ``help(GRPCToolBridge)`` explains; each method blocks until
    it is done. ``tools`` are functions that block, and ``help(bridge.sync.tools["add"])`` explains one. ``close()``
    also ends the thread of its loop.
    """

    def __init__(self, bridge: ToolBridge, portal: Portal) -> None:
        super().__init__(bridge, portal.loop)
        self._bridge = bridge
        self._portal = portal

    def close(self) -> None:
        """Closes the bridge and ends its loop; does nothing if it is already closed."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._bridge.close)
        finally:
            if self._bridge._portal is self._portal:  # noqa: SLF001 - the view is the bridge's own
                self._bridge._portal = None  # noqa: SLF001 - likewise
            self._portal.close()

    def __enter__(self) -> Self:
        self._run(self._bridge.__aenter__)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
