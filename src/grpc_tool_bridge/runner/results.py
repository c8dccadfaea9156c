"""The results of this process's tools: converted to their declared types, collected, and encoded."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from google.protobuf import any_pb2

from grpc_tool_bridge.aio.threads import NestedThreads, close
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError, ToolBridgeError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.plain_errors import is_of_bridge
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    ExecutionMetrics,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
)
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Buffers, Part, Payload, joined
from grpc_tool_bridge.rpc.large_messages import LargeValue, with_value
from grpc_tool_bridge.rpc.nodes import is_slow
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.error_formatter import ErrorFormatter, ToolRaised
from grpc_tool_bridge.tools.results import fitted, result_writing
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.foreign import ForeignCodeError
from grpc_tool_bridge.values.plain import least_bytes
from grpc_tool_bridge.values.scalars import SCALARS, Packed, PackedValue, pack_large
from grpc_tool_bridge.values.serialization import Writing, deserialize_value, pack_value

_log = logging.getLogger(__name__)

T = TypeVar("T")

_END: Any = object()
# Scalars up to this size are within any message limit.
_SMALL_BYTES = 64


class Refused:
    """Stands for a result that cannot be sent.

    Attributes:
        error: The reason.
    """

    __slots__ = ("error",)

    def __init__(self, error: ToolBridgeError) -> None:
        self.error = error


class Results:
    """Encodes the results of tools.

    Args:
        settings: Limits.
        threads: The threads that run tools.
        writers: The threads that run foreign code while a result is encoded.
        formatter: Formats what that code raises.
    """

    def __init__(
        self, settings: Settings, *, threads: NestedThreads, writers: NestedThreads, formatter: ErrorFormatter
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._writers = writers
        self._formatter = formatter
        # How the results of each tool are encoded.
        self._writings: WeakKeyDictionary[Tool, Writing] = WeakKeyDictionary()

    def check_size(self, what: str, size: int) -> None:
        """Raises MessageTooLargeError if ``size`` bytes are over the limit of a message."""
        if size > self._settings.max_message_bytes:
            raise MessageTooLargeError.of(what, size, self._settings.max_message_bytes)

    def pack(self, call: Call, value: Any, tool: Tool) -> tuple[str, bytes]:
        """Encodes what a tool returned or yielded.

        Raises:
            SerializationError: The value cannot be represented.
            MessageTooLargeError: The value is over the limit.
            ForeignCodeError: Foreign code would run in the event loop.
        """
        if type(value) is PackedValue:
            return value
        scalar = SCALARS.get(type(value))
        try:
            packed = scalar(value) if scalar is not None else pack_value(value, self._writing(tool))
        except (SerializationError, MessageTooLargeError) as error:
            if not is_of_bridge(error):
                raise
            text = f"the result of {call.tool.name}: {error.message}"
            raise type(error)(text, details=error.details) from None
        if len(packed[1]) > self._settings.max_message_bytes:
            self.check_size(f"the result of {call.tool.name}", len(packed[1]))
        return packed

    def pack_in_place(self, call: Call, value: Any, tool: Tool) -> tuple[str, Part]:
        """Encodes as ``pack`` does, but the content of a large text, or of large bytes, is not copied."""
        if (type(value) is bytes or type(value) is str) and len(value) > LARGE_BYTES:
            # ``pack`` refuses a text that has no UTF-8 form, and names the tool.
            with contextlib.suppress(SerializationError):
                large = pack_large(value)
                self.check_size(f"the result of {call.tool.name}", len(large[1]))
                return large
        return self.pack(call, value, tool)

    def put(
        self, call: Call, tool: Tool, value: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Buffers | None:
        """Puts a result into the answer to a call; arguments, result and errors as of ``ToolRunner.call``."""
        if as_bytes:
            type_url, content = self.pack_in_place(call, value, tool)
            if len(content) > LARGE_BYTES:
                answer.success = True
                set_duration(answer.metrics, int((time.monotonic() - call.opened_at) * 1e6))
                return with_value(answer, "result", LargeValue(type_url, content))
            answer.result.type_url, answer.result.value = type_url, joined(content)
        else:
            answer.result.type_url, answer.result.value = self.pack(call, value, tool)
        answer.success = True
        return None

    def serialized(self, call: Call, tool: Tool, value: Any) -> Payload:
        """Returns the answer to a call with a result; errors as of ``pack``."""
        answer = ToolCallResponse()
        data = self.put(call, tool, value, answer, as_bytes=True)
        if data is not None:
            return data
        set_duration(answer.metrics, int((time.monotonic() - call.opened_at) * 1e6))
        return answer.SerializeToString()

    def large_chunk(self, call: Call, tool: Tool, value: Any, chunk: ToolStreamChunk) -> Buffers:
        """Returns a chunk, serialized, with a large value that a tool yielded; errors as of ``pack``."""
        return with_value(chunk, "data", LargeValue(*self.pack_in_place(call, value, tool)))

    def _writing(self, tool: Tool) -> Writing:
        how = self._writings.get(tool)
        if how is None:
            settings = self._settings
            how = result_writing(
                tool.spec,
                max_depth=settings.max_depth,
                max_bytes=settings.max_message_bytes,
                max_nodes=settings.max_message_nodes,
            )
            self._writings[tool] = how
        return how

    async def finished(self, call: Call, tool: Tool, value: Any) -> PackedValue:
        """Converts a result to its declared type and encodes it; in a thread if that runs foreign code."""
        return await self._in_thread_if_foreign(
            call, lambda: PackedValue(*self.pack(call, self._fitted(tool, value), tool))
        )

    def finished_here(self, call: Call, tool: Tool, function: Callable[[], Any]) -> Any:
        """Calls a function in a thread, and encodes its result there; an awaitable is returned as it is.

        Returns:
            A scalar or an awaitable as it is, anything else encoded; a Refused if that fails.
        """
        value = function()
        kind = type(value)
        if kind in SCALARS and (tool.result is None or kind in tool.result.accepts):
            return value
        if issubclass(kind, Awaitable | AsyncIterator):
            return value
        try:
            return PackedValue(*self.pack(call, self._fitted(tool, value), tool))
        except ToolRaised as raised:
            raise raised.error from None
        except ToolBridgeError as error:
            if is_of_bridge(error):
                return Refused(error)
            raise

    async def finished_inside(self, call: Call, tool: Tool, value: Any) -> Any:
        """Encodes a result as ``finished_here`` does, inside a coroutine that the call steps through."""
        work = functools.partial(self.finished_here, call, tool, lambda: value)
        try:
            return work()
        except ForeignCodeError:
            return await self._writers.at(call.depth).run(work)

    async def _in_thread_if_foreign(self, call: Call, function: Callable[[], T]) -> T:
        """Runs what may run foreign code; errors of that code are the tool's."""
        work = functools.partial(_by_tool, function)
        try:
            return work()
        except ForeignCodeError:
            made: T = await call.step(self._writers.at(call.depth).run(work, self._formatter.format_result_error))
            return made

    async def fitted(self, call: Call, tool: Tool, value: Any) -> Any:
        """Converts a value of a stream to its declared type."""
        return await self._in_thread_if_foreign(call, functools.partial(self._fitted, tool, value))

    def _fitted(self, tool: Tool, value: Any) -> Any:
        if tool.result is None or type(value) is PackedValue or type(value) in tool.result.accepts:
            return value
        try:
            return fitted(tool.result, value, max_bytes=self._settings.max_message_bytes)
        except ToolBridgeError:
            raise
        except ForeignCodeError:
            raise
        except BaseException as error:
            raise ToolRaised(error) from error

    async def collect(self, call: Call, tool: Tool, source: AsyncGenerator[Any, None]) -> PackedValue:
        """Reads a stream to its end, and returns its values as an encoded list."""
        collected = _Collected(self.check_size, call)
        try:
            async for value in source:
                packed = await self.encoded(call, tool, value)
                if type(value) in SCALARS or not is_slow(*packed):
                    collected.add(value, packed)
                else:
                    await call.step(self._threads.at(call.depth).run(functools.partial(collected.add, value, packed)))
        finally:
            await source.aclose()
        return await self.encoded(call, tool, collected.values)

    async def collect_in_thread(self, call: Call, tool: Tool, function: Callable[[], Any]) -> PackedValue:
        """Reads an iterator to its end in a thread, and returns its values as an encoded list."""
        # One thread reads it all: handing over a value takes longer than most values take to make.
        work = functools.partial(_by_tool, functools.partial(self._collect_here, call, tool, function))
        made: PackedValue = await call.step(self._threads.at(call.depth).run(work, self._formatter.format_result_error))
        return made

    def _collect_here(self, call: Call, tool: Tool, function: Callable[[], Any]) -> PackedValue:
        """Reads a generator to its end in its own thread, until the call ends."""
        collected = _Collected(self.check_size, call)
        generator = function()
        try:
            while call.cause is None and not call.over:
                value = next(generator, _END)
                if value is _END:
                    break
                value = self._fitted(tool, value)
                collected.add(value, PackedValue(*self.pack(call, value, tool)))
        finally:
            close(generator)
        return PackedValue(*self.pack(call, collected.values, tool))

    async def items(self, call: Call, values: AsyncIterator[Any]) -> list[Any]:
        """Collects an asynchronous iterator of a tool that is not declared as a stream."""
        items: list[Any] = []
        size = 0
        try:
            while True:
                try:
                    item = await call.step(awaited(values.__anext__()))
                except StopAsyncIteration:
                    return items
                except BaseException as error:
                    if call.is_raised_by_tool(error):
                        raise ToolRaised(error) from error
                    raise
                items.append(item)
                size += least_bytes(item)
                self.check_size(f"the result of {call.tool.name}", size)
        finally:
            await close_values(call, values)

    async def encoded(self, call: Call, tool: Tool, value: Any) -> PackedValue:
        """Encodes what a tool returned or yielded, as ``pack`` does; in a thread if that runs foreign code."""
        return await self._in_thread_if_foreign(call, lambda: PackedValue(*self.pack(call, value, tool)))


class _Collected:
    """Collects the values of a stream, as long as they fit into one message."""

    def __init__(self, check_size: Callable[[str, int], None], call: Call) -> None:
        self.values: list[Any] = []
        self._size = 0
        self._check_size = check_size
        self._what = f"the result of {call.tool.name}"

    def add(self, value: Any, packed: PackedValue) -> None:
        """Adds a value; its declared type is kept by its encoding."""
        self._size += len(packed.value)
        self._check_size(self._what, self._size)
        self.values.append(value if type(value) in SCALARS else deserialize_value(any_pb2.Any(**packed._asdict())))


async def awaited(value: Awaitable[Any]) -> Any:
    """Awaits any awaitable."""
    return await value


async def close_values(call: Call, values: Any) -> None:
    """Closes a tool's generator, within the time that its call has to clean up."""
    if call.abandoned:
        # It still runs, and no longer belongs to the call.
        return
    try:
        aclose = getattr(values, "aclose", None)
        # Plain iterators have no aclose.
        if aclose is not None:
            await call.step(aclose())
    except asyncio.CancelledError:
        # A CancelledError that the tool raises itself ends nothing.
        if call.convert() is None and call.cancelled_from_outside():
            raise
    except BaseException as error:
        if call.closing:
            raise
        log_fault(_log, "%s failed in its clean-up", call.tool.name, error=error)


def _by_tool(function: Callable[[], T]) -> T:
    """Calls a tool's own code; all that it raises is the tool's, except refusals of the bridge."""
    try:
        return function()
    except (ToolRaised, ForeignCodeError):
        raise
    except BaseException as error:
        if is_of_bridge(error):
            raise
        raise ToolRaised(error) from error


def async_iterator(values: Any) -> AsyncIterator[Any]:
    """Returns an async iterator over what a tool returned; errors are the tool's."""
    try:
        return aiter(values)
    except BaseException as error:
        raise ToolRaised(error) from error


async def in_place(function: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    """Iterates over a generator that does not block, and yields to the loop after each value."""
    values = function()
    try:
        for value in values:
            yield value
            await asyncio.sleep(0)
    finally:
        close(values)


def packed_scalar(value: Any) -> Packed | None:
    """Encodes a small scalar; returns None for anything else, or if it cannot be encoded."""
    kind = type(value)
    scalar = SCALARS.get(kind)
    if scalar is None or ((kind is bytes or kind is str) and len(value) > _SMALL_BYTES):
        return None
    try:
        packed = scalar(value)
    except ToolBridgeError:
        return None
    return packed if len(packed[1]) <= _SMALL_BYTES else None


def set_duration(metrics: ExecutionMetrics, duration_us: int) -> None:
    """Sets the duration of a call, in ms rounded up and in µs."""
    metrics.duration_ms = duration_us // 1_000 + 1
    metrics.duration_us = duration_us


def last_chunk(
    stream_id: str, sequence: int, *, sent: int, error: ErrorInfo | None, duration_us: int
) -> ToolStreamChunk:
    """Returns the final chunk of a stream.

    Args:
        stream_id: The stream's id.
        sequence: Number of chunks before it.
        sent: Number of values among them.
        error: The stream's error; None if it is complete.
        duration_us: Duration in microseconds.
    """
    chunk = ToolStreamChunk(stream_id=stream_id, sequence=sequence)
    if error is not None:
        chunk.error.CopyFrom(error)
    else:
        chunk.complete.CopyFrom(CompleteSignal(total_chunks=sent))
        set_duration(chunk.complete.metrics, duration_us)
    return chunk
