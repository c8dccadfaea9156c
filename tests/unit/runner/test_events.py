"""A stream's values together with what its tool tells on the way."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress
from grpc_tool_bridge.runner import events as module
from grpc_tool_bridge.runner.events import EventStream


@pytest.fixture
async def tasks() -> AsyncIterator[TaskSet]:
    owner = TaskSet()
    yield owner
    assert len(owner) == 0


def step(number: int) -> Progress:
    return Progress(current=number)


async def merged(stream: EventStream, values: AsyncGenerator[Any, None], tasks: TaskSet) -> list[Any]:
    return [
        event.current if isinstance(event, Progress) else value async for event, value in stream.merge(values, tasks)
    ]


async def test_events_and_values_come_in_the_order_in_which_they_were_made(tasks: TaskSet) -> None:
    stream = EventStream(16)

    async def values() -> AsyncGenerator[str, None]:
        for number in range(3):
            stream.emit(step(number))
            yield f"value {number}"

    assert await merged(stream, values(), tasks) == [0, "value 0", 1, "value 1", 2, "value 2"]


async def test_an_event_is_told_while_the_next_value_is_still_being_made(tasks: TaskSet) -> None:
    stream, go = EventStream(16), asyncio.Event()

    async def values() -> AsyncGenerator[str, None]:
        stream.emit(step(1))
        await go.wait()
        yield "value"

    reader = stream.merge(values(), tasks)
    event, _ = await anext(reader)
    assert event == step(1)
    go.set()
    assert await anext(reader) == (None, "value")
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


async def test_events_after_the_last_value_are_told(tasks: TaskSet) -> None:
    stream = EventStream(16)

    async def values() -> AsyncGenerator[str, None]:
        yield "value"
        stream.emit(step(1))

    assert await merged(stream, values(), tasks) == ["value", 1]


async def test_none_is_a_value_like_any_other(tasks: TaskSet) -> None:
    async def values() -> AsyncGenerator[None, None]:
        yield None

    assert [item async for item in EventStream(1).merge(values(), tasks)] == [(None, None)]


async def test_events_of_other_threads_are_told(tasks: TaskSet) -> None:
    stream = EventStream(16)

    def tell() -> None:
        for number in range(5):
            stream.emit(step(number))

    async def values() -> AsyncGenerator[str, None]:
        await asyncio.to_thread(tell)
        yield "value"

    assert await merged(stream, values(), tasks) == [0, 1, 2, 3, 4, "value"]
    assert threading.get_ident() == stream._thread


async def test_the_tool_is_held_up_when_the_reader_takes_nothing(tasks: TaskSet) -> None:
    stream, made = EventStream(2), []

    async def values() -> AsyncGenerator[int, None]:
        for number in range(10):
            made.append(number)
            yield number

    reader = stream.merge(values(), tasks)
    assert await anext(reader) == (None, 0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(made) <= 4
    assert [value async for _, value in reader] == list(range(1, 10))


async def test_of_too_many_events_the_last_are_kept(monkeypatch: pytest.MonkeyPatch, tasks: TaskSet) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 3)
    stream = EventStream(1)
    for number in range(10):
        stream.emit(step(number))

    async def values() -> AsyncGenerator[str, None]:
        yield "value"

    assert await merged(stream, values(), tasks) == [7, 8, 9, "value"]


async def test_the_tools_error_comes_after_its_values(tasks: TaskSet) -> None:
    async def values() -> AsyncGenerator[str, None]:
        yield "value"
        raise LookupError("gone")

    reader = EventStream(4).merge(values(), tasks)
    assert await anext(reader) == (None, "value")
    with pytest.raises(LookupError, match="gone"):
        await anext(reader)


async def test_a_reader_that_leaves_closes_the_tool(tasks: TaskSet) -> None:
    closed = []

    async def values() -> AsyncGenerator[int, None]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.append("closed")

    reader = EventStream(1).merge(values(), tasks)
    await anext(reader)
    await reader.aclose()
    assert closed == ["closed"]


async def test_a_tool_that_is_cancelled_by_itself_cancels_the_reading(tasks: TaskSet) -> None:
    async def values() -> AsyncGenerator[int, None]:
        yield 1
        raise asyncio.CancelledError

    reader = EventStream(1).merge(values(), tasks)
    assert await anext(reader) == (None, 1)
    with pytest.raises(asyncio.CancelledError):
        await anext(reader)
