"""Limits: concurrent calls, and calls per minute."""

import asyncio
import time
from collections.abc import Sequence

from grpc_tool_bridge.core.fair_queue import FairQueue
from grpc_tool_bridge.errors import ResourceExhaustedError


class ConcurrencyLimiter:
    """Limits concurrent calls; further calls wait in the order in which they came, in turns of those who make them.

    Args:
        capacity: Permits, and so concurrent calls.
        max_waiting: Calls that may wait; further ones are refused.
        owner: Whose limit it is, for error texts.

    Attributes:
        used: Permits that are taken.
        queue: The calls that wait; None until there is one.
    """

    __slots__ = ("capacity", "max_waiting", "owner", "queue", "used")

    def __init__(self, capacity: int, max_waiting: int, owner: str) -> None:
        self.capacity = capacity
        self.max_waiting = max_waiting
        self.owner = owner
        self.used = 0
        self.queue: FairQueue[asyncio.Future[None]] | None = None

    def __str__(self) -> str:
        return f"a permit ({self.owner} runs {self.capacity:,} at once)"

    @property
    def waiting(self) -> int:
        """Calls that wait for a permit."""
        return len(self.queue) if self.queue else 0

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self.used >= self.capacity or bool(self.queue)

    def try_acquire(self) -> bool:
        """Takes a permit if one is free and no call waits for it; returns whether it did."""
        if self.used < self.capacity and not self.queue:
            self.used += 1
            return True
        return False

    async def acquire(self, owner: str = "") -> None:
        """Takes a permit, after the calls that already wait.

        Args:
            owner: Who makes the call, if that is known: those who wait take turns.

        Raises:
            ResourceExhaustedError: Too many calls wait already, and nobody who makes them has more of them than
                ``owner`` would; or a call of somebody with fewer took its place.
        """
        if self.try_acquire():
            return
        if self.queue is None:
            self.queue = FairQueue()
        if len(self.queue) >= self.max_waiting:
            displaced = self.queue.displace(owner)
            if displaced is None:
                raise self._full()
            if not displaced.done():
                displaced.set_exception(self._full())
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append(permit, owner)
        try:
            await permit
        except asyncio.CancelledError:
            # The permit may have been granted in the same turn of the loop as the cancellation.
            if permit.done() and not permit.cancelled():
                if permit.exception() is None:
                    self.release()
            else:
                # ``release`` may have removed it already.
                self.queue.remove(permit)
            raise

    def _full(self) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"{self.owner} has {self.capacity:,} calls running and {self.max_waiting:,} waiting, "
            "which is its limit; call again later",
            details={"retry_after": "1"},
        )

    def release(self) -> None:
        """Returns a permit, or grants it to the first call that waits."""
        waiting = self.queue
        while waiting:
            permit = waiting.take()
            if not permit.done():
                permit.set_result(None)
                return
        self.used -= 1


Permits = Sequence[ConcurrencyLimiter]


def release(permits: Permits) -> None:
    """Releases permits."""
    for limiter in permits:
        limiter.release()


class RateLimit:
    """Limits calls per minute: a token bucket that refills evenly and holds one minute's calls.

    Args:
        per_minute: Calls per minute.
    """

    __slots__ = ("_filled_at", "_level", "per_minute")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._filled_at = time.monotonic()

    @property
    def used(self) -> int:
        """Calls of the last minute that still count."""
        refilled = self._level + (time.monotonic() - self._filled_at) * self.per_minute / 60.0
        return self.per_minute - int(min(float(self.per_minute), refilled))

    def take(self, tool_name: str) -> None:
        """Counts one call.

        Raises:
            ResourceExhaustedError: The limit is exceeded; ``retry_after`` is in seconds.
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
