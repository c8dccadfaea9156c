"""The pipe to a process that runs a tool."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope
from grpc_tool_bridge.runner.pipe import Pipe

MIB = 1024 * 1024


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Pipe, Pipe]]:
    one, other = socket.socketpair()
    pipes = await Pipe.open(one), await Pipe.open(other)
    yield pipes
    for pipe in pipes:
        pipe.close()


async def test_envelopes_arrive_as_they_were_sent_in_order_and_of_any_size(ends: tuple[Pipe, Pipe]) -> None:
    one, other = ends
    sent = [Envelope(id=number, reply=b"x" * size) for number, size in enumerate((0, 1, 3 * MIB, 5))]
    sending = asyncio.gather(*(one.send(envelope) for envelope in sent))
    assert [await other.receive() for _ in sent] == sent
    await sending


async def test_both_ends_may_be_full_at_the_same_time(ends: tuple[Pipe, Pipe]) -> None:
    sending = asyncio.gather(*(end.send(Envelope(reply=b"x" * 3 * MIB)) for end in ends))
    got = [await end.receive() for end in ends]
    await sending
    assert [len(envelope.reply) for envelope in got if envelope is not None] == [3 * MIB] * 2


async def test_what_the_peer_has_not_taken_is_counted(ends: tuple[Pipe, Pipe]) -> None:
    one, _ = ends
    assert one.backlog == 0
    one.post(Envelope(reply=b"x" * 9 * MIB))
    assert one.backlog > MIB


async def test_a_pipe_whose_peer_has_gone_has_ended(ends: tuple[Pipe, Pipe]) -> None:
    one, other = ends
    other.close()
    assert await one.receive() is None
    with pytest.raises(ConnectionError):
        await one.send(Envelope(id=1))
    one.post(Envelope(id=2))


async def test_bytes_that_are_no_envelope_end_the_pipe() -> None:
    one, other = socket.socketpair()
    with one:
        pipe = await Pipe.open(other)
        one.sendall(b"\0\0\0\2\xff\xff")
        assert await pipe.receive() is None
        pipe.close()
