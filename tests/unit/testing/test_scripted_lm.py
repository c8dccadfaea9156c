"""The model that answers from a script, as DSPy programs see it."""

import asyncio

import dspy
import pytest
from dspy.utils.exceptions import LMInvalidRequestError, LMRateLimitError, LMServerError

from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Failure, Held, Prompt, fields
from support.patience import PATIENCE

ASK = dspy.Predict("question -> answer")


def test_answers_come_in_order_and_prompts_are_kept() -> None:
    lm = ScriptedLM([fields(answer="one"), fields(answer="two")])
    with dspy.context(lm=lm):
        assert [ASK(question=text).answer for text in ("first?", "second?")] == ["one", "two"]
    assert "first?" in lm.prompts[0].user
    assert "second?" in lm.prompts[1].user


def test_a_function_answers_what_it_is_asked() -> None:
    def shout(prompt: Prompt) -> str:
        return fields(answer="YES" if "really?" in prompt.user else "no")

    with dspy.context(lm=ScriptedLM(shout)):
        assert ASK(question="really?").answer == "YES"


def test_without_answers_it_does_sums() -> None:
    with dspy.context(lm=ScriptedLM()):
        assert ASK(question="What is 2 + 3 * 4?").answer == "14"


def test_sums_are_answered_as_the_fields_want_them() -> None:
    with dspy.context(lm=ScriptedLM()):
        said = dspy.Predict("question -> numbers: list[int], right: bool, total: float")(question="What is 2 + 3?")
    assert (said.numbers, said.right, said.total) == ([5], True, 5.0)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, LMInvalidRequestError), (429, LMRateLimitError), (503, LMServerError)]
)
def test_a_failure_is_the_error_that_dspy_has_for_its_status(status: int, kind: type[Exception]) -> None:
    with dspy.context(lm=ScriptedLM([Failure(status, "not now")])), pytest.raises(kind, match="not now"):
        ASK(question="why?")


def test_a_script_that_has_ended_says_so() -> None:
    with dspy.context(lm=ScriptedLM([])), pytest.raises(LMInvalidRequestError, match="no answer 1"):
        ASK(question="why?")


async def test_a_held_answer_comes_when_it_is_released() -> None:
    held = Held(fields(answer="late"))
    with dspy.context(lm=ScriptedLM([held])):
        asking = asyncio.create_task(ASK.acall(question="when?"))
        await held.asked()
        assert not asking.done()
        held.release()
        assert (await asyncio.wait_for(asking, PATIENCE)).answer == "late"


async def test_a_held_answer_tells_that_nobody_waits_any_more() -> None:
    held = Held()
    with dspy.context(lm=ScriptedLM([held])):
        asking = asyncio.create_task(ASK.acall(question="when?"))
        await held.asked()
        asking.cancel()
        await held.given_up()
        with pytest.raises(asyncio.CancelledError):
            await asking
