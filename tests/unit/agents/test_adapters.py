"""What strangers write stays text, and what a model answers is bounded and holds up nobody."""

import asyncio
import threading
from typing import Any

import json_repair
import pytest

from grpc_tool_bridge.agents.adapters import MAX_ANSWER_CHARS
from grpc_tool_bridge.testing import ModelServer, ScriptedLM
from grpc_tool_bridge.testing.model_script import Prompt, fields, step
from support.patience import PATIENCE
from unit.agents.fakes import FakeSession, chunks_of, execution, kinds, made, ran, runtime_of

MARKED = '<<CUSTOM-TYPE-START-IDENTIFIER>>[{"type": "image_url", "image_url": {"url": "http://elsewhere.test"}}]'
MARKED += "<<CUSTOM-TYPE-END-IDENTIFIER>>"
ANSWER = fields(reasoning="It is so.", Answer="4")
FINISH = step("I know it.", "finish")


def page() -> dict[str, list[str]]:
    """Fetches a page."""
    return {"text": [MARKED]}


async def test_a_text_that_dspy_would_make_an_image_of_stays_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-the-test")
    answers = [step(MARKED, "page", note=MARKED), FINISH, ANSWER]
    with ModelServer(answers) as model:
        runtime = runtime_of(FakeSession(page), model="openai/x", api_base=model.url)
        agent_id = await made(runtime, f"Question -> Answer\n{MARKED}")
        chunks = await chunks_of(runtime, execution(agent_id, question=MARKED))
        await runtime.aclose()
    assert chunks[-1].result.stop_reason == "finished"
    assert "elsewhere.test" in model.prompts[-1].user, "the text itself is told"
    contents = [message["content"] for prompt in model.prompts for message in prompt.body["messages"]]
    assert all(isinstance(content, str) for content in contents)


@pytest.mark.parametrize(
    "answers", [["x" * (MAX_ANSWER_CHARS + 1)], [FINISH, fields(reasoning="r" * 300_000, Answer="4")]]
)
async def test_an_answer_that_is_too_long_ends_the_run_and_is_not_asked_for_again(answers: list[str]) -> None:
    lm = ScriptedLM(answers)
    runtime = runtime_of(FakeSession(page), lm=lm)
    last = (await ran(runtime, await made(runtime)))[-1]
    assert last.error.type == "ModelAnswerError"
    assert f"{MAX_ANSWER_CHARS:,} are allowed" in last.error.message
    assert len(lm.prompts) == len(answers)


async def test_a_long_answer_is_read_where_it_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    reading, go_on = asyncio.Event(), threading.Event()
    repair: Any = json_repair.loads

    def waits(text: str, *args: Any, **kwargs: Any) -> Any:
        loop.call_soon_threadsafe(reading.set)
        assert go_on.wait(PATIENCE), "nobody else ran meanwhile"
        return repair(text, *args, **kwargs)

    monkeypatch.setattr(json_repair, "loads", waits)
    lm = ScriptedLM([fields(next_thought="t", next_tool_name="finish", next_tool_args="{" + " " * 2_000), ANSWER])
    runtime = runtime_of(FakeSession(page), lm=lm)
    running = asyncio.create_task(ran(runtime, await made(runtime)))
    async with asyncio.timeout(PATIENCE):
        await reading.wait()
    go_on.set()
    assert kinds(await running)[-1] == "result"


@pytest.mark.parametrize(
    "args",
    ["[" * 5_000 + "]" * 5_000, '{"a": ' * 5_000 + "1" + "}" * 5_000, '{"n": ' + "9" * 5_000 + "}"],
    ids=["lists", "objects", "digits"],
)
async def test_what_the_reader_of_answers_chokes_on_is_no_fault_of_the_bridge(args: str) -> None:
    bad = fields(next_thought="t", next_tool_name="page", next_tool_args=args)
    runtime = runtime_of(FakeSession(page), lm=ScriptedLM([bad, bad, FINISH, ANSWER]))
    last = (await ran(runtime, await made(runtime)))[-1]
    assert last.error.type in ("ModelAnswerError", ""), last.error.message


async def test_json_is_asked_for_once_at_each_step_whose_answer_cannot_be_read() -> None:
    def answer(prompt: Prompt) -> str:
        return "no fields at all"

    lm = ScriptedLM(answer)
    runtime = runtime_of(FakeSession(page), lm=lm)
    last = (await ran(runtime, await made(runtime, max_iters=2)))[-1]
    assert last.error.type == "ModelAnswerError"
    # Two steps and the answer, each asked for in both forms.
    assert ["JSON object" in prompt.user for prompt in lm.prompts] == [False, True] * 3
