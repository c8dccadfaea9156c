"""The order in which sessions were created, in which they are listed."""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator

# When a session was created, in seconds since the epoch, and its id.
Age = tuple[float, str]

# Entries of sessions that have ended are removed when there are so many, and as many as others.
_MOST_ENDED = 1_000


class SessionAges:
    """The sessions from the oldest to the newest.

    The place after an entry is found without going through those before it, since a page of a hundred thousand sessions
    begins there. It holds no session, so that one that has ended is not kept in memory.

    Args:
        exists: Returns whether the session of an entry still exists.
    """

    def __init__(self, exists: Callable[[Age], bool]) -> None:
        self._exists = exists
        self._ages: list[Age] = []
        self._ended = 0

    def add(self, age: Age) -> None:
        """Adds a session; quick if it is the newest, which it is unless the system's clock was set back."""
        insort(self._ages, age)

    def end(self) -> None:
        """Counts a session that has ended."""
        self._ended += 1
        if self._ended >= max(_MOST_ENDED, len(self._ages) // 2):
            self._ages = [age for age in self._ages if self._exists(age)]
            self._ended = 0

    def after(self, age: Age | None) -> Iterator[Age]:
        """Yields the entries of existing sessions after one, in order; for None, all."""
        ages = self._ages
        for index in range(bisect_right(ages, age) if age is not None else 0, len(ages)):
            if self._exists(ages[index]):
                yield ages[index]
