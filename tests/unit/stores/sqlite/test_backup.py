"""Backups of a store, and stores of backups."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import AlreadyExistsError, StoreError, ValidationError
from grpc_tool_bridge.stores.sqlite import backup, file
from grpc_tool_bridge.stores.sqlite.backup import back_up, restore
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.store_files import change, damage, fill, filled, in_thread, names_in, rows, state_of

TABLES = ("sessions", "ended_sessions", "changes", "present", "calls", "agents", "runs", "chunks")


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    return {table: rows(path, f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


async def killed(tmp_path: Path) -> Path:
    """Makes a store as a hub that was killed leaves it: with all that it has in its log."""
    folder = tmp_path / "served"
    folder.mkdir()
    store = SqliteStore(folder / "hub.db")
    await store.open(Settings())
    await fill(store)
    for name in ("hub.db", "hub.db-wal", "hub.db-shm"):
        shutil.copy(folder / name, tmp_path / name)
    await store.aclose()
    return tmp_path / "hub.db"


# ------------------------------------------------------------------------------------------------------------- backup


async def test_a_backup_of_a_store_that_a_hub_has_is_all_of_it(tmp_path: Path) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    store = SqliteStore(path)
    await store.open(Settings())
    await fill(store)
    before = os.umask(0)
    try:
        made = await in_thread(lambda: back_up(path, target))
    finally:
        os.umask(before)
    await store.create_session(StoredSession("later", 5.0, {}))
    await store.aclose()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert made.size == target.stat().st_size
    assert names_in(tmp_path) == ["backup.db", "hub.db", "hub.db.lock"]
    kept = contents(target)
    change(path, "DELETE FROM sessions WHERE session_id = 'later'")
    assert kept == contents(path)


def test_a_backup_is_on_the_disk_before_it_gets_its_name_and_its_name_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = asyncio.run(filled(tmp_path / "hub.db")), tmp_path / "backup.db"
    flushed: list[tuple[int, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    back_up(path, target)
    assert flushed == [(target.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


async def test_a_backup_of_a_store_that_nobody_has_leaves_nothing_else_beside_it(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    before = path.read_bytes()
    back_up(path, tmp_path / "backup.db")
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["backup.db", "hub.db", "hub.db.lock"]


async def test_a_backup_has_what_a_killed_hub_has_left_in_its_log(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    back_up(path, tmp_path / "backup.db")
    assert len(rows(tmp_path / "backup.db", "SELECT * FROM sessions")) == 2


async def test_a_backup_replaces_another_file_only_if_it_may(tmp_path: Path) -> None:
    path, target = await filled(tmp_path / "hub.db"), tmp_path / "backup.db"
    target.write_text("mine")
    with pytest.raises(AlreadyExistsError, match="replace it with --force"):
        back_up(path, target)
    assert target.read_text() == "mine"
    back_up(path, target, replace=True)
    assert contents(target) == contents(path)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".lock"])
async def test_a_backup_never_replaces_a_file_of_the_store_itself(suffix: str, tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    with pytest.raises(ValidationError, match="belongs to the store itself"):
        back_up(path, tmp_path / f"hub.db{suffix}", replace=True)
    other = tmp_path / "link.db"
    other.hardlink_to(path)
    with pytest.raises(ValidationError, match="belongs to the store itself"):
        back_up(path, other, replace=True)


async def test_a_backup_never_replaces_another_store_that_is_in_use(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    store = SqliteStore(tmp_path / "other.db")
    await store.open(Settings())
    await fill(store)
    with pytest.raises(ValidationError, match="is in use, or has a log beside it"):
        await in_thread(lambda: back_up(path, tmp_path / "other.db", replace=True))
    await store.aclose()


async def test_a_backup_into_a_directory_names_what_is_missing(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    with pytest.raises(ValidationError, match="is a directory; give the path of a file in it"):
        back_up(path, tmp_path)
    with pytest.raises(StoreError, match="cannot be written"):
        back_up(path, tmp_path / "none" / "backup.db")


async def test_a_backup_of_a_damaged_store_fails_and_leaves_no_file(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    damage(path)
    with pytest.raises(StoreError, match="damaged"):
        back_up(path, tmp_path / "backup.db")
    assert names_in(tmp_path) == ["hub.db", "hub.db.lock"]


# ------------------------------------------------------------------------------------------------------------ restore


async def test_a_store_of_a_backup_has_its_state_and_another_epoch(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    before = await state_of(path)
    back_up(path, tmp_path / "backup.db")
    made = restore(tmp_path / "backup.db", tmp_path / "other.db")
    after = await state_of(tmp_path / "other.db")
    assert made.kept is None
    assert made.epoch == after.epoch != before.epoch
    assert after.revision > before.revision
    assert after.sessions == before.sessions
    assert contents(tmp_path / "other.db") == contents(path)
    assert stat.S_IMODE((tmp_path / "other.db").stat().st_mode) == 0o600
    assert not rows(tmp_path / "other.db", "SELECT * FROM facts WHERE name = 'backed_up_at'")


async def test_a_store_that_is_there_is_replaced_only_if_it_may_be_and_is_kept(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    back_up(path, tmp_path / "backup.db")
    change(path, "DELETE FROM sessions WHERE session_id = 'two'")
    with pytest.raises(AlreadyExistsError, match="with --force"):
        restore(tmp_path / "backup.db", path)
    for _ in range(2):
        made = restore(tmp_path / "backup.db", path, replace=True)
        assert made.kept is not None
        assert made.kept.name.startswith("hub.db.replaced-")
    kept = [tmp_path / name for name in names_in(tmp_path) if ".replaced-" in name]
    assert sorted(len(rows(file, "SELECT * FROM sessions")) for file in kept) == [1, 2]
    assert len((await state_of(path)).sessions) == 2


async def test_no_log_of_the_replaced_store_is_applied_to_the_new_one(tmp_path: Path) -> None:
    other = await filled(tmp_path / "other.db")
    change(other, "DELETE FROM sessions WHERE session_id = 'two'")
    path = await killed(tmp_path)
    made = restore(other, path, replace=True)
    assert not path.with_name("hub.db-wal").exists()
    assert not path.with_name("hub.db-shm").exists()
    assert [session.session_id for session in (await state_of(path)).sessions] == ["one"]
    assert made.kept is not None
    assert len(rows(made.kept, "SELECT * FROM sessions")) == 2, "its log was carried over"


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_damaged_store_is_replaced_and_kept_with_its_log(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    other = await filled(tmp_path / "other.db")
    path = await killed(tmp_path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    log = path.with_name("hub.db-wal")
    log.write_bytes(b"a log that cannot be read")
    made = restore(other, path, replace=True)
    assert made.kept is not None
    assert made.kept.with_name(f"{made.kept.name}-wal").read_bytes() == b"a log that cannot be read"
    assert made.kept.read_bytes()[:1] == b"\xff"
    assert not log.exists()
    assert len((await state_of(path)).sessions) == 2


async def test_a_store_that_another_program_reads_is_kept_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "LOCK_SECONDS", 0.05)
    other = await filled(tmp_path / "other.db")
    change(other, "DELETE FROM sessions WHERE session_id = 'two'")
    path = await killed(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        made = restore(other, path, replace=True)
        assert [session.session_id for session in (await state_of(path)).sessions] == ["one"]
        assert reader.execute("SELECT count(*) FROM sessions").fetchone() == (2,)
    assert made.kept is not None
    assert len(rows(made.kept, "SELECT * FROM sessions")) == 2


async def test_a_log_without_its_store_is_not_applied_to_the_new_one(tmp_path: Path) -> None:
    other = await filled(tmp_path / "other.db")
    change(other, "DELETE FROM sessions WHERE session_id = 'two'")
    path = await killed(tmp_path)
    path.unlink()
    made = restore(other, path)
    assert made.kept is not None
    assert [session.session_id for session in (await state_of(path)).sessions] == ["one"]


async def test_a_store_that_a_hub_has_is_not_replaced(tmp_path: Path) -> None:
    other = await filled(tmp_path / "other.db")
    store = SqliteStore(tmp_path / "hub.db")
    await store.open(Settings())
    with pytest.raises(StoreError, match=r"^a hub of this process has the store .*; stop it first$"):
        await in_thread(lambda: restore(other, tmp_path / "hub.db", replace=True))
    await store.create_session(StoredSession("s", 1.0, {}))
    await store.aclose()
    assert [session.session_id for session in (await state_of(tmp_path / "hub.db")).sessions] == ["s"]


def no_store(path: Path) -> None:
    path.write_text("no database at all " * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [damage, no_store, empty, missing])
async def test_a_backup_that_cannot_be_used_replaces_nothing(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    back_up(path, tmp_path / "backup.db")
    spoil(tmp_path / "backup.db")
    before = path.read_bytes()
    with pytest.raises(StoreError):
        restore(tmp_path / "backup.db", path, replace=True)
    assert path.read_bytes() == before
    assert set(names_in(tmp_path)) - {"backup.db"} == {"hub.db", "hub.db.lock"}


async def test_a_store_is_no_backup_of_itself(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    with pytest.raises(ValidationError, match="is the store itself"):
        restore(path, path, replace=True)
    with pytest.raises(ValidationError, match="is a directory"):
        restore(path, tmp_path, replace=True)


async def test_a_file_with_its_log_is_a_backup_too(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    restore(path, tmp_path / "restored.db")
    assert len((await state_of(tmp_path / "restored.db")).sessions) == 2


async def test_what_a_link_leads_to_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    other = await filled(tmp_path / "other.db")
    folder = tmp_path / "volume"
    folder.mkdir()
    real, link = folder / "real.db", tmp_path / "hub.db"
    await filled(real)
    link.symlink_to(real)
    restore(other, link, replace=True)
    assert link.is_symlink()
    assert any(".replaced-" in name for name in names_in(folder))


async def test_a_crash_at_any_step_of_replacing_leaves_a_whole_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await filled(tmp_path / "hub.db")
    back_up(path, tmp_path / "backup.db")
    for name in ("fold", "flush", "place", "own_as"):
        with monkeypatch.context() as patched:

            def crash(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            patched.setattr(backup, name, crash)
            with pytest.raises(KeyboardInterrupt):
                restore(tmp_path / "backup.db", path, replace=True)
        assert len((await state_of(path)).sessions) == 2, name
        assert [each for each in names_in(tmp_path) if each.endswith(".part")] == []
