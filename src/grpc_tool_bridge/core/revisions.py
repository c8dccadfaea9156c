"""The numbers of a hub's changes."""

import itertools
import uuid
from collections.abc import Callable, Iterator

from grpc_tool_bridge.core.writes import STORED, Write

# A hub with a durable store reserves so many revisions at once: a new life of it gives none of them again, though not
# all that were given may have been stored.
RESERVED = 100_000


class Revisions:
    """Numbers all changes of one hub in ascending order, and so those of each session.

    Attributes:
        epoch: Identifies this run of the hub; a restarted hub has another, unless a durable store kept it.
        next: Returns the next revision.
        reservation: The last reservation of revisions; it says whether it is stored.
    """

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex
        self.next: Callable[[], int] = itertools.count(1).__next__
        self.reservation: Write = STORED
        self._reserve: Callable[[int], Write] | None = None
        self._reserved = 0
        self._count: Iterator[int] = iter(())

    def resume(self, epoch: str, after: int, reserve: Callable[[int], Write]) -> None:
        """Goes on as an earlier run of the hub, after a revision.

        Args:
            epoch: Its epoch.
            after: No revision up to this one is given again.
            reserve: Called with a revision before those up to it are given.
        """
        self.epoch = epoch
        self._reserve = reserve
        self._count = itertools.count(after + 1)
        self._reserved = after + RESERVED
        self.reservation = reserve(self._reserved)
        self.next = self._next_reserved

    def _next_reserved(self) -> int:
        revision = next(self._count)
        if revision > self._reserved - RESERVED // 2 and self._reserve is not None:
            self._reserved += RESERVED
            self.reservation = self._reserve(self._reserved)
        return revision

    def advance(self, after: int) -> None:
        """Gives no revision up to one again, which another hub may have given."""
        upcoming = self.next()
        if upcoming > after:
            return
        self._count = itertools.count(after + 1)
        if self._reserve is None:
            self.next = self._count.__next__
            return
        self._reserved = after + RESERVED
        self.reservation = self._reserve(self._reserved)

    def release(self) -> None:
        """Gives back what was reserved and not given, before the hub ends."""
        if self._reserve is not None:
            self.reservation = self._reserve(next(self._count))
