"""SQLite stores with something in them, for tests of what reads and copies them."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, ToolCallResponse
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from grpc_tool_bridge.values.serialization import serialize_value

# What no report, error or log may show.
SECRET = "the-value-that-nobody-may-see"


def variable(name: str, value: Any, revision: int, *, secret: bool = False) -> Variable:
    """Makes a state of a variable."""
    encoded = serialize_value(value)
    return Variable(name, encoded, "string", encoded.ByteSize(), 1.5, 2.5, revision, 100, "s", secret, {})


async def fill(store: SqliteStore) -> None:
    """Writes some of each kind: two sessions and an ended one, and all in the first of them."""
    for number, session_id in enumerate(("one", "two", "gone")):
        await store.create_session(StoredSession(session_id, 1_000.0 + number, {}))
    await store.end_session("gone", "it was removed")

    def told(error: object) -> None:
        assert error is None

    for revision, (name, previous) in enumerate((("a", 0), ("b", 0), ("a", 1)), 1):
        await store.set_variable(
            "one", variable(name, SECRET, revision, secret=True), previous=previous, hides=False, settled=told
        )
    for key in ("kept", "unfinished"):
        await store.begin_call("one", key, b"digest", again=False)
    await store.keep_answer("one", "kept", ToolCallResponse(success=True, request_id=SECRET))
    await store.add_agent("one", "agent", CreateReActAgentRequest(session_id="one"))
    await store.begin_run("one", StoredRun("run", "agent", b"digest", 3.5))
    for sequence in range(2):
        await store.add_chunk("one", "run", sequence, b"chunk", is_last=sequence == 1)


async def filled(path: Path) -> Path:
    """Makes a store with what ``fill`` writes; nobody has it."""
    store = SqliteStore(path)
    await store.open(Settings())
    await fill(store)
    await store.aclose()
    return path


async def state_of(path: Path) -> StoredState:
    """Returns what a hub would begin with."""
    store = SqliteStore(path)
    state = await store.open(Settings())
    await store.aclose()
    return state


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Reads rows of a file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def change(path: Path, *statements: str) -> None:
    """Changes a file that no hub has."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def damage(path: Path) -> None:
    """Writes over a page in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


async def in_thread(work: Callable[[], Any]) -> Any:
    """Does what blocks, while a store in this loop goes on."""
    return await asyncio.to_thread(work)


def names_in(folder: Path) -> list[str]:
    """Returns the names of all files in a directory, in order."""
    return sorted(file.name for file in folder.iterdir())
