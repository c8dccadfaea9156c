"""The write-ahead log of the SQLite store that this process has.

The log is as long as it will be from the beginning: to write over what a file has is twice as fast as to make it
longer. It is carried over into the file between commits and not within one, so that no caller waits for that.

A log belongs to one file at one moment, and SQLite would apply another one to it without a word. So the number of the
log is a fact in the store: while log n is written, the fact is n, an even number; the last that is written into it,
just before it is carried over, is n + 1. What the file has without its log so tells whether the log continues it.
"""

import logging
import os
import sqlite3
import struct
import uuid
from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.stores.sqlite.disk import beside
from grpc_tool_bridge.stores.sqlite.failures import RESTORE
from grpc_tool_bridge.stores.sqlite.schema import MAX_INTEGER

# The log is carried over when it has so many pages.
PAGES = 900

# As long as it is made at the beginning: some pages more, as the commit that makes it long enough goes beyond.
LENGTH_PAGES = 1_000

# It is said that something keeps the log from being carried over when it has so many times the pages.
MANY = 16

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
# The two numbers that each page of the log has in common with its beginning, by their places there.
_SALT = struct.Struct(">8s")
_SALT_IN_HEADER = 16
_SALT_IN_FRAME = 8

_NUMBER = "SELECT value FROM facts WHERE name = 'log'"
# Tells a store from others, whatever becomes of its epoch.
_IDENTIFY = "INSERT OR IGNORE INTO facts VALUES ('id', ?)"
_MARK = "INSERT OR REPLACE INTO facts VALUES ('log', ?)"

_log = logging.getLogger(__name__)


class WriteAheadLog:
    """The log of a store.

    Args:
        connection: The writer's.
        path: The store's file.
        note: Called with the log's number when a new one begins.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, note: Callable[[int], None]) -> None:
        self._connection = connection
        self._store = path
        self._path = beside(path, "-wal")
        self._note = note
        (self._page,) = connection.execute("PRAGMA page_size").fetchone()
        self._number = 0
        self._long_at = PAGES
        self._file: int | None = None
        self._throttled = ThrottledLog(_log)

    def begin(self) -> None:
        """Begins a new log, and makes it as long as it will be.

        Raises:
            sqlite3.Error: It cannot be written.
            OSError: Likewise.
            StoreError: What the store says of its log is not what a hub writes.
        """
        # SQLite would carry the log over within a commit.
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        # One that became longer is cut back to this many bytes.
        self._connection.execute("PRAGMA journal_size_limit = 67108864")
        found = self._connection.execute(_NUMBER).fetchone()
        number = found[0] if found else 0
        if type(number) is not int or not 0 <= number < MAX_INTEGER:
            raise StoreError(f"the store {self._store} is damaged (the number of its log is none); {RESTORE}")
        self._number = number & ~1
        self._connection.execute(_IDENTIFY, (uuid.uuid4().hex,))
        self.turn_over()
        # To close it gives back no locks: SQLite has those on other files.
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        self._lengthen(self._file)

    def close(self) -> None:
        """Closes what is open of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_long(self) -> bool:
        """Returns whether it is to be carried over."""
        if self._file is None:
            return False
        header = os.pread(self._file, _HEADER_BYTES, 0)
        place = _HEADER_BYTES + (self._long_at - 1) * (_FRAME_HEADER_BYTES + self._page)
        frame = os.pread(self._file, _FRAME_HEADER_BYTES, place)
        # What an earlier log has left there has other numbers.
        return len(frame) == _FRAME_HEADER_BYTES and _SALT.unpack_from(header, _SALT_IN_HEADER) == _SALT.unpack_from(
            frame, _SALT_IN_FRAME
        )

    def turn_over(self) -> None:
        """Carries it over into the file, and begins a new one.

        While somebody reads what was before, such as a backup, the log goes on, and becomes longer.

        Raises:
            sqlite3.Error: It could not be done; it will go on.
        """
        self._connection.execute(_MARK, (self._number + 1,))
        _, pages, carried = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        is_whole = pages == carried
        if is_whole:
            self._number += 2
        self._connection.execute(_MARK, (self._number,))
        if is_whole:
            self._note(self._number)
        # If it goes on, it is tried again when it is longer by a part.
        self._long_at = PAGES
        if self._file is not None and self.is_long():
            self._long_at = pages + PAGES // 4
            if pages > MANY * PAGES:
                self._throttled.warning(
                    "the log %s has %d MB, since another program, such as a backup, reads the store for long",
                    self._path,
                    pages * self._page // 1_000_000,
                )

    def _lengthen(self, file: int) -> None:
        length = _HEADER_BYTES + LENGTH_PAGES * (_FRAME_HEADER_BYTES + self._page)
        # No other program writes to the log meanwhile.
        self._connection.execute("BEGIN IMMEDIATE")
        present = os.fstat(file).st_size
        try:
            if present < length:
                _write_zeros(file, present, length)
                os.fsync(file)
        except OSError:
            # Then it becomes longer with its commits, as far as there is room.
            os.ftruncate(file, present)
        finally:
            self._connection.execute("ROLLBACK")


def _write_zeros(file: int, begin: int, end: int) -> None:
    zeros = bytes(256 * 1024)
    while begin < end:
        begin += os.pwrite(file, zeros[: end - begin], begin)


def continues(alone: int | None, whole: int | None) -> bool:
    """Returns whether a log continues the file that it is beside.

    Args:
        alone: The number that the file has without the log; None: it has none yet.
        whole: The number that is read of both.
    """
    if alone is None:
        return True
    if whole is None:
        return False
    begun = whole & ~1
    # What the file has is as it was before the log, or was partly carried over already.
    return begun - 1 <= alone <= begun + 1
