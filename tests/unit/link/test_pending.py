"""Calls that no link has taken yet."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.errors import ToolCommunicationError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.pending import PendingCalls
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.patience import PATIENCE


def make_call(*, waits: bool = True, timeout_ms: int = 0) -> LinkCall:
    call = LinkCall(call_prefix("ExecuteTool", timeout_ms=timeout_ms))
    if not waits:
        call.waits = False
    return call


def timeout_of(call: LinkCall) -> int:
    """Reads the milliseconds that the hub is told."""
    return pb.LinkCall.FromString(call.prefix + b"\x00").timeout_ms


def unavailable(seconds: float) -> ToolCommunicationError:
    return link_error(Code.UNAVAILABLE, f"none within {seconds:g} s")


@pytest.fixture
def waiting() -> PendingCalls:
    return PendingCalls(unavailable)


async def error_of(call: LinkCall) -> ToolCommunicationError:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ToolCommunicationError) as caught:
            await call.answer()
    return caught.value


async def test_calls_are_taken_in_the_order_in_which_they_came(waiting: PendingCalls) -> None:
    calls = [make_call() for _ in range(3)]
    for number, call in enumerate(calls):
        waiting.add(call, b"%d" % number, 60, counts=False)
        assert call.carrier is waiting
    assert len(waiting) == 3
    assert [waiting.take() for _ in range(3)] == [(call, b"%d" % number) for number, call in enumerate(calls)]
    assert len(waiting) == 0
    assert not any(call.is_over for call in calls)


async def test_each_waits_for_its_own_time_only(waiting: PendingCalls) -> None:
    patient, hasty = make_call(), make_call()
    waiting.add(patient, b"", 60, counts=True)
    waiting.add(hasty, b"", 0.01, counts=True)
    error = await error_of(hasty)
    assert (error.code, error.details) == ("UNAVAILABLE", "none within 0.01 s")
    assert waiting.take() == (patient, b"")
    assert not patient.is_over


async def test_a_call_that_was_taken_does_not_run_out_of_time(waiting: PendingCalls) -> None:
    call = make_call()
    waiting.add(call, b"", 0, counts=False)
    timer = waiting._entries[call].timer
    waiting.take()
    assert timer.cancelled()
    # As where its timer was due in the turn in which it was taken.
    waiting._expire(call, 0)
    assert not call.is_over


async def test_the_time_that_was_waited_is_taken_off(waiting: PendingCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("grpc_tool_bridge.link.pending.time.monotonic", lambda: now)
    call = make_call(timeout_ms=5_000)
    waiting.add(call, b"", 5, counts=True)
    now += 1.5
    waiting.take()
    assert timeout_of(call) == 3_500


async def test_a_call_that_is_taken_at_its_last_moment_has_a_millisecond(
    waiting: PendingCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("grpc_tool_bridge.link.pending.time.monotonic", lambda: now)
    call = make_call()
    waiting.add(call, b"", 5, counts=True)
    now += 6
    waiting.take()
    # 0 would be no limit at all.
    assert timeout_of(call) == 1


async def test_of_a_call_without_a_time_of_its_own_nothing_is_taken_off(waiting: PendingCalls) -> None:
    call = make_call()
    waiting.add(call, b"", 60, counts=False)
    waiting.take()
    assert timeout_of(call) == 0


async def test_a_call_that_is_cancelled_waits_no_more(waiting: PendingCalls) -> None:
    first, second = make_call(), make_call()
    for call in (first, second):
        waiting.add(call, b"", 60, counts=False)
    timer = waiting._entries[first].timer
    assert first.cancel()
    assert timer.cancelled()
    assert len(waiting) == 1
    assert waiting.take() == (second, b"")
    waiting.cancel(first)
    waiting.grant(first, 1)


async def test_all_of_them_can_fail_each_with_an_error_of_its_own(waiting: PendingCalls) -> None:
    calls = [make_call(), make_call(waits=False)]
    for call in calls:
        waiting.add(call, b"", 60, counts=False)
    waiting.fail(lambda: unavailable(1))
    errors = [await error_of(call) for call in calls]
    assert errors[0] is not errors[1]
    assert len(waiting) == 0


async def test_those_that_do_not_wait_for_a_further_dial_fail_alone(waiting: PendingCalls) -> None:
    patient, impatient = make_call(), make_call(waits=False)
    for call in (patient, impatient):
        waiting.add(call, b"", 60, counts=False)
    waiting.fail(lambda: unavailable(1), fail_fast_only=True)
    await error_of(impatient)
    assert not patient.is_over
    assert waiting.take() == (patient, b"")


async def test_what_a_lost_link_gives_back_comes_before_what_came_since(waiting: PendingCalls) -> None:
    calls = [make_call() for _ in range(4)]
    waiting.add(calls[2], b"2", 60, counts=False)
    waiting.add(calls[3], b"3", 60, counts=False)
    waiting.put_back([(calls[0], b"0"), (calls[1], b"1")], 60)
    assert len(waiting) == 4
    assert [waiting.take() for _ in range(4)] == [(call, b"%d" % number) for number, call in enumerate(calls)]


async def test_what_has_ended_is_not_put_back(waiting: PendingCalls) -> None:
    call = make_call()
    call.cancel()
    waiting.put_back([(call, b"")], 60)
    assert len(waiting) == 0


async def test_what_was_put_back_waits_as_long_as_it_is_told(waiting: PendingCalls) -> None:
    call = make_call(timeout_ms=7)
    waiting.put_back([(call, b"")], 0.01)
    assert (await error_of(call)).details == "none within 0.01 s"
    other = make_call(timeout_ms=7)
    waiting.put_back([(other, b"")], 60)
    waiting.take()
    assert timeout_of(other) == 7


async def test_what_was_put_back_with_a_time_of_its_own_has_what_is_left_of_it(waiting: PendingCalls) -> None:
    call = make_call(timeout_ms=60_000)
    call.limit(30)
    waiting.put_back([(call, b"")], 0)
    waiting.take()
    assert 29_000 < timeout_of(call) <= 30_000
    call.cancel()


async def test_a_call_waits_no_longer_than_its_own_time_allows(waiting: PendingCalls) -> None:
    call: Any = make_call()
    call.limit(0.01)
    waiting.add(call, b"", 60, counts=True)
    assert (await error_of(call)).code == "DEADLINE_EXCEEDED"
    assert len(waiting) == 0
