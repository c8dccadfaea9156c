"""A tool's signature, as Python shows it."""

import inspect
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType
from grpc_tool_bridge.tools.argument_kinds import kind_of
from grpc_tool_bridge.values.serialization import deserialize_value

# Maximum length of a signature in an error text.
MAX_SIGNATURE_CHARS = 300


class _TypeName(str):
    """The name of a type, which a signature shows without quotes, like the type itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature_of(spec: ToolSpec) -> inspect.Signature:
    """Returns the signature of a tool; raises ValueError if Python does not allow it.

    A tool that yields returns an ``AsyncIterator`` of its values.
    """
    parameters = [_parameter(argument) for argument in spec.arguments]
    # Python requires arguments without a default first; keyword-only ones may have any order.
    defaults = False
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            defaults = defaults or parameter.default is not inspect.Parameter.empty
            if defaults and parameter.default is inspect.Parameter.empty:
                parameters[index] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    parameters.sort(key=lambda parameter: parameter.kind)
    return inspect.Signature(parameters, return_annotation=_result(spec))


def _result(spec: ToolSpec) -> Any:
    type_name = spec.return_type.python_type
    if spec.type == ToolType.STREAMING:
        return _TypeName(f"AsyncIterator[{type_name or 'Any'}]")
    return _TypeName(type_name) or inspect.Signature.empty


def shown(spec: ToolSpec) -> str:
    """Returns a tool's name and arguments, for error texts."""
    try:
        signature = str(signature_of(spec).replace(return_annotation=inspect.Signature.empty))
    except ValueError:
        signature = "(…)"
    text = f"{spec.name}{signature}"
    return text if len(text) <= MAX_SIGNATURE_CHARS else f"{text[:MAX_SIGNATURE_CHARS]}…"


def _parameter(argument: ArgumentSpec) -> inspect.Parameter:
    if not argument.name:
        # Python's own error is an IndexError.
        raise ValueError("an argument of the tool has no name")
    kind = kind_of(argument)
    default: Any = inspect.Parameter.empty
    if kind not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} and not argument.required:
        default = deserialize_value(argument.default_value) if argument.HasField("default_value") else None
    annotation = _TypeName(argument.python_type) or inspect.Parameter.empty
    return inspect.Parameter(argument.name, kind, default=default, annotation=annotation)
