"""Moves work that would block the event loop to threads: foreign code, and large values."""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.aio.threads import MAX_DEPTH, NestedThreads, ToolThreads
from grpc_tool_bridge.config import MAX_MESSAGE_NODES
from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.rpc.large_messages import LargeValue
from grpc_tool_bridge.rpc.nodes import is_slow
from grpc_tool_bridge.values.foreign import ForeignCodeError
from grpc_tool_bridge.values.scalars import SCALARS
from grpc_tool_bridge.values.serialization import Writing, deserialize_value, pack_value

T = TypeVar("T")

_MAX_THREADS = 16
# Threads start on demand and end when idle, so the one pool of a process costs nothing.
_threads = NestedThreads(_MAX_THREADS)
# Large values are read here, where no tool's code delays them. More threads would not be faster: they share the
# interpreter, and each makes the event loop wait for its turn.
_MAX_READERS = 4
_readers = ToolThreads(_MAX_READERS)
# How many values are being written whose own code calls the bridge to write this one.
_depth: ContextVar[int] = ContextVar("depth of values being written", default=0)


async def outside_loop(work: Callable[[], T]) -> T:
    """Runs ``work``, which writes values: in the event loop unless foreign code takes part.

    It must be repeatable: interrupted before foreign code, it is called again in a thread.
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


async def in_reader(read: Callable[[], T]) -> T:
    """Runs a function that reads something large in a thread."""
    made: T = await _readers.run(read)
    return made


async def read_value(
    value: AnyMessage | LargeValue, *, max_depth: int = 100, max_nodes: int | None = MAX_MESSAGE_NODES
) -> Any:
    """Like ``deserialize_value``, but reads a large value in a thread."""
    read = functools.partial(deserialize_value, value, max_depth=max_depth, max_nodes=max_nodes)
    return await in_reader(read) if is_slow(value.type_url, value.value) else read()


def _written_at(depth: int, work: Callable[[], T]) -> T:
    _depth.set(depth)
    return work()


async def written(value: Any, *, max_depth: int = 100, max_nodes: int | None = MAX_MESSAGE_NODES) -> AnyMessage:
    """Like ``serialize_value``, but foreign code does not block the event loop.

    Args:
        value: Any value.
        max_depth: Levels of nested containers allowed.
        max_nodes: Elements, keys, texts and numbers allowed; None for any.
    """
    scalar = SCALARS.get(type(value))
    if scalar is not None:
        type_url, payload = scalar(value)
    else:
        how = Writing(max_depth=max_depth, max_nodes=max_nodes)
        type_url, payload = await outside_loop(lambda: pack_value(value, how))
    return AnyMessage(type_url=type_url, value=payload)
