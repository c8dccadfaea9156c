"""The tools of a worker, as methods that a hub calls."""

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.middleware import CallMiddleware
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallRequest,
    ToolCallResponse,
    ToolSpec,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.buffers import Buffers
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.request_ids import new_request_id, request_id_of
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.runner.blocking import BLOCKED_SECONDS
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.direct import MAX_BYTES, Answer, DirectRunner, runs_directly
from grpc_tool_bridge.runner.runner import ToolRunner, last_chunk, set_duration
from grpc_tool_bridge.tools.context import ToolRuntime
from grpc_tool_bridge.tools.middleware import CallNext
from grpc_tool_bridge.tools.tool import Tool, as_tool
from grpc_tool_bridge.tools.tool_versions import check_beside, version_key, versioned
from grpc_tool_bridge.tools.toolset import flat
from grpc_tool_bridge.values.call_bytes import UNREADABLE, read_arguments, read_names


class ServedCall(Call):
    """A call from a hub.

    Attributes:
        origin: The hub's call, as the transport knows it.
        asker: Sends the tool's questions to the hub; None: the caller cannot answer.
        adds_metadata: Whether the metadata of its session is still added to its own; the hub has done so.
        last_chunk, error: As for a call of the hub; its backend is in this process, and leaves them.
    """

    origin: Any = None
    asker: Asker | None = None
    adds_metadata = False
    last_chunk: None = None
    error: None = None

    def identify(self) -> str:
        """Returns the id of the call, which the hub has as well; makes one if the hub is an older one."""
        if not self.request_id:
            known = "" if self.origin is None else request_id_of(self.origin.link.link_id, self.origin.number)
            # A thread of the tool may ask at the same time.
            self.request_id = self.__dict__.setdefault("_made_id", known or new_request_id())
        return self.request_id


@dataclass(slots=True, eq=False)
class _HubSession:
    """The session of a call; a worker only knows its id."""

    id: str
    calls: set[Call] | None

    @property
    def caching(self) -> bool:
        """Whether results are kept; the hub does that."""
        return False


@dataclass(slots=True, eq=False)
class _ToolName:
    """A worker's tool and its name."""

    name: str
    tool: Tool | None
    backend: None = None

    @property
    def spec(self) -> ToolSpec | None:
        """The spec of the tool."""
        return None if self.tool is None else self.tool.spec


class ToolService:
    """Runs tools for a hub, which has already checked sessions and limits.

    Args:
        tools: Functions and tools.
        settings: Limits of threads, processes and messages.
        make_runtime: Creates the runtime of a call's context.
        chain: Middleware that runs around each call; None: there is none.

    Attributes:
        surroundings: What the tools run in.
        local: Runs the tools.
        settings: As given.
        side: As for ``ToolCall``.

    Raises:
        AlreadyExistsError: Two tools have the same name or id, and are not versions of one tool.
    """

    # See ``served_methods``.
    takes_large_calls = True
    side: Literal["hub", "worker"] = "worker"

    def __init__(
        self,
        tools: Iterable[Any],
        settings: Settings,
        make_runtime: Callable[[ServedCall], ToolRuntime],
        *,
        chain: CallNext | None = None,
    ) -> None:
        self.settings = settings
        self._runner = ToolRunner(settings, make_runtime)
        self.local: Backend[Any] = self._runner
        self.check_size, self.error_info_of = self._runner.check_size, self._runner.error_info_of
        self._middleware = None if chain is None else CallMiddleware(chain, self)
        if chain is not None:
            # What runs without the general way's layers would run without middleware.
            self.try_begin_tool = None  # type: ignore[method-assign,assignment]  # as ``served_methods`` reads it
        self.surroundings = self._runner.surroundings
        # What is offered, by id and version; and the same by what the hub calls it by.
        self._offered: dict[tuple[str, str], _ToolName] = {}
        self._tools: dict[str, _ToolName] = {}
        names: dict[str, list[ToolSpec]] = {}
        ids: dict[str, str] = {}
        for source in flat(tools):
            tool = as_tool(source)
            spec = tool.spec
            beside = names.setdefault(spec.name, [])
            for other in beside:
                check_beside(spec, other, "this worker")
            if ids.setdefault(spec.tool_id, spec.name) != spec.name:
                raise AlreadyExistsError(f"two tools have the id {spec.tool_id!r}; give one of them another one")
            beside.append(spec)
            self._offered[spec.tool_id, spec.version] = _ToolName(spec.name, tool)
        self._index()
        self._calls: set[Call] = set()
        self._direct: DirectRunner[str, _ToolName, tuple[()]] = DirectRunner(self._runner, self)

    @property
    def tools(self) -> list[Tool]:
        """The tools, in the given order."""
        return [item.tool for item in self._offered.values() if item.tool is not None]

    def replace(self, gone: Iterable[Tool], tools: Iterable[Tool]) -> None:
        """Takes other tools in the place of some; calls that run go on."""
        for tool in gone:
            self._offered.pop((tool.spec.tool_id, tool.spec.version), None)
        for tool in tools:
            self._offered[tool.spec.tool_id, tool.spec.version] = _ToolName(tool.spec.name, tool)
        self._index()

    def _index(self) -> None:
        self._tools.clear()
        for tool_id, version in sorted(self._offered, key=lambda key: version_key(key[1])):
            # A plain id is that of the newest version.
            self._tools[tool_id] = self._offered[tool_id, version]
            if version:
                self._tools[versioned(tool_id, version)] = self._offered[tool_id, version]

    async def aclose(self) -> None:
        """Ends orphaned tools and the tools' processes."""
        await self._runner.aclose()

    # ------------------------------------------------------------------------------------------- the usual calls

    def try_begin_tool(self, context: RequestContext, done: Done) -> Generator[Any, Any, Answer] | None:
        """Begins a usual call.

        Args:
            context: The context of the request, with its bytes.
            done: Ignored: nothing is forwarded.

        Returns:
            A coroutine that returns the answer; None if it is no usual call, and nothing was done.
        """
        del done
        data = context.payload
        if type(data) is not bytes or len(data) > MAX_BYTES:
            return None
        if process.tracing is not None and process.tracing.follows(context):
            return None
        try:
            session_id, tool_id, place = read_names(data)
            named = self._tools[tool_id]
            if named.tool is None or not runs_directly(named.tool):
                return None
            args, kwargs, _ = read_arguments(data, place)
        except UNREADABLE:
            # ``execute_tool`` says what is wrong with the request.
            return None
        # Binding is part of the call: a validator may be slow.
        now = time.monotonic()
        end = context.deadline if context.deadline is not None else now + self._runner.settings.call_timeout
        if end <= now:
            return None
        bound = named.tool.try_bind(args, kwargs)
        if bound is None:
            return None
        context.payload = b""
        return self._direct.run(session_id, named, bound, end, now, None, None)

    def enter(self, session_id: str, named: _ToolName, note: Any) -> tuple[()]:
        """See ``direct.Owner``: the hub has admitted the call."""
        del session_id, named, note
        return ()

    def make_call(
        self, session_id: str, named: _ToolName, deadline: float, opened_at: float, note: None = None
    ) -> ServedCall:
        """See ``direct.Owner``."""
        del note
        session = _HubSession(session_id, self._calls)
        return ServedCall(session, named, deadline, parent=None, orphaned=self._runner.tasks, opened_at=opened_at)

    async def acquire(self, call: ServedCall) -> tuple[()]:
        """See ``direct.Owner``."""
        del call
        return ()

    def end(
        self,
        session_id: str,
        named: _ToolName,
        opened_at: float,
        held: tuple[()] | None,
        call: ServedCall | None,
        answer: Answer | None,
        note: None = None,
    ) -> None:
        """See ``direct.Owner``."""
        del held, answer, note
        if call is None and time.monotonic() - opened_at > BLOCKED_SECONDS:
            call = self.make_call(session_id, named, opened_at, opened_at)
        if call is not None:
            _end(call)

    # ---------------------------------------------------------------------------------------------- other calls

    async def execute_tool(
        self, request: ToolCallRequest, context: RequestContext = LOCAL
    ) -> ToolCallResponse | Buffers:
        """Runs a call and returns its answer, even if it fails; a large one as bytes if the context has the payload.

        Args:
            request: The call.
            context: The request's context from the transport.

        Raises:
            asyncio.CancelledError: The hub no longer wants the answer.
        """
        size, as_bytes, context.payload = context.size or request.ByteSize(), bool(context.payload), b""
        began = time.perf_counter_ns()
        response = ToolCallResponse()
        data: Buffers | None = None
        if request.request_id:
            response.request_id = request.request_id
        call: ServedCall | None = None
        try:
            call = self._open(request, context, self._runner.settings.call_timeout)
            if self._middleware is not None:
                await self._middleware.call(call, request, response, b"", size)
            else:
                preparing = self._runner.prepare(call, request, b"", size)
                if preparing is not None:
                    await preparing
                data = await self._runner.call(call, request, response, as_bytes=as_bytes)
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            response.error.CopyFrom(await self._runner.error_info_of(failure, call))
        finally:
            if call is not None:
                _end(call, response.error if response.HasField("error") else None)
        if data is not None:
            return data
        set_duration(response.metrics, (time.perf_counter_ns() - began) // 1_000)
        return response

    async def stream_tool(
        self, request: ToolStreamRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[ToolStreamChunk | Buffers, None]:
        """Runs a stream: yields a chunk for each value, then exactly one ``complete`` or ``error``."""
        size, as_bytes, context.payload = context.size or request.ByteSize(), bool(context.payload), b""
        began = time.perf_counter_ns()
        stream_id = request.stream_id
        call: Call | None = None
        error: ErrorInfo | None = None
        sequence = sent = 0
        try:
            call = self._open(request, context, self._runner.settings.stream_timeout)
            stream_id = request.stream_id = call.identify()
            async with aclosing(await self._chunks(call, request, size, as_bytes=as_bytes)) as chunks:
                async for chunk in chunks:
                    yield chunk
                    sequence += 1
                    sent += isinstance(chunk, Buffers) or chunk.HasField("data")
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            error = await self._runner.error_info_of(failure, call)
        finally:
            if call is not None:
                if call.trace is not None:
                    call.trace.end("" if error is None else error.type)
                call.disarm()
        duration_us = (time.perf_counter_ns() - began) // 1_000
        yield last_chunk(stream_id, sequence, sent=sent, error=error, duration_us=duration_us)

    async def _chunks(
        self, call: ServedCall, request: ToolStreamRequest, size: int, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Buffers, None]:
        """Returns the chunks of a stream without the last."""
        if self._middleware is not None:
            return self._middleware.stream(call, request, b"", size)
        preparing = self._runner.prepare(call, request, b"", size)
        if preparing is not None:
            await preparing
        return self._runner.stream(call, request, as_bytes=as_bytes)

    def cache_entry(self, call: ServedCall, request: ToolCallRequest) -> None:
        """See ``Work``: the hub keeps results."""

    def cancel_all(self, cause: ToolBridgeError) -> None:
        """Cancels all suspended calls."""
        for call in list(self._calls):
            call.cancel(cause)

    def _open(
        self, request: ToolCallRequest | ToolStreamRequest, context: RequestContext, default: float
    ) -> ServedCall:
        named = self._tools.get(request.tool_id)
        if named is None:
            raise NotFoundError(f"this worker has no tool {request.tool_id!r:.100}", error_type="ToolNotFound")
        now = time.monotonic()
        end = context.deadline if context.deadline is not None else now + default
        call = self.make_call(request.session_id, named, end, now)
        call.request_id = request.stream_id if isinstance(request, ToolStreamRequest) else request.request_id
        call.origin, call.depth = context.parent, getattr(context.parent, "depth", 0)
        if context.principal is not None:
            call.principal, call.via = context.principal, context.via
        if context.asker is not None:
            call.asker = context.asker
        if end <= now:
            raise call.timeout_error()
        if process.tracing is not None:
            call.trace = process.tracing.served(call, context)
        return call


def _end(call: Call, error: ErrorInfo | None = None) -> None:
    if call.trace is not None:
        call.trace.end("" if error is None else error.type)
    if not call.armed:
        # It was never suspended: all of it was one step.
        call.note_step(call.opened_at)
    call.disarm()
