"""What is in an SQLite store: how much of each kind, by session, and never a value."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from grpc_tool_bridge.errors import SessionNotFoundError
from grpc_tool_bridge.errors.near_names import MAX_NAMES, did_you_mean
from grpc_tool_bridge.stores.sqlite.disk import beside, size_of
from grpc_tool_bridge.stores.sqlite.holding import holder
from grpc_tool_bridge.stores.sqlite.schema import version_of
from grpc_tool_bridge.stores.sqlite.snapshots import read_snapshot


@dataclass(slots=True)
class Amounts:
    """How much of each kind a session has, or all of them. Bytes are those of values, answers, definitions and chunks.

    Attributes:
        variables, variable_bytes: Its variables.
        changes, change_bytes: The history for watches, in which what variables are now is the last change of each.
        answers, answer_bytes: Kept answers of calls with an idempotency key.
        unfinished_calls: Such calls that have no answer: they run, or their hub ended meanwhile.
        agents, agent_bytes: Its agents.
        runs: Runs of agents.
        chunks, chunk_bytes: What these runs have told.
    """

    variables: int = 0
    variable_bytes: int = 0
    changes: int = 0
    change_bytes: int = 0
    answers: int = 0
    answer_bytes: int = 0
    unfinished_calls: int = 0
    agents: int = 0
    agent_bytes: int = 0
    runs: int = 0
    chunks: int = 0
    chunk_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes of all kinds; what a variable is now counts once, as a change."""
        return self.change_bytes + self.answer_bytes + self.agent_bytes + self.chunk_bytes

    def add(self, other: "Amounts") -> None:
        """Adds what another session has."""
        for item in fields(Amounts):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


@dataclass(slots=True)
class SessionReport:
    """What a session has.

    Attributes:
        session_id: Its id.
        created_at: Seconds since the epoch.
        amounts: What it has.
    """

    session_id: str
    created_at: float
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What is in a store.

    Attributes:
        path: Its file.
        format: Version of its tables.
        epoch: The epoch of its hub; empty: no hub has begun one.
        revision: That of the last change of a variable that is kept; 0: none is. The hub may have given later ones.
        size, log_size: Bytes of the file and of its write-ahead log.
        free: Bytes in the file that nothing is in; they are used again, or given back by ``vacuum``.
        process: The process that has it; None: none, or the system does not tell.
        ended_sessions: Sessions that have ended and are remembered.
        sessions: The sessions that were asked for, the largest first.
        total: What these have together.
    """

    path: Path
    format: int
    epoch: str
    revision: int
    size: int
    log_size: int
    free: int
    process: int | None
    ended_sessions: int
    sessions: Sequence[SessionReport]
    total: Amounts


# A query for each group of amounts; the first column is the session.
_QUERIES = (
    (
        "SELECT session_id, count(*), total(length(value)) FROM present JOIN changes USING (revision)",
        ("variables", "variable_bytes"),
    ),
    ("SELECT session_id, count(*), total(length(value)) FROM changes", ("changes", "change_bytes")),
    (
        "SELECT session_id, count(answer), total(length(answer)), count(*) - count(answer) FROM calls",
        ("answers", "answer_bytes", "unfinished_calls"),
    ),
    ("SELECT session_id, count(*), total(length(definition)) FROM agents", ("agents", "agent_bytes")),
    ("SELECT session_id, count(*) FROM runs", ("runs",)),
    ("SELECT session_id, count(*), total(length(data)) FROM chunks", ("chunks", "chunk_bytes")),
)


def report(path: Path, session_id: str | None = None) -> StoreReport:
    """Reports what is in a store, while a hub has it or not.

    Args:
        path: The store's file.
        session_id: The only session to report of; None: all.

    Raises:
        SessionNotFoundError: The store has no such session.
        StoreError: There is no such store, or it cannot be read.
    """
    return read_snapshot(path, partial(_read, path=path, session_id=session_id))


def _read(connection: sqlite3.Connection, *, path: Path, session_id: str | None) -> StoreReport:
    facts = dict(connection.execute("SELECT name, value FROM facts WHERE name = 'epoch'"))
    (revision,) = connection.execute("SELECT max(revision) FROM changes").fetchone()
    (ended,) = connection.execute("SELECT count(*) FROM ended_sessions").fetchone()
    (page,), (free,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "freelist_count"))
    sessions = _sessions(connection, session_id)
    total = Amounts()
    for session in sessions:
        total.add(session.amounts)
    return StoreReport(
        path,
        version_of(connection),
        facts.get("epoch", ""),
        revision or 0,
        size_of(path),
        size_of(beside(path, "-wal")),
        page * free,
        holder(path),
        ended,
        sessions,
        total,
    )


def _sessions(connection: sqlite3.Connection, session_id: str | None) -> list[SessionReport]:
    where, wanted = ("", ()) if session_id is None else (" WHERE session_id = ?", (session_id,))
    # The texts are ours; what is wanted is a parameter.
    rows = connection.execute(f"SELECT session_id, created_at FROM sessions{where}", wanted)  # noqa: S608 - see above
    found = {each: SessionReport(each, created_at, Amounts()) for each, created_at in rows}
    if session_id is not None and not found:
        raise _not_found(connection, session_id)
    for query, names in _QUERIES:
        for each, *amounts in connection.execute(f"{query}{where} GROUP BY session_id", wanted):
            if each in found:
                for name, amount in zip(names, amounts, strict=True):
                    setattr(found[each].amounts, name, int(amount))
    return sorted(found.values(), key=lambda session: (-session.amounts.size, session.created_at, session.session_id))


def _not_found(connection: sqlite3.Connection, session_id: str) -> SessionNotFoundError:
    ended = connection.execute("SELECT why FROM ended_sessions WHERE session_id = ?", (session_id,)).fetchone()
    if ended is not None:
        return SessionNotFoundError(f"session {session_id!r} has ended: {ended[0]}")
    rows = connection.execute("SELECT session_id FROM sessions LIMIT ?", (MAX_NAMES,))
    known = [each for (each,) in rows]
    hint = did_you_mean(session_id, known, "without --session all are listed", quoted=True)
    return SessionNotFoundError(f"the store has no session {session_id!r}{hint}")
