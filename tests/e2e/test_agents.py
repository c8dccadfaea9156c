"""Agents from end to end: the real runtime, with DSPy's own code down to a model that answers from a script."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, ToolWorker, ValidationError
from grpc_tool_bridge.errors import CallCancelledError
from grpc_tool_bridge.testing import ModelServer, ScriptedLM
from grpc_tool_bridge.testing.model_script import Held, fields, step
from integration.connections import read
from support.patience import PATIENCE
from support.waiting import soon, until

QUESTION = {"question": "What is 2 + 2?"}


async def search_web(query: str) -> list[str]:
    """Searches the web."""
    return [f"a page about {query}"]


async def calculate(expression: str) -> int:
    """Calculates a sum."""
    return sum(int(part) for part in expression.split("+"))


async def fail(reason: str) -> None:
    """Fails."""
    raise RuntimeError(reason)


async def count(to: int) -> AsyncIterator[int]:
    """Counts."""
    for number in range(to):
        yield number


class Hanging:
    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0

    async def hang(self) -> None:
        """Waits for ever."""
        self.running += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


HANGING_ANSWERS = [step("I wait.", "hang")]
TOOLS = [search_web, calculate, fail, count]


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=TOOLS, settings=Settings(shutdown_grace=0.0)) as server:
        yield server


async def run(bridge: GRPCToolBridge, agent_id: str, given: dict[str, Any], **asked: Any) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = []
    await soon(read(bridge.execute_agent_streaming({"agent_id": agent_id, "input": given, **asked}), chunks))
    return chunks


async def complete_round_trip(bridge: GRPCToolBridge, session_id: str) -> None:
    tools = await bridge.initialize(session_id)
    results = await tools["search_web"]("DSPy framework")
    assert results == ["a page about DSPy framework"]
    await bridge.client.session_context.set_variable("search_results", results)
    agent_id = await bridge.create_react_agent(
        "Question -> Answer", tool_names=["search_web", "calculate"], max_iters=3
    )
    chunks = await run(bridge, agent_id, QUESTION, stream=True)
    kinds = [chunk["type"] for chunk in chunks]
    assert {"thought", "action", "observation"} <= set(kinds)
    assert kinds.count("result") == 1
    assert [chunk["tool_name"] for chunk in chunks if chunk["type"] == "action"] == ["calculate", "finish"]
    assert chunks[-1]["stop_reason"] == "finished"
    assert "4" in str(chunks[-1]["final_answer"])


async def test_the_complete_round_trip_with_a_worker_that_runs_agents(server: BridgeServer) -> None:
    lm = ScriptedLM()
    async with ToolWorker(server.address, agents={"lm": lm}), GRPCToolBridge(server.address) as bridge:
        await complete_round_trip(bridge, "e2e_test_session")
    # An input whose case differs from the signature's reaches the model.
    assert all("What is 2 + 2?" in prompt.user for prompt in lm.prompts)


async def test_the_complete_round_trip_with_agents_in_the_hub_and_a_model_over_http(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-the-test")
    with ModelServer() as model:
        agents = {"model": "openai/scripted", "api_base": model.url}
        async with (
            BridgeServer(tools=TOOLS, agents=agents, settings=Settings(shutdown_grace=0.0)) as server,
            GRPCToolBridge(server.address) as bridge,
        ):
            await complete_round_trip(bridge, "e2e_test_session")
        assert model.prompts


async def test_five_sessions_run_their_agents_at_once(server: BridgeServer) -> None:
    async with ToolWorker(server.address, agents={"lm": ScriptedLM()}):
        bridges = [GRPCToolBridge(server.address) for _ in range(5)]
        try:
            await asyncio.gather(
                *(complete_round_trip(bridge, f"concurrent_session_{n}") for n, bridge in enumerate(bridges))
            )
        finally:
            await asyncio.gather(*(bridge.close() for bridge in bridges))


async def with_answers(server: BridgeServer, answers: list[Any], **asked: Any) -> list[dict[str, Any]]:
    """Runs an agent whose model answers so."""
    async with (
        ToolWorker(server.address, agents={"lm": ScriptedLM(answers)}),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer", max_iters=asked.pop("max_iters", 3))
        return await run(bridge, agent_id, QUESTION, **asked)


LAST = [step("Done.", "finish"), fields(reasoning="So it is.", Answer="four")]


async def test_a_tool_that_fails_is_told_to_the_model_without_its_traceback(server: BridgeServer) -> None:
    chunks = await with_answers(server, [step("I try.", "fail", reason="no luck"), *LAST])
    seen = chunks[2]
    assert seen["error"]["type"] == "RuntimeError"
    assert "no luck" in seen["output"]
    assert "Traceback" not in seen["output"]
    assert chunks[-1]["final_answer"] == {"Answer": "four"}


async def test_what_is_sent_along_with_a_run_stands_in_the_context_of_its_tools() -> None:
    seen: list[dict[str, str]] = []

    async def look(context: ToolContext) -> str:
        """Looks."""
        seen.append(dict(context.metadata))
        return "seen"

    async with BridgeServer(tools=[look], settings=Settings(shutdown_grace=0.0)) as server:
        await with_answers(server, [step("I look.", "look"), *LAST], context={"user": "ann", "limits": [1, 2]})
    assert seen == [{"user": "ann", "limits": "[1,2]"}]


async def test_a_tool_that_streams_is_observed_whole(server: BridgeServer) -> None:
    chunks = await with_answers(server, [step("I count.", "count", to=3), *LAST])
    assert chunks[2]["error"] is None
    assert str(chunks[2]["output"]) == "[0, 1, 2]"


async def test_a_tool_that_the_model_makes_up_is_an_observation(server: BridgeServer) -> None:
    chunks = await with_answers(server, [step("I look.", "look_it_up"), *LAST])
    assert chunks[2]["error"]["type"] == "ToolNotFound"


async def test_running_out_of_steps_does_not_look_like_success(server: BridgeServer) -> None:
    answers = [step("Once more.", "calculate", expression="1+1"), fields(reasoning="I was stopped.", Answer="2")]
    chunks = await with_answers(server, answers, max_iters=1)
    assert chunks[-1]["stop_reason"] == "max_iters"


async def test_an_input_that_the_signature_lacks_is_refused_by_name(server: BridgeServer) -> None:
    async with ToolWorker(server.address, agents={"lm": ScriptedLM()}), GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer")
        with pytest.raises(ValidationError, match="context"):
            await run(bridge, agent_id, {**QUESTION, "context": "none"})


async def test_a_client_that_would_have_the_key_sent_elsewhere_is_refused(server: BridgeServer) -> None:
    async with ToolWorker(server.address, agents={"lm": ScriptedLM()}), GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        for config in ({"api_base": "http://127.0.0.1:1/v1"}, {"api_key": "mine"}):
            with pytest.raises(Exception, match=next(iter(config))):
                await bridge.create_react_agent("Question -> Answer", llm_config=config)


async def test_cancelling_stops_the_model_s_call(server: BridgeServer) -> None:
    held = Held()
    async with (
        ToolWorker(server.address, agents={"lm": ScriptedLM([held])}),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer")
        running = asyncio.create_task(run(bridge, agent_id, QUESTION, run_id="mine"))
        await held.asked()
        await bridge.cancel_agent_run("mine")
        with pytest.raises(Exception, match="cancelled by its caller"):
            await running
        await held.given_up()


@pytest.mark.parametrize("waits_for", ["model", "tool"])
async def test_a_runtime_that_leaves_before_a_run_is_over_ends_it_with_a_word(waits_for: str) -> None:
    tool, held = Hanging(), Held()
    answers = [held] if waits_for == "model" else HANGING_ANSWERS
    async with (
        BridgeServer(tools=[tool.hang], settings=Settings(shutdown_grace=0.0)) as server,
        ToolWorker(server.address, agents={"lm": ScriptedLM(answers)}) as worker,
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer")
        seen: list[Any] = []
        request = {"agent_id": agent_id, "input": QUESTION}
        running = asyncio.create_task(read(bridge.execute_agent_streaming(request), seen))
        await (held.asked() if waits_for == "model" else until(lambda: tool.running))
        assert not await soon(worker.drain(0.05))
        with pytest.raises(CallCancelledError, match="the run was cancelled: its worker leaves"):
            await soon(running)
        # That the tool was ended with the run is no result of it.
        assert [chunk["type"] for chunk in seen] == ([] if waits_for == "model" else ["thought", "action"])
        await (held.given_up() if waits_for == "model" else until(lambda: tool.cancelled))


async def test_cancelling_stops_the_tool() -> None:
    tool = Hanging()
    async with (
        BridgeServer(tools=[tool.hang], settings=Settings(shutdown_grace=0.0)) as server,
        ToolWorker(server.address, agents={"lm": ScriptedLM(HANGING_ANSWERS)}),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer")
        running = asyncio.create_task(run(bridge, agent_id, QUESTION))
        await until(lambda: tool.running)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: tool.cancelled)


async def test_fifty_agents_run_at_once_on_one_runtime(server: BridgeServer) -> None:
    async with ToolWorker(server.address, agents={"lm": ScriptedLM()}), GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        agent_id = await bridge.create_react_agent("Question -> Answer", ["calculate"])
        async with asyncio.timeout(PATIENCE):
            runs = await asyncio.gather(
                *(_read(bridge, agent_id, {"question": f"What is {number} + 1?"}) for number in range(50))
            )
        assert [chunks[-1]["final_answer"]["Answer"] for chunks in runs] == [str(number + 1) for number in range(50)]


async def _read(bridge: GRPCToolBridge, agent_id: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    return [chunk async for chunk in bridge.execute_agent_streaming({"agent_id": agent_id, "input": given})]
