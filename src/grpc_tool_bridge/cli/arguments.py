"""Reads a tool's arguments from the command line."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.streams import read_stdin
from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values import tagged_json

_JSON_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_ANY = frozenset({*_JSON_TYPES.values()})
# What an error calls them.
_IN_WORDS: Mapping[str, str] = {
    "array": "a JSON array",
    "object": "a JSON object",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "null",
}


def parse_arguments(spec: ToolSpec, words: Sequence[str], pairs: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Reads the arguments of a call: positional words, and ``name=word`` for each named argument.

    A word is JSON, unless the parameter takes text: then it is the text itself. ``-`` stands for JSON on stdin. An
    unknown tool takes anything.

    Raises:
        ArgumentError: A word does not fit its parameter, or a pair is not valid.
    """
    schema = _Schema(spec)
    targets = _positional(spec, schema)
    args = []
    for index, word in enumerate(words):
        # The hub refuses surplus arguments.
        name, types = next(targets, (str(index + 1), _ANY))
        args.append(_value(word, f"argument {name}", types))
    kwargs: dict[str, Any] = {}
    for name, word in split_pairs(pairs, "--kwarg", "argument").items():
        kwargs[name] = _value(word, f"argument {name}", schema.types_of(name))
    return args, kwargs


def split_pairs(pairs: Iterable[str], option: str, what: str) -> dict[str, str]:
    """Splits the values of an option that takes NAME=VALUE.

    Raises:
        ArgumentError: A value is not a pair, or a name is given twice.
    """
    words: dict[str, str] = {}
    for pair in pairs:
        name, equals, word = pair.partition("=")
        if not equals or not name:
            raise ArgumentError(f"{option} {pair!r} is not valid; write {option} name=value")
        if name in words:
            raise ArgumentError(f"{what} {name} is given twice; give it once")
        words[name] = word
    return words


def read_value(word: str, what: str) -> Any:
    """Reads one value: JSON, or else the word itself; ``-`` is JSON on stdin.

    Raises:
        ArgumentError: The content of stdin is not JSON.
    """
    return _value(word, what, _ANY)


def _value(word: str, what: str, types: frozenset[str]) -> Any:
    if word == "-":
        return _from_stdin(what)
    if types == {"string"}:
        return word
    try:
        value = tagged_json.loads(word)
    except ValueError as error:
        if "string" in types:
            return word
        why = f", which is not valid JSON: {error}" if types & {"array", "object"} else ""
        raise ArgumentError(f"{what} takes {_expected(types)}, not {word[:60]!r}{why}") from None
    # Text that happens to be JSON, such as "5" for a parameter that takes text or nothing.
    if "string" in types and _JSON_TYPES.get(type(value), "object") not in types:
        return word
    return value


def _expected(types: frozenset[str]) -> str:
    """Names the types that a parameter takes; a number may be an integer."""
    covered = {"integer"} if "number" in types else set()
    return " or ".join(text for name, text in _IN_WORDS.items() if name in types - covered)


def _from_stdin(what: str) -> Any:
    try:
        text = read_stdin()
    except ValueError as error:
        raise ArgumentError(f"{what} is read from stdin, which cannot be read: {error}") from None
    try:
        return tagged_json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"{what} is read from stdin, which is not valid JSON: {error}") from None


def _positional(spec: ToolSpec, schema: "_Schema") -> Iterator[tuple[str, frozenset[str]]]:
    """Yields the names and types of the parameters for positional arguments."""
    for argument in spec.arguments:
        kinds = argument.validation.custom_rules
        if "keyword-only" in kinds or "var-keyword" in kinds:
            return
        if "var-positional" in kinds:
            yield from itertools.repeat((argument.name, schema.types_of_items(argument.name)))
        yield argument.name, schema.types_of(argument.name)


class _Schema:
    """The JSON types that a tool's parameters take."""

    def __init__(self, spec: ToolSpec) -> None:
        # A peer in another language may have sent any schema; then every word is read as JSON or text.
        self._whole = read_schema(spec)

    def types_of(self, name: str) -> frozenset[str]:
        """Lists the types of a parameter, or of the values of ``**kwargs``."""
        schema = self._property(name)
        if schema is None:
            schema = self._whole.get("additionalProperties")
        return frozenset(self._types(schema, 0)) or _ANY

    def types_of_items(self, name: str) -> frozenset[str]:
        """Lists the types of the items of ``*name``."""
        schema = self._property(name)
        return frozenset(self._types(schema.get("items") if isinstance(schema, dict) else None, 0)) or _ANY

    def _property(self, name: str) -> Any:
        properties = self._whole.get("properties")
        return properties.get(name) if isinstance(properties, dict) else None

    def _types(self, schema: Any, depth: int) -> Iterable[str]:
        """Lists the types that a schema allows; all of them if it does not say."""
        if not isinstance(schema, dict) or depth > 20:  # noqa: PLR2004 - a schema may refer to itself
            return _ANY
        if isinstance(schema.get("$ref"), str):
            definitions = self._whole.get("$defs")
            name = schema["$ref"].rpartition("/")[2]
            return self._types(definitions.get(name) if isinstance(definitions, dict) else None, depth + 1)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                return {kind for choice in schema[key] for kind in self._types(choice, depth + 1)}
        kinds = schema.get("type")
        if isinstance(kinds, str):
            kinds = [kinds]
        if not isinstance(kinds, list):
            values = schema.get("enum", [schema["const"]] if "const" in schema else [])
            kinds = [_JSON_TYPES.get(type(value), "object") for value in values] if isinstance(values, list) else []
        kinds = [kind for kind in kinds if isinstance(kind, str)]
        # A whole number is a number too.
        return {*kinds, "integer"} if "number" in kinds else (kinds or _ANY)
