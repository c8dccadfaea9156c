"""Streams, over every transport."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge import ToolContext, ToolExecutionError, ToolTimeoutError, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolStreamRequest
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from integration.connections import Connect, read
from support.patience import PATIENCE
from support.waiting import soon, until


async def count_async(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


def count_thread(limit: int) -> Iterator[int]:
    yield from range(limit)


COUNTERS = [count_async, count_thread, tool(executor="async")(count_thread)]


@pytest.mark.parametrize("function", COUNTERS, ids=["async", "thread", "in place"])
async def test_values_come_in_order_and_none_is_lost(connect: Connect, function: Any) -> None:
    world = await connect(function)
    (proxy,) = world.tools.values()
    assert [value async for value in proxy.stream(500)] == list(range(500))
    await world.quiet()


async def test_each_value_arrives_as_it_is_made(connect: Connect) -> None:
    taken = asyncio.Event()

    async def lockstep() -> AsyncIterator[int]:
        for number in range(3):
            taken.clear()
            yield number
            await taken.wait()

    world = await connect(lockstep)
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for value in world.tools["lockstep"].stream():
            seen.append(value)
            taken.set()
    assert seen == [0, 1, 2]


async def test_each_value_of_a_thread_arrives_as_it_is_made(connect: Connect) -> None:
    taken = threading.Event()

    def lockstep() -> Iterator[int]:
        for number in range(3):
            yield number
            taken.wait(PATIENCE)
            taken.clear()

    world = await connect(lockstep)
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for value in world.tools["lockstep"].stream():
            seen.append(value)
            taken.set()
    assert seen == [0, 1, 2]


async def test_leaving_a_stream_early_stops_its_async_tool(connect: Connect) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    world = await connect(endless)
    stream = world.tools["endless"].stream()
    assert await anext(stream) == 1
    await stream.aclose()
    await soon(ended.wait())
    await world.quiet()


async def test_leaving_a_stream_early_stops_its_thread(connect: Connect) -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    world = await connect(endless)
    stream = world.tools["endless"].stream()
    assert await anext(stream) == 1
    await stream.aclose()
    await until(ended.is_set)
    await until(lambda: world.hub.executor.threads_busy == 0)
    await world.quiet()


@pytest.mark.parametrize("in_thread", [False, True])
async def test_an_error_in_the_middle_comes_after_the_values_before_it(connect: Connect, in_thread: bool) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("half way")

    def broken_thread() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("half way")

    world = await connect(tool(name="broken")(broken_thread if in_thread else broken))
    seen: list[Any] = []
    with pytest.raises(ToolExecutionError) as caught:
        await read(world.tools["broken"].stream(), into=seen)
    assert seen == [1, 2]
    assert (caught.value.error_type, caught.value.message) == ("ZeroDivisionError", "half way")
    assert "half way" in caught.value.remote_traceback
    await world.quiet()


async def test_chunks_are_numbered_from_0_and_ended_by_one_complete(connect: Connect) -> None:
    world = await connect(count_async)
    request = ToolStreamRequest(
        session_id=world.session_id, tool_id="count_async", stream_id="s1", args=[serialize_value(3)]
    )
    chunks = [chunk async for chunk in world.bridge.client.stub.StreamTool(request)]
    assert [chunk.sequence for chunk in chunks] == [0, 1, 2, 3]
    assert {chunk.stream_id for chunk in chunks} == {"s1"}
    assert [chunk.WhichOneof("content") for chunk in chunks] == ["data", "data", "data", "complete"]
    assert [deserialize_value(chunk.data) for chunk in chunks[:3]] == [0, 1, 2]
    assert chunks[3].complete.total_chunks == 3
    assert chunks[3].complete.metrics.duration_ms >= 1


async def test_an_error_is_the_last_chunk_and_the_only_end(connect: Connect) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("no")

    world = await connect(broken)
    request = ToolStreamRequest(session_id=world.session_id, tool_id="broken")
    chunks = [chunk async for chunk in world.bridge.client.stub.StreamTool(request)]
    assert [chunk.WhichOneof("content") for chunk in chunks] == ["data", "error"]
    assert [chunk.sequence for chunk in chunks] == [0, 1]


async def test_events_come_between_the_values_where_they_were_made(connect: Connect) -> None:
    async def work(ctx: ToolContext) -> AsyncIterator[str]:
        for step in range(3):
            ctx.progress(step, 3)
            await asyncio.sleep(0)
            yield f"row {step}"

    world = await connect(work)
    seen: list[Any] = []
    proxy = world.tools["work"].with_options(on_progress=lambda progress: seen.append(progress.current))
    await read(proxy.stream(), into=seen)
    assert sorted(map(str, seen)) == sorted(["0.0", "row 0", "1.0", "row 1", "2.0", "row 2"])
    assert [item for item in seen if isinstance(item, str)] == ["row 0", "row 1", "row 2"]
    assert [item for item in seen if isinstance(item, float)] == [0.0, 1.0, 2.0]
    assert all(seen.index(float(step)) < seen.index(f"row {step}") for step in range(3))


async def test_progress_comes_while_the_tool_still_works(connect: Connect) -> None:
    told = asyncio.Event()

    async def slow(ctx: ToolContext) -> str:
        ctx.progress(1)
        await told.wait()
        return "done"

    world = await connect(slow)
    proxy = world.tools["slow"].with_options(on_progress=lambda _: told.set())
    assert await soon(proxy()) == "done"


async def test_a_thread_that_tells_a_lot_and_yields_nothing_ends_well(connect: Connect) -> None:
    def talk(ctx: ToolContext) -> str:
        for step in range(5_000):
            ctx.progress(step)
        return "done"

    seen: list[float] = []
    world = await connect(talk)
    proxy = world.tools["talk"].with_options(on_progress=lambda progress: seen.append(progress.current))
    assert await soon(proxy()) == "done"
    assert seen[-1] == 4_999
    assert seen == sorted(seen)


@pytest.mark.parametrize("events", [False, True])
async def test_leaving_a_stream_with_events_early_stops_its_tool(connect: Connect, events: bool) -> None:
    ended = asyncio.Event()

    async def endless(ctx: ToolContext) -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                ctx.progress(number)
                yield number
                number += 1
        finally:
            ended.set()

    world = await connect(endless)
    proxy = world.tools["endless"].with_options(on_progress=(lambda _: None) if events else None)
    stream = proxy.stream()
    assert await anext(stream) == 0
    await stream.aclose()
    await soon(ended.wait())
    await world.quiet()


@pytest.mark.parametrize("events", [False, True])
async def test_the_stream_s_time_out_ends_a_tool_that_yields_no_more(connect: Connect, events: bool) -> None:
    ended = asyncio.Event()

    async def stuck(ctx: ToolContext) -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    world = await connect(stuck)
    proxy = world.tools["stuck"].with_options(timeout=0.2, on_progress=(lambda _: None) if events else None)
    seen: list[Any] = []
    with pytest.raises(ToolTimeoutError):
        await read(proxy.stream(), into=seen)
    assert seen == [1]
    await soon(ended.wait())
    await world.quiet()


async def test_many_streams_at_once_keep_their_values_apart(connect: Connect) -> None:
    world = await connect(count_async, count_thread)

    async def read(name: str, limit: int) -> list[int]:
        return [value async for value in world.tools[name].stream(limit)]

    names = ["count_async", "count_thread"] * 10
    streams = await soon(asyncio.gather(*(read(name, 20 + i) for i, name in enumerate(names))))
    assert streams == [list(range(20 + i)) for i in range(20)]
    await world.quiet()


async def test_a_stream_of_no_values_just_ends(connect: Connect) -> None:
    world = await connect(count_async)
    assert [value async for value in world.tools["count_async"].stream(0)] == []


async def test_a_slow_reader_holds_up_its_own_stream_only(connect: Connect) -> None:
    world = await connect(count_async)
    slow = world.tools["count_async"].stream(100_000)
    assert await anext(slow) == 0
    assert await soon(world.tools["count_async"](50)) == list(range(50))
    await slow.aclose()
    await world.quiet()


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_an_infinite_tool_runs_only_so_far_ahead_of_a_reader_that_stops(
    connect: Connect, events: bool, in_thread: bool
) -> None:
    made = 0
    block = "x" * 50_000

    async def endless(ctx: ToolContext) -> AsyncIterator[str]:
        nonlocal made
        while True:
            made += 1
            yield block

    def endless_thread(ctx: ToolContext) -> Iterator[str]:
        nonlocal made
        while True:
            made += 1
            yield block

    world = await connect(tool(name="endless")(endless_thread if in_thread else endless))
    proxy = world.tools["endless"].with_options(on_progress=(lambda _: None) if events else None)
    stream = proxy.stream()
    await anext(stream)
    # It has stopped when it makes nothing more while the loop turns and turns.
    before = -1
    while made != before and made < 300:
        before = made
        for _ in range(10):
            await asyncio.sleep(0.001)
    # What is ahead: the hub's buffers, and the windows of the connection and the channel.
    assert made == before
    assert made < 300
    await stream.aclose()
    await world.quiet()
