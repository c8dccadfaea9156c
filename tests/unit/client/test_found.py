"""``search_tools`` and ``call_tool`` as tools that run at the client."""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import LocalToolBridge, ToolExecutionError, tool
from grpc_tool_bridge.client.found import CallTool, SearchTool


@tool
def send(address: str, body: bytes = b"") -> str:
    """Sends a letter."""
    return f"{body!r} to {address}"


@tool
def fail(why: str) -> None:
    raise LookupError(why)


@pytest.fixture
async def bridge() -> AsyncIterator[LocalToolBridge]:
    async with LocalToolBridge([send, fail]) as bridge:
        await bridge.initialize()
        yield bridge


async def refused(call: Any) -> ToolExecutionError:
    with pytest.raises(ToolExecutionError) as caught:
        await call
    return caught.value


async def test_they_look_like_tools_of_the_session(bridge: LocalToolBridge) -> None:
    search, call = SearchTool(bridge), CallTool(bridge)
    assert (search.name, call.name) == (search.spec.name, call.spec.name) == ("search_tools", "call_tool")
    assert list(inspect.signature(search).parameters) == ["query", "limit"]
    assert list(inspect.signature(call).parameters) == ["name", "arguments"]
    assert search.__doc__ == search.spec.description


async def test_what_is_found_is_called(bridge: LocalToolBridge) -> None:
    assert "\n\nsend\nSends a letter.\n" in await SearchTool(bridge)(query="letters", limit=None)
    call = CallTool(bridge)
    assert await call(name="send", arguments={"address": "ann"}) == "b'' to ann"
    assert await call(name="send", arguments='{"address": "ann", "body": "YWJj"}') == "b'abc' to ann"
    assert [value async for value in call.stream(name="send", arguments={"address": "ann"})] == ["b'' to ann"]


async def test_errors_of_the_tool_are_those_of_the_tool(bridge: LocalToolBridge) -> None:
    error = await refused(CallTool(bridge)(name="fail", arguments={"why": "so"}))
    assert (error.tool_name, error.error_type, error.details["origin"]) == ("fail", "LookupError", "tool")
    error = await refused(CallTool(bridge)(name="send"))
    assert (error.tool_name, error.error_type) == ("send", "ValidationError")


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"name": "sned"}, "ToolNotFound", "there is no tool 'sned'; did you mean send?"),
        ({"name": "letters_sender"}, "ToolNotFound", "there is no tool 'letters_sender'; did you mean send?"),
        ({"name": "*"}, "ToolNotFound", "there is no tool '*'; search_tools finds the tools"),
        ({"name": "nothing"}, "ToolNotFound", "there is no tool 'nothing'; search_tools finds the tools"),
        ({"name": "x" * 10_000}, "ToolNotFound", "there is no tool 'xxx"),
        ({"name": ["send"]}, "ValidationError", "name is ['send']; it must be a tool's name"),
        ({"name": "send", "arguments": [1]}, "ValidationError", "the arguments are list, not an object"),
        ({"name": "send", "arguments": "{"}, "ValidationError", "the arguments are not valid JSON"),
        ({}, "ValidationError", "call_tool: name is missing"),
        ({"name": "send", "args": {}}, "ValidationError", "call_tool: args is not known"),
    ],
)
async def test_a_wrong_call_is_refused_as_the_hub_refuses_one(
    bridge: LocalToolBridge, arguments: dict[str, Any], kind: str, told: str
) -> None:
    error = await refused(CallTool(bridge)(**arguments))
    assert (error.error_type, error.details["origin"]) == (kind, "bridge")
    assert told in error.message
    assert len(error.message) < 300


async def test_a_wrong_search_is_refused_in_the_same_way(bridge: LocalToolBridge) -> None:
    error = await refused(SearchTool(bridge)(query="x", limit=1_000))
    assert (error.tool_name, error.error_type, error.details) == (
        "search_tools", "ValidationError", {"origin": "bridge"},
    )  # fmt: skip


async def test_the_filter_holds_for_both(bridge: LocalToolBridge) -> None:
    assert "No tool matches" in await SearchTool(bridge, "fail")(query="letter")
    error = await refused(CallTool(bridge, "fail")(name="send", arguments={"address": "ann"}))
    assert error.message == "there is no tool 'send'; search_tools finds the tools that there are"
