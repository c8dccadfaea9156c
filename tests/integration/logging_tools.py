"""Tools that write to the log, and middleware, for the tests of the command line."""

from typing import Any

from grpc_tool_bridge import CallNext, ToolCall, ToolContext, tool


@tool
async def tells(ctx: ToolContext) -> str:
    ctx.log("did", i=3, what="two words")
    return ctx.request_id


@tool(executor="process")
def tells_apart(ctx: ToolContext) -> str:
    ctx.log("did", where="a process")
    return ctx.request_id


@tool
async def refuses(value: str) -> None:
    raise ValueError(f"refused\n{value.splitlines()[0]}")


@tool
async def plain() -> str:
    return "plain"


async def outer(call: ToolCall, call_next: CallNext) -> Any:
    return f"outer {await call_next(call)}"


async def middle(call: ToolCall, call_next: CallNext) -> Any:
    return f"middle {await call_next(call)}"


async def inner(call: ToolCall, call_next: CallNext) -> Any:
    return f"inner {await call_next(call)}"


both = [outer, middle]


def plain_function(call: ToolCall, call_next: CallNext) -> Any:
    return call_next(call)
