"""The slices in which frames are processed."""

from typing import Any

import pytest

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import ProtocolError
from grpc_tool_bridge.link import intake as intake_module
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import CallReceived, Event, PongReceived, Replied
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.intake import MANY_ENVELOPES, SLICE_EVENTS, Intake, drop
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


@pytest.fixture(autouse=True)
def _slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices end by their events alone, however busy the machine."""
    monkeypatch.setattr(intake_module, "FRAME_SECONDS", 1_000.0)


class Desk:
    """An intake, and what it did."""

    def __init__(self) -> None:
        self.link = Link(dialer=True, hello=pb.LinkHello())
        self.events: list[Event] = []
        self.done: list[str] = []
        self.policy = FlushPolicy()
        self.intake = Intake(
            self.link,
            on_event=self.events.append,
            on_writable=lambda: self.done.append("writable"),
            flush=lambda: self.done.append("flush"),
            policy=self.policy,
        )
        list(self.intake.process([frame(pb.Envelope(hello=pb.LinkHello(protocol=1)))]))
        self.events.clear()
        self.done.clear()

    @property
    def pongs(self) -> list[int]:
        return [event.number for event in self.events if isinstance(event, PongReceived)]


def _fail(event: Event) -> None:
    raise LookupError(event)


def frame(*envelopes: pb.Envelope) -> bytes:
    return pb.LinkFrame(envelopes=envelopes).SerializeToString()


def pongs(numbers: range) -> bytes:
    return frame(*(pb.Envelope(pong=number) for number in numbers))


def test_a_small_frame_is_one_slice_after_which_what_it_brought_is_sent() -> None:
    desk = Desk()
    assert list(desk.intake.process([pongs(range(3))])) == []
    assert desk.pongs == [0, 1, 2]
    assert desk.done == ["writable", "flush"]


def test_frames_that_came_together_are_processed_in_order_and_sent_once() -> None:
    desk = Desk()
    assert list(desk.intake.process([pongs(range(2)), pongs(range(2, 4))])) == []
    assert desk.pongs == [0, 1, 2, 3]
    assert desk.done == ["writable", "flush"]


def test_between_slices_the_first_answers_are_sent_and_nothing_is_being_read() -> None:
    desk = Desk()
    work = desk.intake.process([pongs(range(2 * SLICE_EVENTS + 1))])
    next(work)
    assert len(desk.pongs) == SLICE_EVENTS
    assert desk.done == ["flush"]
    assert not desk.policy._reading
    assert len(list(work)) == 1
    assert desk.pongs == list(range(2 * SLICE_EVENTS + 1))


def test_a_frame_of_very_many_envelopes_is_read_in_parts() -> None:
    desk = Desk()
    work = desk.intake.process([pongs(range(MANY_ENVELOPES + 1))])
    slices = sum(1 for _ in work)
    assert slices == MANY_ENVELOPES // SLICE_EVENTS + 1
    assert desk.pongs == list(range(MANY_ENVELOPES + 1))


def test_a_frame_that_ends_with_a_slice_is_not_interrupted() -> None:
    desk = Desk()
    assert not list(desk.intake.process([pongs(range(SLICE_EVENTS))]))
    assert desk.pongs == list(range(SLICE_EVENTS))


def test_many_frames_that_take_long_give_others_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    monkeypatch.setattr(intake_module, "FRAME_SECONDS", 0.0)
    work = desk.intake.process([pongs(range(1)), pongs(range(1, 2)), pongs(range(2, 3))])
    assert sum(1 for _ in work) == 2
    assert desk.pongs == [0, 1, 2]


def test_what_is_dropped_still_delivers_the_answers_of_the_frame_in_progress_and_no_call() -> None:
    desk = Desk()
    calls: list[Any] = [OutgoingCall(call_prefix("ExecuteTool")) for _ in range(2 * SLICE_EVENTS)]
    for call in calls:
        desk.link.call(call, b"")
    while desk.link.has_output:
        desk.link.next_frame()
    replies = [pb.Envelope(id=call.id, reply=b"done") for call in calls]
    begun = pb.Envelope(id=2, call=pb.LinkCall(method="ExecuteTool"))
    work = desk.intake.process([frame(*replies, begun), pongs(range(1))])
    next(work)
    drop(work)
    assert [event.call for event in desk.events if isinstance(event, Replied)] == calls
    assert not any(isinstance(event, CallReceived | PongReceived) for event in desk.events)
    assert not desk.policy._reading


def test_dropping_what_has_not_begun_processes_nothing() -> None:
    desk = Desk()
    drop(desk.intake.process([pongs(range(1))]))
    assert desk.events == []


def test_an_error_leaves_the_policy_as_it_was() -> None:
    desk = Desk()
    with pytest.raises(ProtocolError):
        list(desk.intake.process([b"\xff"]))
    desk.intake.on_event = _fail
    with pytest.raises(LookupError):
        list(desk.intake.process([pongs(range(1))]))
    assert not desk.policy._reading


def test_a_slice_that_has_begun_anew_is_not_due() -> None:
    turns = Turns(0.0)
    assert turns.due
    turns._seconds = 1_000
    turns.begin()
    assert not turns.due
