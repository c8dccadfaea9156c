"""Tools that say who has called them."""

from collections.abc import AsyncIterator
from typing import Any

from grpc_tool_bridge import ToolContext, tool


def seen(ctx: ToolContext) -> dict[str, Any]:
    """Returns what a context says of its caller."""
    caller = ctx.principal
    if caller is None:
        return {"name": None, "via": list(ctx.via)}
    return {
        "name": caller.name,
        "groups": sorted(caller.groups),
        "method": caller.method,
        "claims": dict(caller.claims),
        "via": list(ctx.via),
    }


@tool
async def who(ctx: ToolContext) -> dict[str, Any]:
    return seen(ctx)


@tool
def who_in_thread(ctx: ToolContext) -> dict[str, Any]:
    return seen(ctx)


@tool(executor="process")
def who_in_process(ctx: ToolContext) -> dict[str, Any]:
    return seen(ctx)


@tool
async def who_streams(ctx: ToolContext) -> AsyncIterator[dict[str, Any]]:
    yield seen(ctx)


@tool
async def asks(ctx: ToolContext, name: str, further: list[str]) -> list[Any]:
    """Says who has called it, and what a tool says that it calls."""
    return [seen(ctx), await ctx.call_tool(name, *([further[0], further[1:]] if further else []))]


@tool
def asks_in_process_of(ctx: ToolContext, name: str) -> Any:
    return ctx.sync.call_tool(name)


@tool
async def marks(ctx: ToolContext) -> dict[str, str]:
    """Returns the metadata of the call."""
    return dict(ctx.metadata)


ALL = (who, who_in_thread, who_in_process, who_streams, asks, marks)
