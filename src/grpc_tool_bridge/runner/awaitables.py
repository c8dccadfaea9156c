"""What a tool's coroutine waits for, before asyncio looks at it.

A task asks what its coroutine gives it for attributes, and for its ``repr`` where it is no future. What that raises
ends the event loop, or leaves the task waiting for ever.
"""

import asyncio
from typing import Any

from grpc_tool_bridge.errors.class_facts import class_path, static_attribute

# What a task asks a future for.
_ASKED = ("__getattribute__", "_asyncio_future_blocking", "add_done_callback", "get_loop")
# Those of asyncio, in C and without; a task is a future as well.
_Future, _Task = asyncio.Future, asyncio.Task
_futures: Any = asyncio.futures
_tasks: Any = asyncio.tasks
_BASES: tuple[type, ...] = (_Task, _Future, _tasks._PyTask, _futures._PyFuture)  # noqa: SLF001 - they have no other name


class _NoFuture:
    """Stands for what is no future: the task raises the RuntimeError that says so, with this text."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __repr__(self) -> str:
        return f"an object of {class_path(self._kind)}, which is no future of asyncio"


def waitable(value: Any) -> Any:
    """Returns what a task may wait for: a future of asyncio as it is, and something harmless for all else."""
    kind = type(value)
    if value is None or kind is _Future or kind is _Task:
        return value
    for base in _BASES:
        if issubclass(kind, base):
            own = any(static_attribute(kind, name) is not static_attribute(base, name) for name in _ASKED)
            return _NoFuture(kind) if own else value
    return _NoFuture(kind)
