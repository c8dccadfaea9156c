"""What a framework knows of a call reaches the tool as its metadata."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from agents.testing import ScriptedModel, assistant_message, function_call
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from agents import Agent as OpenAIAgent
from agents import RunConfig, Runner
from grpc_tool_bridge import LocalToolBridge, ToolContext, ValidationError, tool
from grpc_tool_bridge.adapters.metadata import CallMetadata, plain_metadata
from unit.adapters.bridges import bridge_of


@tool
async def about(ctx: ToolContext) -> dict[str, str]:
    return dict(ctx.metadata)


def test_of_what_a_framework_keeps_plain_values_are_taken_and_no_secrets() -> None:
    found = {
        "user": "ann", "n": 3, "part": 0.5, "on": True, "": "no name", 7: "no text", "none": None, "many": ["a"],
        "__pregel_task_id": "own", "api_key": "k", "AuthToken": "t", "db_password": "p", "long": "x" * 5_000,
    }  # fmt: skip
    assert plain_metadata(found) == {"user": "ann", "n": "3", "part": "0.5", "on": "True"}


def test_metadata_is_a_dict_of_texts_or_a_function() -> None:
    assert CallMetadata(None).of() == {}
    assert CallMetadata({"k": "v"}).of("call") == {"k": "v"}
    assert CallMetadata(lambda call: {"call": call}).of("one") == {"call": "one"}
    for wrong in ({"k": 1}, "k=v", 3):
        with pytest.raises(ValidationError, match="metadata"):
            CallMetadata(wrong)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ValidationError, match="metadata"):
        CallMetadata(lambda: {"k": 1}).of()  # type: ignore[arg-type]  # likewise


CONFIG: Any = {"configurable": {"thread_id": "t1", "api_key": "secret"}, "metadata": {"user": "ann"}}


async def test_langchain_s_config_reaches_the_tool() -> None:
    async with bridge_of(about) as bridge:
        (given,) = bridge.langchain_tools("about")
        assert json.loads(await given.ainvoke({}, CONFIG)) == {"user": "ann", "thread_id": "t1"}
        assert json.loads(await asyncio.to_thread(given.invoke, {}, CONFIG)) == {"user": "ann", "thread_id": "t1"}
        assert await given.ainvoke({}) == "{}"
        (own,) = bridge.langchain_tools("about", metadata=lambda config: {"of": config["metadata"]["user"]})
        assert await own.ainvoke({}, CONFIG) == '{"of":"ann"}'


async def test_langchain_s_config_reaches_a_tool_that_was_searched_for() -> None:
    async with bridge_of(about) as bridge:
        _, call_tool = bridge.langchain_tools(search=True)
        said = await call_tool.ainvoke({"name": "about"}, CONFIG)
        assert json.loads(said) == {"user": "ann", "thread_id": "t1"}


async def test_openai_s_calls_have_the_metadata_of_their_answer() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "about", "arguments": "{}"}}
    async with bridge_of(about) as bridge:
        (message,) = await bridge.run_openai_tool_calls([call], metadata={"user": "ann"})
    assert message["content"] == '{"user":"ann"}'


async def test_dspy_s_tools_ask_for_the_metadata_of_each_call() -> None:
    users = iter(("ann", "bob"))
    async with bridge_of(about) as bridge:
        (given,) = bridge.dspy_tools("about", metadata=lambda: {"user": next(users)})
        assert await given.acall() == {"user": "ann"}
        assert await asyncio.to_thread(given) == {"user": "bob"}


@pytest.mark.parametrize(
    ("metadata", "deps"),
    [(None, {"user": "ann", "token": "secret"}), (lambda ctx: {"user": ctx.deps.user}, SimpleNamespace(user="ann"))],
    ids=["a dict", "a function"],
)
async def test_pydantic_ai_s_deps_reach_the_tool(metadata: Any, deps: Any) -> None:
    async with bridge_of(about) as bridge:
        toolset = bridge.pydantic_ai_toolset(metadata=metadata)
        agent = Agent(TestModel(), deps_type=object, toolsets=[toolset])
        assert (await agent.run("go", deps=deps)).output == '{"about":{"user":"ann"}}'


async def test_the_context_of_an_openai_agent_s_run_reaches_the_tool() -> None:
    async with bridge_of(about) as bridge:
        for metadata, context in (
            (None, {"user": "ann", "token": "secret"}),
            (lambda call: {"user": call.context.user}, SimpleNamespace(user="ann")),
        ):
            model = ScriptedModel([[function_call("about", {}, call_id="1")], [assistant_message("done")]])
            agent: Any = OpenAIAgent("tester", tools=[*bridge.openai_agents_tools(metadata=metadata)], model=model)
            done = await Runner.run(agent, "go", context=context, run_config=RunConfig(tracing_disabled=True))
            (said,) = [item.output for item in done.new_items if item.type == "tool_call_output_item"]
            assert said == '{"user":"ann"}'


async def test_llama_index_s_tools_ask_for_the_metadata_of_each_call() -> None:
    users = iter(("ann", "bob"))
    async with bridge_of(about) as bridge:
        (given,) = bridge.llama_index_tools("about", metadata=lambda: {"user": next(users)})
        assert (await given.acall()).raw_output == {"user": "ann"}
        assert (await asyncio.to_thread(given)).raw_output == {"user": "bob"}


async def test_google_adk_s_tools_ask_for_the_metadata_of_each_call() -> None:
    async with bridge_of(about) as bridge:
        toolset = bridge.google_adk_toolset(metadata=lambda call: {"user": call.user_id})
        (given,) = await toolset.get_tools()
        assert await given.run_async(args={}, tool_context=SimpleNamespace(user_id="ann")) == {"user": "ann"}


async def test_a_bridge_s_own_metadata_stands_under_that_of_a_framework() -> None:
    async with LocalToolBridge([about], metadata={"app": "shop", "user": "nobody"}) as bridge:
        await bridge.initialize()
        (given,) = bridge.dspy_tools(metadata={"user": "ann"})
        assert await given.acall() == {"app": "shop", "user": "ann"}
