"""Values that are sent as text only if the receiver declares their type: secrets, patterns, fractions.

Otherwise the text would be mistaken for a plain text, or a secret would be disclosed. The receiver declares the type
in the JSON Schema of a tool, as the format of a string.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from grpc_tool_bridge.errors import SerializationError

# The path of a part of a value: keys and indexes.
Path = Sequence[Any]

# Returns whether the receiver declares this format at a path.
Declares = Callable[[Path, str], bool]

_FLAGS = {re.ASCII: "a", re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}
_MAX_STEPS = 200


@lru_cache(maxsize=1_024)
def format_of(kind: type) -> str:
    """Returns the format that a receiver must declare for instances of a class; empty for any other class."""
    if issubclass(kind, re.Pattern):
        return "regex"
    if issubclass(kind, Fraction):
        return "fraction"
    types = sys.modules.get("pydantic.types")
    # SecretStr, SecretBytes and Secret[...] have only this base in common.
    return "password" if types is not None and issubclass(kind, types._SecretBase) else ""  # noqa: SLF001 - see above


def plain_of(value: Any, format_: str) -> Any:
    """Returns the value itself, for a receiver that has declared it.

    Raises:
        SerializationError: A pattern has flags that its text cannot express.
    """
    if format_ == "regex":
        return _pattern_text(value)
    return str(value) if format_ == "fraction" else value.get_secret_value()


def refused(value: Any, format_: str) -> SerializationError:
    """Returns the error for a value whose receiver has not declared it."""
    instead = {"regex": "its .pattern", "fraction": "str(…) or float(…) of it"}.get(format_, "its get_secret_value()")
    name = type(value).__name__
    return SerializationError(
        f"a {name} is sent only where the tool declares one, as a parameter or result of that type; send {instead} "
        "where you mean that",
        details={"declares": format_},
    )


def nowhere(_: Path, __: str) -> bool:
    """Declares nothing."""
    return False


def declared_in(schema: str, python_type: str = "", *, within: Path = ()) -> Declares:
    """Reads what a JSON Schema declares, on first use.

    Args:
        schema: The JSON Schema as text.
        python_type: The type of the whole value, for types that the schema cannot express.
        within: The path of the value in what the schema describes.
    """
    parsed: list[Any] = []

    def declares(path: Path, format_: str) -> bool:
        if not parsed:
            parsed.append(_parsed(schema))
        if any(part.get("format") == format_ for part in _parts_at(parsed[0], [*within, *path])):
            return True
        return format_ == "password" and python_type.startswith("Secret")

    return declares


def _parsed(schema: str) -> Any:
    try:
        return json.loads(schema or "{}")
    except ValueError:
        return {}


def _parts_at(root: Any, path: Path) -> list[dict[str, Any]]:
    """Finds the schemas that may describe the value at a path."""
    parts = _choices(root, [root])
    for step in path:
        inside = [part for schema in parts for part in _below(schema, step)]
        parts = _choices(root, inside)
    return parts


def _choices(root: Any, parts: list[Any]) -> list[dict[str, Any]]:
    """Follows references, and yields the choices of a union one by one."""
    found: list[dict[str, Any]] = []
    waiting = list(parts)
    for _ in range(_MAX_STEPS):
        if not waiting:
            break
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        found.append(part)
        for key in ("anyOf", "oneOf", "allOf"):
            choices = part.get(key)
            waiting.extend(choices if isinstance(choices, list) else ())
        reference = part.get("$ref")
        if isinstance(reference, str):
            waiting.append(_dict(_dict(root).get("$defs")).get(reference.rpartition("/")[2]))
    return found


def _below(schema: dict[str, Any], step: Any) -> list[Any]:
    if isinstance(step, str):
        properties = _dict(schema.get("properties"))
        return [properties[step]] if step in properties else [schema.get("additionalProperties")]
    items = schema.get("prefixItems")
    if isinstance(step, int) and isinstance(items, list) and step < len(items):
        return [items[step]]
    return [schema.get("items"), schema.get("additionalProperties")]


def _dict(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


def _pattern_text(pattern: Any) -> Any:
    """Converts a pattern with flags to one whose text includes them."""
    text = pattern.pattern
    missing = pattern.flags & ~re.compile(text).flags
    letters = "".join(letter for flag, letter in _FLAGS.items() if missing & flag)
    whole = (
        text
        if not letters
        else b"(?" + letters.encode() + b")" + text
        if isinstance(text, bytes)
        else f"(?{letters}){text}"
    )
    try:
        same = re.compile(whole).flags == pattern.flags
    except re.error:
        same = False
    if not same:
        raise SerializationError("a pattern has flags that its text cannot express; send its .pattern and .flags")
    return whole
