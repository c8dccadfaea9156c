"""The agent runtime: what a run sends, what becomes of errors, and when it stops."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import dspy
import pytest
from google.protobuf.json_format import MessageToDict

from grpc_tool_bridge.agents import runtime as runtime_module
from grpc_tool_bridge.agents.run import Run
from grpc_tool_bridge.errors import (
    CallCancelledError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Failure, Held, fields, step
from support.patience import PATIENCE
from unit.agents.fakes import (
    FakeSession,
    calculate,
    chunks_of,
    execution,
    kinds,
    made,
    output_of,
    ran,
    runtime_of,
)

ONE_STEP = ["thought", "action", "observation"]
ANSWER = fields(reasoning="It is so.", Answer="4")
FINISH = step("I know it.", "finish")


def count(upto: int) -> Iterator[int]:
    """Counts."""
    yield from range(upto)


def fails(value: int) -> int:
    """Fails."""
    raise KeyError(f"no {value}")


async def runs_of(lm: ScriptedLM, *functions: Any, **options: Any) -> tuple[FakeSession, list[pb.AgentExecutionChunk]]:
    session = FakeSession(*(functions or (calculate,)))
    runtime = runtime_of(session, lm=lm)
    return session, await ran(runtime, await made(runtime, **options))


# ---------------------------------------------------------------------------------------------------- what is sent


async def test_each_step_is_sent_as_thought_action_and_observation_then_one_result() -> None:
    session, chunks = await runs_of(ScriptedLM())
    assert kinds(chunks) == [*ONE_STEP, *ONE_STEP, "result"]
    assert [chunk.sequence for chunk in chunks] == list(range(7))
    assert {chunk.run_id for chunk in chunks} == {"r"}
    assert len({chunk.agent_id for chunk in chunks}) == 1
    assert [chunks[1].action.tool_name, chunks[4].action.tool_name] == ["calculate", "finish"]
    assert dict(chunks[1].action.tool_input) == {"expression": "2 + 2"}
    assert output_of(chunks[2]) == 4
    assert [chunks[0].thought.step, chunks[1].action.step, chunks[2].observation.step] == [1, 1, 1]
    assert chunks[5].observation.step == 2
    assert session.calls == [("calculate", {"expression": "2 + 2"})]
    result = chunks[-1].result
    assert dict(result.final_answer) == {"Answer": "4"}
    assert (result.stop_reason, result.total_steps, list(result.steps)) == ("finished", 2, [])


async def test_chunks_come_as_they_happen() -> None:
    held = Held(FINISH)
    session = FakeSession(calculate)
    answers: list[str | Held] = [step("Count.", "calculate", expression="1+2"), held, ANSWER]
    runtime = runtime_of(session, lm=ScriptedLM(answers))
    request = execution(await made(runtime))
    async with asyncio.timeout(PATIENCE), aclosing(runtime.execute_agent(request)) as chunks:
        seen = [await anext(chunks) for _ in range(3)]
        assert kinds(seen) == ONE_STEP
        assert not held.released
        held.release()
        assert kinds([chunk async for chunk in chunks]) == [*ONE_STEP, "result"]


async def test_question_reaches_the_prompt_of_a_signature_that_writes_it_otherwise() -> None:
    lm = ScriptedLM()
    await runs_of(lm)
    assert "[[ ## Question ## ]]\nWhat is 2 + 2?" in lm.prompts[0].user
    assert all("What is 2 + 2?" in prompt.user for prompt in lm.prompts)


async def test_the_prompt_tells_name_description_and_arguments_of_each_tool() -> None:
    lm = ScriptedLM()
    await runs_of(lm)
    system = lm.prompts[0].system
    assert "calculate" in system
    assert "Works out a sum." in system
    assert "'expression'" in system
    assert "Such as 2 + 2." in system


async def test_instructions_reach_the_prompt() -> None:
    lm = ScriptedLM()
    await runs_of(lm, signature="Question -> Answer\nAnswer like a pirate.")
    assert "Answer like a pirate." in lm.prompts[0].system


async def test_outputs_have_the_types_of_the_signature() -> None:
    answers = [FINISH, fields(reasoning="r", total="4", ratio="0.5", parts='["2", "2"]')]
    _, chunks = await runs_of(ScriptedLM(answers), signature="question -> total: int, ratio: float, parts: list[str]")
    answer = MessageToDict(chunks[-1].result.final_answer)
    assert answer == {"total": 4, "ratio": 0.5, "parts": ["2", "2"]}


async def test_only_the_result_is_sent_where_the_steps_are_not_asked_for() -> None:
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM())
    chunks = await chunks_of(runtime, execution(await made(runtime), stream=False))
    assert kinds(chunks) == ["result"]
    assert chunks[0].sequence == 0


async def test_an_error_is_sent_also_where_the_steps_are_not_asked_for() -> None:
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([Failure()]))
    chunks = await chunks_of(runtime, execution(await made(runtime), stream=False))
    assert (kinds(chunks), chunks[0].sequence) == (["error"], 0)


async def test_the_result_lists_the_steps_where_they_are_asked_for() -> None:
    _, chunks = await runs_of(ScriptedLM(), intermediate_steps=True)
    first, last = chunks[-1].result.steps
    assert first.action == 'calculate({"expression":"2 + 2"})'
    assert first.observation == "4"
    assert last.thought == "I know enough to answer."


async def test_observations_tell_time_and_tokens() -> None:
    _, chunks = await runs_of(ScriptedLM())
    metrics = [chunk.observation.metrics for chunk in chunks if chunk.HasField("observation")]
    assert metrics[0].duration_ms >= 1
    assert 0 < metrics[0].custom_metrics["prompt_tokens"] < metrics[1].custom_metrics["prompt_tokens"]


async def test_tools_are_called_in_the_session_and_for_the_call_that_the_run_belongs_to() -> None:
    session = FakeSession(calculate)
    runtime = runtime_of(session, lm=ScriptedLM())
    deadline = time.monotonic() + 60
    origin = object()
    await chunks_of(runtime, execution(await made(runtime)), context=RequestContext(deadline=deadline, parent=origin))
    assert session.opened == [("s", origin, deadline)]


async def test_a_tool_is_called_by_its_id() -> None:
    session = FakeSession(calculate)
    session.specs[0].tool_id = "calculate-7"
    runtime = runtime_of(session, lm=ScriptedLM())
    chunks = await ran(runtime, await made(runtime))
    assert session.calls == [("calculate-7", {"expression": "2 + 2"})]
    assert output_of(chunks[2]) == 4


# ------------------------------------------------------------------------------------------------------- its tools


async def test_an_error_of_a_tool_is_an_observation_without_a_traceback_in_the_prompt() -> None:
    lm = ScriptedLM([step("Try.", "fails", value=7), FINISH, ANSWER])
    _, chunks = await runs_of(lm, fails)
    observation = chunks[2].observation
    assert output_of(chunks[2]) == "Execution error in fails: KeyError: 'no 7'"
    assert (observation.error.type, observation.error.message) == ("KeyError", "'no 7'")
    assert observation.error.details["origin"] == "tool"
    assert "Execution error in fails: KeyError: 'no 7'" in lm.prompts[1].user
    assert "Traceback" not in lm.prompts[1].text
    assert chunks[-1].result.stop_reason == "finished"


async def test_an_error_that_names_its_tool_does_not_name_it_twice() -> None:
    def named(value: int) -> None:
        """Fails."""
        raise ValueError(f"named: no {value}")

    _, chunks = await runs_of(ScriptedLM([step("Try.", "named", value=7), FINISH, ANSWER]), named)
    assert output_of(chunks[2]) == "Execution error in named: ValueError: no 7"


async def test_a_long_error_of_a_tool_is_cut_for_the_model() -> None:
    def long() -> None:
        """Complains."""
        raise ValueError("x" * 5_000)

    lm = ScriptedLM([step("Ask.", "long"), FINISH, ANSWER])
    runtime = runtime_of(FakeSession(long), lm=lm, max_observation_chars=1_000)
    await ran(runtime, await made(runtime))
    assert "more characters" in lm.prompts[1].user
    assert "x" * 1_001 not in lm.prompts[1].user


async def test_a_tool_that_the_model_invents_is_an_observation_that_says_which_there_are() -> None:
    lm = ScriptedLM([step("Try.", "calculator", expression="1"), FINISH, ANSWER])
    session, chunks = await runs_of(lm)
    assert chunks[1].action.tool_name == "calculator"
    assert chunks[2].observation.error.type == "ToolNotFound"
    assert "calculate, finish" in output_of(chunks[2])
    assert session.calls == []
    assert len(lm.prompts) == 3


async def test_a_streaming_tool_is_read_to_its_end() -> None:
    _, chunks = await runs_of(ScriptedLM([step("Count.", "count", upto=3), FINISH, ANSWER]), count)
    assert output_of(chunks[2]) == [0, 1, 2]


async def test_a_value_keeps_its_type_for_the_reader_and_is_text_for_the_model() -> None:
    def facts() -> dict[str, Any]:
        """Tells."""
        return {"b": (1, 2), "a": "ü"}

    lm = ScriptedLM([step("Ask.", "facts"), FINISH, ANSWER])
    _, chunks = await runs_of(lm, facts)
    assert output_of(chunks[2]) == {"b": (1, 2), "a": "ü"}
    assert '{"b":[1,2],"a":"ü"}' in lm.prompts[1].user


async def test_a_long_result_is_cut_for_the_model_only() -> None:
    def long() -> str:
        """Talks."""
        return "x" * 5_000

    lm = ScriptedLM([step("Ask.", "long"), FINISH, ANSWER])
    session = FakeSession(long)
    runtime = runtime_of(session, lm=lm, max_observation_chars=1_000)
    chunks = await ran(runtime, await made(runtime))
    assert len(output_of(chunks[2])) == 5_000
    assert "4,000 more characters" in lm.prompts[1].user
    assert "x" * 1_001 not in lm.prompts[1].user


async def test_an_agent_is_told_of_the_tools_that_are_named_and_no_others() -> None:
    lm = ScriptedLM()
    await runs_of(lm, calculate, fails, tool_names=("calculate",))
    assert "fails" not in lm.prompts[0].system


async def test_tools_that_the_session_lacks_end_the_run_by_name() -> None:
    _, chunks = await runs_of(ScriptedLM(), tool_names=("calculat", "search"))
    assert kinds(chunks) == ["error"]
    assert chunks[0].error.type == "ToolNotFound"
    assert "calculat, search" in chunks[0].error.message
    assert "calculate?" in chunks[0].error.message


async def test_a_tool_that_is_called_as_dspys_own_is_refused() -> None:
    def finish() -> str:
        """Ends."""
        return ""

    _, chunks = await runs_of(ScriptedLM(), finish)
    assert (kinds(chunks), chunks[0].error.type) == (["error"], "ValidationError")
    assert "finish" in chunks[0].error.message
    # Not among those that the agent is given, it is in nobody's way.
    _, chunks = await runs_of(ScriptedLM(), finish, calculate, tool_names=("calculate",))
    assert chunks[-1].result.stop_reason == "finished"


async def test_arguments_that_no_message_can_hold_are_sent_as_far_as_they_can() -> None:
    deep: Any = "end"
    for _ in range(60):
        deep = [deep]
    lm = ScriptedLM([step("Try.", "calculate", expression="\ud800", deep=deep, big=10**400), FINISH, ANSWER])
    _, chunks = await runs_of(lm)
    sent = pb.AgentExecutionChunk.FromString(chunks[1].SerializeToString())
    assert sent.action.tool_input["expression"] == "?"
    assert sent.action.tool_input["big"] == str(10**400)
    assert kinds(chunks)[-1] == "result"


# --------------------------------------------------------------------------------------------- errors of the model


async def test_an_answer_in_json_is_asked_for_where_the_first_cannot_be_read() -> None:
    json_step = '{"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}'
    lm = ScriptedLM(["I do as I please.", json_step, ANSWER])
    _, chunks = await runs_of(lm)
    assert chunks[-1].result.stop_reason == "finished"
    assert "JSON object" in lm.prompts[1].user


async def test_answers_that_cannot_be_read_end_the_run_with_what_they_were() -> None:
    _, chunks = await runs_of(ScriptedLM(["I do as I please.", "Still.", "Never.", "No."]), max_iters=1)
    assert kinds(chunks) == ["thought", "observation", "error"]
    assert "next_tool_name" in output_of(chunks[1])
    assert "Still." in output_of(chunks[1])
    error = chunks[-1].error
    assert (error.type, error.retryable) == ("ModelAnswerError", False)
    assert "Answer" in error.message
    assert "No." in error.message


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (500, "LMServerError", True),
        (429, "LMRateLimitError", True),
        (400, "LMInvalidRequestError", False),
    ],
)
async def test_an_error_of_the_model_ends_the_run_and_says_whether_to_try_again(
    status: int, kind: str, retryable: bool
) -> None:
    _, chunks = await runs_of(ScriptedLM([step("t", "calculate", expression="1+1"), Failure(status, "not today")]))
    assert kinds(chunks) == [*ONE_STEP, "error"]
    error = chunks[-1].error
    assert (error.type, error.details["class"], error.retryable) == ("ModelError", kind, retryable)
    assert "not today" in error.message
    assert chunks[-1].sequence == 3


async def test_a_fault_of_the_runtime_tells_no_more_than_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeSession):
        async def tools(self) -> list[pb.ToolSpec]:
            raise RuntimeError("a secret of the inside")

    with caplog.at_level(logging.ERROR):
        runtime = runtime_of(Broken(calculate), lm=ScriptedLM())
        chunks = await ran(runtime, await made(runtime))
    assert kinds(chunks) == ["error"]
    error = chunks[0].error
    assert error.type == "InternalError"
    assert error.details["error_id"] in caplog.text
    assert "a secret of the inside" in caplog.text
    assert "secret" not in str(error)


# ----------------------------------------------------------------------------------------------------------- limits


async def test_an_agent_out_of_steps_says_so_and_what_it_knows() -> None:
    answers = [step("More.", "calculate", expression=f"{n}+0") for n in range(2)]
    _, chunks = await runs_of(ScriptedLM([*answers, ANSWER]), max_iters=2)
    assert kinds(chunks) == [*ONE_STEP, *ONE_STEP, "result"]
    result = chunks[-1].result
    assert (result.stop_reason, result.total_steps, result.final_answer["Answer"]) == ("max_iters", 2, "4")


async def test_an_agent_whose_steps_are_not_said_has_five() -> None:
    answers = [step("More.", "calculate", expression=f"{n}+0") for n in range(5)]
    _, chunks = await runs_of(ScriptedLM([*answers, ANSWER]), max_iters=0)
    assert (chunks[-1].result.stop_reason, chunks[-1].result.total_steps) == ("max_iters", 5)


async def test_a_tool_that_hangs_is_ended_with_the_time_of_the_run() -> None:
    async def hangs() -> None:
        """Hangs."""
        await asyncio.Event().wait()

    session = FakeSession(hangs)
    runtime = runtime_of(session, lm=ScriptedLM([step("Wait.", "hangs")]))
    chunks = await chunks_of(runtime, execution(await made(runtime), timeout_ms=300))
    assert kinds(chunks) == ["thought", "action", "result"]
    result = chunks[-1].result
    assert (result.stop_reason, result.total_steps, dict(result.final_answer)) == ("time", 1, {})
    assert session.cancelled == ["hangs"]


async def test_a_model_that_hangs_is_ended_with_the_deadline() -> None:
    held = Held()
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([held]))
    chunks = await chunks_of(
        runtime, execution(await made(runtime)), context=RequestContext(deadline=time.monotonic() + 0.2)
    )
    assert (kinds(chunks), chunks[0].result.stop_reason) == (["result"], "time")
    await held.given_up()


async def test_a_run_without_a_time_of_its_own_has_that_of_the_runtime() -> None:
    held = Held()
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([held]), run_timeout=0.5)
    chunks = await ran(runtime, await made(runtime))
    assert (kinds(chunks), chunks[0].result.stop_reason) == (["result"], "time")
    await held.given_up()


async def test_tools_that_do_not_come_are_waited_for_no_longer_than_the_run_may_take() -> None:
    class Silent(FakeSession):
        async def tools(self) -> list[pb.ToolSpec]:
            await asyncio.Event().wait()
            raise AssertionError

    runtime = runtime_of(Silent(calculate), lm=ScriptedLM())
    chunks = await chunks_of(runtime, execution(await made(runtime), timeout_ms=100))
    assert (kinds(chunks), chunks[0].result.stop_reason) == (["result"], "time")


async def test_a_last_answer_that_hangs_is_ended_with_the_time_of_the_run() -> None:
    held = Held()
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([FINISH, held]))
    chunks = await chunks_of(runtime, execution(await made(runtime), timeout_ms=1_000))
    assert (kinds(chunks)[-1], chunks[-1].result.stop_reason) == ("result", "time")
    await held.given_up()


async def test_a_time_out_of_somebody_else_is_not_the_end_of_the_runs_time() -> None:
    class Late(FakeSession):
        async def tools(self) -> list[pb.ToolSpec]:
            raise TimeoutError

    runtime = runtime_of(Late(calculate), lm=ScriptedLM())
    chunks = await ran(runtime, await made(runtime))
    assert (kinds(chunks), chunks[0].error.type) == (["error"], "InternalError")


async def test_no_more_than_a_second_of_a_runs_time_is_kept_for_the_way_of_its_result() -> None:
    session = FakeSession(calculate)
    runtime = runtime_of(session, lm=ScriptedLM())
    agent = runtime._agents[await made(runtime)]
    # The clock of the event loop is the monotonic one.
    ends = time.monotonic() + 1_000
    run = Run(agent, session, {}, run_id="r", ends=ends, observation_chars=1)
    assert ends - 1 <= run._ends < ends


async def test_a_run_may_use_the_tokens_that_it_has_and_no_more() -> None:
    answers = [step("More.", "calculate", expression="1+1"), FINISH, ANSWER]
    _, chunks = await runs_of(ScriptedLM(answers))
    used = chunks[2].observation.metrics.custom_metrics
    both = int(used["prompt_tokens"] + used["completion_tokens"])
    # The step that goes beyond the limit is the last.
    for limit, asked in ((both, 1), (both + 1, 2)):
        lm = ScriptedLM(answers)
        _, chunks = await runs_of(lm, max_total_tokens=limit)
        assert (len(lm.prompts), chunks[-1].result.stop_reason) == (asked, "tokens")


async def test_a_run_out_of_tokens_asks_the_model_no_more() -> None:
    lm = ScriptedLM([step("More.", "calculate", expression="1+1")] * 5)
    _, chunks = await runs_of(lm, max_total_tokens=10)
    assert kinds(chunks) == [*ONE_STEP, "result"]
    assert (chunks[-1].result.stop_reason, dict(chunks[-1].result.final_answer)) == ("tokens", {})
    assert len(lm.prompts) == 1


async def test_the_runtimes_limit_of_tokens_holds_where_an_agents_is_higher() -> None:
    lm = ScriptedLM([FINISH] * 2)
    runtime = runtime_of(FakeSession(calculate), lm=lm, max_total_tokens=10)
    chunks = await ran(runtime, await made(runtime, max_total_tokens=1_000_000))
    assert chunks[-1].result.stop_reason == "tokens"


async def test_more_runs_than_allowed_are_refused_until_one_ends() -> None:
    held = Held(FINISH)
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([held, ANSWER, FINISH, ANSWER]), max_runs=1)
    agent = await made(runtime)
    first = asyncio.create_task(ran(runtime, agent))
    await held.asked()
    with pytest.raises(ResourceExhaustedError, match="1 runs") as caught:
        await ran(runtime, agent)
    assert caught.value.retry_after == 1
    held.release()
    assert kinds(await first)[-1] == "result"
    assert not runtime._runs
    assert kinds(await ran(runtime, agent))[-1] == "result"


@pytest.mark.parametrize("max_iters", [-1, 101])
async def test_a_number_of_steps_beyond_the_limit_is_refused(max_iters: int) -> None:
    with pytest.raises(ValidationError, match="max_iters"):
        await made(runtime_of(FakeSession(), lm=ScriptedLM()), max_iters=max_iters)


# ----------------------------------------------------------------------------------------------------- cancellation


async def test_cancelling_the_reader_ends_the_call_of_the_model() -> None:
    held = Held()
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM([held]))
    run = asyncio.create_task(ran(runtime, await made(runtime)))
    await held.asked()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await held.given_up()
    assert not runtime._runs


async def test_cancelling_the_reader_ends_the_tool() -> None:
    began = asyncio.Event()

    async def hangs() -> None:
        """Hangs."""
        began.set()
        await asyncio.Event().wait()

    session = FakeSession(hangs)
    runtime = runtime_of(session, lm=ScriptedLM([step("Wait.", "hangs")]))
    run = asyncio.create_task(ran(runtime, await made(runtime)))
    async with asyncio.timeout(PATIENCE):
        await began.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert session.cancelled == ["hangs"]


async def test_closing_the_stream_between_chunks_ends_the_run() -> None:
    lm = ScriptedLM()
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    chunks = runtime.execute_agent(execution(await made(runtime)))
    await anext(chunks)
    await chunks.aclose()
    assert (len(runtime._runs), len(lm.prompts)) == (0, 1)


# ------------------------------------------------------------------------------------------------- agents and runs


async def test_fifty_agents_at_once_keep_to_themselves() -> None:
    lm = ScriptedLM()
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    agent = await made(runtime)
    async with asyncio.timeout(PATIENCE):
        runs = await asyncio.gather(*(ran(runtime, agent, question=f"What is {n} + {n}?") for n in range(50)))
    assert [chunks[-1].result.final_answer["Answer"] for chunks in runs] == [str(2 * n) for n in range(50)]
    assert [chunks[-1].sequence for chunks in runs] == [6] * 50


async def test_nothing_of_a_run_stays_in_dspy() -> None:
    from dspy.clients.base_lm import GLOBAL_HISTORY

    # Other users of dspy in this process may have left something.
    before = (len(dspy.settings.trace), len(GLOBAL_HISTORY))
    lm = ScriptedLM()
    await runs_of(lm)

    assert lm.history == []
    assert (len(dspy.settings.trace), len(GLOBAL_HISTORY)) == before
    assert dspy.settings.lm is None


async def test_the_same_definition_is_the_same_agent_in_every_session() -> None:
    runtime = runtime_of(FakeSession(), lm=ScriptedLM())
    first = pb.CreateReActAgentRequest(session_id="a", signature="Question -> Answer")
    second = pb.CreateReActAgentRequest(session_id="b", signature="Question -> Answer")
    other = pb.CreateReActAgentRequest(session_id="a", signature="Question -> Other")
    ids = [(await runtime.create_react_agent(request)).agent_id for request in (first, second, other)]
    assert ids[0] == ids[1] != ids[2]


async def test_an_agent_that_is_not_known_is_told_apart_so_that_it_can_be_made_again() -> None:
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM(), max_agents=1)
    first = await made(runtime)
    await made(runtime, "Question -> Other")
    with pytest.raises(NotFoundError) as caught:
        await ran(runtime, first)
    assert caught.value.error_type == "AgentNotFound"
    assert kinds(await ran(runtime, await made(runtime)))[-1] == "result"


@pytest.mark.parametrize("again", [made, ran], ids=["made", "run"])
async def test_the_agent_that_was_not_used_for_longest_gives_way(again: Any) -> None:
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM(), max_agents=2)
    first, second = await made(runtime), await made(runtime, "Question -> Other")
    await (made(runtime) if again is made else ran(runtime, first))
    await made(runtime, "Question -> Third")
    assert kinds(await ran(runtime, first))[-1] == "result"
    with pytest.raises(NotFoundError):
        await ran(runtime, second)


async def test_inputs_that_do_not_fit_are_refused_by_name_before_the_model_is_asked() -> None:
    lm = ScriptedLM()
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    with pytest.raises(ValidationError) as caught:
        await ran(runtime, await made(runtime), querstion="What?")
    assert set(caught.value.details) == {"querstion", "Question"}
    assert lm.prompts == []
    assert not runtime._runs


async def test_large_inputs_are_read_as_small_ones_are() -> None:
    lm = ScriptedLM([FINISH, ANSWER])
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    agent_id = await made(runtime, "Question, rows: list[int] -> Answer")
    request = execution(agent_id, question="how many?", rows=list(range(20_000)))
    assert (await chunks_of(runtime, request))[-1].result.stop_reason == "finished"
    assert "19998, 19999]" in lm.prompts[0].user
    with pytest.raises(ValidationError, match=r"rows \(20,000 values in it"):
        await chunks_of(runtime, execution(agent_id, question="how many?", rows=["x"] * 20_000))


async def test_a_runtime_that_was_closed_refuses_runs() -> None:
    runtime = runtime_of(FakeSession(calculate), lm=ScriptedLM())
    agent = await made(runtime)
    await runtime.aclose()
    with pytest.raises(UnavailableError):
        await ran(runtime, agent)


async def test_wrong_definitions_are_refused_when_the_agent_is_made() -> None:
    runtime = runtime_of(FakeSession(), lm=ScriptedLM())
    wrongs: list[dict[str, Any]] = [{"signature": "no arrow"}, {"api_key": "k"}, {"temperature": "hot"}]
    for wrong in wrongs:
        with pytest.raises(ToolBridgeError) as caught:
            await made(runtime, **wrong)
        assert caught.value.error_type == "ValidationError"


async def test_an_agent_that_is_made_while_the_runtime_ends_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtime_of(FakeSession(calculate), model="openai/small")
    loop, loading, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def load(_: Any) -> None:
        loop.call_soon_threadsafe(loading.set)
        assert go_on.wait(PATIENCE)

    monkeypatch.setattr(runtime_module, "load_engine", load)
    making = asyncio.create_task(made(runtime))
    async with asyncio.timeout(PATIENCE):
        await loading.wait()
    await runtime.aclose()
    go_on.set()
    with pytest.raises(UnavailableError, match="shutting down"):
        await making
    assert not runtime._agents


async def test_an_agent_that_is_made_twice_at_once_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []

    async def close(lm: Any) -> None:
        closed.append(lm)

    monkeypatch.setattr(dspy.LM, "aclose", close)
    # Both are being made before either is there.
    barrier = threading.Barrier(2, timeout=PATIENCE)
    monkeypatch.setattr(runtime_module, "load_engine", lambda _: barrier.wait())
    runtime = runtime_of(FakeSession(calculate), model="openai/small")
    first, second = await asyncio.gather(made(runtime), made(runtime))
    assert first == second
    assert (len(runtime._agents), len(closed)) == (1, 1)
    await runtime.aclose()
    assert len(set(map(id, closed))) == 2


async def test_a_run_that_is_cancelled_between_its_steps_takes_no_other() -> None:
    lm = ScriptedLM([step("One.", "calculate", expression="1+1")] * 5)
    runtime = runtime_of(FakeSession(calculate), lm=lm)
    async with aclosing(runtime.execute_agent(execution(await made(runtime)))) as chunks:
        assert [str((await anext(chunks)).WhichOneof("content")) for _ in range(3)] == ONE_STEP
        runtime.cancel_all(CallCancelledError("the worker leaves"))
        runtime.cancel_all(CallCancelledError("it said so before"))
        last = await anext(chunks)
        assert (last.error.type, last.error.message) == ("Cancelled", "the worker leaves")
        assert [chunk async for chunk in chunks] == []
    assert len(lm.prompts) == 1
