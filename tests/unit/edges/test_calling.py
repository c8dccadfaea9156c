"""Calls from threads and other loops run in the bridge's loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future

import pytest

from grpc_tool_bridge.edges.calling import HomeLoop
from grpc_tool_bridge.errors import ProtocolError


async def loop_here() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_a_call_from_a_thread_runs_in_the_loop_of_the_bridge() -> None:
    home = HomeLoop()

    assert await asyncio.to_thread(home.block, "add", loop_here) is asyncio.get_running_loop()


async def test_a_call_from_another_loop_runs_in_the_loop_of_the_bridge() -> None:
    home = HomeLoop()

    assert await asyncio.to_thread(asyncio.run, home.run(loop_here)) is asyncio.get_running_loop()


async def test_a_synchronous_call_in_the_loop_itself_is_refused_instead_of_waiting_for_itself() -> None:
    with pytest.raises(RuntimeError, match="add was called synchronously in the event loop of its bridge"):
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
    home, started, ended = HomeLoop(), threading.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def elsewhere() -> None:
        call = asyncio.create_task(home.run(wait))
        assert await asyncio.to_thread(started.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await asyncio.to_thread(asyncio.run, elsewhere())

    await asyncio.wait_for(ended.wait(), 5)


async def test_a_thread_that_is_interrupted_leaves_no_call_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupt(BaseException):
        pass

    home, started, ended = HomeLoop(), threading.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupted(future: Future[None]) -> None:
        assert started.wait(5)
        raise Interrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(Interrupt):
        await asyncio.wait_for(asyncio.to_thread(home.block, "wait", wait), 5)

    await asyncio.wait_for(ended.wait(), 5)


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

    await asyncio.wait_for(asyncio.to_thread(asyncio.run, elsewhere()), 5)
    may_end.set()

    await asyncio.wait_for(ended.wait(), 5)


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
