"""One tree of spans over every edge, as a collector gets it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.util._once import Once

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, SessionConfig, ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.adapters.grpc import import_grpc
from grpc_tool_bridge.adapters.mcp import import_mcp
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.telemetry.telemetry import Telemetry
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import fields, step
from integration.mcp_clients import VERSIONS, sdk_client
from integration.mcp_servers import honest_command
from integration.traced_tools import ALL
from support.collector import Collector, collecting
from support.grpc_services.bridges import bridge_of, weather_handlers
from support.grpc_services.serving import serving
from support.grpc_services.weather import Weather
from support.waiting import soon, until

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
NOT_SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    # A process has one provider, which stays; each test has another.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
        telemetry = Telemetry()
        # The SDK keeps the tracer that it has got first.
        monkeypatch.setattr("mcp.shared._otel._tracer", trace.get_tracer("mcp"))
        try:
            yield collector
        finally:
            telemetry.stop()
            assert process.tracing is None


@pytest.fixture(params=["link", "rpc"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def server(collector: Collector) -> AsyncIterator[BridgeServer]:
    async with BridgeServer(http_address="127.0.0.1:0") as server:
        yield server


@pytest.fixture
async def worker(server: BridgeServer) -> AsyncIterator[ToolWorker]:
    async with ToolWorker(server.address, ALL) as worker:
        yield worker


@pytest.fixture
async def bridge(server: BridgeServer, worker: ToolWorker, transport: Any) -> AsyncIterator[GRPCToolBridge]:
    async with GRPCToolBridge(server.address, transport=transport) as bridge:
        await bridge.initialize()
        yield bridge


def of_worker(name: str, *own: str, method: str = "ExecuteTool") -> Any:
    """Returns the shape of the spans of a call at the hub and at the worker."""
    inner = f"internal execute_tool {name}"
    return (f"server {method}", (f"server {method}", (inner, *(f"internal {each}" for each in own)) if own else inner))


async def test_a_call_of_a_worker_is_one_tree_from_the_client_to_the_users_own_span(
    collector: Collector, bridge: GRPCToolBridge
) -> None:
    assert await soon(bridge.call_tool("add", 1, 2)) == 3
    root = await collector.tree("ExecuteTool", "adding")
    assert root.shape() == ("client ExecuteTool", of_worker("add", "adding"))
    assert {span.service for span in root.walk()} == {"grpc-tool-bridge"}


@pytest.mark.parametrize(
    ("name", "args", "own"),
    [("slowly", (1,), ("before", "after")), ("in_thread", (), ("of thread",)), ("in_process", (), ("of process",))],
)
async def test_users_spans_are_children_wherever_their_tool_runs(
    collector: Collector, server: BridgeServer, worker: ToolWorker, name: str, args: Any, own: Any
) -> None:
    async with GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        await soon(bridge.call_tool(name, *args))
        root = await collector.tree("ExecuteTool", *own)
    assert root.shape() == ("client ExecuteTool", of_worker(name, *own))


async def test_a_tool_that_fails_makes_each_span_an_error_without_its_text(
    collector: Collector, bridge: GRPCToolBridge, transport: Any
) -> None:
    with pytest.raises(ToolExecutionError):
        await soon(bridge.call_tool("broken"))
    root = await collector.tree("ExecuteTool", "execute_tool broken")
    spans = list(root.walk())
    assert len(spans) == 4
    assert all(span.error and span.attributes["error.type"] == "ZeroDivisionError" for span in spans)
    assert "planted secret" not in repr(spans)
    hub = root.children[0]
    assert hub.attributes["tool_bridge.session.id"] == bridge.session_id
    assert hub.attributes["tool_bridge.request.id"]
    assert hub.attributes["rpc.system.name"] == ("tool_bridge" if transport == "link" else "grpc")
    assert hub.attributes["rpc.method"] == "dspex.bridge.SnakepitBridge/ExecuteTool"
    assert hub.attributes["gen_ai.tool.name"] == "broken"


async def test_a_nested_call_is_below_the_span_of_the_tool_that_makes_it(
    collector: Collector, bridge: GRPCToolBridge
) -> None:
    assert await soon(bridge.call_tool("twice", 2)) == 4
    root = await collector.tree("execute_tool twice", "adding")
    assert root.shape() == (
        "client ExecuteTool",
        ("server ExecuteTool", ("server ExecuteTool", (
            "internal execute_tool twice", ("client ExecuteTool", of_worker("add", "adding"))))),
    )  # fmt: skip


async def test_a_call_within_the_hub_is_below_the_span_of_the_tool_that_makes_it(collector: Collector) -> None:
    async with BridgeServer(tools=ALL) as server, server.bridge() as bridge:
        await bridge.initialize()
        assert await soon(bridge.call_tool("twice", 2)) == 4
        root = await collector.tree("execute_tool twice", "adding")
    assert root.shape() == (
        "client ExecuteTool",
        ("server ExecuteTool", ("internal execute_tool twice", (
            "internal ExecuteTool", ("internal execute_tool add", "internal adding")))),
    )  # fmt: skip


async def test_a_stream_is_a_tree_and_its_reader_is_not_within_it(collector: Collector, bridge: GRPCToolBridge) -> None:
    async for _ in bridge.stream_tool("count", 2):
        assert not trace.get_current_span().get_span_context().is_valid
    root = await collector.tree("StreamTool", "counting 1")
    assert root.shape() == ("client StreamTool", of_worker("count", "counting 0", "counting 1", method="StreamTool"))


async def test_waiting_for_a_permit_is_a_span_of_its_own(collector: Collector) -> None:
    running, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def hold() -> None:
        running.set()
        await go_on.wait()

    async with BridgeServer(tools=[hold]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize(config=SessionConfig(max_concurrent_tools=1))
        first = asyncio.ensure_future(bridge.call_tool("hold"))
        await soon(running.wait())
        with trace.get_tracer("users").start_as_current_span("second"):
            second = asyncio.ensure_future(bridge.call_tool("hold"))
        await collector.until(lambda own: any(span.short == "second" for span in own.spans))
        await until(lambda: any(call.is_waiting for call in _calls(server)), "for the second call to wait")
        go_on.set()
        await soon(asyncio.gather(first, second))
        await collector.until(lambda own: sum(span.name == "execute_tool hold" for span in own.spans) == 2)
    (root,) = [root for root in collector.roots() if root.short == "second"]
    assert root.find("queue").shape() == "internal queue"
    assert [child.short for child in root.children[0].children[0].children] == ["queue", "execute_tool hold"]


def _calls(server: BridgeServer) -> list[Any]:
    return [call for session in server.hub.store.sessions() for call in session.calls or ()]


# ------------------------------------------------------------------------------------------------------- other edges


async def test_a_request_over_http_is_a_child_of_its_traceparent(
    collector: Collector, server: BridgeServer, worker: ToolWorker
) -> None:
    url = f"http://{server.http_address}/api/sessions"
    async with httpx.AsyncClient() as client:
        await client.post(url, json={"session_id": "s"})
        for name, args, parent in (("quiet", [], NOT_SAMPLED), ("add", [1, 2], PARENT)):
            headers = {"traceparent": parent, "tracestate": "a=b"}
            answer = await client.post(f"{url}/s/tools/{name}/execute", json={"args": args}, headers=headers)
            assert answer.status_code == 200, answer.text
    root = await collector.tree("adding", parent=SPAN_ID)
    assert (root.trace_id, root.parent_id) == (TRACE_ID, SPAN_ID)
    assert root.shape() == of_worker("add", "adding")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_call_over_mcp_is_a_child_of_the_client_that_makes_it(
    collector: Collector, server: BridgeServer, worker: ToolWorker, version: str
) -> None:
    async with sdk_client(server, version) as client:
        collector.spans.clear()
        with trace.get_tracer("users").start_as_current_span("outer"):
            await client.call_tool("add", {"a": 1, "b": 2})
        await collector.until(lambda own: any(span.short == "outer" for span in own.spans))
        await collector.until(lambda own: any(span.short == "adding" for span in own.spans))
    (root,) = [root for root in collector.roots() if root.short == "outer"]
    (served,) = [span for span in root.walk() if span.name == "tools/call add" and span.kind == "server"]
    assert served.attributes["mcp.method.name"] == "tools/call"
    assert served.attributes["gen_ai.tool.name"] == "add"
    # The hub, the worker and its tool.
    assert [span.kind for span in served.children[0].walk()] == ["client", "server", "server", "internal", "internal"]


async def test_a_tool_of_an_mcp_server_passes_the_trace_on(collector: Collector) -> None:
    source = import_mcp(honest_command(), name="honest")
    async with BridgeServer(sources=[source]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        (name,) = [name for name in bridge.tools if name.endswith("add")]
        collector.spans.clear()
        await soon(bridge.call_tool(name, a=1, b=2))
        await collector.until(lambda own: any(span.short == "ExecuteTool" for span in own.spans))
        (root,) = [root for root in collector.roots() if root.short == "ExecuteTool"]
    tool_span = root.find(f"execute_tool {name}")
    assert [child.kind for child in tool_span.children] == ["client"]
    assert tool_span.children[0].attributes["mcp.method.name"] == "tools/call"


async def test_a_method_of_a_grpc_service_gets_the_traceparent(collector: Collector) -> None:
    weather = Weather()
    async with (
        serving(*weather_handlers(weather)) as address,
        bridge_of(import_grpc(address, name="weather")) as bridge,
    ):
        await soon(bridge.tools["weather.Get"](city="Bern"))
        root = await collector.tree("ExecuteTool", "Get")
    called = root.find("Get")
    assert called.kind == "client"
    assert called.attributes["rpc.system.name"] == "grpc"
    assert called.attributes["server.address"] == address


async def test_a_run_of_an_agent_has_its_steps_its_models_and_its_tools(collector: Collector) -> None:
    lm = ScriptedLM([step("Add.", "add", a=1, b=2), step("Done.", "finish"), fields(reasoning="So it is.", Answer="3")])
    async with (
        BridgeServer(tools=ALL, agents={"lm": lm}) as server,
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer", tool_names=["add"])
        collector.spans.clear()
        async for _ in bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"Question": "1+2?"}}):
            pass
        await collector.until(
            lambda own: any(span.kind == "client" and span.short == "ExecuteAgent" for span in own.spans)
        )
        (root,) = [root for root in collector.roots() if root.short == "ExecuteAgent"]
    run = root.children[0].children[0]
    assert (run.kind, run.short) == ("internal", "invoke_agent")
    assert [child.short for child in run.children] == ["step", "step", "chat scripted"]
    first = run.children[0]
    assert [child.short for child in first.children] == ["chat scripted", "ExecuteTool"]
    assert first.find("execute_tool add").children[0].short == "adding"
    assert run.attributes["gen_ai.conversation.id"] == bridge.session_id
    assert run.attributes["gen_ai.usage.input_tokens"] > 0


# ----------------------------------------------------------------------------------------------- metrics, on and off


async def test_metrics_are_those_of_prometheus(collector: Collector, server: BridgeServer, worker: ToolWorker) -> None:
    async with GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        await soon(bridge.call_tool("quiet"))
        await collector.until(lambda own: _points(own, "tool_bridge_calls", tool="quiet", outcome="success") == [1])
        assert _points(collector, "tool_bridge_sessions") == [1]
        assert _points(collector, "tool_bridge_call_duration_seconds_count", tool="quiet") == [1]
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{server.http_address}/metrics")).text
    assert 'tool_bridge_calls_total{outcome="success",tool="quiet"} 1.0' in text


def _points(collector: Collector, name: str, **labels: str) -> list[float]:
    points = collector.metrics.get(name, [])
    return [value for attributes, value in points if labels.items() <= attributes.items()]


async def test_a_collector_that_is_not_there_holds_up_nothing_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    telemetry = Telemetry(with_metrics=False)
    try:
        async with BridgeServer(tools=ALL) as server, GRPCToolBridge(server.address) as bridge:
            await bridge.initialize()
            await soon(bridge.call_tool("quiet"))
            await until(lambda: "do not reach the collector" in caplog.text, "for the log to say so")
            await soon(bridge.call_tool("quiet"))
    finally:
        telemetry.stop(0.1)
    told = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert [record.name for record in told] == ["grpc_tool_bridge.telemetry.exporting"]


def test_nothing_is_imported_where_nobody_traces() -> None:
    program = (
        "import asyncio, sys\n"
        "from grpc_tool_bridge import BridgeServer, GRPCToolBridge\n"
        "async def main():\n"
        "    async with BridgeServer() as server, GRPCToolBridge(server.address) as bridge:\n"
        "        await bridge.initialize()\n"
        "        assert server.hub.admission.tracer is None\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
