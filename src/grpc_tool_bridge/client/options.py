"""How calls of tools are made."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.config import MAX_MESSAGE_BYTES, MAX_MESSAGE_NODES
from grpc_tool_bridge.config.argument_checks import (
    check_plain_callable,
    check_text,
    check_texts_by_name,
    check_timeout,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress

# The arguments of ``with_options``.
CALL_SETTINGS = ("timeout", "idempotency_key", "metadata", "on_progress", "on_log")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How calls are made.

    Attributes:
        timeout: Seconds for each try; None: the tool's limit, else ``call_timeout`` or ``stream_timeout``.
        call_timeout: Seconds for a call of a tool that sets no limit; None: 30.
        stream_timeout: Seconds for a stream of a tool that sets no limit; None: 300.
        metadata: Sent to the tool unchanged.
        default_metadata: Sent with every call, under its own ``metadata``.
        idempotency_key: Calls with this key and the same arguments run once in a session; empty: each call runs.
        on_progress, on_log: Called with each event that the tool sends. If one is set, a call is sent as a stream.
        max_message_bytes: Maximum payload of one request.
        max_message_nodes: Maximum number of elements, keys, texts and numbers in one message, counted before it is
            decoded.
    """

    timeout: float | None = None
    call_timeout: float | None = None
    stream_timeout: float | None = None
    metadata: Mapping[str, str] | None = None
    default_metadata: Mapping[str, str] | None = None
    idempotency_key: str = ""
    on_progress: Callable[[Progress], None] | None = None
    on_log: Callable[[LogRecord], None] | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_message_nodes: int = MAX_MESSAGE_NODES


def check_settings(name: str, changes: Mapping[str, Any]) -> None:
    """Refuses invalid arguments of ``with_options``; ``name`` is the tool's."""
    if "timeout" in changes:
        to_milliseconds(changes["timeout"], name)
    if "idempotency_key" in changes:
        check_text("idempotency_key", changes["idempotency_key"], may_be_empty=True)
    if "metadata" in changes:
        check_texts_by_name("metadata", changes["metadata"])
    for event in ("on_progress", "on_log"):
        what = f"a function that is called with each {event.removeprefix('on_')} event"
        check_plain_callable(event, changes.get(event), what)


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    """Returns a copy of the metadata of a bridge; None if there is none.

    Raises:
        ValidationError: It is not a dict of texts.
    """
    if metadata is None:
        return None
    check_texts_by_name("metadata", metadata)
    return dict(metadata)


def to_milliseconds(timeout: float, what: str) -> int:
    """Converts seconds to milliseconds, at least 1 ms.

    Raises:
        ValidationError: The timeout is not above 0, or longer than the wire can carry (24 days).
    """
    check_timeout("the timeout", timeout, what=what)
    return math.ceil(timeout * 1000)
