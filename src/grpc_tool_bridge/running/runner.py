"""Runs the tools of this process: arguments in, values out, failures as errors of the wire."""

import asyncio
import functools
import logging
import time
import types
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from google.protobuf import any_pb2

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.context import ToolContext, ToolRuntime
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    SerializationError,
    ToolBridgeError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    ExecutionMetrics,
    Progress,
    StreamMetadata,
    ToolCallItem,
    ToolCallRequest,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.running.calls import Call
from grpc_tool_bridge.running.events import Event, EventStream
from grpc_tool_bridge.running.packed import Packed
from grpc_tool_bridge.running.process import RaisedElsewhereError
from grpc_tool_bridge.running.processes import ToolProcesses, available_cores
from grpc_tool_bridge.running.threads import ToolThreads
from grpc_tool_bridge.tasks import TaskSet
from grpc_tool_bridge.tools import Tool
from grpc_tool_bridge.wire.values import deserialize_value, pack_value

_log = logging.getLogger(__name__)

Request = ToolCallRequest | ToolStreamRequest | ToolCallItem


class _ToolRaised(Exception):  # noqa: N818 - not an error of its own: it carries the tool's through the bridge's code
    """What a tool raised, so that it is not taken for an error of the bridge."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class ToolRunner:
    """Runs tools for a hub or a worker.

    Args:
        settings: Limits.
        make_runtime: Makes what stands behind the context of a call.

    Attributes:
        tasks: Owner of what cancelled calls leave behind.
    """

    def __init__(self, settings: Settings, make_runtime: Callable[[Any], ToolRuntime]) -> None:
        self.settings = settings
        self.tasks = TaskSet()
        self._make_runtime = make_runtime
        self._threads = ToolThreads(settings.max_threads)
        # What a call waits for that has not begun.
        self._thread = f"a free thread (max_threads is {settings.max_threads:,})"
        most = settings.max_processes or available_cores()
        self._process = f"a process to be free and ready (max_processes is {most:,})"
        self._processes = ToolProcesses(
            settings.max_processes, max_depth=settings.max_depth, max_message_bytes=settings.max_message_bytes
        )

    async def aclose(self) -> None:
        """Ends what cancelled calls left behind, and the processes for tools."""
        await self.tasks.aclose()
        await self._processes.aclose()

    @property
    def threads_busy(self) -> int:
        """Threads that run a tool now, those left behind included."""
        return self._threads.busy

    @property
    def processes_busy(self) -> int:
        """Processes that run a tool now."""
        return self._processes.busy

    def check_size(self, what: str, size: int) -> None:
        """Raises MessageTooLargeError where ``size`` bytes are over the limit of a message."""
        if size > self.settings.max_message_bytes:
            raise MessageTooLargeError.of(what, size, self.settings.max_message_bytes)

    def arguments(self, tool: Tool, request: Request) -> tuple[Sequence[Any], dict[str, Any]]:
        """Decodes, binds and checks the arguments of a call; those for another process stay encoded.

        Raises:
            SerializationError: One of them is no value; the text names it.
            ValidationError: They do not fit the tool.
        """
        depth = self.settings.max_depth
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        which = ""
        try:
            for message in list(request.args):
                args.append(deserialize_value(message, max_depth=depth))  # noqa: PERF401 - its length names what fails
            # Asking an empty map for its items costs five times as much as asking whether it is empty.
            if request.kwargs:
                for which, message in request.kwargs.items():
                    kwargs[which] = deserialize_value(message, max_depth=depth)
        except SerializationError as error:
            named = repr(which) if which else len(args)
            name = tool.spec.name
            raise SerializationError(f"{name}: argument {named}: {error.message}", details=error.details) from None
        bound = tool.bind(args, kwargs)
        return bound if tool.executor != "process" else (list(request.args), dict(request.kwargs))

    # ----------------------------------------------------------------------------------------------- to a result

    async def invoke(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        emit: EventStream | None = None,
    ) -> Any:
        """Runs a tool to its result; of a streaming tool, the list of what it yields."""
        if tool.is_stream:
            return await self._collect(call, tool, request, args, kwargs)
        if tool.executor == "process":
            return await self._invoke_elsewhere(call, tool, request, args, kwargs, emit)
        if tool.context_parameter is not None:
            kwargs[tool.context_parameter] = self._context(call, request, emit)
        try:
            if tool.is_async:
                return await call.step(tool.function(*args, **kwargs))
            if tool.executor == "async":
                result = tool.function(*args, **kwargs)
            else:
                function = call.when_begun(self._thread, functools.partial(tool.function, *args, **kwargs))
                result = await call.step(self._threads.run(function))
            return await call.step(result) if type(result) is types.CoroutineType else result
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise _ToolRaised(error) from error
            raise

    async def _invoke_elsewhere(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        emit: EventStream | None,
    ) -> Any:
        context = self._context(call, request, emit) if tool.context_parameter is not None else None
        call.wait_for(self._process)
        try:
            return await call.step(self._processes.run(tool, args, kwargs, context, begin=call.begin))
        except RaisedElsewhereError as error:
            raise _ToolRaised(error) from error

    async def _collect(
        self, call: Call, tool: Tool, request: Request, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> list[Any]:
        values: list[Any] = []
        size = 0
        source = self._source(call, tool, request, args, kwargs, buffer=self.settings.stream_buffer)
        try:
            async for value in source:
                size += len(self.pack(call, value)[1])
                self.check_size(f"the result of {call.tool.name}", size)
                values.append(deserialize_value(any_pb2.Any(**value._asdict())) if type(value) is Packed else value)
        finally:
            await source.aclose()
        return values

    # ----------------------------------------------------------------------------------------------- to a stream

    async def chunks(
        self,
        call: Call,
        tool: Tool,
        request: ToolStreamRequest,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        stream_id: str,
    ) -> AsyncGenerator[ToolStreamChunk, None]:
        """Yields a chunk for each value and, where the caller asked for them, for each event; not the last one."""
        values = self._values(call, tool, request, args, kwargs)
        sequence = 0
        try:
            async for event, value in values:
                chunk = ToolStreamChunk(stream_id=stream_id, sequence=sequence)
                if event is None:
                    self.encode(call, value, chunk.data)
                else:
                    chunk.metadata.CopyFrom(_event_metadata(event))
                yield chunk
                sequence += 1
                call.check()
        finally:
            await values.aclose()

    async def _values(
        self, call: Call, tool: Tool, request: ToolStreamRequest, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> AsyncGenerator[tuple[Event | None, Any], None]:
        """Yields what the tool yields and, where the caller asked for it, what it tells on the way.

        An event comes as ``(event, None)``, a value as ``(None, value)``.
        """
        buffer = self._buffer(call, request.config.buffer_size)
        if request.config.include_events:
            events = EventStream(buffer)
            source = self._source(call, tool, request, args, kwargs, buffer=buffer, emit=events)
            merged = events.merge(source, self.tasks)
            try:
                async for item in merged:
                    yield item
            finally:
                await merged.aclose()
            return
        source = self._source(call, tool, request, args, kwargs, buffer=buffer)
        try:
            async for value in source:
                yield None, value
        finally:
            await source.aclose()

    def _buffer(self, call: Call, asked: int) -> int:
        """Values that may wait for the reader: as many as it asks for, at most as many as the settings allow."""
        if asked < 0:
            raise ValidationError(f"{call.tool.name}: buffer_size is {asked}; it is 0 (the default) or more")
        return min(asked or self.settings.stream_buffer, self.settings.stream_buffer)

    async def _source(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        buffer: int,
        emit: EventStream | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yields the values of any tool; of one that returns, its result."""
        if not tool.is_stream:
            yield await self.invoke(call, tool, request, args, kwargs, emit=emit)
            return
        values = self._iterate(call, tool, request, args, kwargs, buffer, emit)
        try:
            while True:
                try:
                    value = await call.step(values.__anext__())
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    # What comes from another process otherwise is the bridge's own.
                    if tool.executor == "process" and not isinstance(error, RaisedElsewhereError):
                        raise
                    if call.is_raised_by_tool(error):
                        raise _ToolRaised(error) from error
                    raise
                yield value
        finally:
            await _close(call, values)

    def _iterate(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        buffer: int,
        emit: EventStream | None,
    ) -> AsyncGenerator[Any, None]:
        context = self._context(call, request, emit) if tool.context_parameter is not None else None
        if tool.executor == "process":
            call.wait_for(self._process)
            return self._processes.iterate(tool, args, kwargs, context, buffer, begin=call.begin)
        if tool.context_parameter is not None:
            kwargs[tool.context_parameter] = context
        function = functools.partial(tool.function, *args, **kwargs)
        if tool.is_async:
            values: AsyncGenerator[Any, None] = function()
            return values
        if tool.executor == "thread":
            return self._threads.iterate(call.when_begun(self._thread, function), buffer)
        return _in_place(function)

    def _context(self, call: Call, request: Request, emit: EventStream | None) -> ToolContext:
        call.context = ToolContext(
            session_id=call.session.id,
            tool_name=call.tool.name,
            request_id=getattr(request, "request_id", ""),
            metadata=dict(request.context) if not isinstance(request, ToolCallItem) else {},
            deadline=call.deadline,
            loop=asyncio.get_running_loop(),
            runtime=self._make_runtime(call),
            emit=emit.emit if emit is not None else None,
        )
        return call.context

    # --------------------------------------------------------------------------------------------------- answers

    def encode(self, call: Call, value: Any, into: any_pb2.Any) -> None:
        """Puts what a tool gave into an answer; raises as ``pack`` does."""
        into.type_url, into.value = self.pack(call, value)

    def pack(self, call: Call, value: Any) -> tuple[str, bytes]:
        """Encodes what a tool gave.

        Raises:
            SerializationError: It cannot be represented.
            MessageTooLargeError: It is over the limit.
        """
        if type(value) is Packed:
            return value
        try:
            packed = pack_value(value, max_depth=self.settings.max_depth)
        except SerializationError as error:
            text = f"the result of {call.tool.name}: {error.message}"
            raise SerializationError(text, details=error.details) from None
        if len(packed[1]) > self.settings.max_message_bytes:
            self.check_size(f"the result of {call.tool.name}", len(packed[1]))
        return packed

    def error_of(self, failure: Exception, call: Call | None) -> ErrorInfo:
        """Makes the answer of a call that failed; a fault of the bridge is logged."""
        if isinstance(failure, _ToolRaised):
            if call is not None and call.cause is not None:
                # What the tool raised while it was ended hides what ended it.
                return error_info(call.cause)
            if call is not None and isinstance(failure.error, TimeoutError) and call.deadline <= time.monotonic():
                # A nested call shares the deadline, and may notice first that it has passed.
                return error_info(call.timeout_error())
            if isinstance(failure.error, RaisedElsewhereError):
                if not self.settings.show_tracebacks:
                    failure.error.info.stacktrace = ""
                return failure.error.info
            return error_info(failure.error, raised_by_tool=True, show_traceback=self.settings.show_tracebacks)
        info = error_info(failure)
        if not isinstance(failure, ToolBridgeError):
            _log.error("fault %s in a call", info.details["error_id"], exc_info=failure)
        return info

    def cancelled(self, call: Call | None, cancelled: asyncio.CancelledError) -> ErrorInfo:
        """Answers a cancellation that was the call's own or the tool's; one from outside goes on."""
        cause = call.convert() if call is not None else None
        if cause is not None:
            return error_info(cause)
        if call is None or call.cancelled_from_outside():
            raise cancelled
        return error_info(cancelled, raised_by_tool=True, show_traceback=self.settings.show_tracebacks)


def set_duration(metrics: ExecutionMetrics, duration_us: int) -> None:
    """Says what a call took; one that ran took at least a millisecond, rounded up."""
    metrics.duration_ms = duration_us // 1_000 + 1
    metrics.duration_us = duration_us


def last_chunk(
    stream_id: str, sequence: int, *, sent: int, error: ErrorInfo | None, duration_us: int
) -> ToolStreamChunk:
    """Makes the chunk that a stream ends with.

    Args:
        stream_id: Of the stream.
        sequence: Chunks before it.
        sent: Values among them.
        error: What it ended with; None: it is complete.
        duration_us: Microseconds that it took.
    """
    chunk = ToolStreamChunk(stream_id=stream_id, sequence=sequence)
    if error is not None:
        chunk.error.CopyFrom(error)
    else:
        chunk.complete.CopyFrom(CompleteSignal(total_chunks=sent))
        set_duration(chunk.complete.metrics, duration_us)
    return chunk


def _event_metadata(event: Event) -> StreamMetadata:
    metadata = StreamMetadata(key="progress" if isinstance(event, Progress) else "log")
    metadata.value.Pack(event)
    return metadata


async def _in_place(function: "functools.partial[Any]") -> AsyncGenerator[Any, None]:
    """Iterates a generator that promised not to block, giving the loop a turn after each value."""
    generator = function()
    try:
        for value in generator:
            yield value
            await asyncio.sleep(0)
    finally:
        generator.close()


async def _close(call: Call, values: AsyncGenerator[Any, None]) -> None:
    """Lets a tool's generator clean up, within the time that its call has for that."""
    if call.abandoned:
        # It still runs, and is not ours any more.
        return
    try:
        await call.step(values.aclose())
    except asyncio.CancelledError:
        if call.convert() is None:
            raise
    except Exception:  # noqa: BLE001 - the tool's, and nobody waits for it any more
        _log.exception("%s failed in its clean-up", call.tool.name)
