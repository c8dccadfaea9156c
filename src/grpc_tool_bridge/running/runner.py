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
from grpc_tool_bridge.running.threads import ToolThreads, close
from grpc_tool_bridge.tasks import TaskSet
from grpc_tool_bridge.tooling.results import fitted, has_items, result_writing, streams
from grpc_tool_bridge.tools import Tool
from grpc_tool_bridge.wire.foreign import ForeignCodeError
from grpc_tool_bridge.wire.plain import least_bytes
from grpc_tool_bridge.wire.scalars import SCALARS
from grpc_tool_bridge.wire.values import deserialize_value, pack_value

_log = logging.getLogger(__name__)

T = TypeVar("T")

Request = ToolCallRequest | ToolStreamRequest | ToolCallItem


_END: Any = object()


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
        self._writing = functools.partial(
            result_writing, max_depth=settings.max_depth, max_bytes=settings.max_message_bytes
        )
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
        """Runs a tool to its result, made to fit what it declares; of what streams, the list of its values.

        Returns:
            A scalar as it is, anything else encoded.
        """
        if tool.is_generator and tool.executor == "thread":
            function = self._bound(call, tool, request, args, kwargs, emit)
            return await self._collect_in_thread(call, tool, call.when_begun(self._thread, function))
        if tool.is_generator or (tool.is_stream and tool.executor == "process"):
            return await self._collect(call, tool, self._source(call, tool, request, args, kwargs, emit=emit))
        if tool.executor == "process":
            return await self._invoke_elsewhere(call, tool, request, args, kwargs, emit)
        value = await self._returned(call, tool, request, args, kwargs, emit)
        if (
            type(value) in SCALARS
            and not tool.is_stream
            and (tool.result is None or type(value) in tool.result.accepts)
        ):
            return value
        if tool.is_stream:
            if isinstance(value, AsyncIterable):
                return await self._collect(call, tool, self._steps(call, tool, aiter(value)))
            return await self._collect_in_thread(call, tool, lambda: iter(value if has_items(value) else [value]))
        if isinstance(value, AsyncIterator):
            value = await self._awaited_items(call, value)
        return await self._finished(call, tool, value)

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
            while type(value) not in SCALARS and isinstance(value, Awaitable):
                value = await call.step(value if isinstance(value, Coroutine) else _awaited(value))
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise _ToolRaised(error) from error
            raise
        return value

    async def _finished(self, call: Call, tool: Tool, value: Any) -> Packed:
        """Makes a result fit its declaration and encodes it: in a thread, where code of a stranger's takes part."""

        def finish() -> Packed:
            try:
                return Packed(*self.pack(call, self._fitted(tool, value), tool))
            except (ToolBridgeError, _ToolRaised):
                raise
            except Exception as error:
                # What an iterator in it raises, or a serializer of a model.
                raise _ToolRaised(error) from error

        return await self._in_thread_if_foreign(call, finish)

    async def _in_thread_if_foreign(self, call: Call, function: Callable[[], T]) -> T:
        try:
            return function()
        except ForeignCodeError:
            made: T = await call.step(self._threads.run(function))
            return made

    def _fitted(self, tool: Tool, value: Any) -> Any:
        if tool.result is None or type(value) is Packed or type(value) in tool.result.accepts:
            return value
        try:
            return fitted(tool.result, value, max_bytes=self.settings.max_message_bytes)
        except ToolBridgeError:
            raise
        except Exception as error:
            raise _ToolRaised(error) from error

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

    async def _collect(self, call: Call, tool: Tool, source: AsyncGenerator[Any, None]) -> Packed:
        """Reads a stream to its end, and gives the list of its values."""
        values: list[Any] = []
        size = 0
        try:
            async for value in source:
                packed = await self.encoded(call, tool, value)
                size += len(packed.value)
                self.check_size(f"the result of {call.tool.name}", size)
                # What is declared of a value is kept in how it is written.
                values.append(value if type(value) in SCALARS else deserialize_value(any_pb2.Any(**packed._asdict())))
        finally:
            await source.aclose()
        return Packed(*self.pack(call, values, tool))

    async def _collect_in_thread(self, call: Call, tool: Tool, function: Callable[[], Any]) -> Packed:
        # One thread reads it all: to hand each value over takes longer than most take to make.
        made: Packed = await call.step(self._threads.run(functools.partial(self._collect_here, call, tool, function)))
        return made

    def _collect_here(self, call: Call, tool: Tool, function: Callable[[], Any]) -> Packed:
        """Reads a generator to its end in the thread that it runs in, as long as somebody wants the list."""
        values: list[Any] = []
        size = 0
        generator = function()
        try:
            while call.cause is None and not call.over:
                try:
                    value = next(generator, _END)
                except BaseException as error:
                    raise _ToolRaised(error) from error
                if value is _END:
                    break
                packed = self.pack(call, self._fitted(tool, value), tool)
                size += len(packed[1])
                self.check_size(f"the result of {call.tool.name}", size)
                values.append(
                    value
                    if type(value) in SCALARS
                    else deserialize_value(any_pb2.Any(type_url=packed[0], value=packed[1]))
                )
        finally:
            close(generator)
        return Packed(*self.pack(call, values, tool))

    async def _awaited_items(self, call: Call, values: AsyncIterator[Any]) -> list[Any]:
        """Gives the items of an asynchronous iterator that a function returned where no stream is declared."""
        items: list[Any] = []
        size = 0
        try:
            while True:
                try:
                    item = await call.step(_awaited(values.__anext__()))
                except StopAsyncIteration:
                    return items
                except BaseException as error:
                    if call.is_raised_by_tool(error):
                        raise _ToolRaised(error) from error
                    raise
                items.append(item)
                size += least_bytes(item)
                self.check_size(f"the result of {call.tool.name}", size)
        finally:
            await _close(call, values)

    async def encoded(self, call: Call, tool: Tool, value: Any) -> Packed:
        """Encodes what a tool gave; raises as ``pack``."""
        return await self._in_thread_if_foreign(call, lambda: Packed(*self.pack(call, value, tool)))

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
                    chunk.data.type_url, chunk.data.value = await self.encoded(call, tool, value)
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
                    value = await self._awaited_items(call, value)
                yield await self._finished(call, tool, value)
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
                    value = await call.step(step if hasattr(step, "send") else _awaited(step))
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    # What comes from another process otherwise is the bridge's own.
                    if tool.executor == "process" and not isinstance(error, RaisedElsewhereError):
                        raise
                    if call.is_raised_by_tool(error):
                        raise _ToolRaised(error) from error
                    raise
                if type(value) is Packed or tool.result is None or type(value) in tool.result.accepts:
                    yield value
                else:
                    yield await self._in_thread_if_foreign(call, functools.partial(self._fitted, tool, value))
        finally:
            await _close(call, values)

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

    def pack(self, call: Call, value: Any, tool: Tool) -> tuple[str, bytes]:
        """Encodes what a tool gave.

        Raises:
            SerializationError: It cannot be represented.
            MessageTooLargeError: It is over the limit.
            ForeignCodeError: Code of a stranger's would run in the event loop.
        """
        if type(value) is Packed:
            return value
        scalar = SCALARS.get(type(value))
        try:
            packed = scalar(value) if scalar is not None else pack_value(value, self._writing(tool.spec))
        except (SerializationError, MessageTooLargeError) as error:
            text = f"the result of {call.tool.name}: {error.message}"
            raise type(error)(text, details=error.details) from None
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


async def _in_place(function: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    """Iterates what promised not to block, giving the loop a turn after each value."""
    values = function()
    try:
        for value in values:
            yield value
            await asyncio.sleep(0)
    finally:
        close(values)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def _close(call: Call, values: Any) -> None:
    """Lets a tool's generator clean up, within the time that its call has for that."""
    if call.abandoned or not hasattr(values, "aclose"):
        # It still runs, and is not ours any more; or it is an iterator, which has nothing to clean up.
        return
    try:
        await call.step(values.aclose())
    except asyncio.CancelledError:
        if call.convert() is None:
            raise
    except Exception:  # noqa: BLE001 - the tool's, and nobody waits for it any more
        _log.exception("%s failed in its clean-up", call.tool.name)
