"""Errors of the bridge as errors of the protocol."""

from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.llm.texts import error_facts

# What a request may have wrong: repeating it as it is does not help.
_OF_THE_REQUEST = frozenset({"ValidationError", "ToolNotFound", "VariableNotFound", "AgentNotFound"})


def facts_of(error: ToolBridgeError) -> dict[str, Any]:
    """Returns an error for programs: ``type``, ``message``, ``details``, and whether it is ``retryable``."""
    return {**error_facts(error), "retryable": error.retryable}


def protocol_error(error: ToolBridgeError) -> MCPError:
    """Returns the error that a request is answered with, with the facts of ``error`` in its data."""
    code = INVALID_PARAMS if error.error_type in _OF_THE_REQUEST else INTERNAL_ERROR
    return MCPError(code=code, message=error.message, data=facts_of(error))
