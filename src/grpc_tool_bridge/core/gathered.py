"""What is done a few times a second rather than at once, because doing much at a time costs less."""

import asyncio
import math
from collections.abc import Callable

# Things that wait to be done, and bytes that they hold.
MAX_ENTRIES = 1_000
MAX_BYTES = 1024 * 1024


class Gathered:
    """Gathers things to do; the first after some quiet is done in the next turn of the event loop.

    Code that runs seldom is slow, since what it needs is in no cache of the processor: ten times at once cost little
    more than once.

    Args:
        seconds: Between two times.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: list[Callable[[], None]] = []
        self._bytes = 0
        # The clock of a machine that has just started may be less than ``seconds``.
        self._last = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._is_flushing = False

    def add(self, entry: Callable[[], None], size: int) -> None:
        """Adds something to do, which holds so many bytes; all is done in the order in which it was added."""
        if self._is_flushing:
            # It follows from what is being done.
            entry()
            return
        self._entries.append(entry)
        self._bytes += size
        if self._bytes > MAX_BYTES or len(self._entries) >= MAX_ENTRIES:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._last + self._seconds), self._flush_in_time)

    def flush(self) -> None:
        """Does all of it now."""
        entries = self._entries
        self.clear()
        self._is_flushing = True
        try:
            for entry in entries:
                entry()
        finally:
            self._is_flushing = False

    def clear(self) -> None:
        """Drops all of it."""
        self._entries, self._bytes = [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush_in_time(self) -> None:
        self._last = asyncio.get_running_loop().time()
        self.flush()
