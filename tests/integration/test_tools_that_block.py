"""Tools that hold the event loop are named in the log, and no others are."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import ToolContext, tool
from integration.connections import Connect
from integration.test_contract_errors import offered
from support.waiting import soon

SECONDS = 0.6


@tool
async def at_once() -> None:
    """Blocks in its first step."""
    time.sleep(SECONDS)  # noqa: ASYNC251 - that is what is told


@tool
async def later() -> None:
    """Blocks once it has waited."""
    await asyncio.sleep(0)
    time.sleep(SECONDS)  # noqa: ASYNC251 - likewise


@tool
async def and_raises() -> None:
    """Blocks and fails."""
    time.sleep(SECONDS)  # noqa: ASYNC251 - likewise
    raise ValueError


@tool(executor="async")
def on_loop() -> None:
    """Blocks where it promised not to."""
    time.sleep(SECONDS)


@tool
async def between_values() -> AsyncIterator[int]:
    """Blocks between two values."""
    yield 1
    time.sleep(SECONDS)  # noqa: ASYNC251 - likewise
    yield 2


@tool
async def calls(ctx: ToolContext) -> None:
    """Calls a tool that blocks."""
    await ctx.call_tool("at_once")


@tool
def in_thread() -> None:
    """May block."""
    time.sleep(SECONDS)


@tool
async def waits() -> None:
    """Waits as it should."""
    await asyncio.sleep(SECONDS)


TOOLS = [at_once, later, and_raises, on_loop, between_values, calls, in_thread, waits]


@pytest.mark.parametrize("where", ["hub", "worker"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("at_once", "at_once"),
        ("later", "later"),
        ("and_raises", "and_raises"),
        ("on_loop", "on_loop"),
        ("between_values", "between_values"),
        ("calls", "at_once"),
        ("in_thread", None),
        ("waits", None),
    ],
)
async def test_who_holds_the_loop_is_named(
    connect: Connect, where: str, name: str, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with offered(connect, where, *TOOLS) as world:
        await soon(asyncio.gather(world.tools[name](), return_exceptions=True))
        lines = [record.getMessage() for record in caplog.records if record.name.endswith(".blocking")]
        # On a busy machine another step may take long, too.
        named = [line.split()[0] for line in lines]
        assert named.count(told or name) == (told is not None)


async def test_a_stream_names_who_held_the_loop(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    world = await connect(*TOOLS)
    assert [value async for value in world.tools["between_values"].stream()] == [1, 2]
    lines = [record.getMessage() for record in caplog.records if record.name.endswith(".blocking")]
    assert sum(line.startswith("between_values blocked the event loop for ") for line in lines) == 1
