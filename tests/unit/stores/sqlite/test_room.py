"""The room that is left in a store whose size is limited."""

import sqlite3
from pathlib import Path

import pytest

from grpc_tool_bridge.stores.sqlite import room as room_module
from grpc_tool_bridge.stores.sqlite.room import Room

LIMIT = 1_048_576
MIB = 1024 * 1024


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(tmp_path / "hub.db", isolation_level=None)
    connection.execute("CREATE TABLE t (v)")
    return connection


def fill(connection: sqlite3.Connection, size: int) -> None:
    connection.execute("INSERT INTO t VALUES (zeroblob(?))", (size,))


def test_without_a_limit_all_has_room(connection: sqlite3.Connection) -> None:
    room = Room(connection, 0)
    fill(connection, 3 * MIB)
    room.look_if_due()
    assert (room.left, room.is_short, room.refuses(10**12), room.is_over_limit(10**12)) == (None, False, False, False)


def test_with_much_room_nothing_is_counted(connection: sqlite3.Connection) -> None:
    room = Room(connection, 10 * 1024 * MIB)
    assert (room.left, room.refuses(100 * MIB)) == (None, False)


def test_what_has_no_room_is_refused_and_some_is_kept_for_what_takes_away(connection: sqlite3.Connection) -> None:
    room = Room(connection, LIMIT)
    assert room.left is not None
    assert LIMIT * 14 // 16 < room.left < LIMIT * 15 // 16
    assert room.refuses(LIMIT)
    fill(connection, 900_000)
    room.look()
    assert not room.is_short
    assert room.refuses(200_000)
    # What was taken counts, though it is not stored yet.
    left = room.left
    assert not room.refuses(left - 10)
    assert room.refuses(20)


def test_room_is_short_where_hardly_any_is_left_and_no_longer_when_something_was_removed(
    connection: sqlite3.Connection,
) -> None:
    room = Room(connection, LIMIT)
    fill(connection, 940_000)
    room.look()
    assert room.is_short
    connection.execute("DELETE FROM t")
    room.look()
    assert not room.is_short
    assert not room.refuses(500_000)


def test_sqlite_itself_takes_no_more_than_the_limit(connection: sqlite3.Connection, tmp_path: Path) -> None:
    room = Room(connection, LIMIT)
    with pytest.raises(sqlite3.OperationalError) as caught:
        fill(connection, 2 * LIMIT)
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert room.is_over_limit(2 * LIMIT)
    # A disk that is full is not the limit.
    assert not room.is_over_limit(1_000)
    assert (tmp_path / "hub.db").stat().st_size <= LIMIT


def test_a_file_that_is_larger_than_a_lower_limit_can_be_used(connection: sqlite3.Connection) -> None:
    fill(connection, 2 * MIB)
    room = Room(connection, LIMIT)
    assert room.is_short
    assert room.refuses(1)
    connection.execute("DELETE FROM t")
    room.look()
    assert not room.refuses(1)


def test_it_looks_after_some_commits_and_after_each_while_little_is_left(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "NEAR", MIB)
    room = Room(connection, 3 * MIB)
    assert room.left is None
    fill(connection, 2 * MIB)
    for _ in range(room_module.COMMITS - 1):
        room.look_if_due()
    assert room.left is None
    room.look_if_due()
    assert room.left is not None
    fill(connection, MIB // 2)
    before = room.left
    room.look_if_due()
    assert room.left < before
