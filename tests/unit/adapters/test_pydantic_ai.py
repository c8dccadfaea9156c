"""A Pydantic AI agent works with the tools of a bridge."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pandas as pd
import pytest
from pydantic_ai import (
    Agent,
    DeferredToolRequests,
    DeferredToolResults,
    ModelMessage,
    ModelResponse,
    RunContext,
    RunUsage,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from grpc_tool_bridge import (
    NotFoundError,
    ToolBridge,
    ToolCommunicationError,
    ToolExecutionError,
    ValidationError,
    tool,
)
from support.patience import PATIENCE
from support.waiting import soon
from unit.adapters.acting import Hanging, erase, lost_bridge
from unit.adapters.bridges import bridge_of


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
def refuse() -> None:
    """Refuses."""
    raise ValueError("too late")


def calling(*calls: ToolCallPart) -> tuple[Callable[..., ModelResponse], list[ToolReturnPart]]:
    """Makes a model that makes these calls one after the other, and what it was told of each."""
    told: list[ToolReturnPart] = []
    left = iter(calls)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        told.extend(part for part in messages[-1].parts if isinstance(part, ToolReturnPart))
        following = next(left, None)
        return ModelResponse(parts=[following or TextPart(f"knows {[item.name for item in info.function_tools]}")])

    return answer, told


async def run(bridge: ToolBridge, answer: Callable[..., ModelResponse], *names: str, **options: Any) -> str:
    agent = Agent(FunctionModel(answer), toolsets=[bridge.pydantic_ai_toolset(*names, **options)])
    return (await asyncio.wait_for(agent.run("go"), PATIENCE)).output


async def test_a_toolset_tells_its_bridge() -> None:
    async with bridge_of(add) as bridge:
        assert repr(bridge.pydantic_ai_toolset()) == f"<BridgeToolset of {bridge!r}>"


async def test_an_agent_gets_the_result_as_it_is() -> None:
    answer, told = calling(ToolCallPart("add", {"a": 1, "b": 2}))
    async with bridge_of(add, refuse) as bridge:
        assert await run(bridge, answer, "add") == "knows ['add']"

    assert [part.content for part in told] == [3]


async def test_a_model_can_mend_the_arguments_that_the_hub_refused() -> None:
    answer, told = calling(ToolCallPart("add", {"a": "one"}), ToolCallPart("add", {"a": 1, "b": 2}))
    async with bridge_of(add) as bridge:
        await run(bridge, answer)

    refused, returned = told
    assert refused.outcome == "retried"
    assert "argument 'b': missing" in str(refused.content)
    assert returned.content == 3


@pytest.mark.parametrize(("behavior", "outcome"), [("failed", "failed"), ("retry", "retried")])
async def test_a_model_is_told_of_an_error_of_a_tool(behavior: Any, outcome: str) -> None:
    answer, told = calling(ToolCallPart("refuse", {}))
    async with bridge_of(refuse) as bridge:
        await run(bridge, answer, tool_error_behavior=behavior)
    (part,) = told
    assert part.outcome == outcome
    assert "refuse: ValueError: too late" in str(part.content)


async def test_an_error_of_a_tool_ends_the_run_if_that_is_asked_for() -> None:
    answer, _ = calling(ToolCallPart("refuse", {}))
    async with bridge_of(refuse) as bridge:
        with pytest.raises(ToolExecutionError, match="refuse: ValueError: too late"):
            await run(bridge, answer, tool_error_behavior="error")


async def test_what_is_none_of_the_three_is_refused() -> None:
    async with bridge_of(refuse) as bridge:
        with pytest.raises(ValidationError, match="must be 'failed', 'retry' or 'error', not 'raise'"):
            bridge.pydantic_ai_toolset(tool_error_behavior=cast("Any", "raise"))


async def test_a_hub_that_is_gone_ends_the_run() -> None:
    answer, _ = calling(ToolCallPart("add", {"a": 1, "b": 2}))
    async with lost_bridge() as bridge:
        with pytest.raises(ToolCommunicationError):
            await run(bridge, answer, tool_error_behavior="retry")


async def test_a_cancelled_run_cancels_its_tool() -> None:
    hanging = Hanging()
    answer, _ = calling(ToolCallPart("hang", {}))
    async with bridge_of(hanging.tool) as bridge:
        running = asyncio.ensure_future(run(bridge, answer))
        await soon(hanging.began.wait())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
        await soon(hanging.ended.wait())


async def test_a_refusal_that_the_tool_itself_makes_is_no_fault_of_the_arguments() -> None:
    @tool
    def check() -> None:
        """Checks."""
        raise ValidationError("it does not match")

    answer, told = calling(ToolCallPart("check", {}))
    async with bridge_of(check) as bridge:
        await run(bridge, answer)
    (part,) = told
    assert part.outcome == "failed"
    assert "it does not match" in str(part.content)


async def test_a_tool_that_takes_too_long_is_no_fault_of_the_arguments_either() -> None:
    @tool(limits={"timeout_ms": 20})
    async def hang() -> None:
        """Hangs."""
        await asyncio.Event().wait()

    answer, told = calling(ToolCallPart("hang", {}))
    async with bridge_of(hang) as bridge:
        await run(bridge, answer)
    (part,) = told
    assert part.outcome == "failed"
    assert "TimeoutError" in str(part.content)


async def test_what_a_tool_says_of_its_effects_decides_what_needs_approval() -> None:
    def destroys(_: RunContext[None], definition: ToolDefinition, __: dict[str, Any]) -> bool:
        return bool((definition.metadata or {})["annotations"]["destructiveHint"])

    answer, told = calling(ToolCallPart("files_erase", {"path": "/a"}, tool_call_id="1"))
    async with bridge_of(erase) as bridge:
        toolset = bridge.pydantic_ai_toolset().approval_required(destroys)
        agent = Agent(FunctionModel(answer), toolsets=[toolset], output_type=[str, DeferredToolRequests])
        stopped = await soon(agent.run("go"))
        assert [call.tool_name for call in stopped.output.approvals] == ["files_erase"]
        approved = DeferredToolResults(approvals={"1": True})
        await soon(agent.run(message_history=stopped.all_messages(), deferred_tool_results=approved))
    assert [part.content for part in told] == ["erased /a"]


async def test_a_tool_that_goes_while_the_model_thinks_is_told_to_it() -> None:
    async with bridge_of(add, refuse) as bridge:

        async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            if len(messages) > 1:
                return ModelResponse(parts=[TextPart(str(messages[-1].parts[0]))])
            bridge.hub.registry.unregister("", [bridge.tools["add"].spec.tool_id])
            await bridge.client.refresh_tools()
            return ModelResponse(parts=[ToolCallPart("add", {"a": 1, "b": 2})])

        agent: Agent[None, str] = Agent(FunctionModel(answer), toolsets=[bridge.pydantic_ai_toolset()])
        told = (await asyncio.wait_for(agent.run("go"), PATIENCE)).output
    assert "the session has no tool 'add'" in told


async def test_a_result_without_json_is_text_for_the_model_and_itself_for_the_program() -> None:
    @tool
    def rows() -> pd.DataFrame:
        """Gives rows."""
        return pd.DataFrame({"a": [1, 2]})

    answer, told = calling(ToolCallPart("rows", {}))
    async with bridge_of(rows) as bridge:
        await run(bridge, answer)
    (part,) = told
    assert part.content == "a\n1\n2\n"
    assert part.metadata.equals(pd.DataFrame({"a": [1, 2]}))


async def test_toolsets_of_other_tools_have_other_ids() -> None:
    async with bridge_of(add, refuse) as bridge:
        ids = {bridge.pydantic_ai_toolset(*names).id for names in ((), ("add",), ("refuse",))}
    assert len(ids) == 3


async def test_a_named_tool_that_has_gone_is_not_told_of_and_nor_are_others() -> None:
    answer, _ = calling()
    async with bridge_of(add, refuse) as bridge:
        agent = Agent(FunctionModel(answer), toolsets=[bridge.pydantic_ai_toolset("refuse")])
        both = Agent(FunctionModel(answer), toolsets=[bridge.pydantic_ai_toolset("refuse", "add")])
        bridge.hub.registry.unregister("", [bridge.tools["refuse"].spec.tool_id])
        await bridge.client.refresh_tools()
        assert (await asyncio.wait_for(agent.run("go"), PATIENCE)).output == "knows []"
        assert (await asyncio.wait_for(both.run("go"), PATIENCE)).output == "knows ['add']"


async def test_a_name_that_no_tool_has_is_refused_before_a_run() -> None:
    async with bridge_of(add) as bridge:
        with pytest.raises(NotFoundError, match="did you mean add"):
            bridge.pydantic_ai_toolset("ad")


async def test_a_tool_that_comes_later_is_there_at_the_next_step() -> None:
    answer, _ = calling()
    async with bridge_of(add) as bridge:
        agent = Agent(FunctionModel(answer), toolsets=[bridge.pydantic_ai_toolset()])
        bridge.hub.registry.register_batch("", [refuse])
        await bridge.client.refresh_tools()

        assert (await asyncio.wait_for(agent.run("go"), PATIENCE)).output == "knows ['add', 'refuse']"


async def test_arguments_that_are_no_object_are_told_to_the_model() -> None:
    answer, told = calling(ToolCallPart("add", "[1, 2]"), ToolCallPart("add", '{"a": 1, "b": 2}'))
    async with bridge_of(add) as bridge:
        await run(bridge, answer)
    refused, returned = told
    assert "add: ValidationError: the arguments are list, not an object" in str(refused.content)
    assert returned.content == 3


async def test_arguments_that_are_not_yet_whole_are_read_as_far_as_they_are() -> None:
    async with bridge_of(add) as bridge:
        tools = await bridge.pydantic_ai_toolset().get_tools(RunContext(deps=None, model=TestModel(), usage=RunUsage()))
    reader = tools["add"].args_validator
    assert reader.validate_json('{"a": 1, "b', allow_partial="trailing-strings") == {"a": 1}
    assert reader.validate_python({"a": 1}, allow_partial="on") == {"a": 1}
