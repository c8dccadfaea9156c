"""Wakes tasks that wait until something changes."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice

# How many are woken in one turn of the loop: everything else at the hub has to wait for all of them.
WOKEN_AT_ONCE = 100


class Notifier:
    """Wakes all waiting tasks; each then checks its own condition."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        # In the order in which they came.
        self._futures: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self) -> None:
        """Waits for the next ``notify_all``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        try:
            await future
        finally:
            # A woken one was removed already; a cancelled one must not stay.
            self._futures.pop(future, None)

    def notify_all(self) -> None:
        """Wakes all waiting tasks; if there are very many, some in each of the next turns."""
        if self._futures:
            notify_each((self,))


def notify_each(waiters: Iterable[Notifier]) -> None:
    """Wakes all tasks that wait for any of ``waiters``; if there are very many, some in each of the next turns."""
    woken: list[asyncio.Future[None]] = []
    for one in waiters:
        futures, one._futures = one._futures, {}  # noqa: SLF001 - of its own class
        woken += futures
    _wake_some(iter(woken))


def _wake_some(futures: Iterator[asyncio.Future[None]]) -> None:
    last = None
    for future in islice(futures, WOKEN_AT_ONCE):
        last = future
        if not future.done():
            future.set_result(None)
    if last is not None:
        last.get_loop().call_soon(_wake_some, futures)
