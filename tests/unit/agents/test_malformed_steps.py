"""A step of the model that is none is an observation, which it can mend; what was found before stays."""

from typing import Any

import pytest

from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Prompt, fields, step
from unit.agents.fakes import FakeSession, calculate, kinds, made, output_of, ran, runtime_of

FOUND = step("I add.", "calculate", expression="20+3")
FINISH = step("I know it.", "finish")
ANSWER = fields(reasoning="It is so.", Answer="23")

# What the model answers, and what it is told of it. An answer that cannot be read is asked for once more, as JSON.
MALFORMED: dict[str, tuple[list[str], str]] = {
    "prose": (["I do as I please."] * 2, "ModelAnswerError: the model's answer could not be read: it needs the fields"),
    "nothing": ([""] * 2, "ModelAnswerError: the model's answer could not be read"),
    "half of its fields": ([fields(next_thought="hm")] * 2, "next_tool_name, next_tool_args"),
    "other JSON": (['{"tool": "calculate"}'] * 2, "ModelAnswerError: the model's answer could not be read"),
    "brackets": (["[" * 500] * 2, "ModelAnswerError: the model's answer could not be read"),
    "unknown tool": ([step("t", "nonesuch", a=1)], "nonesuch: ToolNotFound: there is no tool 'nonesuch'; there are"),
    "a number as its tool": ([fields(next_thought="t", next_tool_name=7, next_tool_args={})], "there is no tool '7'"),
    "a list as arguments": (
        [fields(next_thought="t", next_tool_name="calculate", next_tool_args=[1, 2])],
        "calculate: ValidationError: the arguments are list, not an object; give one JSON object with the arguments",
    ),
    "a text as arguments": (
        [fields(next_thought="t", next_tool_name="calculate", next_tool_args="2 + 2")],
        "calculate: ValidationError: the arguments are not valid JSON",
    ),
    "arguments of other names": ([step("t", "calculate", sum="2+2")], "calculate: TypeError"),
    "no arguments": ([fields(next_thought="t", next_tool_name="calculate")], "calculate: TypeError"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_one_malformed_step_is_an_observation_that_the_model_mends(name: str) -> None:
    answers, said = MALFORMED[name]
    lm = ScriptedLM([FOUND, *answers, FINISH, ANSWER])
    runtime = runtime_of(FakeSession(calculate), lm=lm)

    chunks = await ran(runtime, await made(runtime, intermediate_steps=True))

    result = chunks[-1].result
    assert (result.stop_reason, result.total_steps) == ("finished", 3)
    assert dict(result.final_answer) == {"Answer": "23"}
    observations = [chunk for chunk in chunks if chunk.WhichOneof("content") == "observation"]
    assert output_of(observations[0]) == 23
    assert said in output_of(observations[1])
    assert observations[1].observation.error.message
    assert said in result.steps[1].observation
    # At the next step the model reads both.
    told = lm.prompts[len(answers) + 1].user
    assert said in told
    assert "[[ ## observation_0 ## ]]\n23" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_first_step_is_mended_as_any_other(name: str) -> None:
    answers, _ = MALFORMED[name]
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([*answers, FOUND, FINISH, ANSWER]))
    chunks = await ran(runtime, await made(runtime))
    assert dict(chunks[-1].result.final_answer) == {"Answer": "23"}


async def test_a_model_that_never_mends_itself_answers_by_what_was_found_before() -> None:
    asked: list[Prompt] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt)
        if len(asked) == 1:
            return FOUND
        return "I do as I please." if "next_tool_name" in prompt.system else ANSWER

    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM(answer))
    chunks = await ran(runtime, await made(runtime, max_iters=3))
    result = chunks[-1].result
    assert (result.stop_reason, result.total_steps) == ("max_iters", 3)
    assert dict(result.final_answer) == {"Answer": "23"}
    assert "[[ ## observation_0 ## ]]\n23" in asked[-1].user


async def test_a_step_that_was_asked_for_as_json_is_read_in_the_first_form_too() -> None:
    lm = ScriptedLM(["I do as I please.", FOUND, FINISH, ANSWER])
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    chunks = await ran(runtime, await made(runtime))
    assert output_of(chunks[2]) == 23
    assert chunks[-1].result.total_steps == 2


@pytest.mark.parametrize("said", [None, "", "null", '""', "{}"])
async def test_a_step_without_arguments_calls_a_tool_that_takes_none(said: str | None) -> None:
    def ping() -> str:
        """Answers."""
        return "pong"

    given: dict[str, Any] = {} if said is None else {"next_tool_args": said}
    bare = fields(next_thought="t", next_tool_name="ping", **given)
    session = FakeSession(ping)
    runtime = runtime_of(session, lm=ScriptedLM([bare, FINISH, ANSWER]))
    chunks = await ran(runtime, await made(runtime))
    assert session.calls == [("ping", {})]
    assert output_of(chunks[2]) == "pong"
    assert chunks[-1].result.stop_reason == "finished"


@pytest.mark.parametrize("args", ["null", "[]", "none", '{"why": "done"}'])
async def test_a_model_finishes_whatever_arguments_it_gives_for_it(args: str) -> None:
    end = fields(next_thought="t", next_tool_name="finish", next_tool_args=args)
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([end, ANSWER]))
    chunks = await ran(runtime, await made(runtime))
    assert chunks[-1].result.stop_reason == "finished"


@pytest.mark.parametrize(
    "bad",
    [fields(reasoning="So.", Answer="many"), "It is 23.", fields(reasoning="So."), fields(reasoning="So.", Answer="")],
    ids=["wrong type", "prose", "missing", "empty"],
)
async def test_an_answer_that_cannot_be_read_is_mended(bad: str) -> None:
    lm = ScriptedLM([FOUND, FINISH, bad, bad, fields(reasoning="So.", Answer="23")])
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    chunks = await ran(runtime, await made(runtime, "Question -> Answer: int"))
    result = chunks[-1].result
    assert (result.stop_reason, dict(result.final_answer)) == ("finished", {"Answer": 23})
    assert "ModelAnswerError: the model's answer could not be read: it needs the fields reasoning, Answer" in (
        lm.prompts[-1].user
    )


async def test_an_answer_without_its_reasoning_is_read() -> None:
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([FINISH, fields(Answer="23")]))
    chunks = await ran(runtime, await made(runtime))
    assert dict(chunks[-1].result.final_answer) == {"Answer": "23"}


async def test_an_answer_that_is_never_read_ends_the_run_with_an_error_within_its_steps() -> None:
    def answer(prompt: Prompt) -> str:
        return FINISH if "next_tool_name" in prompt.system else "It is 23."

    lm = ScriptedLM(answer)
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    chunks = await ran(runtime, await made(runtime, max_iters=3))
    assert kinds(chunks)[-1] == "error"
    assert chunks[-1].error.type == "ModelAnswerError"
    assert "It is 23." in chunks[-1].error.message
    # One step, and the answer, then again for each step that was left; each in both forms.
    assert len(lm.prompts) == 1 + 2 * 3


async def test_an_answer_that_is_never_read_is_not_asked_for_without_end() -> None:
    def answer(prompt: Prompt) -> str:
        return FINISH if "next_tool_name" in prompt.system else "It is 23."

    lm = ScriptedLM(answer)
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    assert kinds(await ran(runtime, await made(runtime, max_iters=50)))[-1] == "error"
    assert len(lm.prompts) == 1 + 2 * 4
