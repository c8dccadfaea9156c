"""Hubs that are one bridge over NATS: a session is used at every hub, and outlives its own."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    SessionExpiredError,
    Settings,
    ToolContext,
    ToolWorker,
    tool,
)
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.nats_nodes import NatsNode, one_node
from support.patience import PATIENCE
from support.waiting import soon, until


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
async def count(up_to: int) -> AsyncIterator[int]:
    for number in range(up_to):
        yield number


@tool
async def remembers(ctx: ToolContext, value: int) -> int:
    await ctx.set_variable("kept", value)
    return value


TOOLS = [add, count, remembers]


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


class Hubs:
    """Hubs of one cluster in this process, by name."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack
        self.servers: dict[str, BridgeServer] = {}

    async def start(self, name: str, *, http_address: str | None = None, **settings: Any) -> BridgeServer:
        of_hub = Settings(hub_name=name, **settings)
        server = self.servers[name] = BridgeServer(
            tools=TOOLS, store=self._url, settings=of_hub, http_address=http_address
        )
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return server

    def hub(self, name: str) -> Hub:
        return self.servers[name].hub

    async def worker(self, name: str, tools: list[Any], **options: Any) -> ToolWorker:
        """Starts a worker that is linked to a hub."""
        worker = ToolWorker(self.servers[name].address, tools, **options)
        return await self._stack.enter_async_context(worker)

    async def sees(self, name: str, session_id: str, tool: str) -> None:
        """Waits until a session sees a tool, asked at a hub."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.servers[name]._served.get_session_tools(
                    pb.GetSessionToolsRequest(session_id=session_id)
                )
                if any(spec.name == tool for spec in answer.tools):
                    return
                await asyncio.sleep(0.01)

    async def bridge(self, name: str, session_id: str) -> GRPCToolBridge:
        bridge = GRPCToolBridge(self.servers[name].address, keep_session=True)
        await bridge.initialize(session_id)
        self._stack.push_async_callback(bridge.close)
        return bridge


@pytest.fixture
async def hubs(node: NatsNode) -> AsyncIterator[Hubs]:
    async with AsyncExitStack() as stack:
        hubs = Hubs(f"{node.url}/t{secrets.token_hex(4)}", stack)
        for name in "ab":
            await hubs.start(name)
        yield hubs


async def test_a_session_made_at_one_hub_is_used_at_the_other(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    assert "s" in hubs.servers["a"].hub.store
    assert "s" not in hubs.servers["b"].hub.store
    await there.session_context.set_variable("x", [1, 2])
    assert await here.session_context.get_variable("x") == [1, 2]
    assert await there.tools["add"](1, 2) == 3
    assert [number async for number in there.stream_tool("count", 3)] == [0, 1, 2]
    assert await there.tools["remembers"](5) == 5
    assert await there.session_context.get_variable("kept") == 5


async def test_a_session_is_served_on_when_its_hub_was_stopped(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    await here.session_context.set_variable("x", 1)
    await hubs.servers["a"].stop(0)
    assert await soon(there.session_context.get_variable("x")) == 1
    assert await soon(there.tools["add"](1, 2)) == 3
    assert "s" in hubs.servers["b"].hub.store


async def test_the_calls_of_a_session_go_on_while_its_hub_is_stopped(hubs: Hubs) -> None:
    await hubs.bridge("a", "s")
    there = await hubs.bridge("b", "s")
    made = 0

    async def call_on() -> None:
        nonlocal made
        while True:
            assert await there.tools["add"](made, 1) == made + 1
            made += 1

    calling = asyncio.ensure_future(call_on())
    await until(lambda: made > 5)
    await hubs.servers["a"].stop()
    before = made
    await until(lambda: made > before + 5 or calling.done())
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_worker_at_one_hub_runs_the_calls_of_the_sessions_of_all(hubs: Hubs) -> None:
    @tool
    async def adds_and_keeps(ctx: ToolContext, a: int, b: int) -> int:
        total: int = await ctx.call_tool("add", a, b)
        await ctx.set_variable("total", total)
        return total

    here = await hubs.bridge("a", "s")
    await hubs.worker("b", [adds_and_keeps])
    await hubs.sees("a", "s", "adds_and_keeps")
    assert await here.call_tool("adds_and_keeps", 1, 2) == 3
    assert await here.session_context.get_variable("total") == 3
    there = await hubs.bridge("b", "s")
    assert await there.call_tool("adds_and_keeps", 3, 4) == 7


async def test_a_worker_offers_tools_to_a_session_of_another_hub_and_they_follow_it(hubs: Hubs) -> None:
    @tool
    def own(text: str) -> str:
        return text.upper()

    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    await hubs.worker("b", [own], session_id="s")
    await hubs.sees("a", "s", "own")
    assert await here.call_tool("own", "x") == "X"
    await hubs.servers["a"].stop(0)
    await soon(there.session_context.set_variable("x", 1))
    await hubs.sees("b", "s", "own")
    assert await there.call_tool("own", "y") == "Y"


async def test_a_hub_whose_lease_is_lost_forgets_its_sessions_and_begins_anew(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    await here.session_context.set_variable("x", 1)
    store: Any = hubs.hub("a").durable
    before = store.lease.incarnation
    # As of a hub that was paused for so long that another one has given it up.
    await store.lease._stop()
    assert await soon(there.session_context.get_variable("x")) == 1
    assert "s" in hubs.hub("b").store
    store.lease._is_held = True
    store.lease._tasks.spawn(store.lease._renew_always(), "renewing the hub's lease")
    await until(lambda: store.lease.incarnation != before and store.is_certain())
    await until(lambda: "s" not in hubs.hub("a").store)
    assert await soon(here.session_context.get_variable("x")) == 1
    await soon(here.session_context.set_variable("x", 2))
    assert await there.session_context.get_variable("x") == 2


async def test_many_sessions_go_over_to_the_hub_that_is_left(hubs: Hubs) -> None:
    bridges = [await hubs.bridge("b" if number % 2 else "a", f"s{number}") for number in range(20)]
    for number, bridge in enumerate(bridges):
        await bridge.session_context.set_variable("x", number)
    others = [await hubs.bridge("b", f"s{number}") for number in range(20)]
    await hubs.servers["a"].stop(0)
    values = await soon(asyncio.gather(*(bridge.session_context.get_variable("x") for bridge in others)))
    assert values == list(range(20))
    assert len(hubs.hub("b").store) == 20


async def test_a_session_of_another_hub_is_used_over_http(hubs: Hubs) -> None:
    await hubs.start("c", http_address="127.0.0.1:0")
    await hubs.bridge("a", "s")
    async with httpx.AsyncClient(base_url=f"http://{hubs.servers['c'].http_address}") as http:
        called = await http.post("/api/sessions/s/tools/add/execute", json={"kwargs": {"a": 1, "b": 2}})
        assert called.json()["result"] == 3
        set_there = await http.put("/api/sessions/s/variables/x", json={"value": 7})
        assert set_there.status_code == 200
        assert (await http.get("/api/sessions/s/variables/x")).json()["value"] == 7
        described = (await http.get("/api/sessions/s/tools/add")).json()
        assert described["name"] == "add"
        found = (await http.get("/api/sessions/s/tools", params={"search": "add"})).json()
        assert "add" in [tool["name"] for tool in found["tools"]]
        assert (await http.get("/readyz")).status_code == 200
        missing = await http.get("/api/sessions/none/tools/add")
        assert missing.status_code == 404


async def test_a_session_that_has_ended_can_begin_anew_at_another_hub(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    await here.session_context.set_variable("x", 1)
    await here.client.cleanup_session()
    with pytest.raises(SessionExpiredError, match="it was removed"):
        await there.session_context.get_variable("x")
    again = await hubs.bridge("b", "s")
    assert await again.session_context.get_variable("x", None) is None
    assert "s" in hubs.hub("b").store
    await again.session_context.set_variable("x", 2)
    assert await (await hubs.bridge("a", "s")).session_context.get_variable("x") == 2


async def test_of_two_hubs_that_open_one_session_at_once_one_has_it(hubs: Hubs) -> None:
    for turn in range(5):
        opened = await asyncio.gather(*(hubs.bridge(name, f"s{turn}") for name in "abab"))
        assert (f"s{turn}" in hubs.hub("a").store) != (f"s{turn}" in hubs.hub("b").store)
        await opened[0].session_context.set_variable("x", turn)
        assert await opened[1].session_context.get_variable("x") == turn


async def test_watches_keys_and_batches_go_on_where_the_session_went(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    watch = there.session_context.watch_variables("n")
    seen: list[int] = []

    async def read() -> None:
        async for change in watch:
            seen.append(change.value)  # noqa: PERF401 - it is looked at meanwhile

    reading = asyncio.ensure_future(read())
    await until(lambda: hubs.hub("a").store.find("s").watches)
    for number in range(3):
        await here.session_context.set_variable("n", number)
    keyed = there.tools["remembers"].with_options(idempotency_key="k")
    assert await keyed(5) == 5
    await hubs.servers["a"].stop(0)
    for number in range(3, 6):
        await soon(there.session_context.set_variable("n", number))
    await until(lambda: len(seen) == 6)
    assert seen == list(range(6))
    await there.session_context.set_variable("kept", 0)
    assert await keyed(5) == 5
    assert await there.session_context.get_variable("kept") == 0
    assert list(await there.execute_batch([{"tool_id": "add", "args": [n, 1]} for n in range(3)])) == [1, 2, 3]
    reading.cancel()
    await asyncio.wait([reading])
