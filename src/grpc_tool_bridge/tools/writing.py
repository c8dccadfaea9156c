"""Serializers and validators that annotations give, as results have them.

Serializers are applied: the output schema describes what they make. What is the program's own runs in no event loop.

What is in a model or a dataclass is written by its own class (``values.records``).
"""

from typing import Any

from pydantic_core import SchemaSerializer

from grpc_tool_bridge.tools.rewriting import Schema, move_ref, with_parts
from grpc_tool_bridge.values.foreign import foreign
from grpc_tool_bridge.values.records import is_pydantics, writing_mode


def serialized(schema: Schema) -> Schema:
    """Lets a core schema give what its serializers make of the values that it has checked.

    Args:
        schema: The schema, which is left alone.

    Returns:
        A schema with the same JSON Schema.
    """
    definitions = schema["definitions"] if schema["type"] == "definitions" else []
    return _serialized(schema, definitions)


def _serialized(schema: Schema, definitions: list[Schema]) -> Schema:
    if schema["type"] in ("model", "dataclass"):
        return schema
    mode = writing_mode(schema) if "serialization" in schema else ""
    if not mode:
        return _outside_loop(with_parts(schema, lambda part: _serialized(part, definitions)))
    inner = dict(schema)
    whole: Any = {key: value for key, value in schema.items() if key != "ref"}
    if definitions:
        whole = {"type": "definitions", "schema": whole, "definitions": definitions}
    write = SchemaSerializer(whole).to_python

    def written(value: Any) -> Any:
        foreign(value)
        return write(value, mode=mode, by_alias=True, warnings="error")

    outer = {"type": "function-after", "function": {"type": "no-info", "function": written}, "schema": inner}
    return move_ref(inner, outer)


def _outside_loop(node: Schema) -> Schema:
    """Lets the validator of a schema run in a thread, where it is the program's."""
    if not node["type"].startswith("function-") or is_pydantics(node["function"]["function"]):
        return node
    check = node["function"]["function"]

    def checked(value: Any, *rest: Any) -> Any:
        foreign(value)
        return check(value, *rest)

    return {**node, "function": {**node["function"], "function": checked}}
