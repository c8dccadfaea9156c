"""What a node sends, cut into messages; the node and the library are played here."""

import asyncio
from typing import Any

import pytest
from nats.errors import ProtocolError

from grpc_tool_bridge.cluster.bus.reading import BUFFER_BYTES, MAX_LINE_BYTES, MAX_MESSAGE_BYTES, NodeReader
from support.waiting import soon, turns


class Former:
    """The protocol that asyncio's streams have."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def eof_received(self) -> bool:
        self.seen.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append(exc)

    def pause_writing(self) -> None:
        self.seen.append("pause")

    def resume_writing(self) -> None:
        self.seen.append("resume")


class Socket:
    """A transport whose bytes the test gives."""

    def __init__(self) -> None:
        self.former = Former()
        self.protocol: Any = self.former
        self.reads = True

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def give(self, data: bytes, piece: int = 1 << 30) -> None:
        """Has the protocol read some bytes, in pieces of at most so many."""
        while data:
            room = self.protocol.get_buffer(-1)
            assert len(room)
            size = min(len(room), len(data), piece)
            room[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]


class Rig:
    """A reader with a direct subscription, number 7."""

    def __init__(self, early: bytes = b"") -> None:
        self.socket = Socket()
        self.taken: list[tuple[bytes, bytes, bytes]] = []
        transport: Any = self.socket
        stream = asyncio.StreamReader()
        stream.feed_data(early)
        self.reader = NodeReader(transport, stream, {7: self.take})

    def take(self, subject: bytes, reply: bytes, data: bytes) -> None:
        if data == b"bad":
            raise ValueError("bad")
        self.taken.append((subject, reply, data))


def message(data: bytes, *, number: int = 7, reply: bytes = b"") -> bytes:
    answers = reply + b" " if reply else b""
    return b"MSG news %d %s%d\r\n%s\r\n" % (number, answers, len(data), data)


@pytest.mark.parametrize("piece", [1, 2, 7, 1_000])
async def test_messages_are_taken_in_the_turn_that_they_come_in_however_they_are_cut(piece: int) -> None:
    rig = Rig()
    rig.reader.attach()
    rig.socket.give(message(b"one") + message(b"", reply=b"back") + message(b"\r\nMSG x 7 1\r\n"), piece)
    assert rig.taken == [(b"news", b"", b"one"), (b"news", b"back", b""), (b"news", b"", b"\r\nMSG x 7 1\r\n")]


async def test_what_came_before_it_was_attached_is_taken_first() -> None:
    rig = Rig(message(b"one") + message(b"two")[:9])
    rig.reader.attach()
    rig.socket.give(message(b"two")[9:])
    assert [data for _, _, data in rig.taken] == [b"one", b"two"]
    assert rig.socket.reads


@pytest.mark.parametrize(
    "command",
    [
        b"PING\r\n",
        b'INFO {"x": 1}\r\n',
        b"-ERR 'no'\r\n",
        message(b"other", number=8),
        b"HMSG news 7 12 15\r\nNATS/1.0\r\n\r\nabc\r\n",
        b"HMSG news 7 back 12 15\r\nNATS/1.0\r\n\r\nabc\r\n",
    ],
)
@pytest.mark.parametrize("piece", [3, 1_000])
async def test_all_else_goes_to_the_library_whole_and_what_follows_waits_for_that(command: bytes, piece: int) -> None:
    rig = Rig()
    rig.reader.attach()
    rig.socket.give(message(b"before") + command + message(b"after"), piece)
    assert await soon(rig.reader.next()) == command
    assert [data for _, _, data in rig.taken] == [b"before"]
    rig.reader.go_on()
    assert [data for _, _, data in rig.taken] == [b"before", b"after"]


async def test_who_waits_for_the_next_command_is_woken_by_it() -> None:
    rig = Rig()
    rig.reader.attach()
    waiting = asyncio.ensure_future(rig.reader.next())
    await turns()
    rig.socket.give(b"PONG\r\nPING\r\n")
    assert await soon(waiting) == b"PONG\r\n"
    rig.reader.go_on()
    assert await soon(rig.reader.next()) == b"PING\r\n"


async def test_an_error_of_who_takes_a_message_goes_to_the_library_and_the_next_message_is_taken() -> None:
    rig = Rig()
    rig.reader.attach()
    rig.socket.give(message(b"bad") + message(b"good"))
    assert isinstance(await soon(rig.reader.next()), ValueError)
    rig.reader.go_on()
    assert [data for _, _, data in rig.taken] == [b"good"]


async def test_large_messages_get_room_as_they_come_and_it_is_given_back() -> None:
    rig = Rig()
    rig.reader.attach()
    large = bytes(range(256)) * 8_000
    rig.socket.give(message(large[:70_000]) + message(large) + message(b"small"))
    assert [data for _, _, data in rig.taken] == [large[:70_000], large, b"small"]
    # A message that is announced takes no memory yet.
    rig.socket.give(b"MSG news 7 %d\r\nabc" % MAX_MESSAGE_BYTES)
    assert len(rig.reader._buffer) == BUFFER_BYTES


async def test_the_socket_is_not_read_while_the_library_is_behind_with_much() -> None:
    rig = Rig()
    rig.reader.attach()
    rig.socket.give(b"PING\r\n")
    count = 0
    while rig.socket.reads:
        rig.socket.give(message(bytes(10_000)))
        count += 1
    assert count < 10
    rig.reader.go_on()
    assert rig.socket.reads
    assert len(rig.taken) == count


@pytest.mark.parametrize(
    "wrong",
    [
        b"MSG news 7\r\n",
        b"MSG news 7 back more 3\r\nabc\r\n",
        b"MSG news seven 3\r\nabc\r\n",
        b"MSG news 7 -3\r\nabc\r\n",
        b"MSG news 7 %d\r\n" % (MAX_MESSAGE_BYTES + 1),
        b"HMSG news 7 3\r\n",
        b"x" * (MAX_LINE_BYTES + 1),
    ],
)
async def test_what_no_node_sends_ends_the_reading(wrong: bytes) -> None:
    rig = Rig()
    rig.reader.attach()
    rig.socket.give(message(b"before") + wrong)
    with pytest.raises(ProtocolError):
        await soon(rig.reader.next())
    rig.socket.give(message(b"after"))
    assert [data for _, _, data in rig.taken] == [b"before"]


@pytest.mark.parametrize("early", [True, False])
async def test_the_end_of_the_connection_is_told_to_both_ends(early: bool) -> None:
    rig = Rig()
    stream: Any = rig.reader._stream
    if early:
        stream.feed_eof()
    rig.reader.attach()
    if not early:
        assert rig.socket.protocol.eof_received() is True
    with pytest.raises(EOFError):
        await soon(rig.reader.next())
    rig.socket.protocol.connection_lost(None)
    assert rig.socket.former.seen == ([None] if early else ["eof", None])


@pytest.mark.parametrize("early", [True, False])
async def test_a_connection_that_was_lost_ends_the_reading_with_its_error(early: bool) -> None:
    rig = Rig()
    error = ConnectionResetError("gone")
    stream: Any = rig.reader._stream
    if early:
        stream.set_exception(error)
    rig.reader.attach()
    if not early:
        rig.socket.give(b"PING\r\n")
        rig.socket.protocol.connection_lost(error)
        assert await soon(rig.reader.next()) == b"PING\r\n"
        rig.reader.go_on()
    with pytest.raises(ConnectionResetError):
        await soon(rig.reader.next())


async def test_nothing_is_taken_after_it_was_detached_and_writing_is_still_told() -> None:
    rig = Rig()
    rig.reader.attach()
    rig.reader.detach()
    rig.socket.give(message(b"late"))
    assert not rig.taken
    rig.socket.protocol.pause_writing()
    rig.socket.protocol.resume_writing()
    assert rig.socket.former.seen == ["pause", "resume"]
