"""Errors of tools, as a model reads them."""

import json
from typing import Any

from grpc_tool_bridge.errors import ToolBridgeError

# Details that every error has, and that a model cannot act on.
_NOT_TOLD = frozenset({"origin", "error_id"})


def error_text(error: ToolBridgeError) -> str:
    """Writes an error as JSON: its class, its message and its details, and no traceback."""
    return json.dumps({"error": error_facts(error)}, ensure_ascii=False)


def error_facts(error: ToolBridgeError) -> dict[str, Any]:
    """Returns an error's class, message and details."""
    return {"type": error.error_type, "message": error.message, "details": error.details}


def failure_text(name: str, error: BaseException) -> str:
    """Writes an error as ``tool: Error: message``, with the details that the message does not mention."""
    if not isinstance(error, ToolBridgeError):
        return f"{name}: {type(error).__name__}: {error}"
    own_name = getattr(error, "tool_name", name)
    message = error.message.removeprefix(f"{name}: ").removeprefix(f"{own_name}: ")
    details = error.details if isinstance(error.details, dict) else {}
    told = [f"{key}: {value}" for key, value in details.items() if key not in _NOT_TOLD and str(value) not in message]
    more = f" ({', '.join(told)})" if told else ""
    return f"{name}: {error.error_type}: {message}{more}"
