"""The calls of one session, one to one with the methods of the service."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.client.admin import Admin
from grpc_tool_bridge.client.agents import AgentCalls
from grpc_tool_bridge.client.answering import FunctionAnswerer, OnAsk
from grpc_tool_bridge.client.batch import execute_batch
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.client.session import ClientSession
from grpc_tool_bridge.client.tools import SessionTools, Tools
from grpc_tool_bridge.client.variables import SessionContext
from grpc_tool_bridge.config import BATCH_TIMEOUT, CALL_TIMEOUT, DEFAULT_ADDRESS
from grpc_tool_bridge.config.argument_checks import (
    check_count,
    check_flag,
    check_names,
    check_seconds,
    check_text,
    check_timeout,
    instance_of,
    list_of,
    refuse_plain,
    refuse_type,
)
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchConfig,
    CleanupSessionRequest,
    GetMetricsRequest,
    GetSessionInfoRequest,
    HealthCheckRequest,
    HealthCheckResponse,
    HeartbeatRequest,
    MetricValue,
    SessionConfig,
    SessionInfo,
    SessionShare,
    ShareSessionRequest,
    ToolSpec,
    UnshareSessionRequest,
)
from grpc_tool_bridge.tools.middleware import Middleware
from grpc_tool_bridge.transport.addresses import check_address
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.link_stub import LinkTransport
from grpc_tool_bridge.transport.stubs import RpcTransport, Transport

_A_TARGET = "'host:port', a grpc.aio.Channel or a transport"


class ToolBridgeClient(AgentCalls):
    """The calls of one session, one to one with the methods of the service.

    Args:
        target: ``host:port``, or several with commas between them, a ``grpc.aio.Channel``, which is not closed here, or
            a transport.
        options: How tools are called.
        proxy: As for ``GRPCToolBridge``; only with a ``host:port``.
        on_ask: As for ``GRPCToolBridge``. With it, a ``host:port`` is reached over a link.
        middleware: As for ``GRPCToolBridge``.

    Raises:
        ValidationError: An argument is not valid, or ``on_ask`` is given with a transport of plain RPCs.

    Attributes:
        session_context: The session's variables.
        admin: What happens in the hub, for its operators.
        tools: The session's tools by name, as ``initialize_session``, ``refresh_tools`` or ``follow_tools`` last read
            them. The dict is always the same object, and so is the proxy of each tool in it.
    """

    def __init__(
        self,
        target: Any = DEFAULT_ADDRESS,
        *,
        options: CallOptions | None = None,
        proxy: str | None = None,
        on_ask: OnAsk | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        if options is not None:
            instance_of("options", options, CallOptions, "CallOptions, or None")
        self._transport = _transport_of(target, proxy, linked=on_ask is not None)
        self._answerer = None if on_ask is None else FunctionAnswerer(on_ask)
        if self._answerer is not None:
            self._transport.answer_with(self._answerer)
        super().__init__(Caller(self._transport, options=options or CallOptions(), middleware=middleware))
        self.session_context = SessionContext(self)
        self.admin = Admin(self)
        self._tools = SessionTools(self.caller)
        self.tools: Tools = self._tools.proxies
        self._session = ClientSession(self.caller, self._tools)
        self._transport.on_relinked = self._session.rejoin

    def __repr__(self) -> str:
        session = "no session" if self.session_id is None else f"session {self.session_id!r}"
        return f"<{type(self).__name__} at {self._transport.where}, {session}>"

    @property
    def session_id(self) -> str | None:
        """The session that calls belong to; set by ``initialize_session``, or by hand."""
        return self.caller.session_id

    @session_id.setter
    def session_id(self, session_id: str | None) -> None:
        self.caller.session_id = session_id

    @property
    def created_session(self) -> bool:
        """Whether this client created the session."""
        return self._session.created

    @created_session.setter
    def created_session(self, created: bool) -> None:
        self._session.created = created

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats."""
        return self._session.heartbeat_interval

    @heartbeat_interval.setter
    def heartbeat_interval(self, seconds: float) -> None:
        self._session.heartbeat_interval = seconds

    @property
    def on_session_renewed(self) -> Callable[[], None] | None:
        """Called when the session has been created again, empty, at a hub that has restarted."""
        return self._session.on_renewed

    @on_session_renewed.setter
    def on_session_renewed(self, function: Callable[[], None] | None) -> None:
        self._session.on_renewed = function

    @property
    def on_tools_changed(self) -> Callable[[str, str], None] | None:
        """Called with "added", "changed" or "removed" and the tool's name, after each change of ``tools``.

        Changes made by ``initialize_session`` are not reported.
        """
        return self._tools.on_changed

    @on_tools_changed.setter
    def on_tools_changed(self, function: Callable[[str, str], None] | None) -> None:
        self._tools.on_changed = function

    @property
    def tools_revision(self) -> int:
        """The revision of the tools that ``refresh_tools`` read last."""
        return self._tools.revision

    @property
    def on_moved(self) -> Callable[[], None] | None:
        """Called when the client is used in a new event loop after its previous one has ended."""
        return self._transport.on_moved

    @on_moved.setter
    def on_moved(self, function: Callable[[], None] | None) -> None:
        self._transport.on_moved = function

    @property
    def stub(self) -> Any:
        """An object with the methods of the generated stub; made when first used, and may be replaced."""
        return self._transport.stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._transport.stub = stub

    @property
    def is_linked(self) -> bool:
        """Whether a link is open, which keeps the session from being idle."""
        return self._transport.is_linked

    @property
    def linked_over(self) -> str | None:
        """What carries the open link, for people: a local socket, or gRPC and why; None if there is no link."""
        return getattr(self._transport, "linked_over", None)

    @property
    def resumes(self) -> bool:
        """Whether interrupted streams resume over the next connection."""
        return self._transport.resumes

    @property
    def where(self) -> str:
        """The hub's address, for texts; of several, the one in use, or all while there is none."""
        return self._transport.where

    def require_session(self) -> str:
        """Returns the session's id.

        Raises:
            ProtocolError: There is no session yet.
        """
        return self.caller.require_session()

    async def call(self, method: str, request: Any, *, timeout: float = CALL_TIMEOUT, stub: Any = None) -> Any:
        """Calls a unary method other than a tool call; ``timeout`` in seconds, ``stub`` replaces the client's own.

        Raises:
            ToolBridgeError: The hub answered with an error; its class depends on the error type.
            ToolCommunicationError: Nobody answered.
        """
        caller = self.caller if stub is None else self.caller.over(stub)
        return await caller.call(method, request, timeout=timeout)

    # ------------------------------------------------------------------------------------------------ sessions

    async def initialize_session(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        connect_timeout: float = 5.0,
    ) -> bool:
        """Creates the session, or attaches to it if it exists.

        Args:
            session_id: 1 to 256 printable characters; None: one is generated.
            metadata: Kept with a new session.
            config: Limits of a new session, and whether it keeps the results of idempotent tools (``enable_caching``).
            connect_timeout: Seconds to keep trying to reach the hub.

        Returns:
            True.

        Raises:
            ToolCommunicationError: The hub cannot be reached.
            ValidationError: The id or the config cannot be used.
            ResourceExhaustedError: The hub has too many sessions.
        """
        await self._session.open(session_id, metadata, config, connect_timeout)
        return True

    async def connect(self, seconds: float = 5.0) -> None:
        """Connects to the hub, if the transport has one connection for all calls.

        Args:
            seconds: How long to keep trying; 0: try once.

        Raises:
            ToolCommunicationError: The hub cannot be reached.
            AccessError: The hub does not admit this client.
        """
        check_seconds("seconds", seconds, may_be_endless=True)
        await self.caller.connect(seconds)

    async def cleanup_session(self, *, force: bool = False) -> None:
        """Ends the session after its calls in flight have finished; ``force`` cancels them instead."""
        check_flag("force", force)
        await self.call("CleanupSession", CleanupSessionRequest(session_id=self.require_session(), force=force))

    async def share_session(self, name: str, *, is_group: bool = False, rights: Iterable[str] = ()) -> None:
        """Lets another principal, or everybody in a group, use the session; for who owns it.

        Args:
            name: Of the principal, or of the group.
            is_group: Whether it is a group's.
            rights: What they may do there: some of "call", "stream", "read", "write", "run", "register", "calls" and
                "cancel". Empty: the first five. The policy of the hub still holds for them.

        Raises:
            AccessError: The caller does not own it.
            ValidationError: There is no such right.
            UnimplementedError: The hub does not tell its callers apart.
        """
        share = SessionShare(rights=list_of("rights", rights, "a list of rights"))
        _set_name(share, name, is_group=is_group)
        await self.call("ShareSession", ShareSessionRequest(session_id=self.require_session(), share=share))

    async def unshare_session(self, name: str, *, is_group: bool = False) -> None:
        """Takes back what ``share_session`` has given; arguments and errors as for it.

        Raises:
            NotFoundError: The session is not shared with it.
        """
        request = UnshareSessionRequest(session_id=self.require_session())
        _set_name(request, name, is_group=is_group)
        await self.call("UnshareSession", request)

    async def session_info(self) -> SessionInfo:
        """Describes the session."""
        info: SessionInfo = await self.call("GetSessionInfo", GetSessionInfoRequest(session_id=self.require_session()))
        return info

    async def heartbeat(self) -> bool:
        """Keeps the session alive; returns whether the session is still valid."""
        request = HeartbeatRequest(session_id=self.require_session())
        request.client_time.GetCurrentTime()
        return bool((await self.call("Heartbeat", request)).session_valid)

    async def refresh_tools(self) -> Tools:
        """Reads all of the session's tools again, at one revision.

        Raises:
            ConflictError: The tools kept changing while they were read.
        """
        await self._tools.refresh()
        return self.tools

    async def follow_tools(self) -> None:
        """Keeps ``tools`` up to date until this client leaves its session.

        Returns immediately if the hub does not support this, or if the session has too many watches; the tools then
        stay as they are.
        """
        await self._tools.follow()

    async def search_tools(
        self,
        query: str,
        *,
        limit: int = DEFAULT_LIMIT,
        prefix: str = "",
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
    ) -> list[AsyncGRPCProxyTool]:
        """Finds tools of the session by what they do, the best match first.

        It searches the names, descriptions, arguments and examples of ``tools``, in this process. Of the words of the
        query every one counts, the rare ones most, and none has to match; a tool whose name is the query comes first. A
        query without words, such as "", lists the tools by name.

        Args:
            query: What the tool should do, in plain words, such as "weather in a city".
            limit: Maximum number of tools, 1 to 100.
            prefix: Only tools whose names begin with it.
            tool_filter: Only tools that pass it; as for ``create_react_agent``.
            tags: Only tools that have all of these tags.

        Hidden tools and older versions are never found.

        Returns:
            The tools themselves: ``await found[0](…)`` calls the best match, and ``found[0].spec`` describes it.

        Raises:
            ValidationError: An argument is not valid.
            ProtocolError: There is no session yet.
            UnimplementedError: The SQLite of this Python has no FTS5.
        """
        return await self._tools.search(query, limit=limit, prefix=prefix, tool_filter=with_tags(tool_filter, tags))

    def _specs(self) -> list[ToolSpec]:
        return [proxy.spec for proxy in self._tools.all()]

    # ----------------------------------------------------------------------------------------------- execution

    def tool(self, tool_id: str) -> AsyncGRPCProxyTool:
        """Returns the proxy of a tool by name or id. A tool that is not in ``tools`` gets a proxy too; the hub decides.

        Raises:
            ValidationError: ``tool_id`` is not a name or an id.
        """
        return self._tools.find(tool_id)

    async def call_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a tool by id or name; raises as a proxy does."""
        return await self.tool(tool_id)(*args, **kwargs)

    # What it was called first; the method of the wire is still called so.
    execute_tool = call_tool

    def stream_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what a tool yields; raises as a proxy does."""
        return self.tool(tool_id).stream(*args, **kwargs)

    async def execute_batch(
        self,
        items: Sequence[Mapping[str, Any]],
        *,
        parallel: bool = True,
        stop_on_error: bool = False,
        max_parallel: int = 0,
        timeout: float = BATCH_TIMEOUT,
    ) -> list[Any]:
        """Makes many calls in one request.

        Args:
            items: A dict for each call, with "tool_id" and optionally "args" and "kwargs".
            parallel: Run the calls concurrently; otherwise one after another.
            stop_on_error: Start no further calls after the first failure; their errors are Cancelled.
            max_parallel: Concurrent calls; 0: as many as the session allows.
            timeout: Seconds for the whole batch.

        Returns:
            The results in the order of the items, with a ToolExecutionError in the place of each failed one.

        Raises:
            ValidationError: An item is not a call, or there are too many.
            ToolCommunicationError, ProtocolError, SerializationError: As for a single call.
        """
        for name, flag in (("parallel", parallel), ("stop_on_error", stop_on_error)):
            check_flag(name, flag)
        check_count("max_parallel", max_parallel)
        check_timeout("timeout", timeout)
        config = BatchConfig(parallel=parallel, stop_on_error=stop_on_error, max_parallel=max_parallel)
        return await execute_batch(self.caller, self.tool, items, config, timeout)

    # --------------------------------------------------------------------------------------------------- the hub

    async def health_check(self) -> bool:
        """Returns whether the hub is serving."""
        response: HealthCheckResponse = await self.call("HealthCheck", HealthCheckRequest())
        return response.status == HealthCheckResponse.SERVING

    async def get_metrics(self, *names: str) -> dict[str, MetricValue]:
        """Reads the hub's metrics, by default all; a name that ends in "*" matches a prefix."""
        check_names("get_metrics", names, "hub.*")
        response = await self.call("GetMetrics", GetMetricsRequest(metric_names=names))
        return dict(response.metrics)

    async def close(self) -> None:
        """Closes the connection, if it was opened here."""
        self.caller.close()
        await self._transport.close()
        if self._answerer is not None:
            await self._answerer.aclose()


def _set_name(message: SessionShare | UnshareSessionRequest, name: str, *, is_group: bool) -> None:
    check_text("name", name)
    check_flag("is_group", is_group)
    if is_group:
        message.group = name
    else:
        message.principal = name


def _transport_of(target: Any, proxy: str | None, *, linked: bool) -> Transport:
    if isinstance(target, str):
        connection = Connection(address=target, proxy=proxy)
        return LinkTransport(connection) if linked else RpcTransport(connection)
    if proxy is not None:
        raise ValidationError("proxy: a channel or a transport has its own connection; leave the proxy out")
    if hasattr(target, "where"):
        transport: Transport = target
        return transport
    if isinstance(target, bytes | bytearray):
        # Refused like any address that is not a text: it may hold a token.
        check_address(bytes(target))
    refuse_plain("target", target, _A_TARGET)
    if not hasattr(target, "unary_unary"):
        refuse_type("target", target, _A_TARGET)
    return RpcTransport(target)
