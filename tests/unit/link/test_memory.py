"""A link in memory: frames both ways, in order and bounded, and how it ends."""

import asyncio

import pytest

from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.link.memory import MAX_FRAMES, MemoryConnection, Serve
from grpc_tool_bridge.link.status import Code, code_of
from grpc_tool_bridge.link.streams import FrameStream
from support.waiting import soon, until


async def echo(stream: FrameStream) -> None:
    while (frame := await stream.read()) is not None:
        await stream.write(frame)


async def refuse(stream: FrameStream) -> None:
    await stream.write(b"hello")
    raise ValidationError("not so")


async def break_down(stream: FrameStream) -> None:
    await stream.write(b"hello")
    raise LookupError("a secret")


async def leave(stream: FrameStream) -> None:
    await stream.write(b"bye")


async def test_frames_arrive_in_order_both_ways() -> None:
    way = MemoryConnection(echo).open()
    stream = await soon(way.dial())
    for number in range(5):
        await soon(stream.write(b"%d" % number))
    assert [await soon(stream.read()) for _ in range(5)] == [b"%d" % number for number in range(5)]
    await soon(way.close())
    assert await soon(stream.read()) is None
    assert code_of(await soon(stream.failure(None))) is Code.CANCELLED


async def test_who_writes_faster_than_the_other_reads_waits() -> None:
    may_read = asyncio.Event()

    async def late(stream: FrameStream) -> None:
        await may_read.wait()
        await echo(stream)

    way = MemoryConnection(late).open()
    stream = await soon(way.dial())
    for _ in range(MAX_FRAMES):
        await soon(stream.write(b"x"))
    writing = asyncio.create_task(stream.write(b"one more"))
    await asyncio.sleep(0)
    assert not writing.done()
    may_read.set()
    await soon(writing)
    await way.close()


@pytest.mark.parametrize(
    ("serve", "code", "text"),
    [
        (refuse, Code.INVALID_ARGUMENT, "not so"),
        (break_down, Code.INTERNAL, "internal error"),
        (leave, Code.UNAVAILABLE, "the hub ended it"),
    ],
)
async def test_the_hub_s_end_is_the_stream_s_and_its_status_says_why(serve: Serve, code: Code, text: str) -> None:
    way = MemoryConnection(serve).open()
    stream = await soon(way.dial())
    assert await soon(stream.read()) in (b"hello", b"bye")
    # As often as it is read.
    assert [await soon(stream.read()) for _ in range(2)] == [None] * 2
    with pytest.raises(ConnectionError) as caught:
        await soon(stream.write(b"x"))
    for error in (None, caught.value):
        failure: ToolBridgeError = await soon(stream.failure(error))
        assert code_of(failure) is code
        assert failure.message.startswith(text)
    await way.close()


async def test_closing_a_stream_ends_the_hub_s_end() -> None:
    ended: list[bool] = []

    async def serve(stream: FrameStream) -> None:
        try:
            await echo(stream)
        finally:
            ended.append(True)

    way = MemoryConnection(serve).open()
    stream = await soon(way.dial())
    await soon(stream.write(b"x"))
    assert await soon(stream.read()) == b"x"
    stream.close()
    await until(lambda: ended)
    assert code_of(await soon(stream.failure(None))) is Code.CANCELLED
    await way.close()
