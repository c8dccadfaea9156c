"""Sealed values in an SQLite store: what is sealed later than it was written, and what is said of them."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.core.sealed import SEALED_TYPE, UnreadableValue, ValuePlace, is_sealed
from grpc_tool_bridge.stores.sqlite.statements import HIDE

# Keys that a warning names.
_NAMED = 5

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SealedValues:
    """The values in a store, by how they are sealed; those that only its history has are among them.

    Attributes:
        by_key: How many are sealed with each key, by its id.
        bare_secrets: Values of secret variables that are not sealed.
    """

    by_key: Counter[str] = field(default_factory=Counter)
    bare_secrets: int = 0


def overwrite_deleted(connection: sqlite3.Connection) -> None:
    """Has SQLite overwrite what it deletes: a value that is sealed later must not stay in the file beside that."""
    connection.execute("PRAGMA secure_delete = ON").fetchone()


def hide_values(connection: sqlite3.Connection, *, session_id: str, name: str, sealer: ValueSealer) -> None:
    """Makes all that is stored of a variable secret, and seals it. In a transaction of the caller."""
    connection.execute(HIDE, (session_id, name))
    rows = connection.execute(
        "SELECT revision FROM changes WHERE session_id = ? AND name = ? AND type_url IS NOT NULL", (session_id, name)
    ).fetchall()
    for (revision,) in rows:
        seal_row(connection, revision, sealer)


def seal_row(connection: sqlite3.Connection, revision: int, sealer: ValueSealer) -> bool:
    """Seals the value of a change with the present key, if it is due; returns whether it was.

    One that cannot be opened stays as it is.
    """
    session_id, name, secret, type_url, value = connection.execute(
        "SELECT session_id, name, secret, type_url, value FROM changes WHERE revision = ?", (revision,)
    ).fetchone()
    stored, place = Any(type_url=type_url, value=value), ValuePlace(session_id, name, revision)
    if not sealer.is_due(stored, secret=bool(secret)):
        return False
    opened = sealer.open(stored, place, secret=bool(secret)) if is_sealed(stored) else stored
    if isinstance(opened, UnreadableValue):
        return False
    sealed = sealer.seal(opened, place, secret=bool(secret))
    connection.execute(
        "UPDATE changes SET type_url = ?, value = ? WHERE revision = ?", (sealed.type_url, sealed.value, revision)
    )
    return True


def sealed_values(connection: sqlite3.Connection) -> SealedValues:
    """Counts the values of a store by how they are sealed."""
    found = SealedValues()
    for key_id, count in connection.execute(
        "SELECT lower(hex(substr(value, 1, 6))), count(*) FROM changes WHERE type_url = ? GROUP BY 1", (SEALED_TYPE,)
    ):
        found.by_key[key_id] = count
    (found.bare_secrets,) = connection.execute(
        "SELECT count(*) FROM changes WHERE secret <> 0 AND type_url IS NOT NULL AND type_url <> ?", (SEALED_TYPE,)
    ).fetchone()
    return found


def warn_of(unreadable: Collection[UnreadableValue], bare_secrets: int) -> None:
    """Logs what a hub should know of the values that it has read; never a value.

    Args:
        unreadable: Those that cannot be opened.
        bare_secrets: How many of secret variables are not sealed.
    """
    locked = [value for value in unreadable if value.needs_key]
    if locked:
        _log.error(
            "%d values in the store are sealed with key %s, which this hub does not have; who reads one of them is "
            "told so. Add the key to secrets_key_file, and restart the hub",
            len(locked),
            ", ".join(sorted({value.key_id for value in locked})[:_NAMED]),
        )
    if len(locked) < len(unreadable):
        _log.error(
            "%d values in the store are damaged, or were moved to where they do not belong; who reads one of them is "
            "told so. Bring back a backup, or set them anew",
            len(unreadable) - len(locked),
        )
    if bare_secrets:
        _log.warning(
            "the store has %d values of secret variables that are not sealed; stop the hub, and seal them with "
            "grpc-tool-bridge secrets rotate, which needs secrets_key_file",
            bare_secrets,
        )
