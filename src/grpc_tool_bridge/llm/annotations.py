"""Annotations of tools: what a tool says of its effects, in MCP's words.

MCP has them, and frameworks decide by them whether a call needs approval.
"""

import json
from typing import Any, Literal

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.mcp_names import ANNOTATIONS_KEY, TITLE_KEY
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# The annotations that say what a tool does to the world. ``mcp.`` and one of them is a key of a tool's metadata, too.
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")

# Which calls a person has to approve: all, none, or those of tools that say that they destroy something.
Approval = bool | Literal["destructive"]

_FLAGS = {"true": True, "false": False}


def annotations_of(spec: ToolSpec) -> dict[str, Any]:
    """Returns what a tool says of its effects: its metadata, and whether it is idempotent.

    Returns:
        Those of ``HINTS`` that it has, each a bool, and ``title`` if it has one there; empty if it says nothing.
    """
    found: dict[str, Any] = {}
    try:
        given = json.loads(spec.metadata.get(ANNOTATIONS_KEY, "{}"))
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict):
        found.update({name: given[name] for name in HINTS if isinstance(given.get(name), bool)})
        if isinstance(given.get("title"), str):
            found["title"] = given["title"]
    if spec.idempotent:
        found["idempotentHint"] = True
    for name in HINTS:
        if (flag := _FLAGS.get(spec.metadata.get(f"mcp.{name}", ""))) is not None:
            found[name] = flag
    return found


def titled_annotations(spec: ToolSpec) -> dict[str, Any]:
    """Returns a tool's annotations, with its title as ``title`` if it has one anywhere."""
    found = annotations_of(spec)
    if title := found.get("title") or spec.metadata.get(TITLE_KEY):
        found["title"] = title
    return found


def needs_approval(spec: ToolSpec, approval: Approval) -> bool:
    """Returns whether a person has to approve a tool's calls.

    Raises:
        ValidationError: ``approval`` is none of the three.
    """
    if approval == "destructive":
        return annotations_of(spec).get("destructiveHint") is True
    if not isinstance(approval, bool):
        raise ValidationError(f"approval is {approval!r:.60}; it must be True, False or 'destructive'")
    return approval
