"""A store that is sealed anew: with the present key, as a whole or not at all."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.secrets.keys import new_key
from grpc_tool_bridge.auth.secrets.sealer import Sealer
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.stores.sqlite import vacuum as module
from grpc_tool_bridge.stores.sqlite.rotation import rotate
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.store_files import in_thread, names_in
from unit.stores.sqlite.test_sealing import KEY, SECRET, bytes_of, filled, opened, put

NEW = new_key()


async def test_after_a_rotation_the_older_key_is_not_needed(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    made = rotate(path, Sealer([NEW, KEY]))
    assert (made.sealed, made.by_key, made.bare_secrets) == (1, {NEW.id: 1}, 0)
    async with opened(path, NEW) as (store, values):
        assert values == {"x": SECRET, "open": "everybody may see this"}
        assert len(await store.changes_after("s", 0) or []) == 2
    assert names_in(tmp_path) == ["hub.db", "hub.db.lock"]
    again = rotate(path, Sealer([NEW]))
    assert (again.sealed, again.by_key) == (0, {NEW.id: 1})


async def test_values_that_were_never_sealed_leave_the_file_and_so_does_what_was_deleted_of_them(
    tmp_path: Path,
) -> None:
    path = await filled(tmp_path / "hub.db")
    async with opened(path) as (store, _):
        for revision in range(3, 40):
            await put(store, "x", revision, value=SECRET * revision, previous=revision - 1 if revision > 3 else 1)
        await store.end_session("s", "it is over")
        await store.create_session(StoredSession("s", 2.0, {}))
        await put(store, "x", 50)
    assert SECRET.encode() in bytes_of(tmp_path)
    made = rotate(path, Sealer([KEY]))
    assert made.bare_secrets == 0
    assert made.sealed == made.by_key[KEY.id] >= 1
    assert SECRET.encode() not in bytes_of(tmp_path)
    async with opened(path, KEY) as (_, values):
        assert values == {"x": SECRET}


async def test_all_values_are_sealed_if_that_is_asked_for(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    assert rotate(path, Sealer([KEY], seals_all=True)).by_key == {KEY.id: 2}
    assert b"everybody may see this" not in path.read_bytes()


async def test_what_no_key_opens_stays_as_it_was_and_is_counted(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    async with opened(path, NEW) as (store, _):
        await put(store, "y", 3)
    last = new_key()
    made = rotate(path, Sealer([last, NEW]))
    assert (made.sealed, made.by_key) == (1, {KEY.id: 1, last.id: 1})
    async with opened(path, KEY, last) as (_, values):
        assert (values["x"], values["y"]) == (SECRET, SECRET)


async def test_a_rotation_that_is_interrupted_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    before = path.read_bytes()

    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "verify", crash)
    with pytest.raises(KeyboardInterrupt):
        rotate(path, Sealer([NEW, KEY]))
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["hub.db", "hub.db.lock"]


async def test_a_store_that_a_hub_has_is_left_to_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db")
    await store.open(Settings())
    with pytest.raises(StoreError, match="has the store"):
        await in_thread(lambda: rotate(tmp_path / "hub.db", Sealer([KEY])))
    await store.aclose()


async def test_a_store_that_lacks_a_table_is_an_error_of_the_store(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE changes RENAME TO others")
    with pytest.raises(StoreError, match="cannot be used"):
        rotate(path, Sealer([KEY]))
