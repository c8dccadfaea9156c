"""Keeps work that would block the event loop out of it: foreign code, and iterating over large values.

Foreign code, such as the ``__next__`` of an iterator or the ``__str__`` of a class, can take any time. When a value is
written in an event loop, ``foreign`` interrupts that before the first line of foreign code runs, and the caller writes
the value again in a thread.
"""

import abc
import enum
import sys
import threading
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from grpc_tool_bridge.aio.loops import running_loop
from grpc_tool_bridge.errors.class_facts import bases_of, static_attribute

# Methods that run whenever an instance of their class is inspected, as ``isinstance`` and ``getattr`` do.
_ACCESS = ("__getattribute__", "__class__")
# Attributes implemented in C.
_NO_CODE = (types.WrapperDescriptorType, types.MethodDescriptorType, types.GetSetDescriptorType)
_META_ACCESS = ("__getattribute__", "__getattr__", "__hash__", "__eq__")

# Items that may be visited in an event loop, at some 10 µs each if they are objects.
_ITEMS_IN_LOOP = 2_000
# The extra cost of an object, in plain items.
_WORK_OF_OBJECT = 10

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
# Objects that are not searched further.
_WHOLE = (type, enum.Enum, types.FunctionType, types.ModuleType)
_SEQUENCES = frozenset({list, tuple, set, frozenset})


class ForeignCodeError(BaseException):
    """Writing this value needs a thread. Not an Exception, so that no handler on the way catches it."""


class _Allowed(threading.local):
    """Whether the caller in this thread has requested that its value be written in place."""

    here = False


_allowed = _Allowed()


def foreign(value: object) -> None:
    """Called before foreign code runs for ``value``, such as its ``__array__``.

    Raises:
        ForeignCodeError: This is an event loop's thread.
    """
    if not _allowed.here and running_loop() is not None:
        raise ForeignCodeError(type(value).__name__)


class in_place:  # noqa: N801 - used in a with statement, where a generator's frame would cost more
    """Allows foreign code to run in this thread, for a program that writes a value itself."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _allowed.here
        _allowed.here = True

    def __exit__(self, *_: object) -> None:
        _allowed.here = self._before


def has_own_access(kind: type) -> bool:
    """Returns whether inspecting an instance of a class runs code of the class or its metaclass."""
    meta = type(kind)
    return (meta is not type and _has_own_meta_access(meta)) or _has_own_access(kind)


@lru_cache(maxsize=4_096)
def _has_own_access(kind: type) -> bool:
    return any(type(static_attribute(kind, name)) not in _NO_CODE for name in _ACCESS)


@lru_cache(maxsize=256)
def _has_own_meta_access(meta: type) -> bool:
    if type(meta) is not type:
        return True
    known = (type, abc.ABCMeta, enum.EnumType, object, _models())
    return any(name in base.__dict__ for base in bases_of(meta) if base not in known for name in _META_ACCESS)


def _models() -> Any:
    """The metaclass of pydantic's models, whose ``__getattr__`` is for private attributes."""
    return getattr(sys.modules.get("pydantic._internal._model_construction"), "ModelMetaclass", type)


# --------------------------------------------------------------------------------------------------------- large values


def is_bulky(value: Any) -> bool:
    """Returns whether a value is large, including everything in its containers and the fields of its objects.

    Runs no foreign code: anything that cannot be inspected without it, such as fields in slots, counts as large.
    """
    waiting = [value]
    work = 0
    while waiting:
        item = waiting.pop()
        kind: Any = type(item)
        if kind in _PLAIN:
            continue
        if kind in _SEQUENCES:
            work += len(item)
            inner = item
        elif kind is dict:
            work += 2 * len(item)
            inner = item.values()
        else:
            fields = _fields_of(kind)
            if fields is None:
                return True
            work += _WORK_OF_OBJECT
            inner = fields(item).values()
        if work > _ITEMS_IN_LOOP:
            return True
        waiting.extend(part for part in inner if type(part) not in _PLAIN)
    return False


@lru_cache(maxsize=1_024)
def _fields_of(kind: Any) -> Callable[[Any], dict[str, Any]] | None:
    """Returns the function that reads the fields of an object of this class; None if they cannot be inspected."""
    if issubclass(kind, _WHOLE):
        return _no_fields
    found = next((vars(base)["__dict__"] for base in kind.__mro__ if "__dict__" in vars(base)), None)
    if isinstance(found, types.GetSetDescriptorType):
        return found.__get__
    seen = found is None and not hasattr(kind, "__dataclass_fields__") and not hasattr(kind, "__struct_fields__")
    return _no_fields if seen else None


def _no_fields(_: Any) -> dict[str, Any]:
    return {}
