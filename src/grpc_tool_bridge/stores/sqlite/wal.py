"""The write-ahead log beside an SQLite store that no hub has."""

import sqlite3
from contextlib import closing
from pathlib import Path

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.file import LOGS, beside, check, connect, size_of
from grpc_tool_bridge.stores.sqlite.snapshots import failure


def fold(path: Path) -> None:
    """Carries what is in the log over into the file, and removes the log; no hub has the store.

    Raises:
        StoreError: It cannot be read or written, is no store, or another program reads it.
    """
    try:
        with closing(connect(path)) as connection:
            check(connection, path)
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise failure(error, path) from None
    if is_busy or size_of(beside(path, "-wal")):
        raise StoreError(f"another program reads the store {path}; end it, and try again")
    for suffix in LOGS:
        beside(path, suffix).unlink(missing_ok=True)
