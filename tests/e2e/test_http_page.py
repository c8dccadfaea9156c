"""What the page on HTTP shows is what happens."""

import ast
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.test_docs import DOCS, blocks
from grpc_tool_bridge import BridgeServer
from support.needs import needs
from support.patience import PATIENCE

PAGE = DOCS / "how-to" / "use-over-http.md"
ADDRESS = "127.0.0.1:8080"


async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def countdown(start: int) -> AsyncIterator[int]:
    """Counts down."""
    for number in range(start, 0, -1):
        yield number


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=[add, countdown], http_address="127.0.0.1:0") as server:
        yield server


async def run_shell(text: str) -> str:
    shell = await asyncio.create_subprocess_exec("bash", "-ec", text, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        out, _ = await shell.communicate()
    assert shell.returncode == 0, text
    return out.decode()


@needs("curl")
async def test_the_commands_of_the_page_print_what_it_says(hub: BridgeServer) -> None:
    calling, streaming = [text.replace(ADDRESS, str(hub.http_address)) for text in blocks(PAGE, "bash")]
    opened, answer = [json.loads(text) for text in (await run_shell(calling)).replace("}{", "}\n{").splitlines()]
    assert opened["session_id"] == "demo"
    (promised,) = (json.loads(text) for text in blocks(PAGE, "json"))
    assert answer.keys() == promised.keys()
    assert (answer["result"], answer["error"]) == (promised["result"], promised["error"])
    (event,) = blocks(PAGE, "text")
    assert (await run_shell(streaming)).startswith(event)


async def test_the_program_of_the_page_prints_the_values(hub: BridgeServer) -> None:
    bridge = hub.bridge(keep_session=True)
    await bridge.initialize("demo")
    (text,) = blocks(PAGE, "python")
    printed: list[Any] = []
    code = compile(text.replace(ADDRESS, str(hub.http_address)), "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, {"print": printed.append})
    async with asyncio.timeout(PATIENCE):
        await running
    assert printed == [3, 2, 1, None]
    await bridge.close()
