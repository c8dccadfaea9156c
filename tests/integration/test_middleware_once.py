"""Middleware of a hub and of a worker runs once around each call, whoever makes it and however it comes."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import (
    AccessError,
    BridgeServer,
    CallNext,
    GRPCToolBridge,
    Settings,
    ToolCall,
    ToolContext,
    ToolExecutionError,
    ToolTimeoutError,
    ToolWorker,
    ValidationError,
    tool,
)
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import fields
from grpc_tool_bridge.testing.model_script import step as react_step
from support.waiting import soon


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool
def blocking_add(a: int, b: int) -> int:
    return a + b


@tool
async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@tool
async def nests(ctx: ToolContext) -> list[Any]:
    return [await ctx.call_tool("add", 1, 2), [number async for number in ctx.stream_tool("numbers", 2)]]


@tool
async def about(ctx: ToolContext) -> dict[str, Any]:
    ctx.progress(1, 2, "half")
    return {"request_id": ctx.request_id, "metadata": dict(ctx.metadata)}


@tool
async def hangs(ctx: ToolContext) -> str:
    await ctx.get_variable("none", None)
    while True:
        await ctx.get_variable("none", None)


TOOLS = [add, blocking_add, numbers, nests, about, hangs]


class Seen:
    """Middleware that remembers the tools that are called, and how."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []

    async def __call__(self, call: ToolCall, call_next: CallNext) -> Any:
        self.calls.append(call)
        return await call_next(call)

    def take(self) -> list[tuple[str, str]]:
        """Returns what it has seen since it was last asked."""
        found: list[tuple[str, str]] = [(call.tool, call.kind) for call in self.calls]
        self.calls.clear()
        return found


class World:
    """A hub and maybe a worker with middleware, and a client."""

    def __init__(self, server: BridgeServer, bridge: GRPCToolBridge, at_hub: Seen, at_worker: Seen | None) -> None:
        self.server, self.bridge, self.at_hub, self.at_worker = server, bridge, at_hub, at_worker
        self.http = httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=60)

    def sees(self, *calls: tuple[str, str]) -> None:
        """Asserts that these calls alone were made, as the hub sees them."""
        assert self.at_hub.take() == list(calls)
        if self.at_worker is not None:
            kinds = {"batch": "call", "agent": "nested"}
            assert self.at_worker.take() == [(name, kinds.get(kind, kind)) for name, kind in calls]


@pytest.fixture(params=["hub", "worker"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    at_hub, at_worker = Seen(), Seen() if request.param == "worker" else None
    steps = [react_step("I add.", "add", a=1, b=2), react_step("I know.", "finish")]
    lm = ScriptedLM([*steps, fields(reasoning="So it is.", Answer="3")])
    async with contextlib.AsyncExitStack() as stack:
        server = BridgeServer(
            tools=TOOLS if at_worker is None else [],
            middleware=[at_hub],
            http_address="127.0.0.1:0",
            agents={"lm": lm},
            settings=Settings(shutdown_grace=0),
        )
        await stack.enter_async_context(server)
        if at_worker is not None:
            await stack.enter_async_context(ToolWorker(server.address, tools=TOOLS, middleware=[at_worker]))
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address))
        await bridge.initialize("s")
        made = World(server, bridge, at_hub, at_worker)
        await stack.enter_async_context(made.http)
        yield made


async def test_calls_and_streams(world: World) -> None:
    tools = world.bridge.tools
    assert await tools["add"](1, 2) == 3
    assert await tools["blocking_add"](1, 2) == 3
    world.sees(("add", "call"), ("blocking_add", "call"))
    assert [number async for number in tools["numbers"].stream(3)] == [0, 1, 2]
    world.sees(("numbers", "stream"))
    assert await tools["numbers"](2) == [0, 1]
    assert len(world.at_hub.take()) == 1


async def test_batches(world: World) -> None:
    items = [{"tool_id": "add", "args": [number, 1]} for number in range(3)]
    assert await world.bridge.execute_batch(items) == [1, 2, 3]
    world.sees(*[("add", "batch")] * 3)


async def test_calls_of_tools(world: World) -> None:
    assert await world.bridge.tools["nests"]() == [3, [0, 1]]
    world.sees(("nests", "call"), ("add", "nested"), ("numbers", "nested"))


async def test_calls_of_agents(world: World) -> None:
    agent_id = await world.bridge.create_react_agent("Question -> Answer", tool_names=["add"])
    run = world.bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"Question": "1 + 2?"}})
    chunks = [chunk async for chunk in run]
    assert chunks[-1]["type"] == "result"
    world.sees(("add", "agent"))


async def test_calls_over_http(world: World) -> None:
    tools = "/api/sessions/s/tools"
    answer = await world.http.post(f"{tools}/add/execute", json={"args": [1, 2]})
    assert answer.json()["result"] == 3
    world.sees(("add", "call"))
    answer = await world.http.post(f"{tools}/numbers/stream", json={"args": [2]})
    assert answer.text.count("event: data") == 2
    world.sees(("numbers", "stream"))
    requests = [{"tool_id": "add", "args": [1, 2]}] * 2
    answer = await world.http.post(f"{tools}/batch", json={"requests": requests})
    assert [each["result"] for each in answer.json()["results"]] == [3, 3]
    world.sees(("add", "batch"), ("add", "batch"))


async def test_calls_over_mcp(world: World) -> None:
    params: dict[str, Any] = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    headers = {"Accept": "application/json, text/event-stream"}

    async def ask(method: str, params: dict[str, Any], number: int | None) -> httpx.Response:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if number is None else {"id": number})
        return await world.http.post("/mcp", json=message, headers=headers)

    opened = await ask("initialize", params, 1)
    headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
    await ask("notifications/initialized", {}, None)
    for number, (name, arguments) in enumerate((("add", {"a": 1, "b": 2}), ("numbers", {"count": 2})), 2):
        answer = await ask("tools/call", {"name": name, "arguments": arguments}, number)
        body = answer.text
        if "data:" in body:
            body = next(line[5:] for line in reversed(body.splitlines()) if line.startswith("data:") and len(line) > 6)
        assert not json.loads(body)["result"].get("isError"), body
        assert [name for name, _ in world.at_hub.take()] == [name]
        if world.at_worker is not None:
            assert [name for name, _ in world.at_worker.take()] == [name]


# ------------------------------------------------------------------------------------------------ at a worker


@contextlib.asynccontextmanager
async def at_worker(*middleware: Any, tools: Any = TOOLS) -> AsyncIterator[GRPCToolBridge]:
    settings = Settings(shutdown_grace=0)
    async with (
        BridgeServer(settings=settings) as server,
        ToolWorker(server.address, tools=tools, middleware=middleware, settings=settings),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize("s", metadata={"tenant": "acme"})
        yield bridge


async def test_a_worker_s_middleware_has_the_call_and_changes_it() -> None:
    calls: list[ToolCall] = []

    async def changes(call: ToolCall, call_next: CallNext) -> Any:
        calls.append(call)
        if call.tool == "add":
            call.kwargs = {"a": 10, "b": call.args[1]}
            call.args = []
            return await call_next(call) + 1
        call.metadata["by"] = "middleware"
        return await call_next(call)

    async with at_worker(changes) as bridge:
        assert await bridge.tools["add"](1, 2) == 13
        said = await bridge.tools["about"].with_options(metadata={"k": "v"})()
    assert said["metadata"] == {"tenant": "acme", "k": "v", "by": "middleware"}
    assert said["request_id"] == calls[1].request_id != ""
    assert (calls[0].side, calls[0].session_id, calls[0].kind) == ("worker", "s", "call")
    assert 0 < calls[0].timeout <= 31


async def test_a_worker_s_middleware_changes_the_values_of_a_stream() -> None:
    async def tenfold(call: ToolCall, call_next: CallNext) -> Any:
        values = await call_next(call)
        if not call.is_stream:
            return values

        async def changed() -> AsyncIterator[int]:
            async for value in values:
                yield 10 * value

        return changed()

    async with at_worker(tenfold) as bridge:
        assert [number async for number in bridge.tools["numbers"].stream(3)] == [0, 10, 20]
        assert await bridge.tools["add"](1, 2) == 3


async def test_errors_of_a_worker_s_middleware_are_those_of_the_call() -> None:
    async def refuses(call: ToolCall, call_next: CallNext) -> Any:
        if call.tool == "add":
            raise AccessError("not for you")
        if call.tool == "about":
            raise RuntimeError("a fault")
        return await call_next(call)

    async with at_worker(refuses) as bridge:
        with pytest.raises(ToolExecutionError, match="not for you") as refused:
            await bridge.tools["add"](1, 2)
        assert refused.value.error_type == "PermissionDenied"
        with pytest.raises(ToolExecutionError, match="internal error of the bridge") as failed:
            await bridge.tools["about"]()
        assert failed.value.error_type == "InternalError"
        with pytest.raises(ToolTimeoutError):
            await soon(bridge.tools["hangs"].with_options(timeout=0.2)())


def test_what_is_no_middleware_is_refused_when_the_worker_is_made() -> None:
    def plain(call: ToolCall, call_next: CallNext) -> Any:
        return call_next(call)

    with pytest.raises(ValidationError, match="plain must be an async function"):
        ToolWorker("127.0.0.1:1", tools=[add], middleware=[plain])


def test_a_worker_without_middleware_keeps_its_fast_path() -> None:
    assert ToolWorker("127.0.0.1:1", tools=[add])._service.try_begin_tool is not None
    assert ToolWorker("127.0.0.1:1", tools=[add], middleware=[Seen()])._service.try_begin_tool is None
