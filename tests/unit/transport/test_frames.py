"""Frames over gRPC, with its calls and contexts in memory."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_tool_bridge.config import MAX_MESSAGE_BYTES
from grpc_tool_bridge.errors import AccessError, NotFoundError, ProtocolError
from grpc_tool_bridge.link.status import Code, code_of
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.peers import Peers
from grpc_tool_bridge.transport.frames import MAX_FIRST_BYTES, AcceptedFrames, DialledFrames
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.status import as_rpc_error, rpc_error
from support.waiting import soon


class Rpc:
    """A call of the method Link, or the context of one."""

    def __init__(self, *frames: Any, code: grpc.StatusCode = grpc.StatusCode.OK, text: str = "") -> None:
        self.frames = [*frames, grpc.aio.EOF]
        self.status = code, text
        self.cancelled = 0

    async def read(self) -> Any:
        frame = self.frames.pop(0)
        if isinstance(frame, Exception):
            raise frame
        return frame

    async def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def code(self) -> grpc.StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    def cancel(self) -> None:
        self.cancelled += 1

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


async def test_frames_come_until_the_hub_sends_no_more() -> None:
    stream = DialledFrames(Rpc(b"1", b"2"))
    assert [await stream.read() for _ in range(3)] == [b"1", b"2", None]


async def test_a_stream_that_was_dialled_is_cancelled_once_and_holds_its_rpc_no_more() -> None:
    rpc = Rpc()
    stream = DialledFrames(rpc)
    stream.close()
    stream.close()
    assert rpc.cancelled == 1
    assert rpc not in vars(stream).values()


async def test_what_grpc_raises_keeps_none_of_its_frames() -> None:
    stream = DialledFrames(Rpc(rpc_error(grpc.StatusCode.INTERNAL, "torn")))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert "read" not in [frame.name for frame in caught.traceback]


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        ((grpc.StatusCode.UNAVAILABLE, "gone away"), Code.UNAVAILABLE, "gone away"),
        ((grpc.StatusCode.UNIMPLEMENTED, "no such method"), Code.UNIMPLEMENTED, "no such method"),
        ((grpc.StatusCode.OK, ""), Code.UNAVAILABLE, "the hub ended it"),
    ],
)
@pytest.mark.parametrize("error", [None, asyncio.InvalidStateError("a write to a stream that has ended")])
async def test_a_stream_that_ended_says_why_by_its_status(
    status: tuple[grpc.StatusCode, str], code: Code, text: str, error: Exception | None
) -> None:
    failure = await DialledFrames(Rpc(code=status[0], text=status[1])).failure(error)
    assert (code_of(failure), failure.message) == (code, text)


async def test_a_stream_that_broke_says_why_by_the_error() -> None:
    failure = await DialledFrames(Rpc()).failure(rpc_error(grpc.StatusCode.INTERNAL, "torn"))
    assert (code_of(failure), failure.message) == (Code.INTERNAL, "torn")
    refusal = AccessError("the token is wrong", error_type="Unauthenticated")
    failure = await DialledFrames(Rpc()).failure(as_rpc_error(refusal))
    assert type(failure) is AccessError
    assert (code_of(failure), failure.message) == (Code.UNAUTHENTICATED, "the token is wrong")


async def test_an_error_that_is_none_of_a_stream_is_raised() -> None:
    with pytest.raises(LookupError):
        await DialledFrames(Rpc()).failure(LookupError("a fault"))


def test_an_error_comes_back_as_it_was_by_way_of_grpc() -> None:
    error = as_rpc_error(NotFoundError("no such tool"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such tool")
    again = as_rpc_error(error)
    assert again is not error
    assert (again.code(), again.trailing_metadata()) == (error.code(), error.trailing_metadata())


# --------------------------------------------------------------------------------------------------- who accepts


@pytest.fixture
def reads() -> Reads:
    memory = Budget(10 * MAX_MESSAGE_BYTES, owner="the hub", setting="s")
    return Reads(Peers(memory, 10 * MAX_MESSAGE_BYTES, owner="it", setting="s"), MAX_MESSAGE_BYTES, seconds=60)


async def test_the_first_frame_is_read_in_its_turn_and_the_others_as_they_come(reads: Reads) -> None:
    peer = reads.peers.enter("ipv4:127.0.0.1:1")
    rpc = Rpc(b"1", b"2")
    stream = AcceptedFrames(rpc, reads)
    assert stream.peer == "ipv4:127.0.0.1:1"
    peer.turns.append(asyncio.get_running_loop().create_future())
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    assert len(rpc.frames) == 3
    reading.cancel()
    await asyncio.wait([reading])
    # A second stream, before which nobody waits.
    peer.turns.clear()
    stream = AcceptedFrames(rpc, reads)
    assert [await soon(stream.read()) for _ in range(3)] == [b"1", b"2", None]
    reads.peers.leave(peer)
    assert len(reads.peers) == 0


async def test_a_first_frame_that_is_too_large_is_refused(reads: Reads) -> None:
    stream = AcceptedFrames(Rpc(bytes(MAX_FIRST_BYTES + 1), bytes(MAX_FIRST_BYTES + 1)), reads)
    with pytest.raises(ProtocolError, match="the first frame has 1,048,577 bytes"):
        await stream.read()
    assert await stream.read() == bytes(MAX_FIRST_BYTES + 1)


async def test_a_stream_that_was_accepted_holds_its_context_no_more() -> None:
    rpc = Rpc()
    stream = AcceptedFrames(rpc)
    stream.close()
    assert rpc not in vars(stream).values()
    assert not rpc.cancelled
