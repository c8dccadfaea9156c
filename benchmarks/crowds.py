"""Figures of many concurrent calls."""

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

from benchmarks.callers import Crowds, Pair, Way, at_once, per_second, rates, spread
from benchmarks.large import check_size, payload
from benchmarks.peers.bare import BareClient
from benchmarks.processes import link_bridge, plain_bridge, running, worker_bridge
from benchmarks.timing import Plan, Sample, in_rounds, ratios
from benchmarks.work import adder_names, pairs
from grpc_tool_bridge import AsyncGRPCProxyTool

SESSIONS = 10_000
TOOLS = 1_000


async def hundred(plan: Plan) -> dict[str, Sample]:
    """100 calls at once over the link, against 100 bare RPCs at once; and as plain RPCs to the bridge."""
    async with (
        running("hub") as hub,
        running("bare") as peer,
        link_bridge(hub.address) as link,
        plain_bridge(hub.address) as plain,
        BareClient(peer.address) as bare,
    ):
        ways: Crowds = {
            "link": (itertools.repeat(link.tools["add"]), plan.amount(3_000, 1_500)),
            "plain RPC": (itertools.repeat(plain.tools["add"]), plan.amount(600, 300)),
            "bare": (itertools.repeat(bare.add), plan.amount(600, 300)),
        }
        taken = await rates(plan, ways, width=100)
    return {"link-100": Sample(ratios(taken["link"], taken["bare"]), per_second(taken))}


async def grpc_hundred(plan: Plan) -> dict[str, Sample]:
    """100 calls at once over a link by gRPC, as to another machine, against 100 bare RPCs at once."""
    async with (
        running("hub", local_socket=False) as hub,
        running("bare") as peer,
        link_bridge(hub.address) as link,
        BareClient(peer.address) as bare,
    ):
        ways: Crowds = {
            "gRPC link": (itertools.repeat(link.tools["add"]), plan.amount(3_000, 1_500)),
            "bare": (itertools.repeat(bare.add), plan.amount(600, 300)),
        }
        taken = await rates(plan, ways, width=100)
    return {"grpc-link-100": Sample(ratios(taken["gRPC link"], taken["bare"]), per_second(taken))}


async def thousand(plan: Plan) -> dict[str, Sample]:
    """1,000 calls at once over the link, against 1,000 bare RPCs at once."""
    async with (
        running("hub") as hub,
        running("bare") as peer,
        link_bridge(hub.address) as link,
        BareClient(peer.address) as bare,
    ):
        ways: Crowds = {
            "link": (itertools.repeat(link.tools["add"]), plan.amount(10_000, 5_000)),
            "bare": (itertools.repeat(bare.add), plan.amount(3_000, 2_000)),
        }
        taken = await rates(plan, ways, width=1_000, turns=2)
    return {"link-1000": Sample(ratios(taken["link"], taken["bare"]), per_second(taken))}


async def worker_hundred(plan: Plan) -> dict[str, Sample]:
    """100 calls of a worker's tool at once, over two links, against 100 bare RPCs at once."""
    async with worker_bridge() as bridge, running("bare") as peer, BareClient(peer.address) as bare:
        ways: Crowds = {
            "worker": (itertools.repeat(bridge.tools["add"]), plan.amount(3_000, 1_500)),
            "bare": (itertools.repeat(bare.add), plan.amount(600, 300)),
        }
        taken = await rates(plan, ways, width=100)
    return {"worker-100": Sample(ratios(taken["worker"], taken["bare"]), per_second(taken))}


async def worker_scale(plan: Plan) -> dict[str, Sample]:
    """Throughput of two workers whose tool keeps a processor busy, against that of one; the same calls at once."""
    calls = plan.amount(12, 4)
    async with worker_bridge(workers=2) as two, worker_bridge() as one:
        ways: Crowds = {
            "two workers": (itertools.repeat(two.tools["add_slowly"]), 2 * calls),
            "one worker": (itertools.repeat(one.tools["add_slowly"]), calls),
        }
        # Two for each of the two workers: the one that waits there begins as soon as the other has ended.
        taken = await rates(plan, ways, width=4, turns=2)
    return {"worker-scale": Sample(ratios(taken["two workers"], taken["one worker"]), per_second(taken))}


async def scale(plan: Plan) -> dict[str, Sample]:
    """Throughput of a hub with 1,000 tools and 10,000 sessions, the calls spread over them, against one of each."""
    calls = plan.amount(4_000, 1_000)
    async with running("hub", tools=TOOLS) as many, running("hub") as one:
        await many.ask("open sessions", SESSIONS)
        await one.ask("open sessions", 1)
        async with link_bridge(many.address) as many_bridge, link_bridge(one.address) as one_bridge:
            # Both have 10,000 proxies, so that the client's own memory is touched alike.
            all_over = spread(many_bridge, ways=SESSIONS, sessions=SESSIONS, tools=adder_names(TOOLS))
            in_one = spread(one_bridge, ways=SESSIONS, sessions=1, tools=adder_names(1))
            ways: Crowds = {"many": (itertools.cycle(all_over), calls), "one": (itertools.cycle(in_one), calls)}
            taken = await rates(plan, ways, width=50)
    return {"scale": Sample(ratios(taken["many"], taken["one"]), per_second(taken))}


async def tail(plan: Plan) -> dict[str, Sample]:
    """The slowest of 100 small calls at once while large payloads cross the same link, against those without."""
    calls = plan.amount(3_000, 1_500)
    arguments = pairs()
    payloads = _Payloads()
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        add = bridge.tools["add"]

        async def quiet() -> Sequence[float]:
            return await _latencies(add, arguments, calls)

        async def loaded() -> Sequence[float]:
            async with payloads.crossing(bridge.tools["size"]):
                return await _latencies(add, arguments, calls)

        taken = await in_rounds(plan, {"quiet": quiet, "loaded": loaded})
    p99s = {name: [statistics.quantiles(round_, n=100)[-1] for round_ in rounds] for name, rounds in taken.items()}
    details = {f"{name} p99, ms": statistics.median(seconds) * 1e3 for name, seconds in p99s.items()}
    return {"link-p99": Sample(ratios(p99s["loaded"], p99s["quiet"]), {**details, "payloads": float(payloads.crossed)})}


async def _latencies(way: Way, arguments: Iterator[Pair], number: int) -> list[float]:
    """Makes calls, 100 at once, and returns the seconds of each."""
    seconds: list[float] = []

    async def timed(a: int, b: int) -> object:
        start = time.perf_counter()
        answer = await way(a, b)
        seconds.append(time.perf_counter() - start)
        return answer

    await at_once(itertools.repeat(timed), arguments, number, width=100)
    return seconds


class _Payloads:
    """Large arguments, one after another.

    Attributes:
        crossed: How many have arrived.
    """

    def __init__(self) -> None:
        self.crossed = 0
        self._stopped = False

    @contextlib.asynccontextmanager
    async def crossing(self, size: AsyncGRPCProxyTool) -> AsyncGenerator[None, None]:
        """Sends one after another, until the last one has arrived."""
        self._stopped = False
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(size))
            yield
            self._stopped = True

    async def _send(self, size: AsyncGRPCProxyTool) -> None:
        while not self._stopped:
            check_size(await size(payload(self.crossed)))
            self.crossed += 1
