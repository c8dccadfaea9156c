"""Gives the room of an SQLite store that nothing is in back to the disk."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from grpc_tool_bridge.stores.sqlite.disk import beside, size_of
from grpc_tool_bridge.stores.sqlite.failures import store_error
from grpc_tool_bridge.stores.sqlite.file import connect
from grpc_tool_bridge.stores.sqlite.holding import fold, held, own_as
from grpc_tool_bridge.stores.sqlite.placing import copy_failure, new_file, place, verify
from grpc_tool_bridge.stores.sqlite.snapshots import require_store, stop_at_signals


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What a vacuum did.

    Attributes:
        before, after: Bytes of the file with its log, before and after.
        seconds: How long it took.
    """

    before: int
    after: int
    seconds: float


def vacuum(path: Path) -> Vacuumed:
    """Writes a store anew without the room that nothing is in, and gives that back to the disk.

    A hub that has the store could not write meanwhile, so it must not run. Until the new file is whole, both need room.

    Args:
        path: The file of the store.

    Raises:
        ResourceExhaustedError: The disk has no room for the new file.
        StoreError: A hub has the store, or it cannot be read or written.
    """
    began = time.perf_counter()
    target = Path(os.path.realpath(path))
    before = size_of(target) + size_of(beside(target, "-wal"))
    with written_anew(path):
        pass
    return Vacuumed(before, size_of(target), time.perf_counter() - began)


@contextmanager
def written_anew(path: Path) -> Iterator[Path]:
    """Writes a store into a new file, without the room that nothing is in, which takes its place at the end.

    No hub can have the store meanwhile. What fails in between leaves it as it was.

    Args:
        path: The file of the store.

    Returns:
        The new file, which may be changed until then.

    Raises:
        ResourceExhaustedError: The disk has no room for the new file.
        StoreError: A hub has the store, or it cannot be read or written.
    """
    require_store(path)
    with held(path):
        target = Path(os.path.realpath(path))
        fold(target)
        with new_file(target, _used(target)) as new:
            _write_anew(target, new)
            yield new
            verify(new)
            own_as(new, target)
            place(new, target, replace=True)


def _used(path: Path) -> int:
    """Returns the bytes of a file that something is in."""
    try:
        with closing(connect(path)) as connection:
            pages, free, page = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
    except sqlite3.Error as error:
        raise store_error(error, path) from None
    return int((pages - free) * page)


def _write_anew(path: Path, new: Path) -> None:
    try:
        with closing(connect(path)) as connection:
            stop_at_signals(connection)
            connection.execute("VACUUM INTO ?", (str(new),))
    except sqlite3.Error as error:
        raise copy_failure(error, path, path) from None
