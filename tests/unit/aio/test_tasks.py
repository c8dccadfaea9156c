"""Tasks with an owner."""

import asyncio

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_task_belongs_to_its_owner_until_it_ends() -> None:
    tasks, go = TaskSet(), asyncio.Event()
    task = tasks.spawn(go.wait(), "waits")
    assert (len(tasks), task.get_name()) == (1, "waits")
    go.set()
    assert await task is True
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_closing_cancels_every_task_and_waits_for_its_clean_up() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append("cleaned")

    tasks = TaskSet()
    spawned = [tasks.spawn(work(), "works") for _ in range(3)]
    await asyncio.sleep(0)
    await tasks.aclose()
    assert all(task.cancelled() for task in spawned)
    assert cleaned == ["cleaned"] * 3
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_closing_nothing_is_fine_and_more_than_once() -> None:
    tasks = TaskSet()
    await tasks.aclose()
    await tasks.aclose()


async def test_a_task_may_close_its_own_owner() -> None:
    tasks = TaskSet()
    other = tasks.spawn(forever(), "other")
    closer = tasks.spawn(tasks.aclose(), "closer")
    await closer
    assert other.cancelled()


async def test_a_task_may_be_closed_from_another_task_than_the_one_that_made_it() -> None:
    tasks = TaskSet()
    spawned = tasks.spawn(forever(), "works")
    await asyncio.create_task(tasks.aclose())
    assert spawned.cancelled()


async def test_a_task_that_fails_is_logged_at_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("it")

    tasks = TaskSet()
    task = tasks.spawn(fail(), "the culprit")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "background task the culprit failed" in caplog.text
    assert "LookupError: it" in caplog.text
    assert len(tasks) == 0


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskSet()
    tasks.spawn(forever(), "works")
    await tasks.aclose()
    await asyncio.sleep(0)
    assert caplog.text == ""
