"""Tools that a hub offers to those who send it anything."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


async def echo(value: Any = None, times: int = 1) -> Any:
    """Returns what it is given."""
    return [value] * min(times, 3)


async def count(to: int = 3) -> AsyncIterator[int]:
    """Counts."""
    for number in range(min(to, 5)):
        yield number
        await asyncio.sleep(0)


TOOLS = [echo, count]
