"""From a bridge by MCP into another bridge, and back: what arrives as it was, and what does not."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from mcp.client import Client

from grpc_tool_bridge import Answer, BridgeServer, GRPCToolBridge, Question, ToolExecutionError
from grpc_tool_bridge.adapters.mcp import connection, import_mcp
from grpc_tool_bridge.tools.tool import Tool
from integration import mcp_round_trip_tools as far
from integration.mcp_clients import NEW, OLD
from support.waiting import soon

TOOLS = [item for item in vars(far).values() if isinstance(item, Tool)]
ANSWER = {"size": "l", "count": 2, "colors": ["red", "blue"], "sure": False}


class Person:
    """Answers questions, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    async def __call__(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer("accept", dict(ANSWER))


class Near:
    """A bridge that has taken in the tools of another one."""

    def __init__(self, bridge: GRPCToolBridge, person: Person) -> None:
        self.bridge = bridge
        self.person = person

    async def call(self, name: str, /, **arguments: Any) -> Any:
        return await soon(self.bridge.tools[f"far.{name}"](**arguments))

    async def error(self, name: str, /, **arguments: Any) -> ToolExecutionError:
        with pytest.raises(ToolExecutionError) as caught:
            await self.call(name, **arguments)
        return caught.value


@pytest_asyncio.fixture(params=[(version, way) for version in (NEW, OLD) for way in ("http", "stdio")], ids="-".join)
async def near(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Near]:
    version, way = request.param
    mode = "auto" if version == NEW else "legacy"
    monkeypatch.setattr(connection, "Client", partial(Client, mode=mode))
    person = Person()
    async with AsyncExitStack() as stack:
        source: Any = [sys.executable, "-m", "grpc_tool_bridge.cli", "mcp", "--tools", far.__file__]
        if way == "http":
            server = await stack.enter_async_context(BridgeServer(tools=TOOLS, http_address="127.0.0.1:0"))
            source = f"http://{server.http_address}/mcp"
        imported = import_mcp(source, name="far", env={"PYTHONPATH": ":".join(sys.path)} if way == "stdio" else None)
        hub = await stack.enter_async_context(BridgeServer(sources=[imported]))
        bridge = await stack.enter_async_context(GRPCToolBridge(hub.address, on_ask=person))
        await bridge.initialize()
        # What was spoken, and not what was meant to be.
        assert isinstance(imported._connection, connection.McpConnection)
        assert imported._connection._client.protocol_version == version
        yield Near(bridge, person)


async def test_values_errors_and_questions_arrive_as_the_docs_say(near: Near) -> None:
    wrong = {}
    for name, case in far.CASES.items():
        value = await near.call(name)
        if (type(value), value) != (type(case.expected), case.expected):
            wrong[name] = value
    assert wrong == {}

    given = {"int": 2**50, "deep": far.NESTED, "none": None, "float": 2.0, "text": "\u2028\U0001f600"}
    echoed = await near.call("echo", value=given)
    assert echoed == given
    assert [type(echoed[name]) for name in ("int", "float")] == [int, float]
    assert await near.call("echo", value={"bytes": far.PIXELS}) == {"bytes": "iVBORwD/"}
    # Where no type is declared, what some readers of JSON would change is tagged.
    assert await near.call("echo", value={"large": 2**100}) == {"large": {"$type": "int", "value": str(2**100)}}

    told = await near.error("fail", how="bridge")
    assert (told.error_type, told.message, told.retryable) == ("ValidationError", "it is too long", False)
    assert told.details == {"limit": "5", "place": "é", "origin": "tool", "server": "far"}
    busy = await near.error("fail", how="retryable")
    assert (busy.error_type, busy.message, busy.retryable) == ("Busy", "try again", True)
    assert (await near.error("fail", how="key")).error_type == "KeyError"
    assert "no structured content" in (await near.error("infinite")).message

    assert await near.call("ask") == {"action": "accept", "content": ANSWER}
    (question,) = near.person.asked
    assert (question.message, question.schema) == ("Which one?", far.QUESTION)
    assert question.tool_id == "far.ask"
