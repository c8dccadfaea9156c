"""A bare SQLite file: what a durable write costs without a hub."""

import os
import sqlite3
from pathlib import Path

# As large as the row of a small variable in a hub's store.
_SESSION = "s-0123456789abcdef0123456789abcdef"
_VALUE_BYTES = 90

_OVERWRITTEN_BYTES = 4 * 1024 * 1024
_PAGE_BYTES = 4_096


class RawSqlite:
    """A file with one table, whose commits reach the disk like a hub's: write-ahead log, ``synchronous=FULL``.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        # Committed by one thread at a time, though not always by the same.
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, session TEXT, name TEXT, value BLOB)")

    def commit(self, number: int) -> None:
        """Commits a row."""
        row = (_SESSION, "name", number.to_bytes(_VALUE_BYTES, "big"))
        self._connection.execute("INSERT INTO rows (session, name, value) VALUES (?, ?, ?)", row)
        self._connection.commit()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


class Disk:
    """A file whose pages are overwritten, each flushed to the disk.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self._file, bytes(_OVERWRITTEN_BYTES), 0)
        os.fsync(self._file)
        self._flush = getattr(os, "fdatasync", os.fsync)

    def flush(self, number: int) -> None:
        """Overwrites a page, and waits until it is on the disk."""
        os.pwrite(self._file, number.to_bytes(_PAGE_BYTES, "big"), number * _PAGE_BYTES % _OVERWRITTEN_BYTES)
        self._flush(self._file)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
