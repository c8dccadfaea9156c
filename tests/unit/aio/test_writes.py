"""Writes that are begun at once and awaited later."""

import asyncio
import gc
from typing import Any

import pytest

from grpc_tool_bridge.aio.eager import Write


async def test_a_write_is_begun_before_anybody_waits_for_it() -> None:
    steps: list[str] = []
    gate = asyncio.Event()

    async def write() -> None:
        steps.append("begun")
        await gate.wait()
        steps.append("ended")

    writing = Write(write())
    assert steps == ["begun"]
    gate.set()
    await writing
    assert steps == ["begun", "ended"]
    # It has ended: waiting again waits for nothing.
    await writing


async def test_a_write_that_needs_no_wait_is_done_at_once() -> None:
    async def write() -> None:
        return

    await Write(write())


async def test_a_failure_at_the_first_step_is_told_to_who_waits() -> None:
    async def write() -> None:
        raise OSError("the stream has ended")

    writing = Write(write())
    with pytest.raises(OSError, match="has ended"):
        await writing


async def test_a_failure_later_is_told_too() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def write() -> None:
        await gate

    writing = Write(write())
    gate.set_exception(OSError("the stream has ended"))
    with pytest.raises(OSError, match="has ended"):
        await writing


async def test_who_is_cancelled_while_it_waits_waits_for_the_clean_up_of_the_write() -> None:
    steps: list[str] = []

    async def write() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned")

    async def wait() -> None:
        await Write(write())

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cleaned"]


async def test_a_write_that_ends_within_the_turns_is_waited_for_no_longer() -> None:
    taken = asyncio.get_running_loop().create_future()
    steps: list[str] = []

    async def write() -> None:
        await taken
        steps.append("written")

    writing = Write(write())
    asyncio.get_running_loop().call_soon(taken.set_result, None)
    await writing.wait(2)
    assert steps == ["written"]


@pytest.mark.parametrize("turns", [0, 5])
async def test_who_is_cancelled_during_the_turns_cancels_the_write_and_waits_for_its_end(turns: int) -> None:
    ended: list[str] = []

    async def write() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    async def wait() -> None:
        await Write(write()).wait(turns)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended == ["ended"]


async def test_a_write_that_fails_after_it_was_given_up_is_no_error_that_nobody_read() -> None:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    sent: list[asyncio.Future[None]] = [loop.create_future()]

    async def write() -> None:
        await sent[0]

    writing = Write(write())
    writing.close()
    sent[0].set_exception(OSError("the stream has ended"))
    await asyncio.sleep(0)
    sent.clear()
    del writing
    gc.collect()
    assert reported == []
