"""Whether an exception can be formatted in an event loop: quickly, and without running its own code.

Most can: their ``__str__`` is Python's own, and they hold short texts and numbers. Others are formatted in a thread.
"""

import builtins
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from grpc_tool_bridge import errors
from grpc_tool_bridge.errors.class_facts import bases_of
from grpc_tool_bridge.errors.exception_text import led_from, read_args, read_members

# Exceptions that are examined: the exception itself, its causes, and the members of groups.
_MAX_EXCEPTIONS = 20
# Characters of one text, bits of a number, items of a container and levels of them.
_MAX_CHARS = 4_096
_MAX_BITS = 4_096
_MAX_ITEMS = 16
_MAX_LEVELS = 2
# Details of an error of the bridge; one with more is formatted in a thread.
_MAX_DETAILS = 64

_read_instance_dict = BaseException.__dict__["__dict__"].__get__

# Attributes that are read from an exception; in a class of a tool, they may run code.
_CODE = frozenset({"__str__", "__getattribute__", "__getattr__", "__class__", "__dict__", "__notes__"})
_FACTS = frozenset({"message", "error_type", "details", "retryable", "remote_traceback", "tool_name", "code_name"})
_PLAIN_FACTS = (str, bool, type(None))

# Members of Python's own classes that are part of their text.
_MEMBERS: tuple[tuple[type[BaseException], tuple[str, ...]], ...] = (
    (OSError, ("errno", "strerror", "filename", "filename2")),
    (SyntaxError, ("msg", "filename", "lineno")),
    (ImportError, ("msg",)),
    (UnicodeDecodeError, ("encoding", "object", "start", "end", "reason")),
    (UnicodeEncodeError, ("encoding", "object", "start", "end", "reason")),
    (UnicodeTranslateError, ("object", "start", "end", "reason")),
    (BaseExceptionGroup, ("message",)),
)

# By identity, not by name: a class may have any name.
_OF_BRIDGE, _OF_PYTHON = (
    frozenset(each for each in vars(module).values() if type(each) is type and issubclass(each, BaseException))
    for module in (errors, builtins)
)
_KNOWN = _OF_BRIDGE | _OF_PYTHON | {object}

Reads = tuple[Callable[[Any], Any], ...]


def is_plain(error: BaseException) -> bool:
    """Returns whether formatting an exception and its causes is quick and runs none of their own code."""
    todo = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if len(seen) > _MAX_EXCEPTIONS or not _is_plain(each):
            return False
        before = led_from(each)
        if before is not None:
            todo.append(before)
        if issubclass(type(each), BaseExceptionGroup):
            members = read_members(each)
            if len(members) > _MAX_EXCEPTIONS:
                return False
            todo.extend(members)
    return True


def is_of_bridge(error: BaseException) -> bool:
    """Returns whether an exception's class is one of the bridge's own, not a tool's subclass of one."""
    kind = type(error)
    return type(kind) is type and kind in _OF_BRIDGE


def _is_plain(error: BaseException) -> bool:
    kind: Any = type(error)
    # A metaclass may run code for each attribute, and for the hash of the class.
    reads = _reads_of(kind) if type(kind) is type else None
    if reads is None:
        return False
    # The members of a group are examined one by one.
    if not issubclass(kind, BaseExceptionGroup) and not _is_small(read_args(error), _MAX_LEVELS):
        return False
    for read in reads:
        try:
            value = read(error)
        except (AttributeError, TypeError):
            # A member that was never set.
            return False
        if not _is_small(value, 0):
            return False
    held: dict[Any, Any] = _read_instance_dict(error)
    return not held or all(map(_is_plain_fact, held, held.values()))


@lru_cache(maxsize=1_024)
def _reads_of(kind: type) -> Reads | None:
    """Returns the readers of the attributes that are part of the text; None if the class may run its own code."""
    for base in bases_of(kind):
        if base in _KNOWN:
            continue
        names = base.__dict__.keys()
        if not _CODE.isdisjoint(names):
            return None
        if any(type(base.__dict__[name]) not in _PLAIN_FACTS for name in _FACTS.intersection(names)):
            return None
    return tuple(base.__dict__[name].__get__ for base, names in _MEMBERS if issubclass(kind, base) for name in names)


def _is_plain_fact(name: Any, value: Any) -> bool:
    """Returns whether an instance's attribute is short and runs no code, or is not part of the text."""
    if type(name) is not str:
        return False
    if name == "details":
        return type(value) is str or (
            type(value) is dict
            and len(value) <= _MAX_DETAILS
            and all(map(_is_short_text, value))
            and all(map(_is_short_text, value.values()))
        )
    if name == "__notes__":
        return type(value) is list and len(value) <= _MAX_ITEMS and all(map(_is_short_text, value))
    return name not in _FACTS or (type(value) in _PLAIN_FACTS and (type(value) is not str or len(value) < 2**20))


def _is_short_text(value: Any) -> bool:
    return type(value) is str and len(value) < 2**20


def _is_small(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) <= _MAX_CHARS or (kind is str and levels == _MAX_LEVELS - 1)
    if kind is int:
        return bool(value.bit_length() <= _MAX_BITS)
    if value is None or kind is float or kind is bool:
        return True
    if kind is tuple or kind is list:
        return levels > 0 and len(value) <= _MAX_ITEMS and all(_is_small(item, levels - 1) for item in value)
    if kind is dict:
        small = levels > 0 and len(value) <= _MAX_ITEMS and all(_is_small(item, levels - 1) for item in value)
        return small and all(_is_small(item, levels - 1) for item in value.values())
    return False
