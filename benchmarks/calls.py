"""Figures of single calls and batches."""

import statistics
import time
from collections.abc import Sequence

from benchmarks.bare import BareClient
from benchmarks.processes import plain_bridge, running
from benchmarks.timing import Pair, Plan, Sample, compare_calls, in_turn
from benchmarks.work import WrongAnswerError, add, check_sum, pairs
from grpc_tool_bridge import LocalToolBridge, ToolBridge

BATCH_ITEMS = 50


async def plain_rpc(plan: Plan) -> dict[str, Sample]:
    """One call at a time as a plain RPC, against a bare one."""
    async with (
        running("hub") as hub,
        running("bare") as peer,
        plain_bridge(hub.address) as bridge,
        BareClient(peer.address) as bare,
    ):
        calls = plan.amount(800, 200)
        return {"plain-rpc": await compare_calls(bridge.tools["add"], bare.add, pairs(), plan, calls=calls)}


async def in_process(plan: Plan) -> dict[str, Sample]:
    """One call at a time of a hub in the same process, against a bare RPC to another."""
    async with running("bare") as peer, LocalToolBridge([add]) as bridge, BareClient(peer.address) as bare:
        await bridge.initialize()
        calls = plan.amount(800, 200)
        return {"in-process": await compare_calls(bridge.tools["add"], bare.add, pairs(), plan, calls=calls)}


async def batch(plan: Plan) -> dict[str, Sample]:
    """A batch of 50 calls against the same calls in sequence; their results must be equal."""
    arguments = pairs()
    times = plan.amount(8, 4)
    taken: dict[str, list[float]] = {"batch": [], "sequence": []}
    async with running("hub") as hub, plain_bridge(hub.address) as bridge:
        for round_number in range(-1, plan.rounds):
            seconds: dict[str, list[float]] = {name: [] for name in taken}
            for turn in range(times):
                calls = [next(arguments) for _ in range(BATCH_ITEMS)]
                results = {}
                for name in in_turn("batch", "sequence", round_number + turn):
                    way = _batch if name == "batch" else _sequence
                    start = time.perf_counter()
                    results[name] = await way(bridge, calls)
                    seconds[name].append(time.perf_counter() - start)
                _check(calls, results["batch"], results["sequence"])
            if round_number >= 0:
                for name, medians in taken.items():
                    medians.append(statistics.median(seconds[name]))
    speedups = [sequence / whole for whole, sequence in zip(taken["batch"], taken["sequence"], strict=True)]
    details = {f"{name} of {BATCH_ITEMS}, ms": statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
    return {"batch": Sample(speedups, details)}


async def _batch(bridge: ToolBridge, calls: Sequence[Pair]) -> list[object]:
    return await bridge.execute_batch([{"tool_id": "add", "args": pair} for pair in calls])


async def _sequence(bridge: ToolBridge, calls: Sequence[Pair]) -> list[object]:
    return [await bridge.tools["add"](a, b) for a, b in calls]


def _check(calls: Sequence[Pair], in_batch: Sequence[object], in_sequence: Sequence[object]) -> None:
    if in_batch != in_sequence:
        raise WrongAnswerError("the batch's results are not those of the same calls in sequence")
    for (a, b), answer in zip(calls, in_batch, strict=True):
        check_sum(a, b, answer)
