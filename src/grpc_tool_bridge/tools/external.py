"""Tools that are described by JSON Schemas and run elsewhere, such as those of another server."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tools.checks import Check
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.options import MAX_TOOL_NAME_CHARS, TOOL_NAME
from grpc_tool_bridge.tools.signatures import Signature
from grpc_tool_bridge.tools.spec_arguments import read_arguments
from grpc_tool_bridge.tools.tool import Tool, tool_of_spec

# No argument has this name: it cannot be printed.
_CONTEXT = "\x00context"

# Takes the arguments by name, and the context of the call.
Run = Callable[[dict[str, Any], ToolContext], Awaitable[Any]]


def external_tool(
    name: str,
    description: str,
    run: Run,
    *,
    input_schema: Mapping[str, Any],
    output_schema: Mapping[str, Any] | None = None,
    idempotent: bool = False,
    metadata: Mapping[str, str] | None = None,
    version: str = "",
) -> Tool:
    """Makes a tool of schemas and a function.

    Its arguments are given by name, and are checked as far as the hub checks those of a worker: unknown and missing
    ones, texts, numbers and truth values with their bounds, and choices. What runs the tool checks the rest.

    Args:
        name: The tool's name.
        description: What the tool is for.
        run: Called with the arguments of a call by name, and its context.
        input_schema: JSON Schema of the arguments, an object.
        output_schema: JSON Schema of the result; None: any.
        idempotent: Whether calling twice with the same arguments has the same effect as calling once.
        metadata: Texts by name, for clients that list the tools.
        version: Any text.

    Raises:
        ValidationError: The name or a schema is not valid, or there are too many arguments.
    """
    if not TOOL_NAME.fullmatch(name):
        raise ValidationError(
            f"a tool's name is 1 to {MAX_TOOL_NAME_CHARS} letters, digits, '_', '-' or '.'; this one is "
            f"{clipped_repr(name, 130)}"
        )
    spec = ToolSpec(
        tool_id=name,
        name=name,
        description=description,
        type=ToolType.STANDARD,
        version=version,
        input_schema=_schema_text(name, "input schema", {"type": "object", **input_schema}),
        output_schema="" if output_schema is None else _schema_text(name, "output schema", output_schema),
        idempotent=idempotent,
        metadata=metadata or {},
    )
    arguments = read_arguments(spec)
    found, checks = (Signature(()), {}) if arguments is None else (arguments.signature, arguments.checks)

    async def function(**given: Any) -> Any:
        context = given.pop(_CONTEXT)
        return await run(given, context)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = description
    return tool_of_spec(function, spec, replace(found, context=_CONTEXT, is_async=True), dict[str, Check](checks))


def _schema_text(name: str, what: str, schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"tool {name!r}: its {what} is not JSON: {str(error)[:200]}") from None
