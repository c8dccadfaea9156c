"""Runs a tool alone, with a context: arguments are checked, dependencies made, and the result fitted, as in a call."""

import functools
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.aio.threads import ToolThreads
from grpc_tool_bridge.config.defaults import MAX_MESSAGE_BYTES
from grpc_tool_bridge.tools.making import Caller, LoopMaking, ThreadMaking
from grpc_tool_bridge.tools.results import fitted, has_items, streams
from grpc_tool_bridge.tools.tool import Tool, as_tool

_MAX_THREADS = 32
_threads = ToolThreads(_MAX_THREADS)


async def run_alone(
    context: Caller, source: Tool | Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Runs a tool with a context.

    Args:
        context: Its context.
        source: A tool, or a function that can be one.
        args: Arguments by position.
        kwargs: Arguments by name.

    Returns:
        Its result, converted to its declared type; of a stream, the list of its values.

    Raises:
        ValidationError: The arguments do not fit.
        TypeError: The function cannot be a tool, or its result does not match its annotation.
        BaseException: What the tool raises.
    """
    tool = as_tool(source)
    taken, named = tool.bind(args, kwargs)
    if tool.context_parameter is not None:
        named[tool.context_parameter] = context
    if tool.executor == "async":
        return await _in_loop(context, tool, taken, named)
    return await _threads.run(functools.partial(_in_thread, context, tool, taken, named))


async def _in_loop(context: Caller, tool: Tool, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if tool.dependencies is None:
        return await _threads.run(functools.partial(_fitted, tool, await _called(tool, args, kwargs)))
    threads = _threads if tool.is_async else None
    async with LoopMaking(tool.dependencies, context, threads) as made:
        value = await _called(tool, args, {**kwargs, **made})
        return await _threads.run(functools.partial(_fitted, tool, value))


async def _called(tool: Tool, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    value = tool.function(*args, **kwargs)
    while isinstance(value, Awaitable):
        value = await value
    return [item async for item in value] if isinstance(value, AsyncIterable) else value


def _in_thread(context: Caller, tool: Tool, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    making = ThreadMaking(tool.dependencies, context)
    with making as made:
        value = making.settled(tool.function(*args, **kwargs, **made))
        return _fitted(tool, list(making.iterate(value)) if isinstance(value, AsyncIterable) else value)


def _fitted(tool: Tool, value: Any) -> Any:
    """Converts a result, or each value of a stream, to the declared type; in a thread, since it may run any code."""
    if tool.is_stream or streams(value):
        items = list(value) if has_items(value) else [value]
        return [_one(tool, item) for item in items] if tool.is_stream else _one(tool, items)
    return _one(tool, value)


def _one(tool: Tool, value: Any) -> Any:
    return value if tool.result is None else fitted(tool.result, value, max_bytes=MAX_MESSAGE_BYTES)
