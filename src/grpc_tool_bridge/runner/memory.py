"""How much memory a process and its descendants hold, and a watch that notices when it is too much."""

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Seconds between two looks. Each takes some 50 µs.
WATCH_INTERVAL = 0.05
# After a look that takes longer, such as one at many descendants, the next comes later: all take at most this part of
# the time.
MAX_PART = 0.02

_PROC = Path("/proc")

_log = logging.getLogger(__name__)


def resident_bytes(pid: int) -> int:
    """Returns the memory that a process and its descendants hold; 0 if it has ended, or if the system does not tell.

    It is the sum of their resident memory, so what they share counts more than once; see ``held_bytes``.
    """
    return sum(_resident(process) for process in _family(pid))


def held_bytes(pid: int, limit: int) -> int:
    """Returns what ``resident_bytes`` does; if that is over ``limit``, what descendants share counts only once.

    To tell that takes the system a while, so it is asked only then.
    """
    resident = resident_bytes(pid)
    family = list(_family(pid)) if resident > limit else []
    return sum(_proportional(process) or _resident(process) for process in family) if len(family) > 1 else resident


class MemoryWatch:
    """Watches the memory of a process, in the running event loop.

    Args:
        pid: The process.
        limit: Bytes that it and its descendants may hold.
        on_exceeded: Called once with what they hold, when that is more.
    """

    def __init__(self, pid: int, limit: int, on_exceeded: Callable[[int], None]) -> None:
        self._pid = pid
        self._limit = limit
        self._on_exceeded = on_exceeded
        self._timer: asyncio.TimerHandle | None = None
        if is_supported():
            self._schedule(WATCH_INTERVAL)
        else:
            _warn_unsupported()

    def stop(self) -> None:
        """Ends the watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        began = time.monotonic()
        held = held_bytes(self._pid, self._limit)
        if held > self._limit:
            self._timer = None
            self._on_exceeded(held)
        else:
            self._schedule(max(WATCH_INTERVAL, (time.monotonic() - began) / MAX_PART))


def is_supported() -> bool:
    """Returns whether the system tells how much memory a process holds; Linux does."""
    return (_PROC / "self" / "statm").exists()


@functools.cache
def _warn_unsupported() -> None:
    _log.warning("max_memory_bytes and max_process_bytes are not enforced: this system has no /proc")


def _family(pid: int) -> Iterator[int]:
    """Yields a process and its descendants."""
    ahead = [pid]
    while ahead:
        process = ahead.pop()
        yield process
        ahead += _children(process)


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        # Each thread has its own.
        for thread in os.scandir(_PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                yield from map(int, Path(thread.path, "children").read_bytes().split())


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int((_PROC / str(pid) / "statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0
