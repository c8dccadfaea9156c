"""Reads what a tool's spec says about its arguments, as far as it does not depend on types of the tool's language.

If the spec lists arguments, they are read as Python's: a bool is not an int, an int may be a float, and 3.0 is an int.
If it has only an input schema, that is JSON Schema of a peer in another language, and other readings of its types pass
too: bytes for a string. Only texts, bytes, numbers, truth values and None are told apart. Any other type is left to
the worker, and so are patterns: a peer's pattern could keep the hub busy indefinitely.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import msgspec

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ValidationRules
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.tools.argument_kinds import (
    ALIAS_RULE,
    KEYWORD_ONLY,
    KINDS_BY_RULE,
    VAR_KEYWORD,
    VAR_POSITIONAL,
    kind_of,
)
from grpc_tool_bridge.tools.checks import EVERYTHING, Check, Validator
from grpc_tool_bridge.tools.rewriting import Schema
from grpc_tool_bridge.tools.signatures import EMPTY, Parameter, Signature

# Far more than any usable tool has.
MAX_ARGUMENTS = 256
MAX_NAME_CHARS = 128
MAX_SCHEMA_BYTES = 262_144
# If an argument has more of them, its values are left to the worker.
MAX_CHOICES = 1_000

# Up to here a double holds every integer, so a bound that travels as one is exact.
_MAX_EXACT = 2**53
# Custom rules as ``describe_tool`` writes them: how an argument is given, and what narrows its values. Any other rule
# could mean that the tool takes more than its type says.
_NARROWING = ("multiple of ", "ge ", "gt ", "le ", "lt ")
_OR_NONE = " | None"

# By the name of a core schema, which is also the type's name in Python: the types that pass if no rule narrows them.
_TYPES: Mapping[str, frozenset[type]] = {
    "int": frozenset({int}),
    "float": frozenset({float, int}),
    "str": frozenset({str}),
    "bool": frozenset({bool}),
    "bytes": frozenset({bytes}),
}
# By the name of a type in JSON Schema: the core schema, and which further types may be meant.
_JSON_TYPES: Mapping[str, tuple[str, frozenset[type]]] = {
    "integer": ("int", frozenset({float})),
    "number": ("float", frozenset()),
    "string": ("str", frozenset({bytes})),
    "boolean": ("bool", frozenset()),
}
# Other types of a number or a text, if only its value matters.
_MEANT_ALIKE = frozenset({float, bytes})
_LITERALS = (str, int, bool, NoneType)
_INTEGER = re.compile(r"-?\d{1,15}", re.ASCII)
# With keys other than these, a JSON Schema says more than its type.
_COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "not", "if", "format", "contentEncoding", "nullable"})
_NULL = {"type": "null"}
_NUMBER_RULES = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
_LENGTH_RULES = {"minLength": "min_length", "maxLength": "max_length"}
# The rules of each core schema, by their names in JSON Schema.
_RULES: Mapping[str, Mapping[str, str]] = {
    "int": _NUMBER_RULES, "float": _NUMBER_RULES, "str": _LENGTH_RULES, "bytes": _LENGTH_RULES,
}  # fmt: skip
_MAX_LENGTH = 2**31
# Stands for the arguments that are not listed.
_OTHERS = "**"


class Unread(list[Any]):
    """Stands for an argument that is not read here. It is a list, since a starred parameter given by name takes one."""


class _LateValidator(Validator):
    """Is compiled on first use: most arguments have the right type, and most optional ones are never given."""

    __slots__ = ("_late_schema",)

    def __init__(self, schema: Schema) -> None:
        self._late_schema: Schema | None = schema

    def validate_python(self, value: Any) -> Any:
        schema, self._late_schema = self._late_schema, None
        if schema is not None:
            super().__init__(schema)
        return super().validate_python(value)


UNREAD = Unread()
_ANYTHING = Check({"type": "any"}, EVERYTHING, Validator({"type": "any"}))


@dataclass(frozen=True, slots=True)
class SpecArguments:
    """The arguments of a tool.

    Attributes:
        signature: The parameters; nothing else about a function is set.
        checks: What is known about the values of each, by name. ``UNREAD`` passes any value.
        ordered: Whether the order is that of the tool. The properties of a JSON Schema have none.
    """

    signature: Signature
    checks: Mapping[str, Check]
    ordered: bool


class _InputSchema(msgspec.Struct, rename="camel"):
    """The part of a JSON Schema that lists the arguments."""

    properties: dict[str, Any] = {}
    required: list[str] = []
    additional_properties: Any = True
    pattern_properties: dict[str, Any] = {}

    @property
    def is_open(self) -> bool:
        """Whether there may be arguments that it does not list."""
        return self.additional_properties is not False or bool(self.pattern_properties)


def read_arguments(spec: ToolSpec) -> SpecArguments | None:
    """Reads the arguments of a spec; None if it does not describe them.

    Raises:
        ValidationError: There are too many of them, a name is not valid, or the input schema is not a JSON Schema.
    """
    names, schema = _read_names(spec)
    if spec.arguments:
        return _of_arguments(spec.arguments, schema)
    return None if schema is None else _of_schema(names, schema)


def check_arguments(spec: ToolSpec) -> None:
    """Checks the arguments of a spec without compiling them; raises as ``read_arguments``."""
    _read_names(spec)


def _read_names(spec: ToolSpec) -> tuple[list[str], _InputSchema | None]:
    # Before the list is gone through.
    if len(spec.arguments) > MAX_ARGUMENTS:
        raise _too_many(spec.name, len(spec.arguments))
    schema = _read_schema(spec)
    names = [item.name for item in spec.arguments]
    if not names and schema is not None:
        names = list(dict.fromkeys([*schema.properties, *schema.required]))
    _check_names(spec.name, names)
    return names, schema


def _read_schema(spec: ToolSpec) -> _InputSchema | None:
    text = spec.input_schema.encode()
    if not text:
        return None
    if len(text) > MAX_SCHEMA_BYTES:
        raise ValidationError(
            f"tool {spec.name!r}: its input_schema has {len(text):,} bytes, the limit is {MAX_SCHEMA_BYTES:,}"
        )
    try:
        return msgspec.json.decode(text, type=_InputSchema)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValidationError(
            f"tool {spec.name!r}: its input_schema is not a JSON Schema of an object: {str(error)[:200]}"
        ) from None


def _check_names(tool_name: str, names: Sequence[str]) -> None:
    if len(names) > MAX_ARGUMENTS:
        raise _too_many(tool_name, len(names))
    for name in names:
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise ValidationError(
                f"tool {tool_name!r}: an argument's name must have 1 to {MAX_NAME_CHARS} characters; "
                f"this one has {len(name):,}: {shown(name)}"
            )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValidationError(f"tool {tool_name!r}: two of its arguments are named {shown(name)}")
        seen.add(name)


def _too_many(tool_name: str, count: int) -> ValidationError:
    return ValidationError(f"tool {tool_name!r}: it has {count:,} arguments, the limit is {MAX_ARGUMENTS}")


# ---------------------------------------------------------------------------------------------- listed arguments


def _of_arguments(items: Collection[ArgumentSpec], schema: _InputSchema | None) -> SpecArguments:
    parameters = [_parameter(item) for item in items]
    checks = {
        item.name: _argument_check(item, _facts_of(parameter, schema))
        for item, parameter in zip(items, parameters, strict=True)
    }
    if schema is not None and schema.is_open and all(item.kind is not VAR_KEYWORD for item in parameters):
        _add_others(parameters, checks, _ANYTHING)
    return SpecArguments(Signature(tuple(parameters), aliases=_aliases(items)), checks, ordered=True)


def _aliases(items: Collection[ArgumentSpec]) -> dict[str, str]:
    """Maps other names of arguments to theirs; one that is the name of an argument, or of two, means no other."""
    found: dict[str, str] = {}
    taken = {item.name for item in items}
    for item in items:
        for rule in item.validation.custom_rules:
            name = rule.removeprefix(ALIAS_RULE)
            if name != rule and name not in taken and 0 < len(name) <= MAX_NAME_CHARS:
                taken.add(name)
                found[name] = item.name
    return found


def _parameter(item: ArgumentSpec) -> Parameter:
    return Parameter(item.name, kind_of(item), Any, EMPTY if item.required else None)


def _facts_of(parameter: Parameter, schema: _InputSchema | None) -> Any:
    """Finds what the input schema says about one value of an argument; None if nothing."""
    if schema is None:
        return None
    if parameter.kind is VAR_KEYWORD:
        return schema.additional_properties
    facts = schema.properties.get(parameter.name)
    return facts.get("items") if parameter.kind is VAR_POSITIONAL and isinstance(facts, dict) else facts


def _argument_check(item: ArgumentSpec, facts: Any) -> Check:
    """Makes a check of the Python type, with the rules of the input schema: those of the spec are rounded."""
    known = (*_NARROWING, ALIAS_RULE)
    if any(rule not in KINDS_BY_RULE and not rule.startswith(known) for rule in item.validation.custom_rules):
        return _ANYTHING
    if not item.python_type:
        return _property_check(facts)
    kind = item.python_type.removesuffix(_OR_NONE)
    or_none = kind != item.python_type
    if len(item.allowed_values) > MAX_CHOICES:
        return _ANYTHING
    if item.allowed_values:
        expected = _expected(kind, list(item.allowed_values))
        return _make_check({"type": "literal", "expected": expected}, or_none=or_none) if expected else _ANYTHING
    if kind not in _TYPES:
        return _ANYTHING
    plain, _ = _without_null(facts)
    rules = _rules_of_schema(kind, plain) if plain else _rules_of_spec(kind, item.validation)
    return _make_check({"type": kind, **rules}, _TYPES[kind], or_none=or_none)


def _expected(kind: str, values: list[str]) -> list[Any]:
    """Reads allowed values, which are written as text; returns none if the text does not tell their type.

    A Literal of texts or of integers can be read, and so can the choices of a peer's str. The names of an Enum do not
    say which values its class accepts.
    """
    if kind in ("str", f"Literal[{', '.join(map(repr, values))}]"):
        return values
    if kind in ("int", f"Literal[{', '.join(values)}]") and all(map(_INTEGER.fullmatch, values)):
        return [int(value) for value in values]
    return []


def _rules_of_spec(kind: str, rules: ValidationRules) -> Schema:
    given = {
        "minimum": rules.min_value if rules.HasField("min_value") else None,
        "maximum": rules.max_value if rules.HasField("max_value") else None,
        "minLength": rules.min_length if rules.HasField("min_length") else None,
        "maxLength": rules.max_length if rules.HasField("max_length") else None,
    }
    return _rules_of_schema(kind, given)


# --------------------------------------------------------------------------------------------------- JSON Schema


def _of_schema(names: Iterable[str], schema: _InputSchema) -> SpecArguments:
    required = set(schema.required)
    parameters = [Parameter(name, KEYWORD_ONLY, Any, EMPTY if name in required else None) for name in names]
    checks = {name: _property_check(schema.properties.get(name)) for name in names}
    if schema.is_open:
        others = None if schema.pattern_properties else schema.additional_properties
        _add_others(parameters, checks, _property_check(others))
    # If there are none, none can go by position.
    return SpecArguments(Signature(tuple(parameters)), checks, ordered=not parameters)


def _add_others(parameters: list[Parameter], checks: dict[str, Check], check: Check) -> None:
    parameters.append(Parameter(_OTHERS, VAR_KEYWORD, Any))
    checks[_OTHERS] = check


def _property_check(facts: Any) -> Check:
    plain, or_none = _without_null(facts)
    if plain is None:
        return _ANYTHING
    # An argument with a null default accepts null, whatever its type.
    or_none = or_none or plain.get("default", ...) is None
    if "enum" in plain or "const" in plain:
        expected = plain.get("enum", [plain.get("const")])
        if not isinstance(expected, list) or not 0 < len(expected) <= MAX_CHOICES:
            return _ANYTHING
        if not all(type(item) in _LITERALS for item in expected):
            return _ANYTHING
        return _make_check({"type": "literal", "expected": expected}, _MEANT_ALIKE, or_none=or_none)
    kind = plain.get("type")
    if isinstance(kind, list):
        rest = [item for item in kind if item != "null"]
        or_none = or_none or len(rest) < len(kind)
        kind = rest[0] if len(rest) == 1 else None
    if not isinstance(kind, str) or kind not in _JSON_TYPES:
        return _ANYTHING
    name, alike = _JSON_TYPES[kind]
    return _make_check({"type": name, **_rules_of_schema(name, plain)}, _TYPES[name], alike, or_none=or_none)


def _without_null(facts: Any) -> tuple[dict[str, Any] | None, bool]:
    """Removes null from a choice between it and another schema.

    Returns:
        The other schema (None if it is more than a type and its rules), and whether there was a null.
    """
    or_none = False
    if isinstance(facts, dict) and isinstance(choices := facts.get("anyOf"), list):
        rest = [choice for choice in choices if choice != _NULL]
        or_none = len(rest) < len(choices)
        facts = rest[0] if len(rest) == 1 and not _COMBINING & (facts.keys() - {"anyOf"}) else None
    if not isinstance(facts, dict) or _COMBINING & facts.keys():
        return None, False
    return facts, or_none


def _rules_of_schema(kind: str, facts: Mapping[str, Any]) -> Schema:
    found = {rule: facts.get(name) for name, rule in _RULES.get(kind, {}).items()}
    bounds = {rule: _bound(kind, value) for rule, value in found.items()}
    return {rule: bound for rule, bound in bounds.items() if bound is not None}


def _bound(kind: str, value: Any) -> int | float | None:
    """Reads a bound; None if it cannot be represented exactly."""
    if type(value) not in (int, float) or not abs(value) < _MAX_EXACT:
        return None
    if kind == "float":
        return float(value)
    if value != int(value) or (_RULES[kind] is _LENGTH_RULES and not 0 <= value < _MAX_LENGTH):
        return None
    return int(value)


# ------------------------------------------------------------------------------------------------------- checks


def _make_check(
    schema: Schema, plain: frozenset[type] = frozenset(), alike: frozenset[type] = frozenset(), *, or_none: bool
) -> Check:
    """Makes a check of a core schema.

    Args:
        schema: The core schema.
        plain: Types that pass if the schema has no rules.
        alike: Types that pass in any case.
        or_none: Whether None passes.
    """
    accepts = {Unread, *alike, *(() if schema.keys() - {"type"} else plain)}
    if or_none:
        schema = {"type": "nullable", "schema": schema}
        accepts.add(NoneType)
    return Check(schema, frozenset(accepts), _LateValidator(schema))
