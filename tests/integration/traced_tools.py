"""Tools that make spans of their own, at the top level of a module, so that a process finds them."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry import trace

from grpc_tool_bridge import ToolContext, tool


@tool
async def add(a: int, b: int) -> int:
    with trace.get_tracer("users").start_as_current_span("adding"):
        return a + b


@tool
async def slowly(a: int) -> int:
    with trace.get_tracer("users").start_as_current_span("before"):
        await asyncio.sleep(0)
    with trace.get_tracer("users").start_as_current_span("after"):
        return a


@tool
def in_thread() -> bool:
    with trace.get_tracer("users").start_as_current_span("of thread"):
        return threading.current_thread() is not threading.main_thread()


@tool(executor="process")
def in_process() -> int:
    with trace.get_tracer("users").start_as_current_span("of process"):
        return os.getpid()


@tool
async def count(most: int) -> AsyncIterator[int]:
    for number in range(most):
        with trace.get_tracer("users").start_as_current_span(f"counting {number}"):
            yield number


@tool
async def broken() -> int:
    raise ZeroDivisionError("planted secret")


@tool
async def twice(ctx: ToolContext, a: int) -> Any:
    return await ctx.call_tool("add", a, a)


@tool
async def quiet() -> None:
    """Makes no span."""


ALL = [quiet, add, slowly, in_thread, in_process, count, broken, twice]
