"""attrs classes and msgspec structs as parameters and results, whose fields pydantic does not know.

Their core schema becomes that of a typed dict, from which an instance is constructed.
"""

import sys
import typing
from collections.abc import Callable, Container, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Optional

import msgspec
from pydantic import Field
from pydantic_core import PydanticCustomError

from grpc_tool_bridge.tools.lookalikes import nearest_dict
from grpc_tool_bridge.tools.reading import CLASSES, subclasses_of, the_one, with_fields
from grpc_tool_bridge.tools.rewriting import Schema, calls

# Constraints with the same name in msgspec and pydantic.
_META = (
    "ge",
    "gt",
    "le",
    "lt",
    "multiple_of",
    "min_length",
    "max_length",
    "pattern",
    "title",
    "description",
    "examples",
)
# Compiles the annotation of a field inside these classes.
Compile = Callable[[Any, frozenset[Any]], Schema]


@dataclass(frozen=True, slots=True)
class _Field:
    """One field.

    Attributes:
        key: Its key in a dict.
        argument: Its name in the constructor; empty: it is set later, or not at all.
        name: Its attribute; empty if it has none.
        annotation: Its type.
        required: Whether it must be given.
    """

    key: str
    argument: str
    name: str
    annotation: Any
    required: bool


def has_struct_fields(cls: Any) -> bool:
    """Whether a class is an attrs class or a msgspec struct."""
    return isinstance(cls, type) and (hasattr(cls, "__attrs_attrs__") or issubclass(cls, msgspec.Struct))


def constraint(extra: Any) -> Any:
    """Converts a ``msgspec.Meta`` in ``Annotated`` to pydantic's form: as it is, it would constrain nothing."""
    if not isinstance(extra, msgspec.Meta):
        return extra
    given = {name: getattr(extra, name) for name in _META if getattr(extra, name) is not None}
    return Field(**given)


def describes_struct(node: Schema, compile_: Compile, within: frozenset[Any]) -> Schema:
    """Makes the core schema of a class that is checked by ``isinstance`` also accept a dict of its fields.

    ``compile_`` compiles their annotations. ``within`` are the classes that contain this one; a class that contains
    itself is not described again.
    """
    cls = node["cls"]
    if cls in within:

        def read_part(value: Any) -> Any:
            return CLASSES.of(cls)(value)

        return calls("before", read_part, node)
    fields = list(_fields(cls))
    parts = {
        field.key: {
            "type": "typed-dict-field",
            "schema": compile_(field.annotation, within | {cls}),
            "required": field.required,
        }
        for field in fields
    }
    whole = {"type": "typed-dict", "cls": cls, "fields": parts, "extra_behavior": "forbid"}
    construct = _Construct(cls, tuple(fields))
    names = {field.name: field.key for field in fields if field.name}

    known = {field.key for field in fields}
    array_like = getattr(getattr(cls, "__struct_config__", None), "array_like", False)

    def read(value: Any, handler: Callable[[Any], Any]) -> Any:
        if isinstance(value, cls):
            held = {name: getattr(value, name) for name in names if hasattr(value, name)}
            held = {name: item for name, item in held.items() if item is not msgspec.UNSET}
            fields_read = handler({names[name]: item for name, item in held.items()})
            return with_fields(value, held, {name: fields_read[names[name]] for name in held})
        if array_like:
            return construct(handler(_named(cls, fields, value)))
        given = nearest_dict(value)
        subclass = _subclass_of(cls, given, known) if isinstance(given, Mapping) else None
        return construct(handler(given)) if subclass is None else CLASSES.of(subclass)(given)

    return calls("wrap", read, whole)


@dataclass(frozen=True, slots=True)
class _Construct:
    """Constructs an instance from the checked values of its fields."""

    cls: Any
    fields: tuple[_Field, ...]

    def __call__(self, given: dict[str, Any]) -> Any:
        arguments = {field.argument: given[field.key] for field in self.fields if field.argument and field.key in given}
        try:
            made = self.cls(**arguments)
        except (TypeError, ValueError) as error:
            raise PydanticCustomError("construct", "is refused by its class: {error}", {"error": str(error)}) from None
        for field in self.fields:
            if field.name and not field.argument and field.key in given:
                object.__setattr__(made, field.name, given[field.key])
        return made


def _named(cls: Any, fields: list[_Field], value: Any) -> Any:
    """Names the items of the list in which an array-like struct travels."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) > len(fields):
        problem = "should have at most {most} items, for {name}"
        raise PydanticCustomError("too_long", problem, {"most": len(fields), "name": cls.__name__})
    return dict(zip([field.key for field in fields], value, strict=False))


def _subclass_of(cls: Any, value: Mapping[Any, Any], known: Container[str]) -> Any:
    """Finds the subclass that was written: by its tag or, without tags, by its fields."""
    config = getattr(cls, "__struct_config__", None)
    if config is not None and config.tag_field:
        tag = value.get(config.tag_field, config.tag)
        if tag == config.tag:
            return None
        return the_one([each for each in subclasses_of(cls) if each.__struct_config__.tag == tag])
    if all(key in known for key in value):
        return None
    return the_one([each for each in subclasses_of(cls) if _fits(each, value.keys())])


def _fits(cls: Any, keys: AbstractSet[str]) -> bool:
    required, known = _keys(cls)
    return required <= keys <= known


@lru_cache(maxsize=1_024)
def _keys(cls: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the required keys of a class, and all of its keys."""
    fields = list(_fields(cls))
    return frozenset(field.key for field in fields if field.required), frozenset(field.key for field in fields)


def _fields(cls: Any) -> Iterator[_Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    if issubclass(cls, msgspec.Struct):
        config = cls.__struct_config__
        if config.tag_field and not config.array_like:
            yield _Field(config.tag_field, "", "", Literal[config.tag], required=False)
        for info in msgspec.structs.fields(cls):
            hint = _or_null(hints.get(info.name, Any), info.default)
            yield _Field(info.encode_name, info.name, info.name, hint, info.required)
        return
    nothing = _nothing(cls)
    for field in cls.__attrs_attrs__:
        required = field.init and field.default is nothing
        key = field.alias if field.init else field.name
        hint = _or_null(hints.get(field.name, Any), field.default)
        yield _Field(key, field.alias if field.init else "", field.name, hint, required)


def _or_null(hint: Any, default: Any) -> Any:
    """Lets a field with a null default accept null, such as ``limit: int = None``."""
    return hint if default is not None else Optional[hint]  # noqa: UP045 - a hint can be a text, which has no |


def _nothing(cls: Any) -> Any:
    """Returns the value that attrs uses for "no default", without importing attrs."""
    return sys.modules[type(cls.__attrs_attrs__[0]).__module__].NOTHING if cls.__attrs_attrs__ else None
