"""Reads from an SQLite store what a hub begins with.

Each row is checked, since the file may have been written by others, or be damaged where SQLite does not see it: a hub
that begins with what no hub has written would fail later, and where its callers see it.
"""

import gc
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import NoneType

from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import SEALED_TYPE, UnreadableValue, ValuePlace
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.core.stored import StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, InitializeSessionRequest
from grpc_tool_bridge.stores.sqlite.anew import begin_anew, is_backup
from grpc_tool_bridge.stores.sqlite.schema import MAX_INTEGER
from grpc_tool_bridge.stores.sqlite.sealing import warn_of

_NO_KEYS = StoreSealing()
_NO_TAGS: Mapping[str, str] = {}

# A protobuf Timestamp ends with the year 9999.
_MAX_SECONDS = 253_402_300_800.0

# The types of what is read of a row.
_SESSION = (str, float, bytes, int, int)
_VARIABLES = frozenset(
    (str, str, str, bytes, str, int, float, float, int, int, str, int, tags) for tags in (str, NoneType)
)
_RUN = (str, str, bytes, float)
_CHUNK = (int, int, bytes)


class DamagedRowError(Exception):
    """A row is not what a hub writes.

    Args:
        table: Its table.
    """

    def __init__(self, table: str) -> None:
        super().__init__(table)

    def __str__(self) -> str:
        return f"a row of its table {self.args[0]!r} is not what a hub writes"


def load(connection: sqlite3.Connection, settings: Settings, sealing: StoreSealing = _NO_KEYS) -> StoredState:
    """Reads the whole state; a value that cannot be opened is an ``UnreadableValue``.

    Calls that an earlier life left without an answer are forgotten ``answer_ttl`` seconds from now: however long they
    ran, and however long there was no hub, callers have that time to come back.

    Raises:
        DamagedRowError: A row is not what a hub writes.
        sqlite3.Error: It cannot be read.
    """
    connection.execute(
        "UPDATE calls SET ends_at = ? WHERE answer IS NULL AND ends_at IS NULL", (time.time() + settings.answer_ttl,)
    )
    with _without_collector():
        sessions = _sessions(connection)
        _add_variables(connection, sessions, sealing)
        _add_agents(connection, sessions)
        _add_runs(connection, sessions)
    ended = connection.execute(
        "SELECT session_id, why FROM ended_sessions ORDER BY number DESC LIMIT ?", (settings.ended_sessions,)
    ).fetchall()
    if is_backup(connection):
        begin_anew(connection)
    facts = dict(connection.execute("SELECT name, value FROM facts"))
    if "epoch" not in facts:
        facts["epoch"] = uuid.uuid4().hex
        connection.execute("INSERT INTO facts VALUES ('epoch', ?)", (facts["epoch"],))
    (last,) = connection.execute("SELECT max(revision) FROM changes").fetchone()
    if not (_is_text(facts["epoch"]) and _is_count(facts.get("revision", 0))):
        raise DamagedRowError("facts")
    if not _is_count(last or 0):
        raise DamagedRowError("changes")
    revision = max(facts.get("revision", 0), last or 0)
    return StoredState(facts["epoch"], revision, list(sessions.values()), dict(reversed(ended)))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Reads without searching for garbage: nothing of what is read is any, and the search would take longest."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _sessions(connection: sqlite3.Connection) -> dict[str, StoredSession]:
    found = {}
    rows = connection.execute(
        "SELECT session_id, created_at, request, history_floor, lost_delete FROM sessions "
        "ORDER BY created_at, session_id"
    )
    for row in rows:
        session_id, created_at, request, floor, lost_delete = row
        if not (
            tuple(map(type, row)) == _SESSION
            and 0 <= created_at < _MAX_SECONDS
            and 0 <= floor < MAX_INTEGER
            and 0 <= lost_delete < MAX_INTEGER
        ):
            raise DamagedRowError("sessions")
        asked = InitializeSessionRequest.FromString(request)
        config = asked.config if asked.HasField("config") else None
        session = StoredSession(session_id, created_at, dict(asked.metadata), config)
        session.revision, session.deleted_at = floor, lost_delete
        found[session_id] = session
    return found


def _add_variables(connection: sqlite3.Connection, sessions: dict[str, StoredSession], sealing: StoreSealing) -> None:
    rows = connection.execute(
        "SELECT session_id, name, type_url, value, type, size, created_at, at, revision, held, created_by, secret, "
        "tags FROM present JOIN changes USING (revision) ORDER BY revision"
    )
    # There are few types, and each row has a text of its own for its type.
    kinds: dict[str, str] = {}
    bare_secrets, unreadable = 0, list[UnreadableValue]()
    for row in rows:
        session_id, name, type_url, value, kind, size, created, at, revision, held, created_by, secret, tags = row
        session = sessions.get(session_id)
        # What a session has left that has ended is removed later.
        if session is None:
            continue
        if not (
            tuple(map(type, row)) in _VARIABLES
            and 0 < revision < MAX_INTEGER
            and 0 <= size < MAX_INTEGER
            and 0 <= held < MAX_INTEGER
            and 0 <= created < _MAX_SECONDS
            and 0 <= at < _MAX_SECONDS
        ):
            raise DamagedRowError("changes")
        is_secret = bool(secret)
        stored = Any(type_url=type_url, value=value)
        if type_url == SEALED_TYPE:
            opened = sealing.open(stored, ValuePlace(session_id, name, revision), secret=is_secret)
            unreadable += [opened] if isinstance(opened, UnreadableValue) else ()
        else:
            opened = stored
            bare_secrets += is_secret
        session.variables.append(
            Variable(
                name,
                opened,
                kinds.setdefault(kind, kind),
                size,
                created,
                at,
                revision,
                held,
                created_by,
                is_secret,
                _read_tags(tags) if tags else _NO_TAGS,
            )
        )
    warn_of(unreadable, bare_secrets)
    for session_id, last in connection.execute("SELECT session_id, max(revision) FROM changes GROUP BY session_id"):
        if session_id in sessions:
            session = sessions[session_id]
            session.revision = max(session.revision, last)
    rows = connection.execute(
        "SELECT session_id, max(revision) FROM changes WHERE operation = 'delete' GROUP BY session_id"
    )
    for session_id, last in rows:
        if session_id in sessions:
            session = sessions[session_id]
            session.deleted_at = max(session.deleted_at, last)


def _read_tags(text: str) -> Mapping[str, str]:
    tags = json.loads(text)
    if type(tags) is not dict or not all(map(_is_text, tags.values())):
        raise DamagedRowError("changes")
    return tags


def _add_agents(connection: sqlite3.Connection, sessions: dict[str, StoredSession]) -> None:
    for session_id, agent_id, definition in connection.execute(
        "SELECT session_id, agent_id, definition FROM agents ORDER BY number"
    ):
        if session_id in sessions:
            sessions[session_id].agents[agent_id] = CreateReActAgentRequest.FromString(definition)


def _add_runs(connection: sqlite3.Connection, sessions: dict[str, StoredSession]) -> None:
    runs: dict[tuple[str, str], StoredRun] = {}
    for session_id, *facts in connection.execute(
        "SELECT session_id, run_id, agent_id, digest, started_at FROM runs ORDER BY number"
    ):
        if session_id in sessions:
            if not (tuple(map(type, facts)) == _RUN and 0 <= facts[3] < _MAX_SECONDS):
                raise DamagedRowError("runs")
            begun = runs[session_id, facts[0]] = StoredRun(*facts)
            sessions[session_id].runs.append(begun)
    for session_id, run_id, sequence, is_last, data in connection.execute(
        "SELECT session_id, run_id, sequence, is_last, data FROM chunks ORDER BY session_id, run_id, sequence"
    ):
        run = runs.get((session_id, run_id))
        if run is None:
            continue
        if not run.chunks:
            run.first = sequence
        if not (
            (type(sequence), type(is_last), type(data)) == _CHUNK
            and 0 <= sequence < MAX_INTEGER
            and sequence == run.first + len(run.chunks)
        ):
            raise DamagedRowError("chunks")
        run.chunks.append((data, bool(is_last)))


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_INTEGER
