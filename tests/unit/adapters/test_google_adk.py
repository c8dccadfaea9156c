"""An agent of Google ADK works with the tools of a bridge."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types
from pydantic import PrivateAttr

from grpc_tool_bridge import NotFoundError, ToolCommunicationError, ValidationError
from support.waiting import soon
from unit.adapters.acting import Hanging, add, count, erase, lost_bridge, refuse, rows
from unit.adapters.bridges import bridge_of

CONFIRMATION = "adk_request_confirmation"


class ScriptedLlm(BaseLlm):
    """Makes calls one after the other."""

    model: str = "scripted"
    _calls: list[tuple[str, dict[str, Any]]] = PrivateAttr()
    _requests: list[LlmRequest] = PrivateAttr(default_factory=list)

    def __init__(self, *calls: tuple[str, dict[str, Any]]) -> None:
        super().__init__(model="scripted")
        self._calls = list(calls)

    @property
    def requests(self) -> list[LlmRequest]:
        return self._requests

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        self._requests.append(llm_request)
        part = types.Part(text="done")
        if self._calls:
            name, given = self._calls.pop(0)
            part = types.Part(function_call=types.FunctionCall(name=name, args=given))
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


class Conversation:
    """An agent in a session."""

    def __init__(self, toolset: Any, *calls: tuple[str, dict[str, Any]]) -> None:
        self.llm = ScriptedLlm(*calls)
        self.runner = InMemoryRunner(agent=LlmAgent(name="tester", model=self.llm, tools=[toolset]), app_name="test")
        self._session_id = ""

    async def events(self, part: types.Part) -> AsyncGenerator[Any, None]:
        if not self._session_id:
            sessions = self.runner.session_service
            self._session_id = (await sessions.create_session(app_name="test", user_id="u")).id
        message = types.Content(role="user", parts=[part])
        async for event in self.runner.run_async(user_id="u", session_id=self._session_id, new_message=message):
            yield event

    async def say(self, part: types.Part) -> tuple[list[Any], list[Any]]:
        """Returns the responses of tools, and the calls that the framework itself makes."""
        events = [event async for event in self.events(part)]
        responses = [answer.response for event in events for answer in event.get_function_responses()]
        asked = [call for event in events for call in event.get_function_calls() if call.name == CONFIRMATION]
        return responses, asked


async def run(toolset: Any, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Returns the responses of the tools."""
    responses: list[Any]
    responses, _ = await soon(Conversation(toolset, *calls).say(types.Part(text="go")))
    return responses


async def test_an_agent_gets_the_result_as_it_is_or_as_text() -> None:
    async with bridge_of(add, count, rows) as bridge:
        toolset = bridge.google_adk_toolset()
        assert await run(toolset, ("add", {"a": 1, "b": 2}), ("count", {"to": 2}), ("rows", {})) == [
            {"result": 3},
            {"result": [1, 2]},
            {"result": "a\n1\n2\n"},
        ]


async def test_the_model_is_told_of_the_tool_as_the_hub_describes_it() -> None:
    async with bridge_of(erase) as bridge:
        talk = Conversation(bridge.google_adk_toolset())
        await soon(talk.say(types.Part(text="go")))
        (made,) = await bridge.google_adk_toolset().get_tools()
        assert repr(made) == "<BridgeTool files_erase of <AsyncGRPCProxyTool files.erase(path: str) -> str>>"
        assert repr(bridge.google_adk_toolset()) == f"<BridgeToolset of {bridge!r}>"
    (request,) = talk.llm.requests
    config: Any = request.config
    (declared,) = config.tools[0].function_declarations
    assert (declared.name, declared.description) == ("files_erase", "Erases a file.")
    assert declared.parameters_json_schema["properties"] == {"path": {"type": "string"}}
    assert made.custom_metadata == {"annotations": {"destructiveHint": True, "title": "Erase a file"}}


async def test_the_model_reads_refused_arguments_and_errors_of_a_tool() -> None:
    async with bridge_of(add, refuse) as bridge:
        refused, failed, answered = await run(
            bridge.google_adk_toolset(), ("add", {"a": "x"}), ("refuse", {"reason": "late"}), ("add", {"a": 1, "b": 2})
        )
    assert refused["error"]["type"] == "ValidationError"
    assert {"a", "b"} <= set(refused["error"]["details"])
    assert (failed["error"]["type"], failed["error"]["message"]) == ("ValueError", "late")
    assert answered == {"result": 3}


async def test_a_hub_that_is_gone_ends_the_run() -> None:
    async with lost_bridge() as bridge:
        with pytest.raises(ToolCommunicationError):
            await run(bridge.google_adk_toolset(), ("add", {"a": 1, "b": 2}))


async def test_a_cancelled_run_cancels_its_tool() -> None:
    hanging = Hanging()
    async with bridge_of(hanging.tool) as bridge:
        running = asyncio.ensure_future(run(bridge.google_adk_toolset(), ("hang", {})))
        await soon(hanging.began.wait())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
        await soon(hanging.ended.wait())


@pytest.mark.parametrize("confirmed", [True, False])
async def test_what_destroys_waits_for_a_confirmation_if_that_is_asked_for(confirmed: bool) -> None:
    async with bridge_of(erase, add) as bridge:
        toolset = bridge.google_adk_toolset(require_confirmation="destructive")
        talk = Conversation(toolset, ("add", {"a": 1, "b": 2}), ("files_erase", {"path": "/a"}))
        (answered, waits), (asked,) = await soon(talk.say(types.Part(text="go")))
        assert answered == {"result": 3}
        assert "requires confirmation" in waits["error"]
        answer = types.FunctionResponse(id=asked.id, name=CONFIRMATION, response={"confirmed": confirmed})
        (said,), _ = await soon(talk.say(types.Part(function_response=answer)))
    assert said == {"result": "erased /a"} if confirmed else "rejected" in said["error"]


async def test_an_unknown_confirmation_and_an_unknown_name_are_refused_before_a_run() -> None:
    wrong: Any = "always"
    async with bridge_of(add) as bridge:
        with pytest.raises(ValidationError, match="it must be True, False or 'destructive'"):
            bridge.google_adk_toolset(require_confirmation=wrong)
        with pytest.raises(NotFoundError, match="did you mean add"):
            bridge.google_adk_toolset("ad")


async def test_a_tool_that_comes_or_goes_is_there_or_not_at_the_next_run() -> None:
    async with bridge_of(add, refuse) as bridge:
        toolset = bridge.google_adk_toolset()
        named = bridge.google_adk_toolset("refuse")
        bridge.hub.registry.unregister("", [bridge.tools["refuse"].spec.tool_id])
        bridge.hub.registry.register_batch("", [count])
        await bridge.client.refresh_tools()
        assert sorted(item.name for item in await toolset.get_tools()) == ["add", "count"]
        assert await named.get_tools() == []


async def test_a_run_in_another_event_loop_calls_the_tools_of_the_bridges() -> None:
    async with bridge_of(add) as bridge:
        toolset = bridge.google_adk_toolset()
        call = ("add", {"a": 1, "b": 2})
        assert await soon(asyncio.to_thread(lambda: asyncio.run(run(toolset, call)))) == [{"result": 3}]
