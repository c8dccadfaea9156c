"""An earlier state of a store that becomes the present one again, and so begins another epoch."""

import sqlite3
import time
import uuid

# No hub gives more revisions in a second.
MAX_REVISIONS_PER_SECOND = 100_000

# Clocks of the machines that wrote and that read a backup may differ by so many seconds.
MAX_SKEW_SECONDS = 3_600.0

# Seconds that a backup is taken to be old if nothing in it says when it was made.
UNKNOWN_AGE_SECONDS = 10 * 366 * 86_400.0


def note_backup(connection: sqlite3.Connection) -> None:
    """Notes in a copy of a store that it is a backup, made now."""
    connection.execute("INSERT OR REPLACE INTO facts VALUES ('backed_up_at', ?)", (time.time(),))


def is_backup(connection: sqlite3.Connection) -> bool:
    """Returns whether a store is a backup that no hub has used since."""
    return connection.execute("SELECT 1 FROM facts WHERE name = 'backed_up_at'").fetchone() is not None


def begin_anew(connection: sqlite3.Connection) -> str:
    """Lets a hub go on from an earlier state of its store; returns the new epoch.

    Clients may have seen what the hub did after that state. With another epoch, their watches begin with a reset. And
    since a change may also be bound to a revision alone (``expected_revision``), the hub goes on beyond all revisions
    that it can have given meanwhile.
    """
    epoch = uuid.uuid4().hex
    age = max(0.0, time.time() - _last_known(connection)) + MAX_SKEW_SECONDS
    revision = _last_revision(connection) + int(age * MAX_REVISIONS_PER_SECOND)
    connection.execute("SAVEPOINT anew")
    connection.execute("DELETE FROM facts WHERE name = 'backed_up_at'")
    connection.execute("INSERT OR REPLACE INTO facts VALUES ('epoch', ?)", (epoch,))
    connection.execute("INSERT OR REPLACE INTO facts VALUES ('revision', ?)", (revision,))
    connection.execute("RELEASE anew")
    return epoch


def _last_known(connection: sqlite3.Connection) -> float:
    """Returns a time at which the store was what it is, in seconds since the epoch."""
    told = connection.execute("SELECT value FROM facts WHERE name = 'backed_up_at'").fetchone()
    if told is not None:
        return float(told[0])
    (last,) = connection.execute(
        "SELECT max(at) FROM (SELECT max(at) AS at FROM changes UNION ALL SELECT max(created_at) FROM sessions "
        "UNION ALL SELECT max(ended_at) FROM ended_sessions)"
    ).fetchone()
    return time.time() - UNKNOWN_AGE_SECONDS if last is None else float(last)


def _last_revision(connection: sqlite3.Connection) -> int:
    reserved = connection.execute("SELECT value FROM facts WHERE name = 'revision'").fetchone()
    (last,) = connection.execute("SELECT max(revision) FROM changes").fetchone()
    return max(reserved[0] if reserved is not None else 0, last or 0)
