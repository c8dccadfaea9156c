"""What pydantic's core schemas say of how a value is written: by whose serializers, and in which of its forms."""

import sys
import typing
from collections.abc import Callable
from functools import partial
from typing import Any


def writing_mode(schema: Any) -> str:
    """Finds the mode, "python" or "json", in which a value is serialized for an output; empty: it stays as it is."""
    return own_mode(schema) or ("python" if is_encoded(schema) else "")


def is_encoded(schema: Any) -> bool:
    """Whether some of a field is held decoded, as ``Base64Str`` is: read again as it is held, it would be another."""
    types = sys.modules["pydantic"].types
    kinds = (types.EncodedBytes, types.EncodedStr)

    def encodes(part: Any) -> bool:
        found = part.get("serialization")
        return isinstance(found, dict) and isinstance(getattr(found.get("function"), "__self__", None), kinds)

    return _any_part(schema, encodes)


def is_json(schema: Any) -> bool:
    """Whether a field is read from a JSON text."""
    while isinstance(schema, dict):
        if schema.get("type") == "json":
            return True
        schema = schema.get("schema")
    return False


def holds_json(schema: Any) -> bool:
    """Whether some of a field is read from a JSON text."""
    return _any_part(schema, lambda part: part.get("type") == "json")


def is_pydantics(function: Any) -> bool:
    """Whether a serializer or a validator is one of pydantic's own, or of the bridge, not of the program."""
    module = getattr(function, "__module__", None) or type(function).__module__
    return module.partition(".")[0] in ("pydantic", "pydantic_core", "grpc_tool_bridge", "operator")


def writers_of(kind: Any) -> dict[str, Callable[[Any], Any]]:
    """Finds the fields whose annotations have serializers of pydantic's, and what writes them."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return {}
    found: dict[str, Callable[[Any], Any]] = {}
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    # Whatever is wrong with them is said where they are checked.
    except Exception:  # noqa: BLE001
        return {}
    for name, hint in hints.items():
        if not _may_be_serialized(hint):
            continue
        try:
            adapter = pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
        except Exception:  # noqa: BLE001, S112 - likewise
            continue
        mode = writing_mode(adapter.core_schema)
        if mode:
            found[name] = partial(adapter.serializer.to_python, mode=mode, by_alias=True, warnings="error")
    return found


def _may_be_serialized(hint: Any) -> bool:
    own = vars(hint) if isinstance(hint, type) else {}
    if hasattr(hint, "__metadata__") or "__get_pydantic_core_schema__" in own:
        return True
    return any(map(_may_be_serialized, typing.get_args(hint)))


def own_mode(schema: Any) -> str:
    """Finds the mode in which a serializer of the program's own, on a field or inside its type, is used."""
    if isinstance(schema, dict):
        if schema.get("type") in ("model", "dataclass"):
            # It is written by its own class.
            return ""
        found: Any = schema.get("serialization")
        function = found.get("function") if isinstance(found, dict) else None
        if function is not None and not is_pydantics(function):
            return "json" if str(found.get("when_used", "always")).startswith("json") else "python"
        parts: Any = [part for key, part in schema.items() if key != "metadata"]
    else:
        parts = schema if isinstance(schema, list | tuple) else ()
    return next(filter(None, map(own_mode, parts)), "")


def _any_part(schema: Any, condition: Callable[[Any], bool]) -> bool:
    """Whether a condition holds for a part of a schema, models aside: each is written by its own class."""
    if isinstance(schema, dict):
        if schema.get("type") in ("model", "dataclass"):
            return False
        if condition(schema):
            return True
        return any(_any_part(part, condition) for key, part in schema.items() if key != "metadata")
    return isinstance(schema, list | tuple) and any(_any_part(part, condition) for part in schema)
