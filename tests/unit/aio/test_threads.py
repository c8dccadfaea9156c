"""Threads for synchronous tools."""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge.aio import threads as module
from grpc_tool_bridge.aio.threads import NestedThreads, ToolThreads

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Holds up whatever waits for it, until the test ends."""
    event = threading.Event()
    yield event
    event.set()


async def settled(condition: Callable[[], bool]) -> None:
    """Lets threads run until ``condition`` holds; the test's own time-out bounds it."""
    while not condition():
        await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.001)


def numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


async def test_a_function_runs_in_a_thread_and_gives_its_result() -> None:
    threads = ToolThreads(2)
    ident = await threads.run(threading.get_ident)
    assert ident != threading.get_ident()


async def test_a_function_sees_the_callers_context_variables() -> None:
    name.set("caller")
    assert await ToolThreads(1).run(name.get) == "caller"


async def test_an_exception_reaches_the_caller_as_it_is() -> None:
    def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError, match="k"):
        await ToolThreads(1).run(fail)


async def test_stop_iteration_becomes_a_runtime_error_that_says_so() -> None:
    def fail() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="raised StopIteration") as got:
        await ToolThreads(1).run(fail)
    assert isinstance(got.value.__cause__, StopIteration)


async def test_work_beyond_the_cap_waits_and_is_done_in_order(held: threading.Event) -> None:
    threads, order = ToolThreads(1), []

    def note(number: int) -> None:
        order.append(number)

    first = asyncio.create_task(threads.run(held.wait))
    await settled(lambda: threads.busy == 1)
    rest = [asyncio.create_task(threads.run(lambda n=number: note(n))) for number in range(5)]  # type: ignore[misc]  # mypy does not infer the default's type
    await asyncio.sleep(0)
    assert threads.busy == 1
    held.set()
    await asyncio.gather(first, *rest)
    assert order == [0, 1, 2, 3, 4]


async def test_the_fullest_depth_says_how_many_run_and_wait(held: threading.Event) -> None:
    threads = NestedThreads(1)
    assert (threads.limit, threads.fullest) == (1, (0, 0))
    running = [asyncio.create_task(threads.at(depth).run(held.wait)) for depth in (0, 1, 1, 1)]
    await settled(lambda: threads.fullest == (1, 2))
    held.set()
    await asyncio.gather(*running)
    await settled(lambda: threads.fullest == (0, 0))


async def test_threads_are_used_again() -> None:
    threads = ToolThreads(8)
    idents = set()
    for _ in range(20):
        idents.add(await threads.run(threading.get_ident))
        await settled(lambda: threads.busy == 0)
    assert len(idents) == 1


async def test_a_cancelled_wait_leaves_its_thread_behind_and_it_counts_until_it_returns(held: threading.Event) -> None:
    threads = ToolThreads(1)
    task = asyncio.create_task(threads.run(held.wait))
    await settled(lambda: threads.busy == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threads.busy == 1
    held.set()
    await settled(lambda: threads.busy == 0)
    assert await threads.run(lambda: 1) == 1


async def test_work_that_was_cancelled_before_it_began_is_never_done(held: threading.Event) -> None:
    threads, done = ToolThreads(1), []
    first = asyncio.create_task(threads.run(held.wait))
    await settled(lambda: threads.busy == 1)
    waiting = [asyncio.create_task(threads.run(lambda: done.append("cancelled"))) for _ in range(3)]
    kept = asyncio.create_task(threads.run(lambda: done.append("kept")))
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    held.set()
    await asyncio.gather(first, *waiting[1:], kept)
    assert done == ["cancelled", "cancelled", "kept"]


async def test_cancelled_work_does_not_heap_up_behind_threads_that_never_return(held: threading.Event) -> None:
    threads = ToolThreads(1)
    first = asyncio.create_task(threads.run(held.wait))
    await settled(lambda: threads.busy == 1)
    for _ in range(200):
        task = asyncio.create_task(threads.run(lambda: None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert threads._jobs.qsize() <= 2
    held.set()
    await first
    assert await threads.run(lambda: 5) == 5


async def test_forgetting_keeps_the_work_that_is_still_wanted_in_order(held: threading.Event) -> None:
    threads, done = ToolThreads(1), []
    first = asyncio.create_task(threads.run(held.wait))
    await settled(lambda: threads.busy == 1)
    tasks = [asyncio.create_task(threads.run(lambda n=n: done.append(n))) for n in range(10)]  # type: ignore[misc]  # as above
    await asyncio.sleep(0)
    for task in tasks[:8]:
        task.cancel()
    await asyncio.wait(tasks[:8])
    assert threads._jobs.qsize() < 10
    held.set()
    await asyncio.gather(first, *tasks[8:])
    assert done == [8, 9]


async def test_a_thread_that_the_system_refuses_fails_the_call_and_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = ToolThreads(1)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await threads.run(lambda: 1)
    assert threads._jobs.qsize() == 0
    assert await threads.run(lambda: 2) == 2


async def test_an_idle_thread_ends_and_the_next_work_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.001)
    threads = ToolThreads(1)
    first = await threads.run(threading.current_thread)
    await settled(lambda: not first.is_alive())
    assert threads._threads == 0
    assert threads.busy == 0
    assert await threads.run(threading.current_thread) is not first


async def test_a_generator_gives_its_values_in_order_from_one_thread() -> None:
    idents = set()

    def count() -> Generator[int, None, None]:
        for number in range(100):
            idents.add(threading.get_ident())
            yield number

    threads = ToolThreads(4)
    assert [value async for value in threads.iterate(count, 3)] == list(range(100))
    assert len(idents) == 1
    assert threading.get_ident() not in idents


async def test_a_generator_is_at_most_its_buffer_ahead_of_the_reader() -> None:
    made: list[int] = []

    def count() -> Generator[int, None, None]:
        for number in range(100):
            made.append(number)
            yield number

    values = ToolThreads(1).iterate(count, 4)
    for expected in range(20):
        assert await anext(values) == expected
        await asyncio.sleep(0)
        assert len(made) <= expected + 1 + 4
    await values.aclose()


async def test_a_generators_error_comes_after_its_values() -> None:
    def fail() -> Generator[int, None, None]:
        yield 1
        raise LookupError("gone")

    values = ToolThreads(1).iterate(fail, 4)
    assert await anext(values) == 1
    with pytest.raises(LookupError, match="gone"):
        await anext(values)


async def test_a_reader_that_leaves_closes_the_generator_in_its_thread() -> None:
    closed = threading.Event()
    made: list[int] = []

    def count() -> Generator[int, None, None]:
        try:
            while True:
                made.append(1)
                yield 1
        finally:
            closed.set()

    threads = ToolThreads(1)
    values = threads.iterate(count, 2)
    assert await anext(values) == 1
    # The thread is then held up by its full buffer.
    await settled(lambda: len(made) == 3)
    await values.aclose()
    await settled(closed.is_set)
    await settled(lambda: threads.busy == 0)
    assert await threads.run(lambda: 3) == 3


async def test_a_generator_whose_reader_left_before_it_began_is_never_started(held: threading.Event) -> None:
    threads, started = ToolThreads(1), []

    def never() -> Generator[int, None, None]:
        started.append(1)
        yield 1

    first = asyncio.create_task(threads.run(held.wait))
    await settled(lambda: threads.busy == 1)
    values = threads.iterate(never, 1)
    reader: asyncio.Task[int] = asyncio.ensure_future(anext(values))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    held.set()
    await first
    assert await threads.run(lambda: 4) == 4
    assert not started


async def test_values_made_while_the_reader_looks_are_not_lost_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Unlucky(deque[Any]):
        """Finds itself empty just before the generator makes its last value and ends."""

        def __bool__(self) -> bool:
            empty = len(self) == 0
            begin.set()
            ended.wait()
            return not empty

    begin = threading.Event()

    class Handover(module._Handover):
        def __init__(self, loop: asyncio.AbstractEventLoop, buffer: int) -> None:
            super().__init__(loop, buffer)
            self.values = Unlucky()

        def produce(self, function: Callable[[], Iterator[Any]]) -> None:
            begin.wait()
            super().produce(function)
            ended.set()

    monkeypatch.setattr(module, "_Handover", Handover)
    assert [value async for value in ToolThreads(1).iterate(lambda: numbers(3), 8)] == [0, 1, 2]


def test_a_thread_that_outlives_its_loop_ends_quietly(held: threading.Event) -> None:
    threads = ToolThreads(1)

    async def leave_behind() -> None:
        task = asyncio.create_task(threads.run(held.wait))
        await settled(lambda: threads.busy == 1)
        task.cancel()

    asyncio.run(leave_behind())
    held.set()

    async def use_again() -> int:
        await settled(lambda: threads.busy == 0)
        result: int = await threads.run(lambda: 6)
        return result

    assert asyncio.run(use_again()) == 6
