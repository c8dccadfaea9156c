"""Tools that ask whoever called them; in a module of their own, so that a process can import them."""

from collections.abc import AsyncIterator
from typing import Any

from grpc_tool_bridge import ToolContext

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "name": {"type": "string", "maxLength": 20},
        "ratio": {"type": "number"},
        "sure": {"type": "boolean"},
        "colour": {"type": "string", "enum": ["red", "blue"]},
    },
    "required": ["count"],
}


async def ask(ctx: ToolContext, message: str = "How many?") -> list[Any]:
    answer = await ctx.ask(message, FORM)
    return [answer.action, answer.content]


def ask_blocking(ctx: ToolContext, message: str = "How many?") -> list[Any]:
    answer = ctx.sync.ask(message, FORM)
    return [answer.action, answer.content]


async def confirm(ctx: ToolContext, message: str) -> bool:
    return (await ctx.ask(message)).accepted


async def outer(ctx: ToolContext, tool: str) -> Any:
    return await ctx.call_tool(tool, "from below")


async def ask_each(ctx: ToolContext, count: int) -> AsyncIterator[bool]:
    for number in range(count):
        yield (await ctx.ask(f"number {number}")).accepted


def ask_each_blocking(ctx: ToolContext, count: int) -> Any:
    for number in range(count):
        yield ctx.sync.ask(f"number {number}").accepted


async def ask_by(ctx: ToolContext, schema: Any, message: str = "?") -> list[Any]:
    answer = await ctx.ask(message, schema)
    return [answer.action, answer.content]


TOOLS = [ask, ask_blocking, confirm, outer, ask_each, ask_each_blocking, ask_by]
