"""Tools and agents that call deprecated tools, at the hub and at workers."""

import logging
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, LocalToolBridge, ToolContext, ToolWorker, tool
from grpc_tool_bridge.core.deprecated_calls import _log
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import fields
from grpc_tool_bridge.testing.model_script import step as react_step
from support.waiting import soon


@tool(deprecated="use plus")
async def sum_up(a: int, b: int) -> int:
    return a + b


@tool(deprecated="use numbers")
async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def calls(ctx: ToolContext) -> int:
    total: int = await ctx.call_tool("sum_up", 1, 2)
    return total


async def streams(ctx: ToolContext) -> list[int]:
    return [number async for number in ctx.stream_tool("count", 3)]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == _log.name]


async def test_a_tool_of_the_hub_is_warned_at_its_own_line(caplog: pytest.LogCaptureFixture) -> None:
    async with LocalToolBridge([sum_up, count, calls, streams]) as bridge:
        await bridge.initialize()
        with pytest.warns(DeprecationWarning, match="^the tool sum_up is deprecated: use plus$") as caught:
            assert await bridge.tools["calls"]() == 3
        assert caught[0].filename == __file__
        with pytest.warns(DeprecationWarning, match="^the tool count is deprecated: use numbers$") as caught:
            assert await bridge.tools["streams"]() == [0, 1, 2]
        assert caught[0].filename == __file__
    assert lines(caplog) == [
        "the tool calls calls the tool sum_up, which is deprecated: use plus",
        "the tool streams calls the tool count, which is deprecated: use numbers",
    ]


async def test_the_hub_logs_once_that_a_worker_s_tool_calls_a_deprecated_one(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        BridgeServer(tools=[sum_up]) as hub,
        ToolWorker(hub.address, tools=[calls]),
        GRPCToolBridge(hub.address) as bridge,
    ):
        await bridge.initialize()
        for _ in range(3):
            assert await soon(bridge.tools["calls"]()) == 3
    assert lines(caplog) == ["the tool calls calls the tool sum_up, which is deprecated: use plus"]


async def test_the_hub_logs_once_that_an_agent_calls_a_deprecated_tool(caplog: pytest.LogCaptureFixture) -> None:
    steps = [react_step("I add.", "sum_up", a=1, b=2), react_step("Again.", "sum_up", a=1, b=2)]
    lm = ScriptedLM([*steps, react_step("I know.", "finish"), fields(reasoning="So it is.", Answer="3")])
    async with BridgeServer(tools=[sum_up], agents={"lm": lm}) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer", tool_names=["sum_up"])
        asked = {"agent_id": agent_id, "input": {"question": "What is 1 + 2?"}, "stream": True}
        chunks = [chunk async for chunk in bridge.execute_agent_streaming(asked)]
    assert [chunk["tool_name"] for chunk in chunks if chunk["type"] == "action"] == ["sum_up", "sum_up", "finish"]
    (line,) = lines(caplog)
    assert line.startswith("an agent, ")
    assert line.endswith(" calls the tool sum_up, which is deprecated: use plus")


async def test_a_client_s_own_call_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with BridgeServer(tools=[sum_up]) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        with pytest.warns(DeprecationWarning, match="use plus"):
            assert await bridge.tools["sum_up"](1, 2) == 3
    assert lines(caplog) == []
