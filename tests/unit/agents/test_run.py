"""What one run may hold: results of tools, lists of steps, tokens that nobody counts."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing import ModelServer, ScriptedLM
from grpc_tool_bridge.testing import model_server as module
from grpc_tool_bridge.testing.model_script import Prompt, fields, step
from unit.agents.fakes import FakeSession, calculate, chunks_of, execution, made, output_of, ran, runtime_of

ANSWER = fields(reasoning="It is so.", Answer="4")
FINISH = step("I know it.", "finish")
MESSAGE = 10 * 1024 * 1024


class Endless:
    """A tool that yields for ever, and counts what it was asked for."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.made = 0
        self.closed = False

    def forever(self) -> Iterator[Any]:
        """Yields."""
        try:
            while True:
                self.made += 1
                yield self.value
        finally:
            self.closed = True


@pytest.mark.parametrize(("value", "most"), [("x" * 100_000, 12), (1, 10_002)], ids=["bytes", "values"])
async def test_a_stream_without_end_is_ended_and_the_agent_is_told(value: Any, most: int) -> None:
    tool = Endless(value)
    runtime = runtime_of(FakeSession(tool.forever), lm=ScriptedLM([step("I look.", "forever"), FINISH, ANSWER]))
    chunks = await ran(runtime, await made(runtime))
    assert chunks[2].observation.error.type == "ResourceExhausted"
    assert "its stream was stopped after" in output_of(chunks[2])
    assert chunks[-1].result.stop_reason == "finished"
    assert tool.closed
    assert tool.made <= most


def big(size: int) -> str:
    """Makes a text."""
    return "x" * size


@pytest.mark.parametrize("size", [2_000_000, MESSAGE - 200])
async def test_a_large_result_is_its_text_as_the_model_sees_it_and_the_run_goes_on(size: int) -> None:
    runtime = runtime_of(FakeSession(big), lm=ScriptedLM([step("I look.", "big", size=size), FINISH, ANSWER]))
    chunks = await ran(runtime, await made(runtime))
    assert output_of(chunks[2]) == f"{'x' * 20_000}… ({size - 20_000:,} more characters)"
    assert chunks[-1].result.stop_reason == "finished"


async def test_a_list_of_many_long_steps_fits_in_a_message() -> None:
    def answer(prompt: Prompt) -> str:
        if "next_tool_name" in prompt.system:
            return step("é" * 60_000, "big", size=20_000, note="é" * 30_000)
        return ANSWER

    runtime = runtime_of(FakeSession(big), lm=ScriptedLM(answer))
    chunks = await ran(runtime, await made(runtime, max_iters=60, intermediate_steps=True))
    steps = chunks[-1].result.steps
    assert len(steps) == 60
    assert all(part.startswith("é") for part in (steps[0].thought, steps[-1].thought))
    assert "more characters" in steps[0].action
    assert chunks[-1].ByteSize() < MESSAGE


@pytest.mark.parametrize("verbose", [True, False])
async def test_the_steps_of_a_verbose_agent_are_logged_a_line_each_without_keys(
    verbose: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "zebra.of.the.environment")
    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    answers = [step("I think of zebra.of.the.environment,\nthen look.", "big", size=3), FINISH, ANSWER]
    runtime = runtime_of(FakeSession(big), lm=ScriptedLM(answers))
    await ran(runtime, await made(runtime, verbose=verbose))
    lines = [record.getMessage() for record in caplog.records]
    logged = ['run r, step 1: I think of ***, then look. | big({"size":3}) | xxx']
    assert lines == ([*logged, "run r, step 2: I know it. | finish({}) | Completed."] if verbose else [])


async def test_half_a_character_in_an_answer_is_replaced() -> None:
    lm = ScriptedLM([FINISH, fields(reasoning="So.", Answer='{"a": "\\ud800", "\\udc00": [1]}')])
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    chunks = await ran(runtime, await made(runtime, "Question -> Answer: dict"))
    answer = chunks[-1].result.final_answer.fields["Answer"].struct_value
    assert answer.fields["a"].string_value == "?"
    assert answer.fields["?"].list_value.values[0].number_value == 1


async def test_tokens_that_a_server_does_not_count_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_completion", without_usage(module._completion))
    chunks = await counted(monkeypatch, max_total_tokens=100)
    assert chunks[-1].result.stop_reason == "tokens"
    metrics = chunks[2].observation.metrics.custom_metrics
    # A prompt of some thousand characters.
    assert 200 < metrics["prompt_tokens"] < 2_000
    assert 0 < metrics["completion_tokens"] < 100


@pytest.mark.parametrize("count", [-1_000_000, 10**400, "many", None])
async def test_tokens_that_cannot_be_are_not_counted(monkeypatch: pytest.MonkeyPatch, count: Any) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 7, "total_tokens": 7}
    monkeypatch.setattr(module, "_completion", without_usage(module._completion, usage=usage))
    chunks = await counted(monkeypatch)
    assert chunks[-1].WhichOneof("content") in ("result", "error")
    assert chunks[-1].error.type in ("", "ModelError"), chunks[-1].error


def without_usage(completion: Any, **more: Any) -> Any:
    def made(*args: Any) -> dict[str, Any]:
        body: dict[str, Any] = completion(*args)
        del body["usage"]
        return {**body, **more}

    return made


async def counted(monkeypatch: pytest.MonkeyPatch, **llm_config: Any) -> list[pb.AgentExecutionChunk]:
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-the-test")
    with ModelServer() as model:
        runtime = runtime_of(FakeSession(calculate), model="openai/x", api_base=model.url)
        agent_id = await made(runtime, num_retries=0, **llm_config)
        chunks = await chunks_of(runtime, execution(agent_id))
        await runtime.aclose()
    return chunks
