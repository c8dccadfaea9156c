"""Tools with dependencies, and what they live in, for processes too: each event is a line of a file."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

from grpc_tool_bridge import Depends, ToolContext, tool

# The file that all processes write to.
LOG = "DEPENDENT_TOOLS_LOG"


def note(text: str) -> None:
    with Path(os.environ[LOG]).open("a") as file:
        file.write(f"{text}\n")


class Db:
    """A database that knows what was done with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = True
        self.thread = threading.get_ident()

    def close(self) -> None:
        self.is_open = False


def url(ctx: ToolContext) -> str:
    """Of the lifespan, or of the call."""
    return str(ctx.metadata.get("db") or ctx.lifespan.get("db", "none"))


def get_db(name: Annotated[str, Depends(url)]) -> Iterator[Db]:
    db = Db(name)
    note(f"open {name}")
    try:
        yield db
    except BaseException as error:
        note(f"{type(error).__name__}")
        raise
    finally:
        db.close()
        note(f"close {name}")


@asynccontextmanager
async def get_cache(db: Annotated[Db, Depends(get_db)]) -> AsyncIterator[dict[str, Db]]:
    """Asynchronous, and a context manager function; its clean-up waits."""
    note("cache")
    async with asyncio.timeout(None):
        yield {"db": db}
    await asyncio.sleep(0)
    note("no cache")


def get_test_db() -> Db:
    return Db("test")


class Counter:
    """A class is a provider, too."""

    made = 0

    def __init__(self, db: Annotated[Db, Depends(get_db)]) -> None:
        self.db = db


SomeDb = Annotated[Db, Depends(get_db)]
SomeCache = Annotated[dict[str, Db], Depends(get_cache)]


def query(words: str, db: SomeDb, cache: SomeCache, counter: Annotated[Counter, Depends()], *, limit: int = 3) -> str:
    """Searches.

    Args:
        words: What to search for.
        limit: How many.
    """
    assert db is cache["db"]
    assert db is counter.db
    assert db.is_open
    note(f"query {words}")
    return f"{words} in {db.name}, {limit}"


async def query_async(words: str, db: SomeDb, cache: SomeCache, *, limit: int = 3) -> str:
    """Searches."""
    await asyncio.sleep(0)
    return query(words, db, cache, Counter(db), limit=limit)


def rows(count: int, db: SomeDb, cache: SomeCache) -> Iterator[str]:
    """Yields rows."""
    for number in range(count):
        assert db.is_open
        yield f"{db.name} {number}"


async def rows_async(count: int, db: SomeDb, cache: SomeCache) -> AsyncIterator[str]:
    """Yields rows."""
    for number in range(count):
        assert db.is_open
        yield f"{db.name} {number}"


def lazy(count: int, db: SomeDb) -> list[str]:
    """Returns what is read when it is encoded."""

    def read() -> Iterator[str]:
        for number in range(count):
            assert db.is_open
            yield f"{number}"

    return read()  # type: ignore[return-value]  # read as a list


def same_thread(db: SomeDb) -> bool:
    """Whether the database was opened by the thread of the tool."""
    return db.thread == threading.get_ident()


def fail(db: SomeDb) -> str:
    """Fails."""
    raise ValueError(f"no {db.name}")


def unreachable() -> Db:
    raise ConnectionError("refused")


def need_unreachable(db: SomeDb, other: Annotated[Db, Depends(unreachable)]) -> str:
    """Is never called."""
    note("called")
    return ""


@contextmanager
def uncommitted() -> Iterator[str]:
    yield "value"
    raise OSError("disk full")


def commit(db: SomeDb, value: Annotated[str, Depends(uncommitted)]) -> str:
    """Fails when its dependency is closed."""
    return value


def lifespan_value(name: str, ctx: ToolContext) -> str:
    """Reads a value of the lifespan."""
    return str(ctx.lifespan[name])


def process_id() -> int:
    """Returns the id of the process."""
    return os.getpid()


@asynccontextmanager
async def lifespan(owner: Any) -> AsyncIterator[dict[str, str]]:
    kind = type(owner).__name__
    note(f"enter {kind}")
    yield {"db": f"db of {kind}"}
    note(f"leave {kind}")


@asynccontextmanager
async def other_lifespan(owner: Any) -> AsyncIterator[dict[str, int]]:
    note("enter other")
    yield {"other": 1}
    note("leave other")


@asynccontextmanager
async def failing_lifespan(owner: Any) -> AsyncIterator[None]:
    raise ConnectionError("refused")
    yield


FUNCTIONS = (query, rows, lazy, same_thread, fail, need_unreachable, commit, lifespan_value, process_id)
OFFERED = [lifespan_value]
in_process = [tool(executor="process")(function) for function in FUNCTIONS]


@asynccontextmanager
async def failing_in_processes(owner: Any) -> AsyncIterator[None]:
    if owner is None:
        raise ConnectionError("no db")
    yield
