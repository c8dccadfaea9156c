"""Agents whose runtime is a process of its own, and their clients, when one of them is lost in the middle of a run."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from failure_modes.durable_hub import DurableHub
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError, ToolWorker, UnavailableError
from grpc_tool_bridge.testing import ModelServer, ToxicProxy
from grpc_tool_bridge.testing.model_script import Answer, Held, Prompt, arithmetic
from integration.connections import read
from integration.test_cli import PATIENCE, popen, read_line
from support.waiting import soon, until

QUESTION = {"question": "What is 2 + 2?"}


async def calculate(expression: str) -> int:
    """Calculates a sum."""
    return sum(int(part) for part in expression.split("+"))


class Model:
    """A model that does sums, and gives its second answer only when it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.held = Held()

    def answer(self, prompt: Prompt) -> Answer:
        self.asked += 1
        if self.asked == 2:
            self.held.answer = arithmetic(prompt)
            return self.held
        return arithmetic(prompt)


@asynccontextmanager
async def runtime(address: str, model: ModelServer) -> AsyncIterator["subprocess.Popen[str]"]:
    """Runs ``worker --agents`` in a process of its own, and ends it; gives it once it serves."""
    words = ["--agents", "--model", "openai/scripted", "--api-base", model.url, "--address", address, "--json"]
    with popen("worker", *words, env={**os.environ, "OPENAI_API_KEY": "k3y-of-the-test"}) as process:
        try:
            line = await asyncio.to_thread(read_line, process)
            assert line, process.stderr.read() if process.stderr else "it ended"
            assert json.loads(line)["agents"] is True
            yield process
        finally:
            process.kill()


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=[calculate], settings=Settings(shutdown_grace=0.0)) as server:
        yield server


class Reading:
    """A client in the middle of a run: the first step is there, and the model is asked for the second."""

    def __init__(self, bridge: GRPCToolBridge) -> None:
        self.bridge = bridge
        self.seen: list[dict[str, Any]] = []
        self.task: asyncio.Task[None]

    async def begin(self, model: Model) -> None:
        await self.bridge.initialize()
        agent_id = await self.bridge.create_react_agent("Question -> Answer")
        chunks = self.bridge.execute_agent_streaming({"agent_id": agent_id, "input": QUESTION})
        self.task = asyncio.create_task(read(chunks, self.seen))
        await model.held.asked()
        await until(lambda: len(self.seen) == 3)

    def kinds(self) -> list[str]:
        return [chunk["type"] for chunk in self.seen]


async def test_a_runtime_that_is_killed_in_the_middle_of_a_run_is_one_clear_error(server: BridgeServer) -> None:
    model = Model()
    async with AsyncExitStack() as stack:
        served = stack.enter_context(ModelServer(model.answer))
        process = await stack.enter_async_context(runtime(server.address, served))
        async with GRPCToolBridge(server.address) as bridge:
            reading = Reading(bridge)
            await reading.begin(model)
            process.kill()
            with pytest.raises(UnavailableError, match="the agent runtime was lost in the middle of the run"):
                await soon(reading.task)
            assert reading.kinds() == ["thought", "action", "observation"]
            # The next runtime that comes has the agent, which is kept at the hub.
            await stack.enter_async_context(runtime(server.address, served))
            agent_id = await bridge.create_react_agent("Question -> Answer")
            seen: list[Any] = []
            await soon(read(bridge.execute_agent_streaming({"agent_id": agent_id, "input": QUESTION}), seen))
            assert seen[-1]["final_answer"] == {"Answer": "4"}


async def test_a_client_that_is_cut_in_the_middle_of_a_run_goes_on_and_misses_nothing(server: BridgeServer) -> None:
    model = Model()
    async with (
        ModelServer(model.answer) as served,
        runtime(server.address, served),
        ToxicProxy(server.address) as network,
        GRPCToolBridge(network.address) as bridge,
    ):
        reading = Reading(bridge)
        await reading.begin(model)
        network.refuse()
        network.cut()
        await until(lambda: not bridge.client.is_linked)
        # The run comes to its end while nobody reads it.
        model.held.release()
        await until(lambda: not server.hub.agents.active)
        assert len(reading.seen) == 3
        network.restore()
        await soon(reading.task)
        assert reading.kinds() == ["thought", "action", "observation"] * 2 + ["result"]
        assert [chunk["sequence"] for chunk in reading.seen] == list(range(7))
        assert reading.seen[-1]["final_answer"] == {"Answer": "4"}
        assert model.asked == 3


async def test_a_runtime_that_is_told_to_end_finishes_its_run(server: BridgeServer) -> None:
    model = Model()
    async with (
        ModelServer(model.answer) as served,
        runtime(server.address, served) as process,
        GRPCToolBridge(server.address) as bridge,
    ):
        reading = Reading(bridge)
        await reading.begin(model)
        process.send_signal(signal.SIGTERM)
        await until(lambda: not server.hub.agents.available)
        model.held.release()
        await soon(reading.task)
        assert reading.seen[-1]["stop_reason"] == "finished"
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0


async def test_a_hub_that_is_killed_in_the_middle_of_a_run_has_its_steps_in_its_next_life_and_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-the-test")
    model = Model()
    with ModelServer(model.answer) as served, ExitStack() as stack:
        hub = DurableHub(tmp_path / "hub.db", stack)
        # The agents run in the hub, and end with it.
        words = ["--agents", "--model", "openai/scripted", "--api-base", served.url]
        await hub.begin(*words)
        async with ToolWorker(hub.address, tools=[calculate]), GRPCToolBridge(hub.address) as bridge:
            reading = Reading(bridge)
            await reading.begin(model)
            await hub.kill()
            await hub.begin(*words)
            with pytest.raises(ToolBridgeError, match="the hub ended while the run was going on") as caught:
                await soon(reading.task)
            assert caught.value.error_type == "RunInterrupted"
            assert reading.kinds() == ["thought", "action", "observation"]
            assert [chunk["sequence"] for chunk in reading.seen] == [0, 1, 2]
