"""The id of a call is the same for its caller, its tool and the hub's log, wherever the tool runs."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, ToolExecutionError, ToolWorker
from grpc_tool_bridge.core.call_log import LOGGER
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from integration.connections import Reach
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
