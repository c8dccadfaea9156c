"""What a hub begins with."""

import gc
from pathlib import Path

import pytest

from grpc_tool_bridge.stores.sqlite.loading import DamagedRowError, load
from unit.stores.sqlite.rows import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "hub.db")


def test_a_new_store_has_an_epoch_that_stays(kept: Kept) -> None:
    first, second = (load(kept.connection, kept.settings) for _ in range(2))
    assert first.epoch == second.epoch != ""
    assert (first.revision, first.sessions, first.ended) == (0, [], {})


def test_no_revision_comes_again_that_was_stored_or_reserved(kept: Kept) -> None:
    kept.session("s")
    kept.set("s", "x", 7)
    assert load(kept.connection, kept.settings).revision == 7
    kept.connection.execute("INSERT INTO facts VALUES ('revision', 100)")
    assert load(kept.connection, kept.settings).revision == 100
    kept.set("s", "x", 200, previous=7)
    assert load(kept.connection, kept.settings).revision == 200


def test_sessions_come_the_oldest_first_with_what_is_theirs_alone(kept: Kept) -> None:
    for session_id, created_at in (("b", 1.0), ("a", 2.0)):
        kept.connection.execute(
            "INSERT INTO sessions (session_id, created_at, request) VALUES (?, ?, x'')", (session_id, created_at)
        )
    kept.set("a", "x", 1)
    kept.delete("a", "x", 2, 1)
    kept.set("a", "y", 3)
    sessions = load(kept.connection, kept.settings).sessions
    assert [(session.session_id, session.revision, session.deleted_at) for session in sessions] == [
        ("b", 0, 0),
        ("a", 3, 2),
    ]
    assert [variable.name for variable in sessions[1].variables] == ["y"]


@pytest.mark.parametrize(
    ("table", "columns", "values"),
    [
        (
            "changes",
            "revision, session_id, name, operation, previous, at, secret, type_url, value, type, size, held",
            "1, 'gone', 'x', 'set', 0, 0.5, 0, 't', x'', 'int', 0, 0",
        ),
        (
            "changes",
            "revision, session_id, name, operation, previous, at, secret",
            "1, 'gone', 'x', 'delete', 0, 1, 0",
        ),
        ("agents", "session_id, agent_id, definition", "'gone', 'a', x''"),
        ("runs", "session_id, run_id, agent_id, digest, started_at", "'gone', 'r', 'a', x'', 1.0"),
        ("chunks", "session_id, run_id, sequence, is_last, data", "'gone', 'r', 0, 0, x''"),
    ],
)
def test_what_an_ended_session_has_left_is_not_read(kept: Kept, table: str, columns: str, values: str) -> None:
    kept.session("s")
    kept.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})")
    (session,) = load(kept.connection, kept.settings).sessions
    assert (session.session_id, session.variables, session.agents, session.runs) == ("s", [], {}, [])


def test_chunks_come_in_order_from_the_first_that_is_kept(kept: Kept) -> None:
    kept.session("s")
    kept.connection.execute(
        "INSERT INTO runs (session_id, run_id, agent_id, digest, started_at) VALUES ('s', 'r', 'a', x'', 1.0)"
    )
    for sequence in (5, 3, 4):
        kept.connection.execute(
            "INSERT INTO chunks (session_id, run_id, sequence, is_last, data) VALUES ('s', 'r', ?, ?, ?)",
            (sequence, sequence == 5, bytes([sequence])),
        )
    (run,) = load(kept.connection, kept.settings).sessions[0].runs
    assert (run.first, run.chunks) == (3, [(b"\3", False), (b"\4", False), (b"\5", True)])


# What others than a hub may have written, or a fault of the disk that SQLite does not see.
DAMAGE = {
    "facts": [
        "UPDATE facts SET value = 5 WHERE name = 'epoch'",
        "UPDATE facts SET value = NULL WHERE name = 'epoch'",
        "INSERT INTO facts VALUES ('revision', 'z')",
        "INSERT INTO facts VALUES ('revision', -5)",
        "INSERT INTO facts VALUES ('revision', 9223372036854775807)",
    ],
    "sessions": [
        "UPDATE sessions SET session_id = x'00ff'",
        "UPDATE sessions SET request = 'text'",
        "UPDATE sessions SET created_at = 'text'",
        "UPDATE sessions SET created_at = 9e999",
        "UPDATE sessions SET created_at = -1e20",
        "UPDATE sessions SET history_floor = 'text'",
        "UPDATE sessions SET lost_delete = 9223372036854775807",
    ],
    "changes": [
        f"UPDATE changes SET {change}"
        for change in (
            "name = x'00ff'",
            "size = 'text'",
            "size = -1",
            "size = 9223372036854775807",
            "held = NULL",
            "type = NULL",
            "type_url = NULL",
            "value = 'text'",
            "value = NULL",
            "at = 'text'",
            "created_at = 9e999",
            "created_by = NULL",
            "secret = 'text'",
            "tags = x'00'",
            "tags = '[1]'",
            "tags = '{\"a\": 1}'",
            "revision = 9223372036854775807",
        )
    ],
    "runs": ["UPDATE runs SET started_at = 'text'", "UPDATE runs SET agent_id = x'00'", "UPDATE runs SET digest = 'd'"],
    "chunks": [
        "UPDATE chunks SET sequence = -1",
        "UPDATE chunks SET sequence = 9223372036854775807",
        "UPDATE chunks SET data = 'text'",
        "UPDATE chunks SET is_last = 'text'",
        "INSERT INTO chunks (session_id, run_id, sequence, is_last, data) VALUES ('s', 'r', 2, 0, x'')",
    ],
}


@pytest.mark.parametrize(
    ("table", "damage"), [(table, damage) for table, all_of_it in DAMAGE.items() for damage in all_of_it]
)
def test_a_row_that_no_hub_has_written_is_damage(kept: Kept, table: str, damage: str) -> None:
    kept.session("s")
    kept.set("s", "x", 1)
    kept.connection.execute(
        "INSERT INTO runs (session_id, run_id, agent_id, digest, started_at) VALUES ('s', 'r', 'a', x'', 1.0)"
    )
    kept.connection.execute(
        "INSERT INTO chunks (session_id, run_id, sequence, is_last, data) VALUES ('s', 'r', 0, 0, x'')"
    )
    load(kept.connection, kept.settings)
    kept.connection.execute("INSERT OR IGNORE INTO present SELECT revision FROM changes")
    kept.connection.execute(damage)
    if "revision = 9" in damage:
        kept.connection.execute("UPDATE present SET revision = 9223372036854775807")
    with pytest.raises(DamagedRowError, match=f"'{table}'"):
        load(kept.connection, kept.settings)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_search_for_garbage_is_as_it_was_afterwards(kept: Kept, is_enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        load(kept.connection, kept.settings)
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
