"""Who has a store, and what is done with one that no hub has."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import file, holding
from grpc_tool_bridge.stores.sqlite.holding import fold, held, holder, own_as
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.store_files import fill, filled, names_in, rows, state_of

needs_locks = pytest.mark.skipif(not holding.LOCKS.exists(), reason="the system does not tell who has a lock")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@needs_locks
async def test_the_process_that_has_a_store_is_told_while_it_has_it(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    assert holder(path) is None
    store = SqliteStore(path)
    await store.open(Settings())
    assert holder(path) == os.getpid()
    await store.aclose()
    assert holder(path) is None, "the number in the lock alone says nothing"


async def test_a_system_that_does_not_tell_is_asked_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await filled(tmp_path / "hub.db")
    monkeypatch.setattr(holding, "LOCKS", tmp_path / "nothing")
    with held(path):
        assert holder(path) is None


async def test_a_file_that_has_another_device_there_is_known_by_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await filled(tmp_path / "hub.db")
    lock = path.with_name("hub.db.lock")
    lock.write_text("4242\n")
    locks = tmp_path / "locks"
    number = lock.stat().st_ino
    monkeypatch.setattr(holding, "LOCKS", locks)
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE 1 ff:ff:{number} 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 ff:ff:{number} 0 EOF\n"
        f"2: -> FLOCK  ADVISORY  WRITE 8 ff:ff:{number} 0 EOF\n"
    )
    assert holder(path) is None
    locks.write_text(f"1: FLOCK  ADVISORY  WRITE 4242 ff:ff:{number} 0 EOF\n")
    assert holder(path) == 4242


async def test_what_fails_leaves_no_lock_that_was_not_there(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    for name, left in (("hub.db", ["hub.db", "hub.db.lock"]), ("new.db", ["hub.db", "hub.db.lock"])):
        with pytest.raises(ZeroDivisionError), held(path.with_name(name)):
            raise ZeroDivisionError
        assert names_in(tmp_path) == left
    with held(path):
        pass


async def test_nobody_else_has_a_store_that_is_held(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    with held(path):
        with pytest.raises(StoreError, match="has the store"):
            await SqliteStore(path).open(Settings())
        with pytest.raises(StoreError, match="has the store"), held(path):
            raise AssertionError
    store = SqliteStore(path)
    await store.open(Settings())
    await store.aclose()


@needs_root
async def test_what_root_makes_belongs_to_the_user_of_the_hub(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    lock = path.with_name("hub.db.lock")
    lock.unlink()
    os.chown(path, 12345, 12346)
    with held(path):
        assert (lock.stat().st_uid, lock.stat().st_gid) == (12345, 12346)
    made = tmp_path / "made"
    made.touch()
    own_as(made, path)
    assert (made.stat().st_uid, made.stat().st_gid) == (12345, 12346)


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
