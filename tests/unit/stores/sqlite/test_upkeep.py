"""What is done for the file of an SQLite store between commits."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite import statements
from grpc_tool_bridge.stores.sqlite.disk import beside
from grpc_tool_bridge.stores.sqlite.file import StoreFile
from grpc_tool_bridge.stores.sqlite.upkeep import FileUpkeep
from grpc_tool_bridge.stores.sqlite.writer import Change


class Stage:
    """A file whose upkeep a test does, step by step."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.file = StoreFile(path)
        self.connection = self.file.open(settings.get("max_store_bytes", 0))
        assert self.file.log is not None
        self.upkeep = FileUpkeep(self.connection, Settings(**settings), self.file.log)
        self.revision = 0
        self.write(statements.CREATE_SESSION, "s", 1.0, b"", None)

    def close(self) -> None:
        self.connection.close()
        self.file.close()

    def write(self, sql: str, *parameters: Any) -> Change:
        """Commits a change, as the writer does."""
        change = Change(sql, parameters)
        self.connection.execute(sql, parameters)
        self.upkeep.note([change])
        return change

    def row(self, size: int, name: str = "x") -> tuple[Any, ...]:
        """Returns the next state of a variable."""
        self.revision += 1
        previous = self.connection.execute(
            "SELECT revision FROM present JOIN changes USING (revision) WHERE name = ?", (name,)
        ).fetchone()
        return (
            self.revision, "s", name, "set", previous[0] if previous else 0, 0.5, False, "t", bytes(size), "int",
            size, size, 0.5, "", None,
        )  # fmt: skip

    def tidy(self) -> int:
        """Does all that is to be done; returns in how many steps."""
        steps = 1
        while self.upkeep.step() == 0:
            steps += 1
        return steps


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Any]:
    made: list[Stage] = []

    def make(**settings: Any) -> Stage:
        made.append(Stage(tmp_path / "hub.db", **settings))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


def test_a_store_that_is_written_for_ever_stays_as_large_as_what_it_keeps(stages: Any) -> None:
    stage = stages(watch_history=20)
    sizes, logs = [], []
    for _ in range(30):
        for _ in range(100):
            stage.write(statements.SET, *stage.row(2_000))
            stage.upkeep.step()
        sizes.append(stage.path.stat().st_size)
        logs.append(beside(stage.path, "-wal").stat().st_size)
    assert len(set(sizes[10:])) == 1
    assert sizes[-1] < 1_000_000
    assert len(set(logs)) == 1


def test_nothing_to_do_is_done_in_one_step(stages: Any) -> None:
    stage = stages()
    stage.write(statements.SET, *stage.row(10))
    assert (stage.upkeep.step(), stage.upkeep.step()) == (None, None)


def test_short_room_is_made_by_giving_up_histories_before_anything_is_refused(stages: Any) -> None:
    stage = stages(max_store_bytes=1_000_000)
    for _ in range(200):
        change = Change(statements.SET, stage.row(20_000))
        assert not stage.upkeep.refuses(change)
        stage.write(change.sql, *change.parameters)
        stage.tidy()
    assert stage.path.stat().st_size <= 1_000_000
    assert not stage.upkeep.is_short
    (floor,) = stage.connection.execute("SELECT history_floor FROM sessions").fetchone()
    assert floor > 100


def test_what_must_be_kept_is_refused_when_there_is_no_room(stages: Any) -> None:
    stage = stages(max_store_bytes=1_000_000)
    number = 0
    for number in range(200):
        change = Change(statements.SET, stage.row(20_000, f"v{number}"))
        if stage.upkeep.refuses(change):
            break
        stage.write(change.sql, *change.parameters)
        stage.tidy()
    assert 25 < number < 50
    assert stage.upkeep.limit == 1_000_000
    assert stage.upkeep.is_over_limit(100_000)
    # A deletion has room, and gives it back.
    stage.write(statements.DELETE, 10_000, "s", "v0", 1, 0.5, False)
    stage.tidy()
    stage.upkeep.step()
    assert not stage.upkeep.refuses(Change(statements.SET, stage.row(10_000, "new")))


def test_a_store_that_was_filled_by_what_must_be_kept_is_not_searched_without_end(
    stages: Any,
) -> None:
    stage = stages(max_store_bytes=1_000_000)

    def fill() -> None:
        for number in range(200):
            stage.write(statements.SET, *stage.row(20_000, f"v{number}"))

    with pytest.raises(sqlite3.OperationalError):
        fill()
    stage.upkeep._room.look()
    assert stage.upkeep.is_short
    assert stage.tidy() < 10
    wait = stage.upkeep.step()
    assert wait is not None
    assert wait > 0
