"""Reading a store at one moment."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite.failures import store_error
from grpc_tool_bridge.stores.sqlite.schema import VERSION
from grpc_tool_bridge.stores.sqlite.snapshots import open_file, read_snapshot, require_store
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.store_files import change, fill, filled, in_thread, names_in


def sessions(connection: sqlite3.Connection) -> list[str]:
    return [each for (each,) in connection.execute("SELECT session_id FROM sessions ORDER BY 1")]


async def test_a_store_that_nobody_has_is_read_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    before = path.read_bytes(), names_in(tmp_path)
    assert read_snapshot(path, sessions) == ["one", "two"]
    assert (path.read_bytes(), names_in(tmp_path)) == before


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    path = asyncio.run(filled(tmp_path / "hub.db"))
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert read_snapshot(path, sessions) == ["one", "two"]
    finally:
        tmp_path.chmod(0o700)


async def test_of_a_hub_that_writes_one_moment_is_read_and_nothing_of_the_file_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    store = SqliteStore(path)
    await store.open(Settings())
    await fill(store)
    before = path.read_bytes()

    def read(connection: sqlite3.Connection) -> list[str]:
        found = sessions(connection)
        go_on(StoredSession("later", 1.0, {}))
        assert sessions(connection) == found
        return found

    def go_on(session: StoredSession) -> None:
        asyncio.run_coroutine_threadsafe(create(session), loop).result()

    async def create(session: StoredSession) -> None:
        await store.create_session(session)

    loop = asyncio.get_running_loop()
    assert await in_thread(lambda: read_snapshot(path, read)) == ["one", "two"]
    assert await in_thread(lambda: read_snapshot(path, sessions)) == ["later", "one", "two"]
    assert path.read_bytes() == before
    await store.aclose()


async def test_a_log_that_a_killed_hub_has_left_is_read_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    store = SqliteStore(path)
    await store.open(Settings())
    await fill(store)
    left = tmp_path / "left"
    left.mkdir()
    for name in ("hub.db", "hub.db-wal"):
        shutil.copy(tmp_path / name, left / name)
    await store.aclose()
    before = (left / "hub.db").read_bytes(), (left / "hub.db-wal").read_bytes()
    assert read_snapshot(left / "hub.db", sessions) == ["one", "two"]
    assert ((left / "hub.db").read_bytes(), (left / "hub.db-wal").read_bytes()) == before


async def test_what_a_hub_changes_while_a_closed_store_is_read_is_read_once_more(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    reads = 0

    def read(connection: sqlite3.Connection) -> list[str]:
        nonlocal reads
        reads += 1
        if reads == 1:
            change(path, "DELETE FROM sessions WHERE session_id = 'two'")
        return sessions(connection)

    assert read_snapshot(path, read) == ["one"]
    assert reads == 2


def other_program(path: Path) -> None:
    change(path, "CREATE TABLE theirs (x)")


def newer(path: Path) -> None:
    change(path, f"PRAGMA user_version = {VERSION + 1}")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "there is no store"),
        (lambda path: path.mkdir(), "is no file; give the path of a store"),
        (lambda path: path.write_bytes(b""), "is empty: no hub has used it yet"),
        (lambda path: path.write_text("no database at all " * 100), "damaged"),
        (other_program, "an SQLite file of another program"),
    ],
    ids=["missing", "directory", "empty", "text", "other"],
)
def test_what_is_no_store_is_said_to_be_none(make: Callable[[Path], object], text: str, tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    make(path)
    with pytest.raises(StoreError, match=text):
        read_snapshot(path, sessions)


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    newer(path)
    with pytest.raises(StoreError, match="a newer version of grpc-tool-bridge wrote"):
        read_snapshot(path, sessions)


def test_a_signal_whose_handler_raises_ends_a_statement_that_takes_long(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "x.db").touch()
    connection = open_file(tmp_path / "x.db", "mode=rw")
    endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute(endless)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        connection.close()
    with pytest.raises(KeyboardInterrupt):
        store_error(caught.value, tmp_path)


@pytest.mark.parametrize(("is_backup", "called"), [(False, "store"), (True, "backup")])
def test_a_file_that_this_user_cannot_read_says_whose_it_is(
    is_backup: bool, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.db"
    path.write_bytes(b"")
    # Root can read all files.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError) as caught:
        require_store(path, is_backup=is_backup)
    assert caught.value.message == (
        f"the {called} {path} cannot be read (Permission denied); run this as the user of its hub"
    )
