"""Agents and their runs, with a model that answers from a script."""

import asyncio
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge import GRPCToolBridge
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Held, fields, step
from integration.connections import read
from integration.transcript_scenarios import Gate, refused, scenario
from integration.transcript_stage import Stage
from support.waiting import soon

QUESTION = {"question": "What is 2 + 2?"}
LAST = [step("Done.", "finish"), fields(reasoning="So it is.", Answer="four")]
ANSWERS = [step("I add.", "calculate", expression="2+2"), *LAST]


async def calculate(expression: str) -> int:
    """Adds up."""
    return sum(int(part) for part in expression.split("+"))


async def fail(reason: str) -> None:
    """Fails."""
    raise RuntimeError(reason)


async def play(stage: Stage, answers: list[Any], *tools: Any) -> GRPCToolBridge:
    """Starts a hub with a runtime of agents, opens a session, and records from here on."""
    await stage.hub(calculate, fail, *tools)
    runtime = await stage.worker(name="runtime", agents={"lm": ScriptedLM(answers)}, worker_id="r-1")
    await runtime.start()
    bridge = await stage.client()
    await bridge.initialize("the-session")
    stage.record()
    return bridge


def run(bridge: GRPCToolBridge, agent_id: str, **asked: Any) -> Any:
    """Reads a run to its end."""
    return soon(read(bridge.execute_agent_streaming({"agent_id": agent_id, "input": QUESTION, **asked}), []))


@scenario()
async def agent_that_answers(stage: Stage) -> None:
    bridge = await play(stage, [*ANSWERS, *LAST])
    agent_id = await bridge.create_react_agent(
        "Question -> Answer", ["calculate"], max_iters=3, llm_config={"temperature": 0.5}
    )
    await run(bridge, agent_id, stream=True, context={"user": "ann"})
    await run(bridge, agent_id, stream=False)


@scenario("link")
async def agent_whose_tool_and_model_fail(stage: Stage) -> None:
    bridge = await play(stage, [step("I try.", "fail", reason="no luck"), *LAST])
    agent_id = await bridge.client.create_react_agent("Question -> Answer", return_intermediate_steps=True)
    await run(bridge, agent_id)
    await refused(run(bridge, agent_id))


@scenario("link")
async def agents_that_are_refused(stage: Stage) -> None:
    bridge = await play(stage, [])
    await refused(bridge.create_react_agent("no signature"))
    await refused(bridge.create_react_agent("Question -> Answer", ["calculat"]))
    await refused(bridge.create_react_agent("Question -> Answer", llm_config={"api_key": "mine"}))
    await refused(run(bridge, "unknown"))
    await refused(bridge.cancel_agent_run("unknown"))
    agent_id = await bridge.create_react_agent("Question -> Answer")
    await refused(run(bridge, agent_id, input={"other": 1}))


@scenario()
async def agents_without_a_runtime(stage: Stage) -> None:
    bridge = await stage.play(calculate)
    await refused(bridge.create_react_agent("Question -> Answer"))


@scenario()
async def run_that_another_attaches_to(stage: Stage) -> None:
    bridge = await play(stage, ANSWERS)
    agent_id = await bridge.create_react_agent("Question -> Answer")
    await run(bridge, agent_id, run_id="mine")
    await run(bridge, agent_id, run_id="mine", from_sequence=2)


@scenario()
async def run_that_is_cancelled(stage: Stage) -> None:
    held = Held()
    bridge = await play(stage, [held])
    agent_id = await bridge.create_react_agent("Question -> Answer")
    running = asyncio.create_task(run(bridge, agent_id, run_id="mine"))
    await held.asked()
    await bridge.cancel_agent_run("mine")
    await refused(running)
    await held.given_up()


@scenario("link")
async def run_whose_reader_leaves_while_its_tool_runs(stage: Stage) -> None:
    gate = Gate()
    bridge = await play(stage, [step("I wait.", "wait")], gate.wait)
    agent_id = await bridge.create_react_agent("Question -> Answer")
    async with aclosing(bridge.execute_agent_streaming({"agent_id": agent_id, "input": QUESTION})) as steps:
        assert [(await soon(anext(steps)))["type"] for _ in range(2)] == ["thought", "action"]
        await gate.reached()
