"""Those who wait until something changes."""

import asyncio


class Waiters:
    """Wakes all who wait, at once; each then looks for itself whether what it waits for has come."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self) -> None:
        """Waits for the next ``wake``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            # Woken, it is off the list already; cancelled, it must not stay there.
            if future in self._futures:
                self._futures.remove(future)

    def wake(self) -> None:
        """Wakes those who wait now."""
        if not self._futures:
            return
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)
