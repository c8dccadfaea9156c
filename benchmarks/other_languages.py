"""Figures of the clients and workers in other languages."""

import itertools
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from benchmarks.callers import Crowds, at_once, each_call, per_second, rates
from benchmarks.peer_drivers import Driver, driver
from benchmarks.peers import client_of
from benchmarks.processes import link_bridge, running, worker_bridge
from benchmarks.timing import TURNS, Plan, Sample, Stretch, in_rounds, ratios
from benchmarks.work import CHUNK_BYTES, WrongAnswerError, pairs
from grpc_tool_bridge import ToolBridge

_WIDTH = 100


async def client(plan: Plan, language: str) -> dict[str, Sample]:
    """Calls of a hub's tool by a client in another language, against bare grpc.aio unary in Python."""
    many, few = plan.amount(3_000, 1_000), plan.amount(800, 200)
    arguments = pairs()

    def by_driver(process: Driver, width: int, number: int) -> Stretch:
        async def measure() -> list[float]:
            return [await process.seconds(width=width, number=number)]

        return measure

    async with (
        running("hub") as hub,
        running("bare") as peer,
        driver(language, "client", hub.address) as process,
        client_of("bare")(peer.address) as bare,
    ):

        async def bare_hundred() -> list[float]:
            return [await at_once(itertools.repeat(bare.add), arguments, many, width=_WIDTH)]

        async def bare_one() -> list[float]:
            return [sum(await each_call(bare.add, arguments, few))]

        hundred = await in_rounds(plan, {language: by_driver(process, _WIDTH, many), "bare": bare_hundred})
        one = await in_rounds(plan, {language: by_driver(process, 1, few), "bare": bare_one})
    rate = {name: [TURNS * many / sum(seconds) for seconds in rounds] for name, rounds in hundred.items()}
    each = {name: [sum(seconds) / (TURNS * few) for seconds in rounds] for name, rounds in one.items()}
    microseconds = {f"{name} mean, µs": statistics.median(found) * 1e6 for name, found in each.items()}
    return {
        f"{language}-100": Sample(ratios(rate[language], rate["bare"]), per_second(rate)),
        f"{language}-one": Sample(ratios(each[language], each["bare"]), microseconds),
    }


async def worker(plan: Plan, language: str) -> dict[str, Sample]:
    """Calls and streams of a worker in another language, against one in Python; all over gRPC, by the same client."""
    number = plan.amount(3_000, 1_500)
    chunks = plan.amount(400, 200)

    def stream(open_stream: Callable[[int], AsyncIterator[bytes]]) -> Stretch:
        async def measure() -> list[float]:
            began = time.perf_counter()
            size = 0
            async for chunk in open_stream(chunks):
                size += len(chunk)
            if size != chunks * CHUNK_BYTES:
                raise WrongAnswerError(f"the stream had {size:,} bytes")
            return [time.perf_counter() - began]

        return measure

    async with _worker_in(language) as theirs, worker_bridge(local_socket=False) as python:
        ways: Crowds = {
            language: (itertools.repeat(theirs.tools["add"]), number),
            "Python": (itertools.repeat(python.tools["add"]), number),
        }
        taken = await rates(plan, ways, width=_WIDTH)
        streamed = await in_rounds(
            plan,
            {
                language: stream(theirs.tools["chunks"].stream),
                "Python": stream(partial(python.tools["chunks"].stream, 1)),
            },
        )
    rate = {
        name: [TURNS * chunks * CHUNK_BYTES / sum(seconds) / 1e6 for seconds in rounds]
        for name, rounds in streamed.items()
    }
    details = {f"{name}, MB/s": statistics.median(found) for name, found in rate.items()}
    return {
        f"{language}-worker": Sample(ratios(taken[language], taken["Python"]), per_second(taken)),
        f"{language}-stream": Sample(ratios(rate[language], rate["Python"]), details),
    }


@asynccontextmanager
async def _worker_in(language: str) -> AsyncIterator[ToolBridge]:
    async with (
        running("hub", tools=0, local_socket=False) as hub,
        driver(language, "worker", hub.address),
        link_bridge(hub.address) as bridge,
    ):
        yield bridge


elixir_client, elixir_worker = partial(client, language="elixir"), partial(worker, language="elixir")
node_client, node_worker = partial(client, language="node"), partial(worker, language="node")
go_client, go_worker = partial(client, language="go"), partial(worker, language="go")
