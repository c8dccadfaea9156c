"""The log beside a store that no hub has."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import file
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from grpc_tool_bridge.stores.sqlite.wal import fold
from support.store_files import fill, filled, names_in, rows, state_of


async def left_by_a_kill(tmp_path: Path) -> Path:
    """Makes a store whose changes are in its log alone, as a hub that was killed leaves it."""
    store = SqliteStore(tmp_path / "hub.db")
    await store.open(Settings())
    await fill(store)
    left = tmp_path / "left"
    left.mkdir()
    for name in ("hub.db", "hub.db-wal", "hub.db-shm"):
        shutil.copy(tmp_path / name, left / name)
    await store.aclose()
    return left / "hub.db"


async def test_a_log_is_carried_over_into_the_file(tmp_path: Path) -> None:
    path = await left_by_a_kill(tmp_path)
    fold(path)
    assert names_in(path.parent) == ["hub.db"]
    assert [session.session_id for session in (await state_of(path)).sessions] == ["one", "two"]


async def test_a_log_that_another_program_reads_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LOCK_SECONDS", 0.05)
    path = await left_by_a_kill(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        with pytest.raises(StoreError, match="another program reads the store"):
            fold(path)
        assert reader.execute("SELECT count(*) FROM sessions").fetchone() == (2,)
    fold(path)
    assert rows(path, "SELECT count(*) FROM sessions") == [(2,)]


async def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no database at all " * 100)
    with pytest.raises(StoreError, match="damaged"):
        fold(path)
    assert path.read_text().startswith("no database")


async def test_a_store_without_a_log_stays_as_it_is(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    fold(path)
    assert len((await state_of(path)).sessions) == 2
