"""What the tools of this process give: made to fit what they declare, collected, and encoded."""

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from google.protobuf import any_pb2

from grpc_tool_bridge.aio.threads import NestedThreads, close
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError, ToolBridgeError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.plain_errors import is_of_bridge
from grpc_tool_bridge.rpc.nodes import is_slow
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.telling import Teller, ToolRaised
from grpc_tool_bridge.tools.results import fitted, result_writing
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.foreign import ForeignCodeError
from grpc_tool_bridge.values.plain import least_bytes
from grpc_tool_bridge.values.scalars import SCALARS, PackedValue
from grpc_tool_bridge.values.serialization import Writing, deserialize_value, pack_value

_log = logging.getLogger(__name__)

T = TypeVar("T")

_END: Any = object()


class Refused:
    """Stands for a result that cannot be sent.

    Attributes:
        error: Why.
    """

    __slots__ = ("error",)

    def __init__(self, error: ToolBridgeError) -> None:
        self.error = error


class Results:
    """Writes the results of tools.

    Args:
        settings: Limits.
        threads: Where tools run.
        writers: Where code of strangers runs that a result is written with.
        teller: Puts into words what that raises.
    """

    def __init__(self, settings: Settings, *, threads: NestedThreads, writers: NestedThreads, teller: Teller) -> None:
        self._settings = settings
        self._threads = threads
        self._writers = writers
        self._teller = teller
        # How the results of each tool are written.
        self._writings: WeakKeyDictionary[Tool, Writing] = WeakKeyDictionary()

    def check_size(self, what: str, size: int) -> None:
        """Raises MessageTooLargeError where ``size`` bytes are over the limit of a message."""
        if size > self._settings.max_message_bytes:
            raise MessageTooLargeError.of(what, size, self._settings.max_message_bytes)

    def pack(self, call: Call, value: Any, tool: Tool) -> tuple[str, bytes]:
        """Encodes what a tool gave.

        Raises:
            SerializationError: It cannot be represented.
            MessageTooLargeError: It is over the limit.
            ForeignCodeError: Code of a stranger's would run in the event loop.
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
        """Makes a result fit its declaration and encodes it: in a thread, where code of a stranger's takes part."""
        return await self._in_thread_if_foreign(
            call, lambda: PackedValue(*self.pack(call, self._fitted(tool, value), tool))
        )

    def finished_here(self, call: Call, tool: Tool, function: Callable[[], Any]) -> Any:
        """Calls a function in a thread, and finishes its result there; what has to be awaited is left as it is.

        Returns:
            A scalar or what has to be awaited as it is, anything else encoded; or why it cannot be.
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

    async def _in_thread_if_foreign(self, call: Call, function: Callable[[], T]) -> T:
        """Does what may run code of a stranger's; whatever that raises is the tool's."""
        work = functools.partial(_by_tool, function)
        try:
            return work()
        except ForeignCodeError:
            made: T = await call.step(self._writers.at(call.depth).run(work, self._teller.told_by_result))
            return made

    async def fitted(self, call: Call, tool: Tool, value: Any) -> Any:
        """Makes one value of a stream fit what its tool declares."""
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
        """Reads a stream to its end, and gives the list of its values."""
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
        """Reads an iterator to its end in a thread, and gives the list of its values."""
        # One thread reads it all: to hand each value over takes longer than most take to make.
        work = functools.partial(_by_tool, functools.partial(self._collect_here, call, tool, function))
        made: PackedValue = await call.step(self._threads.at(call.depth).run(work, self._teller.told_by_result))
        return made

    def _collect_here(self, call: Call, tool: Tool, function: Callable[[], Any]) -> PackedValue:
        """Reads a generator to its end in the thread that it runs in, as long as somebody wants the list."""
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
        """Gives the items of an asynchronous iterator that a function returned where no stream is declared."""
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
        """Encodes what a tool gave; raises as ``pack``."""
        return await self._in_thread_if_foreign(call, lambda: PackedValue(*self.pack(call, value, tool)))


class _Collected:
    """The values of a stream on their way into one list, as long as they fit into a message together."""

    def __init__(self, check_size: Callable[[str, int], None], call: Call) -> None:
        self.values: list[Any] = []
        self._size = 0
        self._check_size = check_size
        self._what = f"the result of {call.tool.name}"

    def add(self, value: Any, packed: PackedValue) -> None:
        """Takes a value; what is declared of it is kept in how it is written."""
        self._size += len(packed.value)
        self._check_size(self._what, self._size)
        self.values.append(value if type(value) in SCALARS else deserialize_value(any_pb2.Any(**packed._asdict())))


async def awaited(value: Awaitable[Any]) -> Any:
    """Awaits anything that can be awaited."""
    return await value


async def close_values(call: Call, values: Any) -> None:
    """Lets a tool's generator clean up, within the time that its call has for that."""
    if call.abandoned:
        # It still runs, and is not ours any more.
        return
    try:
        aclose = getattr(values, "aclose", None)
        # An iterator has nothing to clean up.
        if aclose is not None:
            await call.step(aclose())
    except asyncio.CancelledError:
        # The tool may raise one by itself, which ends nothing.
        if call.convert() is None and call.cancelled_from_outside():
            raise
    except BaseException as error:
        if call.closing:
            raise
        log_fault(_log, "%s failed in its clean-up", call.tool.name, error=error)


def _by_tool(function: Callable[[], T]) -> T:
    """Calls what runs a tool's own code; all that it raises is the tool's, but for the bridge's refusals."""
    try:
        return function()
    except (ToolRaised, ForeignCodeError):
        raise
    except BaseException as error:
        if is_of_bridge(error):
            raise
        raise ToolRaised(error) from error


def async_iterator(values: Any) -> AsyncIterator[Any]:
    """Begins to read what a tool gave; an error of it is the tool's."""
    try:
        return aiter(values)
    except BaseException as error:
        raise ToolRaised(error) from error


async def in_place(function: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    """Iterates what promised not to block, giving the loop a turn after each value."""
    values = function()
    try:
        for value in values:
            yield value
            await asyncio.sleep(0)
    finally:
        close(values)
