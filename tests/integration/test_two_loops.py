"""One bridge in several event loops, one after the other and beside one another."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    ProtocolError,
    Settings,
    ToolBridge,
    ToolBridgeClient,
    ToolCommunicationError,
    ToolContext,
    ToolWorker,
)
from grpc_tool_bridge.testing import MockBridgeServer
from grpc_tool_bridge.testing.background import running_hub
from support.waiting import until

# Bounds a hang and nothing else.
PATIENCE = 50.0


def add(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


async def count(stop: int) -> AsyncGenerator[int, None]:
    """Counts."""
    for number in range(stop):
        yield number


async def stuck(ctx: ToolContext) -> None:
    """Never ends by itself."""
    ctx.log("begun")
    await asyncio.Event().wait()


@pytest.fixture
def hub() -> Iterator[BridgeServer]:
    with running_hub([add, count, stuck], Settings()) as server:
        yield server


@pytest.fixture(params=["rpc", "link"])
def bridge(request: pytest.FixtureRequest, hub: BridgeServer) -> GRPCToolBridge:
    return GRPCToolBridge(hub.address, transport=request.param)


def run(work: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await work

    return asyncio.run(bounded())


def leave_open(work: Any) -> Any:
    """Runs in a loop that stops with all its tasks, and is never closed."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(work, PATIENCE))
    finally:
        _left.append(loop)


_left: list[asyncio.AbstractEventLoop] = []


@pytest.fixture(autouse=True)
def _no_loops_left() -> Iterator[None]:
    yield
    for loop in _left:
        loop.run_until_complete(asyncio.sleep(0))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    _left.clear()


@pytest.fixture(params=[run, leave_open], ids=["closed", "stopped"])
def first(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Runs in a loop that has ended afterwards."""
    made: Callable[[Any], Any] = request.param
    return made


def test_a_bridge_goes_on_in_another_loop_with_its_session(first: Callable[[Any], Any], bridge: GRPCToolBridge) -> None:
    first(bridge.initialize())
    session_id, proxy = bridge.session_id, bridge.tools["add"]
    first(bridge.session_context.set_variable("unit", "m"))

    async def go_on() -> None:
        assert await proxy(1, 2) == 3
        assert await bridge.session_context.get_variable("unit") == "m"
        assert bridge.session_id == session_id
        assert bridge.tools["add"] is proxy

    for _ in range(3):
        first(go_on())
    run(bridge.close())


def test_many_calls_in_each_of_many_loops_all_answer(first: Callable[[Any], Any], bridge: GRPCToolBridge) -> None:
    async def calls() -> list[int]:
        if not bridge.tools:
            await bridge.initialize()
        return list(await asyncio.gather(*(bridge.tools["add"](number, 1) for number in range(100))))

    for _ in range(5):
        assert first(calls()) == list(range(1, 101))
    run(bridge.close())


def test_the_tools_are_followed_in_the_next_loop(first: Callable[[Any], Any], hub: BridgeServer) -> None:
    changed: list[str] = []
    bridge = GRPCToolBridge(hub.address, on_tools_changed=lambda _, name: changed.append(name))
    first(bridge.initialize())

    async def go_on() -> None:
        assert await bridge.tools["add"](1) == 1

        def later(x: int) -> int:
            return x

        async with ToolWorker(hub.address, tools=[later]):
            await until(lambda: "later" in bridge.tools)
        await bridge.close()

    run(go_on())
    assert "later" in changed


def test_it_closes_in_another_loop(first: Callable[[Any], Any], bridge: GRPCToolBridge) -> None:
    first(bridge.initialize())
    run(bridge.close())
    run(bridge.close())
    # And is as new.
    assert "add" in run(bridge.initialize())
    run(bridge.close())


def test_a_watch_goes_on_where_it_was_in_the_next_loop(first: Callable[[Any], Any], hub: BridgeServer) -> None:
    bridge = GRPCToolBridge(hub.address)
    first(bridge.initialize())
    variables = bridge.session_context
    first(variables.set_variable("n", 0))
    watch = variables.watch_variables("n")
    assert first(anext(watch)).value == 0
    first(variables.set_variable("n", 1))
    first(variables.set_variable("n", 2))
    assert [run(anext(watch)).value, run(anext(watch)).value] == [1, 2]
    run(watch.aclose())
    run(bridge.close())


def test_a_stream_that_was_half_read_says_that_its_loop_has_ended(
    first: Callable[[Any], Any], bridge: GRPCToolBridge
) -> None:
    first(bridge.initialize())
    stream = bridge.tools["count"].stream(100_000)
    assert first(anext(stream)) == 0
    with pytest.raises(ToolCommunicationError, match="the event loop that read the stream has ended"):
        run(anext(stream))
    with pytest.raises(StopAsyncIteration):
        run(anext(stream))
    run(stream.aclose())
    run(bridge.close())


def test_a_stream_that_was_read_to_its_end_stays_so(bridge: GRPCToolBridge) -> None:
    run(bridge.initialize())
    stream = bridge.tools["count"].stream(3)

    async def read() -> list[int]:
        return [value async for value in stream]

    assert run(read()) == [0, 1, 2]
    assert run(read()) == []
    run(bridge.close())


def test_sync_takes_over_from_a_loop_that_has_ended(first: Callable[[Any], Any], bridge: GRPCToolBridge) -> None:
    first(bridge.initialize())
    assert bridge.sync.tools["add"](1, 2) == 3
    bridge.sync.close()
    assert "add" in run(bridge.initialize())
    run(bridge.close())


def test_await_beside_sync_is_refused_at_once(bridge: GRPCToolBridge) -> None:
    bridge.sync.initialize()
    proxy = bridge.client.tools["add"]
    for use in (lambda: proxy(1, 2), bridge.initialize, lambda: bridge.session_context.get_variable("x")):
        with pytest.raises(ProtocolError, match=r"another event loop, which still runs.*bridge\.sync"):
            run(use())
    assert bridge.sync.tools["add"](1, 2) == 3
    bridge.sync.close()


def test_two_loops_at_once_are_refused_and_the_first_goes_on(bridge: GRPCToolBridge) -> None:
    async def main() -> None:
        await bridge.initialize()
        stream = bridge.tools["count"].stream(3)
        assert await anext(stream) == 0
        for use in (lambda: bridge.tools["add"](1, 2), lambda: anext(stream), stream.aclose):
            with pytest.raises(ProtocolError, match=r"another event loop, which still runs.*bridge\.sync"):
                await asyncio.to_thread(run, use())
        assert await bridge.tools["add"](1, 2) == 3
        assert [value async for value in stream] == [1, 2]
        await bridge.close()

    run(main())


async def test_a_channel_of_another_loop_is_refused() -> None:
    async def make(mock: MockBridgeServer) -> Any:
        return mock.channel()

    async with MockBridgeServer() as mock:
        client = ToolBridgeClient(await asyncio.to_thread(asyncio.run, make(mock)))
        with pytest.raises(ProtocolError, match="the given channel belongs to another event loop"):
            await client.health_check()


def test_a_client_of_an_address_goes_on_in_another_loop(hub: BridgeServer) -> None:
    client = ToolBridgeClient(hub.address)
    for _ in range(3):
        assert run(client.health_check())
    run(client.close())


def test_the_bridge_of_a_hub_in_this_process_says_that_its_loop_has_ended() -> None:
    server = BridgeServer(tools=[add])
    made: list[ToolBridge] = []

    async def serve() -> None:
        await server.start()
        made.append(server.bridge())
        assert "add" in await made[0].initialize()

    run(serve())
    with pytest.raises(ProtocolError, match="the hub of this bridge belonged to an event loop that has ended"):
        run(made[0].call_tool("add", 1, 2))
    run(made[0].close())
    # Its address is free afterwards.
    run(server.stop())
    other = BridgeServer(server.address, tools=[add])
    run(_serve_once(other))


async def _serve_once(server: BridgeServer) -> None:
    async with server, GRPCToolBridge(server.address) as bridge:
        assert await (await bridge.initialize())["add"](1, 2) == 3


async def test_a_hub_is_used_and_stopped_in_its_own_loop_only() -> None:
    async with BridgeServer(tools=[add]) as server:
        bridge = server.bridge()
        await bridge.initialize()
        for use in (bridge.tools["add"](1), server.stop()):
            with pytest.raises(ProtocolError, match="another event loop, which still runs"):
                await asyncio.to_thread(run, use)
        assert await bridge.tools["add"](1) == 1
        await bridge.close()


def test_a_worker_whose_loop_has_ended_serves_no_more_and_closes(hub: BridgeServer) -> None:
    def other(x: int) -> int:
        return x

    worker = ToolWorker(hub.address, tools=[other])
    run(worker.start())
    with pytest.raises(ProtocolError, match="this ToolWorker belonged to an event loop that has ended"):
        run(worker.run())
    run(worker.close())
    run(worker.drain())


def test_threads_share_one_bridge_by_sync(bridge: GRPCToolBridge) -> None:
    ready = threading.Barrier(8)

    def call(number: int) -> int:
        ready.wait(PATIENCE)
        view = bridge.sync
        view.initialize("shared")
        return int(view.tools["add"](number, 1))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(call, range(8))) == list(range(1, 9))
    assert sum(thread.name == "tool-bridge-sync" for thread in threading.enumerate()) == 1
    bridge.sync.close()


QUIET = """
import asyncio, sys
from grpc_tool_bridge import GRPCToolBridge

bridge = GRPCToolBridge(sys.argv[1], transport=sys.argv[2])

async def open_it():
    await bridge.initialize()
    if sys.argv[3] == "run":
        asyncio.ensure_future(bridge.call_tool("stuck"))
    stream = bridge.tools["count"].stream(1_000_000)
    global kept
    kept = stream, bridge.session_context.watch_variables()
    await anext(stream)
    await bridge.session_context.set_variable("a", 1)
    await anext(kept[1])

async def go_on():
    for number in range(20):
        assert await bridge.call_tool("add", number) == number

def in_loop(work, close):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    if close:
        loop.close()

in_loop(open_it(), sys.argv[3] == "closed") if sys.argv[3] != "run" else asyncio.run(open_it())
asyncio.run(go_on())
if sys.argv[4] == "close":
    asyncio.run(bridge.close())
print("done")
"""


@pytest.mark.parametrize("transport", ["rpc", "link"])
@pytest.mark.parametrize("ended", ["run", "closed", "stopped"])
@pytest.mark.parametrize("end", ["close", "leave"])
def test_nothing_is_said_of_what_a_loop_has_left(hub: BridgeServer, transport: str, ended: str, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUIET, hub.address, transport, ended, end],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
