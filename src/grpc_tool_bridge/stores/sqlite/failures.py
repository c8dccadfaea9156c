"""What went wrong in SQLite, as errors of the bridge."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.errors import ResourceExhaustedError, StoreError, ToolBridgeError

# After this many seconds, some of it may have been deleted.
RETRY_AFTER = "5"

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def reason(error: sqlite3.Error, path: Path, *, limit: int = 0) -> str:
    """Returns what went wrong with a store, and what to do.

    Args:
        error: The error of SQLite.
        path: The store's file.
        limit: Bytes that the file has reached as its limit; 0: it has not.
    """
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        if limit:
            return (
                f"the store {path} has reached its limit of {limit:,} bytes (max_store_bytes); end sessions, delete "
                "variables, or raise the limit"
            )
        return f"the disk of the store {path} is full; make room on it"
    if code == sqlite3.SQLITE_READONLY:
        return f"the store {path} cannot be written; let this user write the file and its directory"
    if code in _CORRUPT:
        return (
            f"the store {path} is damaged ({error}); stop the hub, and bring back a backup with "
            "grpc-tool-bridge store restore"
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"another program has locked the store {path}; end what has it open"
    return f"the store {path} cannot be used ({_name(error)}: {error}); see whether its disk is well"


def write_failure(error: sqlite3.Error, path: Path, *, limit: int = 0) -> Callable[[], ToolBridgeError]:
    """Returns what makes the error for each caller whose change could not be stored; arguments as for ``reason``."""
    text = f"nothing was changed: {reason(error, path, limit=limit)}"
    if primary_code(error) == sqlite3.SQLITE_FULL:
        return lambda: ResourceExhaustedError(text, details={"retry_after": RETRY_AFTER})
    # A store that is damaged or cannot be written stays so until somebody mends it.
    mends_itself = primary_code(error) not in (*_CORRUPT, sqlite3.SQLITE_READONLY)
    return lambda: StoreError(text, retryable=mends_itself)


def primary_code(error: sqlite3.Error) -> int:
    """Returns the result code of SQLite without what extends it; 0 if the error did not come from SQLite itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
