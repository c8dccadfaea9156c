"""Seals anew what an SQLite store has, while no hub has it."""

import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.core.sealed import SEALED_TYPE
from grpc_tool_bridge.stores.sqlite.failures import store_error
from grpc_tool_bridge.stores.sqlite.sealing import overwrite_deleted, seal_row, sealed_values
from grpc_tool_bridge.stores.sqlite.snapshots import open_file
from grpc_tool_bridge.stores.sqlite.vacuum import written_anew


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        sealed: Values that were sealed anew, or for the first time.
        by_key: How many values are sealed with each key now, by its id.
        bare_secrets: Values of secret variables that are still not sealed.
        seconds: How long it took.
    """

    sealed: int
    by_key: Counter[str]
    bare_secrets: int
    seconds: float


def rotate(path: Path, sealer: ValueSealer) -> Rotated:
    """Seals what is sealed with an older key, or ought to be sealed and is not, with the present key.

    The store is written anew beside itself, and takes its place when it is whole: whatever stops this leaves it as it
    was, and nothing stays in the file of what was not sealed. What its keys do not open stays as it is.

    Args:
        path: The file of the store.
        sealer: Has the keys.

    Raises:
        ResourceExhaustedError: The disk has no room for the new file.
        StoreError: A hub has the store, or it cannot be read or written.
    """
    began = time.perf_counter()
    with written_anew(path) as new:
        try:
            with closing(open_file(new, "mode=rw")) as connection:
                sealed = _seal(connection, sealer)
                found = sealed_values(connection)
        except sqlite3.Error as error:
            raise store_error(error, Path(os.path.realpath(path))) from None
    return Rotated(sealed, found.by_key, found.bare_secrets, time.perf_counter() - began)


def _seal(connection: sqlite3.Connection, sealer: ValueSealer) -> int:
    # If the machine stops, the file has not got its name yet.
    connection.execute("PRAGMA synchronous = OFF")
    overwrite_deleted(connection)
    connection.execute("BEGIN")
    rows = connection.execute(
        "SELECT revision FROM changes WHERE type_url IS NOT NULL AND (type_url = ? OR secret <> 0 OR ?)",
        (SEALED_TYPE, sealer.seals_all),
    ).fetchall()
    count = sum(seal_row(connection, revision, sealer) for (revision,) in rows)
    connection.execute("COMMIT")
    return count
