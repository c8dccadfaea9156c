"""Finds the nearest type in the table of values for any other class, once for each class.

A subclass or look-alike loses only its class: a ``Counter`` becomes a dict, a ``NamedTuple`` a tuple, a ``deque`` a
list, a ``pendulum.DateTime`` a datetime. A readable ``str`` does not make a value a text: text forms are for unknown
classes without another protocol, and for classes of the standard library that can be read back from their text.
"""

import collections
import datetime as dt
import decimal
import enum
import io
import ipaddress
import os
import re
import sys
import types
import uuid
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.errors.class_facts import static_attribute
from grpc_tool_bridge.optional import home_of, is_made_in, is_subclass_of_data
from grpc_tool_bridge.values.foreign import foreign, has_own_access
from grpc_tool_bridge.values.jsontext import MAX_ITEMS, too_many

Row = Callable[[Any], Any]

# How many levels of containers are inspected before a value is checked.
_LEVELS = 8

# In tuples, where libraries that replace the clock do not patch them.
_DATES: tuple[Any, ...] = (dt.datetime, dt.date, dt.time, dt.timedelta)
_EXACT = frozenset(
    {*_DATES, str, int, float, bool, type(None), bytes, complex, uuid.UUID, decimal.Decimal}
    | {list, tuple, set, frozenset, dict}
)
_REAL_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


@lru_cache(maxsize=4_096)
def row_of(kind: type) -> Row | None:
    """Returns the function that converts an instance of a class without codec and fields to the nearest type.

    It returns plain data, one level deep, or raises an error that says what to do instead. None if the instance is
    written as it is: exact types, arrays, frames, and classes that only have their text.
    """
    if kind in _EXACT or is_data(kind):
        return None
    if issubclass(kind, enum.Enum):
        own = static_attribute(kind, "value") is not static_attribute(enum.Enum, "value")
        return _Guarded(_member_value) if own else _member_value
    return _scalar_row(kind) or _container_row(kind) or _refusal(kind)


def _member_value(value: Any) -> Any:
    return value.value


def is_data(kind: type) -> bool:
    """Whether a class or one of its bases is from numpy, pandas, polars or pyarrow."""
    return home_of(kind) is not None


@lru_cache(maxsize=4_096)
def is_iterator(kind: type) -> bool:
    """Whether instances of a class are iterators, which are read once; files do not count."""
    if not issubclass(kind, abc.Iterator) or issubclass(kind, io.IOBase):
        return False
    # pandas' chunked readers yield frames; iterables of the other packages are arrays and tables.
    return home_of(kind) in (None, "pandas")


def has_own_text(kind: type) -> bool:
    """Whether a class has its own ``__str__``."""
    text: Any = kind.__str__
    return text is not object.__str__


# ------------------------------------------------------------------------------------------------------------- scalars


def _scalar_row(kind: type) -> Row | None:
    for base, row in _SCALAR_ROWS:
        if issubclass(kind, base):
            return row if is_own(kind) or not _replaces(kind, base) else _Guarded(row)
    if issubclass(kind, collections.UserString):
        return _Guarded(lambda value: str(value.data))
    if not _is_sized(kind) and hasattr(kind, "__index__") and not issubclass(kind, type):
        return _Guarded(lambda value: int(value.__index__()))
    return None


def _replaces(kind: type, base: type) -> bool:
    """Whether a class overrides an attribute by which it is read."""
    names = _READ_OF.get(base, ())
    return any(static_attribute(kind, name) is not static_attribute(base, name) for name in names)


def _datetime(value: Any) -> dt.datetime:
    date, time = _DATES[0].date(value), _DATES[0].timetz(value)
    made: dt.datetime = _DATES[0].combine(_date(date), time)
    return made


def _date(value: Any) -> dt.date:
    made: dt.date = _DATES[1](value.year, value.month, value.day)
    return made


def _time(value: Any) -> dt.time:
    return dt.time(value.hour, value.minute, value.second, value.microsecond, tzinfo=value.tzinfo, fold=value.fold)


def _timedelta(value: Any) -> dt.timedelta:
    # By the base's descriptors: subclasses redefine ``days``.
    base: Any = dt.timedelta
    parts = (base.days.__get__(value), base.seconds.__get__(value), base.microseconds.__get__(value))
    return dt.timedelta(*parts)


def _bytes(value: Any) -> bytes:
    with memoryview(value) as view:
        return view.tobytes()


# A datetime is a date as well, so it comes first.
_SCALAR_ROWS: tuple[tuple[Any, Row], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, _bytes),
    (bytearray, _bytes),
    (memoryview, _bytes),
    (complex, lambda value: complex(value.real, value.imag)),
    (_DATES[0], _datetime),
    (_DATES[1], _date),
    (_DATES[2], _time),
    (_DATES[3], _timedelta),
    (uuid.UUID, lambda value: uuid.UUID(int=value.int)),
    (decimal.Decimal, lambda value: decimal.Decimal(value.as_tuple())),
)


# The attributes by which subclasses are read.
_READ_OF: dict[type, tuple[str, ...]] = {
    complex: ("real", "imag"),
    _DATES[0]: ("year", "month", "day"),
    _DATES[1]: ("year", "month", "day"),
    _DATES[2]: ("hour", "minute", "second", "microsecond", "tzinfo", "fold"),
    uuid.UUID: ("int",),
    decimal.Decimal: ("as_tuple",),
}


# ---------------------------------------------------------------------------------------------------------- containers


def _container_row(kind: Any) -> Row | None:
    if issubclass(kind, io.IOBase):
        return None
    for base, row in _CONTAINER_ROWS:
        if issubclass(kind, base):
            return row if is_own(kind) or _is_read_as(kind, base) else _Guarded(row)
    return None


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A conversion that runs code of the class."""

    row: Row

    def __call__(self, value: Any) -> Any:
        foreign(value)
        return self.row(value)


def check_access(value: Any, levels: int = _LEVELS) -> None:
    """Called before a value is checked in place, which inspects its items too.

    Raises:
        ForeignCodeError: It has code of its own for that, and this is an event loop's thread.
    """
    kind: Any = type(value)
    if kind not in _REAL_CONTAINERS:
        _check_kind(kind, value)
        return
    items = value.values() if kind is dict else value
    kinds = set(map(type, items))
    for item_kind in kinds - _REAL_CONTAINERS:
        _check_kind(item_kind, value)
    if levels and not kinds.isdisjoint(_REAL_CONTAINERS):
        for item in items:
            if type(item) in _REAL_CONTAINERS:
                check_access(item, levels - 1)


def _check_kind(kind: Any, value: Any) -> None:
    # First checks that need no hash of the class, since a metaclass may define it.
    if (has_own_access(kind) and home_of(kind) is None) or is_subclass_of_data(kind) or _is_read_by_code(kind):
        foreign(value)


@lru_cache(maxsize=4_096)
def _is_read_by_code(kind: Any) -> bool:
    return isinstance(row_of(kind), _Guarded)


@lru_cache(maxsize=4_096)
def is_own(kind: Any) -> bool:
    """Whether a class is Python's own."""
    return is_made_in(kind, sys.stdlib_module_names)


def _is_read_as(kind: Any, base: Any) -> bool:
    """Whether a subclass of a real container inherits its methods for reading, as a ``NamedTuple`` does."""
    reads = ("__iter__", "__len__", "__getitem__", "keys")
    return base in _EXACT and all(getattr(kind, name, None) is getattr(base, name, None) for name in reads)


def _mapping(value: Any) -> dict[Any, Any]:
    keys = list(value.keys())
    made = {key: value[key] for key in keys}
    if len(made) != len(keys):
        raise SerializationError(
            f"a {type(value).__name__} has a duplicate key, which a dict cannot have; send list(...) of it"
        )
    return made


def _sequence(value: Any) -> list[Any]:
    # A range can be longer than memory.
    if len(value) > MAX_ITEMS:
        raise too_many(MAX_ITEMS)
    return list(value)


class _KeyedType(type):
    def __subclasscheck__(cls, kind: Any) -> bool:
        return callable(getattr(kind, "keys", None)) and hasattr(kind, "__getitem__")


class _Keyed(metaclass=_KeyedType):
    """An object that is read by its keys like a mapping, but is not registered as one."""


@lru_cache(maxsize=4_096)
def is_keyed(kind: type) -> bool:
    """Whether instances of a class are read by their keys, as a mapping is."""
    return issubclass(kind, _Keyed)


# The first match counts; a subclass of a real container is copied by that container's own code.
_CONTAINER_ROWS: tuple[tuple[Any, Row], ...] = (
    (dict, dict),
    (list, list),
    (tuple, tuple),
    (frozenset, frozenset),
    (set, set),
    (abc.Mapping, _mapping),
    # For example a database row, which is registered as a sequence of its values.
    (_Keyed, _mapping),
    # The views of a dict are ordered, which a set would lose.
    (abc.MappingView, list),
    (abc.Set, set),
    (abc.Sequence, _sequence),
)


# --------------------------------------------------------------------------------------------------------- what is none


def _refusal(kind: type) -> Row | None:
    """Raises if an instance of a class cannot be sent; None if it may be, by its text or another protocol."""
    advice = _advice(kind)
    if advice is None:
        return None

    def refuse(value: Any) -> Any:
        raise SerializationError(f"a {public_name(type(value))} cannot be sent; {advice}")

    return refuse


def _advice(kind: type) -> str | None:
    for base, advice in _ADVICE:
        if issubclass(kind, base):
            return advice
    if issubclass(kind, _TEXT_KINDS) or any(hasattr(kind, name) for name in (*TABLE_PROTOCOLS, *ARRAY_PROTOCOLS)):
        return None
    if issubclass(kind, abc.Iterable) or _is_sized(kind):
        return "send list(…) of it, or its plain data"
    if hasattr(kind, "__float__"):
        return "send float(…) or str(…) of it"
    if not has_own_text(kind):
        return "send plain data such as vars(…) of it, or give its class a form with register_codec"
    return None


def _is_sized(kind: type) -> bool:
    return hasattr(kind, "__len__") and hasattr(kind, "__getitem__")


def public_name(kind: type) -> str:
    """Names a class for an error: with its module, unless it is built in."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# Classes of the standard library that are sent as text although they are iterable.
_TEXT_KINDS = (ipaddress.IPv4Network, ipaddress.IPv6Network)

# Protocols of tables and arrays of any other library.
TABLE_PROTOCOLS = ("__arrow_c_stream__", "__arrow_c_array__")
ARRAY_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")

_ADVICE: tuple[tuple[Any, str], ...] = (
    (BaseException, "raise it, or send str(…) or repr(…) of it"),
    (io.IOBase, "send what it holds: its read() or getvalue()"),
    (type, "send its name"),
    (types.ModuleType, "send its name"),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), "send what it returns, or offer it as a tool"),
    (re.Match, "send its group() or groups()"),
    (types.SimpleNamespace, "send vars(…) of it"),
    (os.DirEntry, "send its path"),
    (abc.Awaitable, "await it, and send the result"),
    (abc.AsyncIterable, "send [item async for item in …], or stream it from a tool that yields"),
)
