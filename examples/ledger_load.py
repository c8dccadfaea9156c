"""The load of demo_cluster.py, and what must be there after it."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self

from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, ToolCommunicationError, UnavailableError

WRITERS, PAYERS, COUNTERS = 8, 8, 2
# There are 669 primes below it.
PRIMES_BELOW, PRIMES = 5_000, 669
# The longest that anything takes while NATS elects a leader is some seconds.
PATIENCE = 60.0
AMOUNT = 7


class Load:
    """Writers, payers and counters, each of which does one thing after the other, and a watch.

    Whoever gets no answer asks again: a writer sets the same number, a payer calls with the same idempotency key.

    Args:
        bridge: Has a session.
        ledger: The file that payments are written to.
    """

    def __init__(self, bridge: GRPCToolBridge, ledger: Path) -> None:
        self._bridge, self._ledger = bridge, ledger
        self._done = self._asked_again = 0
        # When the last write began that was acknowledged.
        self._last_write = 0.0
        self._written = dict.fromkeys((f"writer-{number}" for number in range(WRITERS)), 0)
        self._revisions: set[int] = set()
        self._paid: list[str] = []
        self._in_doubt: list[str] = []
        self._seen: list[int] = []
        self._changed = asyncio.Event()
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        watching = self._watch()
        self._tasks = [asyncio.create_task(each) for each in (*map(self._write, self._written), watching)]
        self._tasks += [asyncio.create_task(self._pay(number)) for number in range(PAYERS)]
        self._tasks += [asyncio.create_task(self._count_primes()) for _ in range(COUNTERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        async with asyncio.timeout(PATIENCE):
            watching = self._tasks.pop(WRITERS)
            await asyncio.gather(*self._tasks)
            last = max(self._revisions, default=0)
            while last not in self._seen:  # noqa: ASYNC110 - the last change is seen soon
                await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------ what it does

    async def _write(self, name: str) -> None:
        while not self._is_over:
            number, begun = self._written[name] + 1, time.monotonic()
            write = partial(self._bridge.session_context.set_variable, name, number)
            revision = await self._until_answered(write)
            assert isinstance(revision, int)
            self._written[name] = number
            self._revisions.add(revision)
            self._note()
            self._last_write = max(self._last_write, begun)

    async def _pay(self, number: int) -> None:
        count = 0
        while not self._is_over:
            payment = f"{number}-{count}"
            count += 1
            pay = partial(self._bridge.tools["pay"].with_options(idempotency_key=payment), payment, AMOUNT)
            try:
                await self._until_answered(pay)
            except ToolBridgeError as error:
                if error.error_type != "IdempotencyConflict":
                    raise
                # Its hub was killed in the middle of it: whether it was paid is not known, and it is not paid again.
                self._in_doubt.append(payment)
            else:
                self._paid.append(payment)
                self._note()

    async def _count_primes(self) -> None:
        while not self._is_over:
            found = await self._until_answered(lambda: self._bridge.tools["count_primes"](0, PRIMES_BELOW))
            assert found == PRIMES, found
            self._note()

    async def _watch(self) -> None:
        async for change in self._bridge.session_context.watch_variables(*self._written):
            self._seen.append(change.revision)

    async def _until_answered(self, ask: Callable[[], Awaitable[object]]) -> object:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await ask()
                except (ToolCommunicationError, UnavailableError):
                    self._asked_again += 1
                    await asyncio.sleep(0.02)

    def _note(self) -> None:
        self._done += 1
        self._changed.set()

    # ------------------------------------------------------------------------------------------------ what is asked

    async def acknowledged(self, count: int) -> int:
        """Waits until so much more was acknowledged; returns it."""
        before = self._done
        await self._until(lambda: self._done >= before + count)
        return self._done - before

    def kill(self, pid: int) -> float:
        """Kills a process; returns when."""
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()

    async def first_write_after(self, begun: float) -> float:
        """Waits until a write was acknowledged that began after some time; returns how many seconds that took."""
        await self._until(lambda: self._last_write > begun)
        return time.monotonic() - begun

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait([changed, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                for task in self._tasks:
                    if task.done():
                        task.result()

    async def count(self, say: Callable[[str], None]) -> bool:
        """Compares what was acknowledged with what is there, and says so; returns whether nothing was lost."""
        kept = {name: await self._bridge.session_context.get_variable(name) for name in self._written}
        lost_writes = sum(kept[name] != number for name, number in self._written.items())
        say(f"{sum(self._written.values()):,} writes acknowledged; variables without their last value: {lost_writes}")
        missed, repeated = self._revisions - set(self._seen), len(self._seen) - len(set(self._seen))
        say(f"the watch saw {len(self._seen):,} changes; missed: {len(missed)}, repeated: {repeated}")
        lines = Counter(line.split()[0] for line in self._ledger.read_text(encoding="utf-8").splitlines())
        lost = [payment for payment in self._paid if payment not in lines]
        twice = [payment for payment, times in lines.items() if times > 1]
        say(f"{len(self._paid):,} payments acknowledged; not in the ledger: {len(lost)}, in it twice: {len(twice)}")
        say(f"{self._asked_again} requests got no answer and were made again; payments in doubt: {len(self._in_doubt)}")
        return not (lost_writes or missed or repeated or lost or twice)
