"""Builds the ToolSpec of a signature: what peers in every language see of a tool."""

import re
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType, ValidationRules
from grpc_tool_bridge.tools.argument_kinds import CONVERTED_RULE, KIND_RULES
from grpc_tool_bridge.tools.checks import Check
from grpc_tool_bridge.tools.rewriting import Schema
from grpc_tool_bridge.tools.schemas import input_schema, output_schema
from grpc_tool_bridge.tools.signatures import EMPTY, Parameter, Signature
from grpc_tool_bridge.tools.typespecs import allowed_values, elixir_type, python_type
from grpc_tool_bridge.values.serialization import serialize_value


def describe_tool(
    name: str, type_: ToolType.ValueType, signature: Signature, checks: Mapping[str, Check], result: Check | None
) -> ToolSpec:
    """Builds the part of a ToolSpec that follows from the signature.

    Takes a check for each parameter, by name, and one for the result if it has an annotation. The spec has no limits,
    examples, metadata and version, and its id is the name.
    """
    result_type = Any if result is None else signature.result
    spec = ToolSpec(
        tool_id=name,
        name=name,
        description=signature.description,
        type=type_,
        arguments=[_argument(item, checks[item.name]) for item in signature.parameters],
        return_type=ArgumentSpec(
            name="return",
            python_type=python_type(result_type),
            elixir_type=elixir_type(result_type),
            description=signature.result_description,
            allowed_values=allowed_values(result_type),
        ),
        input_schema=input_schema(signature, checks),
    )
    if result is not None:
        spec.output_schema = output_schema(result, signature.result_description)
    return spec


def _argument(parameter: Parameter, check: Check) -> ArgumentSpec:
    spec = ArgumentSpec(
        name=parameter.name,
        python_type=python_type(parameter.annotation),
        elixir_type=elixir_type(parameter.annotation),
        required=parameter.required,
        description=parameter.description,
        allowed_values=allowed_values(parameter.annotation),
    )
    rules = validation_rules(check.schema)
    if parameter.kind in KIND_RULES:
        rules.custom_rules.insert(0, KIND_RULES[parameter.kind])
    is_skipped = check.schema["type"] == "any" and spec.python_type not in ("Any", "object")
    if is_skipped or _is_converted(check.schema):
        rules.custom_rules.append(CONVERTED_RULE)
    if rules != ValidationRules():
        spec.validation.CopyFrom(rules)
    if parameter.default is not EMPTY:
        try:
            spec.default_value.CopyFrom(serialize_value(parameter.default, strict=True))
        except SerializationError:
            spec.ClearField("default_value")
    return spec


def _is_converted(schema: Schema) -> bool:
    """Whether values may be converted first, so that more of them pass than the type and the rules say."""
    if (
        schema["type"] in ("function-before", "function-wrap", "function-plain", "json")
        or schema.get("strict") is False
    ):
        return True
    if any(schema.get(key) for key in ("strip_whitespace", "to_lower", "to_upper", "coerce_numbers_to_str")):
        return True
    return "schema" in schema and _is_converted(schema["schema"])


def validation_rules(schema: Schema) -> ValidationRules:
    """Reads the bounds of a core schema: those of numbers and lengths, a pattern, and others in words."""
    while schema["type"] in ("nullable", "default", "definitions") or schema["type"].startswith("function-"):
        if "schema" not in schema:
            return ValidationRules()
        schema = schema["schema"]
    rules = ValidationRules()
    if "pattern" in schema:
        rules.pattern = _whole_pattern(schema["pattern"])
    for key in ("min_length", "max_length"):
        if key in schema:
            setattr(rules, key, schema[key])
    _set_bounds(rules, schema)
    if "multiple_of" in schema:
        rules.custom_rules.append(f"multiple of {schema['multiple_of']}")
    for key in ("max_digits", "decimal_places"):
        if key in schema:
            rules.custom_rules.append(f"{key} {schema[key]}")
    return rules


def _set_bounds(rules: ValidationRules, schema: Schema) -> None:
    step = 1 if schema["type"] == "int" else 0
    for key, name, offset in (
        ("ge", "min_value", 0),
        ("gt", "min_value", step),
        ("le", "max_value", 0),
        ("lt", "max_value", -step),
    ):
        if key not in schema:
            continue
        try:
            setattr(rules, name, float(schema[key]) + offset)
        except TypeError:
            rules.custom_rules.append(f"{key} {schema[key]}")
            continue
        if key in ("gt", "lt") and not step:
            rules.custom_rules.append(f"{key} {schema[key]}")


def _whole_pattern(pattern: str | re.Pattern[str]) -> str:
    """Converts a pattern of pydantic's, which searches, to the wire's, which matches the whole text."""
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if text.startswith("^") and text.endswith("$"):
        return text
    return rf"[\s\S]*(?:{text})[\s\S]*"
