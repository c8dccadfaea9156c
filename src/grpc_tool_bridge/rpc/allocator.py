"""When freed memory goes back to the operating system.

The first use of a page that is new to a process costs more than a copy of what is on it. So a process that handles
large payloads keeps what it has freed, up to a limit, and a hub gives it back when much less is held.
"""

import asyncio
import functools
import logging
from collections.abc import Callable

from grpc_tool_bridge.rpc.budgets import MIB, Budget

# Of free memory that is kept. Some copies of a few messages of the default limit, 10 MB, fit.
KEPT_BYTES = 64 * MIB
# Blocks up to this size can be kept. It is the most that every version of glibc accepts.
KEPT_BLOCK_BYTES = 32 * MIB

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# Seconds between checks, and the drop in held bytes that makes a trim worthwhile.
CHECK_INTERVAL = 2.0
WORTH_BYTES = 64 * MIB

_log = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Makes glibc keep up to KEPT_BYTES of freed memory for this process; does nothing with another C library.

    By default it returns a block of some MB once it is freed, and each page of the next block costs a fault.
    """
    mallopt = _function("mallopt")
    if mallopt is None:
        _log.debug("freed memory is returned as the C library decides: it has no mallopt")
    elif not (mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)):
        _log.debug("freed memory is returned as the C library decides: it refused other thresholds")
    else:
        _log.debug("up to %d MiB of freed memory are kept for reuse", KEPT_BYTES // MIB)


@functools.cache
def keep_for_streams() -> None:
    """Does ``keep_freed_memory`` once: this process reads a stream of large chunks, each of which is soon freed."""
    keep_freed_memory()


async def trim_forever(memory: Budget) -> None:
    """Trims the allocator whenever much memory was given back to ``memory``.

    glibc keeps free blocks for later, in fragments: after a burst of large requests, a hub would hold several times the
    memory that it counts, for good.
    """
    trim = _function("malloc_trim")
    while trim is not None:
        await asyncio.sleep(CHECK_INTERVAL)
        if memory.peak - memory.used >= WORTH_BYTES:
            memory.peak = memory.used
            await asyncio.to_thread(trim, 0)


def _function(name: str) -> Callable[..., int] | None:
    """Returns a function of glibc; None if the C library does not have it."""
    import ctypes  # noqa: PLC0415 - only once a hub serves

    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        # Another allocator or system.
        return None
    return function
