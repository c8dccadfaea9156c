"""Work that may run code of strangers: done at once where it does not, in a thread where it does."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.running.threads import ToolThreads
from grpc_tool_bridge.wire.foreign import ForeignCodeError
from grpc_tool_bridge.wire.values import Writing, pack_value

T = TypeVar("T")

_MAX_THREADS = 16
# Threads begin when they are wanted and end when they are idle, so that the one pool of a process costs nothing.
_threads = ToolThreads(_MAX_THREADS)


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
        made: T = await _threads.run(work)
        return made


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
