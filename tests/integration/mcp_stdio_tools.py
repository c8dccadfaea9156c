"""Tools for the tests of MCP over stdio."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from grpc_tool_bridge import ToolContext, tool

sys.stdout.write("printed by an import\n")


def write(file: str, text: str = "here") -> None:
    Path(file).write_text(text)


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
def noisy() -> str:
    """Prints in every way there is."""
    print("printed by Python")  # noqa: T201 - what is tested
    sys.__stdout__.write("printed past redirection\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
    os.write(1, b"printed by native code\n")
    subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
    return "done"


@tool
def greedy() -> list[str]:
    """Reads stdin in every way there is."""
    child = subprocess.run(
        [sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"], check=True, stdout=subprocess.PIPE
    )
    return [os.read(0, 100).decode(), child.stdout.decode().strip()]


@tool
async def waits(started: str, ended: str) -> None:
    """Writes a file when it starts and another one when it is cancelled."""
    try:
        write(started)
        await asyncio.Event().wait()
    finally:
        write(ended)


@tool(executor="process")
def blocks_process(started: str) -> None:
    """Blocks a process of its own, and writes its id."""
    Path(started).write_text(str(os.getpid()))
    time.sleep(3_600)


@tool
def blocks_thread(started: str) -> None:
    """Blocks a thread."""
    Path(started).write_text("started")
    time.sleep(3_600)


@tool
async def reports(ctx: ToolContext) -> str:
    """Reports its progress, and logs."""
    for step in range(3):
        ctx.progress(step, 3, f"step {step}")
    ctx.log("a line of the log")
    return "reported"


@tool
def large(size: int) -> str:
    """Returns a long text."""
    return "x" * size
