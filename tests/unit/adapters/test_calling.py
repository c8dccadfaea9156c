"""Calls from threads and other loops run in the bridge's loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from grpc_tool_bridge.adapters import calling
from grpc_tool_bridge.adapters.calling import HomeLoop, LoopWaitsError
from grpc_tool_bridge.errors import ProtocolError
from support.patience import PATIENCE
from support.waiting import until


class Forever:
    """A call that waits for ever, and tells of its begin and its end."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = asyncio.Event()

    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def loop_here() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_a_call_from_a_thread_runs_in_the_loop_of_the_bridge() -> None:
    home = HomeLoop()

    assert await asyncio.to_thread(home.block, "add", loop_here) is asyncio.get_running_loop()


async def test_a_call_from_another_loop_runs_in_the_loop_of_the_bridge() -> None:
    home = HomeLoop()

    assert await asyncio.to_thread(asyncio.run, home.run(loop_here)) is asyncio.get_running_loop()


async def test_a_synchronous_call_in_the_loop_itself_is_refused_instead_of_waiting_for_itself() -> None:
    with pytest.raises(RuntimeError, match="add was called synchronously while the event loop of its bridge waits"):
        HomeLoop().block("add", loop_here)


def test_tools_are_made_where_a_loop_runs() -> None:
    with pytest.raises(ProtocolError, match=r"bridge\.sync"):
        HomeLoop()


def test_a_loop_that_has_ended_is_said_to_have_ended() -> None:
    async def make() -> HomeLoop:
        return HomeLoop()

    home = asyncio.run(make())

    with pytest.raises(ProtocolError, match="has ended"):
        home.block("add", loop_here)


async def test_a_call_that_its_own_loop_cancels_is_cancelled_where_it_runs() -> None:
    home, forever = HomeLoop(), Forever()

    async def elsewhere() -> None:
        call = asyncio.create_task(home.run(forever.wait))
        assert await asyncio.to_thread(forever.started.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await asyncio.to_thread(asyncio.run, elsewhere())

    await asyncio.wait_for(forever.ended.wait(), PATIENCE)


async def test_a_thread_that_is_interrupted_leaves_no_call_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupt(BaseException):
        pass

    home, forever = HomeLoop(), Forever()

    def interrupted(*_: Any) -> None:
        assert forever.started.wait(PATIENCE)
        raise Interrupt

    monkeypatch.setattr(calling, "wait", interrupted)
    with pytest.raises(Interrupt):
        await asyncio.wait_for(asyncio.to_thread(home.block, "wait", forever.wait), PATIENCE)

    await asyncio.wait_for(forever.ended.wait(), PATIENCE)


async def test_a_call_that_the_loop_itself_waits_for_is_ended_instead_of_waiting_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.05)
    home = HomeLoop()
    with ThreadPoolExecutor() as threads:
        blocked = threads.submit(home.block, "add", loop_here)
        # As a framework does that runs its tools in threads, and waits for them where the loop runs.
        with pytest.raises(RuntimeError, match="add was called synchronously while the event loop of its bridge waits"):
            blocked.result(PATIENCE)


async def test_a_call_that_takes_longer_than_a_turn_of_its_loop_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.01)
    home, go_on = HomeLoop(), asyncio.Event()

    async def wait() -> int:
        await go_on.wait()
        return 7

    calls = asyncio.create_task(asyncio.to_thread(home.block, "wait", wait))
    turns: list[None] = []
    check = HomeLoop._check_turns

    def checked(*args: Any) -> None:
        check(*args)
        turns.append(None)

    monkeypatch.setattr(HomeLoop, "_check_turns", checked)
    await until(lambda: len(turns) >= 3)
    go_on.set()
    assert await asyncio.wait_for(calls, PATIENCE) == 7


@pytest.mark.parametrize("way", ["thread", "loop"])
def test_a_call_whose_loop_ends_meanwhile_says_so(way: str) -> None:
    homes: list[HomeLoop] = []
    started, ended = threading.Event(), threading.Event()

    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    async def live() -> None:
        homes.append(HomeLoop())
        await asyncio.to_thread(started.wait, 5)

    def serve() -> None:
        asyncio.run(live())
        ended.set()

    server = threading.Thread(target=serve)
    server.start()
    try:
        while not homes:
            assert server.is_alive()
        with pytest.raises(ProtocolError, match="has ended"):
            homes[0].block("forever", forever) if way == "thread" else asyncio.run(homes[0].run(forever))
    finally:
        started.set()
        server.join(PATIENCE)
    assert ended.is_set()


async def test_a_stream_whose_next_value_is_waited_for_no_more_ends_by_itself() -> None:
    home, started = HomeLoop(), threading.Event()
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def numbers() -> AsyncGenerator[int, None]:
        started.set()
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            await may_end.wait()
            ended.set()

    async def elsewhere() -> None:
        following = asyncio.ensure_future(anext(home.iterate(numbers())))
        assert await asyncio.to_thread(started.wait, 5)
        following.cancel()
        # It does not wait for what the source has yet to do.
        with pytest.raises(asyncio.CancelledError):
            await following

    await asyncio.wait_for(asyncio.to_thread(asyncio.run, elsewhere()), PATIENCE)
    may_end.set()

    await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_a_stream_that_is_left_early_is_closed() -> None:
    closed = asyncio.Event()

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            closed.set()

    # Held here, so that nothing but the closing can end it.
    home, source = HomeLoop(), numbers()

    async def first() -> int:
        chunks = home.iterate(source)
        try:
            return await anext(chunks)
        finally:
            await chunks.aclose()

    assert await asyncio.to_thread(asyncio.run, first()) == 0
    assert closed.is_set()


class Counted:
    """A call that counts how often it ran."""

    def __init__(self) -> None:
        self.ran = 0

    async def run(self) -> int:
        self.ran += 1
        return self.ran


async def turn() -> None:
    """Lets the loop do all that it was handed."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_call_that_is_refused_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.001)
    home, counted = HomeLoop(), Counted()
    with ThreadPoolExecutor(1) as threads:
        for _ in range(100):
            blocked = threads.submit(home.block, "count", counted.run)
            with pytest.raises(LoopWaitsError, match="The tool did not run") as caught:
                blocked.result(PATIENCE)
            assert not caught.value.began
            await turn()
    assert counted.ran == 0


async def test_a_call_from_another_loop_is_refused_where_this_one_waits_for_it_and_never_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.001)
    home, counted = HomeLoop(), Counted()

    async def elsewhere() -> int:
        return await home.run(counted.run, name="count")

    with ThreadPoolExecutor(1) as threads:
        for _ in range(10):
            # As a framework's run_sync does in a thread.
            blocked = threads.submit(asyncio.run, elsewhere())
            with pytest.raises(LoopWaitsError, match=r"count was called synchronously.*The tool did not run"):
                blocked.result(PATIENCE)
            await turn()
    assert counted.ran == 0


async def test_a_call_from_another_loop_that_takes_longer_than_a_turn_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.3)
    home, go_on = HomeLoop(), asyncio.Event()
    turns: list[None] = []
    made = HomeLoop._turn

    def counted(self: HomeLoop) -> Any:
        turns.append(None)
        return made(self)

    monkeypatch.setattr(HomeLoop, "_turn", counted)

    async def wait() -> int:
        await go_on.wait()
        return 7

    running = asyncio.create_task(asyncio.to_thread(asyncio.run, home.run(wait)))
    await until(lambda: len(turns) >= 2)
    go_on.set()
    assert await asyncio.wait_for(running, PATIENCE) == 7


@pytest.mark.parametrize("way", ["thread", "loop"])
async def test_a_call_that_is_refused_after_it_began_says_so_and_is_cancelled(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.5)
    home, forever = HomeLoop(), Forever()
    with ThreadPoolExecutor(1) as threads:
        if way == "thread":
            blocked = threads.submit(home.block, "wait", forever.wait)
        else:
            blocked = threads.submit(asyncio.run, home.run(forever.wait, name="wait"))
        await until(forever.started.is_set)
        with pytest.raises(LoopWaitsError, match="It had started and was cancelled") as caught:
            blocked.result(PATIENCE)
    assert caught.value.began
    await asyncio.wait_for(forever.ended.wait(), PATIENCE)


async def test_a_call_that_is_cancelled_before_it_begins_never_runs() -> None:
    home, counted = HomeLoop(), Counted()

    async def elsewhere() -> None:
        call = asyncio.create_task(home.run(counted.run))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with ThreadPoolExecutor(1) as threads:
        for _ in range(100):
            threads.submit(asyncio.run, elsewhere()).result(PATIENCE)
            await turn()
    assert counted.ran == 0


@pytest.mark.parametrize("begins", [True, False], ids=["begun", "not begun"])
async def test_a_thread_that_is_interrupted_is_told_whether_the_call_had_begun(
    begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, forever = HomeLoop(), Forever()

    def interrupted(*_: Any) -> None:
        assert not begins or forever.started.wait(PATIENCE)
        raise KeyboardInterrupt

    def blocked() -> KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt) as caught:
            home.block("wait", forever.wait)
        return caught.value

    monkeypatch.setattr(calling, "wait", interrupted)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(blocked)
        error = await asyncio.wrap_future(asked) if begins else asked.result(PATIENCE)
    await turn()
    assert getattr(error, "__notes__", []) == (["wait had started and was cancelled"] if begins else [])
    assert forever.started.is_set() is begins
