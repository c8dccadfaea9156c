"""The benchmarks of the testing strategy, each beside a peer that does the same work.

What is asserted are results, never times: those are in the report, as ratios.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from benchmarks.peers.bare import BareClient
from benchmarks.processes import running

from grpc_tool_bridge import GRPCToolBridge
from performance.conftest import Comparison

Pair = tuple[int, int]

# In a round, which is short so that the two sides alternate often: what disturbs one disturbs the next one, too.
CALLS = 15
CALLS_AT_ONCE = 200
BATCH = 50
CHUNKS = 160  # of 64 KiB: 10 MB
LEVELS = [10, 50, 100]
# What is compared has the same load beside it as long as no second comparison runs.
pytestmark = pytest.mark.xdist_group("benchmarks")


class Peers:
    """A hub and a bare gRPC server in processes of their own, and a client of each."""

    def __init__(self, bridge: GRPCToolBridge, bare: BareClient) -> None:
        self.bridge = bridge
        self.bare = bare
        self._numbers = itertools.count()

    @property
    def add(self) -> Any:
        """The hub's tool."""
        return self.bridge.tools["add"]

    def pairs(self, number: int) -> list[Pair]:
        """Returns arguments that no call has had."""
        return [(next(self._numbers), 1) for _ in range(number)]


@pytest.fixture(scope="module")
def peers(runner: asyncio.Runner) -> Iterator[Peers]:
    with contextlib.ExitStack() as ended:
        stack = AsyncExitStack()
        ended.callback(lambda: runner.run(stack.aclose()))

        async def start() -> Peers:
            hub = await stack.enter_async_context(running("hub"))
            peer = await stack.enter_async_context(running("bare"))
            bridge = await stack.enter_async_context(GRPCToolBridge(hub.address))
            await bridge.initialize()
            return Peers(bridge, await stack.enter_async_context(BareClient(peer.address)))

        yield runner.run(start())


async def one_by_one(way: Any, pairs: list[Pair]) -> int:
    """Returns how many answers are right."""
    return sum([await way(a, b) == a + b for a, b in pairs])


async def at_once(way: Any, pairs: list[Pair], level: int) -> int:
    """Makes so many calls at once, then so many again; returns how many answers are right."""
    right = 0
    for first in range(0, len(pairs), level):
        group = pairs[first : first + level]
        answers = await asyncio.gather(*[way(a, b) for a, b in group])
        right += sum(answer == a + b for answer, (a, b) in zip(answers, group, strict=True))
    return right


class TestPerformance:
    """Performance benchmarks."""

    def test_tool_latency(self, comparison: Comparison, peers: Peers) -> None:
        """Calls one at a time."""
        right = comparison.times(
            lambda: one_by_one(peers.add, peers.pairs(CALLS)),
            lambda: one_by_one(peers.bare.add, peers.pairs(CALLS)),
            than="bare grpc.aio, one call at a time",
        )
        assert right == (CALLS, CALLS)

    def test_streaming_throughput(self, comparison: Comparison, peers: Peers) -> None:
        """10 MB in 64 KiB chunks."""

        async def lengths(chunks: Any) -> list[int]:
            return [len(chunk) async for chunk in chunks]

        ours, bare = comparison.times(
            lambda: lengths(peers.bridge.tools["chunks"].stream(1, CHUNKS)),
            lambda: lengths(peers.bare.chunks(1, CHUNKS)),
            than="a bare grpc.aio stream",
        )
        assert ours == bare == [64 * 1024] * CHUNKS

    @pytest.mark.parametrize("level", LEVELS)
    def test_concurrent_tool_scaling(self, comparison: Comparison, peers: Peers, level: int) -> None:
        """So many calls at once."""
        right = comparison.times(
            lambda: at_once(peers.add, peers.pairs(CALLS_AT_ONCE), level),
            lambda: at_once(peers.bare.add, peers.pairs(CALLS_AT_ONCE), level),
            than=f"bare grpc.aio, {level} calls at once",
        )
        assert right == (CALLS_AT_ONCE, CALLS_AT_ONCE)

    def test_batch_vs_sequential(self, comparison: Comparison, peers: Peers) -> None:
        """A batch against the same calls one by one."""

        async def batch(pairs: list[Pair]) -> int:
            answers = await peers.bridge.execute_batch([{"tool_id": "add", "args": pair} for pair in pairs])
            return sum(answer == a + b for answer, (a, b) in zip(answers, pairs, strict=True))

        right = comparison.times(
            lambda: batch(peers.pairs(BATCH)),
            lambda: one_by_one(peers.add, peers.pairs(BATCH)),
            than="the same calls one at a time",
        )
        assert right == (BATCH, BATCH)
