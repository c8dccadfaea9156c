"""Reads an SQLite store as it is at one moment, whether a hub has it or not, and changes nothing."""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.disk import beside
from grpc_tool_bridge.stores.sqlite.failures import store_error
from grpc_tool_bridge.stores.sqlite.file import check, open_at

# SQLite calls back after so many steps of its machine, and so notices Ctrl-C.
STEPS_BETWEEN_SIGNALS = 50_000

T = TypeVar("T")


class _State(NamedTuple):
    """What shows whether somebody has written: size and time of change of the file and of its log."""

    file: tuple[int, int]
    log: tuple[int, int]


def read_snapshot(path: Path, use: Callable[[sqlite3.Connection], T], *, is_backup: bool = False) -> T:
    """Reads a store at one moment. A hub that has it goes on writing; its log grows until the reading ends.

    Args:
        path: The file.
        use: Reads what is wanted, by a connection in a transaction. It may be called a second time, if a hub began to
            write meanwhile.
        is_backup: Whether it is a backup, which errors then say.

    Raises:
        StoreError: There is no such store, it cannot be read, or a newer version wrote it.
    """
    require_store(path, is_backup=is_backup)
    before = _state(path)
    if not before.log[0]:
        # Nothing is in a log, so the file is all there is. Opened otherwise, it would get a log and an index of it,
        # which a reader cannot take away again.
        try:
            found = _read(path, use, "immutable=1", is_backup=is_backup)
        except StoreError:
            if _state(path) == before:
                raise
        else:
            if _state(path) == before:
                return found
    return _read(path, use, "mode=ro", is_backup=is_backup)


def require_store(path: Path, *, is_backup: bool = False) -> None:
    """Checks that there is a file, which this user can read.

    Raises:
        StoreError: There is none, or not for this user.
    """
    called = "backup" if is_backup else "store"
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            # Not by opening it: to close it would give back the locks of a hub in this process.
            if os.access(path, os.R_OK):
                return
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError:
        advice = "the path that store backup wrote" if is_backup else "the path that its hub serves with --store"
        text = f"there is no {called} {path}; give {advice}"
    except OSError as error:
        text = f"the {called} {path} cannot be read ({error.strerror}); run this as the user of its hub"
    else:
        text = f"{path} is no file; give the path of a {called}"
    raise StoreError(text, retryable=False)


def open_file(path: Path, mode: str) -> sqlite3.Connection:
    """Opens the file as ``open_at`` does, and lets signals stop its statements."""
    connection = open_at(path, mode)
    stop_at_signals(connection)
    return connection


def stop_at_signals(connection: sqlite3.Connection) -> None:
    """Lets a signal whose handler raises end a long statement; ``store_error`` raises KeyboardInterrupt then."""
    connection.set_progress_handler(lambda: 0, STEPS_BETWEEN_SIGNALS)


def _read(path: Path, use: Callable[[sqlite3.Connection], T], mode: str, *, is_backup: bool) -> T:
    try:
        with closing(open_file(path, mode)) as connection:
            connection.execute("BEGIN")
            if not check(connection, path):
                raise StoreError(f"the store {path} is empty: no hub has used it yet", retryable=False)
            return use(connection)
    except sqlite3.Error as error:
        raise store_error(error, path, is_backup=is_backup) from None


def _state(path: Path) -> _State:
    return _State(_size_and_time(path), _size_and_time(beside(path, "-wal")))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
