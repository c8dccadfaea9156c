"""Names of types: as Python writes them, and the nearest Elixir typespec."""

import dataclasses
import sys
import types
import typing
from collections import abc, deque
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, NewType, TypeVar, Union
from uuid import UUID

from pydantic import BaseModel

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
_LISTS = (list, deque, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Iterator, abc.Collection, abc.Generator)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_MAPS = (dict, abc.Mapping, abc.MutableMapping)


def python_type(annotation: Any) -> str:
    """Writes an annotation as a signature would, such as ``list[int]`` or ``str | None``."""
    annotation = plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (None, type(None)):
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(python_type(item) for item in args)
    if origin is Literal:
        return f"Literal[{', '.join(_literal_text(item) for item in args)}]"
    if origin is not None:
        return (
            f"{python_type(origin)}[{', '.join(_argument_text(item) for item in args)}]" if args else _bare(annotation)
        )
    return getattr(annotation, "__name__", None) or _bare(annotation)


def elixir_type(annotation: Any) -> str:
    """Gives the nearest Elixir typespec of an annotation, such as ``list(integer())`` or ``String.t() | nil``."""
    annotation = plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return _either(elixir_type(item) for item in args)
    if origin is Literal:
        return _either(_elixir_value(item) for item in args)
    if isinstance(annotation, TypeVar):
        return elixir_type(annotation.__bound__) if annotation.__bound__ else "any()"
    return _elixir_class(origin or annotation, args)


def allowed_values(annotation: Any) -> list[str]:
    """Lists the values of a Literal or an Enum as text; empty for any other type. None is left out."""
    annotation = plain(annotation)
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        members = [item for item in typing.get_args(annotation) if item is not type(None)]
        return allowed_values(members[0]) if len(members) == 1 else []
    if origin is Literal:
        values = [item.value if isinstance(item, Enum) else item for item in typing.get_args(annotation)]
        return [str(item) for item in values if item is not None]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return []


def plain(annotation: Any) -> Any:
    """Strips what does not change the values: Annotated, NewType, and the ``type`` statement's aliases."""
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def public_name(cls: type) -> str:
    """Gives the shortest dotted name that a class is public under, such as ``pandas.DataFrame``."""
    root = cls.__module__.partition(".")[0]
    is_public = getattr(sys.modules.get(root), cls.__qualname__, None) is cls
    return f"{root if is_public else cls.__module__}.{cls.__qualname__}"


def _bare(annotation: Any) -> str:
    return str(annotation).removeprefix("typing.")


def _argument_text(item: Any) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, list):
        return f"[{', '.join(python_type(part) for part in item)}]"
    return python_type(item)


def _literal_text(item: Any) -> str:
    return f"{type(item).__name__}.{item.name}" if isinstance(item, Enum) else repr(item)


def _elixir_value(item: Any) -> str:
    item = item.value if isinstance(item, Enum) else item
    if isinstance(item, bool) or item is None:
        return {True: "true", False: "false", None: "nil"}[item]
    return str(item) if isinstance(item, int) else elixir_type(type(item))


def _elixir_class(cls: Any, args: tuple[Any, ...]) -> str:
    if cls in _ELIXIR_CLASSES:
        return _ELIXIR_CLASSES[cls]
    if cls in _LISTS:
        return f"list({elixir_type(args[0])})" if args else "list()"
    if cls in _SETS:
        return f"MapSet.t({elixir_type(args[0])})" if args else "MapSet.t()"
    if cls in _MAPS:
        return f"%{{optional({elixir_type(args[0])}) => {elixir_type(args[1])}}}" if args else "map()"
    if cls is tuple:
        return f"{{{', '.join(elixir_type(item) for item in args)}}}" if args and Ellipsis not in args else "tuple()"
    return _elixir_user_class(cls) if isinstance(cls, type) else "any()"


def _elixir_user_class(cls: type) -> str:
    if issubclass(cls, Enum):
        return _either(elixir_type(type(member.value)) for member in cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        hints = typing.get_type_hints(cls)
        return f"{{{', '.join(elixir_type(hints.get(name, Any)) for name in cls._fields)}}}"
    if issubclass(cls, PurePath):
        return "String.t()"
    if dataclasses.is_dataclass(cls) or typing.is_typeddict(cls) or issubclass(cls, BaseModel):
        return "map()"
    return "any()"


def _either(names: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(names))
