"""What traces cost: a hub and a client that trace 1 % of the calls, against those that trace none."""

import itertools
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.callers import Way, at_once, per_second
from benchmarks.processes import link_bridge, running
from benchmarks.server import trace_to
from benchmarks.timing import TURNS, Plan, Sample, Stretch, in_rounds, ratios
from benchmarks.work import pairs
from grpc_tool_bridge import ToolBridge
from grpc_tool_bridge.rpc.tracing import Tracing, process

WIDTH = 100


async def hundred(plan: Plan) -> dict[str, Sample]:
    """100 calls at once over the link, 1 % of them traced at both ends, against as many of which none is."""
    async with (
        running("collector") as collector,
        running("hub", collector=collector.address) as traced_hub,
        running("hub") as hub,
        link_bridge(hub.address) as plain,
        _traced(collector.address, traced_hub.address) as (traced, tracing),
    ):
        calls, arguments = plan.amount(3_000, 1_500), pairs()

        def stretch(way: Iterator[Way], how: Tracing | None) -> Stretch:
            async def measure() -> Sequence[float]:
                process.tracing = how
                return [await at_once(way, arguments, calls, width=WIDTH)]

            return measure

        stretches = {
            "1 % traced": stretch(itertools.repeat(traced.tools["add"]), tracing),
            "not traced": stretch(itertools.repeat(plain.tools["add"]), None),
        }
        taken = await in_rounds(plan, stretches)
    rates = {name: [TURNS * calls / sum(seconds) for seconds in rounds] for name, rounds in taken.items()}
    return {"otel-100": Sample(ratios(rates["1 % traced"], rates["not traced"]), per_second(rates))}


@asynccontextmanager
async def _traced(collector: str, hub: str) -> AsyncGenerator[tuple[ToolBridge, Tracing], None]:
    """Opens a bridge while this process traces; whether it does later, is set for each stretch."""
    telemetry = trace_to(collector)
    try:
        async with link_bridge(hub) as bridge:
            yield bridge, telemetry.tracing
    finally:
        telemetry.stop()
