"""The schemas of a tool's questions: flat objects of plain properties. Checks them, and contents against them.

They are what the Model Context Protocol lets a server ask for: each property is a string, a number, an integer, a
boolean, or a list of some of a few strings. So a question can always be shown as a form, and an answer can be checked
without a library.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.rpc.asks import MAX_SCHEMA_CHARS

# How many problems of a content the text of the error lists.
MAX_TOLD = 8

# Beyond this, an integer that travels as a double may change.
MAX_EXACT = 2**53

_OBJECT_KEYS = frozenset({"type", "properties", "required", "title", "description", "additionalProperties", "$schema"})
_TEXT_KEYS = frozenset({"type", "title", "description", "default", "enum", "enumNames"})
_SIZES = ("minLength", "maxLength")
_COUNTS = ("minItems", "maxItems")
_RANGES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_KEYS: Mapping[str, frozenset[str]] = {
    "string": _TEXT_KEYS | {*_SIZES, "format", "oneOf"},
    "number": _TEXT_KEYS | {*_RANGES},
    "integer": _TEXT_KEYS | {*_RANGES},
    "boolean": _TEXT_KEYS,
    "array": frozenset({"type", "title", "description", "default", "items", *_COUNTS}),
}
_ITEM_KEYS = frozenset({"type", "enum", "anyOf"})
_TITLED_KEYS = frozenset({"const", "title"})
_CALLED = {
    "string": "a string",
    "number": "a finite number",
    "integer": "an integer",
    "boolean": "true or false",
    "array": "a list of strings",
}


def schema_text(schema: Mapping[str, Any]) -> str:
    """Checks the schema of a question, and writes it for the wire.

    Raises:
        ValidationError: It is not valid for a question; the text says why.
    """
    check_schema(schema)
    text = json.dumps(schema, separators=(",", ":"))
    if len(text) > MAX_SCHEMA_CHARS:
        raise ValidationError(f"the schema has {len(text):,} characters as JSON; the limit is {MAX_SCHEMA_CHARS:,}")
    return text


def read_schema(text: str) -> dict[str, Any] | None:
    """Reads the schema of a question as received; None if the question asks for no content.

    Raises:
        ValidationError: It is not valid for a question.
    """
    if not text:
        return None
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"the schema of the question is not valid JSON: {error}") from None
    check_schema(schema)
    return dict(schema)


def check_schema(schema: Any) -> None:
    """Checks that a schema is valid for a question.

    Raises:
        ValidationError: It is not; the text says why.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise ValidationError("the schema must be a JSON Schema of an object: a dict with 'type': 'object', or None")
    _refuse_others(schema, _OBJECT_KEYS, "the schema")
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        raise ValidationError("the schema: 'properties' must be an object")
    if schema.get("additionalProperties", False) is not False:
        raise ValidationError("the schema: 'additionalProperties' must be false or omitted")
    for name, rules in properties.items():
        _check_property(name, rules)
    required = schema.get("required", [])
    names = required if isinstance(required, list | tuple) else (None,)
    if any(not isinstance(name, str) or name not in properties for name in names):
        raise ValidationError("the schema: 'required' must be a list of names in 'properties'")
    _check_texts(schema, ("title", "description", "$schema"), "the schema")


def supported_part(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema of a property without the keys that no question has, such as ``pattern``.

    Every content that fits the schema fits the part, so whoever made the schema checks the rest. The part need not be
    valid: see ``check_schema``.
    """
    kind = rules.get("type")
    known = _KEYS.get(kind) if isinstance(kind, str) else None
    return dict(rules) if known is None else {key: rule for key, rule in rules.items() if key in known}


def fitting_content(content: Mapping[str, Any], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Checks a content against the schema of its question.

    Args:
        content: By name.
        schema: A valid schema; None: no content was asked for.

    Returns:
        The content, with integers as int even if they came as doubles.

    Raises:
        ValidationError: It does not fit; the text and the details name each property that does not.
    """
    properties: Mapping[str, Any] = {} if schema is None else schema.get("properties", {})
    wrong: dict[str, str] = {}
    fitting: dict[str, Any] = {}
    for name, value in content.items():
        if name not in properties:
            wrong[str(name)] = "is not asked for"
            continue
        fitting[name] = _converted(value, properties[name])
        problem = _problem(fitting[name], properties[name])
        if problem:
            wrong[name] = problem
    for name in () if schema is None else schema.get("required", ()):
        if name not in content:
            wrong[name] = "is missing"
    if wrong:
        told = [f"{clipped_repr(name, 60)} {problem}" for name, problem in islice(wrong.items(), MAX_TOLD)]
        text = "; ".join(told) + ("; …" if len(wrong) > MAX_TOLD else "")
        raise ValidationError(f"the answer does not fit what was asked for: {text}", details=wrong)
    return fitting


def choices_of(rules: Mapping[str, Any]) -> dict[Any, str]:
    """Returns the values that a property of a valid schema may have, or that its list may hold, each with its title.

    It is empty if any value may be given; a title is empty if there is none.
    """
    if rules["type"] == "array":
        rules = rules["items"]
    titled = rules.get("oneOf", rules.get("anyOf"))
    if titled is not None:
        return {choice["const"]: choice["title"] for choice in titled}
    values = rules.get("enum", ())
    names = rules.get("enumNames", ())
    return {value: names[place] if place < len(names) else "" for place, value in enumerate(values)}


def read_value(text: str, rules: Mapping[str, Any]) -> Any:
    """Reads the value of a property from typed text; of a list, from its values with commas between them.

    Raises:
        ValidationError: It does not fit; the text says what is wrong.
    """
    kind = rules["type"]
    value: Any = text
    try:
        if kind == "array":
            value = [item.strip() for item in text.split(",")]
        elif kind == "boolean":
            value = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}[text.lower()]
        elif kind != "string":
            value = int(text) if kind == "integer" else float(text)
    except (KeyError, ValueError):
        raise ValidationError(f"{clipped_repr(text, 60)} is not {_CALLED[kind]}") from None
    problem = _problem(value, rules)
    if problem:
        raise ValidationError(f"it {problem}")
    return value


def _check_property(name: object, rules: Any) -> None:
    where = f"the schema: property {clipped_repr(name, 60)}"
    if not isinstance(name, str) or not isinstance(rules, Mapping):
        raise ValidationError(f"{where} is not described by an object")
    kind: Any = rules.get("type")
    keys = _KEYS.get(kind) if isinstance(kind, str) else None
    if keys is None:
        raise ValidationError(
            f"{where} has the type {clipped_repr(kind, 60)}; a question may ask for 'string', 'number', 'integer', "
            "'boolean' and 'array' alone"
        )
    _refuse_others(rules, keys, where)
    _check_texts(rules, ("title", "description", "format"), where)
    for key in _SIZES + _COUNTS + _RANGES:
        if not _IS["number" if key in _RANGES else "integer"](rules.get(key, 0)):
            raise ValidationError(f"{where}: {key!r} must be a number")
    if kind == "array":
        _check_items(rules.get("items"), where)
    else:
        _check_choices(rules, where)
    if "default" in rules and (problem := _problem(rules["default"], rules)):
        raise ValidationError(f"{where}: 'default' {problem}")


def _check_choices(rules: Mapping[str, Any], where: str) -> None:
    if "oneOf" in rules:
        if "enum" in rules:
            raise ValidationError(f"{where} has 'enum' and 'oneOf'; it may have one of them")
        _check_titled(rules["oneOf"], f"{where}: 'oneOf'")
    bare = {key: rule for key, rule in rules.items() if key not in ("enum", "oneOf")}
    choices = rules.get("enum", ["…"])
    if not isinstance(choices, list | tuple) or not choices:
        raise ValidationError(f"{where}: 'enum' must be a list of at least one value")
    chosen = choices if "enum" in rules else [choice["const"] for choice in rules.get("oneOf", ())]
    if any(_problem(choice, bare) for choice in chosen):
        key = "enum" if "enum" in rules else "oneOf"
        raise ValidationError(f"{where}: {key!r} has a value that is not {_CALLED[rules['type']]}, or is out of range")
    names = rules.get("enumNames", [])
    if not isinstance(names, list | tuple) or not all(isinstance(text, str) for text in names):
        raise ValidationError(f"{where}: 'enumNames' must be a list of strings")


def _check_items(items: Any, where: str) -> None:
    """Checks what a list may hold: some of a few strings, which are listed."""
    if not isinstance(items, Mapping) or ("enum" in items) == ("anyOf" in items):
        raise ValidationError(f"{where}: 'items' must be an object with either 'enum' or 'anyOf'")
    _refuse_others(items, _ITEM_KEYS, f"{where}: 'items'")
    if "anyOf" in items:
        if items.get("type", "string") != "string":
            raise ValidationError(f"{where}: 'items' must have the type 'string' or none")
        _check_titled(items["anyOf"], f"{where}: 'anyOf'")
        return
    if items.get("type") != "string":
        raise ValidationError(f"{where}: 'items' must have the type 'string'")
    choices = items["enum"]
    if not isinstance(choices, list | tuple) or not choices or not all(map(_is_text, choices)):
        raise ValidationError(f"{where}: 'enum' must be a list of at least one string")


def _check_titled(choices: Any, where: str) -> None:
    if not isinstance(choices, list | tuple) or not choices:
        raise ValidationError(f"{where} must be a list of at least one choice")
    for choice in choices:
        if not isinstance(choice, Mapping) or choice.keys() != _TITLED_KEYS or not all(map(_is_text, choice.values())):
            raise ValidationError(f"{where} must list objects with two strings, 'const' and 'title'")


def _refuse_others(rules: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key in rules:
        if key not in known:
            raise ValidationError(
                f"{where} has {clipped_repr(key, 60)}, which a question does not support; it may have "
                f"{', '.join(sorted(known))}"
            )


def _check_texts(rules: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        if not isinstance(rules.get(key, ""), str):
            raise ValidationError(f"{where}: {key!r} must be a string")


def _converted(value: Any, rules: Mapping[str, Any]) -> Any:
    """Returns an int for an integer that came as a double."""
    if rules["type"] == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _problem(value: Any, rules: Mapping[str, Any]) -> str:
    """Returns what is wrong with the value of a property; empty if nothing is."""
    kind = rules["type"]
    if not _IS[kind](value):
        return f"is {clipped_repr(value, 60)}, not {_CALLED[kind]}"
    if kind == "array":
        return _list_problem(value, rules)
    choices = choices_of(rules)
    if choices and value not in choices:
        return _choice_problem(value, choices)
    if kind == "string":
        return _length_problem(value, rules)
    if kind == "boolean":
        return ""
    for key, holds, called in _LIMITS:
        if key in rules and not holds(value, rules[key]):
            return f"is {clipped_repr(value, 60)}, not {called} {rules[key]}"
    return ""


def _choice_problem(value: Any, choices: Iterable[Any]) -> str:
    return f"is {clipped_repr(value, 60)}, not one of {', '.join(clipped_repr(choice, 60) for choice in choices)}"


def _list_problem(values: list[Any], rules: Mapping[str, Any]) -> str:
    choices = choices_of(rules)
    for value in values:
        if value not in choices:
            return "has an item that " + _choice_problem(value, choices)
    count = len(values)
    if count < rules.get("minItems", 0):
        return f"has {count:,} items, not at least {rules['minItems']:,}"
    if count > rules.get("maxItems", count):
        return f"has {count:,} items, not at most {rules['maxItems']:,}"
    return ""


def _length_problem(value: str, rules: Mapping[str, Any]) -> str:
    size = len(value)
    if size < rules.get("minLength", 0):
        return f"has {size:,} characters, not at least {rules['minLength']:,}"
    if size > rules.get("maxLength", size):
        return f"has {size:,} characters, not at most {rules['maxLength']:,}"
    return ""


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_EXACT


_IS: Mapping[str, Callable[[Any], bool]] = {
    "string": _is_text,
    "number": _is_number,
    "integer": _is_integer,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list) and all(map(_is_text, value)),
}
_LIMITS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", lambda value, limit: value >= limit, "at least"),
    ("maximum", lambda value, limit: value <= limit, "at most"),
    ("exclusiveMinimum", lambda value, limit: value > limit, "more than"),
    ("exclusiveMaximum", lambda value, limit: value < limit, "less than"),
)
