"""Figures of gRPC services whose methods are tools."""

import itertools
import time
from collections.abc import Sequence

from benchmarks.callers import Crowds, Way, in_microseconds, p50s, per_second, rates
from benchmarks.peers.grpc_service import AdderClient
from benchmarks.processes import link_bridge, running
from benchmarks.timing import Plan, Sample, in_rounds, ratios
from grpc_tool_bridge import BridgeServer, ToolBridge
from grpc_tool_bridge.adapters.grpc import import_grpc


async def calls(plan: Plan) -> dict[str, Sample]:
    """A method of a service, called through a hub that has taken it in, and by its stub: one at a time, 100 at once."""
    async with (
        running("adder") as service,
        running("services-in", hub=service.address) as hub,
        link_bridge(hub.address) as bridge,
        AdderClient(service.address) as stub,
    ):
        through = _through(bridge)
        amount = plan.amount(800, 200)
        one = await p50s(plan, {"bridge": (through, amount), "stub": (stub.add, amount)})
        ways: Crowds = {
            "bridge": (itertools.repeat(through), plan.amount(3_000, 1_000)),
            "stub": (itertools.repeat(stub.add), plan.amount(3_000, 1_000)),
        }
        hundred = await rates(plan, ways, width=100)
    return {
        "services-one": Sample(ratios(one["bridge"], one["stub"]), in_microseconds(one)),
        "services-100": Sample(ratios(hundred["bridge"], hundred["stub"]), per_second(hundred)),
    }


def _through(bridge: ToolBridge) -> Way:
    tool = bridge.tools["adder.Add"]

    async def add(a: int, b: int) -> object:
        return (await tool(a=a, b=b))["sum"]

    return add


async def importing(plan: Plan) -> dict[str, Sample]:
    """The start of a hub that takes in a service with 500 methods."""
    async with running("many") as service:

        async def start() -> Sequence[float]:
            begun = time.perf_counter()
            async with BridgeServer(sources=[import_grpc(service.address)]) as hub:
                seconds = time.perf_counter() - begun
                assert len(hub.hub.registry.own("")) >= 500
            return [seconds]

        taken = await in_rounds(plan, {"import": start}, turns=1)
    return {"services-import": Sample([min(seconds) for seconds in taken["import"]])}
