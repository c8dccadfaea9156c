"""Runs the tools of this process: arguments in, values out, failures as errors of the wire."""

import asyncio
import functools
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Sequence,
)
from typing import Any, TypeVar

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.context import ToolContext, ToolRuntime
from grpc_tool_bridge.errors import (
    ToolBridgeError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.outside import readers
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    ExecutionMetrics,
    Progress,
    StreamMetadata,
    ToolCallItem,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.running.arguments import Request, is_slow_to_read, read_arguments
from grpc_tool_bridge.running.calls import Call
from grpc_tool_bridge.running.events import Event, EventStream
from grpc_tool_bridge.running.packed import Packed
from grpc_tool_bridge.running.process import RaisedElsewhereError
from grpc_tool_bridge.running.processes import ToolProcesses, available_cores
from grpc_tool_bridge.running.results import Results, ToolRaised, awaited, close_values
from grpc_tool_bridge.running.threads import ToolThreads, close
from grpc_tool_bridge.tasks import TaskSet
from grpc_tool_bridge.tooling.results import has_items, streams
from grpc_tool_bridge.tools import Tool
from grpc_tool_bridge.wire.scalars import SCALARS

_log = logging.getLogger(__name__)

T = TypeVar("T")


__all__ = ["Request", "ToolRunner", "last_chunk", "set_duration"]


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
        self._max_depth, self._max_nodes = settings.max_depth, settings.max_message_nodes
        self._make_runtime = make_runtime
        self._threads = ToolThreads(settings.max_threads)
        self._results = Results(settings, self._threads)
        self.check_size = self._results.check_size
        self.pack = self._results.pack
        # What a call waits for that has not begun.
        self._thread = f"a free thread (max_threads is {settings.max_threads:,})"
        most = settings.max_processes or available_cores()
        self._process = f"a process to be free and ready (max_processes is {most:,})"
        self._processes = ToolProcesses(
            settings.max_processes,
            max_depth=settings.max_depth,
            max_message_bytes=settings.max_message_bytes,
            max_message_nodes=settings.max_message_nodes,
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

    def arguments(self, tool: Tool, request: Request, size: int) -> tuple[Sequence[Any], dict[str, Any]]:
        """Decodes, binds and checks the arguments of a call of ``size`` bytes; those for another process stay encoded.

        Of more than ``LARGE_BYTES``, ``large_arguments`` does so.

        Raises:
            SerializationError: One of them is no value; the text names it.
            MessageTooLargeError: They have too many nodes.
            ValidationError: They do not fit the tool.
        """
        bound = read_arguments(tool, request, size, self._max_depth, self._max_nodes)
        return bound if tool.executor != "process" else (list(request.args), dict(request.kwargs))

    async def large_arguments(
        self, call: Call, tool: Tool, request: Request, size: int
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """As ``arguments``, in a thread; what is for another process is left to that, whatever it holds."""
        if not is_slow_to_read(request):
            return self.arguments(tool, request, size)
        if tool.executor == "process":
            return list(request.args), dict(request.kwargs)
        call.wait_for("its arguments to be read")
        bound: tuple[Sequence[Any], dict[str, Any]] = await call.step(
            readers.run(functools.partial(self.arguments, tool, request, size))
        )
        call.begin()
        return bound

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
        """Runs a tool to its result, made to fit what it declares; of what streams, the list of its values.

        Returns:
            A scalar as it is, anything else encoded.
        """
        if tool.is_stream or tool.executor == "process":
            return await self._invoke_other(call, tool, request, args, kwargs, emit)
        if tool.is_async and tool.context_parameter is None:
            # As _returned does it; most calls come by here, and another coroutine is a thirtieth of them.
            try:
                value = await call.step(tool.function(*args, **kwargs))
            except BaseException as error:
                if call.is_raised_by_tool(error):
                    raise ToolRaised(error) from error
                raise
        else:
            value = await self._returned(call, tool, request, args, kwargs, emit)
        if type(value) in SCALARS and (tool.result is None or type(value) in tool.result.accepts):
            return value
        if isinstance(value, Awaitable):
            value = await self._awaited(call, value)
        if isinstance(value, AsyncIterator):
            value = await self._results.items(call, value)
        return await self._results.finished(call, tool, value)

    async def _invoke_other(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        emit: EventStream | None,
    ) -> Any:
        """Runs a tool that streams, or that runs in a process."""
        if not tool.is_stream:
            return await self._invoke_elsewhere(call, tool, request, args, kwargs, emit)
        if tool.is_generator and tool.executor == "thread":
            function = self._bound(call, tool, request, args, kwargs, emit)
            return await self._results.collect_in_thread(call, tool, call.when_begun(self._thread, function))
        if tool.is_generator or tool.executor == "process":
            return await self._results.collect(call, tool, self._source(call, tool, request, args, kwargs, emit=emit))
        value = await self._returned(call, tool, request, args, kwargs, emit)
        if isinstance(value, AsyncIterable):
            return await self._results.collect(call, tool, self._steps(call, tool, aiter(value)))
        values = value if has_items(value) else [value]
        return await self._results.collect_in_thread(call, tool, lambda: iter(values))

    async def _returned(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        emit: EventStream | None,
    ) -> Any:
        """Runs a function that does not itself yield, and awaits what it returns as long as that can be awaited."""
        if tool.context_parameter is not None:
            kwargs[tool.context_parameter] = self._context(call, request, emit)
        try:
            if tool.is_async:
                value = await call.step(tool.function(*args, **kwargs))
            elif tool.executor == "async":
                value = tool.function(*args, **kwargs)
            else:
                function = call.when_begun(self._thread, functools.partial(tool.function, *args, **kwargs))
                value = await call.step(self._threads.run(function))
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise ToolRaised(error) from error
            raise
        return value if type(value) in SCALARS else await self._awaited(call, value)

    async def _awaited(self, call: Call, value: Any) -> Any:
        """Awaits what a function returned, as long as that can be awaited."""
        try:
            while isinstance(value, Awaitable):
                value = await call.step(value if isinstance(value, Coroutine) else awaited(value))
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise ToolRaised(error) from error
            raise
        return value

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
            raise ToolRaised(error) from error

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
                    chunk.data.type_url, chunk.data.value = await self._results.encoded(call, tool, value)
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
        buffer: int = 0,
        emit: EventStream | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yields the values of any tool; of one that returns what does not stream, its result."""
        buffer = buffer or self.settings.stream_buffer
        if tool.is_generator or tool.executor == "process":
            values: AsyncIterator[Any] = self._iterate(call, tool, request, args, kwargs, buffer, emit)
        else:
            value = await self._returned(call, tool, request, args, kwargs, emit)
            # What is declared to be a list is one, whatever it is made of.
            yields = has_items(value) if tool.is_stream else tool.result is None and streams(value)
            if not yields:
                if isinstance(value, AsyncIterator):
                    value = await self._results.items(call, value)
                yield await self._results.finished(call, tool, value)
                return
            values = self._iterator(tool, value, buffer)
        each = self._steps(call, tool, values)
        try:
            async for value in each:
                yield value
        finally:
            await each.aclose()

    async def _steps(self, call: Call, tool: Tool, values: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """Yields each value, made to fit what the tool declares."""
        try:
            while True:
                try:
                    step: Any = values.__anext__()
                    value = await call.step(step if hasattr(step, "send") else awaited(step))
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    # What comes from another process otherwise is the bridge's own.
                    if tool.executor == "process" and not isinstance(error, RaisedElsewhereError):
                        raise
                    if call.is_raised_by_tool(error):
                        raise ToolRaised(error) from error
                    raise
                if type(value) is Packed or tool.result is None or type(value) in tool.result.accepts:
                    yield value
                else:
                    yield await self._results.fitted(call, tool, value)
        finally:
            await close_values(call, values)

    def _iterator(self, tool: Tool, value: Any, buffer: int) -> AsyncIterator[Any]:
        """Iterates what a function returned: an asynchronous iterator in the loop, any other where the tool runs."""
        if isinstance(value, AsyncIterable):
            return aiter(value)
        if tool.executor == "async" and not tool.is_async:
            return _in_place(lambda: value)
        return self._threads.iterate(lambda: iter(value), buffer)

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
        """Iterates a generator function."""
        if tool.executor == "process":
            context = self._context(call, request, emit) if tool.context_parameter is not None else None
            call.wait_for(self._process)
            return self._processes.iterate(tool, args, kwargs, context, buffer, begin=call.begin)
        function = self._bound(call, tool, request, args, kwargs, emit)
        if tool.is_async:
            values: AsyncGenerator[Any, None] = function()
            return values
        if tool.executor == "thread":
            return self._threads.iterate(call.when_begun(self._thread, function), buffer)
        return _in_place(function)

    def _bound(
        self,
        call: Call,
        tool: Tool,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        emit: EventStream | None,
    ) -> Callable[[], Any]:
        if tool.context_parameter is not None:
            kwargs[tool.context_parameter] = self._context(call, request, emit)
        return functools.partial(tool.function, *args, **kwargs)

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

    def error_of(self, failure: Exception, call: Call | None) -> ErrorInfo:
        """Makes the answer of a call that failed; a fault of the bridge is logged."""
        if isinstance(failure, ToolRaised):
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


async def _in_place(function: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    """Iterates what promised not to block, giving the loop a turn after each value."""
    values = function()
    try:
        for value in values:
            yield value
            await asyncio.sleep(0)
    finally:
        close(values)
