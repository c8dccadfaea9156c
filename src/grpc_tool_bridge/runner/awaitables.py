"""Checks what a tool's coroutine yields, before asyncio sees it.

A task reads attributes of what its coroutine yields, and its ``repr`` if it is not a future. If that raises, the event
loop ends, or the task waits forever.
"""

import asyncio
from typing import Any

from grpc_tool_bridge.errors.class_facts import class_path, static_attribute

# What a task reads from a future.
_ASKED = ("__getattribute__", "_asyncio_future_blocking", "add_done_callback", "get_loop")
# asyncio's own classes, in C and in Python; a task is a future too.
_Future, _Task = asyncio.Future, asyncio.Task
_futures: Any = asyncio.futures
_tasks: Any = asyncio.tasks
_BASES: tuple[type, ...] = (_Task, _Future, _tasks._PyTask, _futures._PyFuture)  # noqa: SLF001 - they have no other name


class _NoFuture:
    """Stands for an object that is not a future: the task raises a RuntimeError with this text."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __repr__(self) -> str:
        return f"an object of {class_path(self._kind)}, which is not an asyncio future"


def waitable(value: Any) -> Any:
    """Returns what a task can safely wait for: an asyncio future unchanged, anything else replaced."""
    kind = type(value)
    if value is None or kind is _Future or kind is _Task:
        return value
    for base in _BASES:
        if issubclass(kind, base):
            own = any(static_attribute(kind, name) is not static_attribute(base, name) for name in _ASKED)
            return _NoFuture(kind) if own else value
    return _NoFuture(kind)
