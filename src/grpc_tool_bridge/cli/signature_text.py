"""A tool's signature as text."""

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType
from grpc_tool_bridge.wire.values import deserialize_value

_STARS = {"var-positional": "*", "var-keyword": "**"}


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
    """Writes a parameter's default; empty where it has none, or one that travels in no form."""
    if not argument.HasField("default_value"):
        return ""
    try:
        return repr(deserialize_value(argument.default_value))
    except ValueError:
        # As a SerializationError is, and Python's refusal to write an integer of very many digits.
        return "…"


def _argument(argument: ArgumentSpec) -> str:
    stars = next((_STARS[rule] for rule in argument.validation.custom_rules if rule in _STARS), "")
    text = f"{stars}{argument.name}" + (f": {argument.python_type}" if argument.python_type else "")
    if stars or argument.required:
        return text
    return f"{text} = {default_text(argument) or '…'}"
