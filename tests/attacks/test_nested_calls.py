"""Tools that call tools of their own kind, while every thread and process is taken by their callers."""

import asyncio
from typing import Any

import pytest

from attacks.nesting_tools import TOOLS
from attacks.victims import MakeVictim, Victim
from grpc_tool_bridge import GRPCToolBridge, Settings, ToolBridge, ToolExecutionError, ToolWorker

# More than there are threads by default.
MANY = 70
# Bounds a hang and nothing else.
PATIENCE = 50.0

CHAINS = {
    "threads": ["in_thread"] * 3,
    "a thread, the loop, a thread": ["in_thread", "in_loop", "in_thread"],
    "generators": ["yields_in_thread", "reads_stream", "in_thread"],
    "a stream into threads": ["reads_stream", "in_thread"],
}


async def run(bridge: ToolBridge, chain: list[str], times: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        calls = (bridge.call_tool(chain[0], chain[1:]) for _ in range(times))
        return [value if isinstance(value, int) else sum(value) for value in await asyncio.gather(*calls)]


async def busy(bridge: ToolBridge) -> dict[str, int]:
    metrics = await bridge.client.get_metrics("hub.threads_busy", "hub.processes_busy", "hub.active_calls")
    return {name: value.integer_value for name, value in metrics.items()}


async def opened(hub: Victim) -> GRPCToolBridge:
    bridge = GRPCToolBridge(hub.address)
    await bridge.initialize()
    return bridge


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
async def test_more_chains_than_threads_all_end(attacked: MakeVictim, chain: list[str]) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS")
    async with await opened(hub) as bridge:
        depth = len(chain) - 1 + chain.count("reads_stream")
        assert await run(bridge, chain, MANY) == [depth] * MANY
        assert sum((await busy(bridge)).values()) == 0


@pytest.mark.parametrize("chain", [["in_process"] * 3, ["in_process", "in_thread", "in_process", "in_thread"]])
async def test_more_chains_than_processes_all_end(attacked: MakeVictim, chain: list[str]) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_processes=1, max_threads=1)
    async with await opened(hub) as bridge:
        assert await run(bridge, chain, 6) == [len(chain) - 1] * 6
        assert sum((await busy(bridge)).values()) == 0


async def test_a_worker_runs_more_chains_than_it_has_threads(attacked: MakeVictim) -> None:
    hub = await attacked()
    worker = ToolWorker(hub.address, tools=TOOLS, capacity=MANY, settings=Settings(max_threads=2, max_processes=1))
    async with worker, await opened(hub) as bridge:
        assert await run(bridge, ["in_thread", "in_loop", "in_thread"], MANY) == [2] * MANY
        assert await run(bridge, ["in_process", "in_thread", "in_process"], 2) == [2] * 2


async def test_threads_that_wait_for_one_another_in_hub_and_worker_all_end(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:in_thread", max_threads=1)
    offered = [tool for tool in TOOLS if getattr(tool, "__name__", "") != "in_thread"]
    worker = ToolWorker(hub.address, tools=offered, settings=Settings(max_threads=1))
    async with worker, await opened(hub) as bridge:
        there, back = ["in_loop", "in_thread", "in_loop", "in_thread"], ["in_thread", "in_loop", "in_thread"]
        out, in_ = await asyncio.gather(run(bridge, there, 10), run(bridge, back, 10))
        assert (out, in_) == ([3] * 10, [2] * 10)


async def test_a_pipeline_of_thread_tools_gets_a_thread_for_each_depth(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_threads=1)
    async with await opened(hub) as bridge, asyncio.timeout(PATIENCE):
        assert await bridge.tools["each_path"]([["in_thread"], [], ["in_thread", "in_thread"]]) == [1, 0, 2]


async def test_tools_twenty_deep_end_with_one_thread_at_each_depth(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_threads=1)
    async with await opened(hub) as bridge:
        assert await run(bridge, ["in_thread"] * 21, 3) == [20] * 3


async def test_a_tool_that_calls_itself_without_end_is_told_so(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_threads=1)
    async with await opened(hub) as bridge:
        with pytest.raises(ToolExecutionError, match="calls are nested 32 deep"):
            await run(bridge, ["in_thread"] * 40, 1)


async def test_calls_cancelled_at_every_depth_give_back_their_threads_and_processes(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_threads=1, max_processes=1)
    chain = ["in_thread", "in_process", "yields_in_thread", "in_thread", "stuck"]
    async with await opened(hub) as bridge, asyncio.timeout(PATIENCE):
        for _ in range(3):
            call = asyncio.create_task(run(bridge, chain, 1))
            while (await busy(bridge))["hub.active_calls"] < len(chain):
                pass  # each look is a round trip
            assert await busy(bridge) == {"hub.threads_busy": 3, "hub.processes_busy": 1, "hub.active_calls": 5}
            call.cancel()
            while sum((await busy(bridge)).values()):
                pass
        assert await run(bridge, [*chain[:-1], "in_loop"], 2) == [4, 4]


async def test_streams_that_hold_every_thread_get_their_values_written(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_threads=1)
    async with await opened(hub) as bridge, asyncio.timeout(PATIENCE):
        # More than the generator may be ahead of its reader, so that it holds its thread.
        values = [value async for value in bridge.tools["spells"].stream(100)]
        assert values == [f"value {number}" for number in range(100)]


async def test_a_value_may_call_a_tool_while_it_is_written(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.nesting_tools:TOOLS", max_threads=1)
    async with await opened(hub) as bridge, asyncio.timeout(PATIENCE):
        calls = [bridge.call_tool("spelled_below") for _ in range(3)]
        assert await asyncio.gather(*calls) == ["spelled: 0"] * 3
