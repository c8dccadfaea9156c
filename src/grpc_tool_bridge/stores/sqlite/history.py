"""The history of a session's variables in an SQLite store: for watches that catch up, and no longer than they may."""

import sqlite3
from collections.abc import Iterable

from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import ValuePlace
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.core.variable import Change

_NO_KEYS = StoreSealing()

# A history after a revision, the newest first.
_NEWEST = "SELECT revision, size FROM changes WHERE session_id = ? AND revision > ? ORDER BY revision DESC"
# The newest change beyond so many, and the bytes of those after a revision: nearly always, no others are looked at.
_BEYOND = _NEWEST + " LIMIT 1 OFFSET ?"
_BYTES = "SELECT total(size) FROM changes WHERE session_id = ? AND revision > ?"


def history_after(
    connection: sqlite3.Connection,
    *,
    session_id: str,
    revision: int,
    settings: Settings,
    sealing: StoreSealing = _NO_KEYS,
) -> list[Change] | None:
    """Returns the changes of a session's variables after a revision; None if some are no longer kept.

    A value that cannot be opened is an ``UnreadableValue``.

    What the settings no longer keep is not returned, though it may not have been removed yet.
    """
    connection.execute("BEGIN")
    try:
        floor = floor_of(connection, session_id, settings)
        if floor is None or revision < floor:
            return None
        rows = connection.execute(
            "SELECT operation, name, type_url, value, revision, at, size, previous, secret FROM changes "
            "WHERE session_id = ? AND revision > ? ORDER BY revision",
            (session_id, revision),
        )
        return [
            Change(
                operation,
                name,
                None
                if type_url is None
                else sealing.open(
                    Any(type_url=type_url, value=value), ValuePlace(session_id, name, changed_at), secret=bool(secret)
                ),
                changed_at,
                at,
                size or 0,
                previous,
                bool(secret),
            )
            for operation, name, type_url, value, changed_at, at, size, previous, secret in rows
        ]
    finally:
        connection.execute("COMMIT")


def floor_of(connection: sqlite3.Connection, session_id: str, settings: Settings) -> int | None:
    """Returns the revision after which a session's history is kept; None if there is no such session."""
    found = connection.execute("SELECT history_floor FROM sessions WHERE session_id = ?", (session_id,)).fetchone()
    if found is None:
        return None
    floor = int(found[0])
    beyond = connection.execute(_BEYOND, (session_id, floor, settings.watch_history)).fetchone()
    if beyond is not None:
        floor = beyond[0]
    (held,) = connection.execute(_BYTES, (session_id, floor)).fetchone()
    if held <= settings.watch_history_bytes:
        return floor
    return first_dropped(connection.execute(_NEWEST, (session_id, floor)), settings) or floor


def first_dropped(newest_first: Iterable[tuple[int, int | None]], settings: Settings) -> int:
    """Returns the newest change that is no longer kept, as ``VariableHistory`` decides it; 0: all are.

    Args:
        newest_first: The revisions of changes, with the bytes of their values; those of deletions have None.
        settings: ``watch_history``, ``watch_history_bytes``.
    """
    held = 0
    for count, (revision, size) in enumerate(newest_first, start=1):
        held += size or 0
        if count > settings.watch_history or (held > settings.watch_history_bytes and count > 1):
            return revision
    return 0


def forget(connection: sqlite3.Connection, session_id: str, up_to: int) -> None:
    """Forgets the history of a session up to a revision; what variables are is not forgotten.

    In a transaction of the caller.
    """
    (lost,) = connection.execute(
        "SELECT max(revision) FROM changes WHERE session_id = ? AND operation = 'delete' AND revision <= ?",
        (session_id, up_to),
    ).fetchone()
    found = connection.execute("SELECT history_floor FROM sessions WHERE session_id = ?", (session_id,)).fetchone()
    if found is None:
        return
    connection.execute(
        "DELETE FROM changes WHERE session_id = ? AND revision > ? AND revision <= ? "
        "AND NOT EXISTS (SELECT 1 FROM present WHERE present.revision = changes.revision)",
        (session_id, found[0], up_to),
    )
    connection.execute(
        "UPDATE sessions SET history_floor = max(history_floor, ?), lost_delete = max(lost_delete, ?) "
        "WHERE session_id = ?",
        (up_to, lost or 0, session_id),
    )
