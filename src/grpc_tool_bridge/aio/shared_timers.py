"""Timers that many waits share: for timeouts so long that half a second more does not matter."""

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

# A timeout from so many seconds on may share a timer.
SHARED_FROM = 20.0

# Seconds between two timers: a wait ends up to so much later than it asked for.
_GRAIN = 0.5


class Expiring(Protocol):
    """What waits."""

    def expire(self) -> None:
        """Called when its time is over."""


# What ends at the end of each grain of time, by its number.
_Ends = dict[int, set[Expiring]]

_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Ends]" = WeakKeyDictionary()


def expire_after(seconds: float, what: Expiring) -> set[Expiring]:
    """Ends a wait in the running loop after at least ``seconds``.

    This costs an entry in a set, where a timer would be an entry in the heap of the loop that stays there for long
    after it was cancelled.

    Returns:
        The set to discard it from, so that it is not ended.
    """
    loop = asyncio.get_running_loop()
    ends = _by_loop.get(loop)
    if ends is None:
        ends = _by_loop[loop] = {}
    grain = int((loop.time() + seconds) / _GRAIN) + 1
    found = ends.get(grain)
    if found is None:
        found = ends[grain] = set()
        loop.call_at(grain * _GRAIN, _end, ends, grain)
    found.add(what)
    return found


def _end(ends: _Ends, grain: int) -> None:
    for what in list(ends.pop(grain)):
        what.expire()
