"""Tools that call one another: each calls the first of ``path`` with the rest of it, and counts the calls below it."""

import asyncio
from collections.abc import Iterator
from typing import Any

from grpc_tool_bridge import ToolContext, tool
from grpc_tool_bridge.tools.pipelines import pipeline
from grpc_tool_bridge.tools.steps import each, step


class Spelled:
    """A value whose code has to run in a thread."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _total(below: Any) -> int:
    return sum(below) if isinstance(below, list) else int(below)


async def in_loop(path: list[str], ctx: ToolContext) -> int:
    """Runs in the event loop."""
    return 1 + _total(await ctx.call_tool(path[0], path[1:])) if path else 0


def in_thread(path: list[str], ctx: ToolContext) -> int:
    """Runs in a thread."""
    return 1 + _total(ctx.sync.call_tool(path[0], path[1:])) if path else 0


@tool(executor="process")
def in_process(path: list[str], ctx: ToolContext) -> int:
    """Runs in a process."""
    return 1 + _total(ctx.sync.call_tool(path[0], path[1:])) if path else 0


def yields_in_thread(path: list[str], ctx: ToolContext) -> Iterator[int]:
    """Yields in a thread while it calls."""
    yield 1 + _total(ctx.sync.call_tool(path[0], path[1:])) if path else 0


async def stuck(path: list[str]) -> int:
    """Never ends by itself."""
    await asyncio.Event().wait()
    return len(path)


async def reads_stream(path: list[str], ctx: ToolContext) -> int:
    """Streams ``yields_in_thread``."""
    return 1 + _total([value async for value in ctx.stream_tool("yields_in_thread", path)])


def spells(count: int) -> Iterator[Any]:
    """Yields from a thread what only a thread can write."""
    for number in range(count):
        yield Spelled(f"value {number}")


def spelled_below(ctx: ToolContext) -> Any:
    """Returns what calls a tool while it is written."""

    class Calling(Spelled):
        def __str__(self) -> str:
            return f"spelled: {ctx.sync.call_tool('in_thread', [])}"

    return Calling("")


each_path = pipeline(
    "each_path",
    "Calls a tool in a thread for each path at once.",
    [each("$paths", step("in_thread", "$item"))],
    inputs={"paths": list[list[str]]},
)

TOOLS = [in_loop, in_thread, in_process, yields_in_thread, reads_stream, stuck, spells, spelled_below, each_path]
