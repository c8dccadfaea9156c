"""A hub in a process of its own that is killed, and comes back with its durable store."""

import asyncio
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from integration.test_cli import popen, read_line


class DurableHub:
    """A hub in a process of its own, with a durable store; each life has the same address.

    Args:
        store: The file of the store.
        stack: Ends it.
    """

    def __init__(self, store: Path, stack: ExitStack) -> None:
        self.store = store
        self.address = "127.0.0.1:0"
        self._stack = stack
        self._process: subprocess.Popen[str]

    async def begin(self, *words: str, **settings: Any) -> None:
        """Begins a life, with options of ``serve`` and settings by their names in the environment."""
        given = {"STORE": f"sqlite:///{self.store}", "SHUTDOWN_GRACE": "0", **settings}
        env = {**os.environ, **{f"TOOL_BRIDGE_{name}": str(value) for name, value in given.items()}}
        words = ("--address", self.address, "--json", *words)
        self._process = self._stack.enter_context(popen("serve", *words, env=env, stderr=subprocess.DEVNULL))
        self._stack.callback(self._process.kill)
        line = await asyncio.to_thread(read_line, self._process)
        assert line, "it ended"
        self.address = json.loads(line)["address"]

    async def kill(self) -> None:
        """Ends it without a word."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        """Ends it as an operator does."""
        self._process.terminate()
        await asyncio.to_thread(self._process.wait)

    def chunks(self) -> int:
        """Counts the chunks in the store of a hub that has ended."""
        with opened(self.store) as connection:
            (count,) = connection.execute("SELECT count(*) FROM chunks").fetchone()
            return int(count)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the file of a store that no hub has."""
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()
