"""The tables of the SQLite store, by version, and the way from each version to the next."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache

# "gtbs": tells a store from other SQLite files.
APPLICATION_ID = 0x67746273

# SQLite's integers have 63 bits; no revision, size or number that a hub writes comes near.
MAX_INTEGER = 2**62

# What leads from each version to the next; the first makes the tables. A version that was released never changes.
MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

    -- request: an InitializeSessionRequest with the metadata and the limits.
    -- history_floor: changes up to this revision are no longer kept; lost_delete: the last deletion among them.
    CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,
        created_at REAL NOT NULL,
        request BLOB NOT NULL,
        history_floor INTEGER NOT NULL DEFAULT 0,
        lost_delete INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;

    CREATE TABLE ended_sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL UNIQUE,
        why TEXT NOT NULL,
        ended_at REAL NOT NULL
    );

    -- A session begins with nothing: what is left of one with the same id that has ended is removed first.
    CREATE TRIGGER session_begun AFTER INSERT ON sessions
    BEGIN
        DELETE FROM ended_sessions WHERE session_id = NEW.session_id;
        DELETE FROM changes WHERE session_id = NEW.session_id;
        DELETE FROM calls WHERE session_id = NEW.session_id;
        DELETE FROM agents WHERE session_id = NEW.session_id;
        DELETE FROM runs WHERE session_id = NEW.session_id;
        DELETE FROM chunks WHERE session_id = NEW.session_id;
    END;
    CREATE TRIGGER session_ended AFTER INSERT ON ended_sessions
    BEGIN
        DELETE FROM sessions WHERE session_id = NEW.session_id;
    END;

    -- Each change of a variable. The present ones are the states of the variables that exist; they are listed beside
    -- them, since marking a row would write its value again. One that the history of its session no longer reaches is
    -- there as long as it is present.
    -- previous: the revision of the state that it replaced, 0 if there was none. tags: JSON, NULL if there are none.
    -- The value is the last column: what is before it is read without it.
    CREATE TABLE changes (
        revision INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        name TEXT NOT NULL,
        operation TEXT NOT NULL,
        previous INTEGER NOT NULL,
        at REAL NOT NULL,
        secret INTEGER NOT NULL,
        type TEXT,
        size INTEGER,
        held INTEGER,
        created_at REAL,
        created_by TEXT,
        tags TEXT,
        type_url TEXT,
        value BLOB
    );
    CREATE INDEX changes_by_session ON changes (session_id, revision, size);
    CREATE INDEX deletions ON changes (session_id) WHERE operation = 'delete';
    CREATE TABLE present (revision INTEGER PRIMARY KEY);
    CREATE TRIGGER change_added AFTER INSERT ON changes
    BEGIN
        DELETE FROM present WHERE revision = NEW.previous;
        INSERT INTO present SELECT NEW.revision WHERE NEW.operation <> 'delete';
        DELETE FROM changes WHERE revision = NEW.previous
            AND revision <= (SELECT history_floor FROM sessions WHERE session_id = NEW.session_id);
    END;
    CREATE TRIGGER change_removed AFTER DELETE ON changes
    BEGIN
        DELETE FROM present WHERE revision = OLD.revision;
    END;

    -- answer: a ToolCallResponse; NULL while the call runs, or if what became of it is not known.
    -- ends_at: when it is forgotten; NULL while the call runs.
    CREATE TABLE calls (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        key TEXT NOT NULL,
        used_for BLOB NOT NULL,
        began_at REAL NOT NULL,
        ends_at REAL,
        answer BLOB,
        UNIQUE (session_id, key)
    );
    CREATE INDEX calls_by_end ON calls (ends_at) WHERE ends_at IS NOT NULL;

    -- definition: a CreateReActAgentRequest.
    CREATE TABLE agents (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        definition BLOB NOT NULL,
        UNIQUE (session_id, agent_id)
    );

    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        started_at REAL NOT NULL,
        UNIQUE (session_id, run_id)
    );

    -- data: an AgentExecutionChunk.
    CREATE TABLE chunks (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        is_last INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (session_id, run_id, sequence)
    );
    """,
    """
    -- A SessionAccess; NULL: the session belongs to nobody in particular.
    ALTER TABLE sessions ADD COLUMN access BLOB;
    """,
)

VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Returns the version of a store; 0: the file has no tables yet."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, known: int) -> None:
    """Brings a store from one version to the present one, in one transaction: it is whole either way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[known:]:
            for statement in statements_of(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def missing(connection: sqlite3.Connection) -> list[str]:
    """Returns the tables, indexes and triggers that a store of the present version lacks.

    Without a trigger, for instance, it would take changes that its next hub does not find.
    """
    found = set(connection.execute(_PARTS))
    return [f"{kind} {name}" for kind, name in _parts() if (kind, name) not in found]


_PARTS = "SELECT type, name FROM sqlite_master ORDER BY type, name"


@cache
def _parts() -> Sequence[tuple[str, str]]:
    """Returns the kind and the name of all that a store of the present version has."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, 0)
        return connection.execute(_PARTS).fetchall()


def statements_of(script: str) -> list[str]:
    """Splits a script into its statements; those of a trigger belong to it."""
    found, begun = [], ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            found.append(begun.strip())
            begun = ""
    return found
