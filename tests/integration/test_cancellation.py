"""Whatever ends a call early stops its work and leaves nothing counted, over every transport."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from grpc_tool_bridge import ToolBridge, ToolBridgeError, ToolContext, ToolExecutionError, ToolTimeoutError
from integration.connections import Connect, World
from support.patience import PATIENCE
from support.waiting import soon, until


class Probe:
    """Tools that wait for ever, and what they saw of their end."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.release = threading.Event()

    async def hang(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def hang_stream(self) -> AsyncIterator[int]:
        yield 1
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    def hang_thread(self, ctx: ToolContext) -> None:
        self.started.set()
        while not ctx.cancelled and not self.release.wait(0.002):
            pass
        if ctx.cancelled:
            self.ended.set()

    async def outer(self, ctx: ToolContext, depth: int = 2) -> None:
        if depth > 1:
            await ctx.call_tool("outer", depth - 1)
        else:
            await ctx.call_tool("hang")

    async def outer_stream(self, ctx: ToolContext) -> AsyncIterator[int]:
        async for value in ctx.stream_tool("hang_stream"):
            yield value

    def outer_thread(self, ctx: ToolContext) -> None:
        ctx.sync.call_tool("outer")

    @property
    def tools(self) -> list[Any]:
        return [self.hang, self.hang_stream, self.hang_thread, self.outer, self.outer_stream, self.outer_thread]


async def call(bridge: ToolBridge) -> Any:
    return await bridge.tools["hang"]()


async def call_stream(bridge: ToolBridge) -> Any:
    return [value async for value in bridge.tools["hang_stream"].stream()]


async def call_list(bridge: ToolBridge) -> Any:
    return await bridge.tools["hang_stream"]()


async def call_thread(bridge: ToolBridge) -> Any:
    return await bridge.tools["hang_thread"]()


async def call_nested(bridge: ToolBridge) -> Any:
    return await bridge.tools["outer"]()


async def call_nested_stream(bridge: ToolBridge) -> Any:
    return [value async for value in bridge.tools["outer_stream"].stream()]


async def call_nested_from_thread(bridge: ToolBridge) -> Any:
    return await bridge.tools["outer_thread"]()


async def call_with_events(bridge: ToolBridge) -> Any:
    return await bridge.tools["hang"].with_options(on_progress=lambda _: None)()


async def call_batch(bridge: ToolBridge) -> Any:
    (result,) = await bridge.execute_batch([{"tool_id": "hang"}])
    raise result


Caller = Callable[[ToolBridge], Coroutine[Any, Any, Any]]
CALLERS: list[Caller] = [
    call,
    call_stream,
    call_list,
    call_thread,
    call_nested,
    call_nested_stream,
    call_nested_from_thread,
    call_with_events,
    call_batch,
]
every_way_to_call = pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.__name__)


@pytest.fixture
def probe() -> Any:
    probe = Probe()
    yield probe
    probe.release.set()


async def _begin(connect: Connect, probe: Probe, caller: Caller, **settings: Any) -> tuple[World, "asyncio.Task[Any]"]:
    world = await connect(*probe.tools, **settings)
    task = asyncio.create_task(caller(world.bridge))
    await until(probe.started.is_set, "for the tool to start")
    return world, task


async def _outcome(task: Awaitable[Any]) -> BaseException:
    done, _ = await asyncio.wait([asyncio.ensure_future(task)], timeout=PATIENCE)
    assert done, "the caller got no answer"
    error = done.pop().exception()
    assert error is not None
    return error


@every_way_to_call
async def test_a_cancelled_caller_stops_the_tool(connect: Connect, probe: Probe, caller: Caller) -> None:
    world, task = await _begin(connect, probe, caller)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()
    await until(probe.ended.is_set, "for the tool to end")
    await world.quiet()
    assert task.cancelling() == 1


@every_way_to_call
async def test_a_session_removed_by_force_stops_the_tool_and_says_so(
    connect: Connect, probe: Probe, caller: Caller
) -> None:
    world, task = await _begin(connect, probe, caller)
    other = await world.attach(world.bridge.session_id)
    await soon(other.client.cleanup_session(force=True))
    error = await _outcome(task)
    assert isinstance(error, ToolExecutionError)
    assert error.error_type == "Cancelled"
    assert "it was removed" in error.message
    await until(probe.ended.is_set, "for the tool to end")
    await world.quiet()
    assert task.cancelling() == 0


@every_way_to_call
async def test_a_passed_deadline_stops_the_tool_and_says_so(connect: Connect, probe: Probe, caller: Caller) -> None:
    world = await connect(*probe.tools, call_timeout=0.2, stream_timeout=0.2, batch_timeout=0.2)
    for name in list(world.tools):
        world.bridge.tools[name] = world.tools[name].with_options(timeout=0.2)
    task = asyncio.create_task(caller(world.bridge))
    error = await _outcome(task)
    assert isinstance(error, ToolTimeoutError), error
    assert "deadline" in error.message
    await until(probe.ended.is_set, "for the tool to end")
    await world.quiet()
    assert task.cancelling() == 0


async def test_a_session_removed_without_force_lets_its_calls_finish(connect: Connect) -> None:
    go_on = asyncio.Event()
    started = asyncio.Event()

    async def work() -> str:
        started.set()
        await go_on.wait()
        return "finished"

    world = await connect(work)
    other = await world.attach(world.bridge.session_id)
    task = asyncio.create_task(world.tools["work"]())
    await soon(started.wait())
    removal = asyncio.create_task(other.client.cleanup_session())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not removal.done()
    go_on.set()
    assert await soon(task) == "finished"
    await soon(removal)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["work"]()
    assert caught.value.error_type == "SessionExpired"


@every_way_to_call
async def test_a_closed_bridge_ends_its_calls(connect: Connect, probe: Probe, caller: Caller) -> None:
    world = await connect(*probe.tools)
    bridge = await world.attach()
    task = asyncio.create_task(caller(bridge))
    await until(probe.started.is_set, "for the tool to start")
    await soon(bridge.close())
    error = await _outcome(task)
    assert isinstance(error, ToolBridgeError)
    await until(probe.ended.is_set, "for the tool to end")
    await world.quiet()


async def test_an_async_tool_may_clean_up_before_its_caller_is_answered(connect: Connect) -> None:
    cleaned = asyncio.Event()
    started = asyncio.Event()

    async def tidy() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    world = await connect(tidy)
    other = await world.attach(world.bridge.session_id)
    task = asyncio.create_task(world.tools["tidy"]())
    await soon(started.wait())
    await other.client.cleanup_session(force=True)
    error = await _outcome(task)
    assert cleaned.is_set()
    assert isinstance(error, ToolExecutionError)


async def test_a_call_that_waits_for_a_place_is_cancelled_without_taking_it(connect: Connect, probe: Probe) -> None:
    world, running = await _begin(connect, probe, call, max_session_calls=1)
    waiting = asyncio.create_task(call(world.bridge))
    (session,) = world.hub.store.sessions()
    await until(lambda: session.limiter is not None and session.limiter.waiting == 1)
    waiting.cancel()
    await until(lambda: session.limiter is not None and session.limiter.waiting == 0)
    running.cancel()
    await asyncio.wait([running, waiting], timeout=PATIENCE)
    assert waiting.cancelled()
    await world.quiet()


async def test_a_call_that_waits_for_a_place_ends_with_its_deadline(connect: Connect, probe: Probe) -> None:
    world, running = await _begin(connect, probe, call, max_session_calls=1)
    with pytest.raises(ToolTimeoutError):
        await world.tools["hang"].with_options(timeout=0.05)()
    running.cancel()
    await asyncio.wait([running], timeout=PATIENCE)
    await world.quiet()


async def test_a_hundred_callers_that_go_at_once_leave_nothing(connect: Connect, probe: Probe) -> None:
    world = await connect(*probe.tools, max_session_calls=20)
    tasks = [asyncio.create_task(caller(world.bridge)) for _ in range(12) for caller in CALLERS]
    await until(probe.started.is_set)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=PATIENCE)
    assert all(task.cancelled() for task in tasks)
    await world.quiet()
    await until(lambda: world.hub.executor.threads_busy == 0)
