"""Steps of an agent: what the model is asked, what is read of its answers, what is left out where it is too much."""

from collections.abc import Callable
from typing import Any

import pytest
from dspy.lm15 import ContextLengthError

from grpc_tool_bridge.agents.react import FINISH, ReAct, Step, TokenCount
from grpc_tool_bridge.agents.signatures import read_signature
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Prompt, fields, step
from grpc_tool_bridge.tools.tool import as_tool
from unit.agents.fakes import FakeSession, calculate, kinds, made, ran, runtime_of

INPUTS = {"Question": "What is 2 + 2?"}
ANSWER = fields(reasoning="It is so.", Answer="4")


def react_of(lm: ScriptedLM) -> ReAct:
    return ReAct(read_signature("Question -> Answer"), [as_tool(calculate).spec], lm)


def no_longer_than(chars: int, *answers: str) -> tuple[Callable[[Prompt], str], list[str]]:
    """Makes a model that reads no longer prompts, and what it was asked."""
    left = iter(answers)
    asked: list[str] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt.user)
        if len(prompt.user) > chars:
            raise ContextLengthError("too long", status=400)
        return next(left)

    return answer, asked


@pytest.mark.parametrize(
    ("usage", "asked", "answered"),
    [
        ({"prompt_tokens": 2, "completion_tokens": 3}, 2, 3),
        ({"input_tokens": 2, "output_tokens": 3}, 2, 3),
        ({"prompt_tokens": None, "input_tokens": 2, "completion_tokens": "3"}, 2, 0),
        ({}, 0, 0),
    ],
)
def test_tokens_are_counted_by_either_name_where_they_are_numbers(
    usage: dict[str, Any], asked: int, answered: int
) -> None:
    count = TokenCount()
    count.add_usage("model", usage)
    count.add_usage("model", usage)
    assert (count.asked, count.answered, count.total) == (2 * asked, 2 * answered, 2 * (asked + answered))


async def test_the_oldest_step_is_left_out_of_what_is_too_long_for_the_model() -> None:
    answer, asked = no_longer_than(5_000, step("Done.", FINISH))
    react = react_of(ScriptedLM(answer))
    for number in (1, 2):
        react.observe(Step(f"thought {number}", "calculate", {}), f"result {number} {'x' * 3_000}")
    said = await react.next_step(INPUTS)
    assert said == Step("Done.", FINISH, {})
    assert ["result 1" in text for text in asked] == [True, False]
    assert all("result 2" in text for text in asked)


async def test_a_run_whose_model_has_no_room_for_another_step_is_answered_by_what_it_has_seen() -> None:
    asked = 0

    def answer(prompt: Prompt) -> str:
        nonlocal asked
        asked += 1
        if "next_tool_name" not in prompt.system:
            return ANSWER
        if asked > 1:
            raise ContextLengthError("too long", status=400)
        return step("Add.", "calculate", expression="2+2")

    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM(answer))
    chunks = await ran(runtime, await made(runtime))
    assert kinds(chunks) == ["thought", "action", "observation", "result"]
    result = chunks[-1].result
    assert (result.total_steps, dict(result.final_answer)) == (1, {"Answer": "4"})
    assert result.stop_reason == "tokens"


async def test_fields_may_be_called_as_pydantics_own_methods() -> None:
    lm = ScriptedLM([step("Done.", FINISH), fields(reasoning="It is so.", schema="s")])
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    chunks = await ran(runtime, await made(runtime, "json -> schema"), json="j")
    assert dict(chunks[-1].result.final_answer) == {"schema": "s"}


async def test_a_tool_that_there_is_none_of_is_read_from_json_too() -> None:
    said = '{"next_thought": "t", "next_tool_name": "nonesuch", "next_tool_args": {"a": 1}}'
    lm = ScriptedLM(["I do as I please.", said])
    assert await react_of(lm).next_step(INPUTS) == Step("t", "nonesuch", {"a": 1})
