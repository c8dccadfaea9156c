"""Time-outs of the path of every call."""

import asyncio
import math
from collections.abc import Generator
from typing import Any

import pytest

from grpc_tool_bridge.aio.timeouts import ExpiredError, TimeLimit, was_cancelled, within
from support.patience import PATIENCE
from support.waiting import turns


class Timers:
    """Counts the timers that are set while it watches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        original = loop.call_later
        self.handles: list[asyncio.TimerHandle] = []

        def call_later(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
            handle = original(delay, callback, *args, **options)
            self.handles.append(handle)
            return handle

        monkeypatch.setattr(loop, "call_later", call_later)


async def number() -> int:
    return 7


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_is_done_at_once_costs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    assert await within(number(), 10) == 7
    assert timers.handles == []


async def test_what_waits_is_given_its_result_and_its_timer_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    assert await within(turns(3), 10) == 3
    assert [handle.cancelled() for handle in timers.handles] == [True]


@pytest.mark.parametrize("seconds", [math.inf, 2_000_000.0])
async def test_a_timeout_may_be_endless_or_days_away(seconds: float) -> None:
    assert await within(turns(3), seconds) == 3


async def test_what_takes_too_long_is_cancelled_and_reported_as_expired() -> None:
    cleaned = []

    async def slow() -> None:
        try:
            await forever()
        finally:
            cleaned.append(True)

    with pytest.raises(ExpiredError):
        await within(slow(), 0.01)
    assert cleaned == [True]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_timeout_error_from_inside_is_passed_on() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await within(fail(), 10)


async def test_a_cancellation_from_outside_stays_one() -> None:
    seen: list[bool] = []

    async def call() -> None:
        try:
            await within(forever(), 10)
        except asyncio.CancelledError:
            seen.append(was_cancelled())
            raise

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]


async def test_a_future_that_is_cancelled_is_no_cancellation_of_the_task() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel)
    with pytest.raises(asyncio.CancelledError):
        await within(future, 10)
    assert not was_cancelled()


async def test_several_waits_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    limit = TimeLimit(10)
    assert [await limit.wait(turns(count)) for count in (1, 2, 3)] == [1, 2, 3]
    assert len(timers.handles) == 1
    limit.close()
    assert timers.handles[0].cancelled()


async def test_a_limit_that_ran_out_between_two_waits_ends_the_next_one() -> None:
    limit = TimeLimit(0.001)
    await limit.wait(turns(1))
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, ended.set)
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    with pytest.raises(ExpiredError):
        await limit.wait(forever())


async def test_closing_what_waits_closes_what_is_awaited() -> None:
    closed = []

    class Steps:
        def __await__(self) -> Generator[Any, Any, None]:
            try:
                yield None
            except GeneratorExit:
                closed.append(True)
                raise

    waiting: Any = within(Steps(), 10)
    waiting.send(None)
    waiting.close()
    assert closed == [True]
