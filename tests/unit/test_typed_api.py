"""A user's program that is checked strictly needs no ``type: ignore``."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    ConflictError,
    GRPCToolBridge,
    LocalToolBridge,
    Settings,
    ToolBridge,
    ToolCommunicationError,
    ToolContext,
    ToolExecutionError,
    ToolSpec,
    deserialize_value,
    register_codec,
    serialize_value,
    tool,
)
from grpc_tool_bridge.core import SessionStore, ToolRegistry
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse
from grpc_tool_bridge.testing import MockBridgeServer


@dataclass
class Point:
    x: float


register_codec(
    Point,
    type_url="acme.Point",
    encode=lambda point: str(point.x).encode(),
    decode=lambda data: Point(float(data)),
)


@tool
def greet(name: str, times: int = 1) -> str:
    return ", ".join([name] * times)


@tool(name="count", idempotent=True, limits={"timeout_ms": 1_000})
async def count_down(start: int, ctx: ToolContext) -> AsyncIterator[int]:
    ctx.progress(0, start)
    await ctx.set_variable("last", await ctx.get_variable("last", default=start))
    for number in range(start, -1, -1):
        yield number


def lines(path: str, ctx: ToolContext) -> Iterator[str]:
    ctx.log(f"{ctx.sync.get_variable('last')}", level="warning")
    yield path


async def use(bridge: ToolBridge) -> list[str]:
    tools = await bridge.initialize("session")
    answers: list[str] = [await tools["greet"]("Ann", times=2), await bridge.call_tool("greet", "Ann")]
    quick = tools["greet"].with_options(timeout=2.5, on_progress=lambda event: print(event.current))
    try:
        answers.append(await quick("Ann"))
    except ToolExecutionError as error:
        answers.append(error.error_type + error.details["name"])
    except ToolCommunicationError as error:
        answers.append(error.details)
    async for number in tools["count"].stream(3):
        answers.append(str(number))
    variables = bridge.session_context
    revision = await variables.set_variable("x", 1)
    try:
        await variables.set_variable("x", 2, expected_revision=revision)
    except ConflictError as error:
        answers.append(error.message)
    async for change in variables.watch_variables("x"):
        answers.append(f"{change.name} {change.revision + 1}")
    results = await bridge.execute_batch([{"tool_id": "greet", "args": ["Ann"]}])
    return [*answers, *map(str, results)]


def use_blocking() -> str:
    with GRPCToolBridge("127.0.0.1:50051").sync as bridge:
        tools = bridge.initialize("session")
        text: str = tools["greet"]("Ann")
        for number in bridge.tools["count"].stream(3):
            text += str(number)
        return text


async def main() -> None:
    async with BridgeServer(tools=[greet, count_down, lines], settings=Settings(call_timeout=5)) as server:
        async with GRPCToolBridge(server.address) as remote:
            print(await use(remote))
    async with LocalToolBridge([greet]) as local:
        print(await use(local))
    store = SessionStore()
    await store.create_session("s", {})
    ToolRegistry(store).register_batch("s", [greet, ToolSpec(name="other")])


def test_of_a_users() -> None:
    assert greet("Ann") == "Ann"
    with MockBridgeServer() as server:
        server.set_response("ExecuteTool", ToolCallResponse(success=True, result=serialize_value(Point(1.0))))
        assert deserialize_value(server.requests_for("ExecuteTool")[0].args[0]) == 1


@pytest.fixture
def bridge_settings() -> Settings:
    return Settings(max_message_bytes=1_000)


asyncio.run(main())
"""

# What the checker has to find: the types are not simply Any.
WRONG = """
from grpc_tool_bridge import BridgeServer, Settings

Settings(call_timeout="soon")
BridgeServer(tool=[greet])
"""


def check(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    program = folder / "program.py"
    program.write_text(text)
    # Off by itself: no settings of this project, and what it found before is found again fast.
    words = ["-m", "mypy", "--strict", "--config-file=", f"--cache-dir={folder / 'cache'}", program.name]
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)


def test_a_users_program_is_typed_without_an_ignore_and_its_mistakes_are_found(tmp_path: Path) -> None:
    ran = check(tmp_path, PROGRAM)
    assert ran.returncode == 0, ran.stdout + ran.stderr

    wrong = check(tmp_path, WRONG)
    assert 'Argument "call_timeout" to "Settings" has incompatible type "str"' in wrong.stdout, wrong.stderr
    assert 'Unexpected keyword argument "tool" for "BridgeServer"' in wrong.stdout
