"""Runs functions that have dependencies: with what their providers make, which is closed after the result is encoded.

A call's dependencies, function and result are one coroutine, or one function of a thread. So whatever ends the call,
even if its tool ignores that for a while, closes them after the tool.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.aio.threads import NestedThreads, ToolThreads
from grpc_tool_bridge.errors import MessageTooLargeError
from grpc_tool_bridge.runner.error_formatter import ErrorFormatter
from grpc_tool_bridge.runner.results import Refused, Results, in_place
from grpc_tool_bridge.runner.work import Work
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.making import LoopMaking, ThreadMaking
from grpc_tool_bridge.tools.providers import Dependencies
from grpc_tool_bridge.tools.results import has_items, streams
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.plain import least_bytes

# Values that the thread of an iterator may be ahead of the stream, whose own buffer follows.
_AHEAD = 1


class Dependents:
    """Runs functions that have dependencies.

    Args:
        results: Encodes what they return.
        threads: For providers that block, and for iterators that async tools return.
        formatter: Formats what such an iterator raises.
    """

    def __init__(self, results: Results, threads: NestedThreads, formatter: ErrorFormatter) -> None:
        self._results = results
        self._threads = threads
        self._formatter = formatter

    async def returned(self, work: Work, context: ToolContext) -> Any:
        """Runs a function of the event loop; returns what ``Results.finished_here`` does."""
        async with self._making(work, context) as made:
            value = await _called(work, made)
            if issubclass(type(value), AsyncIterator):
                value = await self._gathered(work, value)
            if type(value) is Refused:
                return value
            return await self._results.finished_inside(work.call, work.tool, value)

    def returned_here(self, work: Work, context: ToolContext) -> Any:
        """Runs a function in this thread; returns what ``Results.finished_here`` does."""
        making = ThreadMaking(_dependencies_of(work), context)
        with making as made:

            def function() -> Any:
                return making.settled(work.tool.function(*work.args, **work.kwargs, **made))

            return self._results.finished_here(work.call, work.tool, function)

    def iterating(self, work: Work, context: ToolContext) -> Callable[[], Any]:
        """Returns a generator function that runs a function, and yields its values, or its result if it has none.

        It is asynchronous if the tool runs in the event loop.
        """
        make = self._items if work.tool.executor == "async" else self._items_here
        return lambda: make(work, context)

    async def _items(self, work: Work, context: ToolContext) -> AsyncGenerator[Any, None]:
        async with self._making(work, context) as made:
            value = await _called(work, made)
            if not _yields(work.tool, value):
                yield value
                return
            async with aclosing(self._each(work, value)) as values:
                async for item in values:
                    yield item

    async def _each(self, work: Work, value: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what a function of the event loop returned; an iterator of an async one may block."""
        if issubclass(type(value), AsyncIterable):
            given = aiter(value)
            try:
                async for item in given:
                    yield item
            finally:
                close = getattr(given, "aclose", None)
                if close is not None:
                    await close()
            return
        if work.tool.is_async:
            items = self._at(work).iterate(lambda: iter(value), _AHEAD, self._formatter.format_here)
        else:
            items = in_place(lambda: iter(value))
        async with aclosing(items) as values:
            async for item in values:
                yield item

    def _items_here(self, work: Work, context: ToolContext) -> Generator[Any, None, None]:
        making = ThreadMaking(_dependencies_of(work), context)
        with making as made:
            value = making.settled(work.tool.function(*work.args, **work.kwargs, **made))
            if not _yields(work.tool, value):
                yield value
            elif issubclass(type(value), AsyncIterable):
                yield from making.iterate(value)
            else:
                yield from value

    def _making(self, work: Work, context: ToolContext) -> LoopMaking:
        # A plain function that asks for the event loop does not block, nor do its providers.
        threads = self._at(work) if work.tool.is_async else None
        return LoopMaking(_dependencies_of(work), context, threads)

    def _at(self, work: Work) -> ToolThreads:
        return self._threads.at(work.call.depth)

    async def _gathered(self, work: Work, values: AsyncIterator[Any]) -> list[Any] | Refused:
        """Collects an asynchronous iterator of a tool that is not declared as a stream, if it is not too large."""
        items: list[Any] = []
        size = 0
        async with aclosing(self._each(work, values)) as each:
            async for item in each:
                items.append(item)
                size += least_bytes(item)
                try:
                    self._results.check_size(f"the result of {work.call.tool.name}", size)
                except MessageTooLargeError as error:
                    return Refused(error)
        return items


async def _called(work: Work, made: dict[str, Any]) -> Any:
    """Calls a function, and awaits what it returns as long as that is awaitable."""
    value = work.tool.function(*work.args, **work.kwargs, **made)
    while issubclass(type(value), Awaitable):
        value = await value
    return value


def _yields(tool: Tool, value: Any) -> bool:
    """Whether what a function returned is sent value by value."""
    return has_items(value) if tool.is_stream else tool.result is None and streams(value)


def _dependencies_of(work: Work) -> Dependencies:
    found = work.tool.dependencies
    assert found is not None  # noqa: S101 - only such functions are run here
    return found
