"""Runs of agents whose hub is killed and comes back with its store: the chunks that were, then one error."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from failure_modes.durable_hub import DurableHub, opened
from grpc_tool_bridge import (
    CallCancelledError,
    GRPCToolBridge,
    LocalToolBridge,
    NotFoundError,
    Settings,
    ToolBridgeError,
    ToolWorker,
    ValidationError,
)
from grpc_tool_bridge.testing import ToxicProxy
from integration.agent_runtime import SIGNATURE, ObedientAgents, runtime_of
from integration.connections import read
from support.waiting import soon, until

LOCAL = Path(__file__).with_name("local_run_process.py")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[DurableHub]:
    with ExitStack() as stack:
        hub = DurableHub(tmp_path / "hub.db", stack)
        await hub.begin()
        yield hub


async def failure(reading: "asyncio.Task[None]") -> ToolBridgeError:
    """Returns the error that a run ends with for its reader."""
    with pytest.raises(ToolBridgeError) as caught:
        await soon(reading)
    return caught.value


def read_of(bridge: Any, seen: list[Any], **asked: Any) -> "asyncio.Task[None]":
    return asyncio.create_task(read(bridge.execute_agent_streaming(asked), seen))


def sequences(seen: list[Any]) -> list[int]:
    return [chunk["sequence"] for chunk in seen]


async def until_listed(entries: Callable[[], AsyncIterator[Any]], count: int) -> None:
    """Waits until the hub lists so many."""

    async def look() -> None:
        while len([entry async for entry in entries()]) != count:  # noqa: ASYNC110 - the hub is asked
            # A hub in this process answers at once, and others have no turn meanwhile.
            await asyncio.sleep(0)

    await soon(look())


async def hang() -> None:
    """Never returns."""
    await asyncio.Event().wait()


async def test_a_reader_whose_hub_is_killed_gets_the_rest_from_its_next_life_and_one_error(hub: DurableHub) -> None:
    agents = ObedientAgents()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ToolWorker(hub.address, tools=[hang], agents=agents))
        network = await stack.enter_async_context(ToxicProxy(hub.address))
        cut, beside = [
            await stack.enter_async_context(GRPCToolBridge(address, follow_tools=False, keep_session=True))
            for address in (network.address, hub.address)
        ]
        await cut.initialize("shared")
        await beside.initialize("shared")
        agent_id = await cut.create_react_agent(SIGNATURE)
        asked = {"agent_id": agent_id, "input": {"think": 2, "wait": True, "call": "hang"}, "run_id": "mine"}
        seen: list[Any] = []
        reading = read_of(cut, seen, **asked)
        await until(lambda: len(seen) == 2)
        (before,) = [run async for run in beside.admin.runs()]
        network.refuse()
        network.cut()
        await until(lambda: not cut.client.is_linked)
        # The run goes on, as another reader sees.
        others: list[Any] = []
        other = read_of(beside, others, run_id="mine", from_sequence=2)
        agents.go_on.set()
        await until(lambda: others)
        await hub.kill()
        await hub.begin()
        assert (await failure(other)).error_type == "RunInterrupted"
        network.restore()
        error = await failure(reading)
        assert (error.error_type, error.retryable, error.details["outcome"]) == ("RunInterrupted", False, "unknown")
        assert error.message.startswith("the hub ended while the run was going on")
        assert (sequences(seen), seen[2:], others[0]["type"]) == ([0, 1, 2], others, "action")
        (run,) = [run async for run in beside.admin.runs()]
        assert (run.run_id, run.state, run.chunks, run.started_at) == ("mine", "failed", 4, before.started_at)


async def test_runs_that_are_over_are_read_again_and_no_further_life_adds_to_one_that_was_going_on(
    hub: DurableHub,
) -> None:
    agents = ObedientAgents()
    worker = ToolWorker(hub.address, agents=agents)
    async with worker, GRPCToolBridge(hub.address, follow_tools=False, keep_session=True) as bridge:
        await bridge.initialize("shared")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        over: list[Any] = []
        asked = {"agent_id": agent_id, "input": {"think": 2}, "run_id": "over"}
        await soon(read_of(bridge, over, **asked))
        going_on: list[Any] = []
        reading = read_of(bridge, going_on, agent_id=agent_id, input={"wait": True}, run_id="going on")
        await until(lambda: going_on)
        await hub.kill()
        await hub.begin()
        first = await failure(reading)
        await hub.kill()
        assert hub.chunks() == len(over) + 2
        await hub.begin()
        again: list[Any] = []
        await soon(read_of(bridge, again, **asked))
        await soon(read_of(bridge, again, run_id="over", from_sequence=2))
        assert again == [*over, *over[2:]]
        again.clear()
        second = await failure(read_of(bridge, again, run_id="going on"))
        assert (again, second.message) == (going_on, first.message)
        assert len(agents.requests) == 2
        with pytest.raises(NotFoundError, match="has no run 'none'"):
            await soon(read_of(bridge, [], run_id="none"))
        with pytest.raises(ValidationError, match="has 3 chunks so far"):
            await soon(read_of(bridge, [], run_id="over", from_sequence=4))
        # The agent is kept, and a runtime that comes back has it.
        new: list[Any] = []
        await until_listed(bridge.admin.workers, 1)
        await soon(read_of(bridge, new, agent_id=agent_id, input={}))
        assert new[-1]["type"] == "result"
        assert (await bridge.create_react_agent(SIGNATURE)) == agent_id
        await hub.kill()
    assert hub.chunks() == len(over) + 2 + len(new)


async def test_the_runs_of_a_hub_that_is_told_to_end_end_with_its_word_in_its_next_life_too(hub: DurableHub) -> None:
    async with (
        ToolWorker(hub.address, agents=ObedientAgents()),
        GRPCToolBridge(hub.address, follow_tools=False, keep_session=True) as bridge,
    ):
        await bridge.initialize("shared")
        seen: list[Any] = []
        agent_id = await bridge.create_react_agent(SIGNATURE)
        reading = read_of(bridge, seen, agent_id=agent_id, input={"wait": True}, run_id="mine")
        await until(lambda: seen)
        await hub.stop()
        error = await failure(reading)
        assert isinstance(error, CallCancelledError)
        assert "the hub is shutting down" in error.message
        await hub.begin()
        again: list[Any] = []
        kept = await failure(read_of(bridge, again, run_id="mine"))
        assert (again, type(kept), kept.message) == (seen, CallCancelledError, error.message)


async def test_a_run_that_nobody_reads_in_the_next_life_is_forgotten_in_the_store_too(hub: DurableHub) -> None:
    async with (
        ToolWorker(hub.address, agents=ObedientAgents()),
        GRPCToolBridge(hub.address, follow_tools=False, keep_session=True) as bridge,
    ):
        await bridge.initialize("shared")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        await soon(read_of(bridge, [], agent_id=agent_id, input={}, run_id="mine"))
        await hub.kill()
        assert hub.chunks() == 2
        await hub.begin(AGENT_RUN_TTL="0.05")

        await until_listed(bridge.admin.runs, 0)
        with pytest.raises(NotFoundError, match="has no run 'mine'"):
            await soon(read_of(bridge, [], run_id="mine"))
        await hub.stop()
    assert hub.chunks() == 0


# ------------------------------------------------------------------------------------------- a hub in one's own process


async def test_a_bridge_with_its_own_hub_that_is_killed_has_its_run_again_in_the_next_process(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'hub.db'}"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(sys.executable, LOCAL, store, stdout=subprocess.PIPE, env=env)
    assert process.stdout is not None
    try:
        printed = [json.loads(await soon(process.stdout.readline())) for _ in range(3)]
    finally:
        process.kill()
        await process.wait()
    agents = ObedientAgents()
    async with LocalToolBridge(store=store, keep_session=True) as bridge, runtime_of(bridge, agents):
        await bridge.initialize("mine")
        seen: list[Any] = []
        error = await failure(read_of(bridge, seen, run_id="run"))
        assert (seen, error.error_type) == (printed, "RunInterrupted")
        ((session, agent, _),) = bridge.hub.agents.agents()
        assert session.id == "mine"
        await soon(read_of(bridge, seen, agent_id=agent.id, input={}, run_id="next"))
    async with LocalToolBridge(store=store) as bridge:
        await bridge.initialize("mine")
        seen.clear()
        await soon(read_of(bridge, seen, run_id="next", from_sequence=1))
        assert [chunk["type"] for chunk in seen] == ["result"]
        await bridge.hub.store.cleanup_session("mine")
    # With its session, all that belonged to it has ended.
    with opened(tmp_path / "hub.db") as connection:
        for table in ("agents", "runs", "chunks"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_a_run_that_goes_on_when_its_bridge_is_closed_ends_with_a_word(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'hub.db'}"
    async with LocalToolBridge(store=store, keep_session=True) as bridge, runtime_of(bridge, ObedientAgents()):
        await bridge.initialize("mine")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        reading = read_of(bridge, seen, agent_id=agent_id, input={"wait": True}, run_id="run")
        await until(lambda: seen)
        await bridge.close()
        assert isinstance(await failure(reading), CallCancelledError)
    async with LocalToolBridge(store=store, keep_session=True) as bridge:
        await bridge.initialize("mine")
        again: list[Any] = []
        error = await failure(read_of(bridge, again, run_id="run"))
        assert "the hub is shutting down" in error.message
        assert again == seen


async def test_a_run_that_fills_the_store_ends_with_one_error_and_when_it_is_evicted_others_have_room(
    tmp_path: Path,
) -> None:
    store, agents = f"sqlite:///{tmp_path / 'hub.db'}", ObedientAgents()
    limits = Settings(max_store_bytes=300_000)
    async with LocalToolBridge(store=store, keep_session=True, settings=limits) as bridge, runtime_of(bridge, agents):
        await bridge.initialize("mine")
        agent_id = await bridge.create_react_agent(SIGNATURE)
        seen: list[Any] = []
        error = await failure(read_of(bridge, seen, agent_id=agent_id, input={"think": 9_000}, run_id="large"))
        assert (error.error_type, error.retryable) == ("RunInterrupted", False)
        assert "could not be stored" in error.message
        assert sequences(seen) == list(range(len(seen)))
        await agents.quiet()
        again: list[Any] = []
        same = await failure(read_of(bridge, again, run_id="large"))
        assert (again, same.message) == (seen, error.message)
        (large,) = bridge.hub.agents.runs()
        large.evict()
        small: list[Any] = []
        await soon(read_of(bridge, small, agent_id=agent_id, input={}, run_id="small"))
        assert [chunk["type"] for chunk in small] == ["thought", "result"]
    async with LocalToolBridge(store=store, keep_session=True, settings=limits) as bridge:
        assert [(run.run_id, run.over) for run in bridge.hub.agents.runs()] == [("small", True)]
