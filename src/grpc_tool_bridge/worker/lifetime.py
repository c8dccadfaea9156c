"""How long a worker's process serves before it is replaced."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.config.argument_checks import check_count, check_part, check_seconds
from grpc_tool_bridge.runner.aging import Age, AgeLimits

# Seconds between two looks at time and memory.
LOOK_SECONDS = 1.0

MAX_BYTES = 2**63 - 1


class WorkerLifetime:
    """The limits of a worker's process, and whether it has reached one of them.

    The worker goes on when it has; ``reached`` says so, and its program then lets it leave.

    Args:
        max_calls: Calls and runs that it serves; 0: unlimited.
        max_seconds: How long it lives; 0: unlimited.
        max_bytes: Memory that it and its processes hold; 0: unlimited. Linux only.
        jitter: By which part, at most, calls and seconds are fewer at random, so that workers that were started
            together are not replaced together; 0 to 1.

    Raises:
        ValidationError: A limit is not valid.
    """

    def __init__(
        self, *, max_calls: int = 0, max_seconds: float = 0.0, max_bytes: int = 0, jitter: float = 0.1
    ) -> None:
        check_count("max_calls", max_calls)
        check_seconds("max_seconds", max_seconds)
        check_count("max_bytes", max_bytes, most=MAX_BYTES)
        check_part("jitter", jitter)
        limits = AgeLimits(max_calls=max_calls, max_seconds=max_seconds, max_bytes=max_bytes, jitter=jitter)
        self._age = Age(limits, os.getpid())
        self._max_calls = max_calls
        self._called = asyncio.Event()

    async def reached(self) -> str:
        """Waits until a limit is reached; returns which, for people."""
        while not (reached := self._age.reached()):
            self._called.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._called.wait()
            except TimeoutError:
                continue
        return reached

    def counted(self, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Returns a method of a worker that counts its calls."""

        def call(request: Any, context: Any) -> Any:
            self._age.calls += 1
            if self._max_calls:
                self._called.set()
            return method(request, context)

        return call
