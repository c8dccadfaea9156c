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

    async def give(self) -> None:
        """Gives other tasks a turn, and starts the next slice."""
        await asyncio.sleep(0)
        self._ends_at = perf_counter() + self._seconds


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
