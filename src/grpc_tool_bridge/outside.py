"""Work that may run code of strangers: done at once where it does not, in a thread where it does."""

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.running.nested import MAX_DEPTH, NestedThreads
from grpc_tool_bridge.wire.foreign import ForeignCodeError
from grpc_tool_bridge.wire.values import Writing, pack_value

T = TypeVar("T")

_MAX_THREADS = 16
# Threads begin when they are wanted and end when they are idle, so that the one pool of a process costs nothing.
_threads = NestedThreads(_MAX_THREADS)
# How many values are being written whose code calls the bridge to write this one.
_depth: ContextVar[int] = ContextVar("depth of values being written", default=0)


async def outside_loop(work: Callable[[], T]) -> T:
    """Does ``work``, which writes values: in the event loop as long as only the bridge's own code takes part.

    Args:
        work: Does the same each time it is called; interrupted before code of a stranger's, it is called in a thread.

    Returns:
        What it returns.
    """
    try:
        return work()
    except ForeignCodeError:
        depth = _depth.get()
        if depth > MAX_DEPTH:
            raise ResourceExhaustedError(
                f"{MAX_DEPTH} values being written have called the bridge to write one more, which is the limit; see "
                "whether the code of one of them calls itself without end"
            ) from None
        made: T = await _threads.at(depth).run(lambda: _written_at(depth + 1, work))
        return made


def _written_at(depth: int, work: Callable[[], T]) -> T:
    _depth.set(depth)
    return work()


def _begin_anew() -> None:
    """Forgets, in a forked process, the threads that only the other one has."""
    global _threads  # noqa: PLW0603 - threads are of the process, and so is this
    _threads = NestedThreads(_MAX_THREADS)


os.register_at_fork(after_in_child=_begin_anew)


async def written(value: Any, *, max_depth: int = 100) -> AnyMessage:
    """Writes a value as an Any, as ``serialize_value`` does, without holding up the event loop for a stranger's code.

    Args:
        value: Any value.
        max_depth: Levels of nested containers allowed.

    Raises:
        SerializationError, MessageTooLargeError: As of ``serialize_value``.
    """
    how = Writing(max_depth=max_depth)
    type_url, payload = await outside_loop(lambda: pack_value(value, how))
    return AnyMessage(type_url=type_url, value=payload)
