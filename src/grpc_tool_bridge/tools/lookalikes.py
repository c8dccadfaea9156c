"""Look-alikes where a type is declared: read as what is asked for, or made of the row that they travel as."""

import collections
import types
from collections import abc
from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError

from grpc_tool_bridge.values.conversions import plain_data, to_list
from grpc_tool_bridge.values.rows import is_data, is_keyed, row_of

# Classes that hold the value of a row, and are made of it; a class of one's own is mostly a subclass of the row.
_HOLDERS: dict[type, tuple[type, ...]] = {
    types.MappingProxyType: (dict,),
    collections.UserDict: (dict,),
    collections.ChainMap: (dict,),
    collections.UserList: (list,),
    collections.UserString: (str,),
}
# Sequences that are lists to pydantic as well, and those that are none.
_LISTS = (list, tuple, str, bytes, bytearray, memoryview)
_BASES = (str, int, float, bytes, list, dict, set, frozenset)


def nearest_list(value: Any, error_type: Any = "list_type") -> Any:
    """Gives the list that an array, a Series or another sequence stands for; any other value as it is.

    Raises:
        PydanticKnownError: Of this type, where iterating gives something else than is meant: the names of its columns
            for a frame, the characters of a text.
    """
    kind: Any = type(value)
    if is_data(kind):
        listed = to_list(value)
        if listed is not None:
            return listed
        plain = plain_data(value)
        # Of groups, each is a pair of its key and its frame, however they are read.
        if plain is not value or kind.__name__.endswith("GroupBy"):
            return plain
        raise PydanticKnownError(error_type)
    if isinstance(value, collections.UserString):
        raise PydanticKnownError(error_type)
    if isinstance(value, _LISTS) or not isinstance(value, abc.Sequence | abc.ValuesView):
        return value
    return list(value)


def nearest_dict(value: Any) -> Any:
    """Gives the dict that what is read by its keys stands for, such as a row of sqlite3; any other value as it is."""
    kind: Any = type(value)
    if isinstance(value, abc.Mapping) or is_data(kind) or not is_keyed(kind):
        return value
    row = row_of(kind)
    return value if row is None else row(value)


def nearest_scalar(value: Any) -> Any:
    """Gives what a scalar of a data package stands for, such as None for pandas' missing values."""
    kind: Any = type(value)
    return plain_data(value) if is_data(kind) else value


def nearest_missing(value: Any) -> Any:
    """Gives None for the missing moments of NumPy as well."""
    kind: Any = type(value)
    if is_data(kind) and kind.__name__ in ("datetime64", "timedelta64") and value != value:  # noqa: PLR0124 - a NaT
        return None
    return nearest_scalar(value)


def row_bases(cls: Any) -> tuple[type, ...]:
    """Names the types of which an instance of a class is made; none where it is another kind of class."""
    for holder, bases in _HOLDERS.items():
        if issubclass(cls, holder):
            return bases
    return tuple(base for base in _BASES if issubclass(cls, base) and cls is not base)[:1]


def made_of_row(cls: Any, bases: tuple[type, ...], value: Any) -> Any:
    """Makes an instance of a class of the row that it travels as; any other value is for the class to refuse.

    Raises:
        PydanticCustomError: The class does not take it.
    """
    if type(value) not in bases:
        return value
    try:
        return cls(value)
    except Exception as error:  # noqa: BLE001 - the class is the program's, and says what it likes
        name = cls.__name__
        raise PydanticCustomError(
            "construct", "is refused by {name}: {error}", {"name": name, "error": f"{type(error).__name__}: {error}"}
        ) from None
