"""Tools for the tests of the command line."""

import asyncio
import datetime as dt
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from grpc_tool_bridge import ToolContext, tool

ended = asyncio.Event()


@tool(idempotent=True, version="1.2", examples=["add 1 2"], limits={"timeout_ms": 9000}, metadata={"owner": "tests"})
def add(a: int, b: int = 2) -> int:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    sys.stdout.write("printed by a tool\n")
    return a + b


@tool
def echo(text: str) -> str:
    return text


@tool
def kind(value: Any) -> str:
    return type(value).__name__


@tool
def fail(why: str) -> None:
    raise RuntimeError(why)


@tool
def moment() -> dt.datetime:
    return dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)


@tool
def rows() -> list[dict[str, Any]]:
    return [{"name": "one", "size": 1}, {"name": "two", "size": 2000, "more": "yes"}]


@tool
def frame() -> pd.DataFrame:
    return pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})


@tool
def picture() -> bytes:
    return b"\x89PNG"


@tool
def count(n: int, ctx: ToolContext) -> Iterator[int]:
    """Counts, and tells of it."""
    for number in range(n):
        ctx.progress(number, n, "counting")
        ctx.log("counted", number=number)
        yield number


@tool
async def endless() -> AsyncIterator[int]:
    number = 0
    try:
        while True:
            yield number
            number += 1
            await asyncio.sleep(0)
    finally:
        ended.set()


@tool
async def wait_for_the_end_of_endless() -> str:
    await ended.wait()
    ended.clear()
    return "it has ended"


@tool
def read_pipe(path: str) -> str:
    """Blocks until somebody has written to a named pipe and closed it."""
    return Path(path).read_text()


@tool
def process_id() -> int:
    return os.getpid()
