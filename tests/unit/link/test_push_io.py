"""Frames that are processed and sent in the turn of the event loop that they arrive in."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.errors import DeadlineExceededError, ProtocolError
from grpc_tool_bridge.link import intake
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import CallReceived, Event, HelloReceived, PongReceived, Replied
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.intake import SLICE_EVENTS
from grpc_tool_bridge.link.io import TaskIO
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.push_io import SLICE_FRAMES, PushIO, io_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.loops import tells_whether_it_is_idle
from support.patience import PATIENCE
from support.waiting import until
from unit.link.fakes import FakePush, FakeStream, settle

HELLO = pb.Envelope(hello=pb.LinkHello(protocol=1))


@pytest.fixture(autouse=True)
def _slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices end by their events alone, however busy the machine."""
    monkeypatch.setattr(intake, "FRAME_SECONDS", 1_000.0)


class End:
    """One end of a link whose stream is the test's."""

    def __init__(
        self, *, speaks_first: bool = True, write_timeout: float = PATIENCE, read_timeout: float = PATIENCE
    ) -> None:
        self.stream = FakePush(speaks_first=speaks_first)
        self.link = Link(dialer=speaks_first, hello=pb.LinkHello(peer="me"))
        self.events: list[Event] = []
        self.on_event: Any = self.events.append
        self.writable = 0
        self.policy = FlushPolicy()
        self.io = PushIO(
            self.link,
            self.stream,
            on_event=self.take,
            on_writable=self.count,
            write_timeout=write_timeout,
            read_timeout=read_timeout,
            policy=self.policy,
        )
        self.task = asyncio.create_task(self.io.run())

    def take(self, event: Event) -> None:
        self.on_event(event)

    def count(self) -> None:
        self.writable += 1

    def call(self, payload: bytes = b"x") -> OutgoingCall:
        call = OutgoingCall(call_prefix("ExecuteTool"))
        self.link.call(call, payload)
        return call

    async def result(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.task


@pytest.fixture
async def end() -> AsyncIterator[End]:
    end = End()
    await settle()
    end.stream.feed(HELLO)
    end.stream.envelopes()
    yield end
    end.task.cancel()
    await asyncio.wait([end.task])


def pongs(*numbers: int) -> bytes:
    return pb.LinkFrame(envelopes=[pb.Envelope(pong=number) for number in numbers]).SerializeToString()


# -------------------------------------------------------------------------------------------------------- receiving


async def test_a_frame_is_processed_and_answered_before_the_stream_goes_on(end: End) -> None:
    end.stream.feed(pb.Envelope(ping=7))
    assert [envelope.pong for envelope in end.stream.envelopes()] == [7]


async def test_the_answers_to_frames_that_came_together_leave_together(end: End) -> None:
    end.stream.feed(pb.Envelope(ping=1), pb.Envelope(ping=2), pb.Envelope(ping=3))
    assert len(end.stream.written) == 1
    assert [envelope.pong for envelope in end.stream.envelopes()] == [1, 2, 3]


async def test_a_frame_that_never_ends_ends_the_link_and_one_that_is_followed_by_others_does_not() -> None:
    end = End(read_timeout=0.01)
    await settle()
    end.stream.feed(HELLO)
    end.stream.receiver.on_partial(3)
    end.stream.receiver.on_partial(0)
    # The watch of the first frame looks at the second one, which began later.
    end.stream.receiver.on_partial(1)
    with pytest.raises(DeadlineExceededError, match="did not arrive whole within"):
        await end.result()
    end.stream.receiver.on_partial(2)


async def test_a_frame_that_is_complete_is_not_watched_any_longer() -> None:
    end = End(read_timeout=0.01)
    await settle()
    end.stream.feed(HELLO)
    end.stream.receiver.on_partial(3)
    end.stream.receiver.on_partial(0)
    await until(lambda: end.io._partial_watch is None)
    assert not end.task.done()
    end.task.cancel()
    await asyncio.wait([end.task])


async def test_the_time_in_which_nothing_is_received_does_not_count_for_a_frame() -> None:
    end = End(read_timeout=0.01)
    await settle()
    end.stream.feed(HELLO)
    end.stream.feed(pongs(*range(2 * SLICE_EVENTS)))
    end.stream.receiver.on_partial(3)
    # As if it had begun long ago.
    end.io._partial_since = 0.0
    end.io._look_at_partial()
    end.stream.receiver.on_partial(0)
    await settle()
    assert not end.task.done()
    end.task.cancel()
    await asyncio.wait([end.task])


async def test_a_frame_of_many_events_gives_others_a_turn_and_nothing_is_received_meanwhile(end: End) -> None:
    end.stream.feed(pongs(*range(2 * SLICE_EVENTS + 1)))
    end.events.pop(0)
    assert len(end.events) == SLICE_EVENTS
    assert end.stream.paused
    end.stream.feed(pongs(10_000))
    await settle()
    assert [event.number for event in end.events if isinstance(event, PongReceived)] == [
        *range(2 * SLICE_EVENTS + 1),
        10_000,
    ]
    assert not end.stream.paused


async def test_the_first_answers_leave_before_the_rest_is_processed(end: End) -> None:
    end.on_event = lambda event: end.call(b"%d" % event.number)
    end.stream.feed(pongs(*range(2 * SLICE_EVENTS)))
    assert len(end.stream.envelopes()) == SLICE_EVENTS
    await settle()
    assert len(end.stream.envelopes()) == SLICE_EVENTS


async def test_a_stream_that_ends_between_slices_ends_the_link_after_them(end: End) -> None:
    end.stream.feed(pongs(*range(2 * SLICE_EVENTS)))
    end.stream.receiver.on_end(ConnectionError("torn"))
    with pytest.raises(ConnectionError, match="torn"):
        await end.result()
    assert len(end.events) == 1 + 2 * SLICE_EVENTS


async def test_answers_that_came_before_an_abort_reach_those_who_wait(end: End) -> None:
    calls = [end.call() for _ in range(2 * SLICE_EVENTS)]
    end.io.flush()
    replies = [pb.Envelope(id=call.id, reply=b"done") for call in calls]
    frame = pb.LinkFrame(envelopes=[*replies, pb.Envelope(id=2, call=pb.LinkCall(method="ExecuteTool"))])
    end.stream.feed(frame.SerializeToString())
    end.io.abort()
    await end.result()
    assert [event.call for event in end.events if isinstance(event, Replied)] == calls
    assert not any(isinstance(event, CallReceived) for event in end.events)


async def test_a_peer_that_breaks_the_protocol_ends_it(end: End) -> None:
    end.stream.feed(b"\xff")
    with pytest.raises(ProtocolError, match="cannot be read"):
        await end.result()
    assert not end.policy._reading


async def test_an_event_that_cannot_be_taken_ends_it(end: End) -> None:
    def take(event: Event) -> None:
        raise LookupError("it")

    end.on_event = take
    end.stream.feed(pb.Envelope(pong=1))
    with pytest.raises(LookupError):
        await end.result()
    end.stream.feed(pb.Envelope(pong=2))
    assert not end.policy._reading


async def test_the_end_of_the_peer_is_the_end(end: End) -> None:
    end.stream.receiver.on_end(None)
    await end.result()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ---------------------------------------------------------------------------------------------------------- sending


async def test_the_end_that_dialled_says_hello_and_the_other_one_waits_for_it() -> None:
    dialler, hub = End(), End(speaks_first=False)
    await settle()
    assert [envelope.WhichOneof("kind") for envelope in dialler.stream.envelopes()] == ["hello"]
    assert hub.stream.written == []
    hub.io.flush()
    hub.io.schedule_flush()
    await settle()
    assert hub.stream.written == []
    hub.stream.feed(HELLO)
    assert [envelope.WhichOneof("kind") for envelope in hub.stream.envelopes()] == ["hello"]
    for one in (dialler, hub):
        one.io.abort()
        await one.result()


async def test_nothing_is_said_to_a_peer_whose_hello_is_refused() -> None:
    hub = End(speaks_first=False)
    await settle()

    def refuse(event: Event) -> None:
        raise LookupError("it")

    hub.on_event = refuse
    hub.stream.feed(HELLO, pb.Envelope(ping=1))
    with pytest.raises(LookupError):
        await hub.result()
    assert hub.stream.written == []


async def test_what_is_given_in_one_turn_leaves_in_one_frame_in_the_next_turn(end: End) -> None:
    for number in range(10):
        end.call(b"%d" % number)
        end.io.schedule_flush()
    assert end.stream.written == []
    await settle()
    assert len(end.stream.written) == 1
    assert len(end.stream.envelopes()) == 10


async def test_a_call_that_is_alone_leaves_at_once_unless_the_loop_is_about_to_run_something(end: End) -> None:
    end.call()
    end.io.schedule_flush(alone=True)
    assert len(end.stream.written) == tells_whether_it_is_idle()
    await settle()
    asyncio.get_running_loop().call_soon(lambda: None)
    end.call()
    end.io.schedule_flush(alone=True)
    assert len(end.stream.written) == 1
    await settle()
    assert len(end.stream.written) == 2


async def test_many_frames_give_others_a_turn(end: End) -> None:
    for _ in range(20):
        end.call(b"x" * 200_000)
    end.io.flush()
    assert len(end.stream.written) == SLICE_FRAMES
    for _ in range(10):
        await settle()
    assert sum(len(envelope.part or envelope.call.payload) for envelope in end.stream.envelopes()) == 20 * 200_000


async def test_frames_wait_for_a_peer_that_does_not_read(end: End) -> None:
    end.stream.room = 1
    end.call(b"1")
    end.io.flush()
    end.call(b"2")
    end.io.flush()
    end.call(b"3")
    assert len(end.stream.written) == 1
    before = end.writable
    end.stream.give_room(1)
    assert [envelope.call.payload for envelope in end.stream.envelopes()] == [b"1", b"2", b"3"]
    assert end.writable > before


async def test_a_peer_that_reads_nothing_ends_it() -> None:
    end = End(write_timeout=0.01)
    end.stream.room = 1
    with pytest.raises(DeadlineExceededError, match=r"its peer read nothing for 0\.01 s"):
        await end.result()


async def test_a_peer_that_reads_again_in_time_does_not_end_it() -> None:
    end = End(write_timeout=0.01)
    end.stream.room = 1
    await settle()
    watch = end.io._watch
    assert watch is not None
    end.stream.give_room(1)
    end.io._look_at_stream()
    await settle()
    assert not end.task.done()
    assert end.io._watch is None
    watch.cancel()
    end.io.abort()
    await end.result()


async def test_a_frame_that_cannot_be_sent_ends_it_and_not_the_work_of_whoever_sent_it(end: End) -> None:
    end.stream.send_failure = LookupError("it")
    end.call()
    end.io.schedule_flush(alone=True)
    with pytest.raises(LookupError):
        await end.result()


async def test_whoever_is_told_that_there_is_room_may_send(end: End) -> None:
    more = [b"2", b"3"]

    def send_more() -> None:
        if more:
            end.call(more.pop(0))
            end.io.flush()

    end.io._on_writable = send_more
    end.call(b"1")
    end.io.flush()
    assert [envelope.call.payload for envelope in end.stream.envelopes()] == [b"1", b"2", b"3"]


# ------------------------------------------------------------------------------------------------------------- ends


async def test_finishing_sends_what_waits_first(end: End) -> None:
    end.stream.room, end.stream.sent = 0, False
    end.call(b"last")
    end.io.finish()
    await settle()
    assert not end.task.done()
    end.stream.give_room(1)
    await settle()
    assert [envelope.call.payload for envelope in end.stream.envelopes()] == [b"last"]
    assert not end.task.done()
    end.stream.sent = True
    end.stream.give_room(1)
    await end.result()


async def test_finishing_waits_for_a_peer_that_reads_nothing_no_longer_than_for_others() -> None:
    end = End(write_timeout=0.01)
    await settle()
    end.stream.feed(HELLO)
    # The stream would take more, but has not sent all that it took.
    end.stream.sent = False
    end.io.finish()
    with pytest.raises(DeadlineExceededError, match="read nothing for"):
        await end.result()


async def test_finishing_where_nothing_waits_ends_at_once(end: End) -> None:
    end.io.finish()
    await end.result()


async def test_finishing_before_the_peer_s_hello_says_nothing() -> None:
    hub = End(speaks_first=False)
    await settle()
    hub.io.finish()
    await hub.result()
    assert hub.stream.written == []


async def test_an_abort_before_the_run_ends_it() -> None:
    end = End()
    end.io.abort()
    await end.result()
    assert end.stream.written == []


async def test_what_comes_after_the_end_is_nothing(end: End) -> None:
    end.stream.receiver.on_end(None)
    await end.result()
    end.call()
    end.io.schedule_flush()
    end.io.flush()
    end.io.finish()
    end.stream.feed(pb.Envelope(pong=1))
    await settle()
    assert end.stream.written == []
    assert [type(event) for event in end.events] == [HelloReceived]


async def test_whoever_cancels_it_leaves_no_timer_behind(end: End) -> None:
    end.stream.room = 1
    end.call()
    end.io.flush()
    watch = end.io._watch
    assert watch is not None
    end.task.cancel()
    await asyncio.wait([end.task], timeout=PATIENCE)
    assert end.task.cancelled()
    assert watch.cancelled()


async def test_the_kind_of_stream_decides_how_its_frames_are_moved() -> None:
    link = Link(dialer=True, hello=pb.LinkHello())
    options: dict[str, Any] = {"on_event": print, "on_writable": print, "write_timeout": 1}
    assert type(io_of(link, FakePush(), **options)) is PushIO
    assert type(io_of(link, FakeStream(), **options)) is TaskIO
