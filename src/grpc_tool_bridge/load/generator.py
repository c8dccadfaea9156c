"""Makes calls for some time, in a closed or an open loop."""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.load.arrivals import Arrivals, arrivals
from grpc_tool_bridge.load.exchanges import Call, Exchange
from grpc_tool_bridge.load.results import Results, Unfinished

# Between two looks at how late the event loop is.
_LOOK_SECONDS = 0.01
# After so many calls that are due at once, answers are read.
_BURST = 64


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many calls are made, and when.

    Attributes:
        duration: Seconds that are measured.
        warmup: Seconds of calls before that, which are not counted.
        concurrency: Calls that each client makes at once, each when its previous one has ended (closed loop).
        rate: Calls per second of all clients together, made when they are due whether or not others have ended (open
            loop); None: closed loop.
        arrivals, seed: When they are due; see ``arrivals``.
        max_in_flight: Calls in flight of an open loop; further ones are dropped.
    """

    duration: float
    warmup: float = 0.0
    concurrency: int = 1
    rate: float | None = None
    arrivals: Arrivals = "constant"
    seed: int = 0
    max_in_flight: int = 10_000


class LoadGenerator:
    """Makes the calls of a plan.

    Args:
        plan: How many, and when.
        calls: The call of each client; an open loop takes them in turn.

    Attributes:
        results: What has been measured so far.
    """

    def __init__(self, plan: Plan, calls: Sequence[Call]) -> None:
        self.results = Results()
        self._plan = plan
        self._calls = calls
        # When each call in flight was due.
        self._due: dict[int, float] = {}
        self._numbers = itertools.count()
        self._start = self._end = 0.0

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._due)

    @property
    def progress(self) -> float:
        """Seconds of the duration that have passed; negative while it warms up."""
        if not self._end:
            return -self._plan.warmup
        now = asyncio.get_running_loop().time()
        return now - self._start if now < self._end else self._plan.duration

    async def run(self) -> None:
        """Makes the calls, and returns when the last of them has ended.

        If it is cancelled, ``results`` holds what was measured until then.
        """
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self._start = begin + self._plan.warmup
        self._end = self._start + self._plan.duration
        watching = loop.create_task(self._watch_generator(), name="load generator lag")
        try:
            async with asyncio.TaskGroup() as group:
                if self._plan.rate is None:
                    for call in self._calls:
                        for _ in range(self._plan.concurrency):
                            group.create_task(self._repeat(call), name="closed loop")
                else:
                    await self._arrive(group, begin, self._plan.rate)
        except asyncio.CancelledError:
            oldest = loop.time() - min(self._due.values(), default=loop.time())
            self.results.unfinished = Unfinished(len(self._due), oldest)
            raise
        finally:
            self.results.seconds = max(0.0, min(loop.time(), self._end) - self._start)
            watching.cancel()
            await asyncio.wait([watching])

    async def _repeat(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < self._end:
            await self._make(call, now)

    async def _arrive(self, group: asyncio.TaskGroup, begin: float, rate: float) -> None:
        """Starts each call when it is due."""
        plan, loop = self._plan, asyncio.get_running_loop()
        calls = itertools.cycle(self._calls)
        burst = 0
        for offset in arrivals(plan.arrivals, rate, plan.seed):
            due = begin + offset
            if due >= self._end:
                return
            wait = due - loop.time()
            burst = 0 if wait > 0 else burst + 1
            if wait > 0 or burst % _BURST == 0:
                await asyncio.sleep(max(0.0, wait))
            if len(self._due) >= plan.max_in_flight:
                self.results.dropped += due >= self._start
                continue
            group.create_task(self._make(next(calls), due), name="open loop")

    def _make(self, call: Call, due: float) -> Coroutine[Any, Any, None]:
        """Makes a call, which is in flight from now on: before the task that awaits it has begun."""
        number = next(self._numbers)
        self._due[number] = due
        return self._finish(call, number, due)

    async def _finish(self, call: Call, number: int, due: float) -> None:
        """Waits for the end of a call, and counts it unless it was due before the measurement."""
        try:
            exchange = await call()
        except ToolBridgeError as error:
            self._ended(number, due, error)
            # If calls fail without waiting, nothing else would have a turn.
            await asyncio.sleep(0)
        else:
            self._ended(number, due, exchange)

    def _ended(self, number: int, due: float, outcome: Exchange | ToolBridgeError) -> None:
        """Counts a call that has ended."""
        now = asyncio.get_running_loop().time()
        del self._due[number]
        if self._start <= now <= self._end:
            self.results.ended_within += 1
            self.results.succeeded_within += isinstance(outcome, Exchange)
        if due < self._start:
            return
        if isinstance(outcome, Exchange):
            self.results.succeeded(due, now, outcome)
        else:
            self.results.failed_with(outcome, due, now)

    async def _watch_generator(self) -> None:
        """Measures how busy and how late the generator itself is, from the start of the measurement."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._plan.warmup)
        start, computed = loop.time(), time.thread_time()
        while (due := loop.time() + _LOOK_SECONDS) < self._end:
            await asyncio.sleep(_LOOK_SECONDS)
            now = loop.time()
            self.results.lag.record(now - due)
            self.results.busy = (time.thread_time() - computed) / (now - start)
