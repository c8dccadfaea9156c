"""The write-ahead log of an SQLite store."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.stores.sqlite import log as log_module
from grpc_tool_bridge.stores.sqlite.log import PAGES, WriteAheadLog, continues
from grpc_tool_bridge.stores.sqlite.schema import migrate


class Stage:
    """A store with its log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wal = path.with_name(path.name + "-wal")
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        migrate(self.connection, 0)
        self.noted: list[int] = []
        self.log = WriteAheadLog(self.connection, path, self.noted.append)

    def put(self, value: Any, name: str = "x") -> None:
        self.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def fill(self, pages: int) -> None:
        self.put(os.urandom(pages * 4096))

    def alone(self) -> dict[str, Any]:
        """Returns what the file has without its log."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?immutable=1", uri=True)) as connection:
            return dict(connection.execute("SELECT name, value FROM facts"))

    def number(self) -> int:
        """Returns the log's number, as the store has it."""
        return int(self.connection.execute("SELECT value FROM facts WHERE name = 'log'").fetchone()[0])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "hub.db")
    yield stage
    stage.log.close()
    stage.connection.close()


def test_it_is_as_long_from_the_beginning_as_it_will_be(stage: Stage) -> None:
    stage.log.begin()
    length = stage.wal.stat().st_size
    assert length > PAGES * 4096
    for _ in range(20):
        stage.fill(PAGES // 10)
        if stage.log.is_long():
            stage.log.turn_over()
    assert stage.wal.stat().st_size == length
    assert stage.noted[0] < stage.noted[-1]


def test_it_is_long_after_so_many_pages_and_not_because_of_what_an_earlier_one_left(stage: Stage) -> None:
    stage.log.begin()
    assert not stage.log.is_long()
    stage.fill(PAGES // 2)
    assert not stage.log.is_long()
    stage.fill(PAGES // 2)
    assert stage.log.is_long()
    stage.log.turn_over()
    assert not stage.log.is_long()
    stage.put(1)
    assert not stage.log.is_long()


def test_a_crash_finds_all_that_was_committed_over_what_it_was_made_longer_by(stage: Stage, tmp_path: Path) -> None:
    stage.log.begin()
    stage.put(1)
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(stage.path.with_name(stage.path.name + suffix).read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT value FROM facts WHERE name = 'x'").fetchone() == (1,)


def test_what_is_in_the_file_says_which_log_continues_it(stage: Stage) -> None:
    stage.log.begin()
    assert (stage.number(), stage.alone()["log"], stage.noted) == (2, 1, [2])
    stage.put(1)
    assert "x" not in stage.alone()
    stage.log.turn_over()
    assert (stage.number(), stage.alone()["log"], stage.alone()["x"], stage.noted) == (4, 3, 1, [2, 4])
    assert stage.alone()["id"]


def test_a_reader_keeps_the_log_and_nothing_is_lost_and_then_it_goes_on(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "MANY", 2)
    stage.log.begin()
    with closing(sqlite3.connect(stage.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM facts").fetchall()
        turns = 0
        for _ in range(30):
            stage.fill(PAGES // 10)
            if stage.log.is_long():
                stage.log.turn_over()
                turns += 1
        # Not after each commit, though it is too long after each.
        assert 2 < turns < 12
        assert stage.noted == [2]
        assert stage.number() == 2
        assert "such as a backup" in caplog.text
        reader.execute("COMMIT")
    stage.fill(PAGES // 2)
    assert stage.log.is_long()
    stage.log.turn_over()
    stage.put(2)
    assert stage.noted == [2, 4]
    assert not stage.log.is_long()


def test_it_goes_on_after_a_restart(stage: Stage) -> None:
    stage.log.begin()
    stage.log.turn_over()
    again = WriteAheadLog(stage.connection, stage.path, stage.noted.append)
    again.begin()
    assert stage.noted == [2, 4, 6]
    again.close()


def test_without_room_for_it_it_grows_as_it_goes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes, place: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    stage.log.begin()
    monkeypatch.undo()
    assert stage.wal.stat().st_size < PAGES * 4096
    stage.fill(PAGES)
    assert stage.log.is_long()
    stage.log.turn_over()
    assert stage.noted == [2, 4]


@pytest.mark.parametrize(
    ("alone", "whole", "fits"),
    [
        (None, 2, True),
        (None, None, True),
        # Nothing, a part or all of log 4 was carried over.
        (3, 4, True),
        (4, 4, True),
        (4, 5, True),
        (5, 5, True),
        (3, 5, True),
        (5, 4, True),
        # A file from the midst of an earlier log, or from before it, or from after this one.
        (2, 4, False),
        (1, 4, False),
        (6, 4, False),
        (3, None, False),
    ],
)
def test_a_log_continues_a_file_or_not(alone: int | None, whole: int | None, fits: bool) -> None:
    assert continues(alone, whole) is fits
