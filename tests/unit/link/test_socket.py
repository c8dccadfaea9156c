"""Frames over a socket: what arrives in pieces, what a hostile peer sends, and how it ends."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from grpc_tool_bridge.errors import AccessError, MessageTooLargeError, ProtocolError
from grpc_tool_bridge.link.envelopes import whole
from grpc_tool_bridge.link.socket import MAX_FRAME_BYTES, PIECE_BYTES, READ_BYTES, SocketStream
from grpc_tool_bridge.link.status import Code, code_of, link_status_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import PeerInfo, Principal
from support.patience import PATIENCE
from support.waiting import soon, turns, until


class Sink:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.batches = 0
        self.rooms = 0
        self.partial: list[int] = []
        self.ends: list[Exception | None] = []

    def on_frames(self, frames: Sequence[bytes]) -> None:
        self.frames += frames
        self.batches += 1

    def on_partial(self, size: int) -> None:
        self.partial.append(size)

    def on_room(self) -> None:
        self.rooms += 1

    def on_end(self, error: Exception | None) -> None:
        self.ends.append(error)


class Pair:
    """A stream, and the bare socket at its other end."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.socket = ours
        self.sink = Sink()
        self.stream: SocketStream

    async def open(self, *, accepted: bool = False, attach: bool = True, **options: Any) -> "Pair":
        loop = asyncio.get_running_loop()
        options.setdefault("scratch", memoryview(bytearray(READ_BYTES)))
        self.stream = SocketStream(metadata={}, accepted=accepted, peer="a pair", **options)
        await loop.create_unix_connection(lambda: self.stream, sock=self.socket)
        if attach:
            self.stream.attach(self.sink)
        return self

    async def push(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.peer, data)

    async def read(self, size: int) -> bytes:
        data = b""
        async with asyncio.timeout(PATIENCE):
            while len(data) < size:
                more = await asyncio.get_running_loop().sock_recv(self.peer, size - len(data))
                if not more:
                    return data
                data += more
        return data

    async def read_frame(self) -> bytes:
        return await self.read(struct.unpack("<I", await self.read(4))[0])

    async def close(self) -> None:
        self.stream.strand()
        self.peer.close()
        await turns()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = await Pair().open()
    yield pair
    await pair.close()


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


# -------------------------------------------------------------------------------------------------------- receiving


async def test_frames_that_come_together_are_passed_on_together(pair: Pair) -> None:
    await pair.push(framed(b"one", b"two", b"3"))
    await until(lambda: len(pair.sink.frames) == 3)
    assert pair.sink.frames == [b"one", b"two", b"3"]
    assert pair.sink.batches == 1


@pytest.mark.parametrize("size", [1, 3, 4, 5, PIECE_BYTES - 4, PIECE_BYTES, READ_BYTES, MAX_FRAME_BYTES])
async def test_a_frame_of_any_size_arrives_whole(pair: Pair, size: int) -> None:
    frame = bytes(number % 251 for number in range(size))
    await pair.push(framed(frame, b"next"))
    await until(lambda: len(pair.sink.frames) == 2)
    assert pair.sink.frames == [frame, b"next"]
    assert (pair.stream._pieces, pair.stream._missing) == ([], 0)


async def test_bytes_that_come_one_by_one_are_the_same_frames(pair: Pair) -> None:
    for place in framed(b"one", b"two"):
        await pair.push(bytes([place]))
        await turns()
    await until(lambda: len(pair.sink.frames) == 2)
    assert pair.sink.frames == [b"one", b"two"]


@pytest.mark.parametrize("cut", range(1, 13))
async def test_frames_may_be_cut_anywhere(pair: Pair, cut: int) -> None:
    data = framed(b"first", b"second", b"third")
    await pair.push(data[:cut])
    await turns()
    await pair.push(data[cut:])
    await until(lambda: len(pair.sink.frames) == 3)
    assert pair.sink.frames == [b"first", b"second", b"third"]


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
@pytest.mark.parametrize("cut", [1, 4])
async def test_a_length_that_no_frame_has_ends_it_after_the_frames_before(pair: Pair, size: int, cut: int) -> None:
    header = struct.pack("<I", size)
    await pair.push(framed(b"good") + header[:cut])
    await turns()
    if cut < len(header):
        await pair.push(header[cut:])
    await until(lambda: pair.sink.ends)
    assert pair.sink.frames == [b"good"]
    (error,) = pair.sink.ends
    assert isinstance(error, ProtocolError)
    assert f"a frame of {size:,} bytes came; a frame has 1 to 1,048,576" in str(error)


async def test_nothing_is_taken_for_a_frame_after_a_length_that_no_frame_has(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.push(bytes(4))
    await until(lambda: pair.sink.ends)
    received = pair.stream.buffer_updated
    lengths: list[int] = []

    def counted(nbytes: int) -> None:
        lengths.append(nbytes)
        received(nbytes)

    monkeypatch.setattr(pair.stream, "buffer_updated", counted)
    await pair.push(framed(b"x"))
    await until(lambda: lengths)
    assert not pair.sink.frames


async def test_what_a_peer_announces_takes_no_memory_before_it_arrives(pair: Pair) -> None:
    def held() -> int:
        return sum(map(len, pair.stream._pieces))

    await pair.push(struct.pack("<I", MAX_FRAME_BYTES) + b"x")
    await until(lambda: held() == 1)
    await pair.push(b"x" * (PIECE_BYTES * 3))
    await until(lambda: held() == 1 + PIECE_BYTES * 3)


async def test_a_frame_that_arrives_byte_by_byte_is_kept_as_one_piece(pair: Pair) -> None:
    await pair.push(struct.pack("<I", 100))
    for number in range(1, 51):
        await pair.push(b"x")
        await until(lambda number=number: pair.stream._missing == 100 - number)  # type: ignore[misc]
    assert len(pair.stream._pieces) == 1


async def test_what_is_held_of_a_frame_is_told_and_that_it_is_complete(pair: Pair) -> None:
    await pair.push(framed(b"whole"))
    await until(lambda: pair.sink.frames)
    assert not pair.sink.partial
    data = framed(100 * b"x")
    for part, told in ((data[:4], [0]), (data[4:14], [10]), (data[14:] + framed(9 * b"y")[:7], [0, 3])):
        pair.sink.partial.clear()
        await pair.push(part)
        await until(lambda: pair.sink.partial)
        assert pair.sink.partial == told
    await pair.push(6 * b"y" + framed(b"z"))
    await until(lambda: pair.sink.frames[-1:] == [b"z"])
    assert pair.sink.partial == [0, 3, 0]


async def test_a_receiver_that_comes_later_is_told_what_is_held() -> None:
    pair = await Pair().open(attach=False)
    await pair.push(framed(5 * b"x")[:7])
    await until(lambda: pair.stream._missing)
    pair.stream.attach(pair.sink)
    assert pair.sink.partial == [3]
    await pair.close()


async def test_streams_of_one_owner_share_what_they_read_into() -> None:
    scratch = memoryview(bytearray(READ_BYTES))
    one, two = Pair(), Pair()
    for pair in (one, two):
        await pair.open(scratch=scratch)
    for cut in (slice(0, 6), slice(6, None)):
        await one.push(framed(b"the first")[cut])
        await two.push(framed(b"the second")[cut])
        await turns()
    await until(lambda: one.sink.frames and two.sink.frames)
    assert (one.sink.frames, two.sink.frames) == ([b"the first"], [b"the second"])
    await one.close()
    await two.close()


async def test_what_arrived_before_there_was_a_receiver_waits_for_it() -> None:
    pair = await Pair().open(attach=False)
    await pair.push(framed(b"early"))
    pair.peer.shutdown(socket.SHUT_WR)
    await until(lambda: pair.stream._end is not None)
    pair.stream.attach(pair.sink)
    assert pair.sink.frames == [b"early"]
    assert pair.sink.ends == [None]
    await pair.close()


async def test_nothing_is_received_while_it_is_paused(pair: Pair) -> None:
    pair.stream.pause()
    pair.stream.pause()
    await pair.push(framed(b"later"))
    await turns()
    assert pair.sink.frames == []
    pair.stream.resume()
    pair.stream.resume()
    await until(lambda: pair.sink.frames)


async def test_the_end_of_the_peer_is_told_once(pair: Pair) -> None:
    pair.peer.close()
    await until(lambda: pair.sink.ends)
    await turns()
    assert pair.sink.ends == [None]
    error = await pair.stream.failure(None)
    assert code_of(error) is Code.UNAVAILABLE
    assert error.message == "the hub ended it"


# ---------------------------------------------------------------------------------------------------------- sending


@pytest.mark.parametrize("size", [1, 65_536, MAX_FRAME_BYTES])
async def test_a_frame_is_sent_after_its_length(pair: Pair, size: int) -> None:
    assert pair.stream.frame_head is not None
    pair.stream.send(pair.stream.frame_head(size) + b"x" * size)
    assert await pair.read_frame() == b"x" * size


async def test_a_peer_that_does_not_read_makes_it_unwritable_until_it_reads(pair: Pair) -> None:
    while pair.stream.is_writable:
        pair.stream.send(framed(b"x" * 65_536))
    assert not pair.stream.is_sent()
    assert pair.sink.rooms == 0
    while pair.sink.rooms == 0:
        await pair.read(65_536)
    assert pair.stream.is_writable


async def test_it_tells_when_everything_was_sent(pair: Pair) -> None:
    assert pair.stream.is_sent()
    for _ in range(20):
        pair.stream.send(framed(b"x" * 65_536))
    assert not pair.stream.is_sent()
    await pair.read(20 * (65_536 + 4))
    await until(lambda: pair.sink.rooms)
    assert pair.stream.is_sent()


async def test_a_frame_that_is_too_large_is_sent_as_several(pair: Pair) -> None:
    envelopes = [whole(pb.Envelope(pong=1)), whole(pb.Envelope(reply=b"x" * (MAX_FRAME_BYTES - 100)))]
    pair.stream.send(framed(b"".join([*envelopes, envelopes[0] * 50])))
    assert await pair.read_frame() == envelopes[0]
    assert await pair.read_frame() == envelopes[1]
    assert await pair.read_frame() == envelopes[0]


async def test_an_envelope_that_no_frame_holds_is_an_error(pair: Pair) -> None:
    with pytest.raises(MessageTooLargeError, match="cannot be sent: a frame has at most 1,048,576"):
        pair.stream.send(framed(whole(pb.Envelope(reply=b"x" * MAX_FRAME_BYTES))))


async def test_what_is_sent_after_the_end_is_dropped(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.send(framed(b"x"))
    pair.stream.pause()
    pair.stream.resume()
    assert pair.stream.is_sent()
    assert await pair.read(1) == b""


# ------------------------------------------------------------------------------------------------------------- ends


async def test_the_hub_s_reason_is_the_dialler_s_error(pair: Pair) -> None:
    status = link_status_of(AccessError("the token is wrong", error_type="Unauthenticated"))
    await pair.push(framed(b"\x0a\x02\x50\x01", whole(pb.Envelope(end=status))))
    await until(lambda: pair.sink.ends)
    assert pair.sink.frames == [b"\x0a\x02\x50\x01"]
    error = await pair.stream.failure(None)
    assert isinstance(error, AccessError)
    assert error.error_type == "Unauthenticated"
    assert error.message == "the token is wrong"


@pytest.mark.parametrize(("code", "found"), [(7, Code.PERMISSION_DENIED), (99, Code.UNKNOWN)])
async def test_a_reason_without_an_error_has_its_status(pair: Pair, code: int, found: Code) -> None:
    await pair.push(framed(whole(pb.Envelope(end=pb.LinkStatus(code=code, message="no")))))
    await until(lambda: pair.sink.ends)
    error = await pair.stream.failure(None)
    assert (code_of(error), error.message) == (found, "no")


@pytest.mark.parametrize(
    "frame",
    [
        whole(pb.Envelope(id=3, end=pb.LinkStatus(code=1))),
        whole(pb.Envelope(end=pb.LinkStatus(code=1))) + whole(pb.Envelope(pong=1)),
        b"\x0a\x02\x2a",
        b"\x0a\x01\x2a\x2a\x2a",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x0a",
    ],
)
async def test_other_frames_are_no_reason(pair: Pair, frame: bytes) -> None:
    await pair.push(framed(frame))
    await until(lambda: pair.sink.frames)
    assert pair.sink.frames == [frame]
    assert pair.sink.ends == []


async def test_the_end_that_accepted_tells_why_and_waits_until_it_was_read() -> None:
    pair = await Pair().open(accepted=True)
    pair.stream.pause()
    await pair.push(framed(b"unread"))
    pair.stream.close()
    status = pb.LinkStatus(code=3, message="why")
    finishing = asyncio.create_task(pair.stream.finish(status))
    assert pb.LinkFrame.FromString(await pair.read_frame()).envelopes[0].end == status
    assert await pair.read(1) == b""
    assert not finishing.done()
    pair.peer.close()
    await soon(finishing)
    assert pair.sink.frames == []


async def test_a_peer_that_has_gone_is_told_nothing() -> None:
    pair = await Pair().open(accepted=True)
    pair.peer.close()
    await until(lambda: pair.sink.ends)
    await soon(pair.stream.finish(pb.LinkStatus(code=3)))


async def test_a_forked_process_loses_the_connection_and_its_parent_does_not() -> None:
    pair = await Pair().open()
    copy = pair.socket.dup()
    pair.stream.forked()
    await turns()
    assert copy.send(framed(b"x")) == 5
    assert await pair.read_frame() == b"x"
    copy.close()
    await pair.close()


async def test_admitting_is_the_owner_s() -> None:
    class Known:
        def authenticate(self, peer: PeerInfo) -> Principal:
            return Principal(f"{dict(peer.metadata)['who']!s} of {peer.uid}")

    checked: list[pb.LinkHello] = []
    pair = await Pair().open(admit=checked.append, authenticator=Known(), uid=7)
    hello = pb.LinkHello(peer="p", metadata={"who": "ann"})
    assert pair.stream.admit(hello) == Principal("ann of 7")
    assert pair.stream.renew is not None
    assert (pair.stream.renew(), checked) == (Principal("ann of 7"), [hello])
    await pair.close()
    pair = await Pair().open()
    assert pair.stream.admit(pb.LinkHello(peer="p")) is None
    await pair.close()
