"""Long work in the event loop, in slices between which other tasks get a turn."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

# Too short for other tasks to notice, and long compared to the cost of giving them a turn.
SLICE_SECONDS = 0.002


class Turns:
    """The slices of one piece of work: ``if turns.due: await turns.give()`` between its steps.

    Args:
        seconds: The length of a slice.
    """

    __slots__ = ("_ends_at", "_seconds")

    def __init__(self, seconds: float = SLICE_SECONDS) -> None:
        self._seconds = seconds
        self._ends_at = perf_counter() + seconds

    @property
    def due(self) -> bool:
        """Whether this slice has lasted long enough."""
        return perf_counter() >= self._ends_at

    def begin(self) -> None:
        """Starts the next slice: others had a turn."""
        self._ends_at = perf_counter() + self._seconds

    async def give(self) -> None:
        """Gives other tasks a turn, and starts the next slice."""
        await asyncio.sleep(0)
        self.begin()


class SharedTurns:
    """The slices of a kind of work that many tasks do at the same time: together they take one in each turn.

    Used as ``Turns``. A slice of its own for each of a thousand tasks would hold up all others for seconds.

    Args:
        seconds: The length of a slice.
    """

    __slots__ = ("_ends_at", "_seconds")

    def __init__(self, seconds: float = SLICE_SECONDS) -> None:
        self._seconds = seconds
        self._ends_at: float | None = None

    @property
    def due(self) -> bool:
        """Whether the slice of this turn has lasted long enough; the first to ask in a turn begins it."""
        now = perf_counter()
        if self._ends_at is None:
            self._ends_at = now + self._seconds
            asyncio.get_running_loop().call_soon(self._end)
        return now >= self._ends_at

    async def give(self) -> None:
        """Gives other tasks a turn."""
        await asyncio.sleep(0)

    def _end(self) -> None:
        self._ends_at = None


def in_slices(function: Callable[[T], object], items: Iterable[T]) -> None:
    """Calls ``function`` with each of many items: with the first ones now, with the rest in later turns."""
    _slice(function, iter(items))


def _slice(function: Callable[[T], object], items: Iterator[T]) -> None:
    ends_at = perf_counter() + SLICE_SECONDS
    for item in items:
        try:
            function(item)
        except BaseException:
            # An error must not stop the other items.
            asyncio.get_running_loop().call_soon(_slice, function, items)
            raise
        if perf_counter() >= ends_at:
            asyncio.get_running_loop().call_soon(_slice, function, items)
            return
