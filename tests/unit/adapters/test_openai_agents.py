"""An agent of the OpenAI Agents SDK works with the tools of a bridge."""

import asyncio
import json
from typing import Any

import pytest
from agents.testing import ScriptedModel, assistant_message, function_call

from agents import Agent, RunConfig, Runner, UserError
from grpc_tool_bridge import ToolCommunicationError, ToolExecutionError, ValidationError
from support.waiting import soon
from unit.adapters.acting import Hanging, add, count, erase, lost_bridge, refuse, rows
from unit.adapters.bridges import bridge_of

QUIET = RunConfig(tracing_disabled=True)


def agent_of(tools: list[Any], *calls: tuple[str, Any]) -> tuple[Agent[None], ScriptedModel]:
    """Makes an agent whose model makes these calls one after the other."""
    model = ScriptedModel(
        [
            *([function_call(name, given, call_id=f"call-{number}")] for number, (name, given) in enumerate(calls)),
            [assistant_message("done")],
        ]
    )
    return Agent("tester", tools=tools, model=model), model


def outputs(result: Any) -> list[Any]:
    return [item.output for item in result.new_items if item.type == "tool_call_output_item"]


async def run(tools: list[Any], *calls: tuple[str, Any]) -> list[Any]:
    agent, _ = agent_of(tools, *calls)
    result = await soon(Runner.run(agent, "go", run_config=QUIET))
    assert result.final_output == "done"
    return outputs(result)


async def test_an_agent_reads_results_as_text() -> None:
    async with bridge_of(add, count, rows) as bridge:
        tools = bridge.openai_agents_tools("add", "count", "rows")
        assert await run(tools, ("add", {"a": 1, "b": 2}), ("count", {"to": 2}), ("rows", {})) == [
            "3",
            "[1,2]",
            "a\n1\n2\n",
        ]


async def test_a_run_that_is_streamed_has_the_calls_and_their_results() -> None:
    async with bridge_of(add) as bridge:
        agent, _ = agent_of(bridge.openai_agents_tools(), ("add", {"a": 1, "b": 2}))
        running = Runner.run_streamed(agent, "go", run_config=QUIET)
        names = [event.name async for event in running.stream_events() if event.type == "run_item_stream_event"]
    assert names[:2] == ["tool_called", "tool_output"]
    assert outputs(running) == ["3"]


async def test_the_model_is_told_of_the_tool_as_the_hub_describes_it() -> None:
    async with bridge_of(erase) as bridge:
        (made,) = bridge.openai_agents_tools()
        agent, model = agent_of([made])
        await soon(Runner.run(agent, "go", run_config=QUIET))
    assert (made.name, made.description) == ("files_erase", "Erases a file.")
    assert made.params_json_schema["properties"] == {"path": {"type": "string"}}
    assert model.last_call is not None
    assert [item.name for item in model.last_call.tools] == ["files_erase"]


async def test_the_model_reads_which_arguments_were_refused_and_can_correct_them() -> None:
    async with bridge_of(add) as bridge:
        refused, unread, answered = await run(
            bridge.openai_agents_tools(), ("add", {"a": "one"}), ("add", "[1"), ("add", {"a": 1, "b": 2})
        )
    error = json.loads(refused)["error"]
    assert error["type"] == "ValidationError"
    assert {"a", "b"} <= set(error["details"])
    assert json.loads(unread)["error"]["type"] == "ValidationError"
    assert answered == "3"


async def test_the_model_reads_an_error_of_a_tool_unless_it_is_to_be_raised() -> None:
    async with bridge_of(refuse) as bridge:
        call = ("refuse", {"reason": "too late"})
        (told,) = await run(bridge.openai_agents_tools(), call)
        assert json.loads(told)["error"]["message"] == "too late"

        async def explain(context: Any, error: Exception) -> str:
            return f"{type(error).__name__} in {context.tool_name}"

        assert await run(bridge.openai_agents_tools(failure_error_function=explain), call) == [
            "ToolExecutionError in refuse"
        ]
        agent, _ = agent_of(bridge.openai_agents_tools(failure_error_function=None), call)
        with pytest.raises(UserError, match="too late") as caught:
            await soon(Runner.run(agent, "go", run_config=QUIET))
    assert isinstance(caught.value.__cause__, ToolExecutionError)


async def test_a_hub_that_is_gone_ends_the_run() -> None:
    async with lost_bridge() as bridge:
        agent, _ = agent_of(bridge.openai_agents_tools(), ("add", {"a": 1, "b": 2}))
        with pytest.raises(UserError) as caught:
            await soon(Runner.run(agent, "go", run_config=QUIET))
    assert isinstance(caught.value.__cause__, ToolCommunicationError)


async def test_a_cancelled_run_cancels_its_tool() -> None:
    hanging = Hanging()
    async with bridge_of(hanging.tool) as bridge:
        agent, _ = agent_of(bridge.openai_agents_tools(), ("hang", {}))
        running = asyncio.ensure_future(Runner.run(agent, "go", run_config=QUIET))
        await soon(hanging.began.wait())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
        await soon(hanging.ended.wait())


async def test_what_destroys_waits_for_approval_if_that_is_asked_for() -> None:
    async with bridge_of(erase, add) as bridge:
        tools = bridge.openai_agents_tools(needs_approval="destructive")
        agent, _ = agent_of(tools, ("add", {"a": 1, "b": 2}), ("files_erase", {"path": "/a"}))
        stopped = await soon(Runner.run(agent, "go", run_config=QUIET))
        assert outputs(stopped) == ["3"]
        (interruption,) = stopped.interruptions
        state = stopped.to_state()
        state.approve(interruption)
        done = await soon(Runner.run(agent, state, run_config=QUIET))
    assert outputs(done)[-1] == "erased /a"


async def test_an_unknown_approval_is_refused() -> None:
    wrong: Any = "always"
    async with bridge_of(add) as bridge:
        with pytest.raises(ValidationError, match="it must be True, False or 'destructive'"):
            bridge.openai_agents_tools(needs_approval=wrong)


async def test_a_run_in_another_event_loop_calls_the_tools_of_the_bridges() -> None:
    async with bridge_of(add) as bridge:
        agent, _ = agent_of(bridge.openai_agents_tools(), ("add", {"a": 1, "b": 2}))
        result = await soon(asyncio.to_thread(lambda: asyncio.run(Runner.run(agent, "go", run_config=QUIET))))
    assert outputs(result) == ["3"]
