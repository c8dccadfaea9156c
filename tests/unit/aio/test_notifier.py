"""Those who wait until something changes."""

import asyncio

import pytest

from grpc_tool_bridge.aio.notifier import WOKEN_AT_ONCE, Notifier, notify_each
from support.patience import PATIENCE


async def test_all_who_wait_are_woken_at_once_and_leave_the_list() -> None:
    waiters = Notifier()
    tasks = [asyncio.create_task(waiters.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(waiters) == 3
    waiters.notify_all()
    assert len(waiters) == 0
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)


async def test_who_comes_after_a_wake_waits_for_the_next() -> None:
    waiters = Notifier()
    waiters.notify_all()
    task = asyncio.create_task(waiters.wait())
    await asyncio.sleep(0)
    assert not task.done()
    waiters.notify_all()
    async with asyncio.timeout(PATIENCE):
        await task


async def test_who_is_cancelled_leaves_the_list_and_holds_up_nobody() -> None:
    waiters = Notifier()
    gone, stays = (asyncio.create_task(waiters.wait()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert len(waiters) == 1
    waiters.notify_all()
    async with asyncio.timeout(PATIENCE):
        await stays


async def test_of_very_many_some_are_woken_in_each_turn_and_all_in_the_end() -> None:
    several = [Notifier(), Notifier()]
    tasks = [asyncio.create_task(several[number % 2].wait()) for number in range(5 * WOKEN_AT_ONCE)]
    await asyncio.sleep(0)
    notify_each(several)
    await asyncio.sleep(0)
    done = sum(task.done() for task in tasks)
    assert 0 < done <= 2 * WOKEN_AT_ONCE
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)
    assert [len(waiters) for waiters in several] == [0, 0]
