"""The declaration of a tool as text: its signature, and the steps of a pipeline."""

import json
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType
from grpc_tool_bridge.tools.argument_kinds import stars_of
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY
from grpc_tool_bridge.tools.steps import Each, Parallel, Part, read_declaration
from grpc_tool_bridge.tools.templates import is_reference
from grpc_tool_bridge.values.serialization import deserialize_value


def signature_text(spec: ToolSpec) -> str:
    """Writes a tool's signature as Python does, such as ``add(a: int, b: int = 1) -> int``."""
    result = spec.return_type.python_type
    if spec.type == ToolType.STREAMING:
        result = f"stream of {result}" if result else "stream"
    return f"{spec.name}({arguments_text(spec)})" + (f" -> {result}" if result else "")


def arguments_text(spec: ToolSpec) -> str:
    """Writes a tool's parameters."""
    return ", ".join(_argument(argument) for argument in spec.arguments)


def default_text(argument: ArgumentSpec) -> str:
    """Writes a parameter's default; empty if it has none, or one that cannot be sent."""
    if not argument.HasField("default_value"):
        return ""
    try:
        return repr(deserialize_value(argument.default_value))
    except ValueError:
        # Covers SerializationError, and Python's refusal to write an integer of very many digits.
        return "…"


def _argument(argument: ArgumentSpec) -> str:
    stars = stars_of(argument)
    text = f"{stars}{argument.name}" + (f": {argument.python_type}" if argument.python_type else "")
    if stars or argument.required:
        return text
    return f"{text} = {default_text(argument) or '…'}"


def steps_text(spec: ToolSpec) -> list[str]:
    """Writes the steps of a composite tool, a line for each, such as ``fetch(url=$url) as page``.

    There are none if the tool is not composite, or only its worker knows its steps.
    """
    if spec.type != ToolType.COMPOSITE or PIPELINE_KEY not in spec.metadata:
        return []
    try:
        declaration = read_declaration(spec.metadata[PIPELINE_KEY])
    except ValueError:
        # From a hub that is newer than this program.
        return []
    return [_part(part) for part in declaration.steps]


def _part(part: Part) -> str:
    match part:
        case Parallel():
            return f"in parallel: {'; '.join(_part(inner) for inner in part.steps)}"
        case Each():
            text = f"for each item of {_template(part.over)}: {_part(part.step)}"
        case _:
            given = [_template(item) for item in part.args]
            given += [f"{name}={_template(item)}" for name, item in part.kwargs.items()]
            text = f"{part.tool}({', '.join(given)})"
    return f"{text} as {part.as_}" if part.as_ else text


def _template(template: Any) -> str:
    return str(template) if is_reference(template) else json.dumps(template, ensure_ascii=False)
