"""The file of an SQLite store: made, taken for one hub, and checked before it is used."""

import logging
import os
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.disk import LOGS, MODE, beside, size_of
from grpc_tool_bridge.stores.sqlite.failures import RESTORE, reason
from grpc_tool_bridge.stores.sqlite.lock import StoreLock, cannot_open
from grpc_tool_bridge.stores.sqlite.log import WriteAheadLog, continues
from grpc_tool_bridge.stores.sqlite.room import MIN_LIMIT
from grpc_tool_bridge.stores.sqlite.schema import APPLICATION_ID, VERSION, migrate, missing, version_of
from grpc_tool_bridge.stores.sqlite.upgrades import keep_copy

# Seconds to wait for another program that has the file locked for a moment, such as a vacuum.
LOCK_SECONDS = 5.0

# A file of at most so many bytes is checked as a whole before it is used, which takes some tenths of a second. Of a
# larger one, what is read shows whether it is damaged; ``doctor --store`` checks all of it.
CHECKED_BYTES = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class StoreFile:
    """The file of a store.

    One hub at a time has it, which a lock on a file beside it ensures; the system gives the lock back when the process
    ends, however it ends.

    Args:
        path: The file. Where it is a link, the lock and the log are beside the file that it leads to.

    Attributes:
        path: The file itself.
        log: Its log, while it is open.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._lock = StoreLock(self.path)
        self._limit = 0
        self.log: WriteAheadLog | None = None

    @property
    def lock_path(self) -> Path:
        """The file beside it that is locked."""
        return self._lock.path

    def open(self, max_bytes: int) -> sqlite3.Connection:
        """Takes the file for this process and makes it ready to be written.

        Args:
            max_bytes: Bytes that it may have; 0: any number.

        Raises:
            StoreError: Another hub has it, it cannot be used, or a newer version wrote it. Then nothing has changed.
        """
        if 0 < max_bytes < MIN_LIMIT:
            raise StoreError(
                f"max_store_bytes is {max_bytes:,}, which is too little for a store; give at least {MIN_LIMIT:,}, or 0 "
                "for any size"
            )
        self._check_kind()
        self._lock.take()
        connection: sqlite3.Connection | None = None
        was_empty = not size_of(self.path)
        made = False
        try:
            made = self._make()
            self._lock.hold_store()
            known = 0 if was_empty else self._inspect()
            # Not before: the file of another program stays as it is.
            self._close_to_others()
            connection = connect(self.path)
            self._prepare(connection, known)
            self.log = WriteAheadLog(connection, self.path, self._lock.note)
            self.log.begin()
        except BaseException as error:
            self._undo(connection, was_empty=was_empty, made=made)
            if isinstance(error, sqlite3.Error):
                raise StoreError(reason(error, self.path)) from None
            if isinstance(error, OSError):
                raise cannot_open(self.path, self.path, error) from None
            raise
        self._limit = max_bytes
        return connection

    def reader(self) -> sqlite3.Connection:
        """Returns a further connection, for reading only."""
        connection = connect(self.path)
        connection.execute("PRAGMA query_only = 1")
        return connection

    def close(self) -> None:
        """Gives the file back; its connections are closed."""
        if self.log is not None:
            self.log.close()
            self.log = None
            if self._lock.is_held and not size_of(beside(self.path, "-wal")):
                # All is in the file itself, and whoever puts another one in its place means to.
                self._lock.note(0)
        self._lock.release()

    def sizes(self) -> dict[str, int | float | str]:
        """Returns the bytes of the file and of its write-ahead log."""
        return {
            "store_bytes": size_of(self.path),
            "store_log_bytes": size_of(beside(self.path, "-wal")),
            "store_limit_bytes": self._limit,
        }

    def take(self) -> None:
        """Takes the file for this process, which is no hub, without opening it.

        Raises:
            StoreError: A hub has it, or the lock beside it cannot be made.
        """
        self._lock.take(for_hub=False)

    def give_up(self) -> None:
        """Gives the file back that was taken in vain; no lock stays beside it that was not there before."""
        self._lock.remove()

    def _undo(self, connection: sqlite3.Connection | None, *, was_empty: bool, made: bool) -> None:
        """Leaves nothing that was not there before."""
        if self.log is not None:
            self.log.close()
            self.log = None
        if connection is not None:
            connection.close()
        if was_empty and (made or connection is not None):
            for suffix in (*LOGS, "-journal"):
                with suppress(OSError):
                    beside(self.path, suffix).unlink(missing_ok=True)
            with suppress(OSError):
                self.path.unlink() if made else os.truncate(self.path, 0)
        self._lock.remove()

    def _check_kind(self) -> None:
        """Checks that there is a file, or nothing, before anything is made beside it.

        Raises:
            StoreError: There is something else.
        """
        for suffix in LOGS:
            if beside(self.path, suffix).is_symlink():
                raise StoreError(
                    f"{beside(self.path, suffix)} is a link, but belongs to the store {self.path}; remove it"
                )
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_open(self.path, self.path, error) from None
        if stat.S_ISDIR(found.st_mode):
            raise StoreError(f"{self.path} is a directory; give the path of a file in it")
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{self.path} is no file, so it can be no store; give another path")
        if found.st_nlink > 1:
            # A restore that was killed leaves one, too.
            _log.warning(
                "the store %s has another name on its disk (a hard link); whoever uses it by that name damages it",
                self.path,
            )

    def _make(self) -> bool:
        """Makes the file if it is not there; returns whether it was made.

        All is closed again before SQLite opens it: to close it later would give back the locks that SQLite has on it.

        Raises:
            StoreError: It cannot be opened, or its log is there without it.
        """
        log = size_of(beside(self.path, "-wal"))
        if log and not size_of(self.path):
            # SQLite would remove the log.
            raise StoreError(
                f"the store {self.path} is {'empty' if self.path.exists() else 'not there'}, but its log is "
                f"({beside(self.path, '-wal')}, {log:,} bytes), which has what was stored last; put the file back "
                f"beside it, or {RESTORE}"
            )
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            try:
                os.close(os.open(self.path, flags | os.O_CREAT | os.O_EXCL, MODE))
            except FileExistsError:
                os.close(os.open(self.path, flags))
                is_new = False
            else:
                is_new = True
        except OSError as error:
            raise cannot_open(self.path, self.path, error) from None
        return is_new

    def _close_to_others(self) -> None:
        """Lets only their owner read the files of the store."""
        for suffix in ("", *LOGS):
            path = beside(self.path, suffix)
            try:
                mode = stat.S_IMODE(path.stat().st_mode)
            except OSError:
                continue
            if mode & 0o077:
                _log.warning("others could read %s (mode %o); now only its owner can", path, mode)
                try:
                    path.chmod(MODE)
                except OSError as error:
                    raise cannot_open(self.path, path, error) from None

    def _inspect(self) -> int:
        """Checks, without a change, that the file is a whole store with the log that belongs to it.

        Returns:
            The version of its tables; 0: it is empty.

        Raises:
            StoreError: It is not.
            sqlite3.Error: It cannot be read.
        """
        size = size_of(self.path)
        has_log = bool(size_of(beside(self.path, "-wal")))
        alone = self._facts_alone() if has_log else {}
        # What is opened to be written would carry the log over when it is closed, and one that is opened without a log
        # would make one.
        with closing(open_at(self.path, "mode=ro" if has_log else "immutable=1")) as connection:
            version = check(connection, self.path)
            whole = _facts(connection) if version else {}
            if size <= CHECKED_BYTES:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise StoreError(f"the store {self.path} is damaged ({' '.join(found.split())}); {RESTORE}")
        self._check_log(alone, whole)
        return version

    def _check_log(self, alone: dict[str, str | int], whole: dict[str, str | int]) -> None:
        log = beside(self.path, "-wal")
        if "id" in alone and alone["id"] != whole.get("id"):
            raise StoreError(
                f"the log {log} belongs to another store than {self.path}; move the log away, or put its own file "
                "beside it"
            )
        if alone and not continues(_number(alone), _number(whole)):
            raise StoreError(
                f"the log {log} does not continue the store {self.path}, but an earlier or later state of it; put the "
                "file back that belongs to it, or move the log away to use the file as it is"
            )
        if (_number(whole) or 0) < self._lock.noted:
            raise StoreError(
                f"the store {self.path} lacks what was stored last: its log {log} is missing, or is not the last one; "
                f"put it back, or remove {self._lock.path} to go on with what is in the file"
            )

    def _facts_alone(self) -> dict[str, str | int]:
        """Returns the facts in the file without its log; none if it was carried over in part."""
        try:
            with closing(open_at(self.path, "immutable=1")) as connection:
                return _facts(connection)
        except sqlite3.Error:
            return {}

    def _prepare(self, connection: sqlite3.Connection, known: int) -> None:
        if not known:
            # It may have got its tables meanwhile from a hub that has ended.
            known = check(connection, self.path)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"the store {self.path} cannot have a write-ahead log there; put it on a local disk")
        connection.execute("PRAGMA synchronous = FULL")
        if 0 < known < VERSION:
            kept = keep_copy(connection, self.path, known)
            _log.warning(
                "the store %s is brought from format %d to %d; as it was, it is kept in %s",
                self.path,
                known,
                VERSION,
                kept,
            )
        if known < VERSION:
            migrate(connection, known)
        if lost := missing(connection):
            raise StoreError(f"the store {self.path} is damaged (it has no {', no '.join(lost)}); {RESTORE}")


def _facts(connection: sqlite3.Connection) -> dict[str, str | int]:
    return dict(connection.execute("SELECT name, value FROM facts WHERE name IN ('id', 'log')"))


def _number(facts: dict[str, str | int]) -> int | None:
    number = facts.get("log")
    return number if isinstance(number, int) else None


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


def open_at(path: Path, mode: str) -> sqlite3.Connection:
    """Opens the file with a parameter of SQLite's URIs, such as ``mode=ro``."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=LOCK_SECONDS, isolation_level=None)
