"""What went wrong in SQLite, as errors of the bridge."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from grpc_tool_bridge.errors import ResourceExhaustedError, StoreError, ToolBridgeError

# After this many seconds, some of it may have been deleted.
RETRY_AFTER = "5"

# What to do about a store that is damaged.
RESTORE = "bring back a backup with grpc-tool-bridge store restore"

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# What the disk or the system answers.
_DISK = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL)


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """Why changes could not be stored.

    Attributes:
        text: What went wrong, and what to do.
        is_of_store: Whether it is the store that fails, and not a change that it cannot take, or its limit.
        is_full: Whether there is no room.
        mends_itself: Whether it may work later without anybody's help.
        is_known: Whether it is known that nothing was changed.
    """

    text: str
    is_of_store: bool = True
    is_full: bool = False
    mends_itself: bool = True
    is_known: bool = True

    def error(self) -> ToolBridgeError:
        """Returns the error for one caller."""
        if not self.is_known:
            text = f"it is not known whether the hub will have the change after a restart: {self.text}"
            return StoreError(text, details={"outcome": "unknown"})
        text = f"nothing was changed: {self.text}"
        if self.is_full:
            return ResourceExhaustedError(text, details={"retry_after": RETRY_AFTER})
        return StoreError(text, retryable=self.mends_itself and self.is_of_store)


def reason(error: sqlite3.Error, path: Path | None = None, *, is_backup: bool = False) -> str:
    """Returns what went wrong with a store, and what to do. SQLite's texts have no values; one of Python's has.

    Args:
        error: The error of SQLite.
        path: The store's file; None: it is not named, as for callers.
        is_backup: Whether it is a backup that is read to be restored.
    """
    store = "the store" if path is None else f"the {'backup' if is_backup else 'store'} {path}"
    mend = "take another backup" if is_backup else RESTORE if path is not None else f"stop the hub, and {RESTORE}"
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return f"the disk of {store} is full; make room on it"
    if code == sqlite3.SQLITE_READONLY:
        return f"{store} cannot be written; let this user write the file and its directory"
    if code == sqlite3.SQLITE_NOTADB:
        other = "" if path is None or is_backup else "give another path, or "
        return f"{store} is no SQLite file, or its beginning is damaged; {other}{mend}"
    no_text = str(error).startswith("Could not decode to UTF-8")
    if code == sqlite3.SQLITE_CORRUPT or no_text:
        return f"{store} is damaged ({'one of its texts is not UTF-8' if no_text else error}); {mend}"
    if code in _LOCKED:
        return f"another program has locked {store}; end what has it open"
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"{store} cannot be opened; let this user write the file and its directory"
    if code in _DISK:
        return f"{store} cannot be used ({name_of(error)}: {error}); see whether its disk is well"
    return f"{store} cannot be used ({name_of(error)}: {error}); its tables may not be those of a hub"


def store_error(error: sqlite3.Error, path: Path, *, is_backup: bool = False) -> StoreError:
    """Returns the error for what went wrong with a file.

    Raises:
        KeyboardInterrupt: A signal stopped the statement.
    """
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
        raise KeyboardInterrupt from None
    return StoreError(reason(error, path, is_backup=is_backup))


def write_failure(error: Exception, *, limit: int = 0) -> WriteFailure:
    """Returns why changes could not be stored.

    Args:
        error: What a commit raised.
        limit: Bytes that the file has reached as its limit; 0: it has not.
    """
    if not isinstance(error, sqlite3.Error):
        # The text may have a value in it.
        text = f"the store cannot take it ({type(error).__name__}); the hub's log has where"
        return WriteFailure(text, is_of_store=False, mends_itself=False)
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return at_limit(limit) if limit else WriteFailure(reason(error), is_full=True)
    if code in {*_CORRUPT, sqlite3.SQLITE_READONLY}:
        # It stays so until somebody mends it.
        return WriteFailure(reason(error), mends_itself=False)
    if code in {*_LOCKED, *_DISK}:
        return WriteFailure(reason(error))
    return WriteFailure(f"the store cannot take it ({name_of(error)})", is_of_store=False, mends_itself=False)


def at_limit(limit: int) -> WriteFailure:
    """Returns the failure of a store that has reached its limit, in bytes. What takes away is stored still."""
    return WriteFailure(
        f"the store has reached its limit of {limit:,} bytes (max_store_bytes); end sessions, delete variables, or "
        "raise the limit",
        is_of_store=False,
        is_full=True,
    )


def ended_failure() -> WriteFailure:
    """Returns the failure of a store whose thread has ended by a fault of the bridge."""
    return WriteFailure(
        "the thread that writes the store has ended; restart the hub, and report its log", is_known=False
    )


def closed_error() -> ToolBridgeError:
    """Returns the error for a change that comes after the store was closed."""
    return StoreError("nothing was changed: the store is closed")


def primary_code(error: sqlite3.Error) -> int:
    """Returns the result code of SQLite without what extends it; 0 if the error did not come from SQLite itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_unflushed(error: sqlite3.Error) -> bool:
    """Returns whether all was written, but could not be flushed to the disk."""
    return getattr(error, "sqlite_errorcode", 0) in {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}


def name_of(error: sqlite3.Error) -> str:
    """Returns SQLite's name of an error, such as "SQLITE_IOERR_WRITE"."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
