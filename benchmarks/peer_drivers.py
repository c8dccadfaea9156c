"""Clients and workers in other languages, as processes."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.processes import ServerProcess
from benchmarks.timing import NotInstalledError

_ROOT = Path(__file__).parents[1]
_DRIVERS = Path(__file__).parent / "languages"


@dataclass(frozen=True, slots=True)
class Language:
    """How a driver is run.

    Attributes:
        command: The program and its arguments.
        folder: Where it runs.
        built: What ``make peers`` has built for it.
    """

    command: tuple[str, ...]
    folder: Path
    built: Path


LANGUAGES = {
    "elixir": Language(
        ("mix", "run", "--no-compile", str(_DRIVERS / "driver.exs")),
        _ROOT / "sdk" / "elixir",
        _ROOT / "sdk" / "elixir" / "_build" / "prod" / "lib" / "tool_bridge" / "ebin",
    ),
    "node": Language(("node", str(_DRIVERS / "driver.mjs")), _ROOT, _ROOT / "sdk" / "node" / "dist" / "index.js"),
    "go": Language(
        (str(_ROOT / ".peers" / "bin" / "bench-go"),), _ROOT, _ROOT / ".peers" / "bin" / "bench-go"
    ),
}  # fmt: skip


class Driver(ServerProcess):
    """A running driver."""

    async def seconds(self, *, width: int, number: int) -> float:
        """Makes so many calls of ``add``, ``width`` at once; returns the seconds that all took."""
        assert self._process.stdin is not None  # it was started with a pipe
        self._process.stdin.write(json.dumps({"width": width, "number": number}).encode() + b"\n")
        return float(await self.read())


@contextlib.asynccontextmanager
async def driver(name: str, role: Literal["client", "worker"], hub: str) -> AsyncGenerator[Driver, None]:
    """Runs a driver in a language.

    Raises:
        NotInstalledError: It is not built.
    """
    language = LANGUAGES[name]
    if not language.built.exists() or shutil.which(language.command[0]) is None:
        raise NotInstalledError(f"the driver in {name} is not built; make peers builds it")
    process = await asyncio.create_subprocess_exec(
        *language.command,
        role,
        hub,
        cwd=language.folder,
        env={**os.environ, "MIX_ENV": "prod"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    running = Driver(process)
    try:
        await running.read()
        yield running
    finally:
        await running.close()
