"""Tools for attacks on memory: one that waits with what it was given, and one that makes much."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any


class _Holder:
    """Calls wait here until they are let go."""

    def __init__(self) -> None:
        self._go_on = asyncio.Event()
        self._held = 0

    async def hold(self, data: bytes) -> int:
        """Waits with its argument, and returns its size."""
        self._held += 1
        try:
            await self._go_on.wait()
        finally:
            self._held -= 1
        return len(data)

    async def drip(self, data: bytes) -> AsyncIterator[int]:
        """Yields the size of its argument, and waits with it before it ends."""
        yield len(data)
        await self._go_on.wait()

    async def held(self) -> int:
        """Calls that wait now."""
        return self._held

    async def let_go(self) -> None:
        """Ends the wait of all, also of those to come."""
        self._go_on.set()


async def blob(size: int) -> bytes:
    """Makes so many bytes."""
    return b"x" * size


_holder = _Holder()
TOOLS: list[Callable[..., Any]] = [_holder.hold, _holder.drip, _holder.held, _holder.let_go, blob]
