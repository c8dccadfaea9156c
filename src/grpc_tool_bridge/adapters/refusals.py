"""Refused calls: a model can correct them, unlike a fault of the tool."""

from grpc_tool_bridge.errors import ToolExecutionError

_MENDABLE = frozenset({"ValidationError", "ToolNotFound"})


def is_refusal(error: ToolExecutionError) -> bool:
    """Returns whether the bridge refused the arguments, or has no such tool; an error that a tool raised is neither."""
    return error.details.get("origin", "bridge") == "bridge" and error.error_type in _MENDABLE
