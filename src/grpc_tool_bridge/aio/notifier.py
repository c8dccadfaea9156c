"""Those who wait until something changes."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice

# So many are woken in one turn of the loop. Each has something to do then, and whoever wants something else of the hub
# waits behind all of them.
WOKEN_AT_ONCE = 100


class Notifier:
    """Wakes all who wait; each then looks for itself whether what it waits for has come."""

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
            # Woken, it is off the list already; cancelled, it must not stay there.
            self._futures.pop(future, None)

    def notify_all(self) -> None:
        """Wakes those who wait now; of very many, some in each of the next turns."""
        if self._futures:
            notify_each((self,))


def notify_each(waiters: Iterable[Notifier]) -> None:
    """Wakes those who wait now at any of ``waiters``; of very many, some in each of the next turns."""
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
