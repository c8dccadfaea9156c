"""Tells the hub of the requests to the model of a run, if it wants to know."""

import json
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.methods import MODEL_LOGGER, MODEL_REPORTS_KEY

# A report is one event of the link, which is not sent in parts: all of it takes less than 1 MiB.
MAX_MESSAGES = 8
MAX_MESSAGE_CHARS = 16 * 1024
MAX_ANSWERS = 2
MAX_ANSWER_CHARS = 48 * 1024

# Called with the messages of a prompt, the texts of the answers, and the error.
OnModel = Callable[[list[dict[str, Any]], list[str], str], None]


def model_reporter(context: RequestContext) -> OnModel | None:
    """Returns what reports the requests to the model; None if the hub has not asked for that."""
    metadata = getattr(context, "metadata", None)
    if not metadata or MODEL_REPORTS_KEY not in metadata:
        return None

    def report(messages: list[dict[str, Any]], answers: list[str], error: str) -> None:
        told = [
            {"role": str(message.get("role")), "content": _clipped(message.get("content"), MAX_MESSAGE_CHARS)}
            for message in messages[-MAX_MESSAGES:]
        ]
        said = [_clipped(text, MAX_ANSWER_CHARS) for text in answers[:MAX_ANSWERS]]
        outcome = {"error": _clipped(error, MAX_MESSAGE_CHARS)} if error else {"answers": said}
        text = json.dumps({"messages": told, **outcome}, ensure_ascii=False)
        context.peer.tell(context, LogRecord(level="debug", logger=MODEL_LOGGER, message=text))

    return report


def _clipped(text: Any, chars: int) -> str:
    return wire_text(text if isinstance(text, str) else json.dumps(text, default=str), chars)
