"""Gives memory that is free back to the system."""

import asyncio
from collections.abc import Callable

from grpc_tool_bridge.rpc.budgets import MIB, Budget

# How often it is looked at, in seconds, and how much less than before has to be held for it to be worth while.
LOOK_SECONDS = 2.0
WORTH_BYTES = 64 * MIB


async def trim_forever(memory: Budget) -> None:
    """Lets the allocator give back what it keeps of blocks that are free, whenever much was given back to ``memory``.

    glibc keeps large blocks for the next ones, in pieces: after a flood of large requests a hub would hold several
    times what it counts, for good.
    """
    trim = _trimmer()
    while trim is not None:
        await asyncio.sleep(LOOK_SECONDS)
        if memory.peak - memory.used >= WORTH_BYTES:
            memory.peak = memory.used
            await asyncio.to_thread(trim, 0)


def _trimmer() -> Callable[[int], int] | None:
    import ctypes  # noqa: PLC0415 - only once a hub serves

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        # Another allocator, or another system: they do it themselves, or not at all.
        return None
    return trim
