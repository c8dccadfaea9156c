"""Files that are made whole before they get their names."""

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from grpc_tool_bridge.errors import AlreadyExistsError, ResourceExhaustedError, StoreError
from grpc_tool_bridge.stores.sqlite import placing
from grpc_tool_bridge.stores.sqlite.placing import copy_failure, copy_into, new_file, place, problems_of, verify
from support.store_files import damage, filled, names_in, rows


def test_a_new_file_can_be_read_by_this_user_alone_and_is_gone_unless_it_is_placed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with new_file(tmp_path / "hub.db", 0) as new:
            assert stat.S_IMODE(new.stat().st_mode) == 0o600
            assert new.parent == tmp_path
            new.with_name(f"{new.name}-journal").touch()
    finally:
        os.umask(before)
    assert names_in(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "hub.db", 0):
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


def test_a_disk_without_enough_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=999))
    with pytest.raises(ResourceExhaustedError, match="999 bytes left, and 1,000 are needed"):
        new_file(tmp_path / "hub.db", 1_000).__enter__()
    assert names_in(tmp_path) == []


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written \\(No such file or directory\\)"):
        new_file(tmp_path / "none" / "hub.db", 0).__enter__()


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_placed_over_another_only_if_it_may(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        if os.path.lexists(str(paths[1])) and has_links:
            raise FileExistsError
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "hub.db"
    for text, replace in (("first", False), ("second", True)):
        with new_file(target, 0) as new:
            new.write_text(text)
            place(new, target, replace=replace)
    with new_file(target, 0) as new, pytest.raises(AlreadyExistsError, match="with --force"):
        place(new, target, replace=False)
    assert target.read_text() == "second"
    assert names_in(tmp_path) == ["hub.db"]


def test_a_file_gets_its_name_by_a_link_where_there_are_links(tmp_path: Path) -> None:
    target = tmp_path / "hub.db"
    with new_file(target, 0) as new:
        new.write_text("it")
        place(new, target, replace=False)
    with new_file(target, 0) as new, pytest.raises(AlreadyExistsError):
        place(new, target, replace=False)
    assert (target.read_text(), names_in(tmp_path)) == ("it", ["hub.db"])


async def test_a_copy_has_everything_and_needs_no_log(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    copy = tmp_path / "copy.db"
    copy.touch()

    def finish(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO facts VALUES ('x', 1)")

    with closing(sqlite3.connect(path)) as source:
        copy_into(copy, source, finish)
    assert names_in(tmp_path) == ["copy.db", "hub.db", "hub.db.lock"]
    assert rows(copy, "PRAGMA journal_mode") == [("delete",)]
    assert rows(copy, "SELECT * FROM changes") == rows(path, "SELECT * FROM changes")
    assert rows(copy, "SELECT value FROM facts WHERE name = 'x'") == [(1,)]


async def test_a_damaged_file_is_found_and_its_problems_are_bounded(tmp_path: Path) -> None:
    path = await filled(tmp_path / "hub.db")
    verify(path)
    damage(path)
    with pytest.raises(StoreError, match="damaged"):
        verify(path)
    with closing(sqlite3.connect(path)) as connection:
        assert 1 <= len(problems_of(connection, full=True)) <= placing.MAX_PROBLEMS


def test_a_disk_that_is_full_is_said_to_be(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("CREATE TABLE a AS SELECT zeroblob(100000)")
    error = copy_failure(caught.value, tmp_path / "hub.db", tmp_path / "copy.db")
    assert isinstance(error, ResourceExhaustedError)
    assert error.message == f"the disk of {tmp_path} is full; make room on it"
