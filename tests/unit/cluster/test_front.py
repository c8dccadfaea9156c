"""A hub of a cluster serves every session, wherever it is."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import ConflictError, SessionNotFoundError, ToolContext, UnavailableError, tool
from support.memory_cluster import MemoryCluster
from support.waiting import soon


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
async def count(up_to: int) -> AsyncIterator[int]:
    for number in range(up_to):
        yield number


@tool
async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "woke"


@tool
async def remembers(ctx: ToolContext, value: int) -> int:
    await ctx.set_variable("kept", value)
    return value


TOOLS = [add, count, sleeps, remembers]


@pytest.fixture
async def two() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster("ab", TOOLS) as cluster:
        yield cluster


async def test_a_session_of_one_hub_is_used_at_the_other(two: MemoryCluster) -> None:
    here = await two["a"].bridge("s")
    there = await two["b"].bridge("s")
    assert "s" in two["a"].hub.store
    assert "s" not in two["b"].hub.store
    await there.session_context.set_variable("x", {"deep": [1, 2]})
    assert await here.session_context.get_variable("x") == {"deep": [1, 2]}
    assert await there.tools["add"](1, 2) == 3
    assert [number async for number in there.stream_tool("count", 3)] == [0, 1, 2]
    assert await there.tools["remembers"](5) == 5
    assert await there.session_context.get_variable("kept") == 5


async def test_a_session_whose_hub_is_gone_is_served_on_by_the_other(two: MemoryCluster) -> None:
    here = await two["a"].bridge("s")
    await here.session_context.set_variable("x", 1)
    there = await two["b"].bridge("s")
    await two["a"].die()
    two.book.closed.add("a")
    assert await soon(there.session_context.get_variable("x")) == 1
    assert "s" in two["b"].hub.store
    assert await there.tools["add"](1, 2) == 3
