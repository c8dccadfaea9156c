"""What is kept of an SQLite store before its tables are changed for a newer version."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from grpc_tool_bridge.stores.sqlite.anew import note_backup
from grpc_tool_bridge.stores.sqlite.disk import MODE, beside, flush


def copy_path(path: Path, version: int) -> Path:
    """Returns where a store is kept as it was before an upgrade from a version."""
    return beside(path, f".version-{version}")


def keep_copy(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copies a store beside it, for the case that one has to go back to the version that wrote it.

    It gets its name when it is whole and on the disk, in place of an earlier one. It is a backup: who goes on from it
    begins another epoch.

    Args:
        connection: The store, in no transaction.
        path: Its file.
        version: The version of its tables.

    Raises:
        sqlite3.Error: It cannot be copied, for instance since the disk is full.
        OSError: Likewise.
    """
    target = copy_path(path, version)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))
        connection.execute("VACUUM INTO ?", (str(part),))
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            note_backup(copy)
        flush(part)
        part.replace(target)
    except BaseException:
        for suffix in ("", "-journal"):
            with suppress(OSError):
                beside(part, suffix).unlink(missing_ok=True)
        raise
    flush(path.parent)
    return target
