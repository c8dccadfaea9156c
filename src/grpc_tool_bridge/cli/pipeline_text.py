"""A pipeline's steps as text."""

import json
from typing import Any

from grpc_tool_bridge.pipelines import PIPELINE_KEY
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tooling.steps import Each, Parallel, Part, read_declaration
from grpc_tool_bridge.tooling.templates import is_reference


def steps_text(spec: ToolSpec) -> list[str]:
    """Writes the steps of a composite tool, such as ``fetch(url=$url) as page``.

    Args:
        spec: Any tool's.

    Returns:
        A line for each step; none where the tool is not composite, or its steps are known to nobody but its worker.
    """
    if spec.type != ToolType.COMPOSITE or PIPELINE_KEY not in spec.metadata:
        return []
    try:
        declaration = read_declaration(spec.metadata[PIPELINE_KEY])
    except ValueError:
        # Of a hub that is newer than this program.
        return []
    return [_part(part) for part in declaration.steps]


def _part(part: Part) -> str:
    match part:
        case Parallel():
            return f"at once: {'; '.join(_part(inner) for inner in part.steps)}"
        case Each():
            text = f"for each item of {_template(part.over)}: {_part(part.step)}"
        case _:
            given = [_template(item) for item in part.args]
            given += [f"{name}={_template(item)}" for name, item in part.kwargs.items()]
            text = f"{part.tool}({', '.join(given)})"
    return f"{text} as {part.as_}" if part.as_ else text


def _template(template: Any) -> str:
    return str(template) if is_reference(template) else json.dumps(template, ensure_ascii=False)
