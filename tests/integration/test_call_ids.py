"""The id of a call is the same for its caller, its tool and the hub's log, wherever the tool runs."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, ToolExecutionError, ToolWorker
from grpc_tool_bridge.core.call_log import LOGGER
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from integration.connections import Reach
from support.patience import PATIENCE
from support.programs import environment
from support.waiting import soon, until


async def whoami(ctx: ToolContext) -> dict[str, Any]:
    return {"request_id": ctx.request_id, "metadata": dict(ctx.metadata)}


async def fails(ctx: ToolContext) -> None:
    raise ValueError(ctx.request_id)


async def yields(ctx: ToolContext) -> AsyncIterator[str]:
    yield ctx.request_id


async def breaks_off(ctx: ToolContext) -> AsyncIterator[str]:
    yield ctx.request_id
    raise ValueError("broken off")


def plain_whoami(ctx: ToolContext) -> str:
    return ctx.request_id


def told(ctx: ToolContext) -> dict[str, str]:
    return dict(ctx.metadata)


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [
        record.__dict__["fields"] for record in caplog.records if record.name == LOGGER and "fields" in vars(record)
    ]


async def test_a_tool_its_caller_and_the_log_have_the_same_id(reach: Reach, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    bridge = await reach(plain_whoami, access_log=True)
    said = await soon(bridge.tools["plain_whoami"]())
    await until(lambda: [line for line in logged(caplog) if line["tool"] == "plain_whoami"], "for its line")
    (line,) = logged(caplog)
    assert line["request_id"] == said != ""
    assert await soon(bridge.tools["plain_whoami"]()) != said


async def test_an_id_that_the_caller_gives_is_taken(reach: Reach) -> None:
    bridge = await reach(plain_whoami)
    request = ToolCallRequest(session_id=bridge.session_id or "", tool_id="plain_whoami", request_id="my-own")
    response = await bridge.client.stub.ExecuteTool(request)
    assert response.request_id == "my-own"
    assert response.result.value.endswith(b"my-own")


@pytest.mark.parametrize("place", ["hub", "worker"])
async def test_a_failed_call_s_error_has_the_id_that_its_tool_had(place: str, caplog: pytest.LogCaptureFixture) -> None:
    tools = [fails, breaks_off, yields]
    async with BridgeServer(tools=tools if place == "hub" else [], settings=Settings(shutdown_grace=0)) as hub:
        worker = ToolWorker(hub.address, tools=tools) if place == "worker" else None
        if worker is not None:
            await worker.start()
        async with GRPCToolBridge(hub.address) as bridge:
            await bridge.initialize()
            with pytest.raises(ToolExecutionError) as failed:
                await bridge.tools["fails"]()
            assert failed.value.request_id == failed.value.message != ""
            said = [value async for value in bridge.tools["yields"].stream()]
            stream = bridge.tools["breaks_off"].stream()
            ids = [await anext(stream)]
            with pytest.raises(ToolExecutionError) as broken:
                await anext(stream)
            assert ids == [broken.value.request_id]
            assert ids != said
            assert [line["request_id"] for line in logged(caplog)] == [failed.value.request_id, *ids]
        if worker is not None:
            await worker.close()


async def test_a_session_s_metadata_stands_under_that_of_a_call(reach: Reach) -> None:
    bridge = await reach(told)
    await bridge.initialize("another", metadata={"tenant": "acme", "k": "session"})
    told_here = bridge.tools["told"]
    assert await soon(told_here()) == {"tenant": "acme", "k": "session"}
    assert await soon(told_here.with_options(metadata={"k": "call"})()) == {"tenant": "acme", "k": "call"}


@pytest.mark.parametrize("place", ["hub", "worker"])
async def test_one_id_is_that_of_the_client_the_tool_its_log_the_list_of_calls_and_the_error(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    ids: list[str] = []

    async def breaks(ctx: ToolContext) -> None:
        ids.append(ctx.request_id)
        ctx.log("breaking", i=3)
        begun.set()
        await go_on.wait()
        raise ValueError(f"broken in {ctx.request_id}")

    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(BridgeServer(tools=[breaks] if place == "hub" else []))
        if place == "worker":
            await stack.enter_async_context(ToolWorker(hub.address, tools=[breaks]))
        bridge = await stack.enter_async_context(GRPCToolBridge(hub.address))
        await bridge.initialize()
        call = asyncio.ensure_future(bridge.tools["breaks"]())
        await soon(begun.wait())
        (listed,) = [each async for each in bridge.admin.calls()]
        shown = await asyncio.to_thread(shown_calls, hub.address)
        go_on.set()
        with pytest.raises(ToolExecutionError) as failed:
            await soon(call)
    (own,) = ids
    assert own
    assert own == listed.request_id == failed.value.request_id
    assert shown == [own]
    assert failed.value.message == f"broken in {own}"
    assert [line["request_id"] for line in logged(caplog)] == [own]
    of_tool = [vars(record)["fields"] for record in caplog.records if record.name == "grpc_tool_bridge.tool"]
    assert [line["request_id"] for line in of_tool] == [own]


def shown_calls(address: str) -> list[str]:
    """Returns the ids of the calls that ``calls --json`` lists."""
    command = [sys.executable, "-m", "grpc_tool_bridge", "calls", "--json", "--address", address]
    done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE, env=environment())
    return [call["request_id"] for call in json.loads(done.stdout)]


async def test_an_mcp_client_is_told_the_id_of_a_call_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with BridgeServer(tools=[fails], http_address="127.0.0.1:0") as hub:
        headers = {"Accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(base_url=f"http://{hub.http_address}", headers=headers, timeout=PATIENCE) as http:

            async def ask(method: str, params: dict[str, Any], **more: Any) -> httpx.Response:
                return await http.post("/mcp", json={"jsonrpc": "2.0", "method": method, "params": params, **more})

            info = {"name": "t", "version": "1"}
            params: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info}
            opened = await ask("initialize", params, id=1)
            http.headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
            await ask("notifications/initialized", {})
            answer = await ask("tools/call", {"name": "fails", "arguments": {}}, id=2)
    (line,) = logged(caplog)
    assert line["request_id"]
    assert f'"grpc-tool-bridge/request_id":"{line["request_id"]}"' in answer.text.replace('": "', '":"')
