"""Errors of tools, as a model reads them."""

import json

from grpc_tool_bridge.errors import ToolBridgeError


def error_text(error: ToolBridgeError) -> str:
    """Writes an error as JSON: its class, its message and its details, and no traceback."""
    facts = {"type": error.error_type, "message": error.message, "details": error.details}
    return json.dumps({"error": facts}, ensure_ascii=False)
