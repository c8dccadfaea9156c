"""Reads models and dataclasses back from the dicts in which they travel.

``values.records`` writes them; either of its forms is read back as an equal object. Besides the keys that a class is
constructed from, the names of its fields and the keys of its output are accepted, and computed fields are ignored. Keys
that the class does not know select the one subclass that has exactly those. The class ignores, keeps or refuses any
other key, as configured.

In a union, an object is read as the class that has all of its keys and no others. Pydantic would pick the first class
that accepts the keys: if a subclass whose extra fields have defaults comes before its base, an object of the base would
become one of the subclass.
"""

import copy
import dataclasses
import typing
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import TypeAdapter
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import PydanticCustomError, PydanticKnownError, from_json

from grpc_tool_bridge.tools.lookalikes import nearest_dict
from grpc_tool_bridge.tools.rewriting import Schema, around, calls, move_ref, with_parts

Handler = Callable[[Any], Any]

_MAX_NAMED = 5

# Schemas that may accept any mapping.
_OPEN = frozenset(
    {"dict", "typed-dict", "any", "is-instance", "definition-ref", "tagged-union", "json", "json-or-python"}
)
# Starts the label of a union's choice in the path of an error. No argument can have this name.
CHOICE_MARK = "\0"
# The same, if the choice was made beforehand and does not say what is wrong.
PICK_MARK = "\1"
_CLASS = "grpc_tool_bridge_class"
_INSIDE = ("schema", "lax_schema", "strict_schema", "steps", "choices")

Reader = Callable[[Any], Any]

_MAX_KEPT = 1_024


def reads_fields(node: Schema) -> Schema:
    """Makes a core schema of a model or a dataclass read what ``values.records`` writes.

    The schema is a copy whose parts are already rewritten.
    """
    inner = _with_fields(node)
    if inner is None:
        return node
    is_plain = node["type"] == "dataclass" and not is_pydantic_dataclass(node["cls"])
    reader = _DataclassReader(node, inner) if is_plain else _Reader(node, inner)
    # A dataclass is constructed here, so that the fields of an existing instance can be checked on their own.
    return move_ref(node, around(reader.read, inner if is_plain else node))


def class_read_by(node: Schema) -> Any:
    """Returns the class whose objects a schema made by ``reads_fields`` reads; None for any other schema."""
    reader = getattr(node.get("function", {}).get("function"), "__self__", None) if "function" in node else None
    return reader.cls if isinstance(reader, _Reader) else None


def reads_json(node: Schema) -> Schema:
    """Makes the core schema of a ``Json`` field accept the parsed value as well as the text."""
    inner = node.get("schema", {"type": "any"})
    return move_ref(node, calls("before", _parsed, inner))


def _parsed(value: Any) -> Any:
    if not isinstance(value, str | bytes | bytearray):
        return value
    try:
        return from_json(value)
    except ValueError as error:
        raise PydanticKnownError("json_invalid", {"error": str(error)}) from None


def _with_fields(node: Schema) -> Schema | None:
    """Finds the part of a schema that holds the fields; copies the path to it, so that it may be changed."""
    if node.get("root_model") or node.get("custom_init"):
        return None
    while "fields" not in node or node["type"] == "dataclass":
        part = node.get("schema")
        if not isinstance(part, dict):
            return None
        node["schema"] = dict(part)
        node = node["schema"]
    return node if node["type"] in ("model-fields", "dataclass-args") else None


class _Reader:
    """Reads the instances of one class, by its core schema and the part of it with the fields, which it changes."""

    def __init__(self, node: Schema, inner: Schema) -> None:
        self.cls: Any = node["cls"]
        named = [(name, _takes_all_keys(name, field)) for name, field in _named_fields(inner)]
        inner["fields"] = dict(named) if isinstance(inner["fields"], dict) else [field for _, field in named]
        self._fields = {name: field for name, field in named if field.get("init", True)}
        self._known = {path[0] for field in self._fields.values() for path in field["validation_alias"]}
        computed = inner.get("computed_fields") or ()
        names = {key for field in computed for key in (field["property_name"], field.get("alias")) if key}
        self._later = _not_constructed(self.cls)
        self._left_out = (names - self._known) | self._later
        # A class that keeps unknown keys is not replaced by a subclass because of them.
        self._keeps_extras = _keeps_extras(self.cls)

    def read(self, value: Any, handler: Handler) -> Any:
        """Reads a value: an instance, a dict of its fields, or anything else that the class accepts."""
        if not isinstance(value, Mapping):
            # An instance may be read by its keys as well.
            value = value if isinstance(value, self.cls) else nearest_dict(value)
        if not isinstance(value, Mapping):
            return self._taken(value, handler)
        given: Mapping[Any, Any] = value
        if self._left_out:
            given = {key: item for key, item in value.items() if key not in self._left_out}
        if not self._keeps_extras and not given.keys() <= self._known:
            subclass = _subclass_with(self.cls, frozenset(map(str, value)), self._known)
            if subclass is not None:
                return CLASSES.of(subclass)(value)
        made = self._constructed(given, handler)
        for name in self._later:
            if name in value:
                _set_field(made, name, value[name])
        return made

    def _taken(self, value: Any, handler: Handler) -> Any:
        return handler(value)

    def _constructed(self, given: Mapping[Any, Any], handler: Handler) -> Any:
        return handler(given)


class _DataclassReader(_Reader):
    """Reads the instances of a dataclass and checks their fields, since its constructor checks nothing."""

    def __init__(self, node: Schema, inner: Schema) -> None:
        super().__init__(node, inner)
        inner.setdefault("extra_behavior", node.get("config", {}).get("extra_fields_behavior", "ignore"))
        self._init_only = [name for name, field in self._fields.items() if field.get("init_only")]

    def _taken(self, value: Any, handler: Handler) -> Any:
        if not isinstance(value, self.cls):
            return handler(value)
        if self._init_only:
            return value
        held = {name: getattr(value, name) for name in self._fields if hasattr(value, name)}
        fields, _ = handler(held)
        return with_fields(value, held, {name: fields[name] for name in held})

    def _constructed(self, given: Mapping[Any, Any], handler: Handler) -> Any:
        fields, init_only = handler(given)
        arguments = {name: item for name, item in fields.items() if name in self._fields}
        return self.cls(**arguments, **dict(zip(self._init_only, init_only or (), strict=True)))


def with_fields(value: Any, held: Mapping[str, Any], read: Mapping[str, Any]) -> Any:
    """Returns an instance whose fields match its annotations: itself, or a copy with the values that were read.

    ``held`` has its fields by name, ``read`` the same fields as read, such as an int for a NumPy integer.
    """
    changed = {name: item for name, item in read.items() if item is not held[name]}
    if not changed:
        return value
    made = copy.copy(value)
    for name, item in changed.items():
        # Works for frozen classes too.
        if isinstance(made, msgspec.Struct):
            msgspec.structs.force_setattr(made, name, item)
        else:
            object.__setattr__(made, name, item)
    return made


def _named_fields(inner: Schema) -> list[tuple[str, Schema]]:
    fields = inner["fields"]
    return list(fields.items()) if isinstance(fields, dict) else [(field["name"], field) for field in fields]


def _takes_all_keys(name: str, field: Schema) -> Schema:
    """Lets a field also be given by its own name and by its key in an output."""
    alias = field.get("validation_alias")
    paths = [[alias]] if isinstance(alias, str) else [[*path] for path in _as_paths(alias)]
    for key in (name, field.get("serialization_alias")):
        if key and [key] not in paths:
            paths.append([key])
    return {**field, "validation_alias": paths}


def _as_paths(alias: Any) -> list[Any]:
    if not alias:
        return []
    return alias if isinstance(alias[0], list) else [alias]


def _not_constructed(cls: Any) -> set[str]:
    """Returns the names of the fields that a dataclass's constructor does not take."""
    if not dataclasses.is_dataclass(cls):
        return set()
    return {field.name for field in dataclasses.fields(cls) if not field.init}


def _keeps_extras(cls: Any) -> bool:
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    return config.get("extra") == "allow"


def _set_field(made: Any, name: str, given: Any) -> None:
    """Restores the value of a field that the constructor does not take, since more than the constructor may set it."""
    try:
        hint = typing.get_type_hints(type(made), include_extras=True)[name]
    except (NameError, KeyError, TypeError):
        hint = Any
    # Works for frozen classes too.
    object.__setattr__(made, name, TypeAdapter(hint).validate_python(given))


# ---------------------------------------------------------------------------------------------------------- subclasses


def _subclass_with(cls: Any, keys: frozenset[str], known: Collection[str]) -> Any:
    """Finds the subclass whose fields have exactly these keys; ``known`` are those of the class itself.

    Raises:
        PydanticCustomError: There are several, so it is ambiguous.
    """
    subclasses = subclasses_of(cls)
    found = [each for each in subclasses if keys in key_sets(each)]
    if not found:
        # A class that keeps unknown keys has its own, and may have more.
        keepers = [each for each in subclasses if _keeps_extras(each)]
        found = [each for each in keepers if any(own <= keys and not own.issubset(known) for own in key_sets(each))]
    return the_one(found)


def the_one(found: list[Any]) -> Any:
    """Returns the only class of a list; None if there is none.

    Raises:
        PydanticCustomError: There are several.
    """
    if len(found) > 1:
        names = ", ".join(sorted(each.__qualname__ for each in found[:_MAX_NAMED]))
        raise PydanticCustomError(
            "subclass_ambiguous",
            "may be any of {names}: declare a union of them with a discriminator",
            {"names": names},
        )
    return found[0] if found else None


def subclasses_of(cls: Any) -> list[Any]:
    """Lists the subclasses of a class, and theirs."""
    found: list[Any] = []
    waiting = list(cls.__subclasses__())
    while waiting:
        each = waiting.pop(0)
        # The decorator of a dataclass with slots makes a second class and abandons the first one.
        if each not in found and not getattr(each, "__pydantic_generic_metadata__", {}).get("origin"):
            found.append(each)
        waiting.extend(each.__subclasses__())
    newest = {(each.__module__, each.__qualname__): each for each in found}
    return list(newest.values())


@lru_cache(maxsize=1_024)
def key_sets(cls: Any) -> tuple[frozenset[str], ...]:
    """Returns the keys that an instance has in its input form and in its output form."""
    schema = _own_schema(cls)
    inner = _with_fields(dict(schema)) if schema is not None else None
    if inner is None:
        return ()
    named = [(name, field) for name, field in _named_fields(inner) if field.get("init", True)]
    paths = [(name, field, _takes_all_keys(name, field)["validation_alias"]) for name, field in named]
    read = frozenset(path[0][0] if len(path[0]) == 1 else name for name, _, path in paths)
    written = frozenset(field.get("serialization_alias") or name for name, field in named)
    kept = frozenset(
        field.get("serialization_alias") or name for name, field in named if not field.get("serialization_exclude")
    )
    computed = frozenset(field.get("alias") or field["property_name"] for field in inner.get("computed_fields") or ())
    later = frozenset(_not_constructed(cls))
    return read | later, written | computed | later, kept | computed | later


def _own_schema(cls: Any) -> Schema | None:
    """Returns the core schema of a class itself, without its definitions."""
    adapter: Any = TypeAdapter(cls)
    schema = adapter.core_schema
    while schema["type"] not in ("model", "dataclass"):
        if schema["type"] == "definitions":
            wanted = schema["schema"].get("schema_ref")
            schema = next((each for each in schema["definitions"] if each.get("ref") == wanted), schema["schema"])
        elif isinstance(schema.get("schema"), dict):
            schema = schema["schema"]
        else:
            return None
    return typing.cast("Schema", schema)


# ---------------------------------------------------------------------------------------------------- unions of classes


def with_classes(schema: Schema) -> Schema:
    """Adds to each reference in a schema the class that it refers to."""
    if schema["type"] != "definitions":
        return schema
    classes = {part["ref"]: part["cls"] for part in schema["definitions"] if part["type"] in ("model", "dataclass")}

    def told(part: Schema) -> Schema:
        if part["type"] == "definition-ref" and part["schema_ref"] in classes:
            return {**part, "metadata": {**part.get("metadata", {}), _CLASS: classes[part["schema_ref"]]}}
        return with_parts(part, told)

    return told(schema)


def reads_choice(node: Schema) -> Schema:
    """Makes a union of classes, whose choices are already rewritten, prefer the one whose keys are given."""
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

    # Only one choice is tried: trying the others too would double the time at each level of a nested value.
    named: dict[str, Schema] = {
        labels[cls]: choice for cls, choice in zip(classes, choices, strict=True) if cls is not None
    }
    named[PICK_MARK] = node
    return move_ref(node, {"type": "tagged-union", "choices": named, "discriminator": label_of})


def _are_related(classes: list[Any]) -> bool:
    """Whether one of the classes is the base of all others: a value that does not fit that one fits none."""
    return any(all(issubclass(cls, base) for cls in classes) for base in classes)


def _is_open(schema: Any) -> bool:
    if isinstance(schema, list | tuple):
        return any(map(_is_open, schema))
    if not isinstance(schema, dict):
        return False
    return schema["type"] in _OPEN or any(_is_open(schema[key]) for key in _INSIDE if key in schema)


# ------------------------------------------------------------------------------------------------ validators of classes


class ClassValidators:
    """Compiles the reader of each class once, on first use.

    The readers are compiled from the rules that use them. So ``checks``, which knows all rules, passes the compiler in.
    """

    def __init__(self) -> None:
        self.of: Callable[[Any], Reader] = _no_compiler

    def compile_by(self, compile_: Callable[[Any], Reader]) -> None:
        """Sets the compiler, which makes the reader of a class."""
        self.of = lru_cache(maxsize=_MAX_KEPT)(compile_)


def _no_compiler(cls: Any) -> Reader:
    raise RuntimeError(f"the reader of {cls.__qualname__} is compiled by tools.checks, which is not imported")


CLASSES = ClassValidators()
