"""Agents as tools of MCP clients, over real HTTP, in both generations of the protocol."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client import Client
from mcp_types import ToolListChangedNotification

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolWorker, ValidationError, tool
from integration.agent_runtime import ObedientAgents
from integration.mcp_clients import NEW, OLD, Person, mcp_client
from support.waiting import soon, until

SESSION = "?session=work"


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
async def confirm(ctx: ToolContext) -> str:
    """Asks."""
    return (await ctx.ask("Go on?")).action


@pytest.fixture
def agents() -> ObedientAgents:
    return ObedientAgents()


@pytest.fixture
async def server(agents: ObedientAgents) -> AsyncIterator[BridgeServer]:
    declared = {"ask": "Question -> Answer", "add": "shadowed -> by_the_tool"}
    async with (
        BridgeServer(tools=[add, confirm], http_address="127.0.0.1:0", mcp_agents=declared) as server,
        ToolWorker(server.address, agents=agents),
    ):
        yield server


@pytest.fixture
async def bridge(server: BridgeServer) -> AsyncIterator[GRPCToolBridge]:
    """A program in the session ``work``."""
    async with GRPCToolBridge(server.address) as bridge:
        await bridge.initialize("work")
        yield bridge


@pytest.fixture(params=[OLD, NEW])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def names(client: Client) -> list[str]:
    return [entry.name for entry in (await soon(client.list_tools())).tools]


def text(result: Any) -> str:
    return str(result.content[0].text)


async def test_a_declared_agent_is_a_tool_of_every_session(server: BridgeServer, version: str) -> None:
    for query in ("", "?session=another"):
        async with mcp_client(server, version, query) as client:
            tools = {entry.name: entry for entry in (await soon(client.list_tools())).tools}
            assert list(tools) == ["add", "ask", "confirm"]
            # A tool goes before an agent of its name.
            assert tools["add"].description == "Adds two numbers."
            assert tools["ask"].input_schema["required"] == ["Question"]
            assert tools["ask"].output_schema is not None
            assert tools["ask"].output_schema["required"] == ["Answer"]
            assert text(await soon(client.call_tool("add", {"a": 1, "b": 2}))) == "3"


async def test_the_steps_of_a_run_are_progress_and_its_answer_the_result(server: BridgeServer, version: str) -> None:
    steps: list[tuple[float, Any]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        steps.append((progress, message))

    asked = {"call": "add", "arguments": {"a": 1, "b": 2}}
    async with mcp_client(server, version) as client:
        # Twice, since the first call creates the agent.
        for _ in range(2):
            steps.clear()
            result = await soon(client.call_tool("ask", asked, progress_callback=on_progress))
            assert not result.is_error, text(result)
            assert result.structured_content is not None
            assert text(result) == str(result.structured_content["Answer"])
            assert result.meta is not None
            assert result.meta["grpc-tool-bridge/run"]["stop_reason"] == "finished"
            assert [number for number, _ in steps] == list(range(1, len(steps) + 1))
            assert any(message.startswith("Action: add(") for _, message in steps)
            assert any(message.startswith("Observation: 3") for _, message in steps)
        # The agent that was created for it has no second name.
        assert await names(client) == ["add", "ask", "confirm"]


async def test_steps_are_log_lines_where_they_are_asked_for(server: BridgeServer) -> None:
    lines: list[Any] = []

    async def log(params: Any) -> None:
        lines.append(params)

    async with mcp_client(server, OLD, logging_callback=log) as client:
        await soon(client.call_tool("ask", {"call": "add", "arguments": {"a": 1, "b": 2}}))
        await until(lambda: any("Action: add" in str(line.data) for line in lines))
    assert {line.logger for line in lines} == {"ask"}


async def test_agents_of_the_session_come_while_a_client_watches(
    server: BridgeServer, bridge: GRPCToolBridge, version: str
) -> None:
    changed = asyncio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    async def listen(client: Client) -> None:
        async with client.listen(tools_list_changed=True) as events:
            listening.set()
            async for _ in events:
                changed.set()

    listening = asyncio.Event()
    async with mcp_client(server, version, SESSION, message_handler=on_message) as client:
        listener = None
        if version == NEW:
            listener = asyncio.create_task(listen(client))
            await soon(listening.wait())
        await soon(client.list_tools())
        changed.clear()
        agent = await bridge.create_react_agent("text -> label\nJudge it.", tool_names=["add"])
        await soon(changed.wait())
        tools = {entry.name: entry for entry in (await soon(client.list_tools())).tools}
        assert tools[agent].description == "Judge it.\n\ntext -> label"
        if listener is not None:
            listener.cancel()
    async with mcp_client(server, version, "?session=another") as client:
        assert agent not in await names(client)


async def test_a_failed_run_is_a_result_with_its_error(server: BridgeServer, version: str) -> None:
    async with mcp_client(server, version) as client:
        result = await soon(client.call_tool("ask", {"raise": "it went wrong"}))
    assert result.is_error
    assert text(result) == "ask: ValidationError: it went wrong"
    assert result.meta is not None
    assert result.meta["grpc-tool-bridge/error"]["type"] == "ValidationError"


async def test_a_call_that_is_cancelled_cancels_the_run(
    server: BridgeServer, agents: ObedientAgents, version: str
) -> None:
    async with mcp_client(server, version) as client:
        call = asyncio.create_task(client.call_tool("ask", {"wait": True}))
        await until(lambda: agents.running == 1)
        call.cancel()
        await until(lambda: agents.cancelled == 1)


async def test_a_tool_of_a_run_asks_the_user_of_the_client(server: BridgeServer, version: str) -> None:
    person = Person({})
    async with mcp_client(server, version, elicitation_callback=person) as client:
        result = await soon(client.call_tool("ask", {"call": "confirm", "arguments": {}}))
    assert not result.is_error, text(result)
    assert [message for message, _ in person.asked] == ["Go on?"]


async def test_without_a_runtime_the_error_says_so(version: str) -> None:
    async with (
        BridgeServer(http_address="127.0.0.1:0", mcp_agents={"ask": "q -> a"}) as server,
        mcp_client(server, version) as client,
    ):
        assert await names(client) == ["ask"]
        result = await soon(client.call_tool("ask", {"q": "?"}))
    assert result.is_error
    assert "agent runtime" in text(result)


def test_declared_agents_need_http_and_a_signature() -> None:
    with pytest.raises(ValidationError, match="mcp_agents are served over HTTP; set http_address"):
        BridgeServer(mcp_agents={"ask": "q -> a"})
    with pytest.raises(ValidationError, match="the agent ask: signature 'q'"):
        BridgeServer(http_address="127.0.0.1:0", mcp_agents={"ask": "q"})
