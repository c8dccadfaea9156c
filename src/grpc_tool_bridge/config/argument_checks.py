"""Checks of the public API's arguments, with one wording for all refusals.

Each check takes an argument's name and value, and raises a ValidationError that says both and what the argument must
be. For a wrong type, the error is also a TypeError.
"""

import inspect
import math
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from google.protobuf.message import Message

from grpc_tool_bridge.config.secret_files import read_token
from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

if TYPE_CHECKING:
    from grpc_tool_bridge.config.settings import Settings

M = TypeVar("M", bound=Message)

# The largest values on the wire: integers, and the milliseconds of a timeout.
MOST = 2**31 - 1
MAX_SECONDS = MOST / 1000
MAX_SHOWN_CHARS = 60

A_TEXT = "a text"
A_NAME = "a tool's name or id, such as 'add'"
A_LIST_OF_TOOLS = "a list of functions and tools, such as [add]"

_TYPES_OF_TEXT = str | bytes | bytearray


def refuse_type(name: str, value: object, called: str) -> NoReturn:
    """Raises the error for an argument of the wrong type."""
    hint = ""
    if isinstance(value, Coroutine):
        # Nobody else will await it, and Python would warn of that.
        value.close()
        hint = "; await it first"
    raise ArgumentTypeError(f"{name} is {_shown(value)}; it must be {called}{hint}")


def refuse_value(name: str, value: object, called: str) -> NoReturn:
    """Raises the error for an argument of the right type whose value is not valid."""
    raise ValidationError(f"{name} is {_shown(value)}; it must be {called}")


def check_type(name: str, value: object, kind: Any, called: str) -> None:
    """Refuses a value that is not a ``kind``; a bool is not a number, and a class is not an instance."""
    # For Python, a bool is an int.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        refuse_type(name, value, called)


def check_text(name: str, value: object, called: str = A_TEXT, *, may_be_empty: bool = False) -> None:
    """Refuses a value that is not a text that the wire can carry."""
    if not isinstance(value, str):
        refuse_type(name, value, called)
    if not value and not may_be_empty:
        refuse_value(name, value, called)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse_value(name, value, f"{called}, without lone surrogates")


def check_flag(name: str, value: object) -> None:
    """Refuses a value other than True and False."""
    check_type(name, value, bool, "True or False")


def check_count(name: str, value: object, *, least: int = 0, most: int = MOST, called: str = "") -> None:
    """Refuses a value that is not a whole number from ``least`` to ``most``."""
    called = called or f"a whole number, {least} or more"
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, type):
        refuse_type(name, value, called)
    if not least <= value.__index__() <= most:
        refuse_value(name, value, called if value.__index__() < least else f"{called}, up to {most:,}")


def check_seconds(name: str, value: object, *, may_be_endless: bool = False) -> None:
    """Refuses a value that is not a number of seconds, 0 or more."""
    called = "a number of seconds, 0 or more"
    seconds = _number(name, value, called)
    # Written so that NaN is refused.
    if not 0 <= seconds <= (math.inf if may_be_endless else MAX_SECONDS):
        refuse_value(name, value, f"{called}, and below 24 days" if seconds > 0 else called)


def check_part(name: str, value: object) -> None:
    """Refuses a value that is not a number from 0 to 1."""
    called = "a number from 0 to 1"
    if not 0 <= _number(name, value, called) <= 1:
        refuse_value(name, value, called)


def check_timeout(name: str, value: object, *, what: str = "") -> None:
    """Refuses a value that is not a timeout; ``what`` names its owner in the text."""
    called = "a number of seconds, above 0 and below 24 days"
    where = f"{what}: {name}" if what else name
    if not 0 < _number(where, value, called) <= MAX_SECONDS:
        raise ValidationError(f"{where} is {_shown(value)} s; it must be above 0 and below 24 days")


def check_texts_by_name(name: str, value: object) -> None:
    """Refuses a value that is not a dict of texts."""
    called = "a dict of texts, such as {'user': 'ann'}"
    check_type(name, value, Mapping, called)
    assert isinstance(value, Mapping)  # noqa: S101 - for mypy
    for key, item in value.items():
        check_text(f"a key of {name}", key)
        if not isinstance(item, str):
            refuse_type(f"{name}[{key!r}]", item, f"a text; write {str(item)!r:.40}")
        check_text(f"{name}[{key!r}]", item, may_be_empty=True)


def check_names(method: str, names: Sequence[object], example: str) -> None:
    """Refuses names that were not passed as separate arguments."""
    for given in names:
        if isinstance(given, list | tuple | set | frozenset) and all(isinstance(item, str) for item in given):
            each = ", ".join(map(repr, given)) or repr(example)
            refuse_type("a name", given, f"a text; pass each name as its own argument: {method}({each:.80})")
        check_text("a name", given, f"a text, such as {method}({example!r})")


def check_callable(name: str, value: object, called: str) -> None:
    """Refuses a value that is neither callable nor None."""
    if value is not None and not callable(value):
        refuse_type(name, value, f"{called}, or None")


def check_plain_callable(name: str, value: object, called: str) -> None:
    """Like ``check_callable``; also refuses a coroutine function, which would not be awaited."""
    check_callable(name, value, called)
    if inspect.iscoroutinefunction(value):
        refuse_type(name, value, f"{called}, a plain function and not an async one")


def check_positional(name: str, value: object) -> None:
    """Refuses a value that is not a list of arguments."""
    if not isinstance(value, Sequence) or isinstance(value, _TYPES_OF_TEXT):
        refuse_type(name, value, "a list of the arguments by position, such as [1, 2]")


def check_named(name: str, value: object) -> None:
    """Refuses a value that is not a dict of arguments."""
    called = "a dict of the arguments by name, such as {'a': 1}"
    check_type(name, value, Mapping, called)
    assert isinstance(value, Mapping)  # noqa: S101 - for mypy
    for key in value:
        check_text(f"a key of {name}", key)


def list_of(name: str, value: object, called: str) -> list[Any]:
    """Converts an iterable to a list; refuses texts and mappings."""
    if isinstance(value, _TYPES_OF_TEXT | Mapping | type) or not isinstance(value, Iterable):
        hint = "; give its values" if isinstance(value, Mapping) and called == A_LIST_OF_TOOLS else ""
        refuse_type(name, value, called + hint)
    return list(value)


def path_of(name: str, value: object) -> Path | None:
    """Converts a value to a path; None stays None."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not value:
        refuse_type(name, value, "the path of a file")
    return Path(value)


def instance_of(name: str, value: object, kind: Any, called: str) -> None:
    """Refuses a value that is not an instance of ``kind``, such as the class itself."""
    if not isinstance(value, kind):
        refuse_type(name, value, called)


def settings_of(settings: object) -> "Settings":
    """Returns the given settings, or the defaults."""
    from grpc_tool_bridge.config.settings import Settings  # noqa: PLC0415 - imports pydantic, which clients do not need

    if settings is None:
        return Settings()
    if not isinstance(settings, Settings):
        refuse_type("settings", settings, "a Settings object, such as Settings(max_threads=8)")
    return settings


def token_of(token: object, token_file: object) -> Any:
    """Returns the given token, or the function that gives it, or reads it from its file.

    Raises:
        ValueError: The token is empty or has characters that a header cannot carry, or others can read the file.
        OSError: The file cannot be read.
    """
    if callable(token) and not isinstance(token, type):
        if token_file is not None:
            raise ValidationError("token and token_file are both given; give one of them")
        return token
    if token is not None and not isinstance(token, str):
        # The value is not shown: it may be the token in another form.
        raise ArgumentTypeError(
            f"token is of type {type(token).__name__}; it must be {A_TEXT}, or a function that returns one"
        )
    return read_token(token, path_of("token_file", token_file))


def refuse_plain(name: str, value: object, called: str) -> None:
    """Refuses plain values and classes for an argument that can be any object with the right methods."""
    if value is None or isinstance(value, _TYPES_OF_TEXT | int | float | list | tuple | dict | set | type):
        refuse_type(name, value, called)


def message_of(name: str, value: object, kind: type[M]) -> M:
    """Converts a mapping of fields to a message; returns a message unchanged.

    Raises:
        ValidationError: The message has no such field, or a field's value is not valid; the text names it.
    """
    fields = ", ".join(kind.DESCRIPTOR.fields_by_name)
    if isinstance(value, kind):
        return value
    check_type(name, value, Mapping, f"a {kind.DESCRIPTOR.name} or a dict of its fields: {fields}")
    assert isinstance(value, Mapping)  # noqa: S101 - for mypy
    made = kind()
    for field, item in value.items():
        if field not in kind.DESCRIPTOR.fields_by_name:
            raise ValidationError(f"{name} has no {field!r:.60}; its fields are {fields}")
        try:
            made.MergeFrom(kind(**{field: item}))
        except (TypeError, ValueError, AttributeError) as error:
            field_type = _field_type(kind, field)
            raise ArgumentTypeError(f"{name}[{field!r}] is {_shown(item)}; it must be {field_type}") from error
    return made


def _number(name: str, value: object, called: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        refuse_type(name, value, called)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _field_type(kind: type[Message], name: str) -> str:
    field = kind.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None:
        is_map = field.message_type.GetOptions().map_entry
        return "a dict of texts" if is_map else f"a {field.message_type.name}"
    return {
        field.CPPTYPE_STRING: A_TEXT,
        field.CPPTYPE_BOOL: "True or False",
        field.CPPTYPE_DOUBLE: "a number",
    }.get(field.cpp_type, "a whole number within the limits of the field")


def _shown(value: object) -> str:
    """Returns a value as an error text shows it, in at most ``MAX_SHOWN_CHARS`` characters."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Coroutine):
        return f"the coroutine {getattr(value, '__qualname__', type(value).__name__)}()"
    try:
        text = clipped_repr(value, MAX_SHOWN_CHARS)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide what is wrong
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
