"""Tools of the hub that the tests of the Go SDK call."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc_tool_bridge import ToolContext, tool


@tool
def echo(value: Any) -> Any:
    """Returns its argument."""
    return value


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
def fail(message: str) -> None:
    """Fails with a ValueError."""
    raise ValueError(message)


@tool
async def count(to: int) -> AsyncIterator[int]:
    """Yields the numbers below ``to``."""
    for number in range(to):
        yield number


@tool
async def wait() -> None:
    """Waits until it is cancelled."""
    await asyncio.Event().wait()


@tool
def report(context: ToolContext) -> str:
    """Reports its progress."""
    context.progress(1, 2, "half")
    return "done"


@tool
async def ask(context: ToolContext) -> str:
    """Asks its caller, as ``askTool`` in Go does."""
    answer = await context.ask(
        "Delete 3 files?",
        {
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "keep": {"type": "integer"},
                "mode": {"type": "string"},
                "share": {"type": "number"},
                "sure": {"type": "boolean"},
            },
            "required": ["reason"],
        },
    )
    form = {"keep": 2, "share": "none", "mode": "", **answer.content}
    sure = "true" if form.get("sure") else "false"
    return f"{answer.action} {form['reason']} {form['keep']} {form['mode']} {form['share']} {sure}"
