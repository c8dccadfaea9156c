"""Workers in other languages, as processes: what ``make peers`` builds."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tests" / "peers"


@dataclass(frozen=True)
class Language:
    """How a worker in one language is run.

    Attributes:
        name: What its tools' names begin with.
        command: The program and its arguments, before the hub's address.
        folder: Where it runs.
        built: What is there once it was built.
        env: Added to the environment.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    built: Path
    env: Mapping[str, str] = field(default_factory=dict)


ELIXIR = Language(
    "elixir",
    ("mix", "run", "--no-compile", str(TOOLS / "tools.exs")),
    ROOT / "sdk" / "elixir",
    ROOT / "sdk" / "elixir" / "_build" / "dev" / "lib" / "tool_bridge" / "ebin",
)
GO = Language("go", (str(ROOT / ".peers" / "bin" / "round-trip-go"),), ROOT, ROOT / ".peers" / "bin" / "round-trip-go")
NODE = Language("node", ("node", str(TOOLS / "tools.mjs")), ROOT, ROOT / "sdk" / "node" / "dist" / "index.js")
LANGUAGES = (ELIXIR, NODE, GO)

needs_peers = pytest.mark.skipif(
    not all(language.built.exists() for language in LANGUAGES), reason="needs the workers that make peers builds"
)


class PeerProcess:
    """A running worker in another language."""

    def __init__(self, language: Language, process: asyncio.subprocess.Process) -> None:
        self.language = language
        self._process = process

    async def kill(self) -> None:
        """Ends it as kill -9 does, with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def terminate(self) -> int:
        """Asks it to end; returns its exit code."""
        self._process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()


@contextlib.asynccontextmanager
async def peer(language: Language, address: str) -> AsyncIterator[PeerProcess]:
    """Runs a worker in another language, which dials the hub at ``address``."""
    process = await asyncio.create_subprocess_exec(
        *language.command,
        address,
        cwd=language.folder,
        env={**os.environ, **language.env},
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    running = PeerProcess(language, process)
    try:
        yield running
    finally:
        await running.kill()
