"""Stores as each version has written them: SQL, one file for each version, with something in every table.

A new version adds its file: ``PYTHONPATH=src:tests python -m unit.stores.sqlite.versions``. Those of versions that were
released never change.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from grpc_tool_bridge.stores.sqlite.schema import APPLICATION_ID, VERSION

FOLDER = Path(__file__).parent


def dump_of(version: int) -> Path:
    """Returns the file of a version."""
    return FOLDER / f"version-{version}.sql"


def store_of(version: int, path: Path) -> Path:
    """Makes a store as a version has left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(dump_of(version).read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("PRAGMA journal_mode = WAL")
    return path


def tables(connection: sqlite3.Connection) -> dict[str, str]:
    """Returns what makes each table, index and trigger, without its comments and spaces."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: " ".join(line for line in sql.split() if line) for name, sql in rows}


def write_dump(fill: Callable[[Path], Path], folder: Path) -> None:
    """Writes the file of the present version."""
    with closing(sqlite3.connect(fill(folder / "hub.db"))) as connection:
        dump_of(VERSION).write_text("\n".join(connection.iterdump()) + "\n", encoding="utf-8")
