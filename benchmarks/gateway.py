"""Figures of the HTTP gateway."""

import itertools
import statistics
import time

from benchmarks.callers import Crowds, per_second, rates
from benchmarks.peers.bare_http import HttpClient
from benchmarks.processes import running
from benchmarks.timing import TURNS, Plan, Sample, Stretch, in_rounds, ratios
from benchmarks.work import WrongAnswerError

READERS = 1_000


async def calls(plan: Plan) -> dict[str, Sample]:
    """Calls by POST, 50 at once, against a bare route that adds."""
    async with (
        running("gateway") as hub,
        running("http") as peer,
        HttpClient(hub.address) as gateway,
        HttpClient(peer.address) as bare,
    ):
        number = plan.amount(2_000, 600)
        ways: Crowds = {
            "gateway": (itertools.repeat(gateway.add), number),
            "bare": (itertools.repeat(bare.add), number),
        }
        taken = await rates(plan, ways, width=50)
    return {"http-50": Sample(ratios(taken["gateway"], taken["bare"]), per_second(taken))}


async def events(plan: Plan) -> dict[str, Sample]:
    """A stream of small values as server-sent events, against a bare one of the same."""
    number = plan.amount(25_000, 5_000)

    def stretch(client: HttpClient) -> Stretch:
        async def measure() -> list[float]:
            start = time.perf_counter()
            found = await client.count(number)
            if found != number:
                raise WrongAnswerError(f"the stream had {found} events instead of {number}")
            return [time.perf_counter() - start]

        return measure

    async with (
        running("gateway") as hub,
        running("http") as peer,
        HttpClient(hub.address) as gateway,
        HttpClient(peer.address) as bare,
    ):
        taken = await in_rounds(plan, {"gateway": stretch(gateway), "bare": stretch(bare)})
    rate = {name: [TURNS * number / sum(seconds) for seconds in rounds] for name, rounds in taken.items()}
    details = {f"{name}, events/s": statistics.median(found) for name, found in rate.items()}
    return {"http-events": Sample(ratios(rate["gateway"], rate["bare"]), details)}


async def readers(plan: Plan) -> dict[str, Sample]:
    """Memory of the hub for 1,000 readers of events that idle."""
    taken = []
    for _ in range(plan.amount(3, 1)):
        async with running("gateway") as hub, HttpClient(hub.address) as client:
            for _ in range(20):
                await client.add(1, 2)
            before = await hub.ask("rss")
            for _ in range(READERS):
                reader, writer = await client.connect()
                writer.write(b"GET /api/sessions/s/variables/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
            taken.append((await hub.ask("rss") - before) / 1e6)
    return {"http-readers": Sample(taken)}
