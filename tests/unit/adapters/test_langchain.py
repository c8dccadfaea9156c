"""What LangChain adds to a call: the text for the model, handled errors, events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, render_text_description
from langchain_core.utils.function_calling import convert_to_openai_tool

from grpc_tool_bridge import Settings, tool
from grpc_tool_bridge.testing.background import background_bridge, running_hub
from support.patience import PATIENCE
from unit.adapters.acting import erase
from unit.adapters.bridges import bridge_of


@tool
async def count(to: int) -> AsyncIterator[int]:
    """Counts from 1."""
    for number in range(1, to + 1):
        yield number


@tool
def refuse(reason: str) -> None:
    """Refuses."""
    raise ValueError(reason)


def asked(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": "c1", "name": name, "args": arguments}


async def test_a_streaming_tool_sends_each_value_as_an_event_when_it_is_made() -> None:
    async with bridge_of(count) as bridge:
        (made,) = bridge.langchain_tools("count")
        events = [event async for event in made.astream_events({"to": 2}, version="v2")]

    chunks = [event["data"] for event in events if event["event"] == "on_custom_event"]
    assert chunks == [{"tool": "count", "value": 1}, {"tool": "count", "value": 2}]
    assert events[-1]["event"] == "on_tool_end"


async def test_an_error_that_is_handled_reaches_the_model_whole() -> None:
    async with bridge_of(refuse) as bridge:
        (made,) = bridge.langchain_tools()
        made.handle_tool_error = True
        message = await made.ainvoke(asked("refuse", reason="too late"))

    assert isinstance(message, ToolMessage)
    assert message.status == "error"
    error = json.loads(str(message.content))["error"]
    assert (error["type"], error["message"]) == ("ValueError", "too late")


async def test_a_result_is_json_for_the_model_and_itself_for_the_program() -> None:
    @tool
    def facts() -> dict[str, Any]:
        """Tells."""
        return {"a": [1, None]}

    async with bridge_of(facts, count) as bridge:
        made, counting = bridge.langchain_tools("facts", "count")
        messages = [
            await made.ainvoke(asked("facts")),
            await asyncio.wait_for(asyncio.to_thread(made.invoke, asked("facts")), PATIENCE),
            await counting.ainvoke(asked("count", to=2)),
        ]

    assert [message.content for message in messages] == ['{"a":[1,null]}', '{"a":[1,null]}', "[1,2]"]
    assert [message.artifact for message in messages] == [{"a": [1, None]}, {"a": [1, None]}, [1, 2]]


async def test_a_stream_that_breaks_off_is_an_error_that_can_be_handled() -> None:
    @tool
    async def breaks() -> AsyncIterator[int]:
        """Breaks off."""
        yield 1
        raise ValueError("no more")

    async with bridge_of(breaks) as bridge:
        (made,) = bridge.langchain_tools()
        made.handle_tool_error = True
        message = await made.ainvoke(asked("breaks"))

    assert message.status == "error"
    assert json.loads(str(message.content))["error"]["message"] == "no more"


async def test_a_model_is_told_of_the_tool_as_the_hub_describes_it() -> None:
    async with bridge_of(count) as bridge:
        (made,) = bridge.langchain_tools()

    function = convert_to_openai_tool(made)["function"]
    assert (function["name"], function["description"]) == ("count", "Counts from 1.")
    assert function["parameters"]["properties"] == {"to": {"type": "integer"}}
    assert function["parameters"]["required"] == ["to"]


async def test_a_prompt_that_lists_the_tools_has_their_own_arguments() -> None:
    async with bridge_of(count) as bridge:
        text = render_text_description(bridge.langchain_tools())
    assert text == "count(to: int) -> AsyncIterator[int] - Counts from 1."


def test_a_program_without_an_event_loop_invokes_the_tools_of_its_blocking_bridge() -> None:
    with running_hub([count], Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        bridge.sync.initialize()
        (made,) = bridge.sync.langchain_tools()

        assert made.invoke(asked("count", to=2)).artifact == [1, 2]


async def test_a_synchronous_call_in_the_bridges_own_loop_is_a_clear_error() -> None:
    async with bridge_of(count) as bridge:
        (made,) = bridge.langchain_tools()

        with pytest.raises(RuntimeError, match="await the asynchronous call"):
            made.invoke({"to": 2})


@tool
def ping() -> str:
    """Takes nothing."""
    return "pong"


@pytest.mark.parametrize("sent", [None, "", "null", "{}", {}], ids=repr)
async def test_a_tool_that_takes_nothing_can_be_invoked_with_what_says_so(sent: Any) -> None:
    async with bridge_of(ping) as bridge:
        (made,) = bridge.langchain_tools()
        assert await made.ainvoke(sent) == "pong"
        assert await asyncio.wait_for(asyncio.to_thread(made.invoke, sent), PATIENCE) == "pong"
        assert await made.arun(sent) == "pong"


@pytest.mark.parametrize("sent", ['{"to": ', "[1]", 3], ids=repr)
async def test_arguments_that_cannot_be_read_are_an_error_that_can_be_handled(sent: Any) -> None:
    async with bridge_of(count) as bridge:
        (made,) = bridge.langchain_tools()
        call = {**asked("count"), "args": sent}
        with pytest.raises(ToolException, match="count: the arguments are"):
            await made.ainvoke(call)
        made.handle_tool_error = True
        message = await made.ainvoke(call)
    assert message.status == "error"
    assert json.loads(str(message.content))["error"]["type"] == "ValidationError"


async def test_what_a_tool_says_of_its_effects_is_its_metadata() -> None:
    async with bridge_of(erase, ping) as bridge:
        erasing, pinging = bridge.langchain_tools("files.erase", "ping")
    assert erasing.metadata == {"destructiveHint": True, "title": "Erase a file"}
    assert pinging.metadata is None


async def test_all_tools_can_be_told_how_to_handle_errors() -> None:
    async with bridge_of(refuse, count) as bridge:
        made = bridge.langchain_tools("refuse", handle_tool_error=lambda error: f"no: {error.args[0][:8]}")
        assert await made[0].ainvoke({"reason": "late"}) == 'no: {"error"'
