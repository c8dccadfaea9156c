"""A channel of chunks: its bound, its end, and that nothing is lost when either side is cancelled."""

import asyncio

from grpc_tool_bridge.testing.toxiproxy.channel import Channel, Chunk, Ending
from support.waiting import soon, turns


def chunk(number: int) -> Chunk:
    return Chunk(b"%d" % number, 0.0)


async def test_a_full_channel_lets_its_writer_wait() -> None:
    channel = Channel(1)
    await channel.put(chunk(1))
    waiting = asyncio.create_task(channel.put(chunk(2)))
    await turns()
    assert not waiting.done()
    assert await channel.get() == chunk(1)
    await soon(waiting)
    assert await channel.get() == chunk(2)


async def test_a_writer_or_reader_that_is_cancelled_loses_nothing() -> None:
    channel = Channel(1)
    reading = asyncio.create_task(channel.get())
    await turns()
    await channel.put(chunk(1))
    reading.cancel()
    await asyncio.wait([reading])
    writing = asyncio.create_task(channel.put(chunk(2)))
    await turns()
    writing.cancel()
    assert await soon(channel.get()) == chunk(1)
    await asyncio.wait([writing])
    assert channel.take_all() == []


async def test_what_was_put_comes_before_the_end_and_nothing_after_it() -> None:
    channel = Channel(1)
    channel.push(chunk(1))
    channel.push(chunk(2))
    channel.close(Ending.RESET)
    channel.close(Ending.FINISHED)
    channel.push(chunk(3))
    assert [await channel.get() for _ in range(4)] == [chunk(1), chunk(2), None, None]
    assert channel.ending is Ending.RESET


async def test_its_reader_is_told_of_the_end() -> None:
    channel = Channel(1)
    reading = asyncio.create_task(channel.get())
    await turns()
    channel.close(Ending.CLOSED)
    assert await soon(reading) is None
