"""The tools of workers that come and go."""

import asyncio
from collections.abc import AsyncIterator

from grpc_tool_bridge import ToolContext, tool


@tool(idempotent=True)
async def double(number: int) -> int:
    """May be repeated by another worker."""
    await asyncio.sleep(0)
    return 2 * number


@tool
async def charge(number: int) -> int:
    """Must not be repeated."""
    await asyncio.sleep(0)
    return number


@tool(idempotent=True)
async def nested(number: int, ctx: ToolContext) -> int:
    """Calls a tool of the hub."""
    return int(await ctx.call_tool("add", number, 1))


@tool
async def numbers(count: int) -> AsyncIterator[int]:
    """Counts."""
    for number in range(count):
        yield number
        await asyncio.sleep(0)


TOOLS = [double, charge, nested, numbers]
