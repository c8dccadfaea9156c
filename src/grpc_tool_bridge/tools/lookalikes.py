"""Look-alikes of a declared type: read as that type, or made from the form in which they travel."""

import collections
import types
from collections import abc
from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError

from grpc_tool_bridge.values.conversions import plain_data, to_list
from grpc_tool_bridge.values.rows import is_data, is_keyed, row_of

# Classes that wrap a plain value and are constructed from it; a user's class is mostly a subclass of its plain type.
_HOLDERS: dict[type, tuple[type, ...]] = {
    types.MappingProxyType: (dict,),
    collections.UserDict: (dict,),
    collections.ChainMap: (dict,),
    collections.UserList: (list,),
    collections.UserString: (str,),
}
# Sequences that pydantic accepts as lists too, and those that are not lists.
_LISTS = (list, tuple, str, bytes, bytearray, memoryview)
_BASES = (str, int, float, bytes, list, dict, set, frozenset)


def nearest_list(value: Any, error_type: Any = "list_type") -> Any:
    """Returns an array, a Series or another sequence as a list; any other value unchanged.

    Raises:
        PydanticKnownError: Of this type, if iterating would not yield its items: a frame yields the names of its
        columns, a string its characters.
    """
    kind: Any = type(value)
    if is_data(kind):
        listed = to_list(value)
        if listed is not None:
            return listed
        plain = plain_data(value)
        # Iterating over groups yields pairs of a key and a frame.
        if plain is not value or kind.__name__.endswith("GroupBy"):
            return plain
        raise PydanticKnownError(error_type)
    if isinstance(value, collections.UserString):
        raise PydanticKnownError(error_type)
    if isinstance(value, _LISTS) or not isinstance(value, abc.Sequence | abc.ValuesView):
        return value
    return list(value)


def nearest_dict(value: Any) -> Any:
    """Returns a value that is read by its keys, such as a row of sqlite3, as a dict; any other value unchanged."""
    kind: Any = type(value)
    if isinstance(value, abc.Mapping) or is_data(kind) or not is_keyed(kind):
        return value
    row = row_of(kind)
    return value if row is None else row(value)


def nearest_scalar(value: Any) -> Any:
    """Returns a scalar of a data package as a plain value, such as None for pandas' missing values."""
    kind: Any = type(value)
    return plain_data(value) if is_data(kind) else value


def nearest_missing(value: Any) -> Any:
    """Returns None for the missing moments of NumPy as well."""
    kind: Any = type(value)
    if is_data(kind) and kind.__name__ in ("datetime64", "timedelta64") and value != value:  # noqa: PLR0124 - a NaT
        return None
    return nearest_scalar(value)


def row_bases(cls: Any) -> tuple[type, ...]:
    """Returns the types that an instance of a class is made from; none for other kinds of classes."""
    for holder, bases in _HOLDERS.items():
        if issubclass(cls, holder):
            return bases
    return tuple(base for base in _BASES if issubclass(cls, base) and cls is not base)[:1]


def made_of_row(cls: Any, bases: tuple[type, ...], value: Any) -> Any:
    """Makes an instance of a class from the plain value it travels as; the class refuses any other value.

    Raises:
        PydanticCustomError: The class does not accept it.
    """
    if type(value) not in bases:
        return value
    try:
        return cls(value)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        name = cls.__name__
        raise PydanticCustomError(
            "construct", "is refused by {name}: {error}", {"name": name, "error": f"{type(error).__name__}: {error}"}
        ) from None
