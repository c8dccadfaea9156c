"""A link in memory: frames both ways, in order and bounded, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.link.memory import MAX_FRAMES, MemoryConnection
from integration.connections import soon, until

Serve = Callable[[Any, Any], Awaitable[None]]


async def echo(_: Any, context: Any) -> None:
    while (frame := await context.read()) is not grpc.aio.EOF:
        await context.write(frame)


async def refuse(_: Any, context: Any) -> None:
    await context.write(b"hello")
    raise ValidationError("not so")


async def leave(_: Any, context: Any) -> None:
    await context.write(b"bye")


async def test_frames_arrive_in_order_both_ways() -> None:
    channel = MemoryConnection(echo).open()
    stream = channel.stream_stream("path")()
    for number in range(5):
        await soon(stream.write(b"%d" % number))
    assert [await soon(stream.read()) for _ in range(5)] == [b"%d" % number for number in range(5)]
    await soon(channel.close())
    assert await soon(stream.read()) is grpc.aio.EOF
    assert await soon(stream.code()) is grpc.StatusCode.CANCELLED


async def test_who_writes_faster_than_the_other_reads_waits() -> None:
    may_read = asyncio.Event()

    async def late(_: Any, context: Any) -> None:
        await may_read.wait()
        await echo(_, context)

    channel = MemoryConnection(late).open()
    stream = channel.stream_stream("path")()
    for _ in range(MAX_FRAMES):
        await soon(stream.write(b"x"))
    writing = asyncio.create_task(stream.write(b"one more"))
    await asyncio.sleep(0)
    assert not writing.done()
    may_read.set()
    await soon(writing)
    await channel.close()


@pytest.mark.parametrize(
    ("serve", "code", "text"),
    [(refuse, grpc.StatusCode.INVALID_ARGUMENT, "not so"), (leave, grpc.StatusCode.OK, "")],
)
async def test_the_hub_s_end_is_the_stream_s_and_its_status_says_why(
    serve: Serve, code: grpc.StatusCode, text: str
) -> None:
    channel = MemoryConnection(serve).open()
    stream = channel.stream_stream("path")()
    assert await soon(stream.read()) in (b"hello", b"bye")
    # As often as it is read.
    assert [await soon(stream.read()) for _ in range(2)] == [grpc.aio.EOF] * 2
    assert (await soon(stream.code()), await soon(stream.details())) == (code, text)
    with pytest.raises(asyncio.InvalidStateError):
        await soon(stream.write(b"x"))
    await channel.close()


async def test_cancelling_ends_the_hub_s_end() -> None:
    ended: list[bool] = []

    async def serve(_: Any, context: Any) -> None:
        try:
            await echo(_, context)
        finally:
            ended.append(True)

    channel = MemoryConnection(serve).open()
    stream = channel.stream_stream("path")()
    await soon(stream.write(b"x"))
    assert await soon(stream.read()) == b"x"
    stream.cancel()
    await until(lambda: ended)
    assert await soon(stream.code()) is grpc.StatusCode.CANCELLED
    await channel.close()
