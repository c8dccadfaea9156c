"""Names of types: as Python writes them, and the nearest Elixir typespec."""

import dataclasses
import sys
import types
import typing
from collections import Counter, OrderedDict, abc, defaultdict, deque
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import PurePath
from typing import Annotated, Any, ForwardRef, Literal, TypeVar, Union
from uuid import UUID

import typing_extensions
from pydantic import BaseModel

from grpc_tool_bridge.tools.annotations import hints_of, unalias, without_none

_ELIXIR_CLASSES: dict[Any, str] = {
    Any: "any()",
    object: "any()",
    type(None): "nil",
    None: "nil",
    bool: "boolean()",
    int: "integer()",
    float: "float()",
    str: "String.t()",
    bytes: "binary()",
    bytearray: "binary()",
    datetime: "DateTime.t()",
    date: "Date.t()",
    time: "Time.t()",
    timedelta: "Duration.t()",
    Decimal: "Decimal.t()",
    UUID: "String.t()",
}
_LISTS = (
    list, deque, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Iterator, abc.Collection, abc.Generator,
    abc.Container, abc.Reversible,
)  # fmt: skip
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_MAPS = (dict, abc.Mapping, abc.MutableMapping, defaultdict, OrderedDict, Counter)

# The aliases and classes that contain an annotation, to detect recursion.
Within = tuple[Any, ...]


def python_type(annotation: Any, within: Within = ()) -> str:
    """Writes an annotation as a signature would, such as ``list[int]`` or ``str | None``."""
    if annotation in within:
        return getattr(annotation, "__name__", None) or bare_text(annotation)
    within = _entered(annotation, within)
    annotation = plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (None, type(None)):
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(python_type(item, within) for item in args))
    if origin is Literal:
        return f"Literal[{', '.join(_literal_text(item) for item in args)}]"
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if origin is not None:
        inside = ", ".join(_argument_text(item, within) for item in args)
        return f"{python_type(origin, within)}[{inside}]" if args else bare_text(annotation)
    return getattr(annotation, "__name__", None) or bare_text(annotation)


def elixir_type(annotation: Any, within: Within = ()) -> str:
    """Returns the closest Elixir typespec of an annotation, such as ``list(integer())`` or ``String.t() | nil``."""
    if annotation in within:
        return "any()"
    within = _entered(annotation, within)
    annotation = plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return _either(elixir_type(item, within) for item in args)
    if origin is Literal:
        return _either(_elixir_value(item) for item in args)
    if isinstance(annotation, TypeVar):
        return _either(elixir_type(item, within) for item in _bounds(annotation))
    return _elixir_class(origin or annotation, args, within)


def _entered(annotation: Any, within: Within) -> Within:
    """Adds an annotation that may contain itself: an alias, or a class with fields."""
    holds = type(annotation).__name__ == "TypeAliasType" or (
        isinstance(annotation, type) and issubclass(annotation, tuple)
    )
    return (*within, annotation) if holds and annotation is not tuple else within


def _bounds(variable: TypeVar) -> tuple[Any, ...]:
    return variable.__constraints__ or (Any if variable.__bound__ is None else variable.__bound__,)


def allowed_values(annotation: Any) -> list[str]:
    """Lists the values of a Literal or an Enum as text, without None; empty for any other type."""
    annotation = plain(annotation)
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        inner = without_none(annotation)
        return [] if inner is annotation else allowed_values(inner)
    if origin is Literal:
        values = [item.value if isinstance(item, Enum) else item for item in typing.get_args(annotation)]
        return [str(item) for item in values if item is not None]
    # A combination of a Flag's members is a value too.
    if isinstance(annotation, type) and issubclass(annotation, Enum) and not issubclass(annotation, Flag):
        return [str(member.value) for member in annotation]
    return []


def plain(annotation: Any) -> Any:
    """Strips wrappers that do not change the values: Annotated, NewType, and aliases of the ``type`` statement."""
    while True:
        annotation = unalias(annotation)
        if typing.get_origin(annotation) is not Annotated:
            return annotation
        annotation = annotation.__origin__


def public_name(cls: type) -> str:
    """Returns the shortest dotted name that a class is public under, such as ``pandas.DataFrame``."""
    root = cls.__module__.partition(".")[0]
    is_public = getattr(sys.modules.get(root), cls.__qualname__, None) is cls
    return f"{root if is_public else cls.__module__}.{cls.__qualname__}"


def bare_text(annotation: Any) -> str:
    """Writes an annotation as Python does, without the prefix ``typing.``."""
    return str(annotation).removeprefix("typing.")


def _argument_text(item: Any, within: Within) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, list):
        return f"[{', '.join(python_type(part, within) for part in item)}]"
    return python_type(item, within)


def _literal_text(item: Any) -> str:
    return f"{type(item).__name__}.{item.name}" if isinstance(item, Enum) else repr(item)


def _elixir_value(item: Any) -> str:
    item = item.value if isinstance(item, Enum) else item
    if isinstance(item, bool) or item is None:
        return {True: "true", False: "false", None: "nil"}[item]
    return str(item) if isinstance(item, int) else elixir_type(type(item))


def _elixir_class(cls: Any, args: tuple[Any, ...], within: Within) -> str:
    if cls in _ELIXIR_CLASSES:
        return _ELIXIR_CLASSES[cls]
    texts = [elixir_type(item, within) for item in args if item is not Ellipsis and not isinstance(item, list)]
    if cls in _LISTS:
        return f"list({texts[0]})" if texts else "list()"
    if cls in _SETS:
        return f"MapSet.t({texts[0]})" if texts else "MapSet.t()"
    if cls is Counter and texts:
        texts.append("integer()")
    if cls in _MAPS:
        return f"%{{optional({texts[0]}) => {texts[1]}}}" if texts else "map()"
    if cls is tuple:
        return f"{{{', '.join(texts)}}}" if args and Ellipsis not in args else "tuple()"
    return _elixir_user_class(cls, within) if isinstance(cls, type) else "any()"


def _elixir_user_class(cls: type, within: Within) -> str:
    if issubclass(cls, Enum):
        return _either(elixir_type(type(member.value), within) for member in cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        hints = hints_of(cls)
        return f"{{{', '.join(elixir_type(hints.get(name, Any), within) for name in cls._fields)}}}"
    if issubclass(cls, PurePath):
        return "String.t()"
    if dataclasses.is_dataclass(cls) or typing_extensions.is_typeddict(cls) or issubclass(cls, BaseModel):
        return "map()"
    return "any()"


def _either(names: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(names))
