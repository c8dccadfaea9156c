"""Results and errors of tools, as a model reads them."""

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from grpc_tool_bridge.errors import ToolBridgeError


def result_text(value: Any) -> str:
    """Writes a result: a text as it is, all else as JSON; what JSON has no form for becomes its text."""
    if isinstance(value, str):
        return value
    try:
        return to_json(value, fallback=str, bytes_mode="base64", inf_nan_mode="constants").decode()
    except (PydanticSerializationError, ValueError):
        return str(value)


def error_text(error: ToolBridgeError) -> str:
    """Writes an error as JSON: its class, its message and its details, and no traceback."""
    facts = {"type": error.error_type, "message": error.message, "details": error.details}
    return json.dumps({"error": facts}, ensure_ascii=False)
