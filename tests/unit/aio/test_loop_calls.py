"""A call that is handed to a loop begins, or it was withdrawn: never both."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextvars import ContextVar

import pytest

from grpc_tool_bridge.aio.portal import LoopCall
from support.patience import PATIENCE


class Counted:
    """A call that counts how often it ran, and goes on when it is let."""

    def __init__(self) -> None:
        self.began = 0
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.go_on = asyncio.Event()

    async def run(self) -> int:
        self.began += 1
        self.started.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return 7


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Waits until a loop has done all that it was handed, and what that led to."""
    for _ in range(3):
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(PATIENCE)


def test_a_call_that_was_withdrawn_before_its_loop_turned_never_runs(loop: asyncio.AbstractEventLoop) -> None:
    counted = Counted()
    for _ in range(100):
        holds, go_on = threading.Event(), threading.Event()

        def hold(holds: threading.Event = holds, go_on: threading.Event = go_on) -> None:
            holds.set()
            assert go_on.wait(PATIENCE)

        loop.call_soon_threadsafe(hold)
        assert holds.wait(PATIENCE)
        call = LoopCall(loop, counted.run)
        assert call.withdraw() is True
        go_on.set()
        turn(loop)
    assert counted.began == 0


async def test_a_call_that_was_withdrawn_when_its_task_had_not_yet_turned_never_runs() -> None:
    counted = Counted()
    loop = asyncio.get_running_loop()
    call = LoopCall(loop, counted.run)
    # It comes after the call was scheduled and before its first step.
    loop.call_soon(call.withdraw)
    await asyncio.sleep(0)
    assert call.future.cancelled()
    for _ in range(3):
        await asyncio.sleep(0)
    assert counted.began == 0


def test_a_call_that_has_begun_is_cancelled_and_says_that_it_had(loop: asyncio.AbstractEventLoop) -> None:
    counted = Counted()
    call = LoopCall(loop, counted.run)
    assert counted.started.wait(PATIENCE)
    assert call.withdraw() is False
    assert counted.cancelled.wait(PATIENCE)
    with pytest.raises(CancelledError):
        call.future.result(PATIENCE)


def test_a_call_either_runs_to_its_end_or_was_withdrawn(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []

    async def run(number: int) -> int:
        ran.append(number)
        return number

    withdrawn = []
    for number in range(500):
        call = LoopCall(loop, lambda number=number: run(number))  # type: ignore[misc] # mypy knows no such default
        if call.withdraw():
            withdrawn.append(number)
        else:
            assert call.future.result(PATIENCE) == number
    turn(loop)
    assert sorted(ran + withdrawn) == list(range(500))


def test_an_error_and_a_result_arrive(loop: asyncio.AbstractEventLoop) -> None:
    async def fail() -> None:
        raise TimeoutError("of the call")

    async def give() -> int:
        return 7

    with pytest.raises(TimeoutError, match="of the call"):
        LoopCall(loop, fail).future.result(PATIENCE)
    assert LoopCall(loop, give).future.result(PATIENCE) == 7


def test_a_call_runs_in_the_context_of_who_made_it(loop: asyncio.AbstractEventLoop) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")

    async def read() -> str:
        return variable.get()

    variable.set("mine")
    assert LoopCall(loop, read).future.result(PATIENCE) == "mine"


def test_a_call_whose_loop_ends_before_it_begins_is_cancelled() -> None:
    counted = Counted()
    calls: list[LoopCall[int]] = []

    async def leave() -> None:
        # The loop's last turn schedules it; asyncio.run cancels it before its first step.
        calls.append(LoopCall(asyncio.get_running_loop(), counted.run))

    asyncio.run(leave())
    assert calls[0].future.cancelled()
    assert counted.began == 0


def test_a_loop_that_is_closed_takes_no_call() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        LoopCall(loop, Counted().run)
