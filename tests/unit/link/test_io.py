"""The two tasks that move the frames of a link, over streams in memory."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.errors import DeadlineExceededError, ProtocolError
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import CallReceived, Event, HelloReceived, PongReceived, Replied
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.io import TaskIO
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.loops import tells_whether_it_is_idle
from support.patience import PATIENCE
from unit.link.fakes import FakeStream, settle


class End:
    """One end of a link whose frames go through a pipe."""

    def __init__(self, *, write_timeout: float = PATIENCE, policy: FlushPolicy | None = None) -> None:
        self.pipe = FakeStream()
        self.link = Link(dialer=True, hello=pb.LinkHello(peer="me"))
        self.events: list[Event] = []
        self.turns = 0
        self.io = TaskIO(
            self.link, self.pipe, on_event=self.take, on_writable=self.turn, write_timeout=write_timeout, policy=policy
        )
        self.task = asyncio.create_task(self.io.run())

    def take(self, event: Event) -> None:
        self.events.append(event)

    def turn(self) -> None:
        self.turns += 1

    def feed(self, *envelopes: pb.Envelope) -> None:
        self.pipe.feed(*envelopes)

    def greet(self) -> None:
        self.feed(pb.Envelope(hello=pb.LinkHello(protocol=1)))

    async def result(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.task


@pytest.fixture
async def end() -> AsyncIterator[End]:
    end = End()
    end.greet()
    await settle()
    end.pipe.envelopes()
    yield end
    end.task.cancel()
    await asyncio.wait([end.task])


def make_call() -> OutgoingCall:
    return OutgoingCall(call_prefix("ExecuteTool"))


async def test_the_hello_is_sent_and_the_peers_is_an_event() -> None:
    end = End()
    await settle()
    assert [envelope.WhichOneof("kind") for envelope in end.pipe.envelopes()] == ["hello"]
    end.greet()
    await settle()
    assert [type(event) for event in end.events] == [HelloReceived]
    end.pipe.feed(None)
    await end.result()


async def test_the_end_of_the_peer_is_the_end(end: End) -> None:
    end.pipe.feed(None)
    await end.result()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_whatever_was_given_while_a_frame_was_on_its_way_goes_into_the_next_one(end: End) -> None:
    end.pipe.open.clear()
    end.link.call(make_call(), b"first")
    end.io.schedule_flush()
    await settle()
    for number in range(10):
        end.link.call(make_call(), b"%d" % number)
        end.io.schedule_flush()
    end.pipe.open.set()
    await settle()
    assert len(end.pipe.written) == 2
    assert [envelope.call.payload for envelope in end.pipe.envelopes()] == [
        b"first",
        *(b"%d" % number for number in range(10)),
    ]


async def test_nothing_is_sent_without_need(end: End) -> None:
    end.io.schedule_flush()
    end.io.schedule_flush()
    await settle()
    assert end.pipe.written == []


async def test_an_answer_to_what_was_read_is_sent_by_itself(end: End) -> None:
    end.feed(pb.Envelope(ping=7))
    await settle()
    assert [envelope.pong for envelope in end.pipe.envelopes()] == [7]


async def test_many_questions_of_one_frame_are_all_answered_in_order(end: End) -> None:
    end.feed(*(pb.Envelope(ping=number) for number in range(1, 101)))
    await settle()
    assert [envelope.pong for envelope in end.pipe.envelopes()] == list(range(1, 101))


async def test_the_reader_goes_on_while_a_write_waits(end: End) -> None:
    end.pipe.open.clear()
    end.link.ping()
    end.io.schedule_flush()
    await settle()
    end.feed(pb.Envelope(pong=1))
    end.feed(pb.Envelope(id=2, call=pb.LinkCall(method="Heartbeat")))
    await settle()
    assert [type(event) for event in end.events] == [HelloReceived, PongReceived, CallReceived]


async def test_events_are_told_in_order_however_many_a_frame_has(end: End) -> None:
    end.feed(*(pb.Envelope(pong=number) for number in range(100)))
    await settle()
    assert [event.number for event in end.events if isinstance(event, PongReceived)] == list(range(100))


async def test_each_frame_read_or_written_is_a_turn(end: End) -> None:
    before = end.turns
    end.feed(pb.Envelope(pong=1))
    await settle()
    assert end.turns == before + 1
    end.link.ping()
    end.io.schedule_flush()
    await settle()
    assert end.turns == before + 2


async def test_two_ends_answer_each_other(end: End) -> None:
    call = make_call()
    end.link.call(call, b"request")
    end.io.schedule_flush()
    await settle()
    end.feed(pb.Envelope(id=call.id, reply=b"answer"))
    await settle()
    assert end.events[-1] == Replied(call, b"answer")


# ------------------------------------------------------------------------------------------------------------- ends


async def test_finishing_sends_what_waits_first(end: End) -> None:
    end.pipe.open.clear()
    end.link.call(make_call(), b"x" * 1_000_000)
    end.io.finish()
    await settle()
    assert not end.task.done()
    end.pipe.open.set()
    await end.result()
    sent = end.pipe.envelopes()
    assert sum(len(envelope.part or envelope.call.payload) for envelope in sent) == 1_000_000
    assert sent[-1].WhichOneof("kind") == "call"


async def test_finishing_where_nothing_waits_ends_at_once(end: End) -> None:
    end.io.finish()
    await end.result()


async def test_a_peer_that_breaks_the_protocol_ends_it(end: End) -> None:
    end.pipe.feed(b"\xff")
    with pytest.raises(ProtocolError, match="cannot be read"):
        await end.result()


async def test_a_peer_that_does_not_read_ends_it() -> None:
    end = End(write_timeout=0.01)
    end.pipe.open.clear()
    with pytest.raises(DeadlineExceededError, match=r"its peer read nothing for 0\.01 s"):
        await end.result()


async def test_a_read_that_fails_ends_it(end: End) -> None:
    end.pipe.feed(ConnectionError("torn"))
    with pytest.raises(ConnectionError, match="torn"):
        await end.result()


async def test_a_write_that_fails_ends_it(end: End) -> None:
    end.pipe.write_failure = ConnectionError("torn")
    end.link.ping()
    end.io.schedule_flush()
    with pytest.raises(ConnectionError, match="torn"):
        await end.result()


async def test_an_event_that_cannot_be_taken_ends_it(end: End) -> None:
    def take(event: Any) -> None:
        raise LookupError("it")

    end.io._intake.on_event = take
    end.task.cancel()
    await asyncio.wait([end.task])
    task = asyncio.create_task(end.io.run())
    end.feed(pb.Envelope(pong=1))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(LookupError):
            await task


async def test_whoever_cancels_it_leaves_no_task_behind(end: End) -> None:
    end.pipe.open.clear()
    end.link.ping()
    end.io.schedule_flush()
    await settle()
    end.task.cancel()
    await asyncio.wait([end.task], timeout=PATIENCE)
    assert end.task.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_asyncio_does_not_log_the_second_error_of_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    end = End()

    async def read() -> bytes | None:
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never set
        except asyncio.CancelledError:
            raise ConnectionError("torn") from None

    end.pipe.read = read  # type: ignore[method-assign]  # as gRPC's, which fails where it is cancelled late
    end.pipe.write_failure = ConnectionError("torn")
    with pytest.raises(ConnectionError, match="torn"):
        await end.result()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_its_end_waits_for_what_the_stream_cleans_up(end: End) -> None:
    cleaned: list[str] = []

    async def write(frame: bytes) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await settle()
            cleaned.append("cleaned")

    end.pipe.write = write  # type: ignore[method-assign]  # a stream that takes its time
    end.link.ping()
    end.io.schedule_flush()
    await settle()
    end.pipe.feed(None)
    await end.result()
    assert cleaned == ["cleaned"]


async def test_waking_what_has_ended_is_nothing(end: End) -> None:
    end.pipe.feed(None)
    await end.result()
    end.io.schedule_flush()
    end.io.finish()


async def test_the_answers_that_came_before_a_link_broke_reach_those_who_wait(end: End) -> None:
    calls = [make_call() for _ in range(1_000)]
    for call in calls:
        end.link.call(call, b"")
    end.io.schedule_flush()
    await settle()
    end.pipe.open.clear()
    end.link.ping()
    end.io.schedule_flush()
    await settle()
    replies = [pb.Envelope(id=call.id, reply=b"done") for call in calls]
    end.feed(*replies, pb.Envelope(id=2, call=pb.LinkCall(method="ExecuteTool")))
    end.pipe.write_failure = OSError("the peer has gone")
    end.pipe.open.set()
    with pytest.raises(OSError, match="has gone"):
        await end.result()
    assert [event.call for event in end.events if isinstance(event, Replied)] == calls
    assert not any(isinstance(event, CallReceived) for event in end.events)


# --------------------------------------------------------------------------------------------- when frames leave


async def test_what_is_alone_leaves_after_the_frame_that_is_being_read_with_all_that_it_brought(end: End) -> None:
    policy = end.io._policy

    def take(event: Event) -> None:
        end.link.call(make_call(), b"x")
        end.io.schedule_flush(alone=True)
        assert end.pipe.written == []

    end.io._intake.on_event = take
    end.feed(*(pb.Envelope(pong=number) for number in range(3)))
    await settle()
    assert len(end.pipe.written) == 1
    assert len(end.pipe.envelopes()) == 3
    assert not policy._reading


async def test_a_frame_of_one_link_sends_what_it_brought_to_another_of_the_same_policy(end: End) -> None:
    other = End(policy=end.io._policy)
    await settle()
    other.pipe.envelopes()

    def take(event: Event) -> None:
        other.link.call(make_call(), b"x")
        other.io.schedule_flush(alone=True)

    end.io._intake.on_event = take
    end.feed(pb.Envelope(pong=1), pb.Envelope(pong=2))
    await settle()
    assert len(other.pipe.written) == 1
    assert len(other.pipe.envelopes()) == 2
    other.pipe.feed(None)
    await other.result()


async def test_what_is_alone_leaves_at_once_unless_the_loop_is_about_to_run_something(end: End) -> None:
    end.link.call(make_call(), b"x")
    end.io.schedule_flush(alone=True)
    assert len(end.pipe.written) == tells_whether_it_is_idle()
    await settle()
    asyncio.get_running_loop().call_soon(lambda: None)
    end.link.call(make_call(), b"y")
    end.io.schedule_flush(alone=True)
    assert len(end.pipe.written) == 1
    await settle()
    assert len(end.pipe.written) == 2


async def test_a_frame_whose_events_fail_leaves_the_policy_as_it_was(end: End) -> None:
    def take(event: Event) -> None:
        raise LookupError("it")

    end.io._intake.on_event = take
    end.feed(pb.Envelope(pong=1))
    with pytest.raises(LookupError):
        await end.result()
    assert not end.io._policy._reading


async def test_one_timer_looks_after_all_writes(end: End) -> None:
    watch = end.io._watch
    assert watch is not None
    for _ in range(5):
        end.link.ping()
        end.io.flush()
        await settle()
    assert end.io._watch is watch
