"""The file of an SQLite store: made, taken for one hub, and checked before it is used."""

import fcntl
import logging
import os
import sqlite3
import stat
from pathlib import Path

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.failures import reason
from grpc_tool_bridge.stores.sqlite.schema import APPLICATION_ID, VERSION, migrate, version_of

# Seconds to wait for another program that has the file locked for a moment, such as a vacuum.
LOCK_SECONDS = 5.0

# Only the owner may read it: it holds the values of secret variables.
MODE = 0o600

_log = logging.getLogger(__name__)


class StoreFile:
    """The file of a store.

    One hub at a time has it, which a lock on a file beside it ensures; the system gives the lock back when the process
    ends, however it ends.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._limit = 0

    def open(self, max_bytes: int) -> sqlite3.Connection:
        """Takes the file for this process and makes it ready to be written.

        Args:
            max_bytes: Bytes that it may have; 0: unlimited.

        Raises:
            StoreError: Another hub has it, it cannot be used, or a newer version wrote it.
        """
        self.take()
        try:
            self._make()
            connection = connect(self._path)
        except BaseException:
            self.close()
            raise
        try:
            self._prepare(connection, max_bytes)
        except sqlite3.Error as error:
            connection.close()
            self.close()
            raise StoreError(reason(error, self._path)) from None
        except BaseException:
            connection.close()
            self.close()
            raise
        return connection

    def reader(self) -> sqlite3.Connection:
        """Returns a further connection, for reading only."""
        connection = connect(self._path)
        connection.execute("PRAGMA query_only = 1")
        return connection

    def close(self) -> None:
        """Gives the file back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def reached_limit(self, connection: sqlite3.Connection) -> int:
        """Returns the bytes that the file is limited to if it has as many, else 0."""
        if not self._limit:
            return 0
        (most,), (pages,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("max_page_count", "page_count")
        )
        return self._limit if pages >= most else 0

    def sizes(self) -> dict[str, int | float | str]:
        """Returns the bytes of the file and of its write-ahead log."""
        return {
            "store_bytes": size_of(self._path),
            "store_log_bytes": size_of(beside(self._path, "-wal")),
            "store_limit_bytes": self._limit,
        }

    def take(self) -> None:
        """Takes the file for this process, without opening it.

        Raises:
            StoreError: Another hub has it, or the lock beside it cannot be made.
        """
        path = beside(self._path, ".lock")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as error:
            raise StoreError(
                f"the store {self._path} cannot be opened ({path}: {error.strerror}); {_advice(error)}"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            named = f" (process {holder})" if holder.isdigit() else ""
            raise StoreError(
                f"another hub{named} has the store {self._path}; stop it first, or give this one another file"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _make(self) -> None:
        # Before SQLite has it open: closing it here would give back the locks that SQLite has on it.
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as error:
            raise StoreError(f"the store {self._path} cannot be opened ({error.strerror}); {_advice(error)}") from None
        try:
            mode = stat.S_IMODE(os.fstat(file).st_mode)
            if mode & 0o077:
                _log.warning("others could read the store %s (mode %o); now only its owner can", self._path, mode)
                os.fchmod(file, MODE)
        finally:
            os.close(file)

    def _prepare(self, connection: sqlite3.Connection, max_bytes: int) -> None:
        known = check(connection, self._path)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"the store {self._path} cannot have a write-ahead log there; put it on a local disk")
        connection.execute("PRAGMA synchronous = FULL")
        # Its log is cut back to this size when it has been carried over.
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if known < VERSION:
            migrate(connection, known)
        self._limit = max_bytes
        if max_bytes:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page)}")


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file for any one thread at a time; transactions are begun and ended by statements.

    Raises:
        StoreError: It cannot be opened.
    """
    try:
        return sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreError(reason(error, path)) from None


def check(connection: sqlite3.Connection, path: Path) -> int:
    """Checks that a file is a store that this version can use, and returns the version of its tables; 0: it is empty.

    Raises:
        StoreError: It is something else, or a newer version wrote it.
    """
    version = version_of(connection)
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION_ID and (owner or version or tables):
        raise StoreError(f"{path} is an SQLite file of another program, no store of a hub; give another path")
    if version > VERSION:
        raise StoreError(
            f"a newer version of grpc-tool-bridge wrote the store {path} (its format is {version}, this version knows "
            f"up to {VERSION}); upgrade grpc-tool-bridge, or bring back a backup from before"
        )
    return version


def beside(path: Path, suffix: str) -> Path:
    """Returns the path of a file beside the store."""
    return path.with_name(path.name + suffix)


def size_of(path: Path) -> int:
    """Returns the bytes of a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _advice(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "make its directory first"
    if isinstance(error, IsADirectoryError):
        return "give the path of a file in it"
    return "let this user write the file and its directory"
