"""Progress, log and cancellation of calls of MCP clients."""

import asyncio
from typing import Any

import pytest
from mcp_types import LoggingMessageNotificationParams

from grpc_tool_bridge import BridgeServer, ToolContext
from integration.mcp_clients import ACCEPT, OLD, VERSIONS, RawClient, new_request, old_body, sdk_client
from support.waiting import soon, until


class Tools:
    """The tools, and how they went."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.go = asyncio.Event()

    async def report(self, ctx: ToolContext) -> str:
        """Reports."""
        for step in range(3):
            ctx.progress(step, 2, f"step {step}")
            ctx.log(f"at {step}", level="warning" if step == 1 else "debug", step=step)
        return "done"

    async def wait(self) -> str:
        """Waits."""
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "went on"

    async def flood(self, n: int, ctx: ToolContext) -> str:
        """Tells more than anybody reads."""
        for step in range(n):
            ctx.progress(step, n)
        return "flooded"

    def server(self) -> BridgeServer:
        return BridgeServer(tools=[self.report, self.wait, self.flood], http_address="127.0.0.1:0")


@pytest.mark.parametrize("version", VERSIONS)
async def test_progress_comes_in_order_before_the_result(version: str) -> None:
    async with Tools().server() as server, sdk_client(server, version) as client:
        told: list[Any] = []

        async def take(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        result = await soon(client.call_tool("report", progress_callback=take))
        assert result.content[0].text == "done"
        assert told == [(float(step), 2.0, f"step {step}") for step in range(3)]


@pytest.mark.filterwarnings("ignore:The logging capability is deprecated")
async def test_log_messages_come_from_the_level_on_that_a_client_sets() -> None:
    told: list[LoggingMessageNotificationParams] = []

    async def take(params: LoggingMessageNotificationParams) -> None:
        told.append(params)

    async with Tools().server() as server, sdk_client(server, OLD, logging_callback=take) as client:
        await soon(client.call_tool("report"))
        assert [(item.level, item.data) for item in told] == [("warning", {"message": "at 1", "step": "1"})]
        told.clear()
        await soon(client.set_logging_level("debug"))
        await soon(client.call_tool("report"))
        assert [item.level for item in told] == ["debug", "warning", "debug"]
        told.clear()
        await soon(client.set_logging_level("error"))
        await soon(client.call_tool("report"))
        assert told == []


async def test_a_request_of_the_new_protocol_gets_the_log_that_it_asks_for() -> None:
    async with Tools().server() as server, RawClient(server) as client:
        silent = await soon(client.new("tools/call", {"name": "report"}))
        assert silent.headers["content-type"] == "application/json"
        told = await soon(client.new("tools/call", {"name": "report"}, logLevel="warning", progressToken="p-1"))
        assert told.headers["content-type"] == "text/event-stream"
        assert told.text.count("notifications/message") == 1
        assert told.text.count('"progressToken":"p-1"') == 3


async def test_a_notification_cancels_a_call() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client:
        await client.connect()
        waiting = asyncio.create_task(client.old("tools/call", {"name": "wait"}, 77))
        await soon(tools.started.wait())
        await client.notify("notifications/cancelled", {"requestId": 77, "reason": "enough"})
        await soon(tools.cancelled.wait())
        assert '"code":-32800' in (await soon(waiting)).text


async def test_leaving_the_response_of_the_new_protocol_cancels_its_call() -> None:
    for meta in ({}, {"progressToken": 1}):
        tools = Tools()
        async with tools.server() as server, RawClient(server) as client:
            headers, body = new_request("tools/call", {"name": "wait"}, **meta)
            reading = asyncio.create_task(client.http.post(client.url, headers=headers, json=body))
            await soon(tools.started.wait())
            reading.cancel()
            await soon(tools.cancelled.wait())


async def test_ending_the_session_cancels_its_calls() -> None:
    tools = Tools()
    async with tools.server() as server, RawClient(server) as client:
        await client.connect()
        waiting = asyncio.create_task(client.old("tools/call", {"name": "wait"}))
        await soon(tools.started.wait())
        assert (await soon(client.leave())).status_code == 200
        await soon(tools.cancelled.wait())
        await soon(asyncio.wait({waiting}))
        gone = await soon(client.old("tools/list"))
        assert gone.status_code == 404


@pytest.mark.parametrize("version", VERSIONS)
async def test_events_that_nobody_reads_are_bounded(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.call_events.MAX_WAITING", 10)
    async with Tools().server() as server, RawClient(server) as client:
        if version == OLD:
            await client.connect()
            body: Any = old_body(
                "tools/call", {"name": "flood", "arguments": {"n": 500}, "_meta": {"progressToken": 1}}
            )
            headers = {**ACCEPT, **client.session}
        else:
            headers, body = new_request("tools/call", {"name": "flood", "arguments": {"n": 500}}, progressToken=1)
        response = await soon(client.http.post(client.url, headers=headers, json=body))
        assert "flooded" in response.text
        assert 0 < response.text.count("notifications/progress") < 500


async def test_a_call_ends_with_its_hub() -> None:
    tools = Tools()
    server = tools.server()
    async with server, RawClient(server) as client:
        await client.connect()
        both = [
            asyncio.create_task(client.old("tools/call", {"name": "wait"})),
            asyncio.create_task(client.new("tools/call", {"name": "wait"})),
        ]
        await soon(tools.started.wait())
        await until(lambda: server.hub.admission.active == 2)
        await soon(server.stop(0))
        await soon(asyncio.wait(both))
        assert tools.cancelled.is_set()
