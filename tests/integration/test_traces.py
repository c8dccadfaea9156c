"""One tree of spans over every edge, as a collector gets it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.util._once import Once

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.telemetry.telemetry import Telemetry
from support.collector import Collector, collecting
from support.waiting import soon


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    # A process has one provider, which stays; each test has another.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    with collecting() as collector:
        exporter = OTLPSpanExporter(f"http://{collector.address}", insecure=True)
        telemetry = Telemetry(exporter=exporter)
        try:
            yield collector
        finally:
            telemetry.stop()
            assert process.tracing is None


@tool
async def add(a: int, b: int) -> int:
    with trace.get_tracer("users").start_as_current_span("adding"):
        return a + b


@tool
async def broken() -> int:
    raise ZeroDivisionError("planted secret")


@tool
async def twice(ctx: ToolContext, a: int) -> Any:
    return await ctx.call_tool("add", a, a)


@pytest.fixture(params=["link", "rpc"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def server(collector: Collector) -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=[]) as server:
        yield server


async def test_a_call_of_a_worker_is_one_tree_from_the_client_to_the_users_own_span(
    collector: Collector, server: BridgeServer, transport: Any
) -> None:
    async with ToolWorker(server.address, [add]), GRPCToolBridge(server.address, transport=transport) as bridge:
        await bridge.initialize()
        assert await soon(bridge.call_tool("add", 1, 2)) == 3
        root = await collector.tree("ExecuteTool", "adding")
    assert root.shape() == (
        "client ExecuteTool",
        ("server ExecuteTool", ("server ExecuteTool", ("internal execute_tool add", "internal adding"))),
    )


async def test_a_tool_that_fails_makes_each_span_an_error_without_its_text(
    collector: Collector, server: BridgeServer, transport: Any
) -> None:
    async with ToolWorker(server.address, [broken]), GRPCToolBridge(server.address, transport=transport) as bridge:
        await bridge.initialize()
        with pytest.raises(ToolExecutionError):
            await soon(bridge.call_tool("broken"))
        root = await collector.tree("ExecuteTool", "execute_tool broken")
        session_id = bridge.session_id
    spans = list(root.walk())
    assert len(spans) == 4
    assert all(span.error and span.attributes["error.type"] == "ZeroDivisionError" for span in spans)
    assert "planted secret" not in repr(spans)
    hub = root.children[0]
    assert hub.attributes["tool_bridge.session.id"] == session_id
    assert hub.attributes["tool_bridge.request.id"]
    assert hub.attributes["rpc.system.name"] == ("tool_bridge" if transport == "link" else "grpc")
    assert hub.attributes["gen_ai.tool.name"] == "broken"


async def test_a_nested_call_is_below_the_span_of_the_tool_that_makes_it(
    collector: Collector, server: BridgeServer, transport: Any
) -> None:
    async with ToolWorker(server.address, [add, twice]), GRPCToolBridge(server.address, transport=transport) as bridge:
        await bridge.initialize()
        assert await soon(bridge.call_tool("twice", 2)) == 4
        root = await collector.tree("execute_tool twice", "adding")
    (nested,) = root.find("execute_tool twice").children
    assert nested.shape() == (
        "client ExecuteTool",
        ("server ExecuteTool", ("server ExecuteTool", ("internal execute_tool add", "internal adding"))),
    )
