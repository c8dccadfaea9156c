"""Makes a whole file beside where it belongs, and then puts it there: nobody ever sees half of one."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from grpc_tool_bridge.errors import AlreadyExistsError, ResourceExhaustedError, StoreError
from grpc_tool_bridge.stores.sqlite.disk import beside, flush
from grpc_tool_bridge.stores.sqlite.failures import primary_code, store_error
from grpc_tool_bridge.stores.sqlite.snapshots import open_file

# How the name of a file that is being made ends.
PART = ".part"

# Pages that are copied at a time; in between, Ctrl-C is noticed.
PAGES = 256

# Problems of a damaged file that are told.
MAX_PROBLEMS = 5

_JOURNALS = ("-journal", "-wal", "-shm")


@contextmanager
def new_file(target: Path, needed: int) -> Iterator[Path]:
    """Makes an empty file beside another, which only this user can read; it is gone at the end unless it was placed.

    Args:
        target: Where it will be placed.
        needed: Bytes that it will have.

    Raises:
        ResourceExhaustedError: The disk has not so much room.
        StoreError: No file can be made there.
    """
    try:
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise ResourceExhaustedError(
                f"the disk of {target.parent} has {free:,} bytes left, and {needed:,} are needed; make room on it"
            )
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=PART, dir=target.parent)
    except OSError as error:
        raise _cannot_write(target, error) from None
    os.close(descriptor)
    new = Path(name)
    try:
        yield new
    except OSError as error:
        raise _cannot_write(target, error) from None
    finally:
        for suffix in ("", *_JOURNALS):
            beside(new, suffix).unlink(missing_ok=True)


def copy_into(new: Path, source: sqlite3.Connection, finish: Callable[[sqlite3.Connection], None]) -> None:
    """Copies what a connection reads, in its transaction, into a new file, which has no log beside it.

    Args:
        new: The file.
        source: The connection.
        finish: Changes the copy.

    Raises:
        sqlite3.Error: It cannot be read or written.
    """
    with closing(open_file(new, "mode=rw")) as connection:
        # If the machine stops, the file has not got its name yet.
        connection.execute("PRAGMA synchronous = OFF")
        source.backup(connection, pages=PAGES, progress=_notice_signals)
        connection.execute("PRAGMA journal_mode = DELETE")
        finish(connection)


def verify(new: Path, *, is_restored: bool = False) -> None:
    """Checks that a new file is whole, and flushes it to the disk.

    Args:
        new: The file.
        is_restored: Whether it was copied from a backup, and not from a store.

    Raises:
        StoreError: It is damaged.
    """
    try:
        with closing(open_file(new, "immutable=1")) as connection:
            problems = problems_of(connection, full=True)
    except sqlite3.Error as error:
        raise store_error(error, new) from None
    if problems:
        advice = "take another backup" if is_restored else "see whether the store and its disk are well"
        raise StoreError(f"the copy is damaged ({'; '.join(problems)}); {advice}")
    flush(new)


def problems_of(connection: sqlite3.Connection, *, full: bool) -> list[str]:
    """Returns what is wrong with a file, at most ``MAX_PROBLEMS``.

    Args:
        connection: Reads it.
        full: Whether to compare the indexes with their tables, too.

    Raises:
        sqlite3.Error: It cannot even be read.
    """
    name = "integrity_check" if full else "quick_check"
    try:
        found = [text for (text,) in connection.execute(f"PRAGMA {name}({MAX_PROBLEMS})")]
    except sqlite3.DatabaseError as error:
        if primary_code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error)]
    lines = [line for text in found for line in text.splitlines()]
    return [] if lines == ["ok"] else [line.strip() for line in lines[:MAX_PROBLEMS]]


def place(new: Path, target: Path, *, replace: bool) -> None:
    """Gives a new file its name, at once, and flushes the directory to the disk.

    Args:
        new: The file, in the same directory.
        target: Its name.
        replace: Whether it may replace another file.

    Raises:
        AlreadyExistsError: There is a file, and it may not be replaced.
    """
    if replace:
        new.replace(target)
    else:
        try:
            os.link(new, target)
        except FileExistsError:
            raise already_there(target) from None
        except OSError:
            # The file system has no links.
            if os.path.lexists(target):
                raise already_there(target) from None
            new.rename(target)
        else:
            new.unlink()
    flush(target.parent)


def already_there(target: Path) -> AlreadyExistsError:
    """Returns the error for a file that would be overwritten."""
    return AlreadyExistsError(f"there is a file {target} already; give another name, or replace it with --force")


def copy_failure(
    error: sqlite3.Error, path: Path, target: Path, *, is_backup: bool = False
) -> StoreError | ResourceExhaustedError:
    """Returns the error for a copy of a store that could not be made beside ``target``."""
    if primary_code(error) == sqlite3.SQLITE_FULL:
        return ResourceExhaustedError(f"the disk of {target.parent} is full; make room on it")
    return store_error(error, path, is_backup=is_backup)


def _notice_signals(status: int, remaining: int, total: int) -> None:
    """Called between two steps of a copy: what handles a signal runs here."""


def _cannot_write(target: Path, error: OSError) -> StoreError:
    return StoreError(f"{target} cannot be written ({error.strerror or error}); give another path", retryable=False)
