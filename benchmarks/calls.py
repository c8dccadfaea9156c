"""Figures of single calls and batches."""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.callers import Pair, in_microseconds, p50s
from benchmarks.peers.bare import BareClient
from benchmarks.processes import link_bridge, plain_bridge, running, worker_bridge
from benchmarks.timing import Plan, Sample, in_rounds, ratios
from benchmarks.work import add, check_sum, pairs
from grpc_tool_bridge import LocalToolBridge, ToolBridge

BATCH_ITEMS = 50


async def link_one(plan: Plan) -> dict[str, Sample]:
    """One call at a time over the link, against a bare RPC."""
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        return {"link-one": await _against_bare(plan, "link", bridge)}


async def worker_one(plan: Plan) -> dict[str, Sample]:
    """One call at a time of a worker's tool, over two links, against a bare RPC."""
    async with worker_bridge() as bridge:
        return {"worker-one": await _against_bare(plan, "worker", bridge)}


async def plain_rpc(plan: Plan) -> dict[str, Sample]:
    """One call at a time as a plain RPC, against a bare one."""
    async with running("hub") as hub, plain_bridge(hub.address) as bridge:
        return {"plain-rpc": await _against_bare(plan, "plain RPC", bridge)}


async def _against_bare(plan: Plan, name: str, bridge: ToolBridge) -> Sample:
    calls = plan.amount(800, 200)
    async with running("bare") as peer, BareClient(peer.address) as bare:
        taken = await p50s(plan, {name: (bridge.tools["add"], calls), "bare": (bare.add, calls)})
    return Sample(ratios(taken[name], taken["bare"]), in_microseconds(taken))


async def in_process(plan: Plan) -> dict[str, Sample]:
    """One call at a time of a hub in the same process, against a bare RPC to another."""
    calls = plan.amount(800, 200)
    async with running("bare") as peer, LocalToolBridge([add]) as bridge, BareClient(peer.address) as bare:
        await bridge.initialize()
        taken = await p50s(plan, {"bridge": (bridge.tools["add"], calls), "bare": (bare.add, calls)})
    return {"in-process": Sample(ratios(taken["bridge"], taken["bare"]), in_microseconds(taken))}


async def batch(plan: Plan) -> dict[str, Sample]:
    """A batch of 50 calls against the same number in sequence, over the link and as plain RPCs."""
    arguments = pairs()
    async with (
        running("hub") as hub,
        link_bridge(hub.address) as link,
        plain_bridge(hub.address) as plain,
    ):

        async def measure(bridge: ToolBridge, run: Any) -> Sequence[float]:
            return [await _seconds(bridge, run, arguments) for _ in range(plan.amount(2, 1))]

        taken = await in_rounds(
            plan,
            {
                "link batch": lambda: measure(link, _batch),
                "link sequence": lambda: measure(link, _sequence),
                "plain batch": lambda: measure(plain, _batch),
                "plain sequence": lambda: measure(plain, _sequence),
            },
        )
    medians = {name: [statistics.median(seconds) for seconds in rounds] for name, rounds in taken.items()}
    return {"batch": _speed_up(medians, "link"), "plain-batch": _speed_up(medians, "plain")}


def _speed_up(medians: dict[str, list[float]], transport: str) -> Sample:
    taken = {name: medians[f"{transport} {name}"] for name in ("batch", "sequence")}
    details = {f"{name} of {BATCH_ITEMS}, ms": statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
    return Sample(ratios(taken["sequence"], taken["batch"]), details)


async def _seconds(bridge: ToolBridge, run: Any, arguments: Iterator[Pair]) -> float:
    calls = list(itertools.islice(arguments, BATCH_ITEMS))
    start = time.perf_counter()
    results = await run(bridge, calls)
    seconds = time.perf_counter() - start
    # Both ways are held to the same sums, so their results are equal.
    for (a, b), result in zip(calls, results, strict=True):
        check_sum(a, b, result)
    return seconds


async def _batch(bridge: ToolBridge, calls: Sequence[Pair]) -> list[object]:
    return await bridge.execute_batch([{"tool_id": "add", "args": pair} for pair in calls])


async def _sequence(bridge: ToolBridge, calls: Sequence[Pair]) -> list[object]:
    return [await bridge.tools["add"](a, b) for a, b in calls]
