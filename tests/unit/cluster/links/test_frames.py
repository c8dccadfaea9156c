"""Frames as messages: whole and in order, or the link ends; nothing is taken that its peer did not seal."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from grpc_tool_bridge.cluster.links import frames
from grpc_tool_bridge.cluster.links.frames import (
    ACK,
    FRAME,
    HEAD,
    IDLE_BEATS,
    OVERHEAD_BYTES,
    SILENT_BEATS,
    WAITING_BEATS,
    WINDOW_BYTES,
    WINDOW_MESSAGES,
    LinkLostError,
    NatsStream,
    Outlet,
)
from grpc_tool_bridge.cluster.links.sealing import SECRET_BYTES, ClusterKey
from grpc_tool_bridge.errors import MessageTooLargeError, NotFoundError, ProtocolError
from grpc_tool_bridge.link.socket import MAX_FRAME_BYTES
from grpc_tool_bridge.link.status import Code, code_of, link_status_of
from grpc_tool_bridge.link.streams import Receiver
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.waiting import soon

KEY = ClusterKey(b"k" * SECRET_BYTES)


class Taken(Receiver):
    """What a stream has passed on.

    Attributes:
        frames: All of them.
        partial: What was told of frames that are not complete.
        rooms: How often there was room again.
        end: How it ended.
    """

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.partial: list[int] = []
        self.rooms = 0
        self.end: Any = "not yet"

    def on_frames(self, frames: Sequence[bytes]) -> None:
        self.frames += frames

    def on_partial(self, size: int) -> None:
        self.partial.append(size)

    def on_room(self) -> None:
        self.rooms += 1

    def on_end(self, error: Exception | None) -> None:
        assert self.end == "not yet"
        self.end = error


class Wire(Outlet):
    """Keeps what one end has sent until the test passes it on.

    Attributes:
        sent: The messages.
        counts: What was noted.
        is_cut: Whether NATS cannot be reached.
    """

    part_bytes = 1_000_000

    def __init__(self) -> None:
        self.is_full = False
        self.is_cut = False
        self.sent: list[bytes] = []
        self.dropped: list[NatsStream] = []
        self.counts: Counter[str] = Counter()

    def post(self, subject: str, message: bytes) -> None:
        assert subject == "there"
        assert len(message) <= self.part_bytes + OVERHEAD_BYTES
        if self.is_cut:
            raise LinkLostError("cut")
        self.sent.append(message)

    def post_last(self, subject: str, message: bytes) -> None:
        if not self.is_cut:
            self.post(subject, message)

    def drop(self, stream: NatsStream) -> None:
        self.dropped.append(stream)

    def note(self, what: str) -> None:
        self.counts[what] += 1


class End:
    """One end of a link."""

    def __init__(self, *, accepted: bool) -> None:
        self.wire, self.taken = Wire(), Taken()
        self.stream = NatsStream(
            self.wire,
            "there",
            KEY.link_seals(b"g", b"a", dialler=not accepted),
            token="token",
            incarnation="other",
            peer="hub:other",
            accepted=accepted,
        )
        self.stream.attach(self.taken)

    def pass_on(self, other: "End", *, most: int = 1_000_000) -> int:
        """Passes what this end has sent to the other; returns how many messages those were."""
        messages, self.wire.sent = self.wire.sent[:most], self.wire.sent[most:]
        for message in messages:
            other.stream.receive(message)
        return len(messages)

    @property
    def kinds(self) -> list[int]:
        """The kinds of the messages that it has sent."""
        return [HEAD.unpack_from(message)[0] for message in self.wire.sent]


@pytest.fixture
def ends() -> tuple[End, End]:
    return End(accepted=False), End(accepted=True)


def test_frames_arrive_as_they_are_both_ways(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    for a, b in ((ours, theirs), (theirs, ours), (ours, theirs)):
        a.stream.send(b"one")
        a.stream.send(b"two")
        assert a.pass_on(b) == 2
        assert b.taken.frames[-2:] == [b"one", b"two"]
    assert not ours.taken.partial
    assert not (ours.wire.counts)
    assert not (theirs.wire.counts)


def test_what_is_larger_than_a_message_comes_in_parts(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.wire.part_bytes = 100
    frame = bytes(range(250))
    ours.stream.send(frame)
    ours.stream.send(b"next")
    assert ours.pass_on(theirs) == 4
    assert theirs.taken.frames == [frame, b"next"]
    assert theirs.taken.partial == [100, 200, 0]


def test_a_receiver_that_comes_late_gets_what_came_before(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    late = End(accepted=True)
    late.stream._receiver = None
    ours.wire.part_bytes = 3
    ours.stream.send(b"one")
    ours.stream.send(b"twotwo")
    ours.pass_on(late, most=2)
    late.stream.attach(theirs.taken)
    assert (theirs.taken.frames, theirs.taken.partial) == ([b"one"], [3])
    ours.pass_on(late)
    assert theirs.taken.frames == [b"one", b"twotwo"]


def test_a_frame_of_an_odd_envelope_is_split_or_refused(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    one = pb.LinkFrame(envelopes=[pb.Envelope(id=1, reply=b"x" * 600_000)]).SerializeToString()
    ours.stream.send(one + one)
    ours.pass_on(theirs)
    assert theirs.taken.frames == [one, one]
    with pytest.raises(MessageTooLargeError, match="a frame has at most"):
        ours.stream.send(pb.LinkFrame(envelopes=[pb.Envelope(id=1, reply=b"x" * 1_100_000)]).SerializeToString())


# ------------------------------------------------------------------------------------ what is not as it should be


def test_a_message_that_was_lost_ends_the_link_at_both_ends_with_a_typed_error(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    for frame in (b"one", b"two", b"three"):
        ours.stream.send(frame)
    del ours.wire.sent[1]
    ours.pass_on(theirs)
    assert theirs.taken.frames == [b"one"]
    assert isinstance(theirs.taken.end, LinkLostError)
    assert str(theirs.taken.end) == "1 of its messages did not arrive over NATS"
    assert theirs.wire.counts == {"gaps": 1}
    assert theirs.wire.dropped == [theirs.stream]
    theirs.pass_on(ours)
    assert ours.taken.end is None
    assert ours.stream.status is not None
    assert ours.stream.status.message == "1 of its messages did not arrive over NATS"
    assert not ours.stream.is_writable


@pytest.mark.parametrize("change", [0, HEAD.size, OVERHEAD_BYTES, -1], ids=["head", "seal", "payload", "payload's end"])
def test_a_forged_message_is_dropped_and_the_link_goes_on(ends: tuple[End, End], change: int) -> None:
    ours, theirs = ends
    ours.stream.send(b"payload")
    forged = bytearray(ours.wire.sent[0])
    forged[change] ^= 1
    theirs.stream.receive(bytes(forged))
    assert not theirs.taken.frames
    assert theirs.wire.counts == {"forged": 1}
    ours.pass_on(theirs)
    assert theirs.taken.frames == [b"payload"]


def test_a_message_of_the_other_direction_or_another_link_is_forged(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.stream.send(b"ours")
    ours.stream.receive(ours.wire.sent[0])
    other = NatsStream(
        Wire(), "t", KEY.link_seals(b"other", b"a", dialler=False), token="t", incarnation="i", peer="p", accepted=True
    )
    other.attach(theirs.taken)
    other.receive(ours.wire.sent[0])
    assert not (theirs.taken.frames)
    assert not (ours.taken.frames)
    assert ours.wire.counts == {"forged": 1}


def test_a_message_that_is_repeated_is_dropped(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.stream.send(b"one")
    repeated = ours.wire.sent[0]
    ours.stream.send(b"two")
    ours.pass_on(theirs)
    theirs.stream.receive(repeated)
    assert theirs.taken.frames == [b"one", b"two"]
    assert theirs.wire.counts == {"repeated": 1}
    assert theirs.taken.end == "not yet"


def test_messages_in_another_order_end_the_link(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.stream.send(b"one")
    ours.stream.send(b"two")
    ours.wire.sent.reverse()
    ours.pass_on(theirs)
    assert not theirs.taken.frames
    assert isinstance(theirs.taken.end, LinkLostError)


@pytest.mark.parametrize(
    ("kind", "payload", "taken", "text"),
    [
        (9, b"", 0, "a message of the unknown kind 9 came"),
        (FRAME, b"", 0, "a frame of 0 bytes came"),
        (FRAME, b"x" * (MAX_FRAME_BYTES + 1), 0, "a frame of 1,048,577 bytes came"),
        (ACK, b"", 7, "the other hub took message 7 before it was sent"),
    ],
)
def test_a_peer_that_breaks_the_rules_ends_its_link(
    ends: tuple[End, End], kind: int, payload: bytes, taken: int, text: str
) -> None:
    ours, theirs = ends
    theirs.stream.send(b"something that is not acknowledged")
    head = HEAD.pack(kind, 1, taken)
    theirs.stream.receive(head + KEY.link_seals(b"g", b"a", dialler=True).outgoing.of(head, payload) + payload)
    assert isinstance(theirs.taken.end, ProtocolError)
    assert text in str(theirs.taken.end)
    assert not ours.taken.frames


def test_a_peer_that_ignores_the_window_ends_its_link(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.stream.pause()
    for _ in range(WINDOW_BYTES // MAX_FRAME_BYTES + 3):
        ours.stream.send(b"x" * MAX_FRAME_BYTES)
    ours.pass_on(theirs)
    # What came before is passed on first.
    assert theirs.taken.end == "not yet"
    theirs.stream.resume()
    assert isinstance(theirs.taken.end, ProtocolError)
    assert "more than the window" in str(theirs.taken.end)


# --------------------------------------------------------------------------------------------------- the window


@pytest.mark.parametrize("size", [10, MAX_FRAME_BYTES // 2])
def test_a_peer_that_does_not_take_stops_the_sender_and_going_on_gives_room(ends: tuple[End, End], size: int) -> None:
    ours, theirs = ends
    theirs.stream.pause()
    sent = 0
    while ours.stream.is_writable:
        ours.stream.send(b"x" * size)
        sent += 1
        ours.pass_on(theirs)
    assert sent == min(WINDOW_MESSAGES, -(-WINDOW_BYTES // size))
    theirs.pass_on(ours)
    assert not ours.stream.is_writable
    assert not theirs.taken.frames
    theirs.stream.resume()
    assert len(theirs.taken.frames) == sent
    theirs.pass_on(ours)
    assert ours.stream.is_writable
    assert ours.taken.rooms == 1


def test_a_stream_of_frames_one_way_is_acknowledged_rarely_and_never_stops(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    for _ in range(10 * WINDOW_MESSAGES):
        assert ours.stream.is_writable
        ours.stream.send(b"x")
        ours.pass_on(theirs)
        theirs.pass_on(ours)
    assert len(theirs.taken.frames) == 10 * WINDOW_MESSAGES
    assert theirs.stream._sent == 40


def test_calls_and_answers_need_no_message_for_what_was_taken(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    for _ in range(2 * WINDOW_MESSAGES):
        ours.stream.send(b"call")
        assert ours.pass_on(theirs) == 1
        theirs.stream.send(b"answer")
        assert theirs.pass_on(ours) == 1
    assert ours.stream.is_writable
    assert len(ours.stream._unacked) == 0
    assert len(theirs.stream._unacked) == 1


def test_frames_in_many_parts_are_acknowledged_by_their_messages(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.wire.part_bytes = 100
    for _ in range(20):
        ours.stream.send(b"x" * 40_000)
        ours.pass_on(theirs)
        theirs.pass_on(ours)
        assert ours.stream.is_writable


def test_an_outlet_that_is_full_stops_all_and_tells_when_it_is_not(ends: tuple[End, End]) -> None:
    ours, _ = ends
    ours.wire.is_full = True
    ours.stream.on_drained()
    assert not ours.stream.is_writable
    ours.wire.is_full = False
    ours.stream.on_drained()
    assert ours.stream.is_writable
    assert ours.taken.rooms == 1


# ---------------------------------------------------------------------------------------------------- its beats


def beat(end: End, times: int) -> None:
    for _ in range(times):
        end.stream.beat()


def test_an_idle_link_is_quiet_but_for_a_sign_of_life(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    beat(ours, IDLE_BEATS - 1)
    assert not ours.wire.sent
    for _ in range(5 * SILENT_BEATS):
        beat(ours, 1)
        beat(theirs, 1)
        ours.pass_on(theirs)
        theirs.pass_on(ours)
    assert (ours.taken.end, theirs.taken.end) == ("not yet", "not yet")
    assert ours.stream._sent < 20


def test_a_peer_that_is_silent_for_long_is_lost(ends: tuple[End, End]) -> None:
    ours, _ = ends
    beat(ours, SILENT_BEATS)
    assert ours.taken.end == "not yet"
    beat(ours, 1)
    assert str(ours.taken.end) == "the other hub was not heard for 30 s"
    assert ours.wire.counts == {"silent": 1}


def test_a_peer_that_owes_an_acknowledgement_is_lost_soon(ends: tuple[End, End]) -> None:
    ours, _ = ends
    beat(ours, SILENT_BEATS - 1)
    ours.stream.send(b"call")
    beat(ours, 1)
    assert ours.taken.end == "not yet"
    ours = End(accepted=False)
    ours.stream.send(b"call")
    beat(ours, WAITING_BEATS)
    assert ours.taken.end == "not yet"
    beat(ours, 1)
    assert str(ours.taken.end) == "the other hub was not heard for 5 s"


def test_a_peer_that_takes_nothing_for_long_is_there_as_long_as_it_says_so(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.stream.pause()
    ours.stream.send(b"call")
    for _ in range(2 * SILENT_BEATS):
        ours.pass_on(theirs)
        beat(theirs, 1)
        beat(ours, 1)
        theirs.pass_on(ours)
    assert (ours.taken.end, theirs.taken.end) == ("not yet", "not yet")
    assert len(ours.stream._unacked) == 1


def test_what_was_taken_is_said_with_the_next_beat(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.stream.send(b"call")
    ours.pass_on(theirs)
    beat(theirs, 1)
    assert theirs.kinds == [ACK]
    theirs.pass_on(ours)
    assert not ours.stream._unacked
    beat(theirs, 1)
    beat(ours, 1)
    assert not (theirs.wire.sent)
    assert not (ours.wire.sent)


# ---------------------------------------------------------------------------------------------------------- its end


async def test_the_hub_s_reason_reaches_the_dialler_whole(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.stream.send(b"last")
    theirs.stream.close()
    theirs.stream.finish(link_status_of(NotFoundError("no such thing")))
    theirs.pass_on(ours)
    assert (ours.taken.frames, ours.taken.end) == ([b"last"], None)
    failure = await soon(ours.stream.failure(None))
    assert isinstance(failure, NotFoundError)
    assert failure.message == "no such thing"
    ours.stream.close()
    assert not ours.wire.sent
    assert ours.wire.dropped


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (None, Code.UNAVAILABLE),
        (pb.LinkStatus(code=Code.NOT_FOUND, message="m"), Code.NOT_FOUND),
        (pb.LinkStatus(code=99, message="m"), Code.UNKNOWN),
    ],
)
async def test_an_end_without_an_error_has_the_status(
    ends: tuple[End, End], status: pb.LinkStatus | None, code: Code
) -> None:
    ours, theirs = ends
    theirs.stream.finish(status)
    theirs.pass_on(ours)
    assert code_of(await soon(ours.stream.failure(None))) is code


async def test_a_status_that_nobody_can_read_is_no_reason(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.stream._say_end(b"\xff\xff")
    theirs.pass_on(ours)
    assert code_of(await soon(ours.stream.failure(None))) is Code.UNAVAILABLE


async def test_a_lost_message_is_unavailable_for_those_who_wait(ends: tuple[End, End]) -> None:
    ours, _ = ends
    ours.stream.lose(LinkLostError("why"))
    failure = await soon(ours.stream.failure(ours.taken.end))
    assert (code_of(failure), failure.message) == (Code.UNAVAILABLE, "why")
    with pytest.raises(ProtocolError):
        await ours.stream.failure(ProtocolError("broken"))


def test_a_dialler_that_closes_ends_the_other_end(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.stream.send(b"last")
    ours.stream.close()
    ours.stream.close()
    assert ours.pass_on(theirs) == 2
    assert (theirs.taken.frames, theirs.taken.end) == ([b"last"], None)
    ours.stream.send(b"too late")
    assert not ours.wire.sent


def test_frames_that_wait_come_before_the_end(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.stream.pause()
    ours.stream.send(b"one")
    ours.stream.close()
    ours.pass_on(theirs)
    assert theirs.taken.end == "not yet"
    theirs.stream.resume()
    assert (theirs.taken.frames, theirs.taken.end) == ([b"one"], None)


def test_a_link_whose_nats_cannot_be_reached_is_lost(ends: tuple[End, End]) -> None:
    ours, _ = ends
    ours.wire.is_cut = True
    ours.stream.send(b"one")
    assert str(ours.taken.end) == "cut"
    assert not ours.stream.is_writable
    ours.stream.send(b"two")
    beat(ours, 100)


def test_who_dialled_is_confirmed_by_a_genuine_message_only(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    confirmed = asyncio.Event()
    theirs.stream.on_confirmed = confirmed.set
    theirs.stream.receive(b"x" * 100)
    assert not confirmed.is_set()
    ours.stream.send(b"one")
    ours.pass_on(theirs)
    assert confirmed.is_set()


def test_the_window_takes_any_frame() -> None:
    assert frames.WINDOW_BYTES >= MAX_FRAME_BYTES
