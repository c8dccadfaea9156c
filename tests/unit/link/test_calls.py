"""A call on its way to a worker and back."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.errors import (
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnavailableError,
)
from grpc_tool_bridge.link.calls import LOST_DETAIL, MAY_HAVE_BEGUN, NOT_BEGUN, AgentCall, WorkerCall, WorkerLostError
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, ErrorInfo, LinkFrame, LinkStatus
from support.waiting import soon


def make(seconds: float = 60.0, *, streaming: bool = False, depth: int = 0) -> WorkerCall:
    owner = SimpleNamespace(deadline=time.monotonic() + seconds, depth=depth, asker=None, trace=None)
    return WorkerCall(cast("HubCall", owner), streaming=streaming)


async def begin(awaitable: Any) -> "asyncio.Task[Any]":
    async def wait() -> Any:
        return await awaitable

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not task.done()
    return task


def sent(call: WorkerCall) -> Envelope:
    """Reads what the worker is sent."""
    call.id = 2
    (envelope,) = LinkFrame.FromString(call.header(7) + b"payload").envelopes
    return envelope


def test_a_call_names_its_method_and_the_time_that_is_left() -> None:
    envelope = sent(make(1.5))
    assert (envelope.id, envelope.call.method, envelope.call.payload) == (2, "ExecuteTool", b"payload")
    assert 0 < envelope.call.timeout_ms <= 1_500
    assert sent(make(streaming=True)).call.method == "StreamTool"


def test_a_call_says_how_many_are_above_it() -> None:
    assert not sent(make()).call.metadata
    for streaming in (False, True):
        assert sent(make(depth=3, streaming=streaming)).call.metadata == {"tool-bridge-depth": "3"}


@pytest.mark.parametrize(("seconds", "milliseconds"), [(-1.0, 1), (0.0, 1), (10_000_000.0, 2**32 - 1)])
def test_the_time_that_is_left_fits_its_field(seconds: float, milliseconds: int) -> None:
    assert sent(make(seconds)).call.timeout_ms == milliseconds


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("asks", [False, True])
def test_a_call_says_on_whose_behalf_it_is_made(streaming: bool, asks: bool) -> None:
    asker = SimpleNamespace(can_ask=True) if asks else None
    owner: Any = SimpleNamespace(trace=None, deadline=time.monotonic() + 60, depth=2, asker=asker)
    expected = {"tool-bridge-depth": "2", "tool-bridge-principal": "ada"} | (
        {"tool-bridge-asks": "true"} if asks else {}
    )
    call = WorkerCall(owner, streaming=streaming, caller="ada")
    assert sent(call).call.metadata == expected
    assert call.can_answer is asks
    call = WorkerCall(owner, streaming=streaming, caller="ada", at_peer=True, above=7)
    assert sent(call).call.metadata == expected | {"tool-bridge-above": "7"}


def test_the_run_of_an_agent_says_on_whose_behalf_and_whether_it_tells_of_its_model() -> None:
    owner: Any = SimpleNamespace(trace=None, deadline=time.monotonic() + 60, depth=0, asker=None)
    reports, caller = {"tool-bridge-model-reports": "true"}, {"tool-bridge-principal": "ada"}
    assert not sent(AgentCall(owner)).call.metadata
    assert sent(AgentCall(owner, lambda *_: None)).call.metadata == reports
    assert sent(AgentCall(owner, None, "ada")).call.metadata == caller
    both = sent(AgentCall(owner, lambda *_: None, "ada")).call
    assert both.method == "ExecuteAgent"
    assert both.metadata == reports | caller


def test_only_a_stream_has_a_window() -> None:
    assert not make().streaming
    stream = make(streaming=True)
    assert (stream.streaming, stream.window) == (True, INITIAL_CREDIT)


async def test_an_answer_comes_to_whoever_waits_and_to_whoever_asks_later() -> None:
    call = make()
    waiting = await begin(call.answer())
    call.on_reply(b"answer")
    assert await soon(waiting) == b"answer"
    assert await soon(call.answer()) == b"answer"


async def test_a_stream_gives_what_arrived_before_its_end() -> None:
    call = make(streaming=True)
    reading = await begin(call.read())
    assert not call.has_arrived
    call.on_message(b"1")
    call.on_message(b"2")
    assert call.has_arrived
    assert await soon(reading) == b"1"
    call.on_end(LinkStatus())
    assert [await soon(call.read()) for _ in range(3)] == [b"2", None, None]


async def test_a_stream_gives_what_arrived_before_its_error() -> None:
    call = make(streaming=True)
    call.on_message(b"1")
    call.on_end(LinkStatus(code=14, message="gone"))
    assert await soon(call.read()) == b"1"
    with pytest.raises(UnavailableError, match="gone"):
        await soon(call.read())


async def test_the_end_wakes_whoever_reads() -> None:
    call = make(streaming=True)
    reading = await begin(call.read())
    call.on_end(LinkStatus())
    assert await soon(reading) is None


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (LinkStatus(code=1, message="stopped"), CallCancelledError, "stopped"),
        (LinkStatus(code=4), DeadlineExceededError, "the worker gave no reason"),
        (LinkStatus(code=8, message="full"), ResourceExhaustedError, "full"),
        (LinkStatus(code=14, message="leaves"), UnavailableError, "leaves"),
        (LinkStatus(code=2, message="odd"), ProtocolError, "status 2: odd"),
        (LinkStatus(code=8, error=ErrorInfo(type="TimeoutError", message="late")), ToolBridgeError, "late"),
    ],
)
async def test_a_refusal_is_the_error_that_its_status_says(
    status: LinkStatus, kind: type[ToolBridgeError], text: str
) -> None:
    call = make()
    waiting = await begin(call.answer())
    call.on_end(status)
    with pytest.raises(kind, match=text):
        await soon(waiting)


async def test_a_lost_worker_ends_the_call_once() -> None:
    call = make()
    waiting = await begin(call.answer())
    call.lost(WorkerLostError("killed", began=True))
    call.lost(WorkerLostError("again", began=False))
    with pytest.raises(WorkerLostError, match="killed") as caught:
        await soon(waiting)
    assert caught.value.began
    assert caught.value.error_type == "WorkerUnavailable"


async def test_what_was_answered_is_lost_no_more() -> None:
    call = make()
    call.on_reply(b"answer")
    call.lost(WorkerLostError("too late", began=True))
    assert await soon(call.answer()) == b"answer"


@pytest.mark.parametrize(("said", "began"), [(NOT_BEGUN, False), (MAY_HAVE_BEGUN, True), ("rubbish", True)])
async def test_a_worker_that_another_hub_has_lost_is_lost(said: str, began: bool) -> None:
    owner = SimpleNamespace(deadline=time.monotonic() + 9, depth=0, asker=None, trace=None)
    error = ErrorInfo(type="WorkerUnavailable", message="it is gone", details={LOST_DETAIL: said})
    status = LinkStatus(code=14, message="it is gone", error=error)
    remote = WorkerCall(cast("HubCall", owner), streaming=False, at_peer=True)
    remote.on_end(status)
    with pytest.raises(WorkerLostError, match="it is gone") as caught:
        await soon(remote.answer())
    assert caught.value.began is began
    # A worker cannot say so.
    remote = WorkerCall(cast("HubCall", owner), streaming=False)
    remote.on_end(status)
    with pytest.raises(UnavailableError) as refused:
        await soon(remote.answer())
    assert not isinstance(refused.value, WorkerLostError)


@pytest.mark.parametrize("asks", [False, True])
def test_only_another_hub_is_told_of_the_call_above(asks: bool) -> None:
    asker = SimpleNamespace(can_ask=True) if asks else None
    owner = SimpleNamespace(deadline=time.monotonic() + 9, depth=2, asker=asker, trace=None)
    at_worker = WorkerCall(cast("HubCall", owner), streaming=False, above=7)
    at_peer = WorkerCall(cast("HubCall", owner), streaming=False, above=7, at_peer=True)
    assert b"tool-bridge-above" not in at_worker.prefix
    assert b"tool-bridge-above" in at_peer.prefix
    assert b"tool-bridge-depth" in at_peer.prefix
    assert (b"tool-bridge-asks" in at_peer.prefix) is asks
