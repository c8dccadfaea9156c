"""Figures of hubs that are one bridge, over three nodes of NATS on this machine.

Streams have three copies, so that each write is stored by two nodes at least, for the bridge as for its peer. Hubs,
workers, nodes and the client share this machine's processors; with one machine for each, only ratios would stay.
"""

import asyncio
import contextlib
import itertools
import math
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import nats
import psutil

from benchmarks.callers import Crowds, at_once, in_microseconds, p50s, per_second, rates
from benchmarks.nats_nodes import Nodes, free_ports, three_nodes
from benchmarks.processes import ServerProcess, link_bridge, running
from benchmarks.resources import SESSIONS, for_each, open_session
from benchmarks.timing import TURNS, Plan, Sample, in_rounds, ratios
from benchmarks.work import WrongAnswerError, pairs
from grpc_tool_bridge import GRPCToolBridge, ToolBridge, ToolBridgeError
from grpc_tool_bridge.testing import ToxicProxy

WRITERS = 100
# The longest that a client goes without an answer: an election takes some seconds.
_PATIENCE = 60.0
# What is done without an answer is asked again after so many seconds.
_PAUSE = 0.01

# Writes the next number to a name.
Write = Callable[[str, int], Awaitable[object]]


# ------------------------------------------------------------------------------------------------------------ writes


async def writes(plan: Plan) -> dict[str, Sample]:
    """Variables that are set through NATS, against nats-py's own ``kv.put`` in the same nodes."""
    single, amount = plan.amount(200, 50), plan.amount(3_000, 1_500)
    async with (
        three_nodes() as nodes,
        _hubs(nodes, 1) as (hub,),
        link_bridge(hub.address) as bridge,
        _bucket(nodes) as put,
    ):
        ways: Mapping[str, Write] = {"bridge": bridge.session_context.set_variable, "kv.put": put}
        one = await in_rounds(plan, {name: _one_by_one(write, single) for name, write in ways.items()})
        many = await in_rounds(plan, {name: _together(write, amount) for name, write in ways.items()})
    p50 = {name: [statistics.median(seconds) for seconds in rounds] for name, rounds in one.items()}
    rate = {name: [TURNS * amount / sum(seconds) for seconds in rounds] for name, rounds in many.items()}
    return {
        "cluster-write": Sample(ratios(p50["bridge"], p50["kv.put"]), in_microseconds(p50)),
        "cluster-writes-100": Sample(
            ratios(rate["bridge"], rate["kv.put"]),
            {f"{name}, writes/s": statistics.median(each) for name, each in rate.items()},
        ),
    }


@contextlib.asynccontextmanager
async def _bucket(nodes: Nodes) -> AsyncGenerator[Write, None]:
    """Makes a bucket of nats-py with three copies; gives its ``put``."""
    connection = await nats.connect(nodes.urls)
    try:
        bucket = await connection.jetstream().create_key_value(bucket="bench", replicas=3)

        async def put(name: str, number: int) -> object:
            return await bucket.put(name, str(number).encode())

        yield put
    finally:
        await connection.close()


def _one_by_one(write: Write, amount: int) -> Callable[[], Awaitable[Sequence[float]]]:
    numbers = itertools.count()

    async def measure() -> Sequence[float]:
        seconds = []
        for number in itertools.islice(numbers, amount // TURNS):
            begun = time.perf_counter()
            await write("name", number)
            seconds.append(time.perf_counter() - begun)
        return seconds

    return measure


def _together(write: Write, amount: int) -> Callable[[], Awaitable[Sequence[float]]]:
    numbers = itertools.count()

    async def measure() -> Sequence[float]:
        taken = itertools.islice(numbers, amount)

        async def writer(name: str) -> None:
            for number in taken:
                await write(name, number)

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as writers:
            for index in range(WRITERS):
                writers.create_task(writer(f"n{index}"))
        return [time.perf_counter() - begun]

    return measure


# ------------------------------------------------------------------------------------------------------------- calls


async def calls(plan: Plan) -> dict[str, Sample]:
    """Calls of a worker at another hub, against those of one at the same hub."""
    async with (
        three_nodes() as nodes,
        _hubs(nodes, 2) as (here, there),
        running("worker", hub=here.address, name="near"),
        running("worker", hub=there.address, name="far"),
        link_bridge(here.address) as bridge,
    ):
        near, far = await _tool(bridge, "near"), await _tool(bridge, "far")
        amount = plan.amount(800, 200)
        one = await p50s(plan, {"same hub": (near, amount), "another hub": (far, amount)})
        crowds: Crowds = {
            "same hub": (itertools.repeat(near), plan.amount(3_000, 1_500)),
            "another hub": (itertools.repeat(far), plan.amount(2_000, 1_000)),
        }
        many = await rates(plan, crowds, width=100)
    return {
        "cluster-call-one": Sample(ratios(one["another hub"], one["same hub"]), in_microseconds(one)),
        "cluster-call-100": Sample(ratios(many["another hub"], many["same hub"]), per_second(many)),
    }


async def _tool(bridge: ToolBridge, name: str) -> Any:
    """Waits until the hub of a bridge offers a tool; returns it."""
    async with asyncio.timeout(_PATIENCE):
        while name not in bridge.tools:  # noqa: ASYNC110 - it comes from another process
            await asyncio.sleep(_PAUSE)
    return bridge.tools[name]


async def work(plan: Plan) -> dict[str, Sample]:
    """Processor time for a call of two hubs with a worker each, against that of one hub with both workers."""
    amount = plan.amount(20_000, 5_000)
    taken: dict[str, list[float]] = {"one hub": [], "two hubs": []}
    async with three_nodes() as nodes:
        for number in range(plan.amount(5, 3)):
            for name, hubs in (("one hub", 1), ("two hubs", 2)):
                taken[name].append(await _seconds_of_a_call(nodes, f"work-{number}-{hubs}", hubs, amount))
    details = {f"{name}, µs": statistics.median(seconds) * 1e6 for name, seconds in taken.items()}
    return {"cluster-work": Sample(ratios(taken["two hubs"], taken["one hub"]), details)}


async def _seconds_of_a_call(nodes: Nodes, cluster: str, number: int, amount: int) -> float:
    """Returns the processor time of the hubs and workers for each call of two clients, 50 at once of each."""
    async with _hubs(nodes, number, cluster=cluster) as hubs, contextlib.AsyncExitStack() as stack:
        homes = [hubs[index % number] for index in range(2)]
        workers = [await stack.enter_async_context(running("worker", hub=hub.address)) for hub in homes]
        bridges = [await stack.enter_async_context(link_bridge(hub.address)) for hub in homes]
        tools = [await _tool(bridge, "add") for bridge in bridges]
        processes = [psutil.Process(each.pid) for each in (*hubs, *workers)]
        await _share(tools, amount // 5)
        begun = _processor_seconds(processes)
        await _share(tools, amount)
        return (_processor_seconds(processes) - begun) / amount


async def _share(tools: Sequence[Any], amount: int) -> None:
    """Makes calls, each tool as many as the others, 50 at once of each."""
    async with asyncio.TaskGroup() as clients:
        for tool in tools:
            clients.create_task(at_once(itertools.repeat(tool), pairs(), amount // len(tools), width=50))


def _processor_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


# ------------------------------------------------------------------------------------------------------------ deaths


async def failover(plan: Plan) -> dict[str, Sample]:
    """Seconds that a client is without an answer when the hub that has its session is killed; p99 of many kills."""
    seconds: list[float] = []
    async with three_nodes() as nodes, contextlib.AsyncExitStack() as stack:
        store = nodes.store("failover")
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        hubs = [await _hub(stack, store, name=f"h{index}", address=each) for index, each in enumerate(addresses)]
        bridge = await stack.enter_async_context(GRPCToolBridge(",".join(addresses), keep_session=True))
        await bridge.initialize("failover")
        numbers = itertools.count()
        for kill in range(plan.amount(30, 6)):
            for _ in range(10):
                await _set_until_stored(bridge, next(numbers))
            victim = kill % 2
            await hubs[victim].kill()
            begun = time.perf_counter()
            last = next(numbers)
            await _set_until_stored(bridge, last)
            seconds.append(time.perf_counter() - begun)
            _check(await bridge.session_context.get_variable("name"), last)
            hubs[victim] = await _hub(stack, store, name=f"h{victim}", address=addresses[victim])
    seconds.sort()
    p99 = seconds[math.ceil(0.99 * len(seconds)) - 1]
    details = {"median, s": statistics.median(seconds), "kills": float(len(seconds))}
    return {"cluster-failover": Sample([p99], details)}


async def partition(plan: Plan) -> dict[str, Sample]:
    """Seconds until a client goes on whose network to its hub drops everything without a word; p99."""
    seconds: list[float] = []
    async with (
        three_nodes() as nodes,
        _hubs(nodes, 2, cluster="partition") as hubs,
        contextlib.AsyncExitStack() as stack,
    ):
        wires = [stack.enter_context(ToxicProxy(hub.address)) for hub in hubs]
        addresses = ",".join(wire.address for wire in wires)
        bridge = await stack.enter_async_context(GRPCToolBridge(addresses, keep_session=True))
        await bridge.initialize("partition")
        numbers = itertools.count()
        for _ in range(plan.amount(10, 4)):
            before = [wire.bytes_to_hub for wire in wires]
            for _ in range(10):
                await _set_until_stored(bridge, next(numbers))
            used = max(wires, key=lambda wire: wire.bytes_to_hub - before[wires.index(wire)])
            used.stall()
            begun = time.perf_counter()
            last = next(numbers)
            await _set_until_stored(bridge, last)
            seconds.append(time.perf_counter() - begun)
            _check(await bridge.session_context.get_variable("name"), last)
            used.cut()
            used.restore()
    seconds.sort()
    p99 = seconds[math.ceil(0.99 * len(seconds)) - 1]
    details = {"median, s": statistics.median(seconds), "partitions": float(len(seconds))}
    return {"cluster-partition": Sample([p99], details)}


async def leader(plan: Plan) -> dict[str, Sample]:
    """Seconds without a write when the node is killed that leads the stream; every write has to be there after it."""
    seconds: list[float] = []
    async with three_nodes() as nodes, _hubs(nodes, 1, cluster="leader") as (hub,), link_bridge(hub.address) as bridge:
        for _ in range(plan.amount(5, 2)):
            node = await nodes.leader("LEADER")
            ended = asyncio.Event()
            writers = [asyncio.create_task(_write_on(bridge, f"n{index}", ended)) for index in range(WRITERS)]
            await asyncio.sleep(0.5)
            await node.kill()
            begun = time.perf_counter()
            await _set_until_stored(bridge, 0)
            seconds.append(time.perf_counter() - begun)
            ended.set()
            for index, last in enumerate(await asyncio.gather(*writers)):
                _check(await bridge.session_context.get_variable(f"n{index}"), last)
            await nodes.start(node)
            await nodes.ready()
    return {"cluster-leader": Sample(seconds, {"longest, s": max(seconds), "kills": float(len(seconds))})}


async def _write_on(bridge: ToolBridge, name: str, ended: asyncio.Event) -> int:
    """Sets a variable again and again, each time until it is stored; returns the last value."""
    number = 0
    while not ended.is_set():
        number += 1
        await _set_until_stored(bridge, number, name)
    return number


async def _set_until_stored(bridge: ToolBridge, number: int, name: str = "name") -> None:
    """Sets a variable; asks again while there is no answer."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            try:
                await bridge.session_context.set_variable(name, number)
            except ToolBridgeError:
                await asyncio.sleep(_PAUSE)
            else:
                return


# ------------------------------------------------------------------------------------------------------------- costs


async def idle(plan: Plan) -> dict[str, Sample]:
    """Processor time of a hub of three that idle, in percent of a core; the largest of them."""
    seconds = plan.amount(20, 5)
    async with three_nodes() as nodes, _hubs(nodes, 3) as hubs:
        pids = [*(hub.pid for hub in hubs), *(node.pid for node in nodes.nodes)]
        processes = [psutil.Process(pid) for pid in pids]
        await asyncio.sleep(1)
        before = [_processor_seconds([process]) for process in processes]
        await asyncio.sleep(seconds)
        after = [_processor_seconds([process]) for process in processes]
    used = [(end - start) / seconds * 100 for start, end in zip(before, after, strict=True)]
    details = {"a node of NATS, %": max(used[len(hubs) :]), "seconds": float(seconds)}
    return {"cluster-idle-cpu": Sample([max(used[: len(hubs)])], details)}


async def memory(plan: Plan) -> dict[str, Sample]:
    """Memory of a hub for each session in NATS that idles, in KiB; see ``resources.session_memory``."""
    taken = []
    async with three_nodes() as nodes:
        for number in range(plan.amount(3, 1)):
            async with _hubs(nodes, 1, cluster=f"memory-{number}") as (hub,), link_bridge(hub.address) as bridge:
                taken.append(await _kib_of_a_session(hub, bridge, plan.amount(SESSIONS, SESSIONS // 5)))
    return {"cluster-memory": Sample(taken)}


async def _kib_of_a_session(hub: ServerProcess, bridge: ToolBridge, sessions: int) -> float:
    await for_each(sessions, lambda index: open_session(bridge, index))
    before = await hub.ask("rss")
    await for_each(sessions, lambda index: open_session(bridge, sessions + index))
    return float(await hub.ask("rss") - before) / sessions / 1024


# -------------------------------------------------------------------------------------------------------------- hubs


@contextlib.asynccontextmanager
async def _hubs(nodes: Nodes, number: int, *, cluster: str = "bench") -> AsyncGenerator[Sequence[ServerProcess], None]:
    """Runs hubs without tools of their own."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await _hub(stack, nodes.store(cluster), name=f"h{index}") for index in range(number)]


async def _hub(
    stack: contextlib.AsyncExitStack, store: str, *, name: str, address: str = "127.0.0.1:0"
) -> ServerProcess:
    return await stack.enter_async_context(running("hub", tools=0, store=store, name=name, address=address))


def _check(value: object, wanted: object) -> None:
    if value != wanted:
        raise WrongAnswerError(f"{value} instead of {wanted}")
