"""Values of secret variables in an SQLite file: what is in its bytes, and what comes back with which key."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.auth.secrets.keys import SealingKey, new_key
from grpc_tool_bridge.auth.secrets.sealer import Sealer
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import SEALED_TYPE, UnreadableValue
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.core.variable import Change
from grpc_tool_bridge.stores.sqlite.sealing import SealedValues, sealed_values
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from grpc_tool_bridge.values.serialization import deserialize_value
from support.store_files import change, variable

SECRET = "the-value-that-nobody-may-see"
KEY = new_key()


@asynccontextmanager
async def opened(path: Path, *keys: SealingKey, **how: bool) -> AsyncIterator[tuple[SqliteStore, dict[str, object]]]:
    """Opens a store; gives it, and the values of the variables of its session by name."""
    store = SqliteStore(path, sealer=Sealer(keys, **how) if keys else None)
    state = await store.open(Settings())
    found = {each.name: each.value for session in state.sessions for each in session.variables}
    try:
        yield store, {name: shown(value) for name, value in found.items()}
    finally:
        await store.aclose()


def shown(value: AnyMessage | UnreadableValue) -> object:
    return value if isinstance(value, UnreadableValue) else deserialize_value(value)


async def put(
    store: SqliteStore, name: str, revision: int, *, value: str = SECRET, secret: bool = True, previous: int = 0,
    hides: bool = False,
) -> None:  # fmt: skip
    made = variable(name, value, revision, secret=secret)
    await store.set_variable("s", made, previous=previous, hides=hides, settled=lambda _: None)


async def filled(path: Path, *keys: SealingKey, **how: bool) -> Path:
    """Makes a store with the secret "x" at revision 1, and "open", which is none, at revision 2."""
    async with opened(path, *keys, **how) as (store, _):
        await store.create_session(StoredSession("s", 1.0, {}))
        await put(store, "x", 1)
        await put(store, "open", 2, value="everybody may see this", secret=False)
    return path


def bytes_of(folder: Path) -> bytes:
    """Returns all that is in the files of a directory."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_a_secret_is_in_no_file_and_comes_back_with_its_key(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db", sealer=Sealer([KEY]))
    await store.open(Settings())
    await store.create_session(StoredSession("s", 1.0, {}))
    await put(store, "x", 1)
    await put(store, "open", 2, value="everybody may see this", secret=False)
    # The log, too, while the hub runs.
    assert SECRET.encode() not in bytes_of(tmp_path)
    (first, _) = await store.changes_after("s", 0) or []
    assert shown(first.value) == SECRET
    await store.aclose()
    assert SECRET.encode() not in bytes_of(tmp_path)
    assert b"everybody may see this" in bytes_of(tmp_path)
    async with opened(tmp_path / "hub.db", KEY) as (_, values):
        assert values == {"x": SECRET, "open": "everybody may see this"}


async def test_all_values_are_sealed_if_that_is_asked_for(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY, seals_all=True)
    assert b"everybody may see this" not in bytes_of(tmp_path)
    async with opened(path, KEY) as (_, values):
        assert values == {"x": SECRET, "open": "everybody may see this"}


@pytest.mark.parametrize("keys", [(), (new_key(),)])
async def test_a_value_whose_key_is_missing_is_unreadable_and_the_others_are_not(
    keys: tuple[SealingKey, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    with caplog.at_level(logging.WARNING):
        async with opened(path, *keys) as (store, values):
            assert values["open"] == "everybody may see this"
            locked = values["x"]
            assert isinstance(locked, UnreadableValue)
            assert locked.key_id == KEY.id
            (past, _) = await store.changes_after("s", 0) or []
            assert isinstance(past.value, UnreadableValue)
            await put(store, "x", 3, value="set anew", previous=1, secret=False)
    assert f"1 values in the store are sealed with key {KEY.id}, which this hub does not have" in caplog.text
    async with opened(path) as (_, values):
        assert values["x"] == "set anew"


async def test_an_older_key_opens_what_it_has_sealed_and_the_first_one_seals(tmp_path: Path) -> None:
    new = new_key()
    path = await filled(tmp_path / "hub.db", KEY)
    async with opened(path, new, KEY) as (store, values):
        assert values["x"] == SECRET
        await put(store, "y", 3)
    with closing(sqlite3.connect(path)) as connection:
        assert sealed_values(connection) == SealedValues({KEY.id: 1, new.id: 1}, 0)  # type: ignore[arg-type]


MOVED = f"UPDATE changes SET value = (SELECT value FROM changes WHERE name = 'x'), type_url = '{SEALED_TYPE}'"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param("UPDATE changes SET session_id = 't' WHERE name = 'x'", id="to another session"),
        pytest.param("UPDATE changes SET name = 'y' WHERE name = 'x'", id="to another name"),
        pytest.param("UPDATE changes SET revision = 9 WHERE name = 'x'", id="to another revision"),
        pytest.param(f"{MOVED} WHERE name = 'open'", id="into another variable"),
        pytest.param("UPDATE changes SET secret = 0 WHERE name = 'x'", id="to one that is shown"),
        pytest.param("UPDATE changes SET value = substr(value, 1, 50) WHERE name = 'x'", id="cut"),
        pytest.param("UPDATE changes SET value = CAST(value || x'00' AS BLOB) WHERE name = 'x'", id="longer"),
        pytest.param("UPDATE changes SET value = x'' WHERE name = 'x'", id="empty"),
    ],
)
async def test_a_value_that_was_moved_or_damaged_is_unreadable_and_its_store_opens(
    spoil: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    change(
        path,
        "INSERT INTO sessions (session_id, created_at, request) VALUES ('t', 1.0, x'')",
        spoil,
        "INSERT OR IGNORE INTO present SELECT revision FROM changes",
        "DELETE FROM present WHERE revision NOT IN (SELECT revision FROM changes)",
    )
    async with opened(path, KEY) as (_, values):
        locked = [value for value in values.values() if isinstance(value, UnreadableValue)]
        assert len(locked) == 1
        assert SECRET not in str(locked[0])
    assert "1 values in the store are damaged, or were moved to where they do not belong" in caplog.text


async def test_what_was_stored_before_its_variable_became_secret_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    async with opened(path, KEY) as (store, _):
        await store.create_session(StoredSession("s", 1.0, {}))
        await put(store, "x", 1, secret=False)
        large = SECRET * 1_000
        await put(store, "x", 2, value=large, secret=False, previous=1)
        await put(store, "x", 3, value="another", previous=2, hides=True)
        changes = await store.changes_after("s", 0) or []
        assert [(each.secret, shown(each.value)) for each in changes] == [
            (True, SECRET), (True, large), (True, "another"),
        ]  # fmt: skip
    assert SECRET.encode() not in bytes_of(tmp_path)
    async with opened(path, KEY) as (_, values):
        assert values == {"x": "another"}


async def test_a_deleted_secret_leaves_no_value_in_the_file(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db", KEY)
    async with opened(path, KEY) as (store, _):
        gone = Change("delete", "x", None, 3, 3.0, 0, 1, True)
        await store.delete_variable("s", gone, settled=lambda _: None)
        assert [each.operation for each in await store.changes_after("s", 0) or []] == ["set", "set", "delete"]
    assert SECRET.encode() not in bytes_of(tmp_path)


@pytest.mark.parametrize("has_key", [False, True])
async def test_a_store_with_secrets_that_are_not_sealed_works_and_the_log_says_what_to_do(
    has_key: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await filled(tmp_path / "hub.db")
    assert "secrets_key_file" in caplog.text
    assert SECRET.encode() in path.read_bytes()
    caplog.clear()
    async with opened(path, *([KEY] if has_key else [])) as (_, values):
        assert values["x"] == SECRET
    assert "has 1 values of secret variables that are not sealed" in caplog.text
    assert "secrets rotate" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("secret", "bare"), [(True, 1), (False, 0)])
async def test_only_values_of_secret_variables_count_as_not_sealed(secret: bool, bare: int, tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    async with opened(path) as (store, _):
        await store.create_session(StoredSession("s", 1.0, {}))
        await put(store, "x", 1, secret=secret)
        await store.delete_variable("s", Change("delete", "x", None, 2, 3.0, 0, 1, secret), settled=lambda _: None)
    with closing(sqlite3.connect(path)) as connection:
        assert sealed_values(connection) == SealedValues(bare_secrets=bare)
