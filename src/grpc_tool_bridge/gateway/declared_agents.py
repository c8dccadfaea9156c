"""Agents that every client of MCP sees as tools, as the one who serves has declared them."""

import re
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.agents.signature_fields import read_fields
from grpc_tool_bridge.config.argument_checks import check_type
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

# What the protocol allows as the name of a tool.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_declared(declared: Mapping[Any, Any] | None) -> dict[str, str]:
    """Checks agents that are declared: signatures by name; None: there are none.

    Raises:
        ValidationError: A name or a signature cannot be used; the text says which.
    """
    if declared is None:
        return {}
    check_type("mcp_agents", declared, Mapping, "a dict of signatures by name, such as {'ask': 'question -> answer'}")
    for name, signature in declared.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValidationError(
                f"the agent {clipped_repr(name, 60)}: a name has 1 to 128 letters, digits, '_', '-' and '.' alone"
            )
        if not isinstance(signature, str):
            raise ValidationError(f"the agent {name}: a signature is a text such as 'question -> answer'")
        try:
            read_fields(signature)
        except ValidationError as error:
            raise ValidationError(f"the agent {name}: {error.message}", details=error.details) from None
    return dict(declared)
