"""When a process is replaced by a new one: after so many calls, so much time, or with so much memory."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from grpc_tool_bridge.runner.memory import resident_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeLimits:
    """When a process is replaced.

    Attributes:
        max_calls: Calls that it runs; 0: unlimited.
        max_seconds: How long it lives; 0: unlimited.
        max_bytes: Memory that it and its descendants hold after a call; 0: unlimited. A new process is not replaced by
            another one before its first call, however much both hold.
        jitter: By which part, at most, calls and seconds are fewer for a process, so that processes that were started
            together are not replaced together; 0 to 1.
    """

    max_calls: int = 0
    max_seconds: float = 0.0
    max_bytes: int = 0
    jitter: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.max_calls or self.max_seconds or self.max_bytes)


class Age:
    """The age of one process.

    Args:
        limits: When it is replaced.
        pid: The process.
        draw: Returns a random number from 0 to 1.

    Attributes:
        calls: Calls that it has begun.
    """

    def __init__(self, limits: AgeLimits, pid: int, draw: Callable[[], float] = random.random) -> None:
        part = 1 - limits.jitter * draw()
        self.calls = 0
        self._pid = pid
        self._began_at = time.monotonic()
        self._max_calls = max(1, round(limits.max_calls * part)) if limits.max_calls else 0
        self._max_seconds = limits.max_seconds * part
        self._max_bytes = limits.max_bytes

    def reached(self) -> str:
        """Returns the limit that the process has reached, for people; empty if none."""
        if self._max_calls and self.calls >= self._max_calls:
            return f"{self.calls:,} calls"
        seconds = time.monotonic() - self._began_at
        if self._max_seconds and seconds >= self._max_seconds:
            return f"{seconds:,.0f} s"
        if self._max_bytes and self.calls and (held := resident_bytes(self._pid)) > self._max_bytes:
            return f"{held:,} bytes of memory"
        return ""
