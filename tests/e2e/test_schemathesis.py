"""The document of the gateway says what the gateway does, as a program finds that tries both."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from grpc_tool_bridge import BridgeServer, tool
from support.patience import PATIENCE

CONFIG = Path(__file__).parents[2] / "schemathesis.toml"
TOKEN = "a-token-of-the-test"

Size = Annotated[int, Field(ge=0, le=10)]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    # Else its own rules take true for 1.0, which its schema does not say.
    model_config = ConfigDict(strict=True)

    x: float
    label: str | None = None


async def add(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


async def paint(colour: Colour, kind: Literal["matt", "gloss"] = "matt", note: str | None = None) -> str:
    """Paints."""
    return f"{colour.value} {kind} {note}"


async def move(point: Point, by: list[float] | None = None) -> Point:
    """Moves."""
    return Point(x=point.x + sum(by or []), label=point.label)


async def keep(data: bytes, day: date) -> tuple[bytes, date]:
    """Keeps."""
    return data, day


@tool(name="numbers.count-to")
async def count(to: Size) -> AsyncIterator[int]:
    """Counts."""
    for number in range(to):
        yield number


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_what_its_document_allows_is_done_and_what_it_forbids_is_refused(
    token: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", "--seed", "1", "--max-examples", "5", "--no-color"),
    ]
    if token is None:
        # What else there is, the hub with a token is asked: only who may ask differs.
        command += ["--phases", "examples,fuzzing"]
    else:
        monkeypatch.setenv("TOOL_BRIDGE_TOKEN", token)
        command += ["--header", f"Authorization: Bearer {token}"]
    async with BridgeServer(tools=[add, paint, move, keep, count], http_address="127.0.0.1:0") as hub:
        command.append(f"http://{hub.http_address}/openapi.json")
        run = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path, env=os.environ
        )
        async with asyncio.timeout(4 * PATIENCE):
            out, _ = await run.communicate()
    assert run.returncode == 0, out.decode()
    assert b"generated" in out
