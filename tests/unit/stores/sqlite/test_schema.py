"""The tables of an SQLite store, and the way from each version to the next."""

import asyncio
import sqlite3
import stat
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse
from grpc_tool_bridge.stores.sqlite import file as file_module
from grpc_tool_bridge.stores.sqlite import schema
from grpc_tool_bridge.stores.sqlite.file import StoreFile
from grpc_tool_bridge.stores.sqlite.schema import MIGRATIONS, VERSION, migrate, statements_of
from support.store_files import SECRET, names_in, rows, state_of
from support.waiting import soon
from unit.stores.sqlite.versions import dump_of, store_of, tables

NEXT = """
    ALTER TABLE sessions ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    CREATE TABLE owners (name TEXT PRIMARY KEY);
    INSERT INTO owners SELECT DISTINCT owner FROM sessions;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def plant(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Makes one more version, as if this were a later release."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, script))
    for module in (schema, file_module):
        monkeypatch.setattr(module, "VERSION", VERSION + 1)


def version_in(path: Path) -> int:
    return int(rows(path, "PRAGMA user_version")[0][0])


def columns(path: Path, table: str) -> list[str]:
    return [row[1] for row in rows(path, f"PRAGMA table_info({table})")]


async def check_data(path: Path) -> None:
    """Checks that a store has all that the files of versions have."""
    state = await state_of(path)
    assert [session.session_id for session in state.sessions] == ["one", "two"]
    one, two = state.sessions
    assert (one.created_at, two.created_at) == (1_000.0, 1_001.0)
    assert {variable.name: variable.revision for variable in one.variables} == {"a": 3, "b": 2}
    assert all(SECRET.encode() in variable.value.value and variable.secret for variable in one.variables)
    assert (one.revision, two.variables) == (3, [])
    assert list(one.agents) == ["agent"]
    (run,) = one.runs
    assert (run.run_id, run.agent_id, run.digest, run.started_at) == ("run", "agent", b"digest", 3.5)
    assert run.chunks == [(b"chunk", False), (b"chunk", True)]
    assert state.ended == {"gone": "it was removed"}
    assert state.epoch
    calls = dict(rows(path, "SELECT key, answer FROM calls"))
    assert calls["unfinished"] is None
    assert ToolCallResponse.FromString(calls["kept"]).request_id == SECRET
    assert rows(path, "SELECT revision, previous FROM changes ORDER BY revision") == [(1, 0), (2, 0), (3, 1)]


@pytest.mark.parametrize("version", range(1, VERSION + 1))
async def test_all_that_a_version_has_stored_is_there(path: Path, version: int) -> None:
    store_of(version, path)
    await check_data(path)
    assert version_in(path) == VERSION


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_version_that_was_written_does_not_change(path: Path, version: int) -> None:
    """Otherwise what is read of the file of a version would not be what that version reads."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for script in MIGRATIONS[:version]:
            for statement in statements_of(script):
                made.execute(statement)
        with closing(sqlite3.connect(store_of(version, path))) as written:
            assert tables(written) == tables(made)


def test_there_is_a_file_of_each_version_with_something_in_each_table() -> None:
    for version in range(1, VERSION + 1):
        text = dump_of(version).read_text(encoding="utf-8")
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(text)
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            assert all(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names)


async def test_a_store_is_brought_to_the_next_version_and_kept_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store_of(VERSION, path)
    plant(monkeypatch, NEXT)
    await check_data(path)
    assert version_in(path) == VERSION + 1
    assert "owner" in columns(path, "sessions")
    kept = path.with_name(f"hub.db.version-{VERSION}")
    assert f"it is kept in {kept}" in caplog.text
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert names_in(path.parent) == ["hub.db", "hub.db.lock", kept.name]
    assert version_in(kept) == VERSION
    monkeypatch.undo()
    # Who goes back finds all, in another epoch.
    back = path.with_name("back.db")
    kept.replace(back)
    epoch = rows(back, "SELECT value FROM facts WHERE name = 'epoch'")[0][0]
    await check_data(back)
    assert rows(back, "SELECT value FROM facts WHERE name = 'epoch'")[0][0] != epoch


async def test_a_store_that_is_new_or_of_this_version_is_not_copied(path: Path) -> None:
    await state_of(path)
    await state_of(path)
    assert names_in(path.parent) == ["hub.db", "hub.db.lock"]


@pytest.mark.parametrize("statement", ["INSERT INTO nowhere VALUES (1);", "SELECT no_function();"])
async def test_an_upgrade_that_fails_leaves_the_store_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    store_of(VERSION, path)
    plant(monkeypatch, NEXT + statement)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"cannot be used \(SQLITE_ERROR"):
            StoreFile(path).open(0)
    monkeypatch.undo()
    assert (version_in(path), columns(path, "owners"), "owner" in columns(path, "sessions")) == (VERSION, [], False)
    await check_data(path)


async def test_an_upgrade_that_is_killed_leaves_the_store_as_it_was_and_can_be_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of(VERSION, path)
    for count in range(1, 5):
        program = f"""
import os, sys
from pathlib import Path
from grpc_tool_bridge.stores.sqlite import file, schema
schema.MIGRATIONS = (*schema.MIGRATIONS, {NEXT!r})
schema.VERSION = file.VERSION = {VERSION + 1}
known = schema.statements_of
def statements(script):
    for number, statement in enumerate(known(script), start=1):
        yield statement
        if number == {count}:
            os._exit(9)
    os._exit(9)
schema.statements_of = statements
file.StoreFile(Path(sys.argv[1])).open(0)
"""
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path))
        assert await soon(process.wait()) == 9
        assert version_in(path) == VERSION
        assert "owner" not in columns(path, "sessions")
    await check_data(path)
    plant(monkeypatch, NEXT)
    await check_data(path)
    assert version_in(path) == VERSION + 1


def test_statements_of_a_script_keep_those_of_a_trigger_together() -> None:
    script = """
    CREATE TABLE t (v);  -- a comment; with a semicolon
    CREATE TRIGGER r AFTER INSERT ON t
    BEGIN
        DELETE FROM t WHERE v = 1;
        DELETE FROM t WHERE v = 2;
    END;
    """
    assert [statement.split()[1] for statement in statements_of(script)] == ["TABLE", "TRIGGER"]


# ----------------------------------------------------------------------------------------------------------- triggers


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, 0)
    connection.execute("INSERT INTO sessions (session_id, created_at, request) VALUES ('s', 1.0, x'')")
    return connection


def add(connection: sqlite3.Connection, revision: int, previous: int = 0, operation: str = "set") -> None:
    connection.execute(
        "INSERT INTO changes (revision, session_id, name, operation, previous, at, secret) "
        "VALUES (?, 's', 'x', ?, ?, 0.5, 0)",
        (revision, operation, previous),
    )


def present(connection: sqlite3.Connection) -> Sequence[int]:
    return [revision for (revision,) in connection.execute("SELECT revision FROM present")]


def test_what_variables_are_is_known_without_a_search(connection: sqlite3.Connection) -> None:
    add(connection, 1)
    assert present(connection) == [1]
    add(connection, 2, previous=1)
    assert present(connection) == [2]
    add(connection, 3, previous=2, operation="delete")
    assert present(connection) == []
    add(connection, 4)
    connection.execute("DELETE FROM changes WHERE revision = 4")
    assert present(connection) == []


def test_a_session_that_ends_is_remembered_until_it_begins_again(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO ended_sessions (session_id, why, ended_at) VALUES ('s', 'why', 1.0)")
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    connection.execute("INSERT INTO sessions (session_id, created_at, request) VALUES ('s', 2.0, x'')")
    assert connection.execute("SELECT count(*) FROM ended_sessions").fetchone() == (0,)
