"""DSPy's own agent calls the tools of a bridge, awaited and not."""

import asyncio
from typing import Any

import dspy
import pytest

from grpc_tool_bridge import tool
from grpc_tool_bridge.testing.model_script import fields, step
from grpc_tool_bridge.testing.scripted_lm import ScriptedLM
from unit.edges.bridges import bridge_of


@tool
async def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


ANSWERS = [step("add them", "add", a=2, b=2), step("done", "finish"), fields(reasoning="so", answer="4")]


def agent(tools: list[Any]) -> tuple[Any, ScriptedLM]:
    return dspy.ReAct("question -> answer", tools=tools), ScriptedLM(ANSWERS)


async def test_an_agent_that_is_awaited_sees_the_tool_and_its_result() -> None:
    async with bridge_of(add) as bridge:
        react, lm = agent(bridge.dspy_tools("add"))
        with dspy.context(lm=lm):
            answer = await asyncio.wait_for(react.acall(question="2 + 2?"), 10)

    assert answer.answer == "4"
    assert answer.trajectory["observation_0"] == 4
    assert "Adds two numbers." in lm.prompts[0].text


async def test_an_agent_in_a_thread_calls_the_bridge_of_the_loop() -> None:
    async with bridge_of(add) as bridge:
        react, lm = agent(bridge.dspy_tools())

        def run() -> Any:
            with dspy.context(lm=lm):
                return react(question="2 + 2?")

        answer = await asyncio.wait_for(asyncio.to_thread(run), 10)

    assert answer.trajectory["observation_0"] == 4


async def test_a_synchronous_call_in_the_bridges_own_loop_is_a_clear_error() -> None:
    async with bridge_of(add) as bridge:
        (made,) = bridge.dspy_tools()

        with pytest.raises(RuntimeError, match="await the asynchronous call"):
            made(a=1)


async def test_a_copy_of_a_tool_calls_the_same_bridge() -> None:
    async with bridge_of(add) as bridge:
        react, _ = agent(bridge.dspy_tools())

        assert await react.deepcopy().tools["add"].acall(a=1) == 2


async def test_an_argument_may_be_called_self() -> None:
    @tool
    def greet(self: str) -> str:
        """Greets."""
        return f"hello {self}"

    async with bridge_of(greet) as bridge:
        (made,) = bridge.dspy_tools()
        assert await made.acall(self="you") == "hello you"


async def test_a_program_that_streams_uses_the_tools_and_the_scripted_model() -> None:
    async with bridge_of(add) as bridge:
        react, lm = agent(bridge.dspy_tools("add"))
        with dspy.context(lm=lm):
            async with asyncio.timeout(10):
                streamed = [item async for item in dspy.streamify(react)(question="2 + 2?")]
    assert streamed[-1].answer == "4"
