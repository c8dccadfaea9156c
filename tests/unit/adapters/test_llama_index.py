"""An agent of LlamaIndex works with the tools of a bridge."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools.calling import acall_tool
from workflows.errors import WorkflowCancelledByUser

from grpc_tool_bridge import Settings, ToolCommunicationError, ToolExecutionError
from grpc_tool_bridge.testing.background import background_bridge, running_hub
from support.waiting import soon
from unit.adapters.acting import Hanging, add, count, erase, lost_bridge, refuse, rows
from unit.adapters.bridges import bridge_of


def agent_of(tools: list[Any], *calls: tuple[str, dict[str, Any]]) -> FunctionAgent:
    """Makes an agent whose model makes these calls one after the other, and then tells what it was told last."""
    left = iter(calls)

    def answer(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
        following = next(left, None)
        if following is None:
            return ChatMessage(role="assistant", content=f"told {messages[-1].content}")
        name, given = following
        return ChatMessage(
            role="assistant", blocks=[ToolCallBlock(tool_call_id=f"of-{name}", tool_name=name, tool_kwargs=given)]
        )

    return FunctionAgent(tools=tools, llm=MockFunctionCallingLLM(response_generator=answer), streaming=False)


async def run(tools: list[Any], *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Returns the outputs of the calls."""
    handler = agent_of(tools, *calls).run("go")
    outputs = [event.tool_output async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
    said = await soon(handler)
    assert str(said) == f"told {outputs[-1].content}"
    return outputs


async def test_an_agent_reads_text_and_the_program_has_the_value() -> None:
    async with bridge_of(add, count, rows) as bridge:
        tools = bridge.llama_index_tools("add", "count", "rows")
        outputs = await run(tools, ("add", {"a": 1, "b": 2}), ("count", {"to": 2}), ("rows", {}))
    assert [item.content for item in outputs] == ["3", "[1,2]", "a\n1\n2\n"]
    assert [item.raw_output for item in outputs[:2]] == [3, [1, 2]]
    assert outputs[2].raw_output.equals(pd.DataFrame({"a": [1, 2]}))


async def test_the_model_is_told_of_the_tool_as_the_hub_describes_it() -> None:
    async with bridge_of(erase) as bridge:
        (made,) = bridge.llama_index_tools()
        assert repr(made) == "<BridgeTool files_erase of <AsyncGRPCProxyTool files.erase(path: str) -> str>>"
    function = made.metadata.to_openai_tool()["function"]
    assert (function["name"], function["description"]) == ("files_erase", "Erases a file.")
    assert function["parameters"]["properties"] == {"path": {"type": "string"}}
    assert function["parameters"]["required"] == ["path"]
    assert made.annotations == {"destructiveHint": True, "title": "Erase a file"}


async def test_the_model_reads_refused_arguments_and_errors_of_a_tool() -> None:
    async with bridge_of(add, refuse) as bridge:
        refused, failed, answered = await run(
            bridge.llama_index_tools(), ("add", {"a": "one"}), ("refuse", {"reason": "late"}), ("add", {"a": 1, "b": 2})
        )
    assert {"a", "b"} <= set(json.loads(refused.content)["error"]["details"])
    assert json.loads(failed.content)["error"]["message"] == "late"
    assert [item.is_error for item in (refused, failed, answered)] == [True, True, False]
    assert isinstance(failed.exception, ToolExecutionError)


async def test_a_hub_that_is_gone_is_an_exception() -> None:
    async with lost_bridge() as bridge:
        (made,) = bridge.llama_index_tools()
        with pytest.raises(ToolCommunicationError):
            await soon(made.acall(a=1, b=2))
        # LlamaIndex's agents turn every exception into an output.
        (output,) = await run([made], ("add", {"a": 1, "b": 2}))
    assert isinstance(output.exception, ToolCommunicationError)


async def test_a_cancelled_run_cancels_its_tool() -> None:
    hanging = Hanging()
    async with bridge_of(hanging.tool) as bridge:
        handler = agent_of(bridge.llama_index_tools(), ("hang", {})).run("go")
        await soon(hanging.began.wait())
        await soon(handler.cancel_run())
        await soon(hanging.ended.wait())
        with pytest.raises(WorkflowCancelledByUser):
            await soon(handler)


# Of LlamaIndex's own agent.
@pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning")
async def test_an_agent_without_function_calls_reads_the_arguments_from_the_prompt() -> None:
    prompts: list[str] = []
    replies = iter(
        ['Thought: add.\nAction: add\nAction Input: {"a": 1, "b": 2}', "Thought: I can answer.\nAnswer: three"]
    )

    def answer(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
        prompts.append("\n".join(str(message.content) for message in messages))
        return ChatMessage(role="assistant", content=next(replies))

    async with bridge_of(add) as bridge:
        llm = MockFunctionCallingLLM(response_generator=answer, is_chat_model=True)
        agent = ReActAgent(tools=bridge.llama_index_tools(), llm=llm, streaming=False)
        assert str(await soon(AgentWorkflow(agents=[agent]).run("go"))) == "three"
    assert '"a": {"type": "integer"}' in prompts[0]
    assert "Observation: 3" in prompts[1]


async def test_the_only_argument_may_be_given_without_its_name() -> None:
    async with bridge_of(count) as bridge:
        (made,) = bridge.llama_index_tools()
        assert (await soon(acall_tool(made, {"to": 2}))).raw_output == [1, 2]


def test_a_program_without_an_event_loop_calls_the_tools_of_its_blocking_bridge() -> None:
    with running_hub([add, refuse], Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        bridge.sync.initialize()
        adding, refusing = bridge.sync.llama_index_tools("add", "refuse")
        assert adding(a=1, b=2).raw_output == 3
        assert refusing(reason="late").is_error


async def test_a_run_in_another_event_loop_calls_the_tools_of_the_bridges() -> None:
    async def elsewhere(tools: list[Any]) -> Any:
        return await agent_of(tools, ("add", {"a": 1, "b": 2})).run("go")

    async with bridge_of(add) as bridge:
        tools = bridge.llama_index_tools()
        assert str(await soon(asyncio.to_thread(lambda: asyncio.run(elsewhere(tools))))) == "told 3"
