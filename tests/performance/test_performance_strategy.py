"""The performance tests of the testing strategy, as behaviour: what must be right at speed. Times are benchmarks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge

CHUNK = 64 * 1024


def fast_tool(text: str) -> str:
    return text


def stream_processor(num_chunks: int) -> Iterator[bytes]:
    for index in range(num_chunks):
        yield index.to_bytes(4) * (CHUNK // 4)


def cpu_bound_tool(text: str) -> int:
    return sum(ord(character) for character in text)


async def compute_tool(number: int) -> int:
    return number * number


class Gate:
    """A tool that answers once so many calls of it are inside."""

    def __init__(self) -> None:
        self._inside = 0
        self._open = asyncio.Event()

    async def together(self, level: int, index: int) -> int:
        self._inside += 1
        if self._inside == level:
            self._inside = 0
            self._open.set()
            self._open = asyncio.Event()
        else:
            await self._open.wait()
        return index


@pytest.fixture
async def bridge() -> AsyncIterator[GRPCToolBridge]:
    tools: list[Any] = [fast_tool, stream_processor, cpu_bound_tool, compute_tool, Gate().together]
    async with BridgeServer(tools=tools) as server, GRPCToolBridge(server.address) as made:
        yield made


class TestPerformance:
    """Performance benchmarks."""

    async def test_tool_latency(self, bridge: GRPCToolBridge) -> None:
        """Calls one at a time: each answer is its own call's, and each call is counted and measured."""
        await bridge.initialize("perf_test")
        tool = bridge.tools["fast_tool"]
        for _ in range(10):
            assert await tool("warmup") == "warmup"

        for index in range(100):
            assert await tool(f"benchmark_input {index}") == f"benchmark_input {index}"

        metrics = await bridge.client.get_metrics("tool.fast_tool.*")
        counts = {name.rpartition(".")[2]: value for name, value in metrics.items()}
        assert counts["calls"].integer_value == 110
        assert counts["errors"].integer_value == 0

    async def test_streaming_throughput(self, bridge: GRPCToolBridge) -> None:
        """10 MB in 64 KiB chunks arrive complete and in order."""
        await bridge.initialize("stream_perf_test")
        num_chunks = (10 * 1024 * 1024) // CHUNK
        tool = bridge.tools["stream_processor"]

        chunks_received = 0
        async for chunk in tool.stream(num_chunks):
            assert chunk == chunks_received.to_bytes(4) * (CHUNK // 4)
            chunks_received += 1

        assert chunks_received == num_chunks == 160

    @pytest.mark.parametrize("level", [1, 10, 50, 100])
    async def test_concurrent_tool_scaling(self, bridge: GRPCToolBridge, level: int) -> None:
        """So many calls at once are all right, and they do run at once."""
        await bridge.initialize("concurrent_perf_test")
        tool = bridge.tools["cpu_bound_tool"]

        texts = [f"task_{index}" for index in range(level)]
        assert await asyncio.gather(*[tool(text) for text in texts]) == [cpu_bound_tool(text) for text in texts]

        together = bridge.tools["together"]
        assert await asyncio.gather(*[together(level, index) for index in range(level)]) == list(range(level))

    async def test_batch_vs_sequential(self, bridge: GRPCToolBridge) -> None:
        """A batch gives what the same calls give one after another."""
        await bridge.initialize("batch_perf_test")
        requests: list[dict[str, Any]] = [{"tool_id": "compute_tool", "args": [i], "kwargs": {}} for i in range(50)]

        seq_results = [await bridge.execute_tool(**req) for req in requests]
        batch_results = await bridge.execute_batch(requests)

        assert seq_results == batch_results == [i * i for i in range(50)]
