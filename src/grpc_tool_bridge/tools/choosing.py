"""Which class of a union an object is read as: the one that has all of its keys and no others.

Pydantic takes the first class that takes the keys. Of a subclass before its base, whose further fields have defaults,
an object of the base would become one of the subclass.
"""

from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.tools.reading import class_read_by, key_sets
from grpc_tool_bridge.tools.rewriting import Schema, move_ref, with_parts

# Of these it is not known here which mappings they take.
_OPEN = frozenset(
    {"dict", "typed-dict", "any", "is-instance", "definition-ref", "tagged-union", "json", "json-or-python"}
)
# Begins the label of a union's choice in the path of an error. No argument can be called so.
CHOICE_MARK = "\0"
# The same, if the choice was made beforehand and says nothing of what is wrong.
PICK_MARK = "\1"
_CLASS = "grpc_tool_bridge_class"
_INSIDE = ("schema", "lax_schema", "strict_schema", "steps", "choices")


def with_classes(schema: Schema) -> Schema:
    """Lets the references of a schema tell the class of what they refer to."""
    if schema["type"] != "definitions":
        return schema
    classes = {part["ref"]: part["cls"] for part in schema["definitions"] if part["type"] in ("model", "dataclass")}

    def told(part: Schema) -> Schema:
        if part["type"] == "definition-ref" and part["schema_ref"] in classes:
            return {**part, "metadata": {**part.get("metadata", {}), _CLASS: classes[part["schema_ref"]]}}
        return with_parts(part, told)

    return told(schema)


def reads_choice(node: Schema) -> Schema:
    """Makes a union of classes prefer the one whose keys are given.

    Args:
        node: The core schema of the union, whose choices have been rewritten already.

    Returns:
        A schema to stand in its place.
    """
    choices = [choice[0] if isinstance(choice, tuple) else choice for choice in node["choices"]]
    classes = [choice.get("metadata", {}).get(_CLASS) or class_read_by(choice) for choice in choices]
    known = [cls for cls in classes if cls is not None]
    others = [choice for choice, cls in zip(choices, classes, strict=True) if cls is None]
    if len(known) < 2 or not _are_related(known) or any(map(_is_open, others)):  # noqa: PLR2004 - nothing to choose
        return node
    labels = {cls: f"{PICK_MARK}{number}" for number, cls in enumerate(classes) if cls is not None}

    def label_of(value: Any) -> str:
        if isinstance(value, Mapping):
            keys = frozenset(map(str, value))
            exact = [cls for cls in known if keys in key_sets(cls)]
            if len(exact) == 1:
                return labels[exact[0]]
        return PICK_MARK

    # One choice alone is tried: to try the others after it would take twice as long at each level of a nested value.
    named: dict[str, Schema] = {
        labels[cls]: choice for cls, choice in zip(classes, choices, strict=True) if cls is not None
    }
    named[PICK_MARK] = node
    return move_ref(node, {"type": "tagged-union", "choices": named, "discriminator": label_of})


def _are_related(classes: list[Any]) -> bool:
    """Whether one of the classes is the base of all others: what does not fit that one, fits none."""
    return any(all(issubclass(cls, base) for cls in classes) for base in classes)


def _is_open(schema: Any) -> bool:
    if isinstance(schema, list | tuple):
        return any(map(_is_open, schema))
    if not isinstance(schema, dict):
        return False
    return schema["type"] in _OPEN or any(_is_open(schema[key]) for key in _INSIDE if key in schema)
