"""The figure of a stream of large chunks."""

import itertools
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.bare import BareClient
from benchmarks.processes import plain_bridge, running
from benchmarks.timing import TURNS, Plan, Sample, in_turn
from benchmarks.work import CHUNK_BYTES, WrongAnswerError, check_chunk


async def chunk_stream(plan: Plan) -> dict[str, Sample]:
    """A stream of 64 KiB chunks from a tool in the hub, against a bare server stream of the same chunks."""
    number = plan.amount(200, 100)
    seeds = itertools.count()
    rates: dict[str, list[float]] = {"bridge": [], "bare": []}
    async with (
        running("hub") as hub,
        running("bare") as peer,
        plain_bridge(hub.address) as bridge,
        BareClient(peer.address) as bare,
    ):
        ways: dict[str, Any] = {"bridge": bridge.tools["chunks"].stream, "bare": bare.chunks}
        for round_number in range(-1, plan.rounds):
            seconds = dict.fromkeys(ways, 0.0)
            for turn in range(TURNS):
                for name in in_turn("bridge", "bare", round_number + turn):
                    seed = next(seeds)
                    seconds[name] += await _seconds_of(ways[name](seed, number), seed, number)
            if round_number >= 0:
                for name, rate in rates.items():
                    rate.append(TURNS * number * CHUNK_BYTES / seconds[name] / 1e6)
    ratios = [ours / theirs for ours, theirs in zip(rates["bridge"], rates["bare"], strict=True)]
    return {"stream": Sample(ratios, {f"{name}, MB/s": statistics.median(rate) for name, rate in rates.items()})}


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
