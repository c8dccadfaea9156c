"""Calls to another hub, before and without a link: their options, and what their failures become."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.cluster.links.peer_calls import PeerCall, PeerLostError, Serialized
from grpc_tool_bridge.errors import DeadlineExceededError, NotFoundError, ResourceExhaustedError, UnavailableError
from grpc_tool_bridge.link.status import Code, link_error, link_status_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.waiting import soon


def head(call: PeerCall) -> pb.LinkCall:
    """Reads what the call's prefix says."""
    return pb.LinkCall.FromString(call.prefix + b"\x00")


def test_a_call_says_its_method_timeout_and_metadata() -> None:
    call = PeerCall("ExecuteTool", metadata={"k": "v"}, timeout=1.5)
    assert (head(call).method, head(call).timeout_ms, dict(head(call).metadata)) == ("ExecuteTool", 1500, {"k": "v"})
    assert head(PeerCall("Heartbeat")) == pb.LinkCall(method="Heartbeat", payload=b"")
    assert head(PeerCall("Heartbeat", timeout=0.0)).timeout_ms == 1
    assert head(PeerCall("Heartbeat", timeout=1e9)).timeout_ms == 2**32 - 1


def test_a_call_whose_questions_are_answered_says_so_and_passes_them_on() -> None:
    asked: list[Any] = []
    call = PeerCall("ExecuteTool", metadata={"k": "v"}, on_ask=lambda ask, give: asked.append((ask.id, give)))
    assert dict(head(call).metadata) == {"k": "v", "tool-bridge-asks": "true"}
    assert call.can_answer
    answers: list[pb.Answer] = []
    call.on_ask(pb.Ask(id="3"), answers.append)
    assert asked == [("3", answers.append)]
    PeerCall("ExecuteTool").on_ask(pb.Ask(id="4"), answers.append)
    assert [(answer.id, answer.action) for answer in answers] == [("4", "cancel")]


def test_events_are_passed_on_until_the_call_is_over() -> None:
    events: list[pb.LinkEvent] = []
    call = PeerCall("ExecuteTool", on_event=events.append)
    call.on_event(pb.LinkEvent(progress=pb.Progress(current=1)))
    call.on_reply(b"")
    call.on_event(pb.LinkEvent(progress=pb.Progress(current=2)))
    PeerCall("ExecuteTool").on_event(pb.LinkEvent())
    assert [event.progress.current for event in events] == [1]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (link_error(Code.UNAVAILABLE, "lost"), PeerLostError, "lost"),
        (link_error(Code.INTERNAL, "broken"), PeerLostError, "broken"),
        (link_error(Code.DEADLINE_EXCEEDED, "late"), DeadlineExceededError, "did not answer in time: late"),
        (NotFoundError("none"), NotFoundError, "none"),
    ],
)
async def test_a_failure_of_the_link_is_an_error_of_the_bridge(error: Any, kind: type[Exception], text: str) -> None:
    call = PeerCall("ExecuteTool")
    call.id = 1
    call.fail(error)
    with pytest.raises(kind, match=text):
        await soon(call.answer())


async def test_a_request_that_is_too_large_is_the_caller_s_fault() -> None:
    call = PeerCall("ExecuteTool")
    call.fail(link_error(Code.RESOURCE_EXHAUSTED, "the request has too many bytes"))
    with pytest.raises(ResourceExhaustedError, match="too many bytes"):
        await soon(call.answer())


@pytest.mark.parametrize(("number", "began"), [(0, False), (7, True)])
async def test_a_lost_call_tells_whether_it_may_have_acted(number: int, began: bool) -> None:
    call = PeerCall("ExecuteTool")
    call.id = number
    call.why_gone = lambda: "hub b is gone"
    call.fail(link_error(Code.CANCELLED, "closed"))
    with pytest.raises(PeerLostError, match=r"^hub b is gone$") as caught:
        await soon(call.answer())
    assert caught.value.began is began
    assert isinstance(caught.value, UnavailableError)


async def test_the_other_hub_s_error_comes_whole() -> None:
    call = PeerCall("ExecuteTool")
    call.on_end(link_status_of(NotFoundError("no tool", details={"did_you_mean": "t"})))
    with pytest.raises(NotFoundError, match="no tool") as caught:
        await soon(call.answer())
    assert caught.value.details["did_you_mean"] == "t"


async def test_a_cancelled_call_is_cancelled_and_not_lost() -> None:
    call = PeerCall("ExecuteTool")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(call.answer())


async def test_a_call_that_takes_too_long_says_so() -> None:
    call = PeerCall("ExecuteTool", timeout=5)
    left = call.time_remaining()
    assert left is not None
    assert 4 < left <= 5
    call.id = 1
    call.expire()
    with pytest.raises(DeadlineExceededError, match="did not answer in time"):
        await soon(call.answer())
    unsent = PeerCall("ExecuteTool", timeout=5)
    unsent.expire()
    with pytest.raises(PeerLostError, match="no link to the other hub within the time"):
        await soon(unsent.answer())
    assert PeerCall("ExecuteTool").time_remaining() is None


def test_a_serialized_request_is_not_serialized_again() -> None:
    assert Serialized(b"x").SerializeToString() == b"x"
