"""Streams of values."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge import ToolContext
from integration.connections import read
from integration.transcript_scenarios import Gate, add, refused, scenario
from integration.transcript_stage import Stage


async def count(to: int) -> AsyncIterator[int]:
    """Counts."""
    for number in range(to):
        yield number


def spell(word: str) -> Iterator[str]:
    """Spells, in a thread."""
    yield from word


async def stumble(context: ToolContext) -> AsyncIterator[int]:
    """Tells how far it is, and fails on the way."""
    context.progress(0, 2)
    yield 1
    context.log("careful", level="debug")
    raise LookupError("no second one")


async def relay(context: ToolContext, to: int) -> AsyncIterator[int]:
    """Streams what another streams."""
    async for number in context.stream_tool("count", to):
        yield number * 10


class Endless:
    """A stream of which one value comes."""

    async def hold(self) -> AsyncIterator[str]:
        """Yields once, then waits for ever."""
        yield "first"
        await asyncio.Event().wait()


@scenario()
async def stream_that_is_read_whole(stage: Stage) -> None:
    bridge = await stage.play(count, spell, add, relay)
    for stream in (
        bridge.tools["count"].stream(3),
        bridge.tools["spell"].stream("ab"),
        bridge.tools["add"].stream(1),
        bridge.tools["count"].stream(0),
        bridge.tools["relay"].stream(2),
    ):
        await read(stream, [])
    await bridge.tools["count"](2)


@scenario()
async def stream_with_events_that_fails(stage: Stage) -> None:
    bridge = await stage.play(stumble)
    seen: list[Any] = []
    await refused(read(bridge.tools["stumble"].stream(), []))
    await refused(read(bridge.tools["stumble"].with_options(on_progress=seen.append, on_log=seen.append).stream(), []))
    assert len(seen) == 2


@scenario()
async def stream_that_is_refused(stage: Stage) -> None:
    bridge = await stage.play(count)
    await refused(read(bridge.tools["count"].stream("x"), []))
    await refused(read(bridge.stream_tool("cont", 1), []))


@scenario()
async def stream_that_its_reader_leaves(stage: Stage) -> None:
    bridge = await stage.play(Endless().hold)
    async with aclosing(bridge.tools["hold"].stream()) as stream:
        assert await anext(stream) == "first"


@scenario()
async def stream_whose_deadline_passes(stage: Stage) -> None:
    bridge = await stage.play(Endless().hold)
    await refused(read(bridge.tools["hold"].with_options(timeout=0.2).stream(), []))


@scenario()
async def stream_whose_session_ends(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(Endless().hold, gate.wait)
    stream = bridge.tools["hold"].stream()
    assert await anext(stream) == "first"
    await bridge.client.cleanup_session(force=True)
    await refused(read(stream, []))
