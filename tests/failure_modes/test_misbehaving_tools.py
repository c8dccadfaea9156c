"""Tools that break the rules harm nobody but their own caller, over every transport."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, Settings, ToolExecutionError, ToolTimeoutError, tool
from integration.connections import Connect, RemoteBridge, read
from support.patience import PATIENCE
from support.waiting import soon, until


async def fine() -> str:
    return "fine"


async def test_sys_exit_in_a_tool_ends_its_call_only(connect: Connect) -> None:
    async def leave() -> None:
        sys.exit(3)

    def leave_thread() -> None:
        sys.exit("good bye")

    def leave_in_place() -> None:
        sys.exit(4)

    async def leave_stream() -> AsyncIterator[int]:
        yield 1
        sys.exit(5)

    def leave_thread_stream() -> Iterator[int]:
        yield 1
        sys.exit(6)

    tools = [leave, leave_thread, tool(executor="async")(leave_in_place), leave_stream, leave_thread_stream]
    world = await connect(fine, *tools)
    for name in set(world.tools) - {"fine"}:
        with pytest.raises(ToolExecutionError) as caught:
            await soon(world.tools[name]())
        assert caught.value.error_type == "SystemExit", name
        assert await world.tools["fine"]() == "fine"
    await world.quiet()


@pytest.mark.parametrize("kind", [GeneratorExit, KeyboardInterrupt])
async def test_what_python_keeps_for_itself_ends_its_call_only(connect: Connect, kind: type[BaseException]) -> None:
    async def at_once() -> None:
        raise kind("mine")

    async def after_waiting() -> None:
        await asyncio.sleep(0)
        raise kind("mine")

    def in_a_thread() -> None:
        raise kind("mine")

    async def in_a_stream() -> AsyncIterator[int]:
        yield 1
        raise kind("mine")

    world = await connect(fine, at_once, after_waiting, in_a_thread, in_a_stream)
    for name in set(world.tools) - {"fine"}:
        with pytest.raises(ToolExecutionError) as caught:
            await soon(world.tools[name]())
        assert (caught.value.error_type, caught.value.message) == (kind.__name__, "mine"), name
        assert await world.tools["fine"]() == "fine"
    await world.quiet()


async def test_an_exception_whose_text_fails_is_still_told(connect: Connect) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def mute() -> None:
        raise MuteError

    world = await connect(mute, fine)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["mute"]()
    assert caught.value.error_type == "MuteError"
    assert "RuntimeError" in caught.value.message
    assert await world.tools["fine"]() == "fine"


@pytest.mark.parametrize("size", [100_000, 20_000_000])
async def test_an_exception_with_a_huge_text_is_cut(connect: Connect, size: int) -> None:
    async def shout() -> None:
        raise ValueError("A" * size)

    world = await connect(shout, fine)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.tools["shout"]())
    assert caught.value.error_type == "ValueError"
    assert len(caught.value.message) < 20_000
    assert await world.tools["fine"]() == "fine"


async def test_an_exception_with_a_text_that_is_no_unicode_is_told(connect: Connect) -> None:
    async def odd() -> None:
        raise ValueError("half a pair: \ud800")

    world = await connect(odd)
    with pytest.raises(ToolExecutionError, match="half a pair"):
        await world.tools["odd"]()


@pytest.mark.parametrize("error", [KeyError, StopIteration, StopAsyncIteration, asyncio.CancelledError])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_an_exception_that_means_something_to_python_is_only_the_tool_s(
    connect: Connect, error: type[BaseException], in_thread: bool
) -> None:
    async def throw() -> None:
        raise error

    def throw_thread() -> None:
        raise error

    world = await connect(tool(name="throw")(throw_thread if in_thread else throw), fine)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.tools["throw"]())
    assert caught.value.details["origin"] == "tool"
    assert await world.tools["fine"]() == "fine"
    await world.quiet()


async def test_a_tool_that_swallows_its_cancellation_is_left_behind(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.runner.calls.CLEANUP_SECONDS", 0.05)
    go_home = asyncio.Event()
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while not go_home.is_set():
            try:
                await go_home.wait()
            except asyncio.CancelledError:
                cancelled += 1
        raise ValueError("nobody hears this but the log")

    world = await connect(stubborn, fine)
    task = asyncio.create_task(world.tools["stubborn"].with_options(timeout=0.1)())
    await asyncio.wait([task], timeout=PATIENCE)
    assert isinstance(task.exception(), ToolTimeoutError)
    assert task.cancelling() == 0
    assert cancelled >= 1
    assert "stubborn ignores its cancellation" in caplog.text
    assert await world.tools["fine"]() == "fine"
    await world.quiet()
    go_home.set()


async def test_a_tool_that_answers_its_cancellation_with_a_value_is_still_too_late(connect: Connect) -> None:
    async def late() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "too late"
        return "never"

    world = await connect(late, fine)
    task = asyncio.create_task(world.tools["late"].with_options(timeout=0.1)())
    await asyncio.wait([task], timeout=PATIENCE)
    assert isinstance(task.exception(), ToolTimeoutError)
    assert task.cancelling() == 0
    await world.quiet()


async def test_a_tool_that_answers_its_cancellation_with_another_error_is_still_too_late(connect: Connect) -> None:
    async def late() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("while cleaning up")

    world = await connect(late)
    task = asyncio.create_task(world.tools["late"].with_options(timeout=0.1)())
    await asyncio.wait([task], timeout=PATIENCE)
    assert isinstance(task.exception(), ToolTimeoutError)
    assert task.cancelling() == 0
    await world.quiet()


async def test_a_stream_that_swallows_its_cancellation_is_ended_at_its_next_value(connect: Connect) -> None:
    async def stubborn() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield 2
        yield 3

    world = await connect(stubborn)
    seen: list[int] = []

    task = asyncio.create_task(read(world.tools["stubborn"].with_options(timeout=0.1).stream(), into=seen))
    await asyncio.wait([task], timeout=PATIENCE)
    assert isinstance(task.exception(), ToolTimeoutError)
    assert seen in ([1], [1, 2])
    assert task.cancelling() == 0
    await world.quiet()


async def test_a_generator_that_goes_on_after_its_end_was_asked_for_harms_nobody(connect: Connect) -> None:
    async def stubborn() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                yield 2

    world = await connect(stubborn, fine)
    stream = world.tools["stubborn"].stream()
    assert await anext(stream) == 1
    await stream.aclose()
    assert await world.tools["fine"]() == "fine"
    await world.quiet()


async def test_a_thread_that_never_returns_costs_its_caller_the_time_out_only(connect: Connect) -> None:
    release = threading.Event()

    def block() -> None:
        release.wait()

    world = await connect(block, fine)
    try:
        with pytest.raises(ToolTimeoutError):
            await world.tools["block"].with_options(timeout=0.1)()
        assert await world.tools["fine"]() == "fine"
        assert world.hub.executor.threads_busy == 1
        await world.quiet()
    finally:
        release.set()
    await until(lambda: world.hub.executor.threads_busy == 0)


async def test_a_hub_stops_although_a_thread_never_returns(remote_bridge: RemoteBridge) -> None:
    release, started = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait()

    try:
        server = BridgeServer(tools=[block], settings=Settings(shutdown_grace=0))
        await server.start()
        async with remote_bridge(server.address) as bridge:
            await bridge.initialize()
            task = asyncio.create_task(bridge.tools["block"]())
            await until(started.is_set)
            await soon(server.stop())
            await asyncio.wait([task], timeout=PATIENCE)
            assert isinstance(task.exception(), ToolExecutionError)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "tool" and thread.is_alive()][:1]
        assert thread.daemon
    finally:
        release.set()


async def test_threads_left_behind_are_capped_and_further_calls_wait_for_one(connect: Connect) -> None:
    release = threading.Event()
    begun: list[int] = []

    def block() -> None:
        begun.append(threading.get_ident())
        release.wait()

    def quick() -> str:
        return "quick"

    world = await connect(block, quick, max_threads=2)
    try:
        # On a busy machine a call may be over before it has begun.
        while len(begun) < 2:
            with pytest.raises(ToolTimeoutError):
                await world.tools["block"].with_options(timeout=0.05)()
        with pytest.raises(ToolTimeoutError):
            await world.tools["quick"].with_options(timeout=0.05)()
    finally:
        release.set()
    assert await soon(world.tools["quick"]()) == "quick"


async def test_a_result_that_cannot_be_represented_names_the_tool_and_where_it_is(connect: Connect) -> None:
    deep: list[Any] = []
    for _ in range(1_000):
        deep = [deep]

    async def dig() -> Any:
        return deep

    async def loop() -> Any:
        around: list[Any] = []
        around.append(around)
        return around

    world = await connect(dig, loop, fine)
    for name in ("dig", "loop"):
        with pytest.raises(ToolExecutionError) as caught:
            await world.tools[name]()
        assert caught.value.error_type == "SerializationError"
        assert f"the result of {name}" in caught.value.message
        assert "100" in caught.value.message
    assert await world.tools["fine"]() == "fine"


async def test_an_object_whose_text_fails_is_a_serialization_error(connect: Connect) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def make() -> Any:
        return Mute()

    world = await connect(make, fine)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["make"]()
    assert caught.value.error_type == "SerializationError"
    assert "Mute" in caught.value.message
    assert await world.tools["fine"]() == "fine"


async def test_a_value_of_a_stream_that_cannot_be_represented_ends_the_stream_after_those_before(
    connect: Connect,
) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def make() -> AsyncIterator[Any]:
        yield 1
        yield Mute()
        yield 3

    world = await connect(make)
    seen: list[Any] = []
    with pytest.raises(ToolExecutionError) as caught:
        await read(world.tools["make"].stream(), into=seen)
    assert seen == [1]
    assert caught.value.error_type == "SerializationError"
    await world.quiet()


async def test_a_tool_that_calls_itself_without_end_is_stopped_with_a_clear_error(connect: Connect) -> None:
    from grpc_tool_bridge import ToolContext

    async def again(ctx: ToolContext) -> None:
        await ctx.call_tool("again")

    world = await connect(again, fine)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.tools["again"]())
    assert "calls itself endlessly" in caught.value.message
    assert len(caught.value.message) < 2_000
    assert await world.tools["fine"]() == "fine"
    await world.quiet()
