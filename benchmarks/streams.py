"""Figures of a stream of large chunks."""

import itertools
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from benchmarks.peers.bare import BareClient
from benchmarks.processes import link_bridge, plain_bridge, running, worker_bridge
from benchmarks.timing import TURNS, Plan, Sample, Stretch, in_rounds, ratios
from benchmarks.work import CHUNK_BYTES, WrongAnswerError, check_chunk


async def chunk_stream(plan: Plan) -> dict[str, Sample]:
    """Streams of 64 KiB chunks from a tool in the hub, against a bare server stream of the same chunks."""
    async with (
        running("hub") as hub,
        running("bare") as peer,
        link_bridge(hub.address) as link,
        plain_bridge(hub.address) as plain,
        BareClient(peer.address) as bare,
    ):
        streams = {"link": link.tools["chunks"].stream, "plain RPC": plain.tools["chunks"].stream, "bare": bare.chunks}
        rates = await _rates(plan, streams)
    return {"link-stream": _against_bare(rates, "link"), "plain-stream": _against_bare(rates, "plain RPC")}


async def worker_stream(plan: Plan) -> dict[str, Sample]:
    """Streams of 64 KiB chunks from a worker's tool, over two links, against a bare stream of the same chunks."""
    async with worker_bridge() as bridge, running("bare") as peer, BareClient(peer.address) as bare:
        rates = await _rates(plan, {"worker": bridge.tools["chunks"].stream, "bare": bare.chunks})
    return {"worker-stream": _against_bare(rates, "worker")}


async def _rates(plan: Plan, streams: Mapping[str, Callable[[int, int], Any]]) -> dict[str, list[float]]:
    """Measures streams; returns MB/s of each and round."""
    number = plan.amount(200, 100)
    seeds = itertools.count()

    def stretch(open_stream: Callable[[int, int], Any]) -> Stretch:
        async def measure() -> list[float]:
            seed = next(seeds)
            return [await _seconds_of(open_stream(seed, number), seed, number)]

        return measure

    taken = await in_rounds(plan, {name: stretch(stream) for name, stream in streams.items()})
    return {
        name: [TURNS * number * CHUNK_BYTES / sum(seconds) / 1e6 for seconds in rounds]
        for name, rounds in taken.items()
    }


def _against_bare(rates: Mapping[str, list[float]], name: str) -> Sample:
    details = {f"{way}, MB/s": statistics.median(rates[way]) for way in (name, "bare")}
    return Sample(ratios(rates[name], rates["bare"]), details)


async def _seconds_of(stream: AsyncIterator[bytes], seed: int, number: int) -> float:
    index = 0
    start = time.perf_counter()
    async for chunk in stream:
        check_chunk(chunk, seed, index)
        index += 1
    seconds = time.perf_counter() - start
    if index != number:
        raise WrongAnswerError(f"the stream had {index} chunks instead of {number}")
    return seconds
