"""Progress and log records that workers send of their calls, made safe for who watches the hub."""

import math

from grpc_tool_bridge.errors import MAX_DETAIL_CHARS, MAX_MESSAGE_CHARS, wire_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent, LogRecord, Progress
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS

LEVELS = frozenset(("debug", "info", "warning", "error"))

# Fields of a record; a worker may send more, and the first ones are kept.
MAX_FIELDS = 64


def report_of(tool_name: str, event: LinkEvent) -> Progress | LogRecord | None:
    """Returns what a worker reports of a call, limited; None for an event of another kind.

    A record has the tool's name and the hub's time, whatever the worker says, so that it cannot pass for another's.
    """
    kind = event.WhichOneof("kind")
    if kind == "progress":
        progress = event.progress
        current, total = (number if math.isfinite(number) else 0.0 for number in (progress.current, progress.total))
        return Progress(current=current, total=total, message=wire_text(progress.message, MAX_MESSAGE_CHARS))
    if kind != "log":
        return None
    given = event.log
    record = LogRecord(
        level=given.level if given.level in LEVELS else "info",
        logger=tool_name,
        message=wire_text(given.message, MAX_MESSAGE_CHARS),
    )
    for name, _ in zip(sorted(given.fields), range(MAX_FIELDS), strict=False):
        record.fields[wire_text(name, MAX_NAME_CHARS)] = wire_text(given.fields[name], MAX_DETAIL_CHARS)
    record.timestamp.GetCurrentTime()
    return record
