"""Tools that are described by JSON Schemas and run elsewhere, such as those of another server."""

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from grpc_tool_bridge.errors import SerializationError, ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType
from grpc_tool_bridge.tools.argument_kinds import ALIAS_RULE, CONVERTED_RULE, KEYWORD_ONLY, KIND_RULES
from grpc_tool_bridge.tools.checks import Check
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.options import MAX_TOOL_NAME_CHARS, TOOL_NAME
from grpc_tool_bridge.tools.signatures import Signature
from grpc_tool_bridge.tools.spec_arguments import read_arguments
from grpc_tool_bridge.tools.tool import Tool, tool_of_spec
from grpc_tool_bridge.values.serialization import serialize_value

# No argument has this name: it cannot be printed.
_CONTEXT = "\x00context"

_PYTHON_TYPES: Mapping[str, str] = {
    "integer": "int", "number": "float", "string": "str", "boolean": "bool", "array": "list", "object": "dict",
}  # fmt: skip
# With one of these keys, values of other Python types may be meant.
_SAYS_MORE = frozenset({"$ref", "allOf", "anyOf", "oneOf", "not", "if", "format", "contentEncoding", "nullable"})

# Takes the arguments by name, and the context of the call.
Run = Callable[[dict[str, Any], ToolContext], Awaitable[Any]]
Stream = Callable[[dict[str, Any], ToolContext], AsyncGenerator[Any, None]]


def external_tool(
    name: str,
    description: str,
    run: Run | None = None,
    *,
    input_schema: Mapping[str, Any],
    output_schema: Mapping[str, Any] | None = None,
    idempotent: bool = False,
    metadata: Mapping[str, str] | None = None,
    stream: Stream | None = None,
    aliases: Mapping[str, str] | None = None,
    converts: bool = False,
) -> Tool:
    """Makes a tool of schemas and a function.

    Its arguments are given by name, and are checked as far as the hub checks those of a worker: unknown and missing
    ones, texts, numbers and truth values with their bounds, and choices. What runs the tool checks the rest.

    Args:
        name: The tool's name.
        description: What the tool is for.
        run: Called with the arguments of a call by name, and its context. None: ``stream`` is given.
        input_schema: JSON Schema of the arguments, an object.
        output_schema: JSON Schema of the result or, of a stream, of each value; None: any.
        idempotent: Whether calling twice with the same arguments has the same effect as calling once.
        metadata: Texts by name, for clients that list the tools.
        stream: Called instead of ``run``: an async generator function, whose values are sent one by one.
        aliases: Further names by which arguments may be given, and their names in the schema.
        converts: Whether the function takes more values than the schema says, such as a text of digits for an
            integer. Then only names are checked here.

    Raises:
        ValidationError: The name or a schema is not valid, or there are too many arguments.
    """
    chosen = _checked(name, run, stream)
    spec = ToolSpec(
        tool_id=name,
        name=name,
        description=description,
        type=ToolType.STANDARD if stream is None else ToolType.STREAMING,
        input_schema=_schema_text(name, "input schema", {"type": "object", **input_schema}),
        output_schema="" if output_schema is None else _schema_text(name, "output schema", output_schema),
        idempotent=idempotent,
        metadata=metadata or {},
    )
    # Before they are listed: their number and their names are bounded there.
    read_arguments(spec)
    spec.arguments.extend(_arguments_of(input_schema))
    _add_rules(spec, aliases or {}, converts=converts)
    arguments = read_arguments(spec)
    found, checks = (Signature(()), {}) if arguments is None else (arguments.signature, arguments.checks)

    function = _by_name(chosen)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = description
    yields = stream is not None
    signature = replace(found, context=_CONTEXT, is_async=True, is_generator=yields, is_stream=yields)
    return tool_of_spec(function, spec, signature, dict[str, Check](checks))


def _checked(name: str, run: Run | None, stream: Stream | None) -> Run | Stream:
    """Returns the one function that is given, of a tool with a valid name."""
    if not TOOL_NAME.fullmatch(name):
        raise ValidationError(
            f"a tool's name is 1 to {MAX_TOOL_NAME_CHARS} letters, digits, '_', '-' or '.'; this one is "
            f"{clipped_repr(name, 130)}"
        )
    chosen = run or stream
    if chosen is None or (run is not None and stream is not None):
        raise ValidationError(f"tool {name!r}: give either run or stream")
    return chosen


def _by_name(run: Run | Stream) -> Any:
    """Returns a function that takes all arguments by name, and returns what ``run`` does."""

    def function(**given: Any) -> Any:
        context = given.pop(_CONTEXT)
        return run(given, context)

    return function


def _arguments_of(schema: Mapping[str, Any]) -> list[ArgumentSpec]:
    """Lists the properties of a schema, required ones first."""
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    names = sorted(properties, key=lambda name: name not in required)
    return [_argument(name, properties[name], required=name in required) for name in names]


def _add_rules(spec: ToolSpec, aliases: Mapping[str, str], *, converts: bool) -> None:
    """Adds to each argument its further names, and whether it takes other values than its type says."""
    for item in spec.arguments:
        item.validation.custom_rules.extend([CONVERTED_RULE] if converts else [])
        names = [alias for alias, argument in aliases.items() if argument == item.name]
        item.validation.custom_rules.extend(ALIAS_RULE + alias for alias in names)


def _argument(name: str, facts: Any, *, required: bool) -> ArgumentSpec:
    item = ArgumentSpec(name=name, required=required)
    item.validation.custom_rules.append(KIND_RULES[KEYWORD_ONLY])
    if not isinstance(facts, Mapping):
        return item
    if isinstance(text := facts.get("description"), str):
        item.description = text
    plain, or_none = _without_null(facts)
    kind = plain.get("type")
    python_type = _PYTHON_TYPES.get(kind, "") if isinstance(kind, str) and not _SAYS_MORE & plain.keys() else ""
    choices = plain.get("enum")
    if isinstance(choices, list) and python_type == "str" and all(isinstance(item, str) for item in choices):
        item.allowed_values.extend(choices)
    elif "enum" in plain or "const" in plain:
        python_type = ""
    or_none = or_none or facts.get("default", ...) is None
    item.python_type = f"{python_type} | None" if python_type and or_none else python_type
    if not required and "default" in facts:
        with contextlib.suppress(SerializationError):
            item.default_value.CopyFrom(serialize_value(facts["default"], strict=True))
    return item


def _without_null(facts: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Removes null from a choice between it and another schema; returns that, and whether there was a null."""
    choices = facts.get("anyOf")
    if not isinstance(choices, list):
        return facts, False
    rest = [choice for choice in choices if choice != {"type": "null"}]
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        return rest[0], len(rest) < len(choices)
    return {}, False


def _schema_text(name: str, what: str, schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"tool {name!r}: its {what} is not JSON: {str(error)[:200]}") from None
