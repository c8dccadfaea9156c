"""Long work in the event loop, in slices between which everybody else has a turn."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

# Beside others a slice of this length is not noticed, and what giving way costs is nothing beside it.
SLICE_SECONDS = 0.002


class Turns:
    """The slices of one piece of work: ``if turns.due: await turns.give()`` between its steps.

    Args:
        seconds: The length of one.
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
        """Lets everybody else have a turn, and begins the next slice."""
        await asyncio.sleep(0)
        self._ends_at = perf_counter() + self._seconds


def in_slices(function: Callable[[T], object], items: Iterable[T]) -> None:
    """Calls ``function`` with each of many items: with the first ones at once, with the rest in turns to come."""
    _slice(function, iter(items))


def _slice(function: Callable[[T], object], items: Iterator[T]) -> None:
    ends_at = perf_counter() + SLICE_SECONDS
    for item in items:
        try:
            function(item)
        except BaseException:
            # One that fails keeps nothing from the others.
            asyncio.get_running_loop().call_soon(_slice, function, items)
            raise
        if perf_counter() >= ends_at:
            asyncio.get_running_loop().call_soon(_slice, function, items)
            return
