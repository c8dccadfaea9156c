"""One call while it runs: stepping, deadline, cancellation, and what is left of it in its caller's task."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import session_ended
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.errors import CallCancelledError, DeadlineExceededError, SessionExpiredError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.runner import calls as module
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.tools.context import ToolContext
from support.waiting import turns, until

CAUSE = CallCancelledError("somebody said stop")


@pytest.fixture
async def orphaned() -> AsyncIterator[TaskSet]:
    owner = TaskSet()
    yield owner
    await owner.aclose()


def make(
    orphaned: TaskSet, *, seconds: float = 3_600, parent: Call | None = None, opened_at: float | None = None
) -> Call:
    tool = RegisteredTool(ToolSpec(tool_id="slow", name="slow"), None, 1, Settings())
    session = parent.session if parent is not None else Session("s", {}, None)
    began = time.monotonic() if opened_at is None else opened_at
    return Call(session, tool, began + seconds, parent=parent, orphaned=orphaned, opened_at=began)


def context() -> ToolContext:
    return ToolContext(
        session_id="s",
        tool_name="slow",
        request_id="",
        metadata={},
        deadline=time.monotonic() + 3_600,
        loop=asyncio.get_running_loop(),
        runtime=None,  # type: ignore[arg-type]  # nothing is asked of it here
    )


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def run(call: Call, tool: Any) -> Any:
    """Runs a tool as the executor does; a call's own end comes as its cause."""
    try:
        return await call.step(tool)
    except asyncio.CancelledError:
        cause = call.convert()
        if cause is not None:
            raise cause from None
        raise
    finally:
        call.disarm()


async def test_a_tool_that_never_waits_costs_no_timer_and_is_never_armed(orphaned: TaskSet) -> None:
    async def tool() -> int:
        return 5

    call = make(orphaned)
    assert await run(call, tool()) == 5
    assert call.session.calls is None
    assert call._timer is None


async def test_a_tool_that_waits_gets_what_it_waits_for(orphaned: TaskSet) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def tool() -> int:
        await asyncio.sleep(0)
        return await future + 1

    call = make(orphaned)
    task = asyncio.create_task(run(call, tool()))
    await turns()
    assert call.session.calls == {call}
    future.set_result(1)
    assert await task == 2
    assert call.session.calls == set()


async def test_an_error_that_a_tool_waits_for_is_the_tools_to_handle(orphaned: TaskSet) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def tool() -> str:
        try:
            await future
        except LookupError as error:
            return f"handled {error}"
        return "not raised"

    task = asyncio.create_task(run(make(orphaned), tool()))
    await turns()
    future.set_exception(LookupError("it"))
    assert await task == "handled it"


async def test_a_passed_deadline_ends_the_tool_and_leaves_the_task_as_it_was(orphaned: TaskSet) -> None:
    async def caller() -> int:
        with pytest.raises(DeadlineExceededError, match="slow did not end within its deadline"):
            await run(make(orphaned, seconds=0), forever())
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return task.cancelling()

    assert await asyncio.create_task(caller()) == 0


async def test_a_cancelled_call_ends_with_its_first_cause(orphaned: TaskSet) -> None:
    call = make(orphaned)
    task = asyncio.create_task(run(call, forever()))
    await turns()
    call.cancel(CAUSE)
    call.cancel(CallCancelledError("too late"))
    with pytest.raises(CallCancelledError, match="somebody said stop"):
        await task
    assert task.cancelling() == 0


async def test_the_tools_context_is_told_of_the_end(orphaned: TaskSet) -> None:
    call = make(orphaned)
    call.context = context()
    task = asyncio.create_task(run(call, forever()))
    await turns()
    assert not call.context.cancelled
    call.cancel(CAUSE)
    assert call.context.cancelled
    await asyncio.wait([task])
    assert isinstance(task.exception(), CallCancelledError)


async def test_a_cancellation_from_outside_stays_one(orphaned: TaskSet) -> None:
    call = make(orphaned)
    call.context = context()
    task = asyncio.create_task(run(call, forever()))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.context.cancelled


async def test_a_cancellation_from_outside_wins_over_the_calls_own(orphaned: TaskSet) -> None:
    call = make(orphaned)
    task = asyncio.create_task(run(call, forever()))
    await turns()
    call.cancel(CAUSE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_between_two_steps_is_not_taken_for_the_calls_own(
    orphaned: TaskSet,
) -> None:
    call = make(orphaned)

    async def caller() -> None:
        await run(call, asyncio.sleep(0))
        call.cancel(CAUSE)
        try:
            await forever()
        except asyncio.CancelledError:
            assert call.convert() is None
            raise

    task = asyncio.create_task(caller())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_tool_that_awaits_something_cancelled_is_not_taken_for_cancelled(orphaned: TaskSet) -> None:
    async def tool() -> str:
        other = asyncio.create_task(forever())
        await asyncio.sleep(0)
        other.cancel()
        try:
            await other
        except asyncio.CancelledError:
            return "went on"
        return "not cancelled"

    call = make(orphaned)
    call.context = context()
    assert await run(call, tool()) == "went on"
    assert not call.context.cancelled


@pytest.mark.parametrize("answer", ["returns", "raises"])
async def test_a_tool_that_answers_its_cancellation_leaves_no_trace_in_its_callers_task(
    orphaned: TaskSet, answer: str
) -> None:
    async def tool() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            if answer == "raises":
                raise LookupError("in the clean-up") from None
        return "cleaned up"

    call = make(orphaned)
    task = asyncio.create_task(run(call, tool()))
    await turns()
    call.cancel(CAUSE)
    await asyncio.wait([task])
    assert task.cancelling() == 0
    if answer == "raises":
        assert isinstance(task.exception(), LookupError)
    else:
        assert task.result() == "cleaned up"


async def test_a_tool_may_clean_up_before_its_caller_is_answered(orphaned: TaskSet) -> None:
    cleaned = []

    async def tool() -> None:
        try:
            await forever()
        finally:
            await turns()
            cleaned.append("cleaned")

    call = make(orphaned)
    task = asyncio.create_task(run(call, tool()))
    await turns()
    call.cancel(CAUSE)
    await asyncio.wait([task])
    assert cleaned == ["cleaned"]
    assert isinstance(task.exception(), CallCancelledError)


async def test_a_tool_that_ignores_its_cancellation_runs_on_without_its_caller(
    orphaned: TaskSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLEANUP_SECONDS", 0)
    go, ended = asyncio.Event(), asyncio.Event()

    async def tool() -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(0)
        ended.set()

    call = make(orphaned)
    task = asyncio.create_task(run(call, tool()))
    await turns()
    call.cancel(CAUSE)
    with pytest.raises(CallCancelledError):
        await task
    assert task.cancelling() == 0
    assert call.abandoned
    assert len(orphaned) == 1
    assert "slow ignores its cancellation; it continues without a caller" in caplog.text
    go.set()
    await ended.wait()
    await turns()
    assert len(orphaned) == 0


async def abandon(orphaned: TaskSet, tool: Any) -> None:
    call = make(orphaned)
    task = asyncio.create_task(run(call, tool))
    await turns()
    call.cancel(CAUSE)
    await asyncio.wait([task])
    assert call.abandoned


async def test_a_tool_that_never_ends_does_not_hold_up_the_end_of_its_owner(
    orphaned: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLEANUP_SECONDS", 0)

    async def tool() -> None:
        while True:
            try:
                await forever()
            except asyncio.CancelledError:
                continue

    await abandon(orphaned, tool())
    await orphaned.aclose()
    assert len(orphaned) == 0


async def test_a_tool_left_behind_handles_what_it_waits_for(
    orphaned: TaskSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLEANUP_SECONDS", 0)
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
    seen: list[str] = []

    async def tool() -> None:
        for future in futures:
            while not future.done():
                try:
                    await asyncio.shield(future)
                except asyncio.CancelledError:
                    seen.append("cancelled")
                except LookupError:
                    seen.append("error")
        raise ValueError("at its end")

    await abandon(orphaned, tool())
    seen.clear()
    futures[0].set_exception(LookupError())
    await turns()
    futures[1].cancel()
    await turns()
    assert seen == ["error", "cancelled"]
    assert len(orphaned) == 0
    # It has a cause, so a thread writes it.
    await until(lambda: "an orphaned tool failed" in caplog.text)
    assert "at its end" in caplog.text


async def test_a_generator_left_behind_ends_without_a_word(
    orphaned: TaskSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLEANUP_SECONDS", 0)
    go = asyncio.Event()

    async def values() -> AsyncGenerator[int, None]:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return
        yield

    await abandon(orphaned, values().__anext__())
    go.set()
    await turns()
    assert len(orphaned) == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and "failed" in record.message] == []


async def test_a_clean_up_that_hangs_is_left_behind_too(orphaned: TaskSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLEANUP_SECONDS", 0)
    call = make(orphaned)

    async def caller() -> None:
        await call.step(asyncio.sleep(0))
        call.cancel(CAUSE)
        # A step that begins after the end has the time for a clean-up and no more.
        await run(call, forever())

    with pytest.raises(CallCancelledError):
        await asyncio.create_task(caller())
    assert call.abandoned


async def test_a_closed_step_closes_its_tool(orphaned: TaskSet) -> None:
    closed = []

    async def tool() -> None:
        try:
            await forever()
        finally:
            closed.append("closed")

    step = make(orphaned).step(tool())
    step.send(None)
    step.close()
    assert closed == ["closed"]


async def test_check_raises_once_the_time_is_over(orphaned: TaskSet) -> None:
    make(orphaned).check()
    with pytest.raises(DeadlineExceededError):
        make(orphaned, seconds=-1).check()


async def test_check_raises_the_cause_of_a_cancelled_call(orphaned: TaskSet) -> None:
    call = make(orphaned)
    call.cancel(CAUSE)
    with pytest.raises(CallCancelledError, match="somebody said stop"):
        call.check()


async def test_parent_and_child_that_are_cancelled_together_end_with_the_parents_cause(orphaned: TaskSet) -> None:
    parent = make(orphaned)
    child = make(orphaned, parent=parent)
    task = asyncio.create_task(run(parent, run(child, forever())))
    await turns()
    for call in (child, parent):
        call.cancel(CAUSE)
    with pytest.raises(CallCancelledError):
        await task
    assert task.cancelling() == 0
    assert parent.session.calls == set()


async def test_a_child_that_is_cancelled_alone_ends_and_its_parent_goes_on(orphaned: TaskSet) -> None:
    parent = make(orphaned)
    child = make(orphaned, parent=parent)

    async def tool() -> str:
        with pytest.raises(CallCancelledError):
            await run(child, forever())
        await asyncio.sleep(0)
        return "went on"

    task = asyncio.create_task(run(parent, tool()))
    await turns()
    child.cancel(CAUSE)
    assert await task == "went on"


def test_the_error_of_an_ended_session_says_how_it_ended() -> None:
    error = session_ended(SessionExpiredError("session 's' has ended: it was removed"))
    assert error.error_type == "Cancelled"
    assert error.message == "the call was cancelled: session 's' has ended: it was removed"


# ------------------------------------------------------------------------------------------- whether it has begun


NEVER = (
    "slow did not end within its deadline of 2.5 s; it never began, since it waited for a thread, so that it is safe"
)
BEGAN = "slow did not end within its deadline of 2.5 s; it had begun, and may have taken effect"


def timed_out(call: Call) -> tuple[str, dict[str, str]]:
    error = call.timeout_error()
    return error.message, error.details


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(2.5, "2.5"), (0.25, "0.25"), (30.0, "30"), (1_200_000.0, "1200000"), (0.0004, "0.001"), (1 / 3, "0.333")],
)
async def test_a_time_out_says_how_long_the_call_had(orphaned: TaskSet, seconds: float, shown: str) -> None:
    text, _ = timed_out(make(orphaned, seconds=seconds, opened_at=1_000.0))
    assert text.startswith(f"slow did not end within its deadline of {shown} s; it had begun")


async def test_a_call_whose_time_was_over_before_never_began(orphaned: TaskSet) -> None:
    text, details = timed_out(make(orphaned, seconds=-1, opened_at=1_000.0))
    assert text == "slow did not end within its deadline, which had passed before the call; it never began"
    assert details["started"] == "false"


async def test_a_call_that_waits_when_its_time_is_over_never_begins(orphaned: TaskSet) -> None:
    ran: list[int] = []
    call = make(orphaned, seconds=2.5, opened_at=1_000.0)
    function = call.when_begun("a thread", lambda: ran.append(1))
    text, details = timed_out(call)
    assert text.startswith(NEVER)
    assert details == {"started": "false", "waited_for": "a thread"}
    with pytest.raises(CallCancelledError, match="slow: the call was over before its tool began"):
        function()
    assert ran == []
    assert not call.stop_waiting()


async def test_a_call_that_has_begun_when_its_time_is_over_says_so(orphaned: TaskSet) -> None:
    call = make(orphaned, seconds=2.5, opened_at=1_000.0)
    function = call.when_begun("a thread", lambda: timed_out(call))
    assert function() == (BEGAN, {"started": "true"})


async def test_a_call_may_wait_for_one_thing_after_another(orphaned: TaskSet) -> None:
    call = make(orphaned, seconds=2.5, opened_at=1_000.0)
    call.wait_for("a permit")
    assert call.stop_waiting()
    assert call.stop_waiting()
    call.wait_for("a thread")
    assert timed_out(call)[1]["waited_for"] == "a thread"


async def test_of_a_thread_that_begins_and_a_deadline_that_passes_just_one_wins(orphaned: TaskSet) -> None:
    for _ in range(200):
        call = make(orphaned, seconds=2.5, opened_at=1_000.0)
        call.wait_for("a thread")
        began: list[bool] = []
        thread = threading.Thread(target=lambda call=call, began=began: began.append(call.stop_waiting()))
        thread.start()
        _, details = timed_out(call)
        thread.join()
        assert details["started"] == ("true" if began == [True] else "false")
