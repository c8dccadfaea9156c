"""The page on other languages shows the same program in each of them, and each of them runs."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from e2e.test_docs import DOCS, blocks
from grpc_tool_bridge import BridgeServer
from support.patience import PATIENCE
from support.peers import ROOT, needs_peers

PAGE = DOCS / "how-to" / "other-languages.md"
ADDRESS = "127.0.0.1:50051"


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    async with BridgeServer() as server:
        yield server


def write(file: Path, language: str, address: str) -> None:
    (text,) = blocks(PAGE, language)
    assert ADDRESS in text
    file.write_text(text.replace(ADDRESS, address), encoding="utf-8")


async def printed(hub: BridgeServer, language: str, file: Path, *command: str, folder: Path = ROOT) -> str:
    """Writes the page's program in a language to a file, and runs it; returns what it prints."""
    write(file, language, hub.address)
    program = await asyncio.create_subprocess_exec(
        *command, str(file), cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(4 * PATIENCE):
        out, _ = await program.communicate()
    assert program.returncode == 0
    return out.decode().strip()


async def test_in_python(hub: BridgeServer, tmp_path: Path) -> None:
    assert await printed(hub, "python", tmp_path / "double.py", sys.executable) == "42"


@needs_peers
async def test_in_elixir(hub: BridgeServer, tmp_path: Path) -> None:
    folder = ROOT / "sdk" / "elixir"
    assert await printed(hub, "elixir", tmp_path / "double.exs", "mix", "run", "--no-compile", folder=folder) == "42"


@needs_peers
async def test_in_node(hub: BridgeServer, tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "grpc-tool-bridge").symlink_to(ROOT / "sdk" / "node")
    assert await printed(hub, "js", tmp_path / "double.mjs", "node", folder=tmp_path) == "42"


@needs_peers
async def test_in_go(hub: BridgeServer, tmp_path: Path) -> None:
    folder = ROOT / "sdk" / "go"
    assert await printed(hub, "go", tmp_path / "main.go", "go", "run", folder=folder) == "42 <nil>"
