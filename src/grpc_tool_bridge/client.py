"""Clients of a hub: one session, its tools as functions, its variables."""

import asyncio
import logging
import random
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grpc_tool_bridge.config import (
    BATCH_TIMEOUT,
    CALL_TIMEOUT,
    DEFAULT_ADDRESS,
    MAX_MESSAGE_BYTES,
    read_token,
)
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ValidationError,
    error_from_info,
)
from grpc_tool_bridge.portal import AsyncApi, SyncView
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallRequest,
    BatchToolCallResponse,
    CleanupSessionRequest,
    GetMetricsRequest,
    GetSessionInfoRequest,
    GetSessionToolsRequest,
    HealthCheckRequest,
    HealthCheckResponse,
    HeartbeatRequest,
    InitializeSessionRequest,
    InitializeSessionResponse,
    MetricValue,
    SessionConfig,
    SessionInfo,
    ToolSpec,
)
from grpc_tool_bridge.proxy import (
    CLIENT_SLACK,
    AsyncGRPCProxyTool,
    CallOptions,
    Tools,
    bridge_closed,
    fill_arguments,
    make_proxy,
    no_answer,
    result_of,
)
from grpc_tool_bridge.session_context import SessionContext
from grpc_tool_bridge.tasks import TaskSet
from grpc_tool_bridge.timeouts import ExpiredError, was_cancelled, within
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.client_stub import RpcTransport, Transport
from grpc_tool_bridge.transport.facts import read_facts
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error

# The first wait before a further try, doubled for each, up to the last; each is shortened at random, so that callers
# who failed together do not come back together.
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
# Who is told to wait longer than this is better told so at once.
RETRY_AFTER_LIMIT = 3_600.0

# A third of the hub's default idle time; the hub tells its own where it has another.
HEARTBEAT_SECONDS = 100.0
HEARTBEAT_LEAST_SECONDS = 0.01

_log = logging.getLogger(__name__)


class ToolBridgeClient(AsyncApi):
    """Calls of one session, one to one with the methods of the service.

    Args:
        target: ``host:port``, a ``grpc.aio.Channel`` that stays its owner's, or a transport.
        options: How tools are called.

    Attributes:
        session_id: The session that calls belong to; set by ``initialize_session``, or by hand.
        session_context: The session's variables.
        tools: The session's tools by name, as ``initialize_session`` and ``refresh_tools`` saw them.
    """

    def __init__(self, target: Any = DEFAULT_ADDRESS, *, options: CallOptions | None = None) -> None:
        if isinstance(target, str):
            target = RpcTransport(Connection(address=target))
        elif not hasattr(target, "where"):
            target = RpcTransport(target)
        self._transport: Transport = target
        self._given_options = self._options = options or CallOptions(where=self._transport.where)
        self.session_id: str | None = None
        self.session_context = SessionContext(self)
        self.tools: dict[str, AsyncGRPCProxyTool] = Tools()
        self.created_session = False
        self.heartbeat_interval = HEARTBEAT_SECONDS

    @property
    def stub(self) -> Any:
        """An object with the methods of the generated stub; made when first used, and may be replaced."""
        return self._transport.stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._transport.stub = stub

    @property
    def where(self) -> str:
        """The hub's address, for texts."""
        return self._transport.where

    def require_session(self) -> str:
        """Returns the session's id.

        Raises:
            ProtocolError: There is no session yet.
        """
        if not self.session_id:
            raise ProtocolError("there is no session yet; await initialize() first, or set session_id")
        return self.session_id

    async def call(self, method: str, request: Any, *, timeout: float = CALL_TIMEOUT) -> Any:
        """Calls a unary method that is no tool call; ``timeout`` in seconds.

        Raises:
            ToolBridgeError: The hub answered with an error: the class of the tree that has its type.
            ToolCommunicationError: Nobody answered.
        """
        return (await self._call(method, request, timeout))[0]

    async def _call(self, method: str, request: Any, timeout: float) -> tuple[Any, Any]:
        size = request.ByteSize()
        if size > self._options.max_message_bytes:
            raise MessageTooLargeError.of(f"the request of {method}", size, self._options.max_message_bytes)
        try:
            answer = getattr(self.stub, method)(request)
            response = await within(answer, timeout + CLIENT_SLACK)
        except RpcError as error:
            raise from_rpc_error(error, method=method, where=self.where) from error
        except ExpiredError:
            raise no_answer(method, timeout) from None
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise bridge_closed(method) from None
        fields = response.DESCRIPTOR.fields_by_name
        if "error" in fields and response.HasField("error"):
            raise error_from_info(response.error)
        if "success" in fields and not response.success:
            raise ProtocolError(f"the answer to {method} reports a failure, but gives no error")
        return response, answer

    # ------------------------------------------------------------------------------------------------ sessions

    async def initialize_session(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        connect_timeout: float = 5.0,
    ) -> bool:
        """Creates the session, or attaches to it where its id is known.

        Args:
            session_id: 1 to 256 printable characters; None: one is made up.
            metadata: Kept with a new session.
            config: Limits of a new session.
            connect_timeout: Seconds to go on trying to reach the hub.

        Returns:
            True.

        Raises:
            ToolCommunicationError: The hub cannot be reached.
            ValidationError: The id or the config cannot be used.
            ResourceExhaustedError: The hub has too many sessions.
        """
        request = InitializeSessionRequest(
            # Made up here, so that a further try after a lost answer finds the same session.
            session_id=session_id or uuid.uuid4().hex,
            metadata=metadata or {},
            config=config,
        )
        response, answer = await self._reach("InitializeSession", request, connect_timeout)
        opened = response.session_id or request.session_id
        # It was there before, but by this client's doing: by an earlier call, or a try whose answer was lost.
        known = not session_id or (self.created_session and opened == self.session_id)
        self.session_id, self.created_session = opened, known or not response.resumed
        await self._take_facts(answer)
        self._take_tools(response.tools)
        return True

    async def _reach(self, method: str, request: Any, connect_timeout: float) -> tuple[InitializeSessionResponse, Any]:
        end = asyncio.get_running_loop().time() + connect_timeout
        for wait in back_off():
            try:
                return await self._call(method, request, CALL_TIMEOUT)
            except ToolCommunicationError as error:
                left = end - asyncio.get_running_loop().time()
                if error.code_name != "UNAVAILABLE" or left <= 0:
                    raise
                _log.debug("%s; trying again in %.1f s", error, wait)
                await asyncio.sleep(min(wait, left))
        raise AssertionError("back_off() never ends")

    async def _take_facts(self, answer: Any) -> None:
        """Goes by what the hub says of the session, where this client sets nothing itself.

        The hub says it in the trailing metadata, where the stub gives a call that has any.
        """
        trailing = getattr(answer, "trailing_metadata", None)
        facts = read_facts(await trailing() if trailing is not None else None)
        if facts.get("idle-timeout"):
            self.heartbeat_interval = max(facts["idle-timeout"] / 3, HEARTBEAT_LEAST_SECONDS)
        given = self._given_options
        self._options = replace(
            given,
            call_timeout=given.call_timeout or facts.get("call-timeout"),
            stream_timeout=given.stream_timeout or facts.get("stream-timeout"),
        )

    async def cleanup_session(self, *, force: bool = False) -> None:
        """Ends the session; with ``force`` its calls in flight are cancelled, without it they finish first."""
        await self.call("CleanupSession", CleanupSessionRequest(session_id=self.require_session(), force=force))

    async def session_info(self) -> SessionInfo:
        """Describes the session."""
        info: SessionInfo = await self.call("GetSessionInfo", GetSessionInfoRequest(session_id=self.require_session()))
        return info

    async def heartbeat(self) -> bool:
        """Keeps the session alive; returns whether it is."""
        request = HeartbeatRequest(session_id=self.require_session())
        request.client_time.GetCurrentTime()
        return bool((await self.call("Heartbeat", request)).session_valid)

    async def refresh_tools(self) -> dict[str, AsyncGRPCProxyTool]:
        """Reads the session's tools anew."""
        response = await self.call("GetSessionTools", GetSessionToolsRequest(session_id=self.require_session()))
        self._take_tools(response.tools)
        return self.tools

    def _take_tools(self, specs: Iterable[ToolSpec]) -> None:
        self.tools = Tools((spec.name, make_proxy(spec, self.session_context, self._options)) for spec in specs)

    # ----------------------------------------------------------------------------------------------- execution

    def tool(self, tool_id: str) -> AsyncGRPCProxyTool:
        """Returns the proxy of a tool by name or id; of one that is not known here, one that the hub will judge."""
        known = self.tools.get(tool_id)
        if known is not None:
            return known
        by_id = next((proxy for proxy in self.tools.values() if proxy.spec.tool_id == tool_id), None)
        return by_id or make_proxy(ToolSpec(tool_id=tool_id, name=tool_id), self.session_context, self._options)

    async def execute_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a tool by id or name; raises as a proxy does."""
        return await self.tool(tool_id)(*args, **kwargs)

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
            items: Of each call its "tool_id", and its "args" and "kwargs" where it has any.
            parallel: Run the calls at once; otherwise one after another.
            stop_on_error: Start no further call after the first that failed; those answer Cancelled.
            max_parallel: Calls at once; 0: as many as the session allows.
            timeout: Seconds for the whole batch.

        Returns:
            The results in the order of the items; of an item that failed, a ToolExecutionError in its place.

        Raises:
            ValidationError: An item is no call, or there are too many.
            ToolCommunicationError, ProtocolError, SerializationError: As of a call.
        """
        request = BatchToolCallRequest(session_id=self.require_session(), batch_id=uuid.uuid4().hex)
        request.config.parallel = parallel
        request.config.stop_on_error = stop_on_error
        request.config.max_parallel = max_parallel
        names = []
        for index, item in enumerate(items):
            tool_id, args, kwargs = _batch_item(index, item)
            spec = self.tool(tool_id).spec
            names.append(spec.name)
            message = request.items.add(index=index, tool_id=spec.tool_id or spec.name)
            fill_arguments(message, args, kwargs, partial(_name_item, index, spec.name))
        if not names:
            return []
        response: BatchToolCallResponse = await self.call("BatchExecuteTools", request, timeout=timeout)
        if len(response.results) != len(names):
            raise ProtocolError(f"a batch of {len(names)} calls was answered with {len(response.results)} results")
        return [_batch_result(result, name) for result, name in zip(response.results, names, strict=True)]

    # --------------------------------------------------------------------------------------------------- the hub

    async def health_check(self) -> bool:
        """Asks whether the hub serves."""
        response: HealthCheckResponse = await self.call("HealthCheck", HealthCheckRequest())
        return response.status == HealthCheckResponse.SERVING

    async def get_metrics(self, *names: str) -> dict[str, MetricValue]:
        """Reads the hub's metrics; a name that ends in "*" stands for all that begin so, no name for all."""
        response = await self.call("GetMetrics", GetMetricsRequest(metric_names=names))
        return dict(response.metrics)

    async def close(self) -> None:
        """Closes the connection, where it was opened here."""
        await self._transport.close()


class ToolBridge(AsyncApi):
    """Tools and variables of one session, over any transport.

    Args:
        client: Makes the calls.
        keep_session: Leave the session to others when the bridge is closed. Without it, the bridge that created the
            session removes it.
        retry_if: Decides whether a failed call is tried again by ``execute_with_retry``; ``is_retryable`` by default.

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
    ) -> None:
        self.client = client
        self._keep_session = keep_session
        self._retry_if = retry_if or is_retryable
        self._tasks = TaskSet()
        self._portal: _Portal | None = None

    @property
    def tools(self) -> dict[str, AsyncGRPCProxyTool]:
        """The session's tools by name; empty before ``initialize``."""
        return self.client.tools

    @property
    def session_id(self) -> str | None:
        """The session's id; None before ``initialize``."""
        return self.client.session_id

    @property
    def session_context(self) -> SessionContext:
        """The session's variables."""
        return self.client.session_context

    async def initialize(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        connect_timeout: float = 5.0,
    ) -> dict[str, AsyncGRPCProxyTool]:
        """Opens the session and returns its tools by name; arguments and errors as of ``initialize_session``.

        Called again with another id, it first leaves the session that it had, as ``close`` does.
        """
        if self.session_id and self.session_id != session_id:
            await self._leave_session()
        await self.client.initialize_session(
            session_id, metadata=metadata, config=config, connect_timeout=connect_timeout
        )
        if not len(self._tasks):
            self._tasks.spawn(self._heartbeat(), "heartbeat")
        return self.tools

    async def execute_tool(
        self,
        tool_id: str,
        *positional: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Any:
        """Calls a tool by id or name.

        ``execute_tool("add", 1, 2)`` or ``execute_tool("add", args=[1, 2], kwargs={})``. An argument of the tool's that
        is itself called ``tool_id``, ``args`` or ``kwargs`` goes into ``kwargs={…}``.

        Raises:
            ToolExecutionError: The tool raised, or the hub refused the call.
            ToolCommunicationError: Nobody answered.
            SerializationError, ProtocolError: As of a proxy.
        """
        return await self.client.tool(tool_id)(*positional, *(args or ()), **named, **(kwargs or {}))

    def stream_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what a tool yields; errors as of ``execute_tool``."""
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
        """Makes many calls in one request; as ``ToolBridgeClient.execute_batch``."""
        return await self.client.execute_batch(
            requests, parallel=parallel, stop_on_error=stop_on_error, max_parallel=max_parallel, timeout=timeout
        )

    async def execute_with_retry(self, tool_id: str, *args: Any, max_retries: int = 3, **kwargs: Any) -> Any:
        """Calls a tool, and again where that may help.

        Args:
            tool_id: Id or name of the tool.
            *args: As of the tool.
            max_retries: Further tries after the first.
            **kwargs: As of the tool.

        Only UNAVAILABLE, DEADLINE_EXCEEDED and answers marked retryable are tried again, after ``retry_after`` where
        the answer gives it (and it is an hour at most), else after a wait that doubles and is shortened at random. The
        last error is raised.
        """
        if max_retries < 0:
            raise ValidationError(f"max_retries is {max_retries}; it is 0 or more")
        tool = self.client.tool(tool_id)
        waits = back_off()
        for left in range(max_retries, -1, -1):
            try:
                return await tool(*args, **kwargs)
            except ToolBridgeError as error:
                if left == 0 or not self._retry_if(error) or (error.retry_after or 0) > RETRY_AFTER_LIMIT:
                    raise
                wait = next(waits) if error.retry_after is None else error.retry_after
                _log.info("%s; trying again in %.1f s, %d tries left", error, wait, left)
                await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    @property
    def sync(self) -> "SyncBridge":
        """The same bridge for a caller without an event loop: each method blocks until it is done.

        Its event loop runs in a thread of its own from the first use to ``close()``; use a bridge either so or with
        ``await``, not both.
        """
        if self._portal is None:
            self._portal = _Portal()
        return SyncBridge(self, self._portal)

    async def close(self) -> None:
        """Ends the session, where this bridge created it and is not to keep it, and closes the connection."""
        await self._tasks.aclose()
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
        try:
            await client.cleanup_session(force=True)
        except ToolBridgeError as error:
            # It has ended already, or the hub has: either way nothing of it is left to remove.
            _log.debug("session %s was not removed: %s", client.session_id, error)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.client.heartbeat_interval)
            try:
                if not await self.client.heartbeat():
                    _log.warning("session %s has ended at the hub; initialize() starts a new one", self.session_id)
                    return
            except ToolBridgeError as error:
                _log.warning("no heartbeat for session %s: %s", self.session_id, error)


class GRPCToolBridge(ToolBridge):
    """Tools and variables of one session of a hub that is reached over gRPC.

    Nothing is opened before the first call, and no event loop is needed to make one. ``async with`` closes it at the
    end; ``initialize`` opens the session.

    Args:
        address: ``host:port``, ``[ipv6]:port`` or ``unix:path``.
        token: Bearer token that the hub asks for.
        token_file: File that holds it.
        tls: Whether to use TLS.
        tls_ca: PEM file with the authorities to trust; None: the system's. Implies TLS.
        timeout: Seconds for a call of a tool that sets no limit; None: as the session or the hub has it.
        stream_timeout: Seconds for a stream of a tool that sets no limit; None: as the hub has it.
        max_message_bytes: Payload of one request or response.
        keep_session, retry_if: As of ``ToolBridge``.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        tls: bool = False,
        tls_ca: Path | None = None,
        timeout: float | None = None,
        stream_timeout: float | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        keep_session: bool = False,
        retry_if: Callable[[ToolBridgeError], bool] | None = None,
    ) -> None:
        connection = Connection(
            address=address,
            token=read_token(token, token_file),
            tls=tls,
            tls_ca=tls_ca,
            max_message_bytes=max_message_bytes,
        )
        options = CallOptions(
            call_timeout=timeout, stream_timeout=stream_timeout, max_message_bytes=max_message_bytes, where=address
        )
        client = ToolBridgeClient(RpcTransport(connection), options=options)
        super().__init__(client, keep_session=keep_session, retry_if=retry_if)


class _Portal:
    """An event loop in a thread of its own.

    A program that does not close its bridge has to end all the same. The thread is a daemon for that; and it is not
    anyio's, which the interpreter at its end may wait for without end when it collects what was left open.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.loop = self._runner.get_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="tool-bridge-sync", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _serve(self) -> None:
        with self._runner:
            self._runner.run(self._end.wait())


class SyncBridge(SyncView[ToolBridge]):
    """A bridge for a caller without an event loop; ``close()`` also ends the thread of its loop."""

    def __init__(self, bridge: ToolBridge, portal: _Portal) -> None:
        super().__init__(bridge, portal.loop)
        self._bridge = bridge
        self._portal = portal

    def close(self) -> None:
        """Closes the bridge and ends its loop; closed already, it stays so."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._bridge.close)
        finally:
            self._bridge._portal = None  # noqa: SLF001 - the view is the bridge's own
            self._portal.close()

    def __enter__(self) -> Self:
        self._run(self._bridge.__aenter__)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_retryable(error: ToolBridgeError) -> bool:
    """Tells whether the same call may succeed later: UNAVAILABLE, DEADLINE_EXCEEDED, or an answer marked retryable."""
    return error.retryable


def back_off() -> Iterator[float]:
    """Yields the seconds to wait before each further try, without end."""
    wait = RETRY_FIRST_SECONDS
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        wait = min(wait * 2, RETRY_LAST_SECONDS)


def _name_item(index: int, name: str) -> str:
    return f"item {index} of the batch ({name})"


def _batch_item(index: int, item: object) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
    if not isinstance(item, Mapping) or not isinstance(item.get("tool_id"), str):
        raise ValidationError(f"item {index} of the batch is no call: it needs a 'tool_id', got {item!r:.80}")
    unknown = item.keys() - {"tool_id", "args", "kwargs"}
    if unknown:
        raise ValidationError(f"item {index} of the batch has {sorted(unknown)}; it takes tool_id, args and kwargs")
    args, kwargs = item.get("args") or (), item.get("kwargs") or {}
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        raise ValidationError(f"item {index} of the batch: args is a list or a tuple, and kwargs a mapping")
    return item["tool_id"], args, kwargs


def _batch_result(result: Any, name: str) -> Any:
    try:
        return result_of(result, name)
    except ToolExecutionError as error:
        return error
