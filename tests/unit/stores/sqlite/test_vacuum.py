"""Room that is given back to the disk."""

import stat
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import placing
from grpc_tool_bridge.stores.sqlite import vacuum as module
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from grpc_tool_bridge.stores.sqlite.vacuum import vacuum
from support.store_files import change, damage, filled, in_thread, names_in, rows, state_of


async def once_larger(tmp_path: Path) -> Path:
    path = await filled(tmp_path / "hub.db")
    change(path, "CREATE TABLE large AS SELECT zeroblob(1000000) AS x", "DROP TABLE large")
    return path


async def test_a_store_that_was_larger_gives_its_room_back_and_keeps_everything(tmp_path: Path) -> None:
    path = await once_larger(tmp_path)
    before, size = await state_of(path), path.stat().st_size
    made = vacuum(path)
    assert (made.before, made.after) == (size, path.stat().st_size)
    assert made.after < size - 900_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["hub.db", "hub.db.lock"]
    after = await state_of(path)
    assert (after.epoch, after.revision) == (before.epoch, before.revision)
    assert after.sessions == before.sessions


async def test_a_store_that_a_hub_has_is_left_to_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db")
    await store.open(Settings())
    with pytest.raises(StoreError, match="has the store"):
        await in_thread(lambda: vacuum(tmp_path / "hub.db"))
    await store.aclose()


async def test_only_the_room_that_is_needed_has_to_be_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await once_larger(tmp_path)
    asked: list[int] = []

    def new_file(target: Path, needed: int) -> object:
        asked.append(needed)
        return placing.new_file(target, needed)

    monkeypatch.setattr(module, "new_file", new_file)
    made = vacuum(path)
    assert asked == [made.after]


async def test_a_vacuum_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await once_larger(tmp_path)
    before = path.read_bytes()

    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "verify", crash)
    with pytest.raises(KeyboardInterrupt):
        vacuum(path)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["hub.db", "hub.db.lock"]


async def test_a_damaged_or_missing_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        vacuum(tmp_path / "none.db")
    assert names_in(tmp_path) == []
    path = await filled(tmp_path / "hub.db")
    damage(path)
    with pytest.raises(StoreError, match="damaged"):
        vacuum(path)
    assert rows(path, "PRAGMA page_size") == [(4096,)]
