"""Timers that many waits share."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.aio import shared_timers
from grpc_tool_bridge.aio.shared_timers import SHARED_FROM, expire_after
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from support.patience import PATIENCE
from support.waiting import turns


class Wait:
    def __init__(self) -> None:
        self.over = asyncio.Event()

    def expire(self) -> None:
        self.over.set()


class Timers:
    """The timers that the running loop was asked for, which end when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set: list[tuple[float, Any, tuple[Any, ...]]] = []
        monkeypatch.setattr(
            asyncio.get_running_loop(), "call_at", lambda at, end, *args: self.set.append((at, end, args))
        )

    def end(self) -> None:
        ended, self.set = self.set, []
        for _, end, args in ended:
            end(*args)


async def test_waits_of_about_the_same_end_share_a_timer_that_ends_after_each(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 100.1)
    first, second, later = Wait(), Wait(), Wait()
    expire_after(20.0, first)
    expire_after(20.3, second)
    expire_after(20.4, later)
    assert [at for at, *_ in timers.set] == [120.5, 121.0]
    timers.end()
    assert first.over.is_set()
    assert second.over.is_set()
    assert later.over.is_set()


async def test_a_wait_that_is_discarded_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    done, goes_on = Wait(), Wait()
    expire_after(30.0, done).discard(done)
    expire_after(30.0, goes_on)
    timers.end()
    assert not done.over.is_set()
    assert goes_on.over.is_set()


async def test_a_timer_ends_the_wait_in_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_timers, "_GRAIN", 0.01)
    wait = Wait()
    expire_after(0.0, wait)
    async with asyncio.timeout(PATIENCE):
        await wait.over.wait()


def test_each_loop_has_its_own_timers() -> None:
    async def timers() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "time", lambda: 100.0)
            timers = Timers(patch)
            expire_after(20.0, Wait())
            return len(timers.set)

    loops = [asyncio.new_event_loop() for _ in range(2)]
    assert [loop.run_until_complete(timers()) for loop in loops] == [1, 1]
    for loop in loops:
        loop.close()


async def test_a_long_timeout_costs_no_timer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    assert await asyncio.gather(*(within(turns(3), SHARED_FROM) for _ in range(10))) == [3] * 10
    assert len(timers.set) <= 2
    timers.end()


async def test_a_long_timeout_ends_what_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(monkeypatch)
    waiting = asyncio.ensure_future(within(asyncio.get_running_loop().create_future(), SHARED_FROM))
    await turns(2)
    timers.end()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ExpiredError):
            await waiting
