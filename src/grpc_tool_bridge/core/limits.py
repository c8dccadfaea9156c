"""Limits: places for calls at once, and calls in a minute."""

import asyncio
import time
from collections import OrderedDict

from grpc_tool_bridge.errors import ResourceExhaustedError


class ConcurrencyLimiter:
    """So many calls at once; more wait in the order in which they came.

    Args:
        capacity: Calls at once.
        max_waiting: Calls that may wait; more are refused.
        owner: Whose places these are, for the text of the refusal.
    """

    __slots__ = ("_waiting", "capacity", "max_waiting", "owner", "used")

    def __init__(self, capacity: int, max_waiting: int, owner: str) -> None:
        self.capacity = capacity
        self.max_waiting = max_waiting
        self.owner = owner
        self.used = 0
        # In the order in which they came; one may leave from anywhere.
        self._waiting: OrderedDict[asyncio.Future[None], None] | None = None

    def __str__(self) -> str:
        return f"a place ({self.owner} runs {self.capacity:,} at once)"

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._waiting) if self._waiting else 0

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self.used >= self.capacity or bool(self._waiting)

    def try_acquire(self) -> bool:
        """Takes a place, where one is free and nobody waits for it."""
        if self.used < self.capacity and not self._waiting:
            self.used += 1
            return True
        return False

    async def acquire(self) -> None:
        """Takes a place, waiting for it behind those who came before.

        Raises:
            ResourceExhaustedError: Too many wait already.
        """
        if self.try_acquire():
            return
        if self._waiting is None:
            self._waiting = OrderedDict()
        if len(self._waiting) >= self.max_waiting:
            raise ResourceExhaustedError(
                f"{self.owner} has {self.capacity:,} calls running and {self.max_waiting:,} waiting, "
                "which is its limit; call again later",
                details={"retry_after": "1"},
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        try:
            await place
        except asyncio.CancelledError:
            # The place may have been handed over in the same turn of the loop as the cancellation.
            if place.done() and not place.cancelled():
                self.release()
            else:
                # Unless ``release`` has passed it over already.
                self._waiting.pop(place, None)
            raise

    def release(self) -> None:
        """Gives a place back, or on to the first that waits."""
        waiting = self._waiting
        while waiting:
            place, _ = waiting.popitem(last=False)
            if not place.done():
                place.set_result(None)
                return
        self.used -= 1


class RateLimit:
    """So many calls in a minute: a bucket that refills evenly and holds one minute's calls.

    Args:
        per_minute: Calls in a minute.
    """

    __slots__ = ("_filled_at", "_level", "per_minute")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._filled_at = time.monotonic()

    def take(self, tool_name: str) -> None:
        """Counts one call.

        Raises:
            ResourceExhaustedError: The minute's calls are used up; ``retry_after`` says when the next is free.
        """
        now = time.monotonic()
        rate = self.per_minute / 60.0
        self._level = min(float(self.per_minute), self._level + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._level < 1.0:
            seconds = (1.0 - self._level) / rate
            raise ResourceExhaustedError(
                f"{tool_name} may be called {self.per_minute:,} times a minute; call again in {seconds:.1f} s",
                error_type="RateLimitExceeded",
                details={"retry_after": f"{seconds:.3f}"},
            )
        self._level -= 1.0
