"""Runs the tools of this process: decodes arguments, encodes results, and maps failures to errors."""

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
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.threads import NestedThreads
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import (
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    StreamConfig,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Buffers, Payload
from grpc_tool_bridge.rpc.large_messages import encoded_arguments
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES, is_slow
from grpc_tool_bridge.runner.aging import AgeLimits
from grpc_tool_bridge.runner.calls import Call, end_if_forked, function_of
from grpc_tool_bridge.runner.dependents import Dependents
from grpc_tool_bridge.runner.error_formatter import ErrorFormatter, ToolRaised
from grpc_tool_bridge.runner.events import Event, EventStream, event_metadata
from grpc_tool_bridge.runner.failures import Failures
from grpc_tool_bridge.runner.process import RaisedElsewhereError
from grpc_tool_bridge.runner.processes import ToolProcesses, available_cores
from grpc_tool_bridge.runner.results import (
    Refused,
    Results,
    async_iterator,
    awaited,
    close_values,
    in_place,
    last_chunk,
    packed_scalar,
    set_duration,
)
from grpc_tool_bridge.runner.surroundings import Surroundings
from grpc_tool_bridge.runner.work import Work
from grpc_tool_bridge.tools.binding import Request
from grpc_tool_bridge.tools.context import ToolContext, ToolRuntime
from grpc_tool_bridge.tools.results import has_items, streams
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.offload import in_reader
from grpc_tool_bridge.values.scalars import SCALARS, PackedValue

# Maximum arguments that are decoded in an event loop, at a few µs each.
_MAX_IN_LOOP = 1_000

_log = logging.getLogger(__name__)

__all__ = ["Request", "ToolRunner", "last_chunk", "set_duration"]


class ToolRunner:
    """Runs tools for a hub, as one of its backends, or for a worker.

    Args:
        settings: Limits.
        make_runtime: Creates the runtime of a call's context.

    Attributes:
        tasks: Owner of tools that ignore their cancellation.
        pools: The threads and the processes that tools take, by the setting that limits them.
        surroundings: What its tools run in.
        error_info_of, error_of: As ``info_of`` and ``fault_info`` of ``Failures``.
        check_size, pack: As in ``Results``.
    """

    def __init__(self, settings: Settings, make_runtime: Callable[[Any], ToolRuntime]) -> None:
        self.settings = settings
        self.tasks = TaskSet()
        self.surroundings = Surroundings()
        self._max_depth, self._max_nodes = settings.max_depth, settings.max_message_nodes
        self._make_runtime = make_runtime
        self._threads = NestedThreads(settings.max_threads)
        # Separate from the tools' threads: a stream holds one of these while its values are encoded.
        self._writers = NestedThreads(settings.max_threads)
        self._formatter = ErrorFormatter(show_tracebacks=settings.show_tracebacks)
        self._results = Results(settings, threads=self._threads, writers=self._writers, formatter=self._formatter)
        self._dependents = Dependents(self._results, self._threads, self._formatter)
        failures = Failures(self._formatter, show_tracebacks=settings.show_tracebacks)
        self.error_info_of, self.error_of = failures.info_of, failures.fault_info
        self.check_size = self._results.check_size
        self.pack = self._results.pack
        # What a call waits for before its tool starts, for error texts.
        self._thread = f"a free thread (max_threads is {settings.max_threads:,})"
        most = settings.max_processes or available_cores()
        self._process = f"a process to be free and ready (max_processes is {most:,})"
        self._processes = ToolProcesses(
            settings.max_processes,
            max_depth=settings.max_depth,
            max_message_bytes=settings.max_message_bytes,
            max_message_nodes=settings.max_message_nodes,
            aging=AgeLimits(
                max_calls=settings.max_process_calls,
                max_seconds=settings.max_process_seconds,
                max_bytes=settings.max_process_bytes,
                jitter=settings.process_jitter,
            ),
            surroundings=self.surroundings,
        )
        self.pools: dict[str, NestedThreads | ToolProcesses] = {
            "max_threads": self._threads, "max_processes": self._processes,
        }  # fmt: skip

    async def aclose(self) -> None:
        """Ends orphaned tools and the tools' processes."""
        await self.tasks.aclose()
        await self._processes.aclose()

    def abandon(self) -> None:
        """Drops what is left in an event loop that has ended."""
        self.tasks.abandon()
        self._processes.abandon()

    @property
    def threads_busy(self) -> int:
        """Threads that run a tool now, including orphaned ones."""
        return self._threads.busy + self._writers.busy

    @property
    def processes_busy(self) -> int:
        """Processes that run a tool now."""
        return self._processes.busy

    @property
    def processes_replaced(self) -> int:
        """Processes that were replaced because of their age."""
        return self._processes.replaced

    # ------------------------------------------------------------------------------------------ to its arguments

    def prepare(self, call: Call, request: Request, payload: Payload, size: int) -> Awaitable[None] | None:
        """Decodes, binds and checks the arguments of a call; arguments for another process stay encoded.

        Args:
            call: The call; ``call.prepared`` is set to the arguments, by position and by name.
            request: What it asks for.
            payload: Ignored.
            size: Size of the request in bytes.

        Returns:
            None, or an awaitable if the request is large.

        Raises:
            SerializationError: An argument is not a valid value; the text names it.
            MessageTooLargeError: The arguments have too many nodes.
            ValidationError: The arguments do not fit the tool.
        """
        del payload
        if size > SLOW_BYTES:
            return self._prepare_large(call, request, size)
        call.prepared = self._arguments(function_of(call), request, size)
        return None

    def _arguments(self, tool: Tool, request: Request, size: int) -> tuple[Sequence[Any], dict[str, Any]]:
        bound = tool.bind_request(request, size, self._max_depth, self._max_nodes)
        return bound if tool.executor != "process" else encoded_arguments(request)

    async def _prepare_large(self, call: Call, request: Request, size: int) -> None:
        """Decodes the arguments in a thread, or leaves them to the tool's process."""
        tool = function_of(call)
        if not _is_slow_to_read(request):
            call.prepared = self._arguments(tool, request, size)
        elif tool.executor == "process":
            call.prepared = encoded_arguments(request)
        else:
            call.wait_for("its arguments to be read")
            call.prepared = await call.step(in_reader(functools.partial(self._arguments, tool, request, size)))
            call.stop_waiting()

    # ----------------------------------------------------------------------------------------------- to a result

    def call(
        self, call: Call, request: Request, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool = False
    ) -> Coroutine[Any, Any, Buffers | None]:
        """Runs a tool within its span, if the call has one; arguments as for ``_call``."""
        running = self._call(call, request, answer, as_bytes=as_bytes)
        return running if call.trace is None else call.trace.around(call, running)

    async def _call(
        self, call: Call, request: Request, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Buffers | None:
        """Runs a tool, and puts its result, converted to its declared type, into the answer.

        The result of a stream is the list of its values.

        Args:
            call: The prepared call.
            request: What it asks for.
            answer: The response or result message to fill in.
            as_bytes: Whether the caller accepts the whole answer as bytes.

        Returns:
            The serialized answer if ``as_bytes`` is set and the result is large: it is not copied into ``answer``.
        """
        tool = function_of(call)
        args, kwargs = call.prepared
        finished = False
        if tool.is_stream or tool.executor == "process":
            value = await self._invoke_other(Work(call, tool, request, args, kwargs))
            finished = True
        elif tool.is_async and not tool.needs_context:
            # Like _returned: most calls take this path, and another coroutine would cost a thirtieth of a call.
            try:
                value = await call.step(tool.function(*args, **kwargs))
            except BaseException as error:
                if call.is_raised_by_tool(error):
                    raise ToolRaised(error) from error
                raise
        else:
            value = await self._returned(Work(call, tool, request, args, kwargs), finish=True)
        if not finished:
            try:
                finished = type(value) in SCALARS and (tool.result is None or type(value) in tool.result.accepts)
            except BaseException as error:
                # Hashing the class may run code of a metaclass.
                raise ToolRaised(error) from error
            if not finished:
                value = await self._finished(call, tool, value)
        call.refuse_late()
        small = packed_scalar(value)
        if small is None:
            return self._results.put(call, tool, value, answer, as_bytes=as_bytes)
        answer.result.type_url, answer.result.value = small
        answer.success = True
        return None

    async def answer_with(self, call: Call, tool: Tool, value: Any, *, is_scalar: bool) -> Payload:
        """Returns the answer to a call, serialized, whose function has returned.

        Args:
            call: The call.
            tool: The function.
            value: What it returned.
            is_scalar: Whether it is a scalar of the declared type.

        Raises:
            BaseException: Any exception; it becomes the call's error.
        """
        if not is_scalar:
            value = await self._finished(call, tool, value)
            call.refuse_late()
        return self._results.serialized(call, tool, value)

    async def _finished(self, call: Call, tool: Tool, value: Any) -> PackedValue:
        """Awaits a result if it is awaitable, and encodes it, unless its thread has done so."""
        if type(value) is PackedValue:
            return value
        if type(value) is Refused:
            raise value.error
        if _is_a(value, Awaitable):
            value = await self._awaited(call, value)
        if _is_a(value, AsyncIterator):
            value = await self._results.items(call, value)
        return await self._results.finished(call, tool, value)

    async def _invoke_other(self, work: Work) -> Any:
        """Runs a tool that streams, or that runs in a process."""
        call, tool = work.call, work.tool
        if not tool.is_stream:
            return await self._invoke_elsewhere(work)
        iterates = tool.is_generator or tool.dependencies is not None
        if iterates and tool.executor == "thread":
            function = self._bound(work)
            return await self._results.collect_in_thread(call, tool, call.when_begun(self._thread, function))
        if iterates or tool.executor == "process":
            return await self._results.collect(call, tool, self._source(work))
        value = await self._returned(work)
        if _is_a(value, AsyncIterable):
            return await self._results.collect(call, tool, self._steps(call, tool, async_iterator(value)))
        values = value if has_items(value) else [value]
        return await self._results.collect_in_thread(call, tool, lambda: iter(values))

    async def _returned(self, work: Work, *, finish: bool = False) -> Any:
        """Runs a function that is not a generator, and awaits what it returns as long as that is awaitable.

        With ``finish``, a function in a thread has its result encoded there (``Results.finished_here``).
        """
        call, tool, args, kwargs = work.call, work.tool, work.args, work.kwargs
        context = self._given_context(work)
        try:
            if context is not None and tool.dependencies is not None:
                value = await self._dependent(work, context)
            elif tool.is_async:
                value = await call.step(tool.function(*args, **kwargs))
            elif tool.executor == "async":
                value = self._run_here(call, functools.partial(tool.function, *args, **kwargs))
            else:
                function: Callable[[], Any] = functools.partial(tool.function, *args, **kwargs)
                if finish:
                    function = functools.partial(self._results.finished_here, call, tool, function)
                function = call.when_begun(self._thread, function)
                value = await call.step(self._threads.at(call.depth).run(function, self._formatter.format_here))
            known = type(value) in SCALARS
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise ToolRaised(error) from error
            raise
        return value if known else await self._awaited(call, value)

    async def _dependent(self, work: Work, context: ToolContext) -> Any:
        """Runs a function that has dependencies, and encodes its result before they are closed."""
        if work.tool.executor == "async":
            return await work.call.step(self._dependents.returned(work, context))
        function: Callable[[], Any] = functools.partial(self._dependents.returned_here, work, context)
        function = work.call.when_begun(self._thread, function)
        return await work.call.step(self._threads.at(work.call.depth).run(function, self._formatter.format_here))

    def _run_here(self, call: Call, function: Callable[[], Any]) -> Any:
        """Calls a function that does not block, in the event loop."""
        # The first step of a call is measured when the call ends or is armed.
        began = time.monotonic() if call.armed else 0.0
        try:
            return function()
        finally:
            end_if_forked()
            if began:
                call.note_step(began)

    async def _awaited(self, call: Call, value: Any) -> Any:
        """Awaits what a function returned, as long as that is awaitable."""
        try:
            while issubclass(type(value), Awaitable):
                value = await call.step(value if issubclass(type(value), Coroutine) else awaited(value))
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise ToolRaised(error) from error
            raise
        return value

    async def _invoke_elsewhere(self, work: Work) -> Any:
        call, tool = work.call, work.tool
        context = self._context(work) if tool.needs_context else None
        call.wait_for(self._process)
        try:
            ran = self._processes.run(tool, work.args, work.kwargs, context, begin=call.stop_waiting, depth=call.depth)
            return await call.step(ran)
        except RaisedElsewhereError as error:
            raise ToolRaised(error) from error

    # ----------------------------------------------------------------------------------------------- to a stream

    def stream(
        self, call: Call, request: ToolStreamRequest, *, as_bytes: bool = False
    ) -> AsyncGenerator[ToolStreamChunk | Buffers, None]:
        """Runs a tool that yields within its span, if the call has one; arguments as for ``_stream``."""
        chunks = self._stream(call, request, as_bytes=as_bytes)
        return chunks if call.trace is None else call.trace.around_stream(call, chunks)

    async def _stream(
        self, call: Call, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Buffers, None]:
        """Yields a chunk for each value and each requested event, but not the final one.

        With ``as_bytes``, chunks of large values are serialized.
        """
        tool, stream_id = function_of(call), request.stream_id
        values = self._values(Work(call, tool, request, *call.prepared), request.config)
        sequence = 0
        try:
            async for event, value in values:
                chunk = ToolStreamChunk(stream_id=stream_id, sequence=sequence)
                if event is not None:
                    chunk.metadata.CopyFrom(event_metadata(event))
                    yield chunk
                elif as_bytes and type(value) is bytes and len(value) > LARGE_BYTES:
                    yield self._results.large_chunk(call, tool, value, chunk)
                else:
                    chunk.data.type_url, chunk.data.value = await self._results.encoded(call, tool, value)
                    yield chunk
                sequence += 1
                call.check()
        finally:
            await values.aclose()

    async def _values(self, work: Work, asked: StreamConfig) -> AsyncGenerator[tuple[Event | None, Any], None]:
        """Yields the tool's values and, if the caller requested them, its events.

        An event comes as ``(event, None)``, a value as ``(None, value)``.
        """
        buffer = self._buffer(work.call, asked.buffer_size)
        if asked.include_events:
            events = EventStream(buffer)
            source = self._source(work._replace(emit=events), buffer=buffer)
            merged = events.merge(source, self.tasks)
            try:
                async for item in merged:
                    yield item
            finally:
                await merged.aclose()
            return
        source = self._source(work, buffer=buffer)
        try:
            async for value in source:
                yield None, value
        finally:
            await source.aclose()

    def _buffer(self, call: Call, asked: int) -> int:
        """Returns the size of the reader's buffer: as requested, at most what the settings allow."""
        if asked < 0:
            raise ValidationError(f"{call.tool.name}: buffer_size must be 0 (the default) or more, not {asked}")
        return min(asked or self.settings.stream_buffer, self.settings.stream_buffer)

    async def _source(self, work: Work, *, buffer: int = 0) -> AsyncGenerator[Any, None]:
        """Yields the values of any tool, or its result if that does not stream."""
        call, tool = work.call, work.tool
        buffer = buffer or self.settings.stream_buffer
        if tool.is_generator or tool.executor == "process" or tool.dependencies is not None:
            values: AsyncIterator[Any] = self._iterate(work, buffer)
        else:
            began = time.monotonic()
            value = await self._returned(work)
            if not call.armed:
                call.note_step(began)
            # A declared list is returned as one, whatever the tool returned.
            yields = has_items(value) if tool.is_stream else tool.result is None and streams(value)
            if not yields:
                if _is_a(value, AsyncIterator):
                    value = await self._results.items(call, value)
                yield await self._results.finished(call, tool, value)
                return
            values = self._iterator(call, tool, value, buffer)
        each = self._steps(call, tool, values)
        try:
            async for value in each:
                yield value
        finally:
            await each.aclose()

    async def _steps(self, call: Call, tool: Tool, values: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """Yields each value, converted to the tool's declared type."""
        try:
            while True:
                began = time.monotonic()
                try:
                    step: Any = values.__anext__()
                    value = await call.step(step if hasattr(step, "send") else awaited(step))
                    fits = type(value) is PackedValue or tool.result is None or type(value) in tool.result.accepts
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    # Other errors from a tool's process are the bridge's own.
                    if tool.executor == "process" and type(error) is not RaisedElsewhereError:
                        raise
                    if call.is_raised_by_tool(error):
                        raise ToolRaised(error) from error
                    raise
                finally:
                    if not call.armed:
                        # Otherwise the call measures it.
                        call.note_step(began)
                if fits:
                    yield value
                else:
                    yield await self._results.fitted(call, tool, value)
        finally:
            await close_values(call, values)

    def _iterator(self, call: Call, tool: Tool, value: Any, buffer: int) -> AsyncIterator[Any]:
        """Iterates over what a function returned: in the loop if it is asynchronous, else where the tool runs."""
        if _is_a(value, AsyncIterable):
            return async_iterator(value)
        if tool.executor == "async" and not tool.is_async:
            return in_place(lambda: value)
        return self._threads.at(call.depth).iterate(lambda: iter(value), buffer, self._formatter.format_here)

    def _iterate(self, work: Work, buffer: int) -> AsyncGenerator[Any, None]:
        """Iterates over a generator function."""
        call, tool = work.call, work.tool
        if tool.executor == "process":
            context = self._context(work) if tool.needs_context else None
            call.wait_for(self._process)
            return self._processes.iterate(
                tool, work.args, work.kwargs, context, buffer, begin=call.stop_waiting, depth=call.depth
            )
        function = self._bound(work)
        if tool.is_async or (tool.executor == "async" and tool.dependencies is not None):
            values: AsyncGenerator[Any, None] = function()
            return values
        if tool.executor == "thread":
            function = call.when_begun(self._thread, function)
            return self._threads.at(call.depth).iterate(function, buffer, self._formatter.format_here)
        return in_place(function)

    def _bound(self, work: Work) -> Callable[[], Any]:
        context = self._given_context(work)
        if context is not None and work.tool.dependencies is not None:
            return self._dependents.iterating(work, context)
        return functools.partial(work.tool.function, *work.args, **work.kwargs)

    def _given_context(self, work: Work) -> ToolContext | None:
        """Makes the context of a call, if it needs one, and gives it to the function if that takes it."""
        if not work.tool.needs_context:
            return None
        context = self._context(work)
        if work.tool.context_parameter is not None:
            work.kwargs[work.tool.context_parameter] = context
        return context

    def _context(self, work: Work) -> ToolContext:
        call, request, emit = work.call, work.request, work.emit
        call.context = ToolContext(
            session_id=call.session.id,
            tool_name=call.tool.name,
            request_id=call.identify,
            metadata=call.metadata_of(request),
            principal=call.principal,
            via=call.via,
            deadline=call.deadline,
            loop=asyncio.get_running_loop(),
            runtime=self._make_runtime(call),
            emit=emit.emit if emit is not None else None,
            lifespan=self.surroundings.lifespans.values,
            dependency_overrides=self.surroundings.dependency_overrides,
        )
        return call.context

    def try_call(self, call: Call, request: ToolCallRequest | None, payload: Payload, done: Any) -> None:
        """Returns None: a function is run by ``call``."""


def _is_slow_to_read(request: Request) -> bool:
    """Returns whether decoding a call's arguments may take too long for an event loop."""
    args, kwargs = request.args, request.kwargs
    return len(args) + len(kwargs) > _MAX_IN_LOOP or any(
        is_slow(item.type_url, item.value) for item in (*args, *kwargs.values())
    )


def _is_a(value: Any, kind: Any) -> bool:
    """Returns whether a value is of a kind, by its type: ``isinstance`` would read its ``__class__``."""
    try:
        return issubclass(type(value), kind)
    except BaseException as error:
        raise ToolRaised(error) from error
