"""Arguments of the public API: whether they are what they should be, and one wording for those that are not.

Each check takes the argument's name and what was given, and raises a ValidationError that says both, and what is asked
for. One of the wrong type is a TypeError too.
"""

import inspect
import math
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import Message

from grpc_tool_bridge.config import Settings, read_token
from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

M = TypeVar("M", bound=Message)

# What the wire carries: whole numbers, and milliseconds of a time-out.
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
        hint = "; await what gives it first"
    raise ArgumentTypeError(f"{name} is {_shown(value)}; it is {called}{hint}")


def refuse_value(name: str, value: object, called: str) -> NoReturn:
    """Raises the error for an argument of the right type whose value cannot be."""
    raise ValidationError(f"{name} is {_shown(value)}; it is {called}")


def check_type(name: str, value: object, kind: Any, called: str) -> None:
    """Refuses what is not of ``kind``; a truth value is not a number, and a class no instance."""
    # Python takes a truth value for a number.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        refuse_type(name, value, called)


def check_text(name: str, value: object, called: str = A_TEXT, *, may_be_empty: bool = False) -> None:
    """Refuses what is no text that the wire carries."""
    if not isinstance(value, str):
        refuse_type(name, value, called)
    if not value and not may_be_empty:
        refuse_value(name, value, called)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse_value(name, value, f"{called}, without halves of a surrogate pair")


def check_flag(name: str, value: object) -> None:
    """Refuses what is neither True nor False."""
    check_type(name, value, bool, "True or False")


def check_count(name: str, value: object, *, least: int = 0, most: int = MOST, called: str = "") -> None:
    """Refuses what is no whole number from ``least`` to ``most``."""
    called = called or f"a whole number, {least} or more"
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, type):
        refuse_type(name, value, called)
    if not least <= value.__index__() <= most:
        refuse_value(name, value, called if value.__index__() < least else f"{called}, up to {most:,}")


def check_seconds(name: str, value: object, *, may_be_endless: bool = False) -> None:
    """Refuses what is not a number of seconds from 0."""
    called = "a number of seconds, 0 or more"
    seconds = _number(name, value, called)
    # So written that NaN is refused.
    if not 0 <= seconds <= (math.inf if may_be_endless else MAX_SECONDS):
        refuse_value(name, value, f"{called}, and below 24 days" if seconds > 0 else called)


def check_timeout(name: str, value: object, *, what: str = "") -> None:
    """Refuses what is no time-out; ``what`` says for the text whose it is."""
    called = "a number of seconds, above 0 and below 24 days"
    where = f"{what}: {name}" if what else name
    if not 0 < _number(where, value, called) <= MAX_SECONDS:
        raise ValidationError(f"{where} is {_shown(value)} s; it is above 0 and below 24 days")


def check_texts_by_name(name: str, value: object) -> None:
    """Refuses what is not a dict of texts."""
    called = "a dict of texts, such as {'user': 'ann'}"
    check_type(name, value, Mapping, called)
    assert isinstance(value, Mapping)  # noqa: S101 - so that mypy knows it, too
    for key, item in value.items():
        check_text(f"a key of {name}", key)
        if not isinstance(item, str):
            refuse_type(f"{name}[{key!r}]", item, f"a text; write {str(item)!r:.40}")
        check_text(f"{name}[{key!r}]", item, may_be_empty=True)


def check_names(method: str, names: Sequence[object], example: str) -> None:
    """Refuses names that were not given one by one, each an argument."""
    for given in names:
        if isinstance(given, list | tuple | set | frozenset) and all(isinstance(item, str) for item in given):
            each = ", ".join(map(repr, given)) or repr(example)
            refuse_type("a name", given, f"a text, each name an argument: {method}({each:.80})")
        check_text("a name", given, f"a text, such as {method}({example!r})")


def check_callable(name: str, value: object, called: str) -> None:
    """Refuses what cannot be called; None is nothing that is to be called."""
    if value is not None and not callable(value):
        refuse_type(name, value, f"{called}, or None")


def check_plain_callable(name: str, value: object, called: str) -> None:
    """As ``check_callable``; refuses a coroutine function, too, which would not be awaited."""
    check_callable(name, value, called)
    if inspect.iscoroutinefunction(value):
        refuse_type(name, value, f"{called}, a plain function and not an async one")


def check_positional(name: str, value: object) -> None:
    """Refuses what is not a list of arguments."""
    if not isinstance(value, Sequence) or isinstance(value, _TYPES_OF_TEXT):
        refuse_type(name, value, "a list of the arguments by position, such as [1, 2]")


def check_named(name: str, value: object) -> None:
    """Refuses what is not a dict of arguments."""
    called = "a dict of the arguments by name, such as {'a': 1}"
    check_type(name, value, Mapping, called)
    assert isinstance(value, Mapping)  # noqa: S101 - so that mypy knows it, too
    for key in value:
        check_text(f"a key of {name}", key)


def list_of(name: str, value: object, called: str) -> list[Any]:
    """Makes a list of what was given as one; refuses a text, a mapping and what is no iterable."""
    if isinstance(value, _TYPES_OF_TEXT | Mapping | type) or not isinstance(value, Iterable):
        hint = "; give its values" if isinstance(value, Mapping) and called == A_LIST_OF_TOOLS else ""
        refuse_type(name, value, called + hint)
    return list(value)


def path_of(name: str, value: object) -> Path | None:
    """Makes a path of what was given as one; None if nothing was."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not value:
        refuse_type(name, value, "the path of a file")
    return Path(value)


def instance_of(name: str, value: object, kind: Any, called: str) -> None:
    """Refuses what is not an instance of ``kind``, and says so where it is the class itself."""
    if not isinstance(value, kind):
        refuse_type(name, value, called)


def settings_of(settings: object) -> Settings:
    """Takes the settings that were given, or the defaults."""
    if settings is None:
        return Settings()
    if not isinstance(settings, Settings):
        refuse_type("settings", settings, "a Settings object, such as Settings(max_threads=8)")
    return settings


def token_of(token: object, token_file: object) -> str | None:
    """Takes the token that was given, or reads it from its file.

    Raises:
        ValueError: The token is empty or has characters that no header can carry, or others can read the file.
        OSError: The file cannot be read.
    """
    if token is not None and not isinstance(token, str):
        # What was given is not shown: it may be the token in another form.
        raise ArgumentTypeError(f"token is of type {type(token).__name__}; it is {A_TEXT}")
    return read_token(token, path_of("token_file", token_file))


def refuse_plain(name: str, value: object, called: str) -> None:
    """Refuses plain values and classes where an object with an interface is asked for, whoever made it."""
    if value is None or isinstance(value, _TYPES_OF_TEXT | int | float | list | tuple | dict | set | type):
        refuse_type(name, value, called)


def message_of(name: str, value: object, kind: type[M]) -> M:
    """Makes a message of a mapping of its fields, or takes it as it is.

    Raises:
        ValidationError: It has another field, or one with a value that cannot be; the text names it.
    """
    fields = ", ".join(kind.DESCRIPTOR.fields_by_name)
    if isinstance(value, kind):
        return value
    check_type(name, value, Mapping, f"a {kind.DESCRIPTOR.name} or a dict of its fields: {fields}")
    assert isinstance(value, Mapping)  # noqa: S101 - so that mypy knows it, too
    made = kind()
    for field, item in value.items():
        if field not in kind.DESCRIPTOR.fields_by_name:
            raise ValidationError(f"{name} has no {field!r:.60}; its fields are {fields}")
        try:
            made.MergeFrom(kind(**{field: item}))
        except (TypeError, ValueError, AttributeError) as error:
            field_type = _field_type(kind, field)
            raise ArgumentTypeError(f"{name}[{field!r}] is {_shown(item)}; it is {field_type}") from error
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
    }.get(field.cpp_type, "a whole number that the wire carries")


def _shown(value: object) -> str:
    """Writes a value for the text of an error, in at most this many characters."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Coroutine):
        return f"the coroutine {getattr(value, '__qualname__', type(value).__name__)}()"
    try:
        text = clipped_repr(value, MAX_SHOWN_CHARS)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide what is wrong
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
