"""How much room an SQLite store has left, if its size is limited."""

import sqlite3

# This part of the limit, and no less and no more bytes than these, are kept for what takes away, since that needs some
# room itself first.
RESERVED_PART = 16
MIN_RESERVED = 32 * 1024
MAX_RESERVED = 4 * 1024 * 1024

# Names are in indexes as well, and pages are not filled: a change takes at most so many times its bytes.
INDEXED = 4

# With less than this left, each change is looked at before it is taken.
NEAR = 128 * 1024 * 1024

# Commits between two looks while there is more.
COMMITS = 16

# The tables alone take two thirds of this.
MIN_LIMIT = 128 * 1024


class Room:
    """The room that is left in a store.

    Args:
        connection: The writer's.
        limit: Bytes that the file may have, at least ``MIN_LIMIT``; 0: any number.

    Attributes:
        limit: As given.
        left: Bytes that what is new may still take; None: any number, or very many.
        is_short: Whether so little is left that what need not be kept is given up.
    """

    def __init__(self, connection: sqlite3.Connection, limit: int) -> None:
        self._connection = connection
        self.limit = limit
        self.left: int | None = None
        self.is_short = False
        self._commits = 0
        (self._page,) = connection.execute("PRAGMA page_size").fetchone()
        self._reserved = min(max(limit // RESERVED_PART, MIN_RESERVED), MAX_RESERVED)
        if limit:
            # SQLite leaves it at what the file has already.
            connection.execute(f"PRAGMA max_page_count = {limit // self._page}")
            self.look()

    def refuses(self, size: int) -> bool:
        """Returns whether so many bytes have no room; counts them otherwise."""
        left = self.left
        if left is None:
            return False
        if size > left:
            return True
        self.left = left - size
        return False

    def is_over_limit(self, size: int) -> bool:
        """Returns whether it is the limit, and not the disk, that so many bytes more have no room."""
        return bool(self.limit) and self._used() + INDEXED * size + self._reserved >= self.limit

    def look_if_due(self) -> None:
        """Looks after some commits, or after each if little is left."""
        self._commits += 1
        if self.limit and (self.left is not None or self._commits % COMMITS == 0):
            self.look()

    def look(self) -> None:
        """Looks how much room there is."""
        left = self.limit - self._reserved - self._used()
        self.left = left if left < NEAR else None
        self.is_short = left < self._reserved

    def _used(self) -> int:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int((pages - free) * self._page)
