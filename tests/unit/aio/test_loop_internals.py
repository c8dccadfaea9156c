"""What is used of asyncio's private parts, with loops that have them, with uvloop's, and with one that has none."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from grpc_tool_bridge.aio import loop_internals
from grpc_tool_bridge.aio.eager import EagerTasks
from support.patience import PATIENCE


class Secretive(asyncio.Task[Any]):
    """A task that does not say what is called at its end."""

    @property
    def _callbacks(self) -> Any:
        raise AttributeError("_callbacks")

    def __repr__(self) -> str:
        return "a task"


class Bare:
    """A loop that has nothing but what is documented."""

    def __init__(self, *, running: bool = True) -> None:
        self.called: list[Any] = []
        self._running = running

    def is_running(self) -> bool:
        return self._running

    def call_soon(self, callback: Any, *args: Any) -> None:
        self.called.append((callback, *args))


def of_asyncio() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def of_uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def secretive() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(lambda loop, coroutine, **options: Secretive(coroutine, loop=loop, **options))
    return loop


def run(loop: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, Any]) -> Any:
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(asyncio.wait_for(work, PATIENCE))
    finally:
        work.close()


LOOPS = [of_asyncio, of_uvloop, secretive]


async def answers(tasks: EagerTasks, steps: int) -> list[tuple[Any, Any]]:
    """Starts a coroutine that needs no task, one that waits, one that fails; returns their results, and the tasks'."""
    found: list[tuple[Any, Any]] = []
    ended = asyncio.Event()

    async def immediately(value: int) -> tuple[int, bool]:
        async with asyncio.timeout(PATIENCE):  # noqa: ASYNC100 - it needs a current task
            return value, asyncio.current_task() is not caller

    async def later(value: int) -> tuple[int, bool]:
        await asyncio.sleep(0)
        return value, asyncio.current_task() is not caller

    async def failing() -> None:
        raise LookupError("it")

    def done(result: Any, error: BaseException | None) -> None:
        found.append((result, type(error)))
        if len(found) == 3 * steps:
            ended.set()

    caller = asyncio.current_task()
    for step in range(steps):
        tasks.start(immediately(step), done)
        tasks.start(later(step), done)
        tasks.start(failing(), done)
        assert asyncio.current_task() is caller
        await asyncio.sleep(0)
    await ended.wait()
    await tasks.aclose()
    return found


@pytest.mark.parametrize("switches", [True, False])
@pytest.mark.parametrize("loop", LOOPS)
def test_coroutines_run_in_tasks_of_their_own_whatever_the_loop_lacks(
    loop: Callable[[], asyncio.AbstractEventLoop], switches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not switches:
        monkeypatch.setattr(loop_internals, "_switches", None)

    async def work() -> list[tuple[Any, Any]]:
        return await answers(EagerTasks(), 5)

    found = run(loop, work())

    expected = [((step, True), type(None)) for step in range(5) for _ in range(2)] + [(None, LookupError)] * 5
    assert sorted(found, key=repr) == sorted(expected, key=repr)


@pytest.mark.parametrize("loop", [of_asyncio, of_uvloop])
def test_a_coroutine_that_ends_in_its_first_step_takes_no_task_where_tasks_can_be_switched(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def nothing() -> None:
        pass

    async def work() -> list[Any]:
        tasks = EagerTasks()
        tasks.start(nothing(), lambda *_: None)
        await asyncio.sleep(0)
        started = [tasks.start(nothing(), lambda *_: None) for _ in range(3)]
        await tasks.aclose()
        return started

    assert run(loop, work()) == [None, None, None]


def test_a_loop_of_asyncio_says_whether_it_is_idle_and_any_other_is_taken_for_busy() -> None:
    async def work() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        before = loop_internals.is_idle(loop)
        loop.call_soon(lambda: None)
        return before, loop_internals.is_idle(loop)

    # Not the first step: what started it may be there yet.
    assert asyncio.run(work()) == (True, False)
    assert run(of_uvloop, work()) == (False, False)
    assert not loop_internals.is_idle(Bare())  # type: ignore[arg-type]  # a loop is what it is taken for


@pytest.mark.parametrize(("loop", "order"), [(of_asyncio, [2, 1]), (of_uvloop, [1, 2])])
def test_what_is_called_next_comes_first_where_a_loop_lets_it(
    loop: Callable[[], asyncio.AbstractEventLoop], order: list[int]
) -> None:
    async def work() -> list[int]:
        seen: list[int] = []
        running = asyncio.get_running_loop()
        running.call_soon(seen.append, 1)
        loop_internals.call_next(running, seen.append, 2)
        await asyncio.sleep(0)
        return seen

    assert run(loop, work()) == order
    bare = Bare()
    loop_internals.call_next(bare, print, 1)  # type: ignore[arg-type]  # as above
    assert bare.called == [(print, 1)]


@pytest.mark.parametrize("loop", [of_asyncio, of_uvloop])
def test_the_thread_that_runs_a_loop_is_known_in_a_fork_too(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> tuple[bool, bool, int]:
        running = asyncio.get_running_loop()
        loop_internals.note_thread(running)
        elsewhere: list[bool] = []
        thread = threading.Thread(target=lambda: elsewhere.append(loop_internals.runs_here(running)))
        thread.start()
        thread.join()
        child = os.fork()
        if not child:
            os._exit(0 if loop_internals.runs_here(running) else 1)
        return loop_internals.runs_here(running), elsewhere[0], os.waitpid(child, 0)[1]  # noqa: ASYNC222 - the loop has nothing else to do

    assert run(loop, work()) == (True, False, 0)


def test_a_loop_whose_thread_is_not_known_runs_elsewhere() -> None:
    bare: Any = Bare()
    assert not loop_internals.runs_here(bare)
    loop_internals.note_thread(bare)
    assert loop_internals.runs_here(bare)
    ended: Any = Bare(running=False)
    loop_internals.note_thread(ended)
    assert not loop_internals.runs_here(ended)
