"""A hub whose process ends again and again, and comes back with its store."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from durability.kills import Kill
from support.patience import PATIENCE
from support.programs import ROOT, environment

# Below the ports that systems give away: nobody takes the address while the hub is away.
_PORTS = range(10_000, 30_000)


class Lives:
    """The lives of a hub at one address with one store.

    Args:
        process: Runs ``hub_process.py``.
        address: Where the hub is.

    Attributes:
        address: As given.
        number: Number of lives that have begun.
        is_serving: Whether one serves.
        pid: The process of the present life, or of the last one.
    """

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.address = address
        self.number = 0
        self.is_serving = False
        self.pid = 0
        self._process = process

    async def begin(self, kill: Kill) -> int | None:
        """Begins a life; returns None once it serves, or how it ended before it did."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kill.to_json()}\n".encode())
        self.number += 1
        said: dict[str, Any] = {}
        # A life may be ready before its parent says which process it is.
        while "process" not in said or not said.keys() & {"ready", "ended"}:
            said |= await self._line()
        self.pid = said["process"]
        self.is_serving = "ended" not in said
        return None if self.is_serving else int(said["ended"])

    async def ended(self) -> int:
        """Waits until the present life has ended; returns its exit code, or minus the signal that ended it."""
        line = await self._line()
        self.is_serving = False
        return int(line["ended"])

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the present life, which may just have ended, but has not been waited for."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        assert line, "the process of the hub's lives has ended"
        found: dict[str, Any] = json.loads(line)
        return found


@asynccontextmanager
async def lives_of(store: Path | str, effects: Path) -> AsyncIterator[Lives]:
    """Makes a hub that has not begun to live; at the end all of it is killed."""
    address = _free_address(store)
    words = [sys.executable, "-m", "durability.hub_process", str(store), address, str(effects)]
    with (effects.parent / "stderr").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *words,
            env=with_tests_on_path(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield Lives(process, address)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def with_tests_on_path() -> dict[str, str]:
    """Returns the environment of a process that imports from this folder."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(ROOT / "tests"), *(str(Path(path).resolve()) for path in given if path)]
    return environment(PYTHONPATH=os.pathsep.join(paths))


def _free_address(store: Path | str) -> str:
    """Returns an address that is free and stays so."""
    first = hash((os.getpid(), store)) % len(_PORTS)
    for number in range(len(_PORTS)):
        address = ("127.0.0.1", _PORTS[(first + number) % len(_PORTS)])
        with socket.socket() as probe:
            try:
                probe.bind(address)
            except OSError:
                continue
        return f"{address[0]}:{address[1]}"
    raise AssertionError("no port is free")
