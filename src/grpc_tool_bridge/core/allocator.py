"""Returns free memory to the operating system."""

import asyncio
from collections.abc import Callable

from grpc_tool_bridge.rpc.budgets import MIB, Budget

# Seconds between checks, and the drop in held bytes that makes a trim worthwhile.
CHECK_INTERVAL = 2.0
WORTH_BYTES = 64 * MIB


async def trim_forever(memory: Budget) -> None:
    """Trims the allocator whenever much memory was given back to ``memory``.

    glibc keeps free blocks for later, in fragments: after a burst of large requests, a hub would hold several times the
    memory that it counts, for good.
    """
    trim = _trimmer()
    while trim is not None:
        await asyncio.sleep(CHECK_INTERVAL)
        if memory.peak - memory.used >= WORTH_BYTES:
            memory.peak = memory.used
            await asyncio.to_thread(trim, 0)


def _trimmer() -> Callable[[int], int] | None:
    import ctypes  # noqa: PLC0415 - only once a hub serves

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        # Another allocator or system trims by itself, or not at all.
        return None
    return trim
