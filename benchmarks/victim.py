"""The tools of an attacked hub, and the process that measures its health checks meanwhile."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TOKEN = "benchmark"
_LONG_TEXT = 100_000_000
_CAUSES = 100_000
# Between the answer of one health check and the next check.
INTERVAL_SECONDS = 0.01
_ANSWER_SECONDS = 60.0


class _SlowError(Exception):
    def __str__(self) -> str:
        time.sleep(1)
        return "slow"


async def take(value: Any) -> str:
    """Returns the type of its argument."""
    return type(value).__name__


async def unique(values: set[int]) -> int:
    """Counts different integers."""
    return len(values)


async def hold(data: bytes) -> int:
    """Keeps its argument for a second."""
    await asyncio.sleep(1)
    return len(data)


async def raise_long_text() -> None:
    """Raises an exception with 100 MB of text."""
    raise ValueError("x" * _LONG_TEXT)


async def raise_chain() -> None:
    """Raises an exception with 100,000 causes."""
    error = ValueError("first")
    for _ in range(_CAUSES):
        following = ValueError("further")
        following.__cause__ = error
        error = following
    raise error


async def raise_slow_text() -> None:
    """Raises an exception whose text takes a second."""
    raise _SlowError


TOOLS = [take, unique, hold, raise_long_text, raise_chain, raise_slow_text]


class Watch:
    """The health checks of a hub, made by a separate process.

    Args:
        process: The process that makes them.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begun(self) -> None:
        """Waits for the first answer, and discards it."""
        while not await self.waits():
            pass

    async def waits(self) -> list[float]:
        """Returns the seconds of each check since the last time, and of the one in progress."""
        assert self._process.stdin is not None  # it was started with pipes
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(_ANSWER_SECONDS):
            seen: list[float] = json.loads(await self._process.stdout.readline())
        return seen


@asynccontextmanager
async def watching(address: str) -> AsyncGenerator[Watch, None]:
    """Starts a process that asks the hub at ``address`` for its health again and again, and ends it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.victim", address),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    assert process.stdin is not None  # it was started with a pipe
    try:
        yield Watch(process)
    finally:
        process.stdin.close()
        await process.wait()


class _Checks:
    """Health checks, one after the other."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._waits: list[float] = []
        self._begun: float | None = None
        self._answered = False

    def make(self) -> None:
        """Makes them for as long as the process lives."""
        with grpc.insecure_channel(self._address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                self._begun = begun = time.perf_counter()
                stub.Check(health_pb2.HealthCheckRequest())
                self._begun, self._answered = None, True
                self._waits.append(time.perf_counter() - begun)
                time.sleep(INTERVAL_SECONDS)

    def seen(self) -> list[float]:
        """Returns how long each took since this was called last."""
        begun, seen, self._waits = self._begun, self._waits, []
        return seen if begun is None or not self._answered else [*seen, time.perf_counter() - begun]


def _main(address: str) -> None:
    checks = _Checks(address)
    threading.Thread(target=checks.make, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(checks.seen()), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
