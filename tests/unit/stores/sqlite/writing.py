"""Writers whose commits a test holds back and has fail."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.stores.sqlite.schema import migrate
from grpc_tool_bridge.stores.sqlite.writer import Change, Writer
from support.patience import PATIENCE

ADD = "INSERT INTO facts VALUES (?, ?)"
REMOVE = "DELETE FROM facts WHERE name = ?"


class FakeUpkeep:
    """Implements ``Upkeep``, and does nothing by itself.

    Attributes:
        noted: Batches that were committed, as the first parameters of their changes.
        steps: What ``step`` does next, one after another: raises what is an exception, else returns it.
        stepped: How many batches had been noted at each step.
    """

    limit = 0
    is_short = False

    def __init__(self) -> None:
        self.noted: list[list[Any]] = []
        self.steps: list[BaseException | float | None] = []
        self.stepped: list[int] = []
        self.full = False
        self.over_limit = False

    def refuses(self, change: Change) -> bool:
        return self.full

    def is_over_limit(self, size: int) -> bool:
        return self.over_limit

    def note(self, batch: Sequence[Change]) -> None:
        self.noted.append([change.parameters[0] if change.parameters else None for change in batch])

    def step(self) -> float | None:
        self.stepped.append(len(self.noted))
        if not self.steps:
            return None
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


class Disk:
    """A connection whose statements fail when a test says so.

    Attributes:
        failing: Called with each statement before it runs; raises what it fails with.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.failing: Callable[[str], None] = lambda sql: None

    def execute(self, sql: str, *args: Any) -> Any:
        self.failing(sql)
        return self.connection.execute(sql, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


class Stage:
    """A writer of a file with the tables of a store.

    Attributes:
        disk: Its connection.
        points: The points that it has passed.
        at: Called with each of them, in its thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, 0)
        self.disk = Disk(connection)
        self.upkeep = FakeUpkeep()
        self.metrics = CommitMetrics()
        self.points: list[str] = []
        self.at: Callable[[str], None] = lambda point: None
        # A thread that is held waits for it.
        self.gate = threading.Event()
        self.held = threading.Event()
        self.told: list[tuple[Any, str]] = []
        self.writer = Writer(
            self.disk,  # type: ignore[arg-type] # it is one
            "hub.db",
            metrics=self.metrics,
            upkeep=self.upkeep,
            at_point=self._pass,
        )

    def _pass(self, point: str) -> None:
        self.points.append(point)
        self.at(point)

    def hold(self, point: str = "received") -> None:
        """Holds the next commit at a point, until ``release``."""
        self.gate.clear()
        self.held.clear()

        def at(passed: str) -> None:
            if passed == point:
                self.at = lambda point: None
                self.held.set()
                assert self.gate.wait(PATIENCE)

        self.at = at

    async def is_held(self) -> None:
        """Waits until a commit is held."""
        assert await asyncio.to_thread(self.held.wait, PATIENCE)

    def release(self) -> None:
        """Lets the commit go on that is held."""
        self.gate.set()

    def add(self, name: str, value: Any = 1, **options: Any) -> Change:
        """Submits a fact; how it settles is noted in ``told``."""
        return self.writer.submit(Change(ADD, (name, value), self._told(name), **options))

    def remove(self, name: str) -> Change:
        """Submits what is owed: that a fact goes."""
        return self.writer.submit(Change(REMOVE, (name,), self._told(f"-{name}"), owed=True, frees=True))

    def work(self, work: Callable[[sqlite3.Connection], Any], **options: Any) -> Change:
        """Submits work."""
        return self.writer.submit(Change("", (), work=work, **options))

    def _told(self, name: str) -> Callable[[Any], None]:
        return lambda error: self.told.append((name, "" if error is None else type(error).__name__))

    def facts(self) -> dict[str, Any]:
        """Returns what is stored."""
        with sqlite3.connect(self.path) as connection:
            return dict(connection.execute("SELECT name, value FROM facts WHERE name <> 'tried'"))


def disk_error(code: int, name: str) -> sqlite3.OperationalError:
    """Returns an error as SQLite has it."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error
