"""Rows of a store's tables, as its statements write them."""

import sqlite3
from pathlib import Path
from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite import statements
from grpc_tool_bridge.stores.sqlite.retention import Retention
from grpc_tool_bridge.stores.sqlite.schema import migrate
from grpc_tool_bridge.stores.sqlite.writer import Change


class Kept:
    """The tables of a store with what is kept of them; writes as the store does.

    Attributes:
        connection: The file.
        retention: What removes.
    """

    def __init__(self, path: Path, **settings: Any) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.settings = Settings(**settings)
        if not self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = OFF")
            migrate(self.connection, 0)
        self.retention = Retention(self.connection, self.settings)
        self.retention.begin()

    def write(self, sql: str, *parameters: Any) -> None:
        """Commits one change."""
        self.connection.execute(sql, parameters)
        self.retention.note([Change(sql, parameters)])

    def session(self, session_id: str) -> None:
        """Begins a session."""
        self.write(statements.CREATE_SESSION, session_id, 1.0, b"", None)

    def end(self, session_id: str) -> None:
        """Ends a session."""
        self.write(statements.END_SESSION, session_id, f"why {session_id}", 2.0)

    def set(self, session_id: str, name: str, revision: int, *, previous: int = 0, size: int = 1) -> None:
        """Sets a variable to a value of so many bytes."""
        operation = "update" if previous else "set"
        row = (
            revision,
            session_id,
            name,
            operation,
            previous,
            0.5,
            False,
            "t",
            bytes(size),
            "int",
            size,
            size,
            0.5,
            "",
        )
        self.write(statements.SET, *row, None)

    def delete(self, session_id: str, name: str, revision: int, previous: int) -> None:
        """Deletes a variable."""
        self.write(statements.DELETE, revision, session_id, name, previous, 0.5, False)

    def answer(self, session_id: str, key: str, ends_at: float, size: int = 1) -> None:
        """Keeps an answer."""
        self.connection.execute(
            "INSERT INTO calls (session_id, key, used_for, began_at) VALUES (?, ?, ?, ?)", (session_id, key, b"", 1.0)
        )
        self.write(statements.KEEP_ANSWER, bytes(size), ends_at, session_id, key)

    def tidy(self, **options: Any) -> int:
        """Removes all that is to be removed; returns in how many steps."""
        steps = 1
        while self.retention.step(**options) == 0:
            steps += 1
        return steps

    def all(self, query: str) -> list[Any]:
        """Returns the first column of a query."""
        return [row[0] for row in self.connection.execute(query)]
