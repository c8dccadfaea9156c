"""What is in the file of a store that no hub has."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from google.protobuf.any_pb2 import Any as AnyMessage

from durability.checks import Stored
from grpc_tool_bridge.values.serialization import deserialize_value

# What must not be in a store: a part without what it belongs to.
_MIXED = {
    "two present states of a variable": (
        "SELECT session_id, name FROM present JOIN changes USING (revision) GROUP BY session_id, name "
        "HAVING count(*) > 1"
    ),
    "a present state that is no change": "SELECT revision FROM present WHERE revision NOT IN "
    "(SELECT revision FROM changes WHERE operation <> 'delete')",
    "a variable whose last change is not the present one": (
        "SELECT session_id, name, max(revision) AS last FROM changes GROUP BY session_id, name "
        "HAVING (operation <> 'delete') <> (last IN (SELECT revision FROM present))"
    ),
    "a chunk without its run": "SELECT run_id FROM chunks WHERE NOT EXISTS (SELECT 1 FROM runs "
    "WHERE runs.session_id = chunks.session_id AND runs.run_id = chunks.run_id)",
    "a run whose chunks have a gap": (
        "SELECT run_id FROM chunks GROUP BY session_id, run_id HAVING max(sequence) - min(sequence) + 1 <> count(*)"
    ),
    "chunks after the last one": (
        "SELECT run_id FROM chunks AS one WHERE is_last AND EXISTS (SELECT 1 FROM chunks AS other WHERE "
        "other.session_id = one.session_id AND other.run_id = one.run_id AND other.sequence > one.sequence)"
    ),
    "a session that has ended and goes on": (
        "SELECT session_id FROM sessions WHERE session_id IN (SELECT session_id FROM ended_sessions)"
    ),
    **{
        f"{table} without their session": (
            f"SELECT session_id FROM {table} WHERE session_id NOT IN (SELECT session_id FROM sessions)"
        )
        for table in ("changes", "calls", "agents", "runs", "chunks")
    },
}


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the file."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def faults(connection: sqlite3.Connection) -> Iterable[str]:
    """Finds what can only be in a store that took a part of a commit."""
    for (said,) in connection.execute("PRAGMA integrity_check"):
        if said != "ok":
            yield said
    for what, query in _MIXED.items():
        if found := connection.execute(query).fetchmany(5):
            yield f"{what}: {found}"


def changes(connection: sqlite3.Connection) -> list[Stored]:
    """Returns all stored changes of variables, in their order."""
    return [
        (session, revision, operation, name, None if url is None else _read(url, value))
        for session, revision, operation, name, url, value in connection.execute(
            "SELECT session_id, revision, operation, name, type_url, value FROM changes ORDER BY revision"
        )
    ]


def _read(type_url: str, value: bytes) -> object:
    return deserialize_value(AnyMessage(type_url=type_url, value=value))
