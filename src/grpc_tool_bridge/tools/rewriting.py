"""Core schemas of pydantic, rewritten part by part."""

from collections.abc import Callable, Mapping
from typing import Any

# Where a schema keeps the schemas that it is made of.
_PARTS = frozenset(
    {
        "schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "lax_schema", "strict_schema",
        "json_schema", "python_schema", "arguments_schema", "var_args_schema", "var_kwargs_schema", "choices", "fields",
        "steps", "definitions",
    }
)  # fmt: skip

Schema = dict[str, Any]
Rewrites = Mapping[str, Callable[[Schema], Schema]]


def with_parts(schema: Schema, rewrite: Callable[[Schema], Schema]) -> Schema:
    """Copies a schema with its parts rewritten."""

    def rewritten(part: Any) -> Any:
        if isinstance(part, dict):
            if isinstance(part.get("type"), str):
                return rewrite(part)
            return {key: rewritten(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            return type(part)(rewritten(item) for item in part)
        return part

    return {key: rewritten(value) if key in _PARTS else value for key, value in schema.items()}


def before(check: Callable[[Any], Any], node: Schema) -> Schema:
    """Lets ``check`` read a value before a schema does."""
    outer = {"type": "function-before", "function": {"type": "no-info", "function": check}, "schema": node}
    return move_ref(node, outer)


def move_ref(node: Schema, outer: Schema) -> Schema:
    """Lets ``outer`` stand where ``node`` stood: what refers to the one must find the other."""
    if "ref" in node:
        outer["ref"] = node.pop("ref")
    return outer
