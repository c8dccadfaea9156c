"""What a command does not import: what it does not need takes longer than all that it does."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from grpc_tool_bridge import BridgeServer, tool
from support.patience import PATIENCE

GRPC = ("grpc", "asyncio", "google.protobuf")
FRAMEWORKS = (
    "dspy", "fastapi", "langchain_core", "litellm", "mcp", "numpy", "openai", "pandas", "polars", "pyarrow",
    "pydantic_ai", "starlette", "uvicorn",
)  # fmt: skip
# What reads the settings of a hub, and what lays out text for people.
MODELS = ("pydantic", "pydantic_core", "pydantic_settings")
LOOKS = ("rich", "typer")

PROGRAM = """
import json, sys
from grpc_tool_bridge.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
sys.stdout.flush()
print(json.dumps([code, sorted(sys.modules)]), file=sys.__stderr__)
"""


def imported(words: Sequence[str], code: int = 0, **environment: str) -> set[str]:
    """Runs a command line in a process of its own; returns the modules that it has imported at its end."""
    command = [sys.executable, "-c", PROGRAM, *words]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )
    found, modules = json.loads(ran.stderr.splitlines()[-1])
    assert found == code, ran.stderr
    return set(modules)


def test_the_version_needs_no_library() -> None:
    assert imported(["--version"]) & {*GRPC, *FRAMEWORKS, *MODELS, *LOOKS, "importlib.metadata", "sqlite3"} == set()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        ([], 0),
        (["call", "--help"], 0),
        (["admin", "events", "--help"], 0),
        (["bench", "--help"], 0),
        (["doctor", "--help"], 0),
        (["serve", "--help"], 0),
        (["worker", "--help"], 0),
        (["replay", "--help"], 0),
        (["chaos-proxy", "--help"], 0),
        (["completion", "bash"], 0),
        (["completion", "tcsh"], 2),
        (["logs", "--level", "x"], 2),
        (["nothing"], 2),
        (["call"], 2),
        (["call", "add", "--nope"], 2),
        (["stubs", "--check"], 2),
        (["stubs", "--class", "two words"], 2),
        (["call", "add", "--answer", "{"], 2),
        (["call", "add", "--address", "nowhere:x"], 2),
        (["call", "add", "--tls-ca", "/nowhere"], 2),
        (["admin", "events", "--kind", "x"], 2),
        (["agent", "a -> b", "--input", "x"], 2),
        (["agent", "a -> b", "--timeout", "0"], 2),
        (["bench", "--timeout", "0"], 2),
        (["bench", "1"], 2),
        (["serve", "--call-timeout", "0"], 2),
        (["serve", "--redact", "x"], 2),
        (["store", "--help"], 0),
        (["store", "backup", "--help"], 0),
        (["store", "info"], 2),
        (["doctor", "--full"], 2),
        (["worker"], 2),
    ],
)
def test_help_completion_and_wrong_arguments_need_no_grpc(words: list[str], code: int) -> None:
    assert imported(words, code) & {"grpc", *FRAMEWORKS} == set()


async def test_a_call_imports_nothing_that_it_does_not_need() -> None:
    import asyncio

    @tool
    def add(a: int, b: int) -> int:
        return a + b

    async with BridgeServer(tools=[add]) as server:
        words = ["call", "add", "2", "3", "--address", server.address]
        modules = await asyncio.to_thread(imported, words)
    assert "grpc.aio" in modules
    assert modules & {*FRAMEWORKS, *MODELS, *LOOKS, "grpc_health.v1", "grpc_reflection.v1alpha", "sqlite3"} == set()


@pytest.mark.parametrize("name", ["GRPCToolBridge", "ToolBridgeError", "SessionContext"])
def test_what_a_client_uses_imports_no_models_and_no_framework(name: str) -> None:
    program = f"import sys; from grpc_tool_bridge import {name}; print(*sys.modules)"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)

    assert set(ran.stdout.split()) & {*FRAMEWORKS, *MODELS, *LOOKS} == set()
