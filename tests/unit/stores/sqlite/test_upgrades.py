"""What is kept of a store before an upgrade."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from grpc_tool_bridge.stores.sqlite import upgrades
from grpc_tool_bridge.stores.sqlite.anew import is_backup
from grpc_tool_bridge.stores.sqlite.upgrades import copy_path, keep_copy
from support.store_files import names_in
from unit.stores.sqlite.versions import store_of


def copy(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return keep_copy(connection, path, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_of(1, tmp_path / "hub.db")


def test_a_copy_is_whole_and_a_backup(path: Path) -> None:
    kept = copy(path)
    assert kept == copy_path(path, 1) == path.with_name("hub.db.version-1")
    with closing(sqlite3.connect(kept)) as connection:
        assert is_backup(connection)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert names_in(path.parent) == ["hub.db", "hub.db.version-1"]


def test_a_later_copy_takes_the_place_of_an_earlier_one_and_of_what_a_crash_has_left(path: Path) -> None:
    copy(path)
    path.with_name(".hub.db.version-1.part").write_bytes(b"half")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO facts VALUES ('later', 1)")
        connection.commit()
    with closing(sqlite3.connect(copy(path))) as connection:
        assert connection.execute("SELECT value FROM facts WHERE name = 'later'").fetchone() == (1,)
    assert names_in(path.parent) == ["hub.db", "hub.db.version-1"]


def test_a_copy_that_cannot_be_made_leaves_nothing_and_no_earlier_one_is_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = copy(path).read_bytes()

    def fail(connection: sqlite3.Connection) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upgrades, "note_backup", fail)
    with pytest.raises(OSError, match="No space"):
        copy(path)
    assert names_in(path.parent) == ["hub.db", "hub.db.version-1"]
    assert copy_path(path, 1).read_bytes() == before
