"""Whatever ends a call early stops its work in the worker that runs it, however deep, and leaves nothing counted."""

import asyncio
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from failure_modes.workers import Crew, MakeCrew
from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, ToolContext, ToolExecutionError, ToolTimeoutError, tool
from support.patience import PATIENCE
from support.waiting import is_gone, soon, until
from unit.runner import process_tools

# Longer than any test lasts, so that a deadline is what the test says.
LONG = 60.0


class Probe:
    """Tools that wait for ever, and whether they still run."""

    def __init__(self, note: Path) -> None:
        self.note = note
        self.hanging = 0
        self.running = 0
        self.let_go = threading.Event()

    @contextmanager
    def _runs(self) -> Iterator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def hang(self) -> None:
        with self._runs():
            self.hanging += 1
            await asyncio.Event().wait()

    async def hang_stream(self) -> AsyncIterator[int]:
        with self._runs():
            yield 1
            self.hanging += 1
            await asyncio.Event().wait()

    def hang_thread(self, ctx: ToolContext) -> None:
        with self._runs():
            self.hanging += 1
            while not ctx.cancelled and not self.let_go.wait(0.002):
                pass

    async def outer(self, ctx: ToolContext) -> None:
        with self._runs():
            await ctx.call_tool("relay")

    async def relay(self, ctx: ToolContext) -> None:
        with self._runs():
            await ctx.call_tool("middle")

    async def middle(self, ctx: ToolContext) -> None:
        with self._runs():
            await ctx.call_tool("hang")

    async def outer_stream(self, ctx: ToolContext) -> AsyncIterator[int]:
        with self._runs():
            async for value in ctx.stream_tool("hang_stream"):
                yield value

    def outer_thread(self, ctx: ToolContext) -> None:
        with self._runs():
            ctx.sync.call_tool("middle")

    def process(self) -> psutil.Process | None:
        """Returns the process that a tool said it runs in."""
        text = self.note.read_text() if self.note.exists() else ""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(int(text)) if text else None
        return None


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    probe = Probe(tmp_path / "note")
    yield probe
    probe.let_go.set()


@pytest.fixture
async def crew(make_crew: MakeCrew, probe: Probe) -> AsyncIterator[Crew]:
    """A hub and two workers; nested calls go from the one to the hub, the other, and back."""
    crew = await make_crew(probe.relay)
    in_process = tool(executor="process", name="hang_process")(process_tools.hang)
    await crew.worker(
        probe.hang, probe.hang_stream, probe.hang_thread, probe.outer, probe.outer_thread, worker_id="a", capacity=3
    )
    await crew.worker(probe.middle, probe.outer_stream, in_process, worker_id="b")
    yield crew
    await until(lambda: not probe.running, f"for {probe.running} tools to end")
    await crew.quiet()
    assert crew.workers() == ["a", "b"]


Call = Callable[[GRPCToolBridge, Probe, float], Coroutine[Any, Any, Any]]


def calling(name: str) -> Call:
    async def call(bridge: GRPCToolBridge, _: Probe, timeout: float) -> Any:
        return await bridge.tools[name].with_options(timeout=timeout)()

    return call


def streaming(name: str) -> Call:
    async def call(bridge: GRPCToolBridge, _: Probe, timeout: float) -> Any:
        return [value async for value in bridge.tools[name].with_options(timeout=timeout).stream()]

    return call


async def batch(bridge: GRPCToolBridge, _: Probe, timeout: float) -> Any:
    del timeout
    items = await bridge.execute_batch([{"tool_id": "hang"}] * 3)
    for item in items:
        if isinstance(item, Exception):
            raise item


CALLS: dict[str, Call] = {
    "async": calling("hang"),
    "thread": calling("hang_thread"),
    "stream": streaming("hang_stream"),
    "stream to a list": calling("hang_stream"),
    "nested": calling("outer"),
    "nested in a thread": calling("outer_thread"),
    "nested stream": streaming("outer_stream"),
    "batch": batch,
}


async def cancel(task: "asyncio.Task[Any]", bridge: GRPCToolBridge) -> None:
    del bridge
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def remove_session(task: "asyncio.Task[Any]", bridge: GRPCToolBridge) -> None:
    await soon(bridge.client.cleanup_session(force=True))
    with pytest.raises(ToolExecutionError) as caught:
        await soon(task)
    assert caught.value.error_type == "Cancelled"


async def close(task: "asyncio.Task[Any]", bridge: GRPCToolBridge) -> None:
    # Without a word to the hub: as for one that lost its client.
    await soon(bridge.client.close())
    with pytest.raises(ToolBridgeError):
        await soon(task)


@pytest.mark.parametrize("end", [cancel, remove_session, close], ids=["cancelled", "session removed", "client closed"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_ends_a_call_stops_all_of_its_work_in_the_workers(
    crew: Crew, probe: Probe, call: Call, end: Callable[["asyncio.Task[Any]", GRPCToolBridge], Awaitable[None]]
) -> None:
    async with GRPCToolBridge(crew.server.address) as bridge:
        await bridge.initialize()
        task = asyncio.create_task(call(bridge, probe, LONG))
        await until(lambda: probe.hanging == (3 if call is batch else 1), "for the tool to run")
        await end(task, bridge)
        await until(lambda: not probe.running, "for the tools to end")


@pytest.mark.parametrize("name", [name for name in CALLS if name != "batch"])
async def test_a_deadline_stops_all_of_the_work_in_the_workers(crew: Crew, probe: Probe, name: str) -> None:
    with pytest.raises(ToolTimeoutError):
        await soon(CALLS[name](await attached(crew), probe, 0.3))
    await until(lambda: not probe.running, "for the tools to end")
    await crew.quiet()


async def attached(crew: Crew) -> GRPCToolBridge:
    """Lets the crew's client see the tools of the workers."""
    await crew.bridge.initialize(crew.session_id)
    return crew.bridge


@pytest.mark.parametrize("name", ["hang", "hang_thread", "outer"])
async def test_a_client_that_is_killed_stops_its_work_in_the_workers(crew: Crew, probe: Probe, name: str) -> None:
    command = [sys.executable, "-m", "grpc_tool_bridge.cli", "call", name, "--address", crew.server.address]
    client = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL)
    try:
        async with asyncio.timeout(3 * PATIENCE):
            while not probe.hanging:  # noqa: ASYNC110 - the tool of another thread tells of it
                await asyncio.sleep(0.01)
    finally:
        client.send_signal(signal.SIGKILL)
        await soon(client.wait())
    await until(lambda: not probe.running, "for the tools to end")


@pytest.mark.parametrize("end", [cancel, remove_session], ids=["cancelled", "session removed"])
async def test_the_process_of_a_tool_ends_with_its_call(
    crew: Crew, probe: Probe, end: Callable[["asyncio.Task[Any]", GRPCToolBridge], Awaitable[None]]
) -> None:
    async with GRPCToolBridge(crew.server.address) as bridge:
        await bridge.initialize()
        task = asyncio.create_task(bridge.tools["hang_process"].with_options(timeout=LONG)(str(probe.note)))
        await until(probe.process, "for the process of the tool")
        process = probe.process()
        assert process is not None
        await end(task, bridge)
        await until(lambda: is_gone(process.pid))


async def test_a_deadline_holds_for_all_levels_of_nested_calls_together(make_crew: MakeCrew) -> None:
    left: list[float] = []

    async def first(ctx: ToolContext) -> None:
        left.append(ctx.time_left())
        await ctx.call_tool("second")

    async def second(ctx: ToolContext) -> None:
        left.append(ctx.time_left())
        await ctx.call_tool("third")

    async def third(ctx: ToolContext) -> None:
        left.append(ctx.time_left())
        await asyncio.Event().wait()

    crew = await make_crew()
    await crew.worker(first, third, worker_id="a")
    await crew.worker(second, worker_id="b")
    with pytest.raises(ToolTimeoutError):
        await soon(crew.call("first", timeout=0.3))
    assert max(left) <= 0.3
    # A hop tells what is left in milliseconds, rounded up.
    assert all(inner <= outer + 0.001 for outer, inner in pairwise(left))
    await crew.quiet()


async def test_a_tool_that_asks_for_more_time_than_its_own_gets_no_more(make_crew: MakeCrew) -> None:
    left: list[float] = []

    async def outer(ctx: ToolContext) -> Any:
        # Whatever time-out a peer may write.
        runtime: Any = ctx._runtime
        return await runtime._opened().tool("inner").with_options(timeout=LONG)()

    async def inner(ctx: ToolContext) -> None:
        left.append(ctx.time_left())
        await asyncio.Event().wait()

    crew = await make_crew()
    await crew.worker(outer, inner)
    with pytest.raises(ToolTimeoutError):
        await soon(crew.call("outer", timeout=2.0))
    assert max(left) <= 2.0
    await crew.quiet()


async def test_nested_calls_go_through_workers_that_have_no_other_place(make_crew: MakeCrew) -> None:
    async def outer(ctx: ToolContext) -> Any:
        return await ctx.call_tool("middle")

    async def middle(ctx: ToolContext) -> Any:
        return await ctx.call_tool("inner")

    async def inner() -> str:
        return "done"

    crew = await make_crew()
    await crew.worker(outer, inner, worker_id="a", capacity=1)
    await crew.worker(middle, worker_id="b", capacity=1)
    assert await soon(crew.call("outer")) == "done"
    await crew.quiet()


async def test_a_tool_that_ignores_its_cancellation_holds_its_place_in_the_worker_until_it_ends(
    make_crew: MakeCrew,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        begun.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()
        return "at last"

    crew = await make_crew()
    await crew.worker(stubborn, worker_id="a")
    task = asyncio.create_task(crew.call("stubborn"))
    await soon(begun.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    await until(lambda: not crew.hub.admission.active)
    assert crew.known("a").active == 1
    go_on.set()
    await crew.quiet()
