"""Core schemas of pydantic, rewritten part by part."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

# The keys under which a schema has its parts.
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
    """Runs ``check`` on a value before a schema does."""
    return move_ref(node, calls("before", check, node))


def after(change: Callable[[Any], Any], node: Schema) -> Schema:
    """Runs ``change`` on what a schema has read."""
    return move_ref(node, calls("after", change, node))


def around(read: Callable[[Any, Callable[[Any], Any]], Any], node: Schema) -> Schema:
    """Lets ``read`` wrap a schema: it gets the value and the schema's handler."""
    return move_ref(node, calls("wrap", read, node))


def calls(when: Literal["before", "after", "wrap"], function: Callable[..., Any], schema: Schema) -> Schema:
    """Makes a schema that calls a function before, after or around another schema."""
    return {"type": f"function-{when}", "function": {"type": "no-info", "function": function}, "schema": schema}


def lax_or_strict(node: Schema, *, strict: Schema, lax: Schema) -> Schema:
    """Replaces ``node`` by ``strict``, which a union tries first for each of its choices, or else ``lax``."""
    return move_ref(node, {"type": "lax-or-strict", "strict_schema": strict, "lax_schema": lax})


def without_ref(node: Schema) -> Schema:
    """Copies a schema without its reference, to be placed inside another schema that takes the reference over."""
    return {key: value for key, value in node.items() if key != "ref"}


def move_ref(node: Schema, outer: Schema) -> Schema:
    """Replaces ``node`` by ``outer``: references to the one must find the other."""
    if "ref" in node:
        outer["ref"] = node.pop("ref")
    return outer
